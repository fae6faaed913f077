/**
 * What every Mithril route stands on: who asks, which project is meant, and how an error is told; and what FastAPI does
 * around routes: 405 with `Allow`, and 307 from a path with a slash at its end.
 *
 * The API of a key sees the key's own project; any other is 403, whether it is there or not.
 */
import type { FastifyInstance, FastifyRequest } from 'fastify'
import type { Engine } from '../../engine/api.ts'
import type { Catalogue } from '../../instance/catalogue.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import { parseId, spellId } from '../../instance/ids.ts'
import type { Instance } from '../../instance/model.ts'
import type { DialectOptions, Identity } from '../dialect.ts'
import { bearerSecret, sendWireError } from '../dialect.ts'
import { httpError, presentError } from './errors.ts'
import type { SideNotes } from './side-notes.ts'
import type { Signals } from './signal.ts'
import type { Fields } from './validation.ts'

export const DIALECT = 'mithril'
/** Keys are given out with it, and taken with and without. */
export const KEY_PREFIX = 'fkey_'

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Of a Mithril route that answers the same to everybody. */
    mithrilPublic?: boolean
  }
  interface FastifyRequest {
    mithrilIdentity: Identity | null
  }
}

export interface Surface {
  readonly engine: Engine
  readonly catalogue: Catalogue
  readonly notes: SideNotes
  readonly signals: Signals
  readonly now: () => number
}

/** Installs authentication and error telling on the dialect's own scope. */
export function installSurface(app: FastifyInstance, options: DialectOptions, paths: readonly string[]): void {
  app.decorateRequest('mithrilIdentity', null)
  app.addHook('onRequest', async request => {
    // Whatever a client calls its body is looked at by the body's reader; the framework would refuse what is no content type at all.
    if (request.raw.headers['content-type'] === '') delete request.raw.headers['content-type']
    if (request.is404 || request.routeOptions.config.mithrilPublic === true) return
    request.mithrilIdentity = await identify(request, options)
  })
  app.setErrorHandler((error, request, reply) => {
    const known = knownError(error)
    if (known.code === 'internal') request.log.error({ err: error }, 'a Mithril request met an error of Berth’s own')
    return sendWireError(reply, presentError(known))
  })
  app.setNotFoundHandler((request, reply) => {
    const [path = '', ...query] = request.url.split('?')
    const canonical = path.replace(/\/+$/, '')
    if (canonical !== path && isPath(canonical.slice(app.prefix.length), paths)) return reply.redirect([canonical, ...query].join('?'), 307)
    return sendWireError(reply, presentError(httpError(404, 'Not Found')))
  })
}

/** The authenticated caller. */
export function callerOf(request: FastifyRequest): Identity {
  if (request.mithrilIdentity === null) throw new BerthError('unauthenticated', 'The request has no API key.')
  return request.mithrilIdentity
}

export function pathId(request: FastifyRequest): string {
  return (request.params as Readonly<Record<string, string | undefined>>)['fid'] ?? ''
}

/** Reads the member `project`; call `finish` on the fields first, then this. */
export function checkProject(caller: Identity, project: string | null): void {
  if (project === null || parseId('project', DIALECT, project) === caller.projectId) return
  throw new BerthError('forbidden', 'You are not a member of this project: use one of GET /v2/projects.')
}

/** The query's project, which must be there: the fields are finished, and the caller is a member. */
export function finishInProject(fields: Fields, caller: Identity): void {
  const project = fields.required.text('project')
  fields.finish()
  checkProject(caller, project)
}

export function projectFid(caller: Pick<Identity, 'projectId'>): string {
  return spellId('project', DIALECT, caller.projectId)
}

/** The caller's instance of a FID; also one that is terminated. */
export async function findInstance(surface: Surface, caller: Identity, fid: string): Promise<Instance> {
  const id = parseId('instance', DIALECT, fid)
  const missing = (cause?: unknown) => httpError(404, `Instance ${fid.slice(0, 80)} not found.`, cause)
  if (id === null) throw missing()
  return surface.engine.instances.get(caller, id).catch((error: unknown) => {
    throw error instanceof BerthError && error.code === 'not_found' ? missing(error) : error
  })
}

async function identify(request: FastifyRequest, options: DialectOptions): Promise<Identity> {
  const secret = bearerSecret(request)
  if (secret === null) throw new BerthError('unauthenticated', 'The request has no API key.')
  const plain = secret.startsWith(KEY_PREFIX) ? secret.slice(KEY_PREFIX.length) : secret
  // A key that really begins so (an operator's own choice) is one as well.
  const identity = (await options.authenticate(plain, DIALECT)) ?? (plain === secret ? null : await options.authenticate(secret, DIALECT))
  if (identity === null) throw new BerthError('unauthenticated', 'The API key is not valid.')
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

function isPath(path: string, templates: readonly string[]): boolean {
  const parts = path.split('/')
  return templates.some(template => {
    const pattern = template.split('/')
    return pattern.length === parts.length && pattern.every((part, index) => part === parts[index] || (part.startsWith(':') && parts[index] !== ''))
  })
}
