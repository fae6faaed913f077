/**
 * One HTTP request to an upstream and its whole answer, within limits: 5 s to connect, 30 s in all, 10 MiB of body.
 * Redirects are not followed: a credential goes where the document says and nowhere else. A GET that could not
 * connect is tried once more; nothing else is repeated.
 */
import { Agent as HttpAgent, request as httpRequest } from 'node:http'
import type { IncomingHttpHeaders } from 'node:http'
import { Agent as HttpsAgent, request as httpsRequest } from 'node:https'
import { brotliDecompressSync, gunzipSync, inflateSync } from 'node:zlib'
import { Failure } from './failure.ts'

export const CONNECT_TIMEOUT_MS = 5_000
export const TOTAL_TIMEOUT_MS = 30_000
export const MAX_BODY_BYTES = 10 * 1024 * 1024
/** Bodies are held in memory: what a document may raise the limit of binary ones to. */
export const MAX_BINARY_BYTES = 256 * 1024 * 1024
/** Requests to one upstream at a time; more wait for a connection. */
const MAX_SOCKETS = 64

/** They belong to one connection and go no further. */
export const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'host',
  'content-length',
  'expect',
])

export interface Timeouts {
  readonly connectMs: number
  readonly totalMs: number
}

export interface UpstreamRequest {
  readonly url: URL
  readonly method: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Buffer | null
  readonly signal: AbortSignal | null
  /** Of the answer's body; 10 MiB unless told. */
  readonly maxBytes?: number
}

export interface UpstreamAnswer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

/** The connections to the upstreams of one runner. */
export class Upstream {
  readonly timeouts: Timeouts
  readonly #http = new HttpAgent({ keepAlive: true, maxSockets: MAX_SOCKETS })
  readonly #https = new HttpsAgent({ keepAlive: true, maxSockets: MAX_SOCKETS })

  constructor(timeouts: Timeouts = { connectMs: CONNECT_TIMEOUT_MS, totalMs: TOTAL_TIMEOUT_MS }) {
    this.timeouts = timeouts
  }

  async send(request: UpstreamRequest): Promise<UpstreamAnswer> {
    const deadline = Date.now() + this.timeouts.totalMs
    try {
      return await this.#sendOnce(request, deadline)
    } catch (error) {
      const mayRepeat = error instanceof NotConnected && request.method === 'GET' && request.signal?.aborted !== true
      if (!mayRepeat) throw told(error, request.url)
    }
    return this.#sendOnce(request, deadline).catch((error: unknown) => {
      throw told(error, request.url)
    })
  }

  close(): void {
    this.#http.destroy()
    this.#https.destroy()
  }

  #sendOnce({ url, method, headers, body, signal, maxBytes = MAX_BODY_BYTES }: UpstreamRequest, deadline: number): Promise<UpstreamAnswer> {
    const isTls = url.protocol === 'https:'
    return new Promise((resolve, reject) => {
      let isConnected = false
      const outgoing = (isTls ? httpsRequest : httpRequest)(url, {
        method,
        agent: isTls ? this.#https : this.#http,
        headers: { ...headers, 'accept-encoding': 'identity', ...(body === null ? {} : { 'content-length': String(body.length) }) },
      })
      const connectTimer = setTimeout(() => end(new NotConnected('connecting took too long')), this.timeouts.connectMs)
      const totalTimer = setTimeout(() => end(new Failure('upstream_timeout', timeoutWords(url, this.timeouts.totalMs))), Math.max(1, deadline - Date.now()))
      const onAbort = (): void => end(new Failure('unavailable', 'The call was cancelled.'))
      const settle = (): void => {
        clearTimeout(connectTimer)
        clearTimeout(totalTimer)
        signal?.removeEventListener('abort', onAbort)
      }
      const end = (error: Error): void => {
        settle()
        reject(error)
        outgoing.destroy()
      }
      const connected = (): void => {
        isConnected = true
        clearTimeout(connectTimer)
      }
      if (signal?.aborted === true) return end(new Failure('unavailable', 'The call was cancelled.'))
      signal?.addEventListener('abort', onAbort)
      outgoing.on('socket', (socket) => {
        if (!socket.connecting) connected()
        else socket.once(isTls ? 'secureConnect' : 'connect', connected)
      })
      outgoing.on('error', (error) => {
        const isStale = outgoing.reusedSocket && (error as NodeJS.ErrnoException).code === 'ECONNRESET'
        end(isConnected && !isStale ? error : new NotConnected(error.message, { cause: error }))
      })
      outgoing.on('response', (response) => {
        const chunks: Buffer[] = []
        let size = 0
        response.on('data', (chunk: Buffer) => {
          size += chunk.length
          if (size > maxBytes) return end(tooLarge(url, maxBytes))
          chunks.push(chunk)
          return undefined
        })
        response.on('error', end)
        response.on('end', () => {
          settle()
          try {
            resolve({ status: response.statusCode ?? 0, headers: response.headers, body: decode(Buffer.concat(chunks), response.headers['content-encoding'], maxBytes) })
          } catch (error) {
            const isLarge = (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE'
            reject(isLarge ? tooLarge(url, maxBytes) : new Failure('upstream_error', `${url.host} answered with a body that can't be decompressed.`, { cause: error }))
          }
        })
      })
      outgoing.end(body ?? undefined)
      return undefined
    })
  }
}

class NotConnected extends Error {
  override readonly name = 'NotConnected'
}

const tooLarge = (url: URL, bytes: number): Failure => new Failure('upstream_too_large', `${url.host} answered with more than ${spellBytes(bytes)}.`)

/** `10 MiB`: the largest unit that loses nothing. */
export function spellBytes(bytes: number): string {
  const units = ['bytes', 'KiB', 'MiB', 'GiB']
  let at = 0
  let number = bytes
  while (number >= 1024 && number % 1024 === 0 && at < units.length - 1) {
    number /= 1024
    at += 1
  }
  return `${number} ${units[at] ?? ''}`
}

const timeoutWords = (url: URL, ms: number): string => `${url.host} did not answer within ${ms / 1000} s.`

/** The host alone is named: a path or a query may carry what must not be shown. */
function told(error: unknown, url: URL): Failure {
  if (error instanceof Failure) return error
  const cause = error instanceof NotConnected ? error.cause : error
  const code = (cause as NodeJS.ErrnoException | undefined)?.code
  const why = code ?? (error instanceof Error ? error.message : 'unknown')
  return new Failure('upstream_unreachable', `${url.host} can't be reached (${why}).`, { cause: error })
}

function decode(body: Buffer, encoding: string | undefined, maxBytes: number): Buffer {
  if (encoding === undefined || encoding === 'identity' || body.length === 0) return body
  const limit = { maxOutputLength: maxBytes }
  if (encoding === 'gzip' || encoding === 'x-gzip') return gunzipSync(body, limit)
  if (encoding === 'deflate') return inflateSync(body, limit)
  if (encoding === 'br') return brotliDecompressSync(body, limit)
  return body
}
