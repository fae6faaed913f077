/** Durations as Go writes them (`5m`, `1h30m`, `500ms`), read to and printed from milliseconds. */
import { BerthError } from './errors.ts'
import { quoteGo } from './go-text.ts'

const UNITS_MS: ReadonlyMap<string, number> = new Map([
  ['ns', 1e-6],
  ['us', 1e-3],
  ['µs', 1e-3],
  ['μs', 1e-3],
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
])

/** Go counts nanoseconds in 63 bits: about 292 years. */
export const DURATION_LIMIT_MS = 2 ** 63 / 1e6

/** Milliseconds of a Go duration; may be negative or fractional. Throws `invalid_request` with Go's words. */
export function parseDuration(text: string): number {
  const negative = text.startsWith('-')
  const unsigned = /^[-+]/.test(text) ? text.slice(1) : text
  if (unsigned === '0') return 0
  if (unsigned === '') throw invalid(text)
  let totalMs = 0
  let at = 0
  const part = /([0-9]*)(\.?)([0-9]*)([^0-9.]*)/y
  while (at < unsigned.length) {
    part.lastIndex = at
    const match = part.exec(unsigned)
    const [whole, integer = '', , fraction = '', unit = ''] = match ?? []
    if (whole === undefined || integer + fraction === '') throw invalid(text)
    if (unit === '') throw new BerthError('invalid_request', `time: missing unit in duration ${quoteGo(text)}`)
    const factor = UNITS_MS.get(unit)
    if (factor === undefined) {
      throw new BerthError('invalid_request', `time: unknown unit ${quoteGo(unit)} in duration ${quoteGo(text)}`)
    }
    totalMs += Number(`${integer === '' ? '0' : integer}.${fraction === '' ? '0' : fraction}`) * factor
    at += whole.length
  }
  if (!(totalMs < DURATION_LIMIT_MS)) throw invalid(text)
  return negative ? -totalMs : totalMs
}

/** Milliseconds as Go prints a duration: `0s`, `500ms`, `1.5s`, `5m0s`, `1h30m0s`. Finer than 1 µs is dropped. */
export function formatDuration(durationMs: number): string {
  const sign = durationMs < 0 ? '-' : ''
  const micros = Math.round(Math.abs(durationMs) * 1000)
  if (micros === 0) return '0s'
  if (micros < 1000) return `${sign}${micros}µs`
  if (micros < 1_000_000) return `${sign}${micros / 1000}ms`
  const hours = Math.floor(micros / 3_600_000_000)
  const minutes = Math.floor(micros / 60_000_000) % 60
  const seconds = `${(micros % 60_000_000) / 1_000_000}s`
  if (hours > 0) return `${sign}${hours}h${minutes}m${seconds}`
  return minutes > 0 ? `${sign}${minutes}m${seconds}` : sign + seconds
}

function invalid(text: string): BerthError {
  return new BerthError('invalid_request', `time: invalid duration ${quoteGo(text)}`)
}
