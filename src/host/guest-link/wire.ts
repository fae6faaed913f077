/**
 * The byte stream to one guest: the reset handshake, frames out with back-pressure, frames in by channel.
 *
 * The stream has no sessions of its own: either side may hold half a frame of a time before. So the host
 * begins with a marker and a nonce, and drops all that comes before the guest's marker with that nonce.
 */
import { randomBytes } from 'node:crypto'
import { createConnection, type Socket } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { BerthError, asBerthError } from '../../instance/errors.ts'
import { Channel } from './channel.ts'
import { encodeHeader, FrameDecoder, splitAtMarkers, type Frame } from './frame.ts'
import { FLAG_MORE, FRAME, GUEST_MARKER, HOST_MARKER, NONCE_BYTES, REQUEST_MAX_BYTES, TAG } from './protocol.ts'
import { TlvFields } from './tlv.ts'

const RETRY_MS = 20
/**
 * What all guests' sockets read into, one after the other: what came is looked at before anything else is read. So reading
 * makes no garbage, and who keeps bytes copies them.
 */
const ARRIVING = Buffer.allocUnsafeSlow(256 * 1024)
/** Payloads up to this go out in one buffer with their header. */
const JOIN_MAX_BYTES = 2048

export interface WireOptions {
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
}

export class Wire {
  /** The body of the guest's HELLO. */
  readonly hello: Uint8Array
  /** Frames of channel 0. */
  onControl: (frame: Frame) => void = () => undefined
  onBroken: (error: BerthError) => void = () => undefined

  readonly #socket: Socket
  readonly #decoder: FrameDecoder
  readonly #channels = new Map<number, Channel>()
  #nextChannel = 1
  #broken: BerthError | null = null

  private constructor(socket: Socket, decoder: FrameDecoder, hello: Uint8Array) {
    this.#socket = socket
    this.#decoder = decoder
    this.hello = hello
  }

  /** Connects and shakes hands; tries again until the guest answers, the deadline passes or `signal` aborts. */
  static async open(socketPath: string, options: WireOptions): Promise<Wire> {
    const deadline = AbortSignal.timeout(options.timeoutMs)
    const signal = options.signal === undefined ? deadline : AbortSignal.any([deadline, options.signal])
    for (;;) {
      if (options.signal?.aborted) throw new BerthError('cancelled', 'The connection to the guest was cancelled.')
      if (deadline.aborted) {
        throw new BerthError('guest_unreachable', `The guest's agent didn't answer within ${options.timeoutMs / 1000} s.`)
      }
      const wire = await attempt(socketPath, signal)
      if (wire !== null) return wire
      await delay(RETRY_MS, undefined, { signal }).catch(() => undefined) // an abort is seen above
    }
  }

  /** For `attempt` only: takes over a socket whose handshake is done. */
  static adopt(socket: Socket, decoder: FrameDecoder, hello: Uint8Array): Wire {
    const wire = new Wire(socket, decoder, hello)
    socket.on('close', () => wire.break(new BerthError('guest_unreachable', 'The guest closed the connection to its agent.')))
    socket.on('error', (cause) => wire.break(new BerthError('guest_unreachable', 'The connection to the guest broke.', { cause })))
    return wire
  }

  get broken(): BerthError | null {
    return this.#broken
  }

