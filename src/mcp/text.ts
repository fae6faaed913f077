/**
 * Bytes and text from guests, made fit for a model and its client: bounded, and free of what a terminal would obey.
 *
 * What a guest writes is data. Escape sequences and other control characters can hide text from a person who
 * approves a call, so every rendering loses them; structured output keeps the bytes as they were.
 */
import { isUtf8 } from 'node:buffer'

const ESCAPE = '\u001b'
const BELL = '\u0007'
const CSI = '\u009b'
const CSI_REST = String.raw`[0-?]*[ -/]*[@-~]`
/** CSI, OSC and its like up to their end, and the short escapes. */
const SEQUENCES = new RegExp(`${ESCAPE}(?:\\[${CSI_REST}|[\\]PX^_][^${BELL}${ESCAPE}]*(?:${BELL}|${ESCAPE}\\\\)?|[ -/]*[0-~])|${CSI}${CSI_REST}`, 'g')
/** Every other control character but tab and newline; what turns the direction of text; invisible tags. */
const CONTROLS = /(?![\t\n])\p{Cc}|[\u200e\u200f\u202a-\u202e\u2066-\u2069\u{e0000}-\u{e007f}]/gu

/** Text without anything that a terminal would obey. */
export function plain(text: string): string {
  return text.replaceAll('\r\n', '\n').replace(SEQUENCES, '').replace(CONTROLS, '')
}

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

  add(data: Uint8Array): void {
    this.totalBytes += data.length
    const room = this.#limitBytes - this.#keptBytes
    if (room <= 0) return
    const kept = data.length <= room ? data : data.subarray(0, room)
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

/** The last line that holds something, for a notice of progress. */
export function lastLine(data: Uint8Array): string {
  const lines = plain(Buffer.from(data).toString('utf-8')).split('\n')
  return lines.findLast(line => line.trim() !== '')?.trim() ?? ''
}

/** At most `limit` characters, with a note where it was cut. */
export function shortened(text: string, limitCharacters: number): string {
  return text.length <= limitCharacters ? text : `${text.slice(0, limitCharacters)}\n[… ${text.length - limitCharacters} characters more]`
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
