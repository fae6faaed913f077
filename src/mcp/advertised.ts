/**
 * A tool's schema as clients are told it: what a model pays for with every list and that says nothing is left out.
 * What is accepted does not change: calls are checked by the schema itself.
 */
import type { StandardSchemaWithJSON } from '@modelcontextprotocol/server'

type Node = Readonly<Record<string, unknown>>

/** Formats of our own checks, which no client knows; their pattern says the same. */
const OWN_FORMATS: ReadonlySet<unknown> = new Set(['starts_with'])

/** The same schema, shorter where it is told. */
export function advertised(schema: StandardSchemaWithJSON): StandardSchemaWithJSON {
  const standard = schema['~standard']
  const { jsonSchema } = standard
  return {
    '~standard': {
      ...standard,
      jsonSchema: {
        input: options => shortened(jsonSchema.input(options)) as Record<string, unknown>,
        output: options => shortened(jsonSchema.output(options)) as Record<string, unknown>,
      },
    },
  }
}

/** Says the same in fewer words. The dialect is MCP's own default, 2020-12. */
export function shortened(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(shortened)
  if (typeof value !== 'object' || value === null) return value
  const node = nullableInOne(value as Node)
  const entries = Object.entries(node).filter(([key, each]) => !saysNothing(key, each) && !isTold(key, node))
  return Object.fromEntries(entries.map(([key, each]) => [key, key === 'properties' ? eachShortened(each as Node) : shortened(each)]))
}

/** The names of properties are no keywords. */
function eachShortened(properties: Node): Node {
  return Object.fromEntries(Object.entries(properties).map(([name, each]) => [name, shortened(each)]))
}

/** The pattern of a time is long, and its format says the same. */
function isTold(key: string, { format }: Node): boolean {
  return key === 'pattern' && format === 'date-time'
}

function saysNothing(key: string, value: unknown): boolean {
  switch (key) {
    case '$schema':
      return true
    case 'minimum':
      return value === Number.MIN_SAFE_INTEGER
    case 'maximum':
      return value === Number.MAX_SAFE_INTEGER
    case 'format':
      return OWN_FORMATS.has(value)
    case 'propertyNames':
      // Names are texts anyhow.
      return JSON.stringify(value) === '{"type":"string"}'
    default:
      return false
  }
}

/** `anyOf` of one type and null is one schema of two types, where its other words are of that type alone. */
function nullableInOne(node: Node): Node {
  const { anyOf, ...rest } = node
  if (!Array.isArray(anyOf) || anyOf.length !== 2) return node
  const [one, other] = anyOf as readonly Node[]
  if (one === undefined || other?.['type'] !== 'null' || Object.keys(other).length !== 1) return node
  if (typeof one['type'] !== 'string' || 'enum' in one || 'const' in one) return node
  return { ...one, ...rest, type: [one['type'], 'null'] }
}
