/** Engine error → status and body. One table; a code that is missing here does not compile. */
import { asBerthError, BerthError, isRetrySane, toldSentence } from '../../instance/errors.ts'
import type { ErrorCode } from '../../instance/errors.ts'
import type { WireError } from '../dialect.ts'

const STATUS: Readonly<Record<ErrorCode, number>> = {
  invalid_request: 400,
  invalid_name: 400,
  invalid_size: 400,
  invalid_image_name: 400,
  unauthenticated: 401,
  forbidden: 403,
  not_found: 404,
  ambiguous: 409,
  name_conflict: 409,
  already_exists: 409,
  invalid_state: 409,
  image_not_found: 404,
  image_not_ready: 409,
  image_failed: 409,
  image_in_use: 409,
  invalid_archive: 400,
  archive_too_large: 413,
  registry_unreachable: 502,
  registry_denied: 403,
  rate_limited: 429,
  volume_not_found: 404,
  volume_in_use: 409,
  volume_conflict: 409,
  port_in_use: 409,
  device_not_found: 404,
  insufficient_resources: 409,
  limit_exceeded: 413,
  disk_full: 507,
  idempotency_conflict: 409,
  guest_unreachable: 503,
  guest_path: 422,
  command_not_found: 422,
  log_not_found: 404,
  timeout: 504,
  cancelled: 409,
  host_unavailable: 503,
  not_supported: 422,
  shutting_down: 503,
  internal: 500,
}

/** The body of an error, as every route and every stream tells it. */
export function errorBody(error: BerthError) {
  // What a library said may lack its full stop.
  const sentence = toldSentence(error)
  const message = /[.!?]$/.test(sentence) ? sentence : `${sentence}.`
  return { error: { code: error.code, message, details: error.details, retry: isRetrySane(error) } }
}

export function presentError(error: BerthError): WireError {
  const headers: Record<string, string> = {}
  if (error.code === 'unauthenticated') headers['www-authenticate'] = 'Bearer realm="berth"'
  if (error.code === 'rate_limited' || error.code === 'shutting_down') headers['retry-after'] = '1'
  return { status: STATUS[error.code], headers, body: errorBody(error) }
}

/** What Fastify itself throws before a handler runs, in the words of the catalogue. */
export function fromFramework(error: unknown): BerthError {
  if (error instanceof BerthError) return error
  const { code, statusCode, message } = error as { code?: unknown; statusCode?: unknown; message?: unknown }
  const status = typeof statusCode === 'number' ? statusCode : 500
  if (status === 413) return new BerthError('limit_exceeded', 'The body is larger than this route takes; send less.', { cause: error })
  if (status === 415) {
    return new BerthError('invalid_request', 'This route does not take that Content-Type; send application/json.', { cause: error })
  }
  if (status === 404) return new BerthError('not_found', 'There is no such path.', { cause: error })
  if (status === 503) return new BerthError('shutting_down', 'Berth is shutting down; try again in a moment.', { cause: error })
  if (status >= 400 && status < 500) {
    const text = typeof message === 'string' ? message : String(code)
    return new BerthError('invalid_request', `The request can't be read: ${text}.`, { cause: error })
  }
  return asBerthError(error)
}
