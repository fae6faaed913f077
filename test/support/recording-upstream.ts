/** An upstream that writes down what it is asked and answers as Koyeb does, over HTTP and its exec WebSocket. */
import { createServer } from 'node:http'
import type { IncomingMessage, ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { WebSocketServer } from 'ws'

export interface Recorded {
  readonly method: string
  readonly path: string
  readonly query: URLSearchParams
  readonly headers: IncomingMessage['headers']
  readonly body: string
}

export interface RecordedExec {
  readonly path: string
  readonly query: URLSearchParams
  readonly authorization: string | undefined
  readonly protocols: string | undefined
  readonly frames: unknown[]
  /** Resolves with the close code when the caller hangs up. */
  readonly closed: Promise<number>
}

type Answer = (request: Recorded, response: ServerResponse) => void | Promise<void>

export interface RecordingUpstream extends AsyncDisposable {
  readonly url: string
  readonly requests: Recorded[]
  readonly execs: RecordedExec[]
  /** Answers instead of Koyeb, until set to null. */
  answer: Answer | null
  /** What an exec sends once its command and the end of its input are there; null never ends. */
  exec: ((frames: readonly unknown[]) => readonly unknown[] | null) | null
}

export const ITEM = { id: 'i-1', status: 'HEALTHY', app_id: 'a', service_id: 's', messages: [] }

export async function startUpstream(): Promise<RecordingUpstream> {
  const requests: Recorded[] = []
  const execs: RecordedExec[] = []
  const server = createServer((request, response) => {
    const chunks: Buffer[] = []
    request.on('data', (chunk: Buffer) => chunks.push(chunk))
    request.on('end', () => {
      const url = new URL(request.url ?? '/', 'http://x')
      const recorded = { method: request.method ?? '', path: url.pathname, query: url.searchParams, headers: request.headers, body: Buffer.concat(chunks).toString() }
      requests.push(recorded)
      void (upstream.answer ?? koyeb)(recorded, response)
    })
  })
  const sockets = new WebSocketServer({ server, handleProtocols: (offered) => (offered.has('Bearer') ? 'Bearer' : false) })
  sockets.on('connection', (socket, request) => {
    const url = new URL(request.url ?? '/', 'http://x')
    let close: (code: number) => void = () => undefined
    const closed = new Promise<number>((resolve) => (close = resolve))
    const recorded: RecordedExec = {
      path: url.pathname,
      query: url.searchParams,
      authorization: request.headers.authorization,
      protocols: request.headers['sec-websocket-protocol'],
      frames: [],
      closed,
    }
    execs.push(recorded)
    socket.on('close', (code) => close(code))
    socket.on('message', (data) => {
      const frame = JSON.parse((data as Buffer).toString()) as { body?: { stdin?: { close?: boolean } } }
      recorded.frames.push(frame)
      if (frame.body?.stdin?.close !== true) return
      const answers = (upstream.exec ?? hello)(recorded.frames)
      for (const each of answers ?? []) socket.send(JSON.stringify(each))
      if (answers !== null) socket.close(1000)
    })
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const upstream: RecordingUpstream = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    requests,
    execs,
    answer: null,
    exec: null,
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets.clients) socket.terminate()
      server.closeAllConnections()
      await new Promise((resolve) => server.close(resolve))
    },
  }
  return upstream
}

export const base64 = (text: string): string => Buffer.from(text).toString('base64')

/** What `sh -c 'echo hello; echo oops >&2; exit 3'` looks like. */
function hello(): readonly unknown[] {
  return [
    { result: { stdout: { data: base64('hello\n'), close: false }, stderr: null, exited: false, exit_code: 0 } },
    { result: { stdout: null, stderr: { data: base64('oops\n'), close: false }, exited: false, exit_code: 0 } },
    { result: { stdout: null, stderr: null, exited: true, exit_code: 3 } },
  ]
}

function koyeb(request: Recorded, response: ServerResponse): void {
  const send = (status: number, body: unknown): void => void response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  if (request.headers.authorization !== 'Bearer koyeb-secret-key') return send(401, { status: 401, code: 'unauthorized', message: 'Authentication failed' })
  if (request.path === '/v1/instance_events') return send(200, { events: [{ id: 'e', instance_id: 'i-1' }], limit: 10, offset: 0, order: 'desc', has_next: false })
  if (request.path === '/v1/instances') return send(200, { instances: [ITEM], limit: 10, offset: 0, count: 1 })
  if (request.path === '/v1/instances/i-1') return send(200, { instance: ITEM })
  return send(404, { status: 404, code: 'not_found', message: 'Instance not found' })
}
