/** What a command says, kept up to a limit, and told as text where it is text. */
import { isUtf8 } from 'node:buffer'

/** The first `limit` bytes of a stream; what comes after them is counted and let go. */
export class Capture {
  readonly #limitBytes: number
  readonly #chunks: Uint8Array[] = []
  #keptBytes = 0
  /** All that came. */
  totalBytes = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /** Keeps a copy: what a command says is lent. */
  add(data: Uint8Array): void {
    this.totalBytes += data.length
    const room = this.#limitBytes - this.#keptBytes
    if (room <= 0) return
    const kept = Buffer.from(data.subarray(0, room))
    this.#chunks.push(kept)
    this.#keptBytes += kept.length
  }

  get truncated(): boolean {
    return this.totalBytes > this.#keptBytes
  }

  /** What was kept; cut where a character ends if it was cut at all. */
  bytes(): Buffer {
    const all = Buffer.concat(this.#chunks)
    return this.truncated ? all.subarray(0, wholeCharacters(all)) : all
  }
}

export type Encoding = 'utf-8' | 'base64'

/** `utf-8` if all of them are text, else `base64`. */
export function encodingOf(...parts: readonly Uint8Array[]): Encoding {
  return parts.every(part => isUtf8(part)) ? 'utf-8' : 'base64'
}

export function encode(bytes: Buffer, encoding: Encoding): string {
  return bytes.toString(encoding)
}

/** Length without a UTF-8 sequence that was cut off at the end. */
function wholeCharacters(bytes: Buffer): number {
  for (let back = 1; back <= Math.min(4, bytes.length); back++) {
    const byte = bytes[bytes.length - back] ?? 0
    if (byte < 0x80) return bytes.length
    if (byte < 0xc0) continue
    const need = byte >= 0xf0 ? 4 : byte >= 0xe0 ? 3 : 2
    return need > back ? bytes.length - back : bytes.length
  }
  return bytes.length
}
