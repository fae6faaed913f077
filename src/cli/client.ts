/**
 * The native API over HTTP, as the commands need it: JSON, pages, streams of records, bytes, WebSockets.
 * Everything that goes wrong becomes one sentence: what the server said, or how to reach one.
 */
import { request as httpRequest } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { request as httpsRequest } from 'node:https'
import type { Readable } from 'node:stream'
import type { WebSocket } from 'ws'
import type { Connection } from './connection.ts'
import { ApiError, CliError } from './failure.ts'
import { inFlagWords } from './flag-words.ts'

const PREFIX = '/berth/v1'
/** A connection that is not made by then is given up. */
const CONNECT_TIMEOUT_MS = 10_000
/** Most of an answer that is read where JSON is expected. */
const JSON_LIMIT_BYTES = 256 * 1024 * 1024
/** Longest record of a stream. */
const LINE_LIMIT_BYTES = 16 * 1024 * 1024
const PAGE = 1000
/** What we send to a WebSocket before we wait for it. */
export const SOCKET_HIGH_BYTES = 1024 * 1024

export type Query = Readonly<Record<string, string | number | boolean | readonly string[] | undefined>>

export interface CallOptions {
  readonly query?: Query
  readonly json?: unknown
  readonly bytes?: { readonly stream: Readable; readonly type: string; readonly lengthBytes?: number }
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal
}

export class Client {
  readonly #connection: Connection

  constructor(connection: Connection) {
    this.#connection = connection
  }

  get server(): string {
    return this.#connection.server.origin
  }

