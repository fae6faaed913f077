/**
 * Bodies as Koyeb's clients send them: JSON whatever the content type says, keys in either spelling, `null` for
 * absent. What is read is all snake_case; unknown keys pass.
 */
import { TextDecoder } from 'node:util'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { BerthError } from '../../instance/errors.ts'
import { fieldError } from './errors.ts'

export const BODY_LIMIT_BYTES = 1024 * 1024
const DEPTH_LIMIT = 32
export type Json = Readonly<Record<string, unknown>>

const utf8 = new TextDecoder('utf-8', { fatal: true })

export function installBodyParser(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: BODY_LIMIT_BYTES }, (_request, body, done) => done(null, body))
}

/** The body as an object; an absent one is empty. */
export function readBody(request: FastifyRequest): Json {
  const clean = snakeKeys(parseBody(request), 0)
  if (clean === null || clean === undefined) return {}
  return asObject('body', clean)
}

/** The body as it came; undefined where there is none. */
export function parseBody(request: FastifyRequest): unknown {
  const bytes = request.body
  if (!Buffer.isBuffer(bytes) || bytes.length === 0) return undefined
  try {
    return JSON.parse(utf8.decode(bytes)) as unknown
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    throw new BerthError('invalid_request', `The body is not JSON: ${problem.slice(0, 200)}`, { cause: error, details: { field: 'body', description: 'it is not JSON' } })
  }
}

export function asObject(field: string, value: unknown): Json {
  if (value === undefined) return {}
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw fieldError(field, 'it must be an object')
  return value as Json
}

export function asList(field: string, value: unknown): readonly unknown[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) throw fieldError(field, 'it must be a list')
  return value
}

export function asTexts(field: string, value: unknown): readonly string[] {
  return asList(field, value).map((item, index) => requiredText(`${field}[${index}]`, item))
}

export function requiredText(field: string, value: unknown): string {
  if (typeof value !== 'string') throw fieldError(field, value === undefined ? 'it is required' : 'it must be text')
  return value
}

export function asText(field: string, value: unknown): string {
  return value === undefined ? '' : requiredText(field, value)
}

/** Whole numbers travel as numbers or, where the proto has 64 bits, as text. */
export function asInteger(field: string, value: unknown): number | null {
  if (value === undefined) return null
  const number = typeof value === 'string' && /^-?\d{1,15}$/.test(value) ? Number(value) : value
  if (typeof number !== 'number' || !Number.isSafeInteger(number)) throw fieldError(field, 'it must be a whole number')
  return number
}

export function asFlag(field: string, value: unknown): boolean {
  if (value === undefined) return false
  if (typeof value !== 'boolean') throw fieldError(field, 'it must be true or false')
  return value
}

function snakeKeys(value: unknown, depth: number): unknown {
  if (depth > DEPTH_LIMIT) throw fieldError('body', `it is nested deeper than ${DEPTH_LIMIT} levels`)
  if (Array.isArray(value)) return value.map((item: unknown) => snakeKeys(item, depth + 1))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, item]) => item !== null && key !== '__proto__')
      .map(([key, item]) => [key.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`), snakeKeys(item, depth + 1)]),
  )
}
