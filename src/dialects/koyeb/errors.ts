/**
 * Engine errors on the Koyeb wire.
 *
 * Only 400, 401, 403, 404, 429, 500 and 503 are ever answered: for any other status its Go client decodes a body
 * with a numeric `code` while its control panel wants a text, and no body is both. `status`, `code` and `message`
 * are always there (the CLI falls over without `status`), and 400 always has `fields`.
 */
import { BerthError, toldSentence } from '../../instance/errors.ts'
import type { ErrorCode } from '../../instance/errors.ts'
import type { WireError } from '../dialect.ts'
import type * as wire from './schema.ts'

type WireCode =
  | 'invalid_argument'
  | 'failed_precondition'
  | 'unauthorized'
  | 'authorization_error'
  | 'not_found'
  | 'rate_limit_exceeded'
  | 'internal_server_error'
  | 'service_unavailable'

/** Each code's HTTP status, and the gRPC code that streams tell. */
const CODES: Readonly<Record<WireCode, { readonly status: number; readonly grpc: number }>> = {
  invalid_argument: { status: 400, grpc: 3 },
  failed_precondition: { status: 400, grpc: 9 },
  unauthorized: { status: 401, grpc: 16 },
  authorization_error: { status: 403, grpc: 7 },
  not_found: { status: 404, grpc: 5 },
  rate_limit_exceeded: { status: 429, grpc: 8 },
  internal_server_error: { status: 500, grpc: 13 },
  service_unavailable: { status: 503, grpc: 14 },
}

const WIRE: Readonly<Record<ErrorCode, WireCode>> = {
  invalid_request: 'invalid_argument',
  invalid_name: 'invalid_argument',
  invalid_size: 'invalid_argument',
  invalid_image_name: 'invalid_argument',
  unauthenticated: 'unauthorized',
  forbidden: 'authorization_error',
  not_found: 'not_found',
  ambiguous: 'invalid_argument',
  name_conflict: 'invalid_argument',
  already_exists: 'invalid_argument',
  invalid_state: 'failed_precondition',
  image_not_found: 'not_found',
  image_not_ready: 'failed_precondition',
  image_failed: 'failed_precondition',
  image_in_use: 'failed_precondition',
  invalid_archive: 'invalid_argument',
  archive_too_large: 'invalid_argument',
  registry_unreachable: 'service_unavailable',
  registry_denied: 'failed_precondition',
  rate_limited: 'rate_limit_exceeded',
  volume_not_found: 'not_found',
  volume_in_use: 'failed_precondition',
  volume_conflict: 'failed_precondition',
  port_in_use: 'failed_precondition',
  device_not_found: 'not_found',
  insufficient_resources: 'service_unavailable',
  limit_exceeded: 'failed_precondition',
  disk_full: 'service_unavailable',
  idempotency_conflict: 'failed_precondition',
  guest_unreachable: 'service_unavailable',
  guest_path: 'invalid_argument',
  command_not_found: 'invalid_argument',
  log_not_found: 'not_found',
  timeout: 'service_unavailable',
  cancelled: 'service_unavailable',
  host_unavailable: 'service_unavailable',
  not_supported: 'invalid_argument',
  shutting_down: 'service_unavailable',
  internal: 'internal_server_error',
}

/** Details of an error of this dialect: which field is wrong. */
const FIELD = 'field'

/** A request with one field that is wrong. */
export function fieldError(field: string, description: string, cause?: unknown): BerthError {
  return new BerthError('invalid_request', `${field}: ${description}`, { details: { [FIELD]: field, description }, cause })
}

/** Any error of the catalogue, as status and body. */
export function presentError(error: BerthError): WireError {
  const code = WIRE[error.code]
  const { status } = CODES[code]
  const body: wire.ErrorBody = { status, code, message: toldSentence(error), ...(status === 400 ? { fields: fieldsOf(error) } : {}) }
  return { status, headers: {}, body }
}

/** The same error inside of a stream. */
export function presentStatus(error: BerthError): wire.RpcStatus {
  const message = WIRE[error.code]
  // Its console shows the details only next to failed_precondition; its CLI shows message and code.
  return { code: CODES[message].grpc, message, details: [{ '@type': 'type.googleapis.com/koyeb.Error', message: toldSentence(error) }] }
}

function fieldsOf(error: BerthError): readonly wire.ErrorField[] {
  const field = error.details[FIELD]
  if (typeof field !== 'string') return []
  const description = error.details['description']
  return [{ field, description: typeof description === 'string' ? description : error.message }]
}
