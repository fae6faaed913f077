import assert from 'node:assert/strict'
import { once } from 'node:events'
import type { AddressInfo } from 'node:net'
import { after, before, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { WebSocket, WebSocketServer } from 'ws'
import type { ExecExit, ExecOutput, ExecSession } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { INPUT_HIGH_BYTES, OUTPUT_HIGH_BYTES, serveExec } from './exec-socket.ts'
import type { ExecStart } from './exec-socket.ts'

/** What the operating system may hold of one connection, both ends together; far more than it does. */
const SOCKET_BUFFERS_BYTES = 16 * 1024 * 1024

let server: WebSocketServer
let open: (start: ExecStart) => Promise<ExecSession> = () => Promise.reject(new Error('not set'))
let stopping = new AbortController()

before(async () => {
  server = new WebSocketServer({ host: '127.0.0.1', port: 0 })
  server.on('connection', (socket) => void serveExec(socket, (start) => open(start), stopping.signal))
  await once(server, 'listening')
})
after(() => {
  for (const client of server.clients) client.terminate()
  server.close()
})

interface Fake extends ExecSession {
  readonly calls: string[]
  closed: boolean
}

/** A session whose output, exit and writing a test decides on. */
function fakeSession(parts: { output?: AsyncIterable<ExecOutput>; exit?: Promise<ExecExit>; write?: (data: Uint8Array) => Promise<void> }): Fake {
  const closing = Promise.withResolvers<void>()
  const calls: string[] = []
  const fake: Fake = {
    calls,
    closed: false,
    output: parts.output ?? untilClosed(closing.promise),
    exit: parts.exit ?? closing.promise.then(() => ({ code: 137, signal: 9, timedOut: false })),
    write: parts.write ?? (async (data) => void calls.push(`write ${Buffer.from(data).toString()}`)),
    endInput: async () => void calls.push('eof'),
    resize: (rows, cols) => void calls.push(`resize ${rows}x${cols}`),
    signal: (number) => void calls.push(`signal ${number}`),
    close: () => {
      fake.closed = true
      closing.resolve()
    },
  }
  return fake
}

/** No output, and an end when the session is closed. */
function untilClosed(closed: Promise<void>): AsyncIterable<ExecOutput> {
  return { [Symbol.asyncIterator]: () => ({ next: () => closed.then(() => ({ done: true, value: undefined }) as const) }) }
}

async function* say(...texts: readonly (readonly ['stdout' | 'stderr', string])[]): AsyncIterable<ExecOutput> {
  for (const [stream, text] of texts) yield { stream, data: Buffer.from(text) }
}

interface Talk {
  readonly socket: WebSocket
  readonly told: (string | object)[]
  readonly closed: Promise<number>
}

async function connect(first?: unknown): Promise<Talk> {
  const socket = new WebSocket(`ws://127.0.0.1:${(server.address() as AddressInfo).port}`)
  const told: (string | object)[] = []
  socket.on('message', (raw, isBinary) => {
    const data = raw as Buffer
    told.push(isBinary ? `${data[0]}:${data.subarray(1).toString()}` : (JSON.parse(data.toString()) as object))
  })
  const closed = once(socket, 'close').then(([code]) => code as number)
  await once(socket, 'open')
  if (first !== undefined) socket.send(typeof first === 'string' ? first : JSON.stringify(first))
  return { socket, told, closed }
}

async function until(what: string, is: () => boolean): Promise<void> {
  for (let tries = 0; !is(); tries += 1) {
    if (tries > 1000) assert.fail(`never: ${what}`)
    await pause(10)
  }
}

/** Waits until a number has stood still for a while. */
async function standing(what: string, read: () => number): Promise<number> {
  let last = -1
  let since = 0
  await until(what, () => {
    const now = read()
    since = now === last && now > 0 ? since + 1 : 0
    last = now
    return since >= 50
  })
  return last
}

const start = { type: 'start', command: ['x'] }

test('output, exit and close come in that order, with the streams apart', async () => {
  open = async () => fakeSession({ output: say(['stdout', 'out'], ['stderr', 'err']), exit: Promise.resolve({ code: 3, signal: null, timedOut: false }) })
  const { told, closed } = await connect(start)
  assert.equal(await closed, 1000)
  assert.deepEqual(told, [{ type: 'started' }, '1:out', '2:err', { type: 'exit', code: 3, signal: null, timedOut: false }])
})

test('what the client says reaches the command, in order', async () => {
  const session = fakeSession({})
  let given: ExecStart | null = null
  open = async (wish) => {
    given = wish
    return session
  }
  const wish = { ...start, env: { A: '1' }, workingDir: '/w', user: 'u', tty: { rows: 2, cols: 3 }, timeoutMs: 5, wake: true }
  const { socket } = await connect(wish)
  socket.send(Buffer.from('\0hello'))
  socket.send(JSON.stringify({ type: 'resize', rows: 40, cols: 100 }))
  socket.send(JSON.stringify({ type: 'signal', signal: 'SIGINT' }))
  socket.send(JSON.stringify({ type: 'signal', signal: 'term' }))
  socket.send(JSON.stringify({ type: 'signal', signal: 9 }))
  socket.send(JSON.stringify({ type: 'eof' }))
  await until('all arrived', () => session.calls.length === 6)
  assert.deepEqual(session.calls, ['write hello', 'resize 40x100', 'signal 2', 'signal 15', 'signal 9', 'eof'])
  assert.deepEqual(given, wish)
  socket.close()
  await until('closing the socket ends the command', () => session.closed)
})

test('a client that stops reading stops the command, and holds no more than the limit', async () => {
  let produced = 0
  const piece = Buffer.alloc(64 * 1024)
  const endless = async function* (): AsyncIterable<ExecOutput> {
    for (;;) {
      produced += piece.length
      yield { stream: 'stdout', data: piece }
    }
  }
  open = async () => fakeSession({ output: endless() })
  const { socket } = await connect()
  socket.pause()
  socket.send(JSON.stringify(start))
  const before = await standing('the command stands still', () => produced)
  assert.ok(produced < OUTPUT_HIGH_BYTES + SOCKET_BUFFERS_BYTES, `${produced} bytes`)
  socket.resume()
  await until('it goes on when the client reads', () => produced > before + 8 * 1024 * 1024)
  socket.terminate()
})

test('a command that does not read its input stops the client, and holds no more than the limit', async () => {
  const release = Promise.withResolvers<void>()
  let taken = 0
  open = async () =>
    fakeSession({
      write: async (data) => {
        await release.promise
        taken += data.length
      },
    })
  const { socket } = await connect(start)
  const piece = Buffer.alloc(64 * 1024)
  const total = 64 * 1024 * 1024
  for (let sent = 0; sent < total; sent += piece.length) socket.send(piece)
  const waiting = await standing('the client stands still', () => socket.bufferedAmount)
  assert.ok(total - waiting < INPUT_HIGH_BYTES + SOCKET_BUFFERS_BYTES, `${total - waiting} bytes were taken`)
  release.resolve()
  await until('everything arrives in the end', () => taken === (total / piece.length) * (piece.length - 1))
  socket.terminate()
})

const BAD: readonly (readonly [string, string | Buffer, RegExp])[] = [
  ['text that is no JSON', 'nonsense', /must be JSON/],
  ['another message first', '{"type":"eof"}', /start message is wrong/],
  ['an empty command', '{"type":"start","command":[]}', /start message is wrong/],
  ['an unknown field', '{"type":"start","command":["x"],"tyy":true}', /start message is wrong/],
  ['bytes first', Buffer.from('\0x'), /first message must be the text/],
]
for (const [name, first, says] of BAD) {
  test(`${name} is refused with a sentence and close 4000`, async () => {
    open = () => assert.fail('nothing is started')
    const { socket, told, closed } = await connect()
    socket.send(first)
    assert.equal(await closed, 4000)
    assert.match((told[0] as { error: { code: string; message: string } }).error.message, says)
    assert.equal((told[0] as { error: { code: string } }).error.code, 'invalid_request')
  })
}

const BAD_LATER: readonly (readonly [string, string | Buffer])[] = [
  ['an unknown message', '{"type":"dance"}'],
  ['a terminal without rows', '{"type":"resize","rows":0,"cols":1}'],
  ['an unknown signal', '{"type":"signal","signal":"SIGNOPE"}'],
  ['a frame of another channel', Buffer.from('\u0001x')],
]
for (const [name, message] of BAD_LATER) {
  test(`${name} ends the command with a sentence`, async () => {
    const session = fakeSession({})
    open = async () => session
    const { socket, told, closed } = await connect(start)
    await until('it has started', () => told.length === 1)
    socket.send(message)
    assert.equal(await closed, 4000)
    assert.equal((told[1] as { error: { code: string } }).error.code, 'invalid_request')
    assert.equal(session.closed, true)
  })
}

test('what the engine refuses is told with its code', async () => {
  open = () => Promise.reject(new BerthError('command_not_found', 'There is no "x" in the image.'))
  const { told, closed } = await connect(start)
  assert.equal(await closed, 4000)
  assert.deepEqual(told, [{ type: 'error', error: { code: 'command_not_found', message: 'There is no "x" in the image.', details: {}, retry: false } }])
})

test('a command that ends while input is on its way ends well', async () => {
  open = async () =>
    fakeSession({
      output: say(['stdout', 'done']),
      exit: Promise.resolve({ code: 0, signal: null, timedOut: false }),
      write: () => Promise.reject(new BerthError('guest_unreachable', 'It has ended.')),
    })
  const { socket, told, closed } = await connect(start)
  socket.send(Buffer.from('\0late'))
  assert.equal(await closed, 1000)
  assert.deepEqual(told.at(-1), { type: 'exit', code: 0, signal: null, timedOut: false })
})

test('a server that stops says so and ends the command', async () => {
  const session = fakeSession({})
  open = async () => session
  const { told, closed } = await connect(start)
  await until('it has started', () => told.length === 1)
  stopping.abort()
  assert.equal(await closed, 4000)
  assert.equal((told[1] as { error: { code: string } }).error.code, 'shutting_down')
  assert.equal(session.closed, true)
  stopping = new AbortController()
})
