/**
 * Times on the Mithril wire. Out: RFC 3339 in UTC with `Z` and none or six digits, which Go's `time.Time` and older
 * Pythons' `fromisoformat` both read. In: what pydantic takes: a zone as `Z` or an offset, none (UTC), a bare date, a Unix
 * number. A plus that was not escaped arrives as a space and is refused, as it is there.
 */

const DATE = /^(\d{4})-(\d{2})-(\d{2})(?:[Tt ](\d{2}):(\d{2})(?::(\d{2})(\.\d{1,9})?)?(?:([Zz])|([+-])(\d{2}):?(\d{2}))?)?$/
const NUMBER = /^-?\d{1,15}(?:\.\d{1,9})?$/
/** Unix numbers above this are milliseconds (pydantic's own border). */
const SECONDS_LIMIT = 2e10
const FIRST_MS = Date.UTC(1, 0, 1)
const LAST_MS = Date.UTC(9999, 11, 31, 23, 59, 59)

export type ParsedTime =
  | { readonly atMs: number }
  /** `isType` where not even its type can be a time. */
  | { readonly problem: string; readonly isType: boolean }

/** `2024-01-01T00:00:00Z`, with six digits where there is a fraction. */
export function formatTime(atMs: number): string {
  const wholeMs = Math.floor(atMs)
  const micros = Math.min(999, Math.round((atMs - wholeMs) * 1000))
  const text = new Date(wholeMs).toISOString()
  if (micros === 0 && text.endsWith('.000Z')) return `${text.slice(0, -5)}Z`
  return `${text.slice(0, -1)}${String(micros).padStart(3, '0')}Z`
}

export function formatNullableTime(atMs: number | null): string | null {
  return atMs === null ? null : formatTime(atMs)
}

export function parseTime(value: unknown): ParsedTime {
  if (typeof value === 'number') return ofNumber(value)
  if (typeof value !== 'string') return { problem: 'it is neither text nor a number', isType: true }
  if (NUMBER.test(value)) return ofNumber(Number(value))
  const match = DATE.exec(value)
  if (match === null) return { problem: value.length < 10 ? 'input is too short' : 'invalid character in it', isType: false }
  const [, year, month, day, hours = '0', minutes = '0', seconds = '0', fraction = '', , sign, zoneHours = '0', zoneMinutes = '0'] = match
  const dateMs = Date.UTC(Number(year), Number(month) - 1, Number(day))
  const isDate = new Date(dateMs).getUTCMonth() === Number(month) - 1 && Number(day) > 0
  if (!isDate) return { problem: 'day value is outside expected range', isType: false }
  if (Number(hours) > 23 || Number(minutes) > 59 || Number(seconds) > 59) return { problem: 'time value is outside expected range', isType: false }
  if (Number(zoneHours) > 23 || Number(zoneMinutes) > 59) return { problem: 'timezone offset is outside expected range', isType: false }
  const timeMs = (Number(hours) * 3600 + Number(minutes) * 60 + Number(seconds) + Number(`0${fraction}`)) * 1000
  const zoneMs = (Number(zoneHours) * 60 + Number(zoneMinutes)) * 60_000
  return bounded(Math.round((dateMs + timeMs + (sign === '-' ? zoneMs : -zoneMs)) * 1000) / 1000)
}

function ofNumber(number: number): ParsedTime {
  if (!Number.isFinite(number)) return { problem: 'it is not a finite number', isType: false }
  return bounded(Math.abs(number) > SECONDS_LIMIT ? number : number * 1000)
}

function bounded(atMs: number): ParsedTime {
  return atMs >= FIRST_MS && atMs <= LAST_MS ? { atMs } : { problem: 'year is outside expected range', isType: false }
}
