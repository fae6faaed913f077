/**
 * What can go wrong with one call, as one table: the code, the status that REST answers, and one sentence. What is
 * wrong with the document or the start is a catalogue error (`src/instance/errors.ts`) and ends the process.
 */
import type { Json, JsonObject } from './model.ts'

export const FAILURES = {
  invalid_argument: 400,
  unauthenticated: 401,
  permission_denied: 403,
  not_found: 404,
  method_not_allowed: 405,
  invalid_state: 409,
  too_large: 413,
  resource_exhausted: 429,
  internal: 500,
  upstream_auth: 502,
  upstream_error: 502,
  upstream_unreachable: 502,
  upstream_too_large: 502,
  script_failed: 502,
  unavailable: 503,
  upstream_timeout: 504,
  script_timeout: 504,
} as const satisfies Record<string, number>

export type FailureCode = keyof typeof FAILURES

export interface FieldError {
  readonly field: string
  readonly description: string
}

export class Failure extends Error {
  override readonly name = 'Failure'
  readonly code: FailureCode
  readonly fields: readonly FieldError[]

  constructor(code: FailureCode, message: string, options: { readonly fields?: readonly FieldError[]; readonly cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.code = code
    this.fields = options.fields ?? []
  }

  get status(): number {
    return FAILURES[this.code]
  }

  get body(): JsonObject {
    const fields: readonly Json[] = this.fields.map(({ field, description }) => ({ field, description }))
    return { status: this.status, code: this.code, message: this.message, ...(fields.length === 0 ? {} : { fields }) }
  }
}

/** The failure itself, or `internal` without a word of what it was: that is for the log. */
export function asFailure(error: unknown): Failure {
  if (error instanceof Failure) return error
  return new Failure('internal', 'The runner met an error of its own; its log says more.', { cause: error })
}

/** A failure about inputs: one sentence for all of them, and each field by itself. */
export function invalid(fields: readonly FieldError[]): Failure {
  const told = fields.map(({ field, description }) => `${field}: ${description}`).join(' ')
  return new Failure('invalid_argument', told, { fields })
}
