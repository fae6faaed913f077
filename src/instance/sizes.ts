/**
 * Sizes and bandwidths as people write them: Hypeman's exact grammar and printing, and a friendlier
 * superset for Berth's own CLI. Units are powers of 1024; bit rates (`gbps`) are powers of 1000.
 *
 * Hypeman's clients compare the printed text, so its oddities are kept: exact powers print in the unit
 * below (`1024.0 MB`), and one decimal is rounded half to even as Go does.
 */
import { BerthError } from './errors.ts'
import { quoteGo } from './go-text.ts'

const KIB = 2 ** 10
const MIB = 2 ** 20
const GIB = 2 ** 30
const TIB = 2 ** 40
const PIB = 2 ** 50
const EIB = 2 ** 60
/** Decimal digits of 2^64 - 1. */
const UINT64_DIGITS = 20

/** Hypeman's unit words, in lower case. */
const UNITS: ReadonlyMap<string, number> = new Map([
  ['', 1],
  ['b', 1],
  ['byte', 1],
  ...unitWords('k', 'kilo', KIB),
  ...unitWords('m', 'mega', MIB),
  ...unitWords('g', 'giga', GIB),
  ...unitWords('t', 'tera', TIB),
  ...unitWords('p', 'peta', PIB),
  ['e', EIB],
  ['eb', EIB],
])

/** A capital prefix with a small `b` means bits, which Hypeman refuses instead of guessing. */
const BIT_UNITS: ReadonlySet<string> = new Set(['Kb', 'Mb', 'Gb', 'Tb', 'Pb', 'Eb'])

/** The printing units, largest first. */
const PRINTED: readonly (readonly [string, number])[] = [
  ['EB', EIB],
  ['PB', PIB],
  ['TB', TIB],
  ['GB', GIB],
  ['MB', MIB],
  ['KB', KIB],
]

const BIT_RATES: readonly (readonly [string, bigint])[] = [
  ['gbps', 1_000_000_000n],
  ['mbps', 1_000_000n],
  ['kbps', 1000n],
  ['bps', 1n],
]

/** What Go's strings.TrimSpace takes away. */
const GO_SPACE = '[\\t\\n\\v\\f\\r \\u0085\\u00a0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+'
const OUTER_SPACE = new RegExp(`^${GO_SPACE}|${GO_SPACE}$`, 'g')

/**
 * Bytes of a size in Hypeman's grammar: digits, optional space, optional unit (`4GB`, `512 mb`, `1024`).
 * The empty text is 0. Throws `invalid_size` with the words that Hypeman's server uses.
 */
export function parseDataSize(text: string): number {
  const digits = /^[0-9]*/.exec(text)?.[0] ?? ''
  if (digits === '' && text !== '') throw sizeError(text, 'invalid syntax')
  if (!fitsUint64(digits)) throw sizeError(text, 'value out of range')
  const unit = text.slice(digits.length).replace(OUTER_SPACE, '')
  if (BIT_UNITS.has(unit)) {
    throw sizeError(text, 'unit with capital unit prefix and lower case unit (b) - bits, not bytes ')
  }
  const factor = UNITS.get(unit.toLowerCase())
  if (factor === undefined) throw sizeError(text, 'invalid syntax')
  // Past 2^53 a number would no longer be exact; nothing of that size exists.
  const bytes = BigInt(digits === '' ? '0' : digits) * BigInt(factor)
  if (bytes > BigInt(Number.MAX_SAFE_INTEGER)) throw sizeError(text, 'value out of range')
  return Number(bytes)
}

/** A size as Hypeman prints it: `1024 B`, `512.0 MB`, `1024.0 MB` for 1 GB. */
export function formatDataSize(bytes: number): string {
  for (const [unit, factor] of PRINTED) {
    if (bytes > factor) return `${oneDecimal(bytes / factor)} ${unit}`
  }
  return `${bytes} B`
}

/**
 * Bytes a second of a bandwidth in Hypeman's grammar: bit rates (`1Gbps`, `100mbps`) in powers of 1000, or
 * a size with `/s` or `ps` (`125MB/s`). The empty text is 0. Throws `invalid_size`.
 */
