/**
 * A vendor's published OpenAPI document as a judge of answers, each dialect's tests' common ground.
 *
 * The documents lie beside the checkout and are not part of it; a clone without them skips the check visibly.
 */
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { Ajv } from 'ajv'
import type { ValidateFunction } from 'ajv'
import addFormats from 'ajv-formats'

type Json = Readonly<Record<string, unknown>>

interface OpenApi {
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly responses: Readonly<Record<string, Response>> }>>>>
  readonly components: { readonly schemas: Record<string, unknown> }
}
interface Response {
  readonly content?: Readonly<Record<string, { readonly schema?: object }>>
}

/** What the document says about one answer. */
export interface Declared {
  /** `GET /instances/{id} 200` */
  readonly label: string
  /** null where it is silent about this status. */
  readonly response: Response | null
  /** Where the schema of its body stands; null where it declares none. */
  readonly pointer: string | null
}

export interface PublishedContract {
  declared(method: string, path: string, status: number): Declared
  /** Asserts that a value is what the schema at the pointer says; counts it under the label. */
  judge(label: string, pointer: string, value: unknown): void
  /** The labels that were judged so far. */
  readonly judged: ReadonlySet<string>
}

/** Where the contract of a dialect lies, if it is there. */
export function contractFile(dialect: string): string {
  return fileURLToPath(new URL(`../../../shared/contracts/${dialect}.openapi.json`, import.meta.url))
}

/** The contract, or null where it isn't beside the checkout. `mend` changes what is known to differ on the real wire. */
export function openContract(
  dialect: string,
  options: { readonly mend?: (document: OpenApi) => OpenApi; readonly formats?: readonly string[] } = {},
): PublishedContract | null {
  const file = contractFile(dialect)
  if (!existsSync(file)) return null
  const raw = JSON.parse(readFileSync(file, 'utf8')) as OpenApi
  const document = options.mend?.(raw) ?? raw
  const ajv = new Ajv({ strict: false, allErrors: true })
  addFormats.default(ajv)
  for (const format of options.formats ?? []) ajv.addFormat(format, true)
  ajv.addSchema(document, dialect)
  const compiled = new Map<string, ValidateFunction>()
  const judged = new Set<string>()
  return {
    judged,
    declared(method, path, status) {
      const template = templateOf(document, path)
      const verb = method.toLowerCase()
      const response = (template === null ? undefined : document.paths[template]?.[verb]?.responses[String(status)]) ?? null
      const media = Object.keys(response?.content ?? {})[0]
      const pointer = template === null || media === undefined ? null : pointerTo('paths', template, verb, 'responses', String(status), 'content', media, 'schema')
      return { label: `${method} ${template ?? path} ${status}`, response, pointer }
    },
    judge(label, pointer, value) {
      const validate = compiled.get(pointer) ?? ajv.compile({ $ref: `${dialect}#${pointer}` })
      compiled.set(pointer, validate)
      assert.ok(validate(value), `${label}: ${ajv.errorsText(validate.errors)}\n${JSON.stringify(value).slice(0, 2000)}`)
      judged.add(label)
    },
  }
}

/** A JSON pointer in a fragment: its escapes, and the percent-encoding that braces need. */
export function pointerTo(...parts: readonly string[]): string {
  return parts.map(part => `/${encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))}`).join('')
}

/** Every schema in a document that a published generator left `null` out of. */
export function withNulls<T>(value: T, mayBeNull: (schema: Json) => Json): T {
  if (Array.isArray(value)) return value.map(item => withNulls(item as unknown, mayBeNull)) as T
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).map(([key, item]: [string, unknown]) => {
    if (key !== 'properties') return [key, withNulls(item, mayBeNull)]
    const properties = Object.entries(item as Json).map(([name, schema]) => [name, mayBeNull(withNulls(schema, mayBeNull) as Json)])
    return [key, Object.fromEntries(properties)]
  })
  return Object.fromEntries(entries) as T
}

/** The template of the document that a path belongs to; a literal part beats a parameter. */
function templateOf(document: OpenApi, path: string): string | null {
  const parts = (path.split('?')[0] ?? '').split('/')
  const matching = Object.keys(document.paths).filter(template => {
    const pattern = template.split('/')
    return pattern.length === parts.length && pattern.every((part, index) => part.startsWith('{') || part === parts[index])
  })
  return matching.toSorted((a, b) => a.split('{').length - b.split('{').length)[0] ?? null
}
