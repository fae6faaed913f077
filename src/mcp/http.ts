/**
 * The MCP server's own listener: plain HTTP on an address of its own, one path, and in front of it what keeps web
 * pages out: a `Host` that is ours (a name that was rebound to this machine is not), and an `Origin` that is ours
 * where there is one. `null`, and what can't be read, is somebody else's.
 */
import { createServer } from 'node:http'
import type { IncomingMessage, Server, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { hostHeaderValidation, originValidation, toNodeHandler } from '@modelcontextprotocol/node'
import { BerthError } from '../instance/errors.ts'
import { BODY_LIMIT_BYTES, MCP_PATH } from './mcp.ts'
import type { Mcp, McpLog } from './mcp.ts'

/** All headers of one request together. */
const HEADERS_LIMIT_BYTES = 16 * 1024
/** How long answers in flight may take once the server stops. */
const DRAIN_MS = 5000
const LOCAL_NAMES = ['localhost', '127.0.0.1', '[::1]']

export interface McpListenerOptions {
  readonly mcp: Mcp
  readonly listen: { readonly host: string; readonly port: number }
  /** Host names, besides those of this machine and the address itself, under which clients may come. */
  readonly hostnames: readonly string[]
  readonly log: McpLog
}

export interface McpListener {
  /** Where clients reach it: `http://127.0.0.1:9090/mcp`. */
  readonly url: string
  close(): Promise<void>
}

/** Throws `port_in_use` if it can't listen there. */
export async function listenMcp(options: McpListenerOptions): Promise<McpListener> {
  const { mcp, log, listen } = options
  const names = [...LOCAL_NAMES, bracketed(listen.host), ...options.hostnames.map(bracketed)]
  const hostIsOurs = hostHeaderValidation(names)
  const originIsOurs = originValidation(names)
  const serve = toNodeHandler(mcp, { maxRequestBodySize: BODY_LIMIT_BYTES, onerror: error => log.warn({ err: error }, 'an MCP request met an error of Berth’s own') })
  const server = createServer({ maxHeaderSize: HEADERS_LIMIT_BYTES }, (request: IncomingMessage, response: ServerResponse) => {
    response.on('error', error => log.debug({ err: error }, 'an MCP client has gone'))
    if (!hostIsOurs(request, response) || !originIsOurs(request, response)) return
    // A request that a server gets has both.
    serve(request as typeof request & { method: string; url: string }, response).catch((error: unknown) => {
      log.warn({ err: error }, 'an MCP request met an error of Berth’s own')
      response.destroy()
    })
  })
  await start(server, listen)
  const { port } = server.address() as AddressInfo
  const reachable = listen.host === '0.0.0.0' ? '127.0.0.1' : listen.host === '::' ? '::1' : listen.host
  return {
    url: `http://${bracketed(reachable)}:${port}${MCP_PATH}`,
    async close() {
      await mcp.close()
      const closed = new Promise<void>(resolve => server.close(() => resolve()))
      server.closeIdleConnections()
      const late = setTimeout(() => server.closeAllConnections(), DRAIN_MS)
      await closed
      clearTimeout(late)
    },
  }
}

async function start(server: Server, { host, port }: McpListenerOptions['listen']): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error: NodeJS.ErrnoException) => {
      const why = error.code === 'EADDRINUSE' ? 'something else listens there' : error.message
      reject(new BerthError('port_in_use', `MCP can't be served on ${host}:${port}: ${why}; choose another address with --mcp-listen, or none with --mcp-listen=.`, { cause: error }))
    })
    server.listen({ host, port }, resolve)
  })
}

function bracketed(host: string): string {
  return host.includes(':') && !host.startsWith('[') ? `[${host}]` : host
}
