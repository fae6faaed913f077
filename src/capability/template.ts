/**
 * Templates: `{{name}}` anywhere, and `{name}` in paths. A name is looked up as it is, then as a walk through nested
 * objects. Values go in as values: nothing that a caller gives is ever read as a template, a path or markup.
 */
import { invalid } from './failure.ts'
import type { Json, JsonObject } from './model.ts'

const MUSTACHE = /\{\{\{\s*([^{}\s]+)\s*\}\}\}|\{\{\s*([^{}\s]+)\s*\}\}/g
const IN_PATH = /\{\{\s*([^{}\s]+)\s*\}\}|\{([^{}\s]+)\}/g
/** An own property of this name would be read as the prototype by others. */
const RESERVED = new Set(['__proto__', 'constructor', 'prototype'])

/** What templates may name: first what the document binds, then what the call was given. */
export interface Scope {
  readonly variables: Readonly<Record<string, string>>
  readonly inputs: JsonObject
}

/** The value of a name: the exact key first, then the longest key that leads on through nested objects. */
export function lookUp(values: Json | undefined, name: string): Json | undefined {
  if (typeof values !== 'object' || values === null) return undefined
  if (Array.isArray(values)) return /^\d+$/.test(name.split('.')[0] ?? '') ? walk(values, name) : undefined
  const object = values as JsonObject
  if (Object.hasOwn(object, name)) return object[name]
  return walk(object, name)
}

function walk(values: Json, name: string): Json | undefined {
  const parts = name.split('.')
  for (let count = parts.length - 1; count >= 1; count -= 1) {
    const head = parts.slice(0, count).join('.')
    if (RESERVED.has(head) || !Object.hasOwn(values as object, head)) continue
    const found = lookUp((values as JsonObject)[head], parts.slice(count).join('.'))
    if (found !== undefined) return found
  }
  if (Array.isArray(values) && parts.length === 1) return values[Number(name)] as Json | undefined
  return undefined
}

export function inScope(scope: Scope, name: string): Json | undefined {
  return Object.hasOwn(scope.variables, name) ? scope.variables[name] : lookUp(scope.inputs, name)
}

/** The names in a text's `{{…}}`. */
export function namesIn(text: string): readonly string[] {
  return [...text.matchAll(MUSTACHE)].map((match) => match[1] ?? match[2] ?? '')
}

/** The names in a path's `{…}` and `{{…}}`. */
export function namesInPath(path: string): readonly string[] {
  return [...path.matchAll(IN_PATH)].map((match) => match[1] ?? match[2] ?? '')
}

/** A value that is one template is the very thing it names, with its type; otherwise text. `undefined` if it names nothing. */
export function renderValue(template: string, scope: Scope): Json | undefined {
  const [first, ...more] = [...template.trim().matchAll(MUSTACHE)]
  if (first?.[0] === template.trim() && more.length === 0) return inScope(scope, first[1] ?? first[2] ?? '')
  const missing = namesIn(template).some((name) => inScope(scope, name) === undefined)
  return missing ? undefined : renderText(template, scope)
}

/** Text with each template replaced by its value as text; a name without a value is nothing. */
export function renderText(template: string, scope: Scope, encode: (text: string) => string = (text) => text): string {
  return template.replace(MUSTACHE, (_, raw: string | undefined, name: string | undefined) => encode(spell(inScope(scope, raw ?? name ?? ''))))
}

/**
 * A path with each template replaced by one percent-encoded segment. A value that is empty or steps through
 * directories would name something else upstream, and is refused.
 */
export function renderPath(template: string, scope: Scope): string {
  const faults: { field: string; description: string }[] = []
  const path = template.replace(IN_PATH, (_, mustache: string | undefined, brace: string | undefined) => {
    const name = mustache ?? brace ?? ''
    const value = inScope(scope, name)
    const text = spell(value)
    if (value === undefined) faults.push({ field: name, description: 'is required.' })
    else if (text === '' || text === '.' || text === '..') faults.push({ field: name, description: `can't be "${text}".` })
    return encodeURIComponent(text)
  })
  if (faults.length > 0) throw invalid(faults)
  return path
}

/**
 * A JSON document. Data is walked, and a text that is one template becomes the typed value (or goes, if there is
 * none); a text is read as JSON whose templates stand inside quotes as text and outside of them as values.
 */
export function renderJson(data: Json, scope: Scope): Json | undefined {
  if (typeof data === 'string') return renderJsonText(data, scope)
  return renderTree(data, scope)
}

function renderTree(data: Json, scope: Scope): Json | undefined {
  if (typeof data === 'string') return renderValue(data, scope)
  if (Array.isArray(data)) return (data as readonly Json[]).flatMap((each) => renderTree(each, scope) ?? [])
  if (typeof data !== 'object' || data === null) return data
  const entries = Object.entries(data as JsonObject).flatMap(([key, each]): [string, Json][] => {
    const value = renderTree(each, scope)
    return value === undefined ? [] : [[key, value]]
  })
  return Object.fromEntries(entries)
}

function renderJsonText(template: string, scope: Scope): Json {
  let isQuoted = false
  let last = 0
  let out = ''
  for (const match of template.matchAll(MUSTACHE)) {
    const literal = template.slice(last, match.index)
    for (let at = 0; at < literal.length; at += 1) {
      if (literal[at] === '\\') at += 1
      else if (literal[at] === '"') isQuoted = !isQuoted
    }
    const value = inScope(scope, match[1] ?? match[2] ?? '')
    out += literal + (isQuoted ? JSON.stringify(spell(value)).slice(1, -1) : JSON.stringify(value ?? null))
    last = match.index + match[0].length
  }
  out += template.slice(last)
  try {
    return JSON.parse(out) as Json
  } catch {
    // A template that is no JSON is sent as the text that it is.
    return out
  }
}

/** A value as text: lists and objects as JSON. */
export function spell(value: Json | undefined): string {
  if (value === undefined || value === null) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}
