/** Text as Go's strconv quotes it: what errors on Hypeman's wire show of a client's input. */

const SHORT_ESCAPES: ReadonlyMap<string, string> = new Map([
  ['\u0007', '\\a'],
  ['\b', '\\b'],
  ['\f', '\\f'],
  ['\n', '\\n'],
  ['\r', '\\r'],
  ['\t', '\\t'],
  ['\v', '\\v'],
  ['\\', '\\\\'],
  ['"', '\\"'],
])

/** Go's printable: letters, marks, numbers, punctuation, symbols and the plain space. */
const PRINTABLE = /^[\p{L}\p{M}\p{N}\p{P}\p{S} ]$/u

/** Longer input is cut in messages; an error must not echo a megabyte. */
export const QUOTE_LIMIT_CHARACTERS = 200

/** The text in double quotes with Go's escapes, cut at `QUOTE_LIMIT_CHARACTERS`. */
export function quoteGo(text: string): string {
  let quoted = ''
  for (const letter of text.slice(0, QUOTE_LIMIT_CHARACTERS)) quoted += escaped(letter)
  return `"${quoted}${text.length > QUOTE_LIMIT_CHARACTERS ? '…' : ''}"`
}

function escaped(letter: string): string {
  const short = SHORT_ESCAPES.get(letter)
  if (short !== undefined) return short
  if (PRINTABLE.test(letter)) return letter
  const code = letter.codePointAt(0) ?? 0
  if (code < 0x20 || code === 0x7f) return `\\x${hex(code, 2)}`
  // A lone surrogate has no UTF-8; Go would have seen the replacement character.
  if (code >= 0xd800 && code <= 0xdfff) return '�'
  return code < 0x10000 ? `\\u${hex(code, 4)}` : `\\U${hex(code, 8)}`
}

function hex(code: number, digits: number): string {
  return code.toString(16).padStart(digits, '0')
}
