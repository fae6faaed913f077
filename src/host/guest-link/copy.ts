/**
 * File operations over a channel: a stream of records, each  u8 kind | 3 zero bytes | u32 length | bytes.
 */
import type { CopyItem } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Channel, ChannelOutput } from './channel.ts'
import { decodeEntry, decodeError, encodeEntry } from './message.ts'
import { RECORD, RECORD_DATA_MAX_BYTES, RECORD_HEADER_BYTES, TAG } from './protocol.ts'
import { TlvFields } from './tlv.ts'

export interface CopyRecord {
  readonly kind: number
  /** All of it; of `data`, the next piece. */
  readonly body: Uint8Array
}

function encodeRecord(kind: number, body: Uint8Array): Buffer {
  const record = Buffer.allocUnsafe(RECORD_HEADER_BYTES + body.length)
  record.writeUInt32LE(kind, 0)
  record.writeUInt32LE(body.length, 4)
  record.set(body, RECORD_HEADER_BYTES)
  return record
}

/** The records in a channel's output, however it is cut. */
export async function* readRecords(output: AsyncIterable<Pick<ChannelOutput, 'data'>>): AsyncGenerator<CopyRecord, void, undefined> {
  let kept: Uint8Array = new Uint8Array(0)
  let dataLeft = 0
  for await (const { data } of output) {
    let bytes: Uint8Array = kept.length === 0 ? data : Buffer.concat([kept, data])
    kept = new Uint8Array(0)
    while (bytes.length > 0) {
      if (dataLeft > 0) {
        const piece = bytes.subarray(0, dataLeft)
        dataLeft -= piece.length
        bytes = bytes.subarray(piece.length)
        yield { kind: RECORD.data, body: piece }
        continue
      }
      if (bytes.length < RECORD_HEADER_BYTES) break
      const view = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
      const kind = view.readUInt8(0)
      const length = view.readUInt32LE(4)
      if (length > RECORD_DATA_MAX_BYTES) throw new BerthError('guest_unreachable', "The guest's agent broke the copy protocol.")
      if (kind === RECORD.data) {
        dataLeft = length
        bytes = bytes.subarray(RECORD_HEADER_BYTES)
      } else if (bytes.length < RECORD_HEADER_BYTES + length) {
        break
      } else {
        yield { kind, body: bytes.subarray(RECORD_HEADER_BYTES, RECORD_HEADER_BYTES + length) }
        bytes = bytes.subarray(RECORD_HEADER_BYTES + length)
      }
    }
    kept = Buffer.from(bytes) // less than a record's header or a small body
  }
}

/** The one record that an operation without a stream answers with. */
export async function readResult(channel: Channel): Promise<Uint8Array> {
  for await (const record of readRecords(channel.output())) {
    if (record.kind === RECORD.error) throw decodeError(record.body)
    if (record.kind === RECORD.result) return Buffer.from(record.body)
  }
  throw new BerthError('internal', 'The guest ended the file operation without a result.')
}

/** Sends the items; resolves when the last one has arrived. */
export async function copyIn(channel: Channel, items: AsyncIterable<CopyItem>): Promise<{ readonly bytesWritten: number }> {
  const state = { over: false }
  // An error can come at any time, and then nothing more has to be sent.
  const result = readResult(channel).finally(() => {
    state.over = true
  })
  result.catch(() => undefined) // awaited below, after the sender has stopped
  try {
    await sendItems(channel, items, state)
  } catch (error) {
    channel.close()
    throw error
  }
  const fields = new TlvFields(await result)
  return { bytesWritten: fields.number(TAG.bytes) ?? 0 }
}

async function sendItems(channel: Channel, items: AsyncIterable<CopyItem>, state: { readonly over: boolean }): Promise<void> {
  for await (const item of items) {
    if (state.over) return
    if (item.type === 'error') throw new BerthError('guest_path', `${item.path}: ${item.message}`)
    if (item.type === 'entry') {
      await channel.write(encodeRecord(RECORD.entry, encodeEntry(item.entry)))
      continue
    }
    for (let at = 0; at < item.data.length && !state.over; at += RECORD_DATA_MAX_BYTES) {
      await channel.write(encodeRecord(RECORD.data, item.data.subarray(at, at + RECORD_DATA_MAX_BYTES)))
    }
  }
  await channel.write(encodeRecord(RECORD.end, new Uint8Array(0)))
  await channel.endInput()
}

/** The items of a file or tree. A reader that stops early ends the walk in the guest. */
export async function* copyOut(channel: Channel): AsyncGenerator<CopyItem, void, undefined> {
  let complete = false
  try {
    for await (const record of readRecords(channel.output())) {
      if (record.kind === RECORD.data) {
        yield { type: 'data', data: record.body }
      } else if (record.kind === RECORD.entry) {
        const entry = decodeEntry(record.body)
        if (entry !== null) yield { type: 'entry', entry }
      } else if (record.kind === RECORD.error) {
        const path = new TlvFields(record.body).text(TAG.path) ?? ''
        const error = decodeError(record.body)
        if (error.code !== 'guest_path') throw error
        yield { type: 'error', path, message: error.message }
      } else if (record.kind === RECORD.end) {
        complete = true
      }
    }
  } finally {
    channel.close()
  }
  if (!complete) throw new BerthError('internal', 'The guest ended the copy before its end.')
}
