/**
 * Engine errors on the Mithril wire, in FastAPI's shapes: 422 with a list of problems for a request that is wrong,
 * `{"detail": "one sentence"}` for everything else.
 *
 * Of its clients one shows a 422 whose `loc` or `msg` speaks of a price as a bid that is too low, and one takes every
 * 5xx for an outage and asks five times more; so nothing a client sends is a 5xx but the 501 that the contract wants.
 */
import { BerthError } from '../../instance/errors.ts'
import type { ErrorCode } from '../../instance/errors.ts'
import type { WireError } from '../dialect.ts'
import type { Issue, Loc } from './validation.ts'
import { ValidationError, valueIssue } from './validation.ts'

const STATUS: Readonly<Record<ErrorCode, number>> = {
  invalid_request: 422,
  invalid_name: 422,
  invalid_size: 422,
  invalid_image_name: 422,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  ambiguous: 422,
  name_conflict: 422,
  already_exists: 422,
  invalid_state: 409,
  image_not_found: 422,
  image_not_ready: 422,
  image_failed: 422,
  image_in_use: 409,
  invalid_archive: 422,
  archive_too_large: 422,
  registry_unreachable: 503,
  registry_denied: 422,
  rate_limited: 429,
  volume_not_found: 404,
  volume_in_use: 422,
  volume_conflict: 422,
  port_in_use: 409,
  device_not_found: 422,
  insufficient_resources: 422,
  limit_exceeded: 422,
  disk_full: 422,
  idempotency_conflict: 409,
  guest_unreachable: 503,
  guest_path: 422,
  command_not_found: 422,
  log_not_found: 404,
  timeout: 503,
  cancelled: 503,
  host_unavailable: 503,
  not_supported: 501,
  shutting_down: 503,
  internal: 500,
}

/** Details of an error of this dialect: the whole body's `detail`, as JSON. */
const DETAIL = 'mithrilDetail'
/** Details of an error of this dialect: a status that no code stands for. */
const STATUS_DETAIL = 'mithrilStatus'

/** An answer that only this wire knows: its own status, and a sentence or an object as its detail. */
export function httpError(status: 400 | 403 | 404 | 405 | 409 | 422 | 501, detail: string | Readonly<Record<string, string>>, cause?: unknown): BerthError {
  const message = typeof detail === 'string' ? detail : (detail['message'] ?? '')
  return new BerthError(status === 404 ? 'not_found' : 'invalid_request', message, {
    details: { [STATUS_DETAIL]: status, [DETAIL]: JSON.stringify(detail) },
    cause,
  })
}

/** Any error of the catalogue, as status and body. */
export function presentError(error: BerthError): WireError {
  const own = error.details[STATUS_DETAIL]
  if (typeof own === 'number') return { status: own, headers: {}, body: { detail: JSON.parse(String(error.details[DETAIL])) as unknown } }
  const status = STATUS[error.code]
  if (error instanceof ValidationError) return { status, headers: {}, body: { detail: error.issues } }
  if (status === 422) return { status, headers: {}, body: { detail: [issueOf(error)] } }
  if (status === 401) return { status, headers: { 'www-authenticate': 'Bearer' }, body: { detail: 'Not authenticated' } }
  if (status === 500) return { status, headers: {}, body: { detail: 'Internal Server Error' } }
  return { status, headers: status === 429 ? { 'retry-after': '1' } : {}, body: { detail: error.message } }
}

/** An error of the engine, as a problem of the member that it is about. */
export function asValidation(error: unknown, loc: Loc): unknown {
  if (!(error instanceof BerthError) || error instanceof ValidationError || error.details[STATUS_DETAIL] !== undefined) return error
  return STATUS[error.code] === 422 ? new ValidationError([{ ...issueOf(error), loc }], { cause: error }) : error
}

function issueOf(error: BerthError): Issue {
  const { field } = error.details
  return valueIssue(typeof field === 'string' ? ['body', field] : ['body'], error.message, null)
}