  /** The JSON of an answer. */
  async call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const answer = await this.open(method, path, options)
    const text = await readText(answer)
    return (text === '' ? null : JSON.parse(text)) as T
  }

  /** Every item of a list, page after page. */
  async list<T>(path: string, query: Query = {}): Promise<T[]> {
    const items: T[] = []
    let cursor: string | undefined
    do {
      const page: { items: T[]; next: string | null } = await this.call('GET', path, { query: { limit: PAGE, ...query, cursor } })
      items.push(...page.items)
      cursor = page.next ?? undefined
    } while (cursor !== undefined)
    return items
  }

  /** The records of an NDJSON answer as they come. Throws what the stream tells as its error. */
  async *records<T>(path: string, options: CallOptions = {}): AsyncGenerator<T> {
    const answer = await this.open('GET', path, { ...options, headers: { accept: 'application/x-ndjson', ...options.headers } })
    answer.setEncoding('utf8')
    let rest = ''
    try {
      for await (const chunk of answer) {
        const lines = (rest + String(chunk)).split('\n')
        rest = lines.pop() ?? ''
        if (rest.length > LINE_LIMIT_BYTES) throw new CliError(`The server sent a record longer than ${LINE_LIMIT_BYTES} bytes.`)
        for (const line of lines) {
          if (line === '') continue
          const record: unknown = JSON.parse(line)
          throwIfError(record)
          yield record as T
        }
      }
    } catch (error) {
      if (options.signal?.aborted === true) return
      if (error instanceof CliError) throw error
      throw new CliError(`The connection to ${this.server} broke; see whether the server still runs, then ask again.`, { cause: error })
    } finally {
      answer.destroy()
    }
  }

  /** Asks, and gives the answer once its head is there and good. */
  async open(method: string, path: string, options: CallOptions = {}): Promise<IncomingMessage> {
    const { server, key } = this.#connection
    const url = this.#url(path, options.query)
    const body = options.json === undefined ? null : JSON.stringify(options.json)
    const headers: Record<string, string> = { accept: 'application/json', ...options.headers }
    if (key !== null) headers['authorization'] = `Bearer ${key}`
    if (body !== null) {
      headers['content-type'] = 'application/json'
      headers['content-length'] = String(Buffer.byteLength(body))
    }
    if (options.bytes !== undefined) {
      headers['content-type'] = options.bytes.type
      if (options.bytes.lengthBytes !== undefined) headers['content-length'] = String(options.bytes.lengthBytes)
    }
    const send = server.protocol === 'https:' ? httpsRequest : httpRequest
    const answer = await new Promise<IncomingMessage>((resolve, reject) => {
      const request = send(url, { method, headers, ...(options.signal === undefined ? {} : { signal: options.signal }) }, resolve)
      request.once('error', (error) => reject(options.signal?.aborted === true ? error : this.#unreachable(error)))
      request.once('socket', (socket) => {
        if (!socket.connecting) return
        const timer = setTimeout(() => socket.destroy(new Error(`no connection within ${CONNECT_TIMEOUT_MS} ms`)), CONNECT_TIMEOUT_MS)
        socket.once('connect', () => clearTimeout(timer))
        socket.once('close', () => clearTimeout(timer))
      })
      if (options.bytes === undefined) {
        request.end(body)
        return
      }
      options.bytes.stream.once('error', (error) => {
        request.destroy(error)
        reject(error)
      })
      options.bytes.stream.pipe(request)
    })
    const status = answer.statusCode ?? 0
    if (status >= 200 && status < 300) return answer
    throw await this.#refusal(status, answer)
  }

  /** An open WebSocket. */
  async socket(path: string): Promise<WebSocket> {
    const { WebSocket } = await import('ws')
    const { key } = this.#connection
    const url = this.#url(path)
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
    const socket = new WebSocket(url, {
      headers: key === null ? {} : { authorization: `Bearer ${key}` },
      perMessageDeflate: false,
      handshakeTimeout: CONNECT_TIMEOUT_MS,
    })
    await new Promise<void>((resolve, reject) => {
      socket.once('open', resolve)
      socket.once('error', (error) => reject(this.#unreachable(error)))
      socket.once('unexpected-response', (_request, answer) => {
        this.#refusal(answer.statusCode ?? 0, answer).then(reject, reject)
      })
    })
    return socket
  }

  #url(path: string, query: Query = {}): URL {
    const base = this.#connection.server
    const url = new URL(`${base.pathname.replace(/\/$/, '')}${PREFIX}${path}`, base)
    for (const [name, value] of Object.entries(query)) {
      for (const each of Array.isArray(value) ? (value as readonly string[]) : [value]) {
        if (each !== undefined) url.searchParams.append(name, String(each))
      }
    }
    return url
  }

  #unreachable(error: Error & { code?: string }): CliError {
    const cause = { cause: error }
    switch (error.code) {
      case 'ECONNREFUSED':
        return new CliError(`No Berth server answers at ${this.server}: start one with "berth serve", or name another with --server.`, cause)
      case 'ENOTFOUND':
      case 'EAI_AGAIN':
        return new CliError(`There is no host of the name in ${this.server}: mend --server or BERTH_SERVER.`, cause)
      default:
        return new CliError(`The server at ${this.server} can't be reached (${error.message}): see that it runs and that the address is right.`, cause)
    }
  }

  async #refusal(status: number, answer: IncomingMessage): Promise<CliError> {
    const text = await readText(answer)
    let value: unknown
    try {
      value = JSON.parse(text)
    } catch {
      return new CliError(`${this.server} answered ${status} and not as Berth does: mend --server or BERTH_SERVER.`)
    }
    const { code, message, details } = ((value as { error?: unknown }).error ?? {}) as { code?: unknown; message?: unknown; details?: { field?: unknown } | null }
    if (typeof code !== 'string' || typeof message !== 'string') {
      return new CliError(`${this.server} answered ${status} and not as Berth does: mend --server or BERTH_SERVER.`)
    }
    if (code === 'unauthenticated' && this.#connection.key === null) {
      return new ApiError(code, 'The server wants a key: give one with --key or BERTH_KEY (the first is in admin.key of its data directory).')
    }
    return new ApiError(code, inFlagWords(message, details?.field))
  }
}

/** A part of a path. */
export function part(text: string): string {
  return encodeURIComponent(text)
}

async function readText(answer: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  let bytes = 0
  for await (const chunk of answer) {
    chunks.push(chunk as Buffer)
    bytes += (chunk as Buffer).length
    if (bytes > JSON_LIMIT_BYTES) throw new CliError(`The server sent more than ${JSON_LIMIT_BYTES} bytes where a short answer was expected.`)
  }
  return Buffer.concat(chunks).toString('utf8')
}

/** An error told in a stream is a record with nothing but `error`. */
function throwIfError(record: unknown): void {
  if (typeof record !== 'object' || record === null || Object.keys(record).length !== 1) return
  const { code, message } = ((record as { error?: unknown }).error ?? {}) as { code?: unknown; message?: unknown }
  if (typeof code === 'string' && typeof message === 'string') throw new ApiError(code, message)
}
