/**
 * `berth mcp`: MCP over stdin and stdout for clients that start their servers, with a Berth server behind it.
 *
 *   client ──stdio, either era──▶ a server here ──HTTP, 2026-07-28──▶ Berth's MCP endpoint
 *
 * Every request goes on with its progress and its end: a client that cancels, or closes our stdin, closes the
 * request, which is what ends a command there. Nothing is kept here, and nothing but the protocol is on stdout.
 */
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import type { McpSubscription, SubscriptionFilter } from '@modelcontextprotocol/client'
import { ResourceNotFoundError, Server } from '@modelcontextprotocol/server'
import type { ServerContext, Transport } from '@modelcontextprotocol/server'
import { serveStdio, StdioServerTransport } from '@modelcontextprotocol/server/stdio'
import { CliError } from './failure.ts'

/** Longer than any tool waits. */
const REQUEST_LIMIT_MS = 3_600_000
const CONNECT_LIMIT_MS = 30_000
const PROTOCOL = '2026-07-28'

export interface BridgeOptions {
  readonly url: URL
  readonly key: string | null
  readonly headers: Readonly<Record<string, string>>
  readonly version: string
}

/** Serves until stdin ends. */
export async function runBridge(options: BridgeOptions): Promise<void> {
  const far = await connect(options)
  const servers = new Set<Server>()
  const ended = Promise.withResolvers<void>()
  const listens = new Listens(far)
  forwardNotices(far, servers)
  const transport = tapped(new StdioServerTransport(), listens, () => ended.resolve())
  const handle = serveStdio(({ era }) => makeServer(far, servers, era, listens, options.version), { transport, onerror: complain })
  await ended.promise
  await handle.close()
  await far.close()
}

async function connect({ url, key, headers, version }: BridgeOptions): Promise<Client> {
  const client = new Client({ name: 'berth mcp', version }, { versionNegotiation: { mode: { pin: PROTOCOL } } })
  const authorization = key === null ? {} : { authorization: `Bearer ${key}` }
  const transport = new StreamableHTTPClientTransport(url, { requestInit: { headers: { ...authorization, ...headers } } })
  try {
    await client.connect(transport, { timeout: CONNECT_LIMIT_MS })
  } catch (error) {
    throw new CliError((await refusalOf(url, { ...authorization, ...headers })) ?? sentenceFor(error, url), { cause: error })
  }
  client.onerror = complain
  return client
}

/** The client keeps to itself why it was refused; asked once more, the server says it. */
async function refusalOf(url: URL, headers: Readonly<Record<string, string>>): Promise<string | null> {
  try {
    const answer = await fetch(url, {
      method: 'POST',
      headers: { accept: 'application/json, text/event-stream', 'content-type': 'application/json', 'mcp-protocol-version': PROTOCOL, 'mcp-method': 'server/discover', ...headers },
      body: JSON.stringify({
        jsonrpc: '2.0',
        id: 1,
        method: 'server/discover',
        params: { _meta: { 'io.modelcontextprotocol/protocolVersion': PROTOCOL, 'io.modelcontextprotocol/clientCapabilities': {} } },
      }),
      signal: AbortSignal.timeout(CONNECT_LIMIT_MS),
    })
    if (answer.ok || answer.status === 401) return null
    const { error } = (await answer.json()) as { error?: { message?: unknown } }
    return typeof error?.message === 'string' ? `The server at ${url.href} refuses: ${error.message}` : null
  } catch {
    // Nobody answers, or no MCP server: the first error says so.
    return null
  }
}

function sentenceFor(error: unknown, url: URL): string {
  const text = error instanceof Error ? error.message : String(error)
  if (/\b401\b|Unauthorized/i.test(text)) return `The server at ${url.href} doesn't know this key: give one with --key or BERTH_KEY.`
  if (/fetch failed|ECONNREFUSED/i.test(text)) return `No MCP server answers at ${url.href}: start one with "berth serve", or name another with --url.`
  return `MCP at ${url.href} can't be used: ${text}`
}

