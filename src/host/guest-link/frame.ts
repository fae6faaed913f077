/**
 * Frames of the link to a guest's agent.
 *
 *    0      1      2       3      4               8              12
 *   +------+------+-------+------+---------------+---------------+---------- - -
 *   | 0    | type | flags | 0    | channel (LE)  | length (LE)   | payload
 *   +------+------+-------+------+---------------+---------------+---------- - -
 *
 * A header starts and ends with a zero byte (a length is at most 64 KiB) and the handshake's marker holds
 * none, so the marker can only appear inside one payload; `splitAtMarkers` keeps it from that, too.
 */
import { FRAME, HEADER_BYTES, HOST_MARKER, PAYLOAD_MAX_BYTES } from './protocol.ts'

export interface Frame {
  readonly type: number
  readonly flags: number
  readonly channel: number
  /** All of it; or, of `out` and `err`, the next piece as it arrived. */
  readonly payload: Uint8Array
  /** False for the second and later pieces of one frame. */
  readonly starts: boolean
}

/** A header and a payload that follows it. The payload is at most `PAYLOAD_MAX_BYTES`. */
export function encodeHeader(type: number, flags: number, channel: number, lengthBytes: number): Buffer {
  const header = Buffer.alloc(HEADER_BYTES)
  header[1] = type
  header[2] = flags
  header.writeUInt32LE(channel, 4)
  header.writeUInt32LE(lengthBytes, 8)
  return header
}

/** Cuts `bytes` into payloads, none longer than a frame holds and none with the handshake's marker in it. */
export function splitAtMarkers(bytes: Uint8Array): Uint8Array[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
  const pieces: Uint8Array[] = []
  let start = 0
  let marker = buffer.indexOf(HOST_MARKER)
  while (start < buffer.length) {
    let end = Math.min(buffer.length, start + PAYLOAD_MAX_BYTES)
    if (marker >= 0 && end > marker + HOST_MARKER.length / 2) {
      end = marker + HOST_MARKER.length / 2
      marker = buffer.indexOf(HOST_MARKER, marker + 1)
    }
    pieces.push(buffer.subarray(start, end))
    start = end
  }
  return pieces
}

/** The stream makes no sense; the link can't go on. */
export class FrameError extends Error {
  override readonly name = 'FrameError'
}

/**
 * Takes the byte stream in any chunks and gives frames. Output frames are passed on piece by piece without
 * copying; others are small and come whole.
 */
export class FrameDecoder {
  readonly #header = Buffer.alloc(HEADER_BYTES)
  #headerLength = 0
  #remaining = 0
  #starts = true
  #body: Buffer | null = null

  push(chunk: Uint8Array, onFrame: (frame: Frame) => void): void {
    let at = 0
    while (at < chunk.length) {
      if (this.#headerLength < HEADER_BYTES) {
        at += this.#takeHeader(chunk, at)
        if (this.#headerLength < HEADER_BYTES) return
        this.#begin()
        if (this.#remaining === 0) this.#emit(onFrame, new Uint8Array(0))
        continue
      }
      const piece = chunk.subarray(at, at + this.#remaining)
      at += piece.length
      this.#takePayload(piece, onFrame)
    }
  }

  #takeHeader(chunk: Uint8Array, at: number): number {
    const piece = chunk.subarray(at, at + HEADER_BYTES - this.#headerLength)
    this.#header.set(piece, this.#headerLength)
    this.#headerLength += piece.length
    return piece.length
  }

  #begin(): void {
    const length = this.#header.readUInt32LE(8)
    if (this.#header[0] !== 0 || this.#header[3] !== 0 || length > PAYLOAD_MAX_BYTES) {
      throw new FrameError('a frame from the guest has an impossible header')
    }
    this.#remaining = length
    this.#starts = true
    this.#body = null
  }

  #takePayload(piece: Uint8Array, onFrame: (frame: Frame) => void): void {
    const type = this.#header[1]
    if (type === FRAME.out || type === FRAME.err) {
      this.#remaining -= piece.length
      this.#emit(onFrame, piece)
      return
    }
    if (this.#body === null && piece.length === this.#remaining) {
      this.#remaining = 0
      this.#emit(onFrame, piece)
      return
    }
    this.#body ??= Buffer.alloc(this.#remaining)
    this.#body.set(piece, this.#body.length - this.#remaining)
    this.#remaining -= piece.length
    if (this.#remaining === 0) this.#emit(onFrame, this.#body)
  }

  #emit(onFrame: (frame: Frame) => void, payload: Uint8Array): void {
    const frame: Frame = {
      type: this.#header[1] ?? 0,
      flags: this.#header[2] ?? 0,
      channel: this.#header.readUInt32LE(4),
      payload,
      starts: this.#starts,
    }
    this.#starts = false
    if (this.#remaining === 0) {
      this.#headerLength = 0
      this.#body = null
    }
    onFrame(frame)
  }
}
