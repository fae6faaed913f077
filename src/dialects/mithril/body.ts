/**
 * Queries and bodies, read as stock FastAPI reads them: JSON by its content type (or without one), any other type is
 * no object; the last of repeated parameters counts, but in lists all of them.
 */
import { TextDecoder } from 'node:util'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Fields, ValidationError } from './validation.ts'

export const BODY_LIMIT_BYTES = 1024 * 1024

const utf8 = new TextDecoder('utf-8', { fatal: true })

export function installBodyParser(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: BODY_LIMIT_BYTES }, (_request, body, done) => done(null, body))
}

/** The members of the body's object. */
export function bodyFields(request: FastifyRequest): Fields {
  const fields = optionalBodyFields(request)
  if (fields === null) throw new ValidationError([{ type: 'missing', loc: ['body'], msg: 'Field required', input: null }])
  return fields
}

/** The same where a body may be left out, or be null. */
export function optionalBodyFields(request: FastifyRequest): Fields | null {
  const value = readBody(request)
  if (value === null) return null
  if (typeof value === 'object' && !Array.isArray(value)) return new Fields(['body'], value as Readonly<Record<string, unknown>>)
  const msg = 'Input should be a valid dictionary or object to extract fields from'
  throw new ValidationError([{ type: 'model_attributes_type', loc: ['body'], msg, input: value }])
}

/** The query; scalars are the last of their kind, and `lists` keep all of them. */
export function queryFields(request: FastifyRequest, lists: readonly string[] = []): Fields {
  const query = request.query as Readonly<Record<string, unknown>>
  const entries = Object.entries(query).map(([name, value]) => {
    const isScalar = Array.isArray(value) && !lists.includes(name)
    return [name, isScalar ? (value.at(-1) as unknown) : value] as const
  })
  return new Fields(['query'], Object.fromEntries(entries))
}

function readBody(request: FastifyRequest): unknown {
  const bytes = request.body
  if (!Buffer.isBuffer(bytes) || bytes.length === 0) return null
  const type = (request.headers['content-type'] ?? 'application/json').split(';')[0]?.trim().toLowerCase() ?? ''
  if (type !== '' && !/^application\/(?:[\w.-]+\+)?json$/.test(type)) return bytes.toString('latin1')
  let text = ''
  try {
    text = utf8.decode(bytes)
    return JSON.parse(text) as unknown
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    const position = /at position (\d+)/.exec(problem)?.[1]
    const issue = { type: 'json_invalid', loc: ['body', position === undefined ? text.length : Number(position)], msg: 'JSON decode error', input: {} }
    throw new ValidationError([{ ...issue, ctx: { error: problem.replace(/ in JSON at position.*$/s, '').slice(0, 200) } }], { cause: error })
  }
}
