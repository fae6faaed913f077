/**
 * Sessions of 2025-era clients: each has a server and a transport of its own, so that requests can be cancelled,
 * notices reach its stream, and resources can be followed.
 *
 * A session belongs to the key it was opened with; to every other it does not exist. Sessions that nobody uses end
 * after a while, and the least used one ends when there are too many.
 */
import { randomUUID } from 'node:crypto'
import { isInitializeRequest, ResourceNotFoundError, WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/server'
import type { McpServer } from '@modelcontextprotocol/server'
import { BerthError } from '../instance/errors.ts'
import { feed, feedOfList } from './feeds.ts'
import type { FeedParts } from './feeds.ts'
import type { McpLog, Principal } from './mcp.ts'
import { jsonRpcError } from './wire.ts'

export const SESSIONS_LIMIT = 512
/** Without a request and without an open stream. */
export const SESSION_IDLE_MS = 30 * 60_000
const SWEEP_MS = 60_000
const SUBSCRIPTIONS_LIMIT = 64

export interface SessionsParts {
  /** A server for a session; what it follows, it follows until `over`. */
  readonly makeServer: (principal: Principal, over: AbortSignal) => McpServer
  readonly log: McpLog
  readonly now: () => number
}

interface Session {
  readonly id: string
  readonly principal: Principal
  readonly server: McpServer
  readonly transport: WebStandardStreamableHTTPServerTransport
  readonly over: AbortController
  usedAt: number
  /** Requests and streams that are open. */
  open: number
}

export class Sessions {
  readonly #parts: SessionsParts
  readonly #sessions = new Map<string, Session>()
  readonly #sweeper: NodeJS.Timeout

  constructor(parts: SessionsParts) {
    this.#parts = parts
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS)
    this.#sweeper.unref()
  }

  async serve(request: Request, body: unknown, principal: Principal): Promise<Response> {
    const id = request.headers.get('mcp-session-id')
    if (id !== null) return this.#serveIn(this.#find(id, principal), request, body)
    if (request.method === 'GET' || request.method === 'DELETE') return notAllowed()
    if (!isInitialize(body) && body !== undefined) {
      return jsonRpcError(400, -32_000, 'Send initialize first, then its Mcp-Session-Id header with every request.')
    }
    return this.#open(request, body, principal)
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper)
    await Promise.all([...this.#sessions.values()].map(session => this.#end(session)))
  }

  async #serveIn(session: Session | null, request: Request, body: unknown): Promise<Response> {
    if (session === null) return jsonRpcError(404, -32_001, 'There is no such session: send initialize again.')
    session.usedAt = this.#parts.now()
    if (request.method === 'GET') {
      session.open += 1
      request.signal.addEventListener('abort', () => (session.open -= 1), { once: true })
    }
    return session.transport.handleRequest(request, body === undefined ? {} : { parsedBody: body })
  }

  /** The session, if it is the principal's. */
  #find(id: string, { caller }: Principal): Session | null {
    const session = this.#sessions.get(id)
    if (session === undefined) return null
    const owner = session.principal.caller
    const isSame = owner.projectId === caller.projectId && owner.keyId === caller.keyId && owner.subject === caller.subject
    // Another token of the same subject may be allowed less: what its session has is decided when it is opened.
    return isSame && owner.scopes.join() === caller.scopes.join() ? session : null
  }

  async #open(request: Request, body: unknown, principal: Principal): Promise<Response> {
    const { makeServer, log, now } = this.#parts
    const over = new AbortController()
    const server = makeServer(principal, over.signal)
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: id => {
        const session: Session = { id, principal, server, transport, over, usedAt: now(), open: 0 }
        this.#sessions.set(id, session)
        this.#makeRoom(session)
      },
    })
    transport.onerror = error => log.debug({ err: error }, 'MCP')
    await server.connect(transport)
    server.server.onclose = () => {
      over.abort()
      if (transport.sessionId !== undefined) this.#sessions.delete(transport.sessionId)
    }
    const response = await transport.handleRequest(request, body === undefined ? {} : { parsedBody: body })
    // What was no initialization has no session, and nobody will come back for this server.
    if (transport.sessionId === undefined) await server.close()
    return response
  }

  #makeRoom(newest: Session): void {
    if (this.#sessions.size <= SESSIONS_LIMIT) return
    const others = [...this.#sessions.values()].filter(session => session !== newest)
    const idle = others.filter(({ open }) => open === 0)
    const [least] = (idle.length > 0 ? idle : others).toSorted((a, b) => a.usedAt - b.usedAt)
    if (least !== undefined) void this.#end(least)
  }

  #sweep(): void {
    const before = this.#parts.now() - SESSION_IDLE_MS
    for (const session of this.#sessions.values()) if (session.open === 0 && session.usedAt < before) void this.#end(session)
  }

  async #end(session: Session): Promise<void> {
    this.#sessions.delete(session.id)
    session.over.abort()
    try {
      await session.server.close()
    } catch (error) {
      this.#parts.log.debug({ err: error }, 'a session did not close well')
    }
  }
}

/** `resources/subscribe` and its opposite, and notices that the list of instances has changed. */
export function serveSubscriptions({ server }: McpServer, parts: FeedParts, over: AbortSignal): void {
  const followed = new Map<string, AbortController>()
  server.setRequestHandler('resources/subscribe', async ({ params: { uri } }) => {
    if (followed.has(uri)) return {}
    if (followed.size >= SUBSCRIPTIONS_LIMIT) throw new BerthError('limit_exceeded', `${SUBSCRIPTIONS_LIMIT} resources are followed already: let go of some.`)
    const end = new AbortController()
    followed.set(uri, end)
    try {
      await feed(parts, uri, AbortSignal.any([over, end.signal]), () => void server.sendResourceUpdated({ uri }).catch(parts.onError))
    } catch (error) {
      followed.delete(uri)
      if (error instanceof BerthError && error.code === 'not_found') throw new ResourceNotFoundError(uri, error.message)
      throw error
    }
    return {}
  })
  server.setRequestHandler('resources/unsubscribe', async ({ params: { uri } }) => {
    followed.get(uri)?.abort()
    followed.delete(uri)
    return {}
  })
  server.oninitialized = () => feedOfList(parts, over, () => void server.sendResourceListChanged().catch(parts.onError))
}

function isInitialize(body: unknown): boolean {
  return Array.isArray(body) ? body.some(isInitializeRequest) : isInitializeRequest(body)
}

function notAllowed(): Response {
  const response = jsonRpcError(405, -32_000, 'Only POST is served without a session.')
  response.headers.set('allow', 'POST')
  return response
}
