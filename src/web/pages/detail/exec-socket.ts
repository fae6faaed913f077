/** The exec protocol (docs/native-api.md) from a browser: one terminal over one WebSocket. */
import { API, part } from '../../api/http.ts'

const CHANNEL_STDIN = 0

export interface TerminalSize {
  readonly rows: number
  readonly cols: number
}

export type TerminalEnd =
  | { readonly kind: 'exit'; readonly code: number }
  | { readonly kind: 'refused'; readonly code: string; readonly message: string }
  /** The server, the VM or what is between went away. */
  | { readonly kind: 'broken' }

export interface TerminalHooks {
  readonly onStarted: () => void
  readonly onOutput: (bytes: Uint8Array) => void
  /** Called once. */
  readonly onEnd: (end: TerminalEnd) => void
}

export interface TerminalSession {
  write(text: string): void
  resize(size: TerminalSize): void
  close(): void
}

interface ServerMessage {
  readonly type: 'started' | 'exit' | 'error'
  readonly code?: number
  readonly error?: { readonly code: string; readonly message: string }
}

/** Starts the command in a terminal of that size. */
export function openTerminal(instance: string, command: readonly string[], size: TerminalSize, hooks: TerminalHooks): TerminalSession {
  const url = new URL(`${API}/instances/${part(instance)}/exec`, window.location.href)
  url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:'
  const socket = new WebSocket(url)
  socket.binaryType = 'arraybuffer'
  const encoder = new TextEncoder()
  let end: TerminalEnd | null = null
  let isStarted = false
  let isClosed = false

  socket.addEventListener('open', () => {
    socket.send(JSON.stringify({ type: 'start', command, env: { TERM: 'xterm-256color' }, tty: size }))
  })
  socket.addEventListener('message', ({ data }: MessageEvent<string | ArrayBuffer>) => {
    if (typeof data !== 'string') {
      hooks.onOutput(new Uint8Array(data, 1))
      return
    }
    const message = JSON.parse(data) as ServerMessage
    if (message.type === 'started') {
      isStarted = true
      hooks.onStarted()
    } else if (message.type === 'exit') end = { kind: 'exit', code: message.code ?? 0 }
    // What goes wrong with a shell that runs already is not its refusal.
    else if (isStarted) end = { kind: 'broken' }
    else end = { kind: 'refused', code: message.error?.code ?? 'internal', message: message.error?.message ?? 'The server refused the command.' }
  })
  socket.addEventListener('close', () => {
    if (!isClosed) hooks.onEnd(end ?? { kind: 'broken' })
  })

  const isOpen = () => socket.readyState === WebSocket.OPEN
  return {
    write(text) {
      const bytes = encoder.encode(text)
      const frame = new Uint8Array(bytes.length + 1)
      frame[0] = CHANNEL_STDIN
      frame.set(bytes, 1)
      if (isOpen()) socket.send(frame)
    },
    resize({ rows, cols }) {
      if (isOpen()) socket.send(JSON.stringify({ type: 'resize', rows, cols }))
    },
    close() {
      isClosed = true
      socket.close()
    },
  }
}
