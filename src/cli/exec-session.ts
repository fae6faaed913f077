/**
 * A command in an instance, joined to this terminal: the client side of the native API's exec protocol.
 * The protocol is drawn in src/dialects/native/exec-socket.ts.
 *
 * Back-pressure: stdin is read only while less than SOCKET_HIGH_BYTES wait for the server, and the socket is
 * paused while stdout or stderr is full.
 */
import type { WebSocket } from 'ws'
import { part, SOCKET_HIGH_BYTES } from './client.ts'
import type { Client } from './client.ts'
import { ApiError, CliError, STATUS } from './failure.ts'

const CHANNEL = { stdin: 0, stdout: 1, stderr: 2 } as const
/** Largest piece of stdin in one frame; the server takes 1 MiB. */
const FRAME_BYTES = 256 * 1024
const DEFAULT_ROWS = 24
const DEFAULT_COLS = 80

export interface ExecWishes {
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly workingDir: string | null
  readonly user: string | null
  readonly tty: boolean
  /** Whether our stdin is the command's. */
  readonly stdin: boolean
  readonly timeoutMs: number | null
  readonly wake: boolean
}

export interface ExecEnd {
  readonly code: number
  readonly timedOut: boolean
}

type ServerMessage =
  | { readonly type: 'started' }
  | { readonly type: 'exit'; readonly code: number; readonly signal: number | null; readonly timedOut: boolean }
  | { readonly type: 'error'; readonly error: { readonly code: string; readonly message: string } }

/** Throws a sentence unless the terminal that `-t` needs is there. */
export function checkTerminal(wishes: { readonly tty: boolean; readonly stdin: boolean }): void {
  if (wishes.tty && wishes.stdin && !process.stdin.isTTY) {
    throw new CliError('There is no terminal at the input: leave out -t, and keep -i if input is piped in.', { status: STATUS.berthFailed })
  }
}

/** Runs the command to its end. Throws what the server refused. */
export async function runExec(client: Client, instance: string, wishes: ExecWishes): Promise<ExecEnd> {
  checkTerminal(wishes)
  const socket = await client.socket(`/instances/${part(instance)}/exec`)
  const undo: (() => void)[] = []
  try {
    return await new Promise<ExecEnd>((resolve, reject) => {
      let end: ExecEnd | null = null
      socket.on('message', (data, isBinary) => {
        const bytes = data as Buffer
        if (isBinary) {
          writeOutput(socket, bytes)
          return
        }
        const message = JSON.parse(bytes.toString('utf8')) as ServerMessage
        if (message.type === 'exit') end = { code: message.code, timedOut: message.timedOut }
        else if (message.type === 'error') reject(new ApiError(message.error.code, message.error.message))
        else {
          undo.push(...join(socket, wishes))
        }
      })
      socket.once('error', () => undefined)
      socket.once('close', () => {
        if (end !== null) resolve(end)
        else reject(new CliError(`The connection to ${client.server} broke; the command was ended.`))
      })
      socket.send(JSON.stringify(startMessage(wishes)))
    })
  } finally {
    for (const step of undo.reverse()) step()
    socket.terminate()
  }
}

function startMessage({ command, env, workingDir, user, tty, timeoutMs, wake }: ExecWishes) {
  const size = tty ? terminalSize() : null
  return { type: 'start', command, env, workingDir, user, tty: size, timeoutMs, wake }
}

function terminalSize(): { rows: number; cols: number } {
  return { rows: process.stdout.rows || DEFAULT_ROWS, cols: process.stdout.columns || DEFAULT_COLS }
}

function writeOutput(socket: WebSocket, frame: Buffer): void {
  const out = frame[0] === CHANNEL.stderr ? process.stderr : process.stdout
  if (out.write(frame.subarray(1)) || socket.isPaused) return
  socket.pause()
  out.once('drain', () => socket.resume())
}

/** Joins stdin, the terminal's size and signals to a command that has started; what is returned undoes it. */
function join(socket: WebSocket, { tty, stdin }: ExecWishes): (() => void)[] {
  const control = (message: object) => {
    if (socket.readyState === socket.OPEN) socket.send(JSON.stringify(message))
  }
  const undo: (() => void)[] = []
  if (tty) {
    const onResize = () => control({ type: 'resize', ...terminalSize() })
    process.stdout.on('resize', onResize)
    undo.push(() => process.stdout.off('resize', onResize))
    // The window may have changed while the command was started.
    onResize()
  }
  if (stdin && process.stdin.isTTY && tty) {
    process.stdin.setRawMode(true)
    undo.push(() => process.stdin.setRawMode(false))
  } else {
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const) {
      const forward = () => control({ type: 'signal', signal })
      process.on(signal, forward)
      undo.push(() => process.off(signal, forward))
    }
  }
  if (stdin) {
    // A stdin that breaks is one that has ended.
    sendInput(socket).catch(() => control({ type: 'eof' }))
    undo.push(() => process.stdin.pause())
  } else {
    control({ type: 'eof' })
  }
  return undo
}

async function sendInput(socket: WebSocket): Promise<void> {
  for await (const chunk of process.stdin) {
    const data = chunk as Buffer
    for (let at = 0; at < data.length; at += FRAME_BYTES) {
      if (socket.readyState !== socket.OPEN) return
      await sendFrame(socket, data.subarray(at, at + FRAME_BYTES))
    }
  }
  if (socket.readyState === socket.OPEN) socket.send(JSON.stringify({ type: 'eof' }))
}

async function sendFrame(socket: WebSocket, data: Uint8Array): Promise<void> {
  const frame = Buffer.allocUnsafe(1 + data.length)
  frame[0] = CHANNEL.stdin
  frame.set(data, 1)
  const sent = new Promise<void>((resolve) => socket.send(frame, () => resolve()))
  if (socket.bufferedAmount > SOCKET_HIGH_BYTES) await sent
}