/** The server that the client on stdio speaks to: what the far one can, this one can. */
function makeServer(far: Client, servers: Set<Server>, era: 'legacy' | 'modern', listens: Listens, version: string): Server {
  const { resources, tools, completions } = far.getServerCapabilities() ?? {}
  const capabilities = { ...(tools === undefined ? {} : { tools }), ...(resources === undefined ? {} : { resources }), ...(completions === undefined ? {} : { completions }) }
  const instructions = far.getInstructions()
  const server = new Server({ name: 'berth', title: 'Berth', version }, { capabilities, ...(instructions === undefined ? {} : { instructions }) })
  const goOn = (ctx: ServerContext) => ({ signal: ctx.mcpReq.signal, timeout: REQUEST_LIMIT_MS })
  if (tools !== undefined) {
    server.setRequestHandler('tools/list', ({ params }, ctx) => far.request({ method: 'tools/list', ...withParams(params) }, goOn(ctx)))
    server.setRequestHandler('tools/call', async ({ params }, ctx) => {
      const token = ctx.mcpReq._meta?.progressToken
      let told: Promise<unknown> = Promise.resolve()
      const onprogress = (progress: { progress: number; total?: number | undefined; message?: string | undefined }) => {
        told = ctx.mcpReq.notify({ method: 'notifications/progress', params: { ...progress, progressToken: token } }).catch(complain)
      }
      const { name, arguments: args } = params
      const request = { method: 'tools/call', params: { name, ...(args === undefined ? {} : { arguments: args }) } } as const
      const result = await far.request(request, { ...goOn(ctx), ...(token === undefined ? {} : { onprogress }) })
      // A notice that comes after the result is lost on the client.
      await told
      return result
    })
  }
  if (resources !== undefined) {
    server.setRequestHandler('resources/list', ({ params }, ctx) => far.request({ method: 'resources/list', ...withParams(params) }, goOn(ctx)))
    server.setRequestHandler('resources/templates/list', ({ params }, ctx) => far.request({ method: 'resources/templates/list', ...withParams(params) }, goOn(ctx)))
    server.setRequestHandler('resources/read', ({ params: { uri } }, ctx) => far.request({ method: 'resources/read', params: { uri } }, goOn(ctx)))
    if (era === 'legacy') addSubscriptions(server, listens)
  }
  if (completions !== undefined) {
    server.setRequestHandler('completion/complete', ({ params: { ref, argument, context } }, ctx) =>
      far.request({ method: 'completion/complete', params: { ref, argument, ...(context === undefined ? {} : { context }) } }, goOn(ctx)),
    )
  }
  servers.add(server)
  server.onclose = () => servers.delete(server)
  return server
}

/** Only what the specification gives these requests; our own envelope is not the client's. */
function withParams(params: { readonly cursor?: string | undefined } | undefined): { params?: { cursor: string } } {
  return params?.cursor === undefined ? {} : { params: { cursor: params.cursor } }
}

/** A 2025-era client asks for one resource at a time, and hears of the list unasked. */
function addSubscriptions(server: Server, listens: Listens): void {
  server.setRequestHandler('resources/subscribe', async ({ params: { uri } }) => {
    const honored = await listens.open(uri, { resourceSubscriptions: [uri] })
    if (honored.resourceSubscriptions?.includes(uri) !== true) {
      await listens.close(uri)
      throw new ResourceNotFoundError(uri)
    }
    return {}
  })
  server.setRequestHandler('resources/unsubscribe', async ({ params: { uri } }) => {
    await listens.close(uri)
    return {}
  })
  server.oninitialized = () => void listens.open('the list', { resourcesListChanged: true }).catch(complain)
}

function forwardNotices(far: Client, servers: ReadonlySet<Server>): void {
  far.setNotificationHandler('notifications/resources/updated', ({ params: { uri } }) => {
    for (const server of servers) server.sendResourceUpdated({ uri }).catch(complain)
  })
  far.setNotificationHandler('notifications/resources/list_changed', () => {
    for (const server of servers) server.sendResourceListChanged().catch(complain)
  })
}

/** Streams of notices that are open at the far end. */
class Listens {
  readonly #far: Client
  readonly #open = new Map<string | number, McpSubscription>()

  constructor(far: Client) {
    this.#far = far
  }

  /** What the far end agrees to tell. */
  async open(name: string | number, filter: SubscriptionFilter): Promise<SubscriptionFilter> {
    await this.close(name)
    const subscription = await this.#far.listen(filter, { timeout: CONNECT_LIMIT_MS })
    this.#open.set(name, subscription)
    return subscription.honoredFilter
  }

  async close(name: string | number): Promise<void> {
    const subscription = this.#open.get(name)
    this.#open.delete(name)
    await subscription?.close()
  }
}

/**
 * A 2026-era client's `subscriptions/listen` is answered by the stdio entry itself; the far end's stream is opened
 * first, so that what happens from then on is told.
 */
function tapped(wire: Transport, listens: Listens, onEnd: () => void): Transport {
  const outer: Transport = {
    async start() {
      wire.onmessage = (message, extra) => {
        const deliver = () => outer.onmessage?.(message, extra)
        const { method, id, params } = message as { method?: unknown; id?: unknown; params?: { notifications?: SubscriptionFilter; requestId?: unknown } }
        if (method === 'subscriptions/listen' && isName(id) && params?.notifications !== undefined) {
          listens.open(id, params.notifications).then(deliver, (error: unknown) => (complain(error), deliver()))
          return
        }
        if (method === 'notifications/cancelled' && isName(params?.requestId)) listens.close(params.requestId).catch(complain)
        deliver()
      }
      wire.onerror = error => outer.onerror?.(error)
      wire.onclose = () => {
        outer.onclose?.()
        onEnd()
      }
      await wire.start()
    },
    send: (message, options) => wire.send(message, options),
    close: () => wire.close(),
  }
  return outer
}

function isName(id: unknown): id is string | number {
  return typeof id === 'string' || typeof id === 'number'
}

function complain(error: unknown): void {
  process.stderr.write(`berth mcp: ${error instanceof Error ? error.message : String(error)}\n`)
}
