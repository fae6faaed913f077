/**
 * How the command line ends. Each failure is one sentence that says what to do, and a status:
 *
 *   0    done                        125  `run` or `exec`: Berth itself failed, or was asked wrongly
 *   1    failed                      126  `run` or `exec`: the command can't be executed
 *   2    asked wrongly (usage)       127  `run` or `exec`: there is no such command
 *   130  interrupted                 else what the command in the instance ended with
 */
export const STATUS = {
  failure: 1,
  usage: 2,
  berthFailed: 125,
  cannotExecute: 126,
  commandNotFound: 127,
  interrupted: 130,
} as const

/** Ends the command line with a sentence on stderr and a status. */
export class CliError extends Error {
  override readonly name: string = 'CliError'
  readonly status: number

  constructor(message: string, options?: { readonly status?: number; readonly cause?: unknown }) {
    super(message, options?.cause === undefined ? undefined : { cause: options.cause })
    this.status = options?.status ?? STATUS.failure
  }
}

/** What the server refused, or failed at; `code` is of the error catalogue. */
export class ApiError extends CliError {
  override readonly name = 'ApiError'
  readonly code: string

  constructor(code: string, message: string) {
    super(message)
    this.code = code
  }
}

/** The status for an error of `run` and `exec`, where small statuses belong to the command in the instance. */
export function commandStatus(error: unknown): number {
  const code = error instanceof ApiError ? error.code : null
  if (code === 'command_not_found') return STATUS.commandNotFound
  if (code === 'guest_path') return STATUS.cannotExecute
  const isTold = error instanceof CliError && error.status !== STATUS.failure && error.status !== STATUS.usage
  return isTold ? error.status : STATUS.berthFailed
}

export function isApiError(error: unknown, ...codes: readonly string[]): error is ApiError {
  return error instanceof ApiError && codes.includes(error.code)
}
