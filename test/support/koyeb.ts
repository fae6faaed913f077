/**
 * What tests of the Koyeb dialect stand on: the published contract as a judge, and exec frames as each client
 * sends them.
 *
 * The contract lies beside the checkout and is not part of it; a clone without it skips the check visibly. Its
 * generator leaves out that unset times and messages are null on the real wire, so those may be null here.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { WebSocket } from 'ws'
import { contractFile, openContract, pointerTo, withNulls } from './published-contract.ts'
import type { Answer, RequestOptions, TestServer } from './server.ts'

export const CONTRACT_FILE = contractFile('koyeb')
const STATUSES = [200, 400, 401, 403, 404, 429, 500, 503]

type Json = Readonly<Record<string, unknown>>
export interface KoyebContract {
  check(method: string, path: string, answer: Answer): void
  /** One message of a stream: `Stream_result_of_ExecCommandReply`, … */
  checkSchema(name: string, value: unknown): void
  /** `GET /v1/instances 200`, … that were judged so far. */
  readonly judged: ReadonlySet<string>
}

/** The contract, or null where it isn't beside the checkout. */
export function loadKoyebContract(): KoyebContract | null {
  const contract = openContract('koyeb', {
    formats: ['uint64'],
    mend(document) {
      const mended = withNulls(document, nullable)
      // Declared as objects of objects; on the wire, and to the console, a detail's message is text.
      mended.components.schemas['google.protobuf.Any'] = { type: 'object', required: ['@type'] }
      return mended
    },
  })
  if (contract === null) return null
  const schema = (name: string) => pointerTo('components', 'schemas', name)
  return {
    judged: contract.judged,
    checkSchema: (name, value) => contract.judge(name, schema(name), value),
    check(method, path, answer) {
      const { label, pointer } = contract.declared(method, path, answer.status)
      contract.judge(label, pointer ?? schema(answer.status === 400 ? 'ErrorWithFields' : 'Error'), answer.body)
    },
  }
}

/** Requests whose answers are all judged: by the contract, and by what no schema says. */
export function judgedCalls(server: () => TestServer, contract: KoyebContract | null) {
  return async (method: string, path: string, options: RequestOptions = {}): Promise<Answer> => {
    const answer = await server().request(method, path, options)
    contract?.check(method, path, answer)
    assert.ok(STATUSES.includes(answer.status), `${method} ${path}: no client decodes ${answer.status}`)
    assert.notEqual(answer.status, 500, `${method} ${path}: ${answer.text}`)
    assert.match(answer.headers.get('content-type') ?? '', /^application\/json/, `${method} ${path}`)
    if (answer.status !== 200) checkError(answer)
    return answer
  }
}

function checkError(answer: Answer): void {
  const body = answer.body as { status: unknown; code: unknown; message: unknown; fields?: unknown }
  assert.equal(body.status, answer.status, answer.text)
  assert.equal(typeof body.code, 'string', answer.text)
  assert.equal(typeof body.message, 'string', answer.text)
  if (answer.status === 400) assert.ok(Array.isArray(body.fields), answer.text)
}

/** The same for calls that have to succeed: their bodies. */
export function judgedBodies(call: ReturnType<typeof judgedCalls>) {
  return async (method: string, path: string, body?: unknown): Promise<Record<string, unknown>> => {
    const answer = await call(method, path, body === undefined ? {} : { body })
    assert.equal(answer.status, 200, `${method} ${path}: ${answer.text}`)
    return answer.body as Record<string, unknown>
  }
}

/** A frame of exec as it came. */
export interface ReplyFrame {
  readonly result?: {
    readonly stdout: { readonly data: string; readonly close: boolean } | null
    readonly stderr: { readonly data: string; readonly close: boolean } | null
    readonly exited: boolean
    readonly exit_code: number
  }
  readonly error?: { readonly code: number; readonly message: string; readonly details: readonly { readonly message: string }[] }
}

export interface Outcome {
  readonly stdout: string
  readonly stderr: string
  readonly exitCode: number | null
  readonly error: ReplyFrame['error'] | null
  readonly closeCode: number
  readonly frames: readonly ReplyFrame[]
}