export function parseBandwidth(text: string): number {
  const lower = text.replace(OUTER_SPACE, '').toLowerCase()
  for (const [suffix, factor] of BIT_RATES) {
    if (!lower.endsWith(suffix)) continue
    const digits = lower.slice(0, -suffix.length).replace(OUTER_SPACE, '')
    if (!/^[0-9]+$/.test(digits)) throw numberError(digits, 'invalid syntax')
    if (!fitsUint64(digits)) throw numberError(digits, 'value out of range')
    const bytes = (BigInt(digits) * factor) / 8n
    if (bytes > BigInt(Number.MAX_SAFE_INTEGER)) throw numberError(digits, 'value out of range')
    return Number(bytes)
  }
  return parseDataSize(lower.replace(/\/s$/, '').replace(/ps$/, ''))
}

/** Bytes a second as Hypeman prints them: `119.2 MB/s`. */
export function formatBandwidth(bytesPerSecond: number): string {
  return `${formatDataSize(bytesPerSecond)}/s`
}

/**
 * Bytes of a size as a person writes it: everything that Hypeman takes and that it prints, decimals and the
 * binary units (`1.5GiB`, `512M`, `0.5 t`, `1024.0 MB`). Throws `invalid_size` with a sentence that helps.
 */
export function parseFriendlySize(text: string): number {
  const match = /^\s*([0-9]{1,16})(?:\.([0-9]{1,16}))?\s*([a-z]*)\s*$/i.exec(text)
  const unit = match?.[3] ?? ''
  if (match === null || BIT_UNITS.has(unit)) throw friendlyError(text)
  const factor = UNITS.get(unit.toLowerCase().replace(/^([kmgtpe])ib?$/, '$1'))
  if (factor === undefined) throw friendlyError(text)
  const fraction = match[2] ?? ''
  const scaled = BigInt((match[1] ?? '') + fraction) * BigInt(factor)
  const bytes = scaled / 10n ** BigInt(fraction.length)
  if (bytes > BigInt(Number.MAX_SAFE_INTEGER)) {
    throw new BerthError('invalid_size', `The size ${quoteGo(text)} is larger than anything Berth can hold.`)
  }
  return Number(bytes)
}

/** A size for a person, in the unit that fits: `512 MiB`, `1.5 GiB`, `10 GiB`. */
export function formatFriendlySize(bytes: number): string {
  for (const [unit, factor] of PRINTED) {
    if (bytes < factor) continue
    const digits = oneDecimal(bytes / factor)
    return `${digits.endsWith('.0') ? digits.slice(0, -2) : digits} ${unit.charAt(0)}iB`
  }
  return `${bytes} B`
}

function unitWords(letter: string, word: string, factor: number): [string, number][] {
  return [letter, `${letter}b`, word, `${word}byte`, `${word}bytes`].map((name) => [name, factor])
}

function fitsUint64(digits: string): boolean {
  const significant = digits.replace(/^0+/, '')
  // The length first: converting a megabyte of digits would take minutes.
  return significant.length <= UINT64_DIGITS && BigInt(`0${significant}`) < 1n << 64n
}

/** One decimal, correctly rounded, exact ties to the even digit; JavaScript's toFixed takes them up. */
function oneDecimal(value: number): string {
  const quarters = value * 4
  const isTie = Number.isInteger(quarters) && !Number.isInteger(value * 2)
  if (!isTie) return value.toFixed(1)
  const below = Math.floor(value * 10)
  return ((below % 2 === 0 ? below : below + 1) / 10).toFixed(1)
}

function sizeError(text: string, problem: string): BerthError {
  return new BerthError('invalid_size', `strconv.UnmarshalText: parsing ${quoteGo(text)}: ${problem}`)
}

function numberError(text: string, problem: string): BerthError {
  return new BerthError('invalid_size', `strconv.ParseInt: parsing ${quoteGo(text)}: ${problem}`)
}

function friendlyError(text: string): BerthError {
  return new BerthError('invalid_size', `${quoteGo(text)} is not a size: write a number and a unit, like 512M or 1.5GiB.`)
}
