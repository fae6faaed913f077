/**
 * A WebSocket of JSON text frames, with a limit on what waits in either direction.
 *
 * In: a reader that is slow pauses the socket, so that the client's TCP window fills and not our memory.
 * Out: a send resolves when the bytes were handed to the system, so a client that is slow slows the sender.
 * Its clients send no pings and set no deadline, so the server pings; one that does not answer is gone.
 */
import type { RawData, WebSocket } from 'ws'
import { BerthError } from '../../instance/errors.ts'

export const PING_EVERY_MS = 25_000
/** Frames that wait for the reader before the socket is paused. */
const QUEUE_PAUSE_FRAMES = 16
/** How long a client may take to answer our close. */
const CLOSE_WAIT_MS = 5000

export const CLOSE = { normal: 1000, goingAway: 1001, policy: 1008, internal: 1011 } as const

export class FrameSocket {
  readonly #socket: WebSocket
  readonly #queue: string[] = []
  readonly #gone = new AbortController()
  #waiting: ((frame: string | null) => void) | null = null
  #ended = false
  #answered = true

  constructor(socket: WebSocket) {
    this.#socket = socket
    socket.on('message', data => this.#arrive(asText(data)))
    socket.on('pong', () => (this.#answered = true))
    socket.on('close', () => this.#end())
    // `close` always follows; a broken connection needs no other word.
    socket.on('error', () => this.#end())
    const pinging = setInterval(() => this.#ping(), PING_EVERY_MS)
    this.#gone.signal.addEventListener('abort', () => clearInterval(pinging))
  }

  /** Aborted when the client is gone, or said that it goes. */
  get gone(): AbortSignal {
    return this.#gone.signal
  }

  /** The next frame's text; null at the end. */
  async next(): Promise<string | null> {
    const queued = this.#queue.shift()
    if (queued !== undefined) {
      if (this.#queue.length < QUEUE_PAUSE_FRAMES && this.#socket.isPaused) this.#socket.resume()
      return queued
    }
    if (this.#ended) return null
    return new Promise(resolve => {
      this.#waiting = resolve
    })
  }

  send(value: unknown): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#socket.send(JSON.stringify(value), error => {
        if (error === undefined || error === null) resolve()
        else reject(new BerthError('cancelled', 'The client closed the connection.', { cause: error }))
      })
    })
  }

  /** Says goodbye; a client that doesn't answer in time is dropped. */
  close(code: number): void {
    if (this.#socket.isPaused) this.#socket.resume()
    this.#socket.close(code)
    const late = setTimeout(() => this.#socket.terminate(), CLOSE_WAIT_MS)
    this.#socket.once('close', () => clearTimeout(late))
    late.unref()
  }

  #ping(): void {
    // A paused socket doesn't read pongs: whoever holds back input is not asked.
    if (this.#socket.isPaused) return
    if (!this.#answered) return this.#socket.terminate()
    this.#answered = false
    this.#socket.ping()
  }

  #arrive(frame: string): void {
    const waiting = this.#waiting
    if (waiting !== null) {
      this.#waiting = null
      waiting(frame)
      return
    }
    this.#queue.push(frame)
    if (this.#queue.length >= QUEUE_PAUSE_FRAMES) this.#socket.pause()
  }

  #end(): void {
    if (this.#ended) return
    this.#ended = true
    this.#waiting?.(null)
    this.#waiting = null
    this.#gone.abort()
  }
}

function asText(data: RawData): string {
  if (Buffer.isBuffer(data)) return data.toString('utf8')
  return (Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data)).toString('utf8')
}
