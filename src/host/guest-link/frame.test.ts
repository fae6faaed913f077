import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { encodeHeader, FrameDecoder, FrameError, splitAtMarkers, type Frame } from './frame.ts'
import { FRAME, HOST_MARKER, PAYLOAD_MAX_BYTES } from './protocol.ts'

const anyFrame = fc.record({
  type: fc.constantFrom(...Object.values(FRAME)),
  flags: fc.integer({ min: 0, max: 255 }),
  channel: fc.integer({ min: 0, max: 0xffff_ffff }),
  payload: fc.uint8Array({ maxLength: 300 }),
})
type AnyFrame = Omit<Frame, 'starts'>

function encode(frames: readonly AnyFrame[]): Buffer {
  return Buffer.concat(frames.flatMap((frame) => [encodeHeader(frame.type, frame.flags, frame.channel, frame.payload.length), frame.payload]))
}

/** Decodes a stream that arrives in chunks of the given sizes, and puts the pieces of output frames together. */
function decode(stream: Buffer, sizes: readonly number[]): AnyFrame[] {
  const decoder = new FrameDecoder()
  const frames: { type: number; flags: number; channel: number; payload: Buffer }[] = []
  let at = 0
  for (let turn = 0; at < stream.length; turn++) {
    const size = sizes.length === 0 ? stream.length : Math.max(1, sizes[turn % sizes.length] ?? 1)
    decoder.push(stream.subarray(at, at + size), ({ type, flags, channel, payload, starts }) => {
      const last = frames.at(-1)
      if (starts || last === undefined) frames.push({ type, flags, channel, payload: Buffer.from(payload) })
      else last.payload = Buffer.concat([last.payload, payload])
    })
    at += size
  }
  return frames
}

test('frames survive any cutting of the stream', () => {
  fc.assert(fc.property(fc.array(anyFrame, { maxLength: 12 }), fc.array(fc.integer({ min: 1, max: 400 }), { maxLength: 8 }), (frames, sizes) => {
    const expected = frames.map((frame) => ({ ...frame, payload: Buffer.from(frame.payload) }))
    assert.deepEqual(decode(encode(frames), sizes), expected)
  }))
})

test('a payload of the largest size is taken, one byte more is not', () => {
  const largest = { type: FRAME.reply, flags: 0, channel: 7, payload: Buffer.alloc(PAYLOAD_MAX_BYTES, 3) }
  assert.deepEqual(decode(encode([largest]), [1000]), [largest])
  assert.throws(() => new FrameDecoder().push(encodeHeader(FRAME.reply, 0, 7, PAYLOAD_MAX_BYTES + 1), () => undefined), FrameError)
})

test('a header without its zero bytes is refused', () => {
  for (const index of [0, 3]) {
    const header = encodeHeader(FRAME.reply, 0, 7, 0)
    header[index] = 1
    assert.throws(() => new FrameDecoder().push(header, () => undefined), FrameError)
  }
})

test('the handshake marker is never whole in what is sent, whatever the data and its cutting', () => {
  const withMarkers = fc.array(fc.oneof(fc.constant(HOST_MARKER), fc.uint8Array({ maxLength: 40 }), fc.constant(HOST_MARKER.subarray(0, 31))), { maxLength: 8 })
  fc.assert(fc.property(withMarkers, (parts) => {
    const bytes = Buffer.concat(parts)
    const pieces = splitAtMarkers(bytes)
    assert.deepEqual(Buffer.concat(pieces), bytes)
    const sent = encode(pieces.map((payload) => ({ type: FRAME.data, flags: 0, channel: 0xffff_ffff, payload })))
    assert.equal(sent.indexOf(HOST_MARKER), -1)
  }))
})

test('no piece is longer than a frame holds', () => {
  assert.deepEqual(splitAtMarkers(Buffer.alloc(PAYLOAD_MAX_BYTES + 1)).map((piece) => piece.length), [PAYLOAD_MAX_BYTES, 1])
  assert.deepEqual(splitAtMarkers(Buffer.alloc(0)), [])
})
