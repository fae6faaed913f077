/**
 * JSONPath as capability documents write it: RFC 9535, and beside it `$.` for the whole document and names with
 * dashes after a dot (`$.list-users.name`). A path that can find one thing gives it; one that can find many, a list.
 */
import { compile } from 'json-p3'
import type { JSONPathQuery, JSONValue } from 'json-p3'
import type { Json } from './model.ts'

/** Compiled paths are kept; a document has few of them. */
const MAX_KEPT = 1000
const kept = new Map<string, JSONPathQuery>()

/** What the path finds; `undefined` for nothing. Throws a SyntaxError for what is no path. */
export function findJson(path: string, document: Json): Json | undefined {
  const query = compiled(path)
  const found = query.query(document as JSONValue).values() as Json[]
  return query.singularQuery() ? found[0] : found
}

/** Why a text is no path; null if it is one. */
export function pathFault(path: string): string | null {
  try {
    compiled(path)
    return null
  } catch (error) {
    return error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
  }
}

function compiled(path: string): JSONPathQuery {
  const known = kept.get(path)
  if (known !== undefined) return known
  const query = compile(standard(path))
  if (kept.size >= MAX_KEPT) kept.clear()
  kept.set(path, query)
  return query
}

/** Outside of quotes and brackets, `.a-b` becomes `['a-b']`; a dot at the end means nothing. */
function standard(path: string): string {
  const trimmed = path.trim().replace(/\.$/, '')
  let depth = 0
  let quote: string | null = null
  let out = ''
  for (let at = 0; at < trimmed.length; at += 1) {
    const char = trimmed[at] ?? ''
    if (quote !== null) {
      if (char === '\\') out += trimmed[at++] ?? ''
      else if (char === quote) quote = null
      out += trimmed[at] ?? ''
      continue
    }
    if (char === '"' || char === "'") quote = char
    if (char === '[') depth += 1
    if (char === ']') depth -= 1
    const name = depth === 0 && char === '.' ? /^\.([\w*]*-[\w-]*)/.exec(trimmed.slice(at))?.[1] : undefined
    if (name === undefined) {
      out += char
      continue
    }
    out += `${trimmed[at - 1] === '.' ? '.' : ''}['${name}']`
    at += name.length
  }
  return out
}
