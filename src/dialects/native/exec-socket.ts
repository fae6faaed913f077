/**
 * A command over one WebSocket: Berth's own exec protocol.
 *
 *   text frames are JSON control, binary frames are bytes of one channel:
 *
 *     ┌─────────┬──────────────────────┐   channel 0  stdin   client → server
 *     │ channel │ bytes …              │           1  stdout  server → client
 *     │ 1 byte  │ 0 or more            │           2  stderr  server → client (never with a terminal)
 *     └─────────┴──────────────────────┘
 *
 *   client → server                                server → client
 *     {"type":"start","command":[…],…}  first        {"type":"started"}
 *     {"type":"resize","rows":R,"cols":C}            {"type":"exit","code":0,"signal":null,"timedOut":false}
 *     {"type":"signal","signal":"SIGINT"}            {"type":"error","error":{code,message,details,retry}}
 *     {"type":"eof"}            end of stdin         then the close: 1000 after exit, 4000 after error
 *
 * Back-pressure, both ways: while more than OUTPUT_HIGH_BYTES wait for the client nothing is read from the
 * guest, and while more than INPUT_HIGH_BYTES wait for the guest nothing is read from the client. A client
 * that closes the socket ends the command. The server pings, so that nothing on the way forgets the connection.
 */
import { Compile } from 'typebox/compile'
import { Type } from 'typebox'
import type { Static } from 'typebox'
import type { WebSocket } from 'ws'
import type { ExecSession } from '../../engine/host-port.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import { signalNumber } from '../../instance/exit.ts'
import { quoteGo } from '../../instance/go-text.ts'
import { discard } from '../spent.ts'
import { errorBody } from './errors.ts'

export const OUTPUT_HIGH_BYTES = 1024 * 1024
export const INPUT_HIGH_BYTES = 1024 * 1024
/** Largest frame from a client. */
export const FRAME_LIMIT_BYTES = 1024 * 1024
/** A client must start within this. */
export const START_TIMEOUT_MS = 10_000
export const PING_MS = 20_000
/** What a message weighs besides its bytes, so that many tiny ones fill the inbox too. */
const MESSAGE_COST_BYTES = 64
/** How long the peer has to answer our close. */
const CLOSE_TIMEOUT_MS = 5000

const CHANNEL = { stdin: 0, stdout: 1, stderr: 2 } as const
const CLOSE_DONE = 1000
const CLOSE_FAILED = 4000

const size = (description: string) => Type.Integer({ minimum: 1, maximum: 65535, description })

export const ExecStart = Type.Object(
  {
    type: Type.Literal('start'),
    command: Type.Array(Type.String(), { minItems: 1, description: 'argv.' }),
    env: Type.Optional(Type.Record(Type.String(), Type.String())),
    workingDir: Type.Optional(Type.Union([Type.String(), Type.Null()])),
    user: Type.Optional(Type.Union([Type.String(), Type.Null()], { description: 'null is root.' })),
    tty: Type.Optional(Type.Union([Type.Object({ rows: size('Rows.'), cols: size('Columns.') }), Type.Null()])),
    timeoutMs: Type.Optional(Type.Union([Type.Integer({ minimum: 1, maximum: 2 ** 31 - 1 }), Type.Null()])),
    wake: Type.Optional(Type.Boolean({ description: 'Restore the instance first if it is in standby.' })),
  },
  { additionalProperties: false },
)
export type ExecStart = Static<typeof ExecStart>

const Control = Type.Union([
  Type.Object({ type: Type.Literal('resize'), rows: size('Rows.'), cols: size('Columns.') }),
  Type.Object({ type: Type.Literal('signal'), signal: Type.Union([Type.String(), Type.Integer({ minimum: 1, maximum: 64 })]) }),
  Type.Object({ type: Type.Literal('eof') }),
])
/** Made with the first command. */
const checks = onFirstUse(() => ({ start: Compile(ExecStart), control: Compile(Control) }))

/** Runs one command over an open socket; resolves when the socket is done with. */
export async function serveExec(
  socket: WebSocket,
  open: (start: ExecStart) => Promise<ExecSession>,
  stopping: AbortSignal,
): Promise<void> {
  const inbox = new Inbox(socket)
  const ping = setInterval(() => socket.ping(), PING_MS)
  let session: ExecSession | null = null
  const stop = () => {
    finish(socket, new BerthError('shutting_down', 'Berth is shutting down; the command was ended.'))
    session?.close()
  }
  stopping.addEventListener('abort', stop, { once: true })
  socket.once('close', () => session?.close())
  try {
    session = await open(await readStart(inbox))
    if (socket.readyState !== socket.OPEN) return
    socket.send(JSON.stringify({ type: 'started' }))
    const running = session
    const input = feedInput(inbox, running).catch((error: unknown) => {
      finish(socket, asBerthError(error))
      running.close()
    })
    for await (const { stream, data } of session.output) {
      if (socket.readyState !== socket.OPEN) return
      await sendBytes(socket, CHANNEL[stream], data)
    }
    const { code, signal, timedOut } = await session.exit
    if (socket.readyState === socket.OPEN) {
      socket.send(JSON.stringify({ type: 'exit', code, signal, timedOut }))
      close(socket, CLOSE_DONE)
    }
    inbox.end()
    await input
  } catch (error) {
    finish(socket, asBerthError(error))
  } finally {
    clearInterval(ping)
    stopping.removeEventListener('abort', stop)
    session?.close()
    inbox.end()
  }
}

type Message = { readonly kind: 'bytes'; readonly data: Uint8Array } | { readonly kind: 'text'; readonly text: string }

