/**
 * What a dialect is to the server: a Fastify plugin that owns one part of the path space and one shape of error.
 *
 * A dialect knows the engine and nothing else of Berth; what it needs besides (who a secret stands for, when the
 * server stops) comes through its options. The server assembles them, and asks the owner of a path to tell every
 * error that happens before a route is found, so that no framework page ever reaches a client.
 */
import type { FastifyPluginAsync, FastifyReply, FastifyRequest } from 'fastify'
import type { Caller, Engine } from '../engine/api.ts'
import type { Catalogue } from '../instance/catalogue.ts'
import type { BerthError } from '../instance/errors.ts'

/** A caller as authentication made it; the engine sees the `Caller` part. */
export interface Identity extends Caller {
  /** `resource:action` pairs of a token that carries them; null is all that the scopes allow. */
  readonly permissions: readonly string[] | null
}

/**
 * Who a secret (API key, or token where the surface takes tokens) stands for; null if nobody.
 * Throws `unauthenticated` where there is a reason worth telling.
 */
export type Authenticate = (secret: string, via: string) => Promise<Identity | null>

/** Sessions of browsers, in which a cookie stands for a key. Only the native dialect is given them. */
export interface BrowserSessions {
  /** Throws `unauthenticated` if the key is nobody's, `rate_limited` if that address gave too many such. */
  open(secret: string, address: string): Promise<{ readonly token: string; readonly expiresAt: number }>
  /** The key behind a token; null if there is no such session, or no longer. */
  secretOf(token: string): string | null
  close(token: string): void
}

export interface DialectOptions {
  readonly engine: Engine
  readonly authenticate: Authenticate
  /** Types of instance and regions, with each dialect's names. */
  readonly catalogue: Catalogue
  /** Berth's own version. */
  readonly version: string
  /** Aborted when the server begins to stop: streams end themselves, and waits let go. */
  readonly stopping: AbortSignal
  readonly sessions?: BrowserSessions
  /** A directory of the dialect's own, for what only its wire knows; it exists. */
  readonly stateDir: string
  /** Unix milliseconds. */
  readonly now: () => number
}

/** An error on the wire. */
export interface WireError {
  readonly status: number
  readonly headers: Readonly<Record<string, string>>
  /** Sent as JSON. */
  readonly body: unknown
}

export interface Dialect {
  /** Also what `Caller.via` and `Instance.origin` say. */
  readonly name: string
  /** Paths that start so are its own; `''` owns what nobody else does. */
  readonly prefix: string
  readonly plugin: FastifyPluginAsync<DialectOptions>
  /** How it tells an error that happened before one of its routes was found (unknown path, bad URL, no room). */
  readonly presentError: (error: BerthError) => WireError
}

/** The secret of `Authorization: Bearer <secret>`; null if the header is not there, or not of that form. */
export function bearerSecret(request: Pick<FastifyRequest, 'headers'>): string | null {
  const header = request.headers.authorization
  if (header === undefined) return null
  const space = header.indexOf(' ')
  if (space < 0 || header.slice(0, space).toLowerCase() !== 'bearer') return null
  const secret = header.slice(space + 1).trim()
  return secret === '' ? null : secret
}

/** Sends an error in a dialect's shape. */
export function sendWireError(reply: FastifyReply, error: WireError): FastifyReply {
  return reply.code(error.status).headers({ ...error.headers, 'content-type': 'application/json; charset=utf-8' }).send(error.body)
}
