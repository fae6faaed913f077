/** Times on the Hypeman wire: RFC 3339 in UTC, with the fraction only where there is one; and Go durations. */

/** `2026-01-16T10:30:00.123Z`; fractions of a millisecond are kept as far as the number has them. */
export function formatTimestamp(atMs: number): string {
  const wholeMs = Math.floor(atMs)
  const text = new Date(wholeMs).toISOString()
  const micros = Math.round((atMs - wholeMs) * 1000)
  const fraction = `${text.slice(20, 23)}${micros >= 1 && micros <= 999 ? String(micros).padStart(3, '0') : ''}`.replace(/0+$/, '')
  return `${text.slice(0, 19)}${fraction === '' ? '' : `.${fraction}`}Z`
}

export function formatNullableTimestamp(atMs: number | null): string | null {
  return atMs === null ? null : formatTimestamp(atMs)
}

/** Seconds precision, as volumes have it. */
export function formatTimestampSeconds(atMs: number): string {
  return formatTimestamp(Math.floor(atMs / 1000) * 1000)
}

/** Unix milliseconds of an RFC 3339 time with its offset, or null. */
export function parseTimestamp(text: string): number | null {
  if (!/^\d{4}-\d{2}-\d{2}[Tt]\d{2}:\d{2}:\d{2}(\.\d{1,9})?([Zz]|[+-]\d{2}:\d{2})$/.test(text)) return null
  const at = Date.parse(text.toUpperCase())
  return Number.isNaN(at) ? null : at
}

const DURATION_UNITS_MS: ReadonlyMap<string, number> = new Map([
  ['ns', 1e-6],
  ['us', 1e-3],
  ['µs', 1e-3],
  ['μs', 1e-3],
  ['ms', 1],
  ['s', 1000],
  ['m', 60_000],
  ['h', 3_600_000],
])

/** Milliseconds of a Go duration (`1h30m`, `1.5s`, `0`), or null. */
export function parseGoDuration(text: string): number | null {
  if (text.length > 64) return null
  const sign = text.startsWith('-') ? -1 : 1
  const rest = text.replace(/^[+-]/, '')
  if (rest === '0') return 0
  if (!/^((\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h))+$/.test(rest)) return null
  let totalMs = 0
  for (const [, number, unit] of rest.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|μs|ms|s|m|h)/g)) {
    totalMs += Number(number) * (DURATION_UNITS_MS.get(unit ?? '') ?? Number.NaN)
  }
  return Number.isFinite(totalMs) ? sign * totalMs : null
}

/** A Go duration's own spelling: `1h30m0s`, `1.5s`, `250ms`, `0s`. */
export function formatGoDuration(ms: number): string {
  if (ms === 0) return '0s'
  if (ms < 1000) return `${ms}ms`
  const hours = Math.floor(ms / 3_600_000)
  const minutes = Math.floor((ms % 3_600_000) / 60_000)
  const seconds = Number(((ms % 60_000) / 1000).toFixed(3))
  if (hours > 0) return `${hours}h${minutes}m${seconds}s`
  return minutes > 0 ? `${minutes}m${seconds}s` : `${seconds}s`
}
