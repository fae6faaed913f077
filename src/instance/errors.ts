/**
 * The one catalogue of errors that cross rooms: a code, what it is about, and whether trying the same
 * again can help. Dialects map codes to their own statuses and bodies; nobody maps messages.
 */

/** code → whether a retry of the same call is sane. */
export const ERROR_CODES = {
  /** The request itself is wrong: a field, a type, a range. */
  invalid_request: { retry: false },
  invalid_name: { retry: false },
  invalid_size: { retry: false },
  invalid_image_name: { retry: false },
  unauthenticated: { retry: false },
  forbidden: { retry: false },
  not_found: { retry: false },
  /** A name or an id prefix means more than one thing. */
  ambiguous: { retry: false },
  name_conflict: { retry: false },
  already_exists: { retry: false },
  /** The instance's phase refuses the operation. */
  invalid_state: { retry: false },
  image_not_found: { retry: false },
  image_not_ready: { retry: true },
  image_failed: { retry: false },
  image_in_use: { retry: false },
  /** The bytes given as an image or archive are damaged or try to escape their directory. */
  invalid_archive: { retry: false },
  archive_too_large: { retry: false },
  registry_unreachable: { retry: true },
  registry_denied: { retry: false },
  rate_limited: { retry: true },
  volume_not_found: { retry: false },
  volume_in_use: { retry: false },
  volume_conflict: { retry: false },
  port_in_use: { retry: false },
  device_not_found: { retry: false },
  /** CPU, memory, disk or devices of every host are taken. */
  insufficient_resources: { retry: true },
  limit_exceeded: { retry: false },
  disk_full: { retry: true },
  idempotency_conflict: { retry: false },
  /** The guest's agent doesn't answer. */
  guest_unreachable: { retry: true },
  /** A program, file or directory in the guest is not there or can't be used. */
  guest_path: { retry: false },
  command_not_found: { retry: false },
  log_not_found: { retry: false },
  timeout: { retry: true },
  cancelled: { retry: true },
  host_unavailable: { retry: true },
  not_supported: { retry: false },
  shutting_down: { retry: true },
  /** A defect of Berth's own. */
  internal: { retry: true },
} as const satisfies Record<string, { readonly retry: boolean }>

export type ErrorCode = keyof typeof ERROR_CODES

/** Data for the dialects that want more than a sentence: the phase that refused, the field that is wrong. */
export type ErrorDetails = Readonly<Record<string, string | number | boolean | null>>

/** An error of the catalogue. `message` is one sentence for a person: what is wrong and what to do. */
export class BerthError extends Error {
  override readonly name = 'BerthError'
  readonly code: ErrorCode
  readonly details: ErrorDetails

  constructor(code: ErrorCode, message: string, options?: { details?: ErrorDetails; cause?: unknown }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.details = options?.details ?? {}
  }
}

/** Whether the same call may succeed later. */
export function isRetrySane(error: BerthError): boolean {
  return ERROR_CODES[error.code].retry
}

/** What a client is told: the error's sentence, but of a defect only that there was one; the server's log tells the rest. */
export function toldSentence({ code, message }: BerthError): string {
  return code === 'internal' ? 'Berth met an error of its own: the server’s log says which.' : message
}

/** The error itself if it is of the catalogue; otherwise `internal` with it as the cause. */
export function asBerthError(error: unknown): BerthError {
  if (error instanceof BerthError) return error
  const text = error instanceof Error ? error.message : String(error)
  return new BerthError('internal', `Berth met an error of its own: ${text}`, { cause: error })
}
