/**
 * Checks requests against the schemas, and says what is wrong in one sentence that names the field.
 *
 * Bodies are taken as they are; queries and paths arrive as text, so numbers, booleans and lists are read
 * from it first. Unknown fields are refused in both.
 */
import type { FastifySchemaCompiler } from 'fastify'
import { Compile } from 'typebox/compile'
import { Convert } from 'typebox/value'
import type { TSchema } from 'typebox'
import { BerthError } from '../../instance/errors.ts'
import { quoteGo } from '../../instance/go-text.ts'

/** A validation error as TypeBox tells it; only what is used here. */
interface Problem {
  readonly keyword: string
  readonly instancePath: string
  readonly message: string
  readonly params: Readonly<Record<string, unknown>>
}

/** For Fastify's `setValidatorCompiler`. */
export const validatorCompiler: FastifySchemaCompiler<TSchema> = ({ schema, httpPart }) => {
  // With the first request: most routes of a server are never asked, and a start would wait for all of them.
  let compiled: ReturnType<typeof Compile> | null = null
  const isText = httpPart !== 'body'
  return (given: unknown) => {
    // No body at all is null, which only those with an optional body take.
    const value = isText ? Convert(schema, listsOf(schema, given)) : (given ?? null)
    const check = (compiled ??= Compile(schema))
    if (check.Check(value)) return { value }
    return { error: problemOf(check.Errors(value) as readonly Problem[], isText ? 'parameter' : 'field') }
  }
}

/** A query key given once is text, given twice a list: where the schema wants a list, it is one. */
function listsOf(schema: TSchema, given: unknown): unknown {
  const properties = (schema as { properties?: Record<string, { type?: string }> }).properties
  if (properties === undefined || typeof given !== 'object' || given === null) return given
  return Object.fromEntries(
    Object.entries(given).map(([key, value]) => [key, properties[key]?.type === 'array' && !Array.isArray(value) ? [value] : value]),
  )
}

function problemOf(problems: readonly Problem[], what: string): BerthError {
  // An unknown key is told first: it is a typing error more often than anything else.
  const unknown = problems.find(({ keyword }) => keyword === 'additionalProperties')
  if (unknown !== undefined) {
    const [name] = unknown.params['additionalProperties'] as readonly string[]
    const path = fieldOf(`${unknown.instancePath}/${name ?? ''}`)
    return refused(path, `There is no ${what} ${quoteGo(path)} here; the API reference lists what there is.`)
  }
  const missing = problems.find(({ keyword }) => keyword === 'required')
  if (missing !== undefined) {
    const [name] = missing.params['requiredProperties'] as readonly string[]
    const path = fieldOf(`${missing.instancePath}/${name ?? ''}`)
    return refused(path, `The ${what} ${quoteGo(path)} is missing.`)
  }
  const problem = problems.find(({ keyword }) => keyword !== 'anyOf' && keyword !== 'boolean') ?? problems[0]
  if (problem === undefined) return refused('', 'The request does not have the right form.')
  const path = fieldOf(problem.instancePath)
  if (path === '') return refused('', `The ${what === 'field' ? 'body' : 'query'} ${problem.message}.`)
  const allowed = problem.params['allowedValues']
  const say = Array.isArray(allowed) ? `must be one of ${allowed.join(', ')}` : problem.message
  return refused(path, `The ${what} ${quoteGo(path)} ${say}.`)
}

function refused(field: string, message: string): BerthError {
  return new BerthError('invalid_request', message, { details: field === '' ? {} : { field } })
}

/** `/network/ports/0/hostPort` → `network.ports.0.hostPort` */
function fieldOf(pointer: string): string {
  return pointer
    .split('/')
    .filter((part) => part !== '')
    .map((part) => part.replaceAll('~1', '/').replaceAll('~0', '~'))
    .join('.')
}
