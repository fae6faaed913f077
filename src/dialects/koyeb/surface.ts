/**
 * What every Koyeb route stands on: who asks, and how an error is told. One hook does each, before a route's own
 * work, so that no route can forget it.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Engine } from '../../engine/api.ts'
import type { Catalogue } from '../../instance/catalogue.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import type { InstanceId } from '../../instance/model.ts'
import { parseId } from '../../instance/ids.ts'
import type { DialectOptions, Identity } from '../dialect.ts'
import { bearerSecret, sendWireError } from '../dialect.ts'
import { fieldError, presentError } from './errors.ts'
import type { InstanceBytes } from './instance-bytes.ts'
import { quoted } from './query.ts'

export const DIALECT = 'koyeb'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of a Koyeb route that answers without a token. */
    koyebPublic?: boolean
  }
  interface FastifyRequest {
    koyebIdentity: Identity | null
  }
}

export interface Surface {
  readonly engine: Engine
  readonly options: DialectOptions
  readonly catalogue: Catalogue
  readonly bytes: InstanceBytes
}

/** Installs authentication, error telling and CORS on the dialect's own scope. */
export function installSurface(app: FastifyInstance, options: DialectOptions): void {
  app.decorateRequest('koyebIdentity', null)

  app.addHook('onRequest', async (request, reply) => {
    // Its control panel is served from elsewhere; tokens come in headers only, so any origin may ask.
    reply.header('access-control-allow-origin', '*')
    if (request.method === 'OPTIONS' || request.routeOptions.config.koyebPublic === true) return
    request.koyebIdentity = await identify(request, options)
  })

  app.options('/*', (_request, reply) =>
    reply
      .code(200)
      .headers({
        'access-control-allow-methods': 'GET, POST, PUT, PATCH, DELETE, OPTIONS',
        'access-control-allow-headers': 'Authorization, Content-Type, x-koyeb-project-id',
        'access-control-max-age': '600',
      })
      .send({}),
  )

  app.setErrorHandler((error, request, reply) => {
    const known = knownError(error)
    if (known.code === 'internal') request.log.error({ err: error }, 'a Koyeb request met an error of Berth’s own')
    return sendWireError(reply, presentError(known))
  })

  app.setNotFoundHandler((request, reply) => sendWireError(reply, presentError(unknownPath(request))))
}

/** The authenticated caller. */
export function callerOf(request: FastifyRequest): Identity {
  if (request.koyebIdentity === null) throw new BerthError('unauthenticated', 'The request has no token.')
  return request.koyebIdentity
}

/** The value of a path parameter. */
export function pathParameter(request: FastifyRequest, name: string): string {
  return (request.params as Readonly<Record<string, string | undefined>>)[name] ?? ''
}

/** The instance that the path's `{id}` means; 400 if it can't be one. */
export function instanceIdOf(request: FastifyRequest): InstanceId {
  return asInstanceId('id', pathParameter(request, 'id'))
}

export function asInstanceId(field: string, text: string): InstanceId {
  const id = parseId('instance', DIALECT, text)
  if (id === null) throw fieldError(field, `${quoted(text)} is not an id (a lower-case UUID)`)
  return id
}

/** The secret of a request: of its Authorization header, or of `Sec-WebSocket-Protocol: Bearer, <token>`. */
export function secretOf(request: Pick<FastifyRequest, 'headers'>): string | null {
  const offered = request.headers['sec-websocket-protocol']
  const match = offered === undefined ? null : /^\s*Bearer\s*,\s*([^,\s]+)\s*$/i.exec(offered)
  return match?.[1] ?? bearerSecret(request)
}

function unknownPath(request: Pick<FastifyRequest, 'method' | 'url'>): BerthError {
  const path = request.url.split('?')[0] ?? ''
  return new BerthError('not_found', `${request.method} ${path.slice(0, 200)} is not an operation of this API.`)
}

async function identify(request: FastifyRequest, options: DialectOptions): Promise<Identity> {
  const secret = secretOf(request)
  if (secret === null) throw new BerthError('unauthenticated', 'The request has no token: send Authorization: Bearer <token>.')
  const identity = await options.authenticate(secret, DIALECT)
  if (identity === null) throw new BerthError('unauthenticated', 'The token is not valid.')
  return identity
}

/** An error of ours, or one of the framework's: a client's mistake where it says 4xx. */
function knownError(error: unknown): BerthError {
  if (error instanceof BerthError) return error
  const status = typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : undefined
  if (typeof status !== 'number' || status < 400 || status > 499) return asBerthError(error)
  const message = error instanceof Error ? error.message : String(error)
  return new BerthError('invalid_request', message.slice(0, 300), { cause: error })
}
