/**
 * What every Hypeman route stands on: who asks and whether they may, which instance an id means, and how an
 * error is told. One hook does each, before a route's own work, so that no route can forget it.
 */
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import type { Caller, Engine } from '../../engine/api.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import { parseId } from '../../instance/ids.ts'
import type { Instance } from '../../instance/model.ts'
import type { DialectOptions, Identity } from '../dialect.ts'
import { bearerSecret, sendWireError } from '../dialect.ts'
import { presentError, resourceAmbiguous, resourceNotFound, wireError } from './errors.ts'
import { presentInstanceId } from './present.ts'

export const DIALECT = 'hypeman'

/** A token's permission: `resource:action`. `public` needs no token. */
export type Permission =
  | 'public'
  | `${'instance' | 'image' | 'volume' | 'device' | 'resource' | 'snapshot' | 'build' | 'ingress'}:${'read' | 'write' | 'delete'}`

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of a Hypeman route: what a token must allow. */
    hypemanPermission?: Permission
    /** Of a Hypeman route that upgrades: its 401 has no prefix, since it is outside of upstream's schema. */
    hypemanUpgrade?: boolean
  }
  interface FastifyRequest {
    hypemanIdentity: Identity | null
  }
}

export interface Surface {
  readonly engine: Engine
  readonly options: DialectOptions
  /** `linux/amd64`: what images and instances of this server run on. */
  platform(caller: Caller): Promise<string>
}

export function makeSurface(options: DialectOptions): Surface {
  let known: Promise<string> | null = null
  const ask = async (caller: Caller): Promise<string> => {
    const { host } = await options.engine.resources(caller)
    return `${host.os}/${host.arch === 'x86_64' ? 'amd64' : 'arm64'}`
  }
  return {
    engine: options.engine,
    options,
    platform(caller) {
      known ??= ask(caller).catch((error: unknown) => {
        known = null
        throw error
      })
      return known
    },
  }
}

/** Installs authentication and error telling on the dialect's own scope. */
export function installSurface(app: FastifyInstance, options: DialectOptions): void {
  app.decorateRequest('hypemanIdentity', null)

  app.addHook('onRequest', async request => {
    const permission = request.routeOptions.config.hypemanPermission
    if (permission === undefined || permission === 'public') return
    const prefix = request.routeOptions.config.hypemanUpgrade === true ? '' : 'security requirements failed: '
    const identity = await identify(request, options, prefix)
    requirePermission(identity, permission)
    request.hypemanIdentity = identity
  })

  app.setErrorHandler((error, request, reply) => {
    const known = knownError(error)
    if (known.code === 'internal') request.log.error({ err: error }, 'a Hypeman request met an error of Berth’s own')
    return sendWireError(reply, presentError(known))
  })
}

export function unknownPath(request: Pick<FastifyRequest, 'method' | 'url'>): BerthError {
  const path = request.url.split('?')[0] ?? ''
  return new BerthError('not_found', `${request.method} ${path.slice(0, 200)} is not an operation of this API`)
}

/** The authenticated caller of a route that is not public. */
export function callerOf(request: FastifyRequest): Identity {
  if (request.hypemanIdentity === null) throw new BerthError('internal', `The route ${request.routeOptions.url ?? ''} has no permission declared.`)
  return request.hypemanIdentity
}

/** The value of a path parameter. */
export function pathParameter(request: FastifyRequest, name: string): string {
  const value = (request.params as Readonly<Record<string, string | undefined>>)[name]
  return value ?? ''
}

/** Resolves id, then name, then id prefix, as every instance route of the wire does. */
export async function resolveInstance(engine: Engine, caller: Caller, text: string): Promise<Instance> {
  const id = parseId('instance', 'hypeman', text)
  if (id !== null) {
    const found = await engine.instances.list(caller, { ids: [id], limit: 1 })
    if (found[0] !== undefined) return found[0]
  }
  const named = await engine.instances.list(caller, { name: text, limit: 2 })
  if (named.length > 1) throw resourceAmbiguous()
  if (named[0] !== undefined) return named[0]
  if (!/^[a-z][0-9a-z]{0,22}$/.test(text)) throw resourceNotFound()
  const living = await engine.instances.list(caller)
  const matches = living.filter(instance => presentInstanceId(instance.id).startsWith(text))
  if (matches.length > 1) throw resourceAmbiguous()
  if (matches[0] === undefined) throw resourceNotFound()
  return matches[0]
}

/** The instance that the route's `{id}` means. */
export function instanceOf(surface: Surface, request: FastifyRequest): Promise<Instance> {
  return resolveInstance(surface.engine, callerOf(request), pathParameter(request, 'id'))
}

/** Aborts when the client is gone before it had its answer, or when the server stops. */
export function untilGone(reply: FastifyReply, surface: Surface): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished) gone.abort()
  })
  return AbortSignal.any([gone.signal, surface.options.stopping])
}

async function identify(request: FastifyRequest, options: DialectOptions, prefix: string): Promise<Identity> {
  if (request.headers.authorization === undefined) {
    throw new BerthError('unauthenticated', `${prefix}authorization header required`)
  }
  const secret = bearerSecret(request)
  if (secret === null) throw new BerthError('unauthenticated', `${prefix}invalid authorization header format`)
  try {
    const identity = await options.authenticate(secret, DIALECT)
    if (identity !== null) return identity
  } catch (error) {
    if (error instanceof BerthError && error.code === 'unauthenticated') {
      throw new BerthError('unauthenticated', `${prefix}${error.message}`, { cause: error })
    }
    throw error
  }
  throw new BerthError('unauthenticated', `${prefix}invalid token`)
}

function requirePermission(identity: Identity, permission: Permission): void {
  const granted = identity.permissions
  if (granted === null || granted.includes('*') || granted.includes(permission)) return
  throw new BerthError('forbidden', `missing required scope: ${permission}`)
}

/** An error of ours, or of the framework's with a status of its own. */
function knownError(error: unknown): BerthError {
  if (error instanceof BerthError) return error
  const status = typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : undefined
  const message = error instanceof Error ? error.message : String(error)
  if (typeof status !== 'number' || status < 400 || status > 499) return asBerthError(error)
  return frameworkError(status, message, error)
}

/** A request that Fastify itself refused, with its status and the status text as code. */
export function frameworkError(status: number, message: string, cause: unknown): BerthError {
  return wireError('invalid_request', STATUS_TEXTS.get(status) ?? 'Bad Request', message, { status, cause })
}

const STATUS_TEXTS: ReadonlyMap<number, string> = new Map([
  [404, 'Not Found'],
  [405, 'Method Not Allowed'],
  [408, 'Request Timeout'],
  [413, 'Request Entity Too Large'],
  [414, 'Request URI Too Long'],
  [415, 'Unsupported Media Type'],
  [431, 'Request Header Fields Too Large'],
])
