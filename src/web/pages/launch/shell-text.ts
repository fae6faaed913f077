/** Text that a shell reads as it is meant. Pure. */

/** What is longer is laid out over several lines. */
const SHORT_CHARACTERS = 60

/** One word, quoted where it must be. */
export function quoteWord(word: string): string {
  return /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`
}

/** Text as the input of a command: what stands after it, taken as it is. */
export function hereDocument(text: string): string {
  const lines = text.replace(/\n$/, '').split('\n')
  let end = 'END'
  while (lines.includes(end)) end += '_'
  return [`<<'${end}'`, ...lines, end].join('\n')
}

/** A command over several lines, one option a line. */
export function joinLines(parts: readonly string[]): string {
  return parts.join(' \\\n  ')
}

/** A body of JSON as one word: on one line if it is short, else laid out. */
export function quoteJson(body: unknown): string {
  const short = JSON.stringify(body)
  return quoteWord(short.length <= SHORT_CHARACTERS ? short : layOut(body, ''))
}

/** Like JSON.stringify with two spaces, but what fits a line stays on it. */
function layOut(value: unknown, indent: string): string {
  const short = JSON.stringify(value)
  if (typeof value !== 'object' || value === null || short.length + indent.length <= SHORT_CHARACTERS) return short
  const inner = `${indent}  `
  const parts = Array.isArray(value)
    ? value.map(item => layOut(item, inner))
    : Object.entries(value).map(([name, item]) => `${JSON.stringify(name)}: ${layOut(item, inner)}`)
  const [open, close] = Array.isArray(value) ? ['[', ']'] : ['{', '}']
  return `${open}\n${parts.map(part => inner + part).join(',\n')}\n${indent}${close}`
}

/** Words with the quotes of a shell: `sh -c "echo hi"` is three. */
export function splitWords(text: string): readonly string[] {
  const words: string[] = []
  let word: string | null = null
  let quote: string | null = null
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? ''
    if (character === '\\' && isEscape(quote, text[at + 1])) word = (word ?? '') + (text[++at] ?? '')
    else if (quote !== null && character === quote) quote = null
    else if (quote === null && (character === '"' || character === "'")) {
      quote = character
      word ??= ''
    } else if (quote === null && /\s/.test(character)) {
      if (word !== null) words.push(word)
      word = null
    } else word = (word ?? '') + character
  }
  return word === null ? words : [...words, word]
}

/** Whether a backslash before that character takes its meaning from it. */
function isEscape(quote: string | null, next = ''): boolean {
  return quote === null || (quote === '"' && next !== '' && '"\\$`'.includes(next))
}
