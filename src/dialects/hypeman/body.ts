/**
 * Bodies as Hypeman's clients send them: read raw and parsed here, route by route, because what is right
 * differs by route.
 *
 * Invariants: a route without a declared body ignores whatever came; a lenient route takes no body, an empty
 * one with a JSON content type, `null` and `{}` alike; bytes that are not UTF-8 or not JSON are a 400 that
 * says where; `null` for a property is the property left out; unknown properties pass.
 */
import type { Readable } from 'node:stream'
import { TextDecoder } from 'node:util'
import type { FastifyInstance, FastifyRequest } from 'fastify'
import { Compile } from 'typebox/compile'
import type { Validator } from 'typebox/compile'
import type { Static, TSchema } from 'typebox'
import { BerthError } from '../../instance/errors.ts'
import { schemaError, wireError } from './errors.ts'

/** Largest JSON body. */
export const JSON_BODY_LIMIT_BYTES = 1024 * 1024
/** A body that is too large is read on up to here and dropped: a client that still writes can't read the refusal. */
const DRAIN_LIMIT_BYTES = 64 * 1024 * 1024
/** How long a JSON body may take to arrive. */
const BODY_WAIT_MS = 60_000
/** Deepest nesting of a JSON body. */
const JSON_DEPTH_LIMIT = 32

/** Installs the dialect's own reading of bodies: JSON stays a Buffer, all else a stream. */
export function installBodyParsers(app: FastifyInstance): void {
  app.removeAllContentTypeParsers()
  app.addContentTypeParser(/^application\/(?:[\w.+-]+\+)?json(?:\s*;.*)?$/i, (_request: FastifyRequest, payload: Readable) => readAll(payload))
  app.addContentTypeParser('*', (_request, payload, done) => done(null, payload))
}

async function readAll(payload: Readable): Promise<Buffer> {
  const chunks: Buffer[] = []
  let bytes = 0
  const late = setTimeout(() => payload.destroy(new Error(`the body did not arrive within ${BODY_WAIT_MS} ms`)), BODY_WAIT_MS)
  try {
    for await (const chunk of payload as AsyncIterable<Buffer>) {
      bytes += chunk.length
      if (bytes <= JSON_BODY_LIMIT_BYTES) chunks.push(chunk)
      else if (bytes > DRAIN_LIMIT_BYTES) break
    }
  } catch (error) {
    // The connection is gone or was given up, so this is for the log alone.
    throw new BerthError('cancelled', 'the request ended before its body was complete', { cause: error })
  } finally {
    clearTimeout(late)
  }
  if (bytes <= JSON_BODY_LIMIT_BYTES) return Buffer.concat(chunks)
  throw wireError('invalid_request', 'Request Entity Too Large', `request body is larger than ${JSON_BODY_LIMIT_BYTES} bytes`, { status: 413 })
}

export type Reader<T> = (value: unknown, where: string) => T

/** A reader of one schema; compiled once, when it is first used. */
export function readerOf<S extends TSchema>(schema: S): Reader<Static<S>> {
  let compiled: Validator<Record<never, never>, S> | null = null
  return (value, where) => {
    const validator = (compiled ??= Compile(schema))
    const clean = withoutNulls(value, 0)
    if (validator.Check(clean)) return clean as Static<S>
    const first = validator.Errors(clean)[0]
    const at = first === undefined || first.instancePath === '' ? '' : `Error at "${first.instancePath}": `
    throw schemaError(`${where} has an error: doesn't match schema: ${at}${first?.message ?? 'it has another form'}`)
  }
}

/** The body of a route that needs one. */
export function requiredBody<T>(request: FastifyRequest, read: Reader<T>): T {
  if (Buffer.isBuffer(request.body)) {
    if (request.body.length === 0) throw schemaError('request body has an error: value is required but missing')
    return read(parseJson(request.body), 'request body')
  }
  const type = request.headers['content-type']
  throw schemaError(
    request.body === undefined
      ? 'request body has an error: value is required but missing'
      : `request body has an error: header Content-Type has unexpected value ${JSON.stringify(type ?? '')}, send application/json`,
  )
}

/** The body of a route that takes one or none; null when there is nothing in it. */
export function optionalBody<T>(request: FastifyRequest, read: Reader<T>): T | null {
  if (!Buffer.isBuffer(request.body) || request.body.length === 0) return null
  const value = parseJson(request.body)
  return value === null ? null : read(value, 'request body')
}

const utf8 = new TextDecoder('utf-8', { fatal: true })

/** JSON of strict UTF-8. */
export function parseJson(bytes: Uint8Array): unknown {
  let text: string
  try {
    text = utf8.decode(bytes)
  } catch (error) {
    throw schemaError('request body has an error: it is not valid UTF-8', error)
  }
  try {
    return JSON.parse(text) as unknown
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    throw schemaError(`request body has an error: failed to decode request body: ${problem}`, error)
  }
}

/** Properties that are null are left out, at every depth; `__proto__` never passes. */
function withoutNulls(value: unknown, depth: number): unknown {
  if (depth > JSON_DEPTH_LIMIT) throw schemaError(`request body has an error: it is nested deeper than ${JSON_DEPTH_LIMIT} levels`)
  if (Array.isArray(value)) return value.map((item: unknown) => withoutNulls(item, depth + 1))
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .filter(([key, item]) => item !== null && key !== '__proto__')
      .map(([key, item]) => [key, withoutNulls(item, depth + 1)]),
  )
}
