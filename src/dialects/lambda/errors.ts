/**
 * Engine errors on the Lambda wire: `{"error":{"code","message","suggestion"?}}`.
 *
 * Clients match pieces of some messages (`instance does not exist`, `Not enough capacity`, `Region … does not exist`,
 * `name must be unique`), and the seed SDK decodes a 404 of launch only with a suggestion; so those sentences are
 * made here and nowhere else.
 */
import { BerthError } from '../../instance/errors.ts'
import type { ErrorCode } from '../../instance/errors.ts'
import type { WireError } from '../dialect.ts'
import type { ErrorBody } from './schema.ts'

interface Word {
  readonly status: number
  readonly code: string
  /** In place of the engine's own message, which then is the suggestion if there is no other. */
  readonly message?: string
  readonly suggestion?: string
}

const INVALID: Word = { status: 400, code: 'global/invalid-parameters' }
const MISSING: Word = { status: 404, code: 'global/not-found', suggestion: 'Check the path and the id, then try again.' }
const OBJECT: Word = { status: 404, code: 'global/object-does-not-exist', suggestion: 'Check the name or id, then try again.' }
const CONFLICT: Word = { status: 409, code: 'global/conflict', suggestion: 'Wait until the instance is active, then try again.' }
const CAPACITY: Word = {
  status: 400,
  code: 'instance-operations/launch/insufficient-capacity',
  message: 'Not enough capacity to fulfill launch request.',
}
const QUOTA: Word = { status: 400, code: 'global/quota-exceeded', message: 'Quota exceeded.' }
const UNAVAILABLE: Word = { status: 503, code: 'provider/internal-unavailable', suggestion: 'Try again shortly.' }

const WORDS: Readonly<Record<ErrorCode, Word>> = {
  invalid_request: INVALID,
  invalid_name: INVALID,
  invalid_size: INVALID,
  invalid_image_name: INVALID,
  unauthenticated: {
    status: 401,
    code: 'global/invalid-api-key',
    message: 'API key was invalid, expired, or deleted.',
    suggestion: 'Check your API key or create a new one, then try again.',
  },
  forbidden: { status: 403, code: 'global/forbidden', suggestion: 'Use a key that has this scope.' },
  not_found: MISSING,
  ambiguous: INVALID,
  name_conflict: INVALID,
  already_exists: INVALID,
  invalid_state: CONFLICT,
  image_not_found: OBJECT,
  image_not_ready: OBJECT,
  image_failed: OBJECT,
  image_in_use: CONFLICT,
  invalid_archive: INVALID,
  archive_too_large: INVALID,
  registry_unreachable: UNAVAILABLE,
  registry_denied: OBJECT,
  rate_limited: { status: 429, code: 'global/rate-limited', suggestion: 'Try again in a second.' },
  volume_not_found: OBJECT,
  volume_in_use: CONFLICT,
  volume_conflict: CONFLICT,
  port_in_use: CONFLICT,
  device_not_found: CAPACITY,
  insufficient_resources: CAPACITY,
  limit_exceeded: QUOTA,
  disk_full: CAPACITY,
  idempotency_conflict: CONFLICT,
  guest_unreachable: UNAVAILABLE,
  guest_path: INVALID,
  command_not_found: INVALID,
  log_not_found: MISSING,
  timeout: UNAVAILABLE,
  cancelled: UNAVAILABLE,
  host_unavailable: UNAVAILABLE,
  not_supported: INVALID,
  shutting_down: UNAVAILABLE,
  internal: {
    status: 500,
    code: 'global/internal-error',
    message: 'An internal server error occurred.',
    suggestion: 'Try again later.',
  },
}

/** Words of this dialect's own, for what the engine has a wider code for. */
const OWN = {
  object: OBJECT,
  duplicate: { status: 400, code: 'global/duplicate', suggestion: 'Choose another name.' },
  wrongRegion: { status: 400, code: 'instance-operations/launch/file-system-in-wrong-region' },
  fileSystemInUse: { status: 400, code: 'filesystems/filesystem-in-use', suggestion: 'Terminate the instances that have it, then try again.' },
  rulesetInUse: {
    status: 400,
    code: 'firewall-rulesets/firewall-ruleset-in-use',
    message: 'Firewall ruleset is in use by one or more instances.',
    suggestion: 'Terminate all instances that are using the ruleset before deleting it.',
  },
} as const satisfies Readonly<Record<string, Word>>

/** Details of an error of this dialect: which word it is, and what to do about it. */
const SUGGESTION = 'suggestion'
const WORD = 'lambdaWord'

export function fieldError(field: string, description: string, suggestion?: string): BerthError {
  return new BerthError('invalid_request', `${field}: ${description}`, { details: { field, ...(suggestion === undefined ? {} : { [SUGGESTION]: suggestion }) } })
}

export function instanceMissing(cause?: unknown): BerthError {
  return objectMissing('Specified instance does not exist.', 'Check the id with GET /api/v1/instances, then try again.', cause)
}

/** Something that a request names and that isn't there. */
export function objectMissing(message: string, suggestion: string, cause?: unknown): BerthError {
  return new BerthError('not_found', message, { details: { [WORD]: 'object', [SUGGESTION]: suggestion }, cause })
}

/** An error that this dialect has a word of its own for. */
export function wordedError(word: keyof typeof OWN, message: string, cause?: unknown): BerthError {
  return new BerthError('invalid_request', message, { details: { [WORD]: word }, cause })
}

/** Any error of the catalogue, as status and body. */
export function presentError(error: BerthError): WireError {
  const own = ownWord(error)
  const word = own ?? WORDS[error.code]
  const given = error.details[SUGGESTION]
  // What is wrong with Berth itself is in its log, not on the wire.
  const rest = word.message === undefined || word.status >= 500 ? undefined : error.message
  const suggestion = typeof given === 'string' ? given : (word.suggestion ?? rest)
  const body: ErrorBody = {
    error: { code: word.code, message: word.message ?? error.message, ...(suggestion === undefined ? {} : { suggestion }) },
  }
  return { status: word.status, headers: word.status === 429 ? { 'retry-after': '1' } : {}, body }
}

function ownWord(error: BerthError): Word | null {
  const name = error.details[WORD]
  return typeof name === 'string' && name in OWN ? OWN[name as keyof typeof OWN] : null
}