  /** Opens a channel with a request. */
  request(type: number, body: Uint8Array, windowBytes: number): Channel {
    const channel = new Channel(this, this.#nextChannel++, windowBytes)
    if (this.#broken !== null) {
      channel.fail(this.#broken)
      return channel
    }
    if (body.length > REQUEST_MAX_BYTES) {
      channel.fail(new BerthError('limit_exceeded', `A request to the guest may have ${REQUEST_MAX_BYTES / 2 ** 20} MiB at most, with its command, environment and files.`))
      return channel
    }
    this.#channels.set(channel.id, channel)
    const pieces = body.length === 0 ? [body] : splitAtMarkers(body)
    for (const [index, piece] of pieces.entries()) {
      this.#write(type, index < pieces.length - 1 ? FLAG_MORE : 0, channel.id, piece)
    }
    return channel
  }

  /** A frame of a channel's. `payload` must not change afterwards. */
  send(type: number, channel: number, payload: Uint8Array): void {
    if (this.#broken === null) this.#write(type, 0, channel, payload)
  }

  /** The same; resolves when the system has it, or never will: then the payload's memory is the caller's again. */
  async deliver(type: number, channel: number, payload: Uint8Array): Promise<void> {
    if (this.#broken !== null) return
    await new Promise<void>((resolve) => this.#write(type, 0, channel, payload, () => resolve()))
  }

  forget(channel: number): void {
    this.#channels.delete(channel)
  }

  /** Ends the connection; every channel fails with `error`. Safe to call twice. */
  break(error: BerthError): void {
    if (this.#broken !== null) return
    this.#broken = error
    this.#socket.destroy()
    for (const channel of this.#channels.values()) channel.fail(error)
    this.#channels.clear()
    this.onBroken(error)
  }

  #write(type: number, flags: number, channel: number, payload: Uint8Array, written?: () => void): void {
    const header = encodeHeader(type, flags, channel, payload.length)
    if (payload.length <= JOIN_MAX_BYTES) {
      this.#socket.write(payload.length === 0 ? header : Buffer.concat([header, payload]), written)
      return
    }
    this.#socket.cork()
    this.#socket.write(header)
    this.#socket.write(payload, written)
    this.#socket.uncork()
  }

  /** Bytes from the guest, which may lie in `ARRIVING`. */
  receive(chunk: Uint8Array): void {
    try {
      this.#decoder.push(chunk, (frame) => this.accept(frame))
    } catch (error) {
      this.break(new BerthError('guest_unreachable', `The guest's agent broke the link protocol: ${asBerthError(error).message}`, { cause: error }))
    }
  }

  accept(frame: Frame): void {
    if (frame.channel !== 0) {
      // Of a channel that was closed here, what was on its way still arrives.
      this.#channels.get(frame.channel)?.accept(frame)
    } else if (frame.type === FRAME.fatal) {
      const reason = new TlvFields(frame.payload).text(TAG.message) ?? 'no reason given'
      this.break(new BerthError('guest_unreachable', `The guest's agent gave up the link: ${reason}.`))
    } else {
      this.onControl(frame)
    }
  }
}

/** One connection and handshake; null if nobody answers there now. */
function attempt(socketPath: string, signal: AbortSignal): Promise<Wire | null> {
  return new Promise((resolve) => {
    const nonce = randomBytes(NONCE_BYTES)
    const answer = Buffer.concat([GUEST_MARKER, nonce])
    const decoder = new FrameDecoder()
    let take: (chunk: Buffer) => void = shakeHands
    const callback = (length: number, buffer: Uint8Array): boolean => {
      take(Buffer.from(buffer.buffer, buffer.byteOffset, length))
      return true
    }
    const socket = createConnection({ path: socketPath, onread: { buffer: ARRIVING, callback } })
    let kept: Uint8Array = Buffer.alloc(0)
    let found = false
    const giveUp = (): void => {
      take = () => undefined
      socket.removeAllListeners()
      signal.removeEventListener('abort', giveUp)
      socket.on('error', () => undefined) // it is being thrown away
      socket.destroy()
      resolve(null)
    }
    const early: Frame[] = []
    const onFrame = (frame: Frame): void => {
      early.push({ ...frame, payload: Buffer.from(frame.payload) })
    }
    if (signal.aborted) return giveUp()
    signal.addEventListener('abort', giveUp)
    socket.on('error', giveUp)
    socket.on('close', giveUp)
    socket.on('connect', () => socket.write(Buffer.concat([HOST_MARKER, nonce])))

    function shakeHands(chunk: Buffer): void {
      let rest: Uint8Array = chunk
      if (!found) {
        const seen = Buffer.concat([kept, chunk])
        const at = seen.indexOf(answer)
        if (at < 0) {
          kept = Buffer.from(seen.subarray(Math.max(0, seen.length - answer.length + 1)))
          return
        }
        found = true
        rest = seen.subarray(at + answer.length)
      }
      try {
        decoder.push(rest, onFrame)
      } catch {
        return giveUp() // not an agent's answer after all
      }
      const first = early.shift()
      if (first === undefined) return
      if (first.type !== FRAME.hello) return giveUp()
      socket.pause()
      signal.removeEventListener('abort', giveUp)
      socket.removeAllListeners()
      const wire = Wire.adopt(socket, decoder, first.payload)
      take = (bytes) => wire.receive(bytes)
      resolve(wire)
      // After the caller had its chance to listen.
      setImmediate(() => {
        for (const frame of early) wire.accept(frame)
        socket.resume()
      })
    }
  })
}