export interface Session {
  readonly socket: WebSocket
  send(frame: unknown): void
  /** Resolves when stdout so far holds this. */
  until(text: string): Promise<void>
  readonly outcome: Promise<Outcome>
}

export interface SessionOptions {
  readonly url: string
  readonly key: string
  /** After the path; the CLI sends none. */
  readonly query?: string
  /** How the token travels; default: as all its clients do. */
  readonly protocols?: readonly string[]
  readonly headers?: Readonly<Record<string, string>>
  readonly path?: string
  readonly contract?: KoyebContract | null
}

export async function openSession(options: SessionOptions): Promise<Session> {
  const target = `${options.url.replace(/^http/, 'ws')}${options.path ?? '/v1/streams/instances/exec'}${options.query ?? ''}`
  const socket = new WebSocket(target, [...(options.protocols ?? ['Bearer', options.key])], { headers: options.headers ?? {} })
  const frames: ReplyFrame[] = []
  const watchers = new Set<() => void>()
  socket.on('message', (data: Buffer, isBinary: boolean) => {
    assert.equal(isBinary, false, 'frames are text')
    const frame = JSON.parse(data.toString()) as ReplyFrame
    frames.push(frame)
    for (const watcher of watchers) watcher()
  })
  const closed = once(socket, 'close') as Promise<[number]>
  // Told by `open` as well.
  closed.catch(() => {})
  await once(socket, 'open')
  return {
    socket,
    send: frame => socket.send(typeof frame === 'string' ? frame : JSON.stringify(frame)),
    until: text =>
      new Promise((resolve, reject) => {
        const look = () => {
          if (!textOf(frames, 'stdout').includes(text)) return
          watchers.delete(look)
          resolve()
        }
        watchers.add(look)
        void closed.then(() => reject(new Error(`the session ended before ${JSON.stringify(text)}: ${JSON.stringify(frames).slice(0, 2000)}`)))
        look()
      }),
    outcome: closed.then(([closeCode]) => outcomeOf(frames, closeCode, options.contract ?? null)),
  }
}

/** Opens, sends these frames, and waits for the end. */
export async function runSession(options: SessionOptions, ...frames: readonly unknown[]): Promise<Outcome> {
  const session = await openSession(options)
  for (const frame of frames) session.send(frame)
  return session.outcome
}

/** The CLI's frames: `idType` in camel case, and id and command in every one. */
export function cliFrames(id: string, command: readonly string[], input: readonly string[] = [], idType = 'INSTANCE_ID'): readonly unknown[] {
  return [
    { id, body: { command, disableTty: true }, idType },
    ...input.map(text => ({ id, body: { command, stdin: { data: Buffer.from(text).toString('base64') } }, idType })),
    { id, body: { command, stdin: { close: true } }, idType },
  ]
}

function outcomeOf(frames: readonly ReplyFrame[], closeCode: number, contract: KoyebContract | null): Outcome {
  for (const frame of frames) {
    contract?.checkSchema('Stream_result_of_ExecCommandReply', frame)
    assert.equal(Object.keys(frame).length, 1, 'a frame has either result or error')
    if (frame.result !== undefined) assert.deepEqual(Object.keys(frame.result).toSorted(), ['exit_code', 'exited', 'stderr', 'stdout'])
  }
  const exits = frames.filter(frame => frame.result?.exited === true)
  assert.ok(exits.length <= 1, 'exited comes once')
  if (exits.length === 1) assert.equal(frames.at(-1), exits[0], 'exited comes last')
  return {
    stdout: textOf(frames, 'stdout'),
    stderr: textOf(frames, 'stderr'),
    exitCode: exits[0]?.result?.exit_code ?? null,
    error: frames.find(frame => frame.error !== undefined)?.error ?? null,
    closeCode,
    frames,
  }
}

function textOf(frames: readonly ReplyFrame[], stream: 'stdout' | 'stderr'): string {
  return Buffer.concat(frames.map(frame => Buffer.from(frame.result?.[stream]?.data ?? '', 'base64'))).toString()
}

function nullable(schema: Json): Json {
  if (schema['$ref'] !== undefined) return { anyOf: [schema, { type: 'null' }] }
  return schema['format'] === 'date-time' || schema['format'] === 'double' ? { ...schema, type: [schema['type'], 'null'] } : schema
}
