/**
 * A WebSocket as a queue of messages in and an awaited send out, with a limit on both. What a dialect's frames
 * are, when it pings and how it says goodbye is the dialect's own, in a class over this one.
 *
 * In: a reader that is slow pauses the socket, so that the client's TCP window fills and not our memory.
 * Out: a send resolves when the bytes were handed to the system, so a client that is slow slows the sender.
 * The listener is attached in the constructor: messages that come with the handshake are not lost.
 */
import type { RawData, WebSocket } from 'ws'
import { BerthError } from '../instance/errors.ts'

/** Messages that wait for the reader before the socket is paused. */
const QUEUE_PAUSE_MESSAGES = 16

export interface Message {
  readonly isText: boolean
  readonly data: Buffer
}

export class MessageSocket {
  protected readonly socket: WebSocket
  readonly #queue: Message[] = []
  #waiting: ((message: Message | null) => void) | null = null
  #ended = false
  #deaf = false
  readonly #gone = new AbortController()

  constructor(socket: WebSocket) {
    this.socket = socket
    socket.on('message', (data, isBinary) => this.#arrive({ isText: !isBinary, data: asBuffer(data) }))
    socket.on('close', () => this.#end())
    // `close` always follows; a broken connection needs no other word.
    socket.on('error', () => this.#end())
  }

  /** Aborted when the client is gone. */
  get gone(): AbortSignal {
    return this.#gone.signal
  }

  /** The next message; null at the end, or once this side hears no more. */
  async next(): Promise<Message | null> {
    const queued = this.#queue.shift()
    if (queued !== undefined) {
      if (this.#queue.length < QUEUE_PAUSE_MESSAGES) this.#readOn()
      return queued
    }
    if (this.#ended || this.#deaf) return null
    return new Promise(resolve => {
      this.#waiting = resolve
    })
  }

  sendText(value: unknown): Promise<void> {
    return this.#send(JSON.stringify(value), false)
  }

  sendBinary(data: Uint8Array): Promise<void> {
    return this.#send(data, true)
  }

  /** What the client still sends is dropped, and read on all the same: its answer to a close comes after it. */
  protected hearNoMore(): void {
    this.#deaf = true
    this.#queue.length = 0
    this.#waiting?.(null)
    this.#waiting = null
    this.#readOn()
  }

  #readOn(): void {
    if (this.socket.isPaused) this.socket.resume()
  }

  #send(data: string | Uint8Array, binary: boolean): Promise<void> {
    return new Promise((resolve, reject) => {
      this.socket.send(data, { binary }, error => {
        if (error === undefined || error === null) resolve()
        else reject(new BerthError('cancelled', 'The client closed the connection.', { cause: error }))
      })
    })
  }

  #arrive(message: Message): void {
    if (this.#deaf) return
    const waiting = this.#waiting
    if (waiting !== null) {
      this.#waiting = null
      waiting(message)
      return
    }
    this.#queue.push(message)
    if (this.#queue.length >= QUEUE_PAUSE_MESSAGES) this.socket.pause()
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
