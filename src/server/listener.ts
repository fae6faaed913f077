/**
 * The one HTTP listener: every dialect as a plugin of its own on its own paths, and around them what belongs to
 * no dialect: limits, request ids, logs, health, and the errors that happen before a route is found.
 *
 * Invariant: no page of the framework's reaches a client. Whatever goes wrong, the dialect that owns the path
 * tells it in its own words; only bytes that are no HTTP at all are answered here.
 */
import { randomUUID } from 'node:crypto'
import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import fastifyWebsocket from '@fastify/websocket'
import type { WebsocketPluginOptions } from '@fastify/websocket'
import Fastify, { LogController } from 'fastify'
import type { FastifyBaseLogger, FastifyError, FastifyInstance, FastifyRequest } from 'fastify'
import type { Dialect, DialectOptions, WireError } from '../dialects/dialect.ts'
import { sendWireError } from '../dialects/dialect.ts'
import { BerthError } from '../instance/errors.ts'
import { ClientWebSocket } from './frames.ts'

/** Largest body where a route doesn't say otherwise. */
export const BODY_LIMIT_BYTES = 1024 * 1024
/** All headers of one request together. */
export const HEADERS_LIMIT_BYTES = 16 * 1024
/** One part of a path; image names with registry, repository and digest are the longest. */
export const PATH_PART_LIMIT_CHARACTERS = 1024
/** One WebSocket message. */
export const MESSAGE_LIMIT_BYTES = 4 * 1024 * 1024
const MESSAGE_LIMIT_CHARACTERS = 300
/** Longer than proxies keep idle connections, so that they close first. */
const KEEP_ALIVE_MS = 72_000

/** As the plugin's types have it, with all that the module of `ws` holds. */
type ClientSockets = NonNullable<NonNullable<WebsocketPluginOptions['options']>['WebSocket']>

export interface ListenerParts {
  readonly log: FastifyBaseLogger
  readonly dialects: readonly { readonly dialect: Dialect; readonly options: DialectOptions }[]
}

/** The listener with all dialects on it, not listening yet. */
export async function makeListener(parts: ListenerParts): Promise<FastifyInstance> {
  const ownerOf = (url: string): Dialect | null => owner(parts.dialects.map(({ dialect }) => dialect), url)
  const present = (url: string, error: BerthError): WireError => ownerOf(url)?.presentError(error) ?? plainError(error)

  const app: FastifyInstance = Fastify({
    loggerInstance: parts.log,
    logController: new LogController({ disableRequestLogging: true }),
    genReqId: () => randomUUID(),
    bodyLimit: BODY_LIMIT_BYTES,
    keepAliveTimeout: KEEP_ALIVE_MS,
    forceCloseConnections: 'idle',
    http: { maxHeaderSize: HEADERS_LIMIT_BYTES },
    routerOptions: { maxParamLength: PATH_PART_LIMIT_CHARACTERS },
    clientErrorHandler: (error, socket) => answerBrokenHttp(error, socket as Socket),
    frameworkErrors: (error, request, reply) => {
      void sendWireError(reply, present(request.url, frameworkError(error, request)))
    },
  })
  await app.register(fastifyWebsocket, { options: { maxPayload: MESSAGE_LIMIT_BYTES, WebSocket: ClientWebSocket as unknown as ClientSockets } })

  const tellsRequests = parts.log.level === 'debug' || parts.log.level === 'trace'
  // Every request runs these: with callbacks, since promises would cost more than what they do.
  app.addHook('onSend', (request, reply, payload, done) => {
    reply.header('x-request-id', request.id)
    done(null, payload)
  })
  app.addHook('onResponse', (request, reply, done) => {
    done()
    if (reply.statusCode < 500 && !tellsRequests) return
    const details = { method: request.method, url: request.url, status: reply.statusCode, ms: Math.round(reply.elapsedTime) }
    if (reply.statusCode >= 500) request.log.warn(details, 'request')
    else request.log.debug(details, 'request')
  })
  app.setNotFoundHandler((request, reply) =>
    sendWireError(reply, present(request.url, new BerthError('not_found', `${request.method} ${pathOf(request.url)} is not an operation of this API`))),
  )
  app.setErrorHandler((error: FastifyError, request, reply) => {
    const known = error instanceof BerthError ? error : frameworkError(error, request)
    if (known.code === 'internal') request.log.error({ err: error }, 'a request met an error of Berth’s own')
    return sendWireError(reply, present(request.url, known))
  })

  app.get('/healthz', async () => ({ status: 'ok' }))
  for (const { dialect, options } of parts.dialects) {
    await app.register(dialect.plugin, { ...options, prefix: dialect.prefix })
  }
  return app
}

/** The dialect with the longest prefix that the path starts with. */
function owner(dialects: readonly Dialect[], url: string): Dialect | null {
  const path = pathOf(url)
  const owning = dialects.filter(({ prefix }) => prefix === '' || path === prefix || path.startsWith(`${prefix}/`))
  return owning.reduce<Dialect | null>((best, next) => (best === null || next.prefix.length > best.prefix.length ? next : best), null)
}

function pathOf(url: string): string {
  return (url.split('?')[0] ?? '').slice(0, 200)
}

/** What the framework found wrong: a client's mistake where it says 4xx, else a defect. */
function frameworkError(error: FastifyError, request: FastifyRequest): BerthError {
  const status = error.statusCode ?? 500
  if (status < 400 || status > 499) return new BerthError('internal', 'Berth met an error of its own.', { cause: error })
  // Some of the framework's messages repeat the whole URL.
  const message = error.message.slice(0, MESSAGE_LIMIT_CHARACTERS) || `${request.method} ${pathOf(request.url)} is not a valid request`
  return new BerthError('invalid_request', message, { cause: error })
}

function plainError(error: BerthError): WireError {
  const status = error.code === 'not_found' ? 404 : error.code === 'internal' ? 500 : 400
  return { status, headers: {}, body: { code: error.code, message: error.message } }
}

/** Bytes that are no HTTP request, headers that are too large, or a request that never ends. */
function answerBrokenHttp(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  const status = error.code === 'HPE_HEADER_OVERFLOW' ? 431 : error.code === 'ERR_HTTP_REQUEST_TIMEOUT' ? 408 : 400
  const text = STATUS_CODES[status] ?? 'Bad Request'
  const body = JSON.stringify({ code: text, message: 'the request could not be read as HTTP' })
  socket.end(
    `HTTP/1.1 ${status} ${text}\r\nContent-Type: application/json; charset=utf-8\r\n` +
      `Content-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  )
}
