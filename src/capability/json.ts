/** JSON from outside: read only as deep as what walks through it afterwards can go. */
import type { Json } from './model.ts'

/** Maps and lists in one another. */
export const MAX_DEPTH = 200

export class TooDeep extends Error {
  override readonly name = 'TooDeep'
}

/** Throws TooDeep, or a SyntaxError for what is no JSON. */
export function parseJson(text: string): Json {
  let depth = 0
  let isQuoted = false
  for (let at = 0; at < text.length; at += 1) {
    const char = text.charCodeAt(at)
    if (isQuoted) {
      if (char === BACKSLASH) at += 1
      else if (char === QUOTE) isQuoted = false
    } else if (char === QUOTE) isQuoted = true
    else if (char === OPEN_MAP || char === OPEN_LIST) {
      depth += 1
      if (depth > MAX_DEPTH) throw new TooDeep(`nested more than ${MAX_DEPTH} deep`)
    } else if (char === CLOSE_MAP || char === CLOSE_LIST) depth -= 1
  }
  return JSON.parse(text) as Json
}

/** Whether a value that was read elsewhere goes no deeper. */
export function isShallow(value: unknown, left = MAX_DEPTH): boolean {
  if (typeof value !== 'object' || value === null) return true
  return left > 0 && Object.values(value).every((each) => isShallow(each, left - 1))
}

const [QUOTE, BACKSLASH, OPEN_MAP, CLOSE_MAP, OPEN_LIST, CLOSE_LIST] = [0x22, 0x5c, 0x7b, 0x7d, 0x5b, 0x5d]
