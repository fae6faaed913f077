/** Times on the Hypeman wire: RFC 3339 in UTC, with the fraction only where there is one. */

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
