/**
 * Bodies as Lambda's clients send them: JSON whatever the content type says. Of its real clients one sends
 * `text/plain`, one no type at all, and the documentation's curl lines say they are forms. `null` is absent.
 */
import { TextDecoder } from 'node:util'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { BerthError } from '../../instance/errors.ts'
import { fieldError } from './errors.ts'

/** User data of 1 MiB may be six times as long where JSON escapes every character of it. */
export const BODY_LIMIT_BYTES = 8 * 1024 * 1024
export type Json = Readonly<Record<string, unknown>>

const utf8 = new TextDecoder('utf-8', { fatal: true })

export function installBodyParser(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser('*', { parseAs: 'buffer', bodyLimit: BODY_LIMIT_BYTES }, (_request, body, done) => done(null, body))
}

/** The body as an object; an absent one is empty. */
export function readBody(request: FastifyRequest): Json {
  const bytes = request.body
  if (!Buffer.isBuffer(bytes) || bytes.length === 0) return {}
  let value: unknown
  try {
    value = JSON.parse(utf8.decode(bytes))
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    throw new BerthError('invalid_request', `The body is not JSON: ${problem.slice(0, 200)}`, { cause: error })
  }
  return value === null ? {} : asObject('body', value)
}

export function asObject(field: string, value: unknown): Json {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw fieldError(field, 'it must be an object')
  return value as Json
}

export function asList(field: string, value: unknown, limit: number): readonly unknown[] {
  if (value === undefined || value === null) return []
  if (!Array.isArray(value)) throw fieldError(field, 'it must be a list')
  if (value.length > limit) throw fieldError(field, `it has ${value.length} entries; at most ${limit} are allowed`)
  return value
}

export function asTexts(field: string, value: unknown, limit: number): readonly string[] {
  return asList(field, value, limit).map((item, index) => requiredText(`${field}[${index}]`, item))
}

export function requiredText(field: string, value: unknown): string {
  if (typeof value !== 'string') throw fieldError(field, value === undefined || value === null ? 'it is required' : 'it must be text')
  if (value.includes('\0') || !value.isWellFormed()) throw fieldError(field, 'it holds a zero byte or broken Unicode')
  return value
}

export function optionalText(field: string, value: unknown): string | null {
  return value === undefined || value === null ? null : requiredText(field, value)
}

/** A text of a message, cut where it is long. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 80 ? `${text.slice(0, 80)}…` : text)
}
