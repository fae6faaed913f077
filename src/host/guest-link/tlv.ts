/**
 * Message bodies: fields of  u16 tag | u32 length | value,  little-endian. Numbers are 8 bytes; a text ends
 * with a zero byte that its length counts (the agent uses it in place).
 */
import { BerthError } from '../../instance/errors.ts'

const FIELD_HEADER_BYTES = 6

export class TlvWriter {
  readonly #parts: Buffer[] = []

  bytes(tag: number, value: Uint8Array): this {
    const header = Buffer.alloc(FIELD_HEADER_BYTES)
    header.writeUInt16LE(tag, 0)
    header.writeUInt32LE(value.length, 2)
    this.#parts.push(header, Buffer.from(value.buffer, value.byteOffset, value.byteLength))
    return this
  }

  number(tag: number, value: number | bigint): this {
    const bytes = Buffer.alloc(8)
    bytes.writeBigUInt64LE(BigInt(value))
    return this.bytes(tag, bytes)
  }

  /** Refuses a text with a zero byte in it: the guest would see another one. */
  text(tag: number, value: string): this {
    if (value.includes('\0')) {
      throw new BerthError('invalid_request', 'A command, variable, name or path may not contain a zero byte.')
    }
    return this.bytes(tag, Buffer.from(value + '\0', 'utf8'))
  }

  finish(): Buffer {
    return Buffer.concat(this.#parts)
  }
}

/** The fields of a body by tag; of repeated ones the last. Damage ends the reading. */
export class TlvFields {
  readonly #fields = new Map<number, Buffer>()

  constructor(body: Uint8Array) {
    const buffer = Buffer.from(body.buffer, body.byteOffset, body.byteLength)
    let at = 0
    while (at + FIELD_HEADER_BYTES <= buffer.length) {
      const length = buffer.readUInt32LE(at + 2)
      const start = at + FIELD_HEADER_BYTES
      if (start + length > buffer.length) return
      this.#fields.set(buffer.readUInt16LE(at), buffer.subarray(start, start + length))
      at = start + length
    }
  }

  number(tag: number): number | null {
    const value = this.#fields.get(tag)
    return value === undefined || value.length !== 8 ? null : Number(value.readBigUInt64LE())
  }

  text(tag: number): string | null {
    const value = this.#fields.get(tag)
    return value === undefined ? null : value.toString('utf8', 0, Math.max(0, value.length - 1))
  }
}
