/**
 * Engine errors on the Hypeman wire: one table from code to status and wire code, and the few messages whose
 * words its users know.
 *
 * Every body is `{"code", "message"}`. Handlers say snake_case codes; what happens before a handler
 * (authentication, schema, path) says the HTTP status text, as upstream does. `x-should-retry: false` goes
 * with every error that the same call will meet again: the SDKs would otherwise send each 409 three times.
 */
import { BerthError, isRetrySane, toldSentence } from '../../instance/errors.ts'
import type { ErrorCode } from '../../instance/errors.ts'
import { parseId, spellId } from '../../instance/ids.ts'
import type { WireError } from '../dialect.ts'
import type { ErrorBody } from './schema.ts'

interface WireCode {
  readonly status: number
  readonly code: string
}

const WIRE: Readonly<Record<ErrorCode, WireCode>> = {
  invalid_request: { status: 400, code: 'invalid_request' },
  invalid_name: { status: 400, code: 'invalid_name' },
  invalid_size: { status: 400, code: 'invalid_size' },
  invalid_image_name: { status: 400, code: 'invalid_name' },
  unauthenticated: { status: 401, code: 'Unauthorized' },
  forbidden: { status: 403, code: 'Forbidden' },
  not_found: { status: 404, code: 'not_found' },
  ambiguous: { status: 409, code: 'ambiguous' },
  // 400, not 409: what create of an instance answers.
  name_conflict: { status: 400, code: 'name_conflict' },
  already_exists: { status: 409, code: 'already_exists' },
  invalid_state: { status: 409, code: 'invalid_state' },
  image_not_found: { status: 404, code: 'not_found' },
  image_not_ready: { status: 400, code: 'image_not_ready' },
  image_failed: { status: 400, code: 'image_not_ready' },
  image_in_use: { status: 409, code: 'conflict' },
  invalid_archive: { status: 400, code: 'invalid_archive' },
  archive_too_large: { status: 400, code: 'archive_too_large' },
  registry_unreachable: { status: 404, code: 'not_found' },
  registry_denied: { status: 403, code: 'registry_denied' },
  rate_limited: { status: 429, code: 'rate_limited' },
  volume_not_found: { status: 404, code: 'not_found' },
  volume_in_use: { status: 409, code: 'conflict' },
  volume_conflict: { status: 409, code: 'conflict' },
  port_in_use: { status: 409, code: 'port_in_use' },
  device_not_found: { status: 404, code: 'device_not_found' },
  insufficient_resources: { status: 409, code: 'insufficient_resources' },
  limit_exceeded: { status: 400, code: 'invalid_request' },
  disk_full: { status: 409, code: 'insufficient_resources' },
  idempotency_conflict: { status: 409, code: 'idempotency_conflict' },
  // A guest can silence its own agent, so this is never a 5xx.
  guest_unreachable: { status: 409, code: 'guest_unreachable' },
  guest_path: { status: 400, code: 'invalid_path' },
  command_not_found: { status: 400, code: 'command_not_found' },
  log_not_found: { status: 404, code: 'log_not_found' },
  timeout: { status: 504, code: 'timeout' },
  cancelled: { status: 409, code: 'cancelled' },
  host_unavailable: { status: 503, code: 'host_unavailable' },
  not_supported: { status: 400, code: 'not_supported' },
  shutting_down: { status: 503, code: 'shutting_down' },
  internal: { status: 500, code: 'internal_error' },
}

/** Names a status where the code's own would be wrong; kept in the details of an error of this dialect. */
const WIRE_STATUS = 'hypemanStatus'
const WIRE_CODE = 'hypemanCode'

/** An error whose wire code is this dialect's own (`invalid_hotplug_size`, `missing_field`, …). */
export function wireError(
  code: ErrorCode,
  wireCode: string,
  message: string,
  options: { readonly status?: number; readonly cause?: unknown } = {},
): BerthError {
  const details = { [WIRE_CODE]: wireCode, ...(options.status === undefined ? {} : { [WIRE_STATUS]: options.status }) }
  return new BerthError(code, message, { details, cause: options.cause })
}

/** A request that doesn't match its schema; upstream's validator says it with the status text as code. */
export function schemaError(message: string, cause?: unknown): BerthError {
  return wireError('invalid_request', 'Bad Request', message, { cause })
}

/** Any error of the catalogue, as status, headers and body. */
export function presentError(error: BerthError): WireError {
  const wire = WIRE[error.code]
  const status = error.details[WIRE_STATUS]
  const code = error.details[WIRE_CODE]
  const body: ErrorBody = { code: typeof code === 'string' ? code : wire.code, message: inOwnSpelling(toldSentence(error)) }
  return {
    status: typeof status === 'number' ? status : wire.status,
    headers: isRetrySane(error) ? {} : { 'x-should-retry': 'false' },
    body,
  }
}

/** The engine's sentences name ids as it keeps them; here they are told as this wire spells them. */
function inOwnSpelling(message: string): string {
  return message.replace(/\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b/g, uuid => {
    const id = parseId('instance', 'native', uuid)
    return id === null ? uuid : spellId('instance', 'hypeman', id)
  })
}

/** The same error with another message; for the sentences that Hypeman's users know. */
export function reworded(error: BerthError, message: string): BerthError {
  return new BerthError(error.code, message, { details: error.details, cause: error })
}

export const RESOURCE_NOT_FOUND = 'resource not found'
export const RESOURCE_AMBIGUOUS = 'multiple resources match, use full ID'

export function resourceNotFound(): BerthError {
  return new BerthError('not_found', RESOURCE_NOT_FOUND)
}

export function resourceAmbiguous(): BerthError {
  return new BerthError('ambiguous', RESOURCE_AMBIGUOUS)
}
