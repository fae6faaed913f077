/**
 * Runs one command to its end over Koyeb's exec WebSocket and gives one document.
 *
 *   us → upstream   {"id","id_type","body":{"command":[…],"disableTty":true}}, then {"body":{"stdin":{"data"|"close"}}}
 *   upstream → us   {"result":{"stdout":{"data"},"stderr":{"data"},"exited","exit_code"}} or {"error":{"code","message"}}
 *
 * A status other than 0 is a result. Past its time the command is ended by hanging up, and what it wrote is kept.
 */
import { WebSocket } from 'ws'
import type { RawData } from 'ws'
import type { Credential } from './credentials.ts'
import type { ExecRequest } from './exec-input.ts'
import { Failure } from './failure.ts'
import type { FailureCode } from './failure.ts'
import type { Json, JsonObject } from './model.ts'
import { isObject } from './shape.ts'
import { readErrorBody } from './payload.ts'
import { MAX_BODY_BYTES } from './upstream.ts'
import type { Timeouts } from './upstream.ts'

/** Bytes of stdin in one frame. */
const STDIN_CHUNK_BYTES = 32 * 1024
/** Past the command's own time, for the connection. */
const GRACE_MS = 5_000
/** How long a polite goodbye may take. */
const CLOSE_MS = 1_000
const SUBPROTOCOL = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/
/** The start of a refused handshake's body is enough to say why. */
const MAX_REFUSAL_BYTES = 64 * 1024

export interface ExecOptions {
  readonly url: URL
  readonly credential: Credential
  readonly timeouts: Timeouts
  readonly signal: AbortSignal | null
  /** Told of every piece of output: the bytes so far, and the last line. */
  readonly onOutput?: (bytes: number, text: string) => void
}

export async function callExec(request: ExecRequest, options: ExecOptions): Promise<JsonObject> {
  const url = new URL(options.url)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  url.searchParams.set('id', request.id)
  for (const [name, value] of options.credential.query) url.searchParams.append(name, value)
  const began = Date.now()
  const streams = { stdout: new Captured(request.maxOutputBytes), stderr: new Captured(request.maxOutputBytes) }
  const end = await converse(url, request, options, streams)
  const texts = { stdout: streams.stdout.text(), stderr: streams.stderr.text() }
  const isText = texts.stdout !== null && texts.stderr !== null
  return {
    stdout: isText ? texts.stdout : streams.stdout.base64(),
    stderr: isText ? texts.stderr : streams.stderr.base64(),
    encoding: isText ? 'utf-8' : 'base64',
    exit_code: end.exitCode,
    signal: null,
    timed_out: end.timedOut,
    truncated: { stdout: streams.stdout.isTruncated, stderr: streams.stderr.isTruncated },
    duration_ms: Date.now() - began,
    instance_id: request.id,
  }
}

interface End {
  readonly exitCode: number | null
  readonly timedOut: boolean
}

function converse(url: URL, request: ExecRequest, options: ExecOptions, streams: { readonly stdout: Captured; readonly stderr: Captured }): Promise<End> {
  const { token, headers } = options.credential
  // A token that can't stand in the header of subprotocols goes as a header alone.
  const protocols = token !== null && SUBPROTOCOL.test(token) ? ['Bearer', token] : []
  const socket = new WebSocket(url, protocols, {
    headers: { ...headers, 'user-agent': 'berth-capability' },
    handshakeTimeout: options.timeouts.connectMs,
    followRedirects: false,
    perMessageDeflate: false,
    maxPayload: MAX_BODY_BYTES,
  })
  return new Promise((resolve, reject) => {
    let isDone = false
    const finish = (act: () => void, isPolite: boolean): void => {
      if (isDone) return
      isDone = true
      clearTimeout(commandTimer)
      clearTimeout(totalTimer)
      options.signal?.removeEventListener('abort', onAbort)
      act()
      if (!isPolite || socket.readyState !== WebSocket.OPEN) return socket.terminate()
      socket.close(1000)
      setTimeout(() => socket.terminate(), CLOSE_MS).unref()
      return undefined
    }
    const fail = (code: FailureCode, message: string, cause?: unknown): void => finish(() => reject(new Failure(code, message, { cause })), false)
    const onAbort = (): void => fail('unavailable', 'The call was cancelled, and the command was ended.')
    let commandTimer: NodeJS.Timeout | undefined
    const totalTimer = setTimeout(() => fail('upstream_timeout', `${url.host} did not run the command within ${request.timeoutMs + GRACE_MS} ms.`), request.timeoutMs + GRACE_MS)
    // Whatever comes after the end is nobody's.
    socket.on('error', (error) => fail('upstream_unreachable', `${url.host} can't be reached for exec (${(error as NodeJS.ErrnoException).code ?? error.message}).`, error))
    if (options.signal?.aborted === true) return onAbort()
    options.signal?.addEventListener('abort', onAbort)
    socket.on('unexpected-response', (_, response) => {
      const chunks: Buffer[] = []
      let size = 0
      response.on('data', (chunk: Buffer) => {
        size += chunk.length
        if (size <= MAX_REFUSAL_BYTES) chunks.push(chunk)
      })
      response.on('end', () => finish(() => reject(refusal(response.statusCode ?? 0, Buffer.concat(chunks), url)), false))
      response.on('error', (error) => fail('upstream_unreachable', `${url.host} can't be reached for exec.`, error))
    })
    socket.on('open', () => {
      for (const frame of openingFrames(request)) socket.send(JSON.stringify(frame))
      commandTimer = setTimeout(() => finish(() => resolve({ exitCode: null, timedOut: true }), true), request.timeoutMs)
    })
    socket.on('message', (data) => {
      const frame = readFrame(data)
      if (frame === null) return
      if (frame.kind === 'error') return finish(() => reject(frame.failure), true)
      for (const stream of ['stdout', 'stderr'] as const) {
        const bytes = frame[stream]
        if (bytes === null) continue
        streams[stream].add(bytes)
        options.onOutput?.(streams.stdout.total + streams.stderr.total, bytes.toString('utf8'))
      }
      if (frame.exited) finish(() => resolve({ exitCode: frame.exitCode, timedOut: false }), true)
      return undefined
    })
    socket.on('close', (code) => fail('upstream_error', `${url.host} hung up before the command ended (close code ${code}).`))
    return undefined
  })
}

