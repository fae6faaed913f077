/**
 * What every Lambda route stands on: who asks, in the three forms that its documentation allows, and how an error is
 * told. One hook does each, before a route's own work, so that no route can forget it.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Engine } from '../../engine/api.ts'
import type { Catalogue } from '../../instance/catalogue.ts'
import { regionsOf } from '../../instance/catalogue.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import { parseId } from '../../instance/ids.ts'
import type { Instance, InstanceId } from '../../instance/model.ts'
import type { DialectOptions, Identity } from '../dialect.ts'
import { sendWireError } from '../dialect.ts'
import { quoted } from './body.ts'
import { instanceMissing, presentError } from './errors.ts'
import { REGION_CODES } from './schema.ts'

export const DIALECT = 'lambda'
/** How long an instance that is gone can still be read as `terminated`, for whoever polls it. */
const TERMINATED_READABLE_MS = 60_000

declare module 'fastify' {
  interface FastifyRequest {
    lambdaIdentity: Identity | null
  }
}

export interface Surface {
  readonly engine: Engine
  readonly catalogue: Catalogue
  /** Instances that a request restarts just now: a second one meanwhile is a conflict, however fast the first is. */
  readonly restarting: Set<InstanceId>
  readonly now: () => number
}

/** Installs authentication and error telling on the dialect's own scope. */
export function installSurface(app: FastifyInstance, options: DialectOptions): void {
  checkRegions(options.catalogue)
  app.decorateRequest('lambdaIdentity', null)
  app.addHook('onRequest', async request => {
    // Whatever a client calls its body, it is JSON; the framework would refuse what is no content type at all.
    if (request.raw.headers['content-type'] !== undefined) request.raw.headers['content-type'] = 'application/json'
    request.lambdaIdentity = await identify(request, options)
  })
  app.setErrorHandler((error, request, reply) => {
    const known = knownError(error)
    if (known.code === 'internal') request.log.error({ err: error }, 'a Lambda request met an error of Berth’s own')
    return sendWireError(reply, presentError(known))
  })
  app.setNotFoundHandler((request, reply) => {
    const path = request.url.split('?')[0] ?? ''
    const missing = new BerthError('not_found', `The requested resource was not found: ${request.method} ${path.slice(0, 200)}`)
    return sendWireError(reply, presentError(missing))
  })
}

/** The authenticated caller. */
export function callerOf(request: FastifyRequest): Identity {
  if (request.lambdaIdentity === null) throw new BerthError('unauthenticated', 'The request has no API key.')
  return request.lambdaIdentity
}

export function pathId(request: FastifyRequest): string {
  return (request.params as Readonly<Record<string, string | undefined>>)['id'] ?? ''
}

/** The caller's instance of a spelled id, as long as it can be seen. */
export async function findInstance(surface: Surface, caller: Identity, text: string): Promise<Instance> {
  const id: InstanceId | null = parseId('instance', DIALECT, text)
  if (id === null) throw instanceMissing()
  const instance = await surface.engine.instances.get(caller, id).catch((error: unknown) => {
    throw error instanceof BerthError && error.code === 'not_found' ? instanceMissing(error) : error
  })
  const isGone = instance.phase === 'deleted' && surface.now() - (instance.deletedAt ?? 0) > TERMINATED_READABLE_MS
  if (isGone) throw instanceMissing()
  return instance
}

/** Secrets that an Authorization header may mean, likeliest first. */
export function secretsOf(header: string | undefined): readonly string[] {
  const match = /^\s*(\S+)\s+(\S+)\s*$/.exec(header ?? '')
  if (match === null) return []
  const [, scheme = '', value = ''] = match
  if (scheme.toLowerCase() === 'bearer') return [value]
  if (scheme.toLowerCase() !== 'basic') return []
  const decoded = Buffer.from(value, 'base64').toString('latin1')
  const colon = decoded.indexOf(':')
  // The key is the user, with an empty password; or stands there as it is.
  return colon > 0 && colon === decoded.length - 1 ? [decoded.slice(0, -1), value] : [value]
}

async function identify(request: FastifyRequest, options: DialectOptions): Promise<Identity> {
  for (const secret of secretsOf(request.headers.authorization)) {
    const identity = await options.authenticate(secret, DIALECT)
    if (identity !== null) return identity
  }
  throw new BerthError('unauthenticated', 'The request has no valid API key.')
}

/** An error of ours, or one of the framework's: a client's mistake where it says 4xx. */
function knownError(error: unknown): BerthError {
  if (error instanceof BerthError) return error
  const status = typeof error === 'object' && error !== null && 'statusCode' in error ? error.statusCode : undefined
  if (typeof status !== 'number' || status < 400 || status > 499) return asBerthError(error)
  const message = error instanceof Error ? error.message : String(error)
  return new BerthError('invalid_request', message.slice(0, 300), { cause: error })
}

function checkRegions(catalogue: Catalogue): void {
  for (const { id, names } of regionsOf(catalogue, DIALECT)) {
    if (REGION_CODES.some(code => code === names.lambda)) continue
    throw new BerthError(
      'invalid_request',
      `The catalogue calls region ${id} ${quoted(names.lambda ?? '')} for Lambda's clients, who only know ${REGION_CODES.join(', ')}: use one of these.`,
    )
  }
}
