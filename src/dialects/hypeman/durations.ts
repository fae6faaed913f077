/** Durations of requests, in Go's spelling. */
import { parseDuration } from '../../instance/duration.ts'
import { asBerthError } from '../../instance/errors.ts'
import { wireError } from './errors.ts'

/** Milliseconds, whole ones; refused with the code of the field that it is for. */
export function duration(text: string | undefined, fallbackMs: number, wireCode: string, field: string): number {
  if (text === undefined || text === '') return fallbackMs
  let ms: number
  try {
    ms = parseDuration(text)
  } catch (error) {
    throw wireError('invalid_request', wireCode, `invalid ${field}: ${asBerthError(error).message}`, { cause: error })
  }
  if (ms < 0) throw wireError('invalid_request', wireCode, `invalid ${field}: it must not be negative`)
  return Math.round(ms)
}
