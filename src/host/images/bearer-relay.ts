/**
 * Adds a registry token to the requests of one pull.
 *
 * skopeo takes a ready-made bearer token only as an argument, where every process of the machine can read it.
 * So for the length of such a pull it talks to this relay, on loopback and under a path that only it knows,
 * and the relay adds the header. Redirects to where the registry keeps its blobs pass through untouched and
 * are followed by skopeo itself, without the token.
 */
import { randomBytes } from 'node:crypto'
import { Agent as HttpAgent, createServer, request as httpRequest, type IncomingMessage, type ServerResponse } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { pipeline } from 'node:stream'
import { BerthError } from '../../instance/errors.ts'

/** What passes: reading manifests and blobs. */
const METHODS = new Set(['GET', 'HEAD'])
const HEADERS_TIMEOUT_MS = 60_000
const PROBE_TIMEOUT_MS = 5_000
/** Docker's own name for its registry is not where it answers. */
const REGISTRY_ALIASES: Readonly<Record<string, string>> = { 'docker.io': 'registry-1.docker.io' }

export interface BearerRelay {
  /** Stands for the registry's host in references: `127.0.0.1:PORT/SECRET`. */
  readonly host: string
  close(): Promise<void>
}

export async function bearerRelay(options: { readonly host: string; readonly token: string; readonly insecure: boolean }): Promise<BearerRelay> {
  if (!/^[\x21-\x7e]{1,16384}$/.test(options.token)) {
    throw new BerthError('invalid_request', 'The registry token holds characters that no HTTP header can carry.', { details: { field: 'token' } })
  }
  const secret = randomBytes(16).toString('hex')
  const upstream = await upstreamOf(options)
  const agent =
    upstream.protocol === 'https:'
      ? new HttpsAgent({ rejectUnauthorized: !options.insecure, proxyEnv: process.env })
      : new HttpAgent({ proxyEnv: process.env })
  const to = { upstream, agent, secret, token: options.token }
  const server = createServer((request, response) => relay(request, response, to))
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(0, '127.0.0.1', resolve)
  })
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port')
  return {
    host: `127.0.0.1:${address.port}/${secret}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
        agent.destroy()
      }),
  }
}

interface Onward {
  readonly upstream: URL
  readonly agent: HttpAgent | HttpsAgent
  readonly secret: string
  readonly token: string
}

function relay(request: IncomingMessage, response: ServerResponse, to: Onward): void {
  const path = upstreamPath(request.url ?? '/', to.secret)
  if (path === null || !METHODS.has(request.method ?? '')) {
    response.writeHead(404).end()
    return
  }
  const { host: _host, authorization: _authorization, connection: _connection, ...headers } = request.headers
  const url = new URL(path, to.upstream)
  const options = {
    method: request.method,
    agent: to.agent,
    headers: { ...headers, authorization: `Bearer ${to.token}` },
    timeout: HEADERS_TIMEOUT_MS,
  }
  const onward = url.protocol === 'https:' ? httpsRequest(url, options) : httpRequest(url, options)
  onward.on('response', (answer) => {
    response.writeHead(answer.statusCode ?? 502, { ...answer.headers, ...ownLocation(answer.headers.location, to) })
    // A line that breaks must break for skopeo too, or it would take half a layer for a whole one.
    pipeline(answer, response, (error) => {
      if (error !== undefined && error !== null) response.destroy()
    })
  })
  onward.on('timeout', () => onward.destroy(new Error('the registry sent no headers in time')))
  onward.on('error', () => {
    if (response.headersSent) response.destroy()
    else response.writeHead(502).end()
  })
  response.on('close', () => onward.destroy())
  onward.end()
}

/** `/v2/SECRET/library/alpine/…` → `/v2/library/alpine/…`; the bare `/v2/` is the version check. */
function upstreamPath(path: string, secret: string): string | null {
  if (path === '/v2/') return path
  const prefix = `/v2/${secret}/`
  return path.startsWith(prefix) ? `/v2/${path.slice(prefix.length)}` : null
}

/** A redirect within the registry leads back through the relay; any other is left alone. */
function ownLocation(location: string | undefined, to: Onward): { readonly location?: string } {
  if (location === undefined || !URL.canParse(location, to.upstream.href)) return {}
  const target = new URL(location, to.upstream)
  if (target.origin !== to.upstream.origin || !target.pathname.startsWith('/v2/')) return {}
  return { location: `/v2/${to.secret}/${target.pathname.slice('/v2/'.length)}${target.search}` }
}

/** HTTPS, or plain HTTP where that is allowed and nothing else answers. */
async function upstreamOf(options: { readonly host: string; readonly insecure: boolean }): Promise<URL> {
  const host = REGISTRY_ALIASES[options.host] ?? options.host
  const secure = new URL(`https://${host}/`)
  if (!options.insecure) return secure
  return await new Promise((resolve) => {
    const probe = httpsRequest(new URL('/v2/', secure), { method: 'HEAD', timeout: PROBE_TIMEOUT_MS, rejectUnauthorized: false }, (answer) => {
      answer.resume()
      resolve(secure)
    })
    probe.on('timeout', () => probe.destroy(new Error('no answer')))
    probe.on('error', () => resolve(new URL(`http://${host}/`)))
    probe.end()
  })
}