/** What the client sent and nobody has taken yet; stops reading the socket while it is full. */
class Inbox {
  readonly #socket: WebSocket
  readonly #messages: Message[] = []
  #bytes = 0
  #ended = false
  #wake: (() => void) | null = null

  constructor(socket: WebSocket) {
    this.#socket = socket
    socket.on('message', (raw, isBinary) => {
      const data = Buffer.isBuffer(raw) ? raw : Array.isArray(raw) ? Buffer.concat(raw) : Buffer.from(raw)
      if (this.#ended) return
      this.#bytes += data.length + MESSAGE_COST_BYTES
      this.#messages.push(isBinary ? { kind: 'bytes', data } : { kind: 'text', text: data.toString('utf8') })
      if (this.#bytes > INPUT_HIGH_BYTES) socket.pause()
      this.#wake?.()
    })
    socket.once('close', () => this.end())
    // A broken connection is followed by its close.
    socket.on('error', () => undefined)
  }

  /** The next message, in order; null when there will be none. */
  async take(): Promise<Message | null> {
    for (;;) {
      const message = this.#messages.shift()
      if (message !== undefined) {
        this.#bytes -= MESSAGE_COST_BYTES + (message.kind === 'bytes' ? message.data.length : Buffer.byteLength(message.text))
        if (this.#bytes <= INPUT_HIGH_BYTES / 2 && this.#socket.isPaused) this.#socket.resume()
        return message
      }
      if (this.#ended) return null
      await new Promise<void>((resolve) => {
        this.#wake = resolve
      })
      this.#wake = null
    }
  }

  /** Nothing more is wanted; the socket is read on, so that its close is seen. */
  end(): void {
    this.#ended = true
    this.#messages.length = 0
    this.#bytes = 0
    if (this.#socket.isPaused) this.#socket.resume()
    this.#wake?.()
  }
}

async function readStart(inbox: Inbox): Promise<ExecStart> {
  const late = new Promise<never>((_, reject) => {
    setTimeout(
      () => reject(new BerthError('invalid_request', `No start message came within ${START_TIMEOUT_MS} ms.`)),
      START_TIMEOUT_MS,
    ).unref()
  })
  const message = await Promise.race([inbox.take(), late])
  if (message === null) throw new BerthError('cancelled', 'The client closed the connection before it started a command.')
  if (message.kind !== 'text') throw new BerthError('invalid_request', 'The first message must be the text {"type":"start",…}.')
  const start = parseJson(message.text)
  const check = checks().start
  if (check.Check(start)) return start
  const [problem] = check.Errors(start)
  throw new BerthError('invalid_request', `The start message is wrong: ${problem?.instancePath ?? ''} ${problem?.message ?? ''}.`)
}

/** Carries what the client sends to the command, one message after the other. */
async function feedInput(inbox: Inbox, session: ExecSession): Promise<void> {
  for (;;) {
    const message = await inbox.take()
    if (message === null) return
    try {
      if (message.kind === 'bytes') {
        if (message.data.length > FRAME_LIMIT_BYTES) throw new BerthError('limit_exceeded', `A frame may have ${FRAME_LIMIT_BYTES} bytes at most.`)
        if (message.data[0] !== CHANNEL.stdin) throw new BerthError('invalid_request', 'A binary frame must begin with the byte 0 (stdin).')
        if (message.data.length > 1) await session.write(message.data.subarray(1))
        discard(message.data)
        continue
      }
      await control(session, message.text)
    } catch (error) {
      const known = asBerthError(error)
      if (known.code === 'invalid_request' || known.code === 'limit_exceeded') throw known
      // The command has ended, or closed its stdin: what was still on its way to it has no reader.
      return
    }
  }
}

async function control(session: ExecSession, text: string): Promise<void> {
  const message = parseJson(text)
  if (!checks().control.Check(message)) {
    throw new BerthError('invalid_request', 'A text frame must be a resize, signal or eof message.')
  }
  switch (message.type) {
    case 'resize':
      session.resize(message.rows, message.cols)
      return
    case 'eof':
      await session.endInput()
      return
    case 'signal': {
      const number = typeof message.signal === 'number' ? message.signal : signalNumber(message.signal)
      if (number === null) throw new BerthError('invalid_request', `${quoteGo(String(message.signal))} is not a signal; write SIGINT, TERM or 9.`)
      session.signal(number)
    }
  }
}

function onFirstUse<T>(make: () => T): () => T {
  let made: T | null = null
  return () => (made ??= make())
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch (error) {
    throw new BerthError('invalid_request', 'A text frame must be JSON.', { cause: error })
  }
}

/** Sends one frame; resolves when there is room for the next. */
async function sendBytes(socket: WebSocket, channel: number, data: Uint8Array): Promise<void> {
  const frame = Buffer.allocUnsafeSlow(1 + data.length)
  frame[0] = channel
  frame.set(data, 1)
  const sent = new Promise<void>((resolve) => {
    // An error here means that the socket broke; its close is handled.
    socket.send(frame, () => {
      discard(frame)
      resolve()
    })
  })
  if (socket.bufferedAmount > OUTPUT_HIGH_BYTES) await sent
}

function finish(socket: WebSocket, error: BerthError): void {
  if (socket.readyState !== socket.OPEN) return
  socket.send(JSON.stringify({ type: 'error', ...errorBody(error) }))
  close(socket, CLOSE_FAILED)
}

function close(socket: WebSocket, code: number): void {
  socket.close(code)
  const timer = setTimeout(() => socket.terminate(), CLOSE_TIMEOUT_MS)
  socket.once('close', () => clearTimeout(timer))
}
