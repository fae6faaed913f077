/**
 * Sessions of clients of the older era over HTTP: each has a server of its own, so that a later message of the client (that it
 * cancels a call) meets what it is about. Who sends no session is served all the same, each request by itself.
 *
 * A session that nobody uses ends after a while, and the one that was used longest ago where there are too many.
 */
import { randomUUID } from 'node:crypto'
import { isInitializeRequest, isLegacyRequest, WebStandardStreamableHTTPServerTransport } from '@modelcontextprotocol/server'
import type { Server } from '@modelcontextprotocol/server'

export const MAX_SESSIONS = 256
const IDLE_MS = 30 * 60_000
const SWEEP_MS = 60_000

interface Session {
  readonly server: Server
  readonly transport: WebStandardStreamableHTTPServerTransport
  usedAt: number
  /** Streams of notices that are open. */
  open: number
}

export class McpSessions {
  readonly #makeServer: () => Server
  readonly #sessions = new Map<string, Session>()
  readonly #sweeper: NodeJS.Timeout

  constructor(makeServer: () => Server) {
    this.#makeServer = makeServer
    this.#sweeper = setInterval(() => this.#sweep(), SWEEP_MS)
    this.#sweeper.unref()
  }

  /** The answer to what belongs to a session or opens one; null to everything else. */
  async serve(request: Request): Promise<Response | null> {
    const body = request.method === 'POST' ? await bodyOf(request) : undefined
    const id = request.headers.get('mcp-session-id')
    const isOpening = id === null && isInitializeRequest(body)
    if (id === null && !isOpening) return null
    if (body !== undefined && !(await isLegacyRequest(request, body))) return null
    if (isOpening) return this.#open(request, body)
    const session = this.#sessions.get(id ?? '')
    if (session === undefined) return Response.json({ jsonrpc: '2.0', error: { code: -32_001, message: 'There is no such session: send initialize again.' }, id: null }, { status: 404 })
    session.usedAt = Date.now()
    if (request.method === 'GET') {
      session.open += 1
      request.signal.addEventListener('abort', () => (session.open -= 1), { once: true })
    }
    return session.transport.handleRequest(request, body === undefined ? {} : { parsedBody: body })
  }

  async close(): Promise<void> {
    clearInterval(this.#sweeper)
    await Promise.all([...this.#sessions.keys()].map((id) => this.#end(id)))
  }

  async #open(request: Request, body: unknown): Promise<Response> {
    const server = this.#makeServer()
    const transport = new WebStandardStreamableHTTPServerTransport({
      sessionIdGenerator: () => randomUUID(),
      onsessioninitialized: (id) => {
        this.#sessions.set(id, { server, transport, usedAt: Date.now(), open: 0 })
        const [oldest] = [...this.#sessions].toSorted(([, a], [, b]) => a.usedAt - b.usedAt)
        if (this.#sessions.size > MAX_SESSIONS && oldest !== undefined) void this.#end(oldest[0])
      },
    })
    await server.connect(transport)
    server.onclose = () => void this.#sessions.delete(transport.sessionId ?? '')
    const response = await transport.handleRequest(request, { parsedBody: body })
    // What was no initialization after all has no session, and nobody will come back for this server.
    if (transport.sessionId === undefined) await server.close()
    return response
  }

  async #end(id: string): Promise<void> {
    const session = this.#sessions.get(id)
    this.#sessions.delete(id)
    // One whose client is gone already can't be told.
    await session?.server.close().catch(() => undefined)
  }

  #sweep(): void {
    const before = Date.now() - IDLE_MS
    for (const [id, { usedAt, open }] of this.#sessions) if (open === 0 && usedAt < before) void this.#end(id)
  }
}

/** What can't be read is told by whoever serves it. */
async function bodyOf(request: Request): Promise<unknown> {
  try {
    return (await request.clone().json()) as unknown
  } catch {
    return undefined
  }
}
