/** What every route of the dialect is given: the app with its types, who asks, and the engine. */
import { Readable } from 'node:stream'
import type { TypeBoxTypeProvider } from '@fastify/type-provider-typebox'
import type { FastifyBaseLogger, FastifyInstance, FastifyRequest, RawReplyDefaultExpression, RawRequestDefaultExpression, RawServerDefault } from 'fastify'
import type { Caller } from '../../engine/api.ts'
import type { DialectOptions } from '../dialect.ts'

export type NativeApp = FastifyInstance<
  RawServerDefault,
  RawRequestDefaultExpression,
  RawReplyDefaultExpression,
  FastifyBaseLogger,
  TypeBoxTypeProvider
>

/** Adds one group of routes. */
export type AddRoutes = (app: NativeApp, options: DialectOptions) => void

declare module 'fastify' {
  interface FastifyContextConfig {
    /** Answered without a key. */
    open?: boolean
  }
}

const CALLER = 'nativeCaller'

export function decorateCaller(app: NativeApp): void {
  app.decorateRequest(CALLER, null)
}

export function setCaller(request: FastifyRequest, caller: Caller): void {
  request.setDecorator(CALLER, caller)
}

/** Who asks; authentication has made it before any handler runs. */
export function callerOf(request: FastifyRequest): Caller {
  return request.getDecorator<Caller>(CALLER)
}

/** The bytes of a route that takes them; none where a request has no body. */
export function bytesOf({ body }: FastifyRequest): Readable {
  return body instanceof Readable ? body : Readable.from([])
}
