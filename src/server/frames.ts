/**
 * WebSockets whose large frames come to their reader in one buffer each, which is theirs alone and can be given back once it
 * is done with (src/dialects/spent.ts): `ws` would copy them together from pieces that wait for V8's collector.
 *
 *    0        1          2            2, 4 or 10         +4
 *   +--------+----------+------------+-------------------+--------
 *   | opcode | M length | more length, if 126 or 127     | mask, if M | payload
 *   +--------+----------+--------------------------------+--------
 *
 * Only where a frame ends is looked at here; everything about it is judged by `ws`, which gets every byte in order.
 */
import type { Socket } from 'node:net'
import type { Writable } from 'node:stream'
import { WebSocket } from 'ws'
import { discard } from '../dialects/spent.ts'

/** Frames from here on get a buffer of their own. */
const LARGE_BYTES = 16 * 1024
const HEAD_MAX_BYTES = 14
const MASKED = 0x80
const LENGTH = 0x7f

/** Cuts a stream of frames: whole large ones, pieces of the others as they come. What it gives is nobody else's. */
export class FrameGatherer {
  readonly #maxBytes: number
  readonly #head = Buffer.alloc(HEAD_MAX_BYTES)
  #headLength = 0
  /** Of a frame that is being read: what of it is still to come. */
  #left = 0
  #whole: Buffer | null = null

  /** Frames beyond `maxBytes` are refused by whoever gets them, and not gathered. */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes
  }

  push(chunk: Uint8Array, give: (bytes: Buffer) => void): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#left === 0) {
        at += this.#takeHead(chunk, at, give)
        continue
      }
      const piece = chunk.subarray(at, at + this.#left)
      at += piece.length
      if (this.#whole === null) give(Buffer.from(piece))
      else this.#whole.set(piece, this.#whole.length - this.#left)
      this.#left -= piece.length
      if (this.#left === 0) this.#giveWhole(give)
    }
  }

  /** Takes what belongs to the head, and begins the frame when it is complete. */
  #takeHead(chunk: Uint8Array, at: number, give: (bytes: Buffer) => void): number {
    let taken = 0
    while (at + taken < chunk.length && this.#headLength < headBytes(this.#head, this.#headLength)) {
      this.#head[this.#headLength++] = chunk[at + taken++] ?? 0
    }
    if (this.#headLength < headBytes(this.#head, this.#headLength)) return taken
    const head = this.#head.subarray(0, this.#headLength)
    this.#headLength = 0
    this.#left = payloadBytes(head)
    if (this.#left >= LARGE_BYTES && this.#left <= this.#maxBytes) {
      this.#whole = Buffer.allocUnsafeSlow(head.length + this.#left)
      this.#whole.set(head)
    } else {
      give(Buffer.from(head))
    }
    return taken
  }

  #giveWhole(give: (bytes: Buffer) => void): void {
    const whole = this.#whole
    this.#whole = null
    if (whole !== null) give(whole)
  }
}

/** How long a head is, as far as its first `known` bytes tell. */
function headBytes(head: Buffer, known: number): number {
  if (known < 2) return 2
  const second = head[1] ?? 0
  const length = second & LENGTH
  return 2 + (length === 127 ? 8 : length === 126 ? 2 : 0) + ((second & MASKED) === 0 ? 0 : 4)
}

function payloadBytes(head: Buffer): number {
  const length = (head[1] ?? 0) & LENGTH
  if (length === 126) return head.readUInt16BE(2)
  // Beyond 2^53 it is inexact, and refused.
  return length === 127 ? Number(head.readBigUInt64BE(2)) : length
}

type Listener = (this: Socket, chunk: Buffer) => void
type Attach = (this: WebSocket, socket: Socket, head: Buffer, options: { readonly maxPayload: number }) => void

/** Its types leave both out. */
interface Reader {
  readonly _receiver: Writable
}
const { setSocket: attach } = WebSocket.prototype as unknown as { readonly setSocket: Attach }

/** What `ws` makes for each client of ours. */
export class ClientWebSocket extends WebSocket {
  /** Called by `ws` once the handshake is done: what it would read of the socket it gets gathered. */
  setSocket(...[socket, head, options]: Parameters<Attach>): void {
    const before = socket.listeners('data')
    attach.call(this, socket, head, options)
    const listener = socket.listeners('data').find((each) => !before.includes(each)) as Listener | undefined
    if (listener === undefined) throw new Error('ws reads its socket in another way than this is made for.')
    const frames = new FrameGatherer(options.maxPayload)
    const { _receiver: receiver } = this as unknown as Reader
    const take = (chunk: Buffer): void => {
      // After a close, or a frame that was refused, `ws` takes its own listener away and lets the rest pass unread.
      if (receiver.writable) frames.push(chunk, (bytes) => void (receiver.writable && listener.call(socket, bytes)))
      discard(chunk)
    }
    socket.removeListener('data', listener)
    socket.on('data', take)
    // Of a socket that broke while it was paused `ws` would read the rest, as if it were the next of what it has got.
    socket.prependListener('close', () => {
      const rest = socket.read() as Buffer | null
      if (rest !== null) take(rest)
    })
  }
}
