/**
 * A WebSocket as a queue of messages in and an awaited send out, with a limit on both.
 *
 * In: a reader that is slow pauses the socket, so that the client's TCP window fills and not our memory.
 * Out: `send` resolves when the bytes were handed to the system, so a client that is slow slows the sender.
 * The listener is attached in the constructor: messages that come with the handshake are not lost.
 */
import type { RawData, WebSocket } from 'ws'
import { BerthError } from '../../instance/errors.ts'

/** Messages that wait for the reader before the socket is paused. */
const QUEUE_PAUSE_MESSAGES = 16
/** Largest single message that a client may send. */
export const MESSAGE_LIMIT_BYTES = 4 * 1024 * 1024
const CLOSE_NORMAL = 1000

export interface Message {
  readonly isText: boolean
  readonly data: Buffer
}

export class MessageSocket {
  readonly #socket: WebSocket
  readonly #queue: Message[] = []
  #waiting: ((message: Message | null) => void) | null = null
  #ended = false
  #closing = false
  readonly #gone = new AbortController()

  constructor(socket: WebSocket, stopping: AbortSignal) {
    this.#socket = socket
    socket.on('message', (data, isBinary) => this.#arrive({ isText: !isBinary, data: asBuffer(data) }))
    socket.on('close', () => this.#end())
    // `close` always follows; a broken connection needs no other word.
    socket.on('error', () => this.#end())
    stopping.addEventListener('abort', () => this.close(), { signal: this.#gone.signal })
  }

  /** Aborted when the client is gone or the socket was closed. */
  get gone(): AbortSignal {
    return this.#gone.signal
  }

  /** The next message; null at the end, or once this side has closed. */
  async next(): Promise<Message | null> {
    const queued = this.#queue.shift()
    if (queued !== undefined) {
      if (this.#queue.length < QUEUE_PAUSE_MESSAGES && this.#socket.isPaused) this.#socket.resume()
      return queued
    }
    if (this.#ended || this.#closing) return null
    return new Promise(resolve => {
      this.#waiting = resolve
    })
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

  sendText(value: unknown): Promise<void> {
    return this.#send(JSON.stringify(value), false)
  }

  sendBinary(data: Uint8Array): Promise<void> {
    return this.#send(data, true)
  }

  /** Resolves when the client has closed, or after the limit. */
  async clientClosed(limitMs: number): Promise<void> {
    if (this.#ended) return
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, limitMs)
      this.#gone.signal.addEventListener('abort', () => {
        clearTimeout(timer)
        resolve()
      })
    })
  }

  /** Ends it from this side. What the client still sends is dropped, so that its answer to the close is read. */
  close(): void {
    if (this.#closing) return
    this.#closing = true
    this.#queue.length = 0
    this.#waiting?.(null)
    this.#waiting = null
    if (this.#socket.isPaused) this.#socket.resume()
    this.#socket.close(CLOSE_NORMAL)
  }

  #send(data: string | Uint8Array, binary: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.send(data, { binary }, error => {
        if (error === undefined || error === null) resolve()
        else reject(new BerthError('cancelled', 'the client closed the connection', { cause: error }))
      })
    })
  }

  #arrive(message: Message): void {
    if (this.#closing) return
    const waiting = this.#waiting
    if (waiting !== null) {
      this.#waiting = null
      waiting(message)
      return
    }
    this.#queue.push(message)
    if (this.#queue.length >= QUEUE_PAUSE_MESSAGES) this.#socket.pause()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#waiting?.(null)
    this.#waiting = null
    this.#gone.abort()
  }
}

function asBuffer(data: RawData): Buffer {
  if (Buffer.isBuffer(data)) return data
  return Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)
}
