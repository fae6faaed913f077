/** The WebSocket of `exec` and `cp`: text and binary messages both ways, closed with 1000 whatever happened. */
import type { WebSocket } from 'ws'
import type { Message } from '../message-socket.ts'
import { MessageSocket } from '../message-socket.ts'

const CLOSE_NORMAL = 1000

export class ClientSocket extends MessageSocket {
  #closing = false

  constructor(socket: WebSocket, stopping: AbortSignal) {
    super(socket)
    stopping.addEventListener('abort', () => this.close(), { signal: this.gone })
  }

  /** The first message, within a time limit. */
  async first(timeoutMs: number): Promise<Message | null> {
    const timer = setTimeout(() => this.close(), timeoutMs)
    try {
      return await this.next()
    } finally {
      clearTimeout(timer)
    }
  }

  /** Resolves when the client has closed, or after the limit. */
  async clientClosed(limitMs: number): Promise<void> {
    if (this.gone.aborted) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, limitMs)
      this.gone.addEventListener('abort', () => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  /** Ends it from this side. */
  close(): void {
    if (this.#closing) return
    this.#closing = true
    this.hearNoMore()
    this.socket.close(CLOSE_NORMAL)
  }
}