function* openingFrames(request: ExecRequest): Generator<JsonObject> {
  const size = request.size === null ? {} : { tty_size: { ...request.size } }
  yield { id: request.id, id_type: request.idType, body: { command: [...request.command], disableTty: !request.isTty, ...size } }
  const stdin = request.stdin ?? Buffer.alloc(0)
  for (let at = 0; at < stdin.length; at += STDIN_CHUNK_BYTES) {
    yield { body: { stdin: { data: stdin.subarray(at, at + STDIN_CHUNK_BYTES).toString('base64') } } }
  }
  // A terminal whose input ends hangs up; without input there is nothing to end.
  if (!request.isTty || request.stdin !== null) yield { body: { stdin: { close: true } } }
}

type Frame =
  | { readonly kind: 'output'; readonly stdout: Buffer | null; readonly stderr: Buffer | null; readonly exited: boolean; readonly exitCode: number }
  | { readonly kind: 'error'; readonly failure: Failure }

/** Null for what says nothing to us. */
function readFrame(data: RawData): Frame | null {
  let value: unknown
  try {
    value = JSON.parse(Buffer.isBuffer(data) ? data.toString('utf8') : Buffer.from(data as ArrayBuffer).toString('utf8'))
  } catch {
    return { kind: 'error', failure: new Failure('upstream_error', 'The upstream sent a frame that is not JSON.') }
  }
  if (!isObject(value)) return null
  if (isObject(value['error'])) return { kind: 'error', failure: streamFailure(value['error']) }
  const result = value['result']
  // A proxy that upgrades before it authenticates puts the HTTP error's document into the first frame.
  if (!isObject(result)) return typeof value['status'] === 'number' ? { kind: 'error', failure: httpFailure(value['status'], value) } : null
  const bytes = (stream: unknown): Buffer | null => (isObject(stream) && typeof stream['data'] === 'string' ? Buffer.from(stream['data'], 'base64') : null)
  return {
    kind: 'output',
    stdout: bytes(result['stdout']),
    stderr: bytes(result['stderr']),
    exited: result['exited'] === true,
    exitCode: typeof result['exit_code'] === 'number' ? result['exit_code'] : 0,
  }
}

const BY_GRPC: Readonly<Record<number, FailureCode>> = {
  3: 'invalid_argument',
  5: 'not_found',
  7: 'upstream_auth',
  8: 'resource_exhausted',
  9: 'invalid_state',
  14: 'unavailable',
  16: 'upstream_auth',
}

function streamFailure(error: Readonly<Record<string, unknown>>): Failure {
  const [detail] = Array.isArray(error['details']) ? (error['details'] as unknown[]) : []
  const told = isObject(detail) && typeof detail['message'] === 'string' ? detail['message'] : error['message']
  const code = BY_GRPC[Number(error['code'])] ?? 'upstream_error'
  return new Failure(code, `The command did not run: ${typeof told === 'string' ? told : 'the upstream gave no reason'}.`.replace(/\.\.$/, '.'))
}

function refusal(status: number, body: Buffer, url: URL): Failure {
  return httpFailure(status, readErrorBody(status, body, url.host) as Readonly<Record<string, Json>>)
}

function httpFailure(status: number, body: Readonly<Record<string, unknown>>): Failure {
  const message = typeof body['message'] === 'string' ? body['message'] : `the upstream answered ${status}`
  if (status === 401 || status === 403) return new Failure('upstream_auth', `The upstream refused the capability's own credential (HTTP ${status}).`)
  const codes: Readonly<Record<number, FailureCode>> = { 400: 'invalid_argument', 404: 'not_found', 409: 'invalid_state', 412: 'invalid_state', 429: 'resource_exhausted', 503: 'unavailable' }
  return new Failure(codes[status] ?? 'upstream_error', `The command did not run: ${message}.`.replace(/\.\.$/, '.'))
}

/** The head of a stream, up to its limit; the rest is read and dropped. */
class Captured {
  readonly #limit: number
  readonly #chunks: Buffer[] = []
  #kept = 0
  total = 0

  constructor(limit: number) {
    this.#limit = limit
  }

  get isTruncated(): boolean {
    return this.total > this.#limit
  }

  add(bytes: Buffer): void {
    this.total += bytes.length
    const rest = this.#limit - this.#kept
    if (rest <= 0) return
    const part = bytes.subarray(0, rest)
    this.#chunks.push(part)
    this.#kept += part.length
  }

  /** Null if the bytes are no text. A character that the limit cut in two is left out. */
  text(): string | null {
    const bytes = Buffer.concat(this.#chunks)
    const attempts = this.isTruncated ? [0, 1, 2, 3] : [0]
    for (const cut of attempts) {
      try {
        return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes.subarray(0, bytes.length - cut))
      } catch {
        // Perhaps the last character is only cut.
      }
    }
    return null
  }

  base64(): string {
    return Buffer.concat(this.#chunks).toString('base64')
  }
}
