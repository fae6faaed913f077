/** The `schema` of a declared response: what a success must be, checked before it is given. JSON Schema 2020-12, of one document. */
import { Check, Errors } from 'typebox/schema'
import { Failure } from './failure.ts'
import type { Json, JsonObject } from './model.ts'
import { isObject } from './shape.ts'

const TYPES: ReadonlySet<unknown> = new Set(['string', 'number', 'integer', 'boolean', 'object', 'array', 'null'])
/** Words whose values are schemas by name, and words whose values are data, not schemas. */
const MAPS: ReadonlySet<string> = new Set(['properties', 'patternProperties', '$defs', 'definitions', 'dependentSchemas'])
const DATA: ReadonlySet<string> = new Set(['const', 'enum', 'default', 'example', 'examples', 'required', 'dependentRequired'])

/** Throws `upstream_error` that names the place, where the answer is not what the document says of it. */
export function requireSchema(value: Json, schema: JsonObject, status: number): void {
  if (Check(schema, value)) return
  const [, errors] = Errors(schema, value)
  const [first] = errors.toSorted((a, b) => b.instancePath.length - a.instancePath.length)
  const where = first === undefined || first.instancePath === '' ? 'it' : first.instancePath
  throw new Failure('upstream_error', `The answer is not what the document's schema of ${status} says: ${where} ${first?.message ?? 'is wrong'}.`)
}

/** Why a schema can't be held; null if it can. */
export function schemaFault(schema: unknown, root: unknown = schema): string | null {
  if (typeof schema === 'boolean') return null
  if (!isObject(schema)) return 'is no schema: write a map'
  for (const [word, value] of Object.entries(schema)) {
    const fault = faultOfWord(word, value, root)
    if (fault !== null) return fault
  }
  return null
}

function faultOfWord(word: string, value: unknown, root: unknown): string | null {
  if (word === 'type') {
    const odd = (Array.isArray(value) ? (value as unknown[]) : [value]).find((each) => !TYPES.has(each))
    return odd === undefined ? null : `has the type ${JSON.stringify(odd)}, which JSON Schema doesn't know`
  }
  if (word === '$ref') return faultOfReference(value, root)
  if (word === 'pattern') return isPattern(value) ? null : 'has a pattern that is no regular expression'
  if (DATA.has(word)) return null
  if (word === 'patternProperties' && isObject(value) && !Object.keys(value).every(isPattern)) return 'has a pattern that is no regular expression'
  if (MAPS.has(word)) return isObject(value) ? firstFault(Object.values(value), root) : `has ${word} that are no map`
  if (Array.isArray(value)) return firstFault((value as unknown[]).filter(isObject), root)
  return isObject(value) ? schemaFault(value, root) : null
}

/** What a reference leads to must be there, and be more than references in a ring. Names (`$anchor`) are not looked up. */
function faultOfReference(reference: unknown, root: unknown): string | null {
  const seen = new Set<string>()
  for (let next = reference; ; ) {
    if (typeof next !== 'string' || !next.startsWith('#')) return 'refers to another document, which is not fetched: write it out'
    if (seen.has(next)) return `refers to ${JSON.stringify(next)}, which leads back to itself`
    seen.add(next)
    if (next !== '#' && !next.startsWith('#/')) return null
    const target = placeOf(root, next.slice(1))
    if (target === undefined) return `refers to ${JSON.stringify(next)}, which is not in it: references begin at the schema itself`
    if (!isObject(target) || target['$ref'] === undefined) return null
    next = target['$ref']
  }
}

/** The place that a JSON pointer names; undefined if it is not there. */
function placeOf(root: unknown, pointer: string): unknown {
  const words = pointer.split('/').slice(1).map((word) => word.replaceAll('~1', '/').replaceAll('~0', '~'))
  return words.reduce<unknown>((at, word) => ((isObject(at) || Array.isArray(at)) && Object.hasOwn(at, word) ? (at as Readonly<Record<string, unknown>>)[word] : undefined), root)
}

function firstFault(schemas: readonly unknown[], root: unknown): string | null {
  for (const each of schemas) {
    const fault = schemaFault(each, root)
    if (fault !== null) return fault
  }
  return null
}

function isPattern(value: unknown): boolean {
  try {
    return typeof value === 'string' && new RegExp(value, 'u').source !== ''
  } catch {
    return false
  }
}
