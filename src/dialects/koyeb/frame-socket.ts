/**
 * A WebSocket of JSON text frames. Its clients send no pings and set no deadline, so the server pings; one that
 * does not answer is gone.
 */
import type { WebSocket } from 'ws'
import { MessageSocket } from '../message-socket.ts'

export const PING_EVERY_MS = 25_000
/** How long a client may take to answer our close. */
const CLOSE_WAIT_MS = 5000

export const CLOSE = { normal: 1000, goingAway: 1001, policy: 1008, internal: 1011 } as const

export class FrameSocket extends MessageSocket {
  #answered = true

  constructor(socket: WebSocket, { pingEveryMs = PING_EVERY_MS }: { readonly pingEveryMs?: number } = {}) {
    super(socket)
    socket.on('pong', () => (this.#answered = true))
    const pinging = setInterval(() => this.#ping(), pingEveryMs)
    this.gone.addEventListener('abort', () => clearInterval(pinging))
  }

  /** The next frame's text; null at the end. */
  async nextText(): Promise<string | null> {
    return (await this.next())?.data.toString('utf8') ?? null
  }

  /** Says goodbye; a client that doesn't answer in time is dropped. */
  close(code: number): void {
    this.hearNoMore()
    this.socket.close(code)
    const late = setTimeout(() => this.socket.terminate(), CLOSE_WAIT_MS)
    this.socket.once('close', () => clearTimeout(late))
    late.unref()
  }

  #ping(): void {
    // A paused socket doesn't read pongs: whoever holds back input is not asked.
    if (this.socket.isPaused) return
    if (!this.#answered) return this.socket.terminate()
    this.#answered = false
    this.socket.ping()
  }
}
