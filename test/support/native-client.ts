/**
 * The native API for tests: every answer is judged by the server's own OpenAPI document, and a 500 is a failure
 * whatever was asked.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { Ajv2020 } from 'ajv/dist/2020.js'
import formats from 'ajv-formats'
import { WebSocket } from 'ws'
import { send } from './server.ts'
import type { Answer, RequestOptions, TestServer } from './server.ts'

export const PREFIX = '/berth/v1'

interface Refusal {
  readonly code: string
  readonly message: string
  readonly details: Readonly<Record<string, unknown>>
  readonly retry: boolean
}

interface StreamOptions {
  readonly sse?: boolean
  readonly signal?: AbortSignal
  readonly headers?: Readonly<Record<string, string>>
}

export interface NativeClient {
  /** One request below the prefix; fails on a 500 and on a body that the document doesn't allow. */
  call(method: string, path: string, options?: RequestOptions): Promise<Answer>
  /** The body of an answer with this status. */
  ok<T = Readonly<Record<string, unknown>>>(status: number, method: string, path: string, options?: RequestOptions): Promise<T>
  /** Asserts that it is refused with this status and code, in one sentence. */
  refused(status: number, code: string, method: string, path: string, options?: RequestOptions): Promise<Refusal>
  /** The same client with another key. */
  as(key: string): NativeClient
  /** The records of an endless answer: NDJSON, or SSE with `sse`. */
  stream(path: string, options?: StreamOptions): AsyncGenerator<StreamRecord>
  /** A command over the WebSocket, to its end. */
  exec(instance: string, start: object, input?: readonly Uint8Array[]): Promise<ExecOutcome>
}

export interface StreamRecord {
  readonly id: string | null
  readonly event: string | null
  readonly data: Readonly<Record<string, unknown>>
}

export interface ExecOutcome {
  readonly stdout: Buffer
  readonly stderr: Buffer
  /** The last text message: `exit` or `error`. */
  readonly end: Readonly<Record<string, unknown>>
  readonly closeCode: number
}

type Judge = (method: string, path: string, answer: Answer) => void

export async function makeNativeClient(server: Pick<TestServer, 'url' | 'key'>): Promise<NativeClient> {
  const { body } = await send(server.url, 'GET', `${PREFIX}/openapi.json`)
  return clientOf(server.url, server.key, makeJudge(body as Document))
}

function clientOf(url: string, key: string, judge: Judge): NativeClient {
  const call: NativeClient['call'] = async (method, path, options = {}) => {
    const answer = await send(url, method, `${PREFIX}${path}`, { key, ...options })
    assert.notEqual(answer.status, 500, `${method} ${path}: ${answer.text}`)
    judge(method, path, answer)
    return answer
  }
  return {
    call,
    as: (other) => clientOf(url, other, judge),
    async ok(status, method, path, options) {
      const answer = await call(method, path, options)
      assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`)
      return answer.body as never
    },
    async refused(status, code, method, path, options) {
      const answer = await call(method, path, options)
      const { error } = answer.body as { readonly error: Refusal }
      assert.deepEqual([answer.status, error.code], [status, code], `${method} ${path}: ${answer.text}`)
      assert.match(error.message, /^\S.*[.!?)]$/s, 'a sentence')
      return error
    },
    stream: (path, options = {}) => readStream(url, key, path, options),
    exec: (instance, start, input = []) => runExec(url, key, instance, start, input),
  }
}

interface Document {
  readonly paths: Readonly<Record<string, Readonly<Record<string, { readonly responses: Readonly<Record<string, object>> }>>>>
}

/** Checks JSON answers against the document. */
function makeJudge(document: Document): Judge {
  const ajv = new Ajv2020({ strict: false, allErrors: true })
  formats.default(ajv)
  ajv.addSchema(document, 'berth')
  const templates = Object.keys(document.paths).map((path) => ({
    path,
    pattern: new RegExp(`^${path.replaceAll('.', '\\.').replaceAll(/\{[^}]+\}/g, '[^/]+')}$`),
    isPlain: !path.includes('{'),
  }))
  return (method, path, answer) => {
    if (answer.status >= 400) {
      check(ajv, 'berth#/components/schemas/Error', answer)
      return
    }
    const verb = method.toLowerCase()
    const asked = `${PREFIX}${path.split('?')[0]}`
    const fitting = templates.filter(({ path: each, pattern }) => pattern.test(asked) && document.paths[each]?.[verb] !== undefined)
    const template = fitting.find(({ isPlain }) => isPlain) ?? fitting[0]
    assert.ok(template !== undefined, `${method} ${path} is not in the document but answered ${answer.status}`)
    const responses = document.paths[template.path]?.[verb]?.responses ?? {}
    assert.ok(String(answer.status) in responses, `${method} ${path} answered ${answer.status}, which the document does not tell`)
    if (answer.body === null) return
    const pointer = ['paths', template.path, verb, 'responses', String(answer.status), 'content', 'application/json', 'schema']
    check(ajv, `berth#/${pointer.map((part) => encodeURIComponent(part.replaceAll('/', '~1'))).join('/')}`, answer)
  }
}

