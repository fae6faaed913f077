/**
 * Times on the Koyeb wire. Out: RFC 3339 in UTC, always with six digits and a literal `Z` (its CLI reads no other
 * form in logs). In: whatever its clients send, which is also Python's `+0000` and Python's naive times.
 */

const TIME = /^(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d{1,9})?(?:[Zz]|([+ -])(\d{2}):?(\d{2}))?$/

/** `2026-07-01T10:00:00.123456Z` */
export function formatTime(atMs: number): string {
  const wholeMs = Math.floor(atMs)
  const micros = Math.min(999, Math.round((atMs - wholeMs) * 1000))
  const text = new Date(wholeMs).toISOString()
  const digits = micros < 10 ? `00${micros}` : micros < 100 ? `0${micros}` : micros
  return `${text.slice(0, -1)}${digits}Z`
}

export function formatNullableTime(atMs: number | null): string | null {
  return atMs === null ? null : formatTime(atMs)
}

/** Unix milliseconds, or null if it is no time. Without a zone it is UTC; a plus that became a space is a plus. */
export function parseTime(text: string): number | null {
  const match = TIME.exec(text)
  if (match === null) return null
  const [, date = '', time = '', fraction = '', sign, hours = '0', minutes = '0'] = match
  const base = Date.parse(`${date}T${time}Z`)
  if (Number.isNaN(base)) return null
  const zoneMs = (Number(hours) * 60 + Number(minutes)) * 60_000
  return wholeMicros(base + Number(`0${fraction}`) * 1000 + (sign === '-' ? zoneMs : -zoneMs))
}

/** As fine as the wire tells it: what is written and read back is the same number. */
export function wholeMicros(atMs: number): number {
  return Math.round(atMs * 1000) / 1000
}