function check(ajv: InstanceType<typeof Ajv2020>, ref: string, answer: Answer): void {
  const validate = ajv.getSchema(ref) ?? ajv.compile({ $ref: ref })
  assert.ok(validate(answer.body), `${JSON.stringify(validate.errors)} in ${answer.text}`)
}

async function* readStream(url: string, key: string, path: string, options: StreamOptions): AsyncGenerator<StreamRecord> {
  const isSse = options.sse === true
  const accept = isSse ? 'text/event-stream' : 'application/x-ndjson'
  const response = await fetch(new URL(`${PREFIX}${path}`, url), {
    headers: { authorization: `Bearer ${key}`, accept, ...options.headers },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  })
  assert.equal(response.status, 200, response.status === 200 ? '' : await response.text())
  assert.ok(response.headers.get('content-type')?.startsWith(accept))
  assert.ok(response.body !== null)
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of response.body) {
    const parts = (rest + decoder.decode(chunk, { stream: true })).split(isSse ? '\n\n' : '\n')
    rest = parts.pop() ?? ''
    for (const part of parts) {
      const record = isSse ? readEvent(part) : readLine(part)
      if (record !== null) yield record
    }
  }
  assert.equal(rest, '', 'the stream ends at the end of a record')
}

function readLine(text: string): StreamRecord | null {
  return text === '' ? null : { id: null, event: null, data: JSON.parse(text) as StreamRecord['data'] }
}

function readEvent(text: string): StreamRecord | null {
  const field = (name: string) => text.split('\n').find((line) => line.startsWith(`${name}: `))?.slice(name.length + 2) ?? null
  const data = field('data')
  return data === null ? null : { id: field('id'), event: field('event'), data: JSON.parse(data) as StreamRecord['data'] }
}

async function runExec(url: string, key: string, instance: string, start: object, input: readonly Uint8Array[]): Promise<ExecOutcome> {
  const socket = openExec(url, key, instance)
  const pieces: Buffer[][] = [[], [], []]
  let end: ExecOutcome['end'] = {}
  socket.on('message', (raw, isBinary) => {
    const data = raw as Buffer
    if (isBinary) pieces[data[0] ?? 0]?.push(data.subarray(1))
    else end = JSON.parse(data.toString()) as ExecOutcome['end']
  })
  const closed = once(socket, 'close')
  await once(socket, 'open')
  socket.send(JSON.stringify({ type: 'start', ...start }))
  for (const data of input) {
    // One that ended before it read all its input is judged by its end.
    await new Promise<void>((resolve) => socket.send(Buffer.concat([Buffer.of(0), data]), () => resolve()))
  }
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify({ type: 'eof' }))
  const [closeCode] = (await closed) as [number]
  const [, stdout = [], stderr = []] = pieces
  return { stdout: Buffer.concat(stdout), stderr: Buffer.concat(stderr), end, closeCode }
}

/** The WebSocket of an exec, not open yet. */
export function openExec(url: string, key: string, instance: string): WebSocket {
  return new WebSocket(`${url.replace('http', 'ws')}${PREFIX}/instances/${instance}/exec`, { headers: { authorization: `Bearer ${key}` } })
}
