import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { createConnection, type AddressInfo, type Socket } from 'node:net'
import { after, before, test } from 'node:test'
import fc from 'fast-check'
import { WebSocketServer, type WebSocket } from 'ws'
import { ClientWebSocket, FrameGatherer } from './frames.ts'

const LIMIT_BYTES = 100_000

interface Sent {
  readonly opcode: number
  readonly fin: boolean
  readonly payload: Buffer
}

/** As a client frames it. */
function encode({ opcode, fin, payload }: Sent): Buffer {
  const mask = randomBytes(4)
  const length = payload.length
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10)
  head[0] = (fin ? 0x80 : 0) | opcode
  head[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127)
  if (head.length === 4) head.writeUInt16BE(length, 2)
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([head, mask, payload.map((byte, index) => byte ^ (mask[index % 4] ?? 0))])
}

function cut(stream: Buffer, sizes: readonly number[]): Buffer[] {
  const pieces: Buffer[] = []
  for (let at = 0, turn = 0; at < stream.length; turn += 1) {
    const size = sizes[turn % sizes.length] ?? stream.length
    pieces.push(Buffer.from(stream.subarray(at, at + size)))
    at += size
  }
  return pieces
}

const anySize = fc.oneof(fc.integer({ min: 0, max: 300 }), fc.integer({ min: 16_380, max: 16_390 }), fc.integer({ min: 65_530, max: 65_540 }))
const anyCuts = fc.array(fc.oneof(fc.integer({ min: 1, max: 20 }), fc.integer({ min: 1000, max: 70_000 })), { minLength: 1, maxLength: 6 })

test('every byte is given in order however the stream is cut, and a large frame whole', () => {
  fc.assert(
    fc.property(fc.array(anySize, { maxLength: 6 }), anyCuts, (sizes, cuts) => {
      const frames = sizes.map((size) => encode({ opcode: 2, fin: true, payload: randomBytes(size) }))
      const gatherer = new FrameGatherer(LIMIT_BYTES)
      const given: Buffer[] = []
      for (const chunk of cut(Buffer.concat(frames), cuts)) {
        gatherer.push(chunk, (bytes) => given.push(bytes))
        chunk.fill(0) // it is somebody else's again
      }
      assert.equal(Buffer.compare(Buffer.concat(given), Buffer.concat(frames)), 0)
      for (const frame of frames.filter(({ length }) => length > 16 * 1024 + 14)) {
        assert.ok(given.some((bytes) => bytes.buffer.byteLength === bytes.length && Buffer.compare(bytes, frame) === 0))
      }
    }),
    { numRuns: 60 },
  )
})

let server: WebSocketServer
before(async () => {
  server = new WebSocketServer({ host: '127.0.0.1', port: 0, maxPayload: LIMIT_BYTES, WebSocket: ClientWebSocket as typeof WebSocket })
  await once(server, 'listening')
})
after(() => {
  for (const client of server.clients) client.terminate()
  server.close()
})

/** A connection past its handshake, and the socket that the server has for it. */
async function connect(): Promise<{ readonly raw: Socket; readonly served: WebSocket }> {
  const { port } = server.address() as AddressInfo
  const raw = createConnection(port, '127.0.0.1')
  const connected = once(server, 'connection')
  raw.write(`GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\nSec-WebSocket-Version: 13\r\n\r\n`)
  const [served] = (await connected) as [WebSocket]
  return { raw, served }
}

test('messages of all sizes, in one frame or many with pings between them, arrive as they were sent', async () => {
  const { raw, served } = await connect()
  const arrived: Buffer[] = []
  const done = new Promise<void>((resolve) => {
    served.on('message', (data: Buffer, isBinary) => {
      if (isBinary) arrived.push(Buffer.from(data))
      else resolve()
    })
  })
  const messages = [0, 1, 125, 126, 16_383, 16_384, 65_535, 65_536, LIMIT_BYTES].map((size) => randomBytes(size))
  const [first, second, third] = [randomBytes(20_000), randomBytes(10), randomBytes(30_000)]
  const frames: Sent[] = [
    ...messages.map((payload) => ({ opcode: 2, fin: true, payload })),
    { opcode: 2, fin: false, payload: first },
    { opcode: 9, fin: true, payload: Buffer.from('are you there') },
    { opcode: 0, fin: false, payload: second },
    { opcode: 0, fin: true, payload: third },
    { opcode: 1, fin: true, payload: Buffer.from('end') },
  ]
  for (const piece of cut(Buffer.concat(frames.map(encode)), [3, 5000, 90_000, 1, 20_000])) raw.write(piece)
  await done
  const wanted = [...messages, Buffer.concat([first, second, third])]
  assert.deepEqual(arrived.map(({ length }) => length), wanted.map(({ length }) => length))
  assert.equal(Buffer.compare(Buffer.concat(arrived), Buffer.concat(wanted)), 0)
  raw.destroy()
})

test('a frame beyond the limit is refused as too big, without being awaited', async () => {
  const { raw, served } = await connect()
  const refused = once(served, 'error')
  raw.write(encode({ opcode: 2, fin: true, payload: Buffer.alloc(LIMIT_BYTES + 1) }).subarray(0, 1000))
  const [error] = (await refused) as [Error & { code: string }]
  assert.equal(error.code, 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH')
  raw.destroy()
})

test('a client that breaks off in mid-frame, while nobody reads it, is read no further than to its last whole message', async () => {
  const { raw, served } = await connect()
  const arrived: Buffer[] = []
  served.on('message', (data: Buffer) => arrived.push(Buffer.from(data)))
  // What follows the head looks like a frame itself, were it read as one.
  const inner = encode({ opcode: 2, fin: true, payload: Buffer.from('never sent') })
  const outer = encode({ opcode: 2, fin: true, payload: Buffer.alloc(60_000) })
  raw.write(Buffer.concat([encode({ opcode: 2, fin: true, payload: Buffer.from('sent') }), outer.subarray(0, 20_000)]))
  await once(served, 'message')
  served.pause()
  await new Promise<void>((resolve) => raw.write(inner, () => resolve()))
  const closed = once(served, 'close')
  raw.resetAndDestroy()
  served.terminate()
  await closed
  assert.deepEqual(arrived.map(String), ['sent'])
})

test('what a client sends after its close is not read', async () => {
  const { raw, served } = await connect()
  const errors: unknown[] = []
  served.on('error', (error) => errors.push(error))
  const closed = once(served, 'close')
  raw.resume()
  const close = { opcode: 8, fin: true, payload: Buffer.from([0x03, 0xe8]) }
  raw.end(Buffer.concat([close, { opcode: 2, fin: true, payload: randomBytes(20_000) }, { opcode: 9, fin: true, payload: Buffer.alloc(0) }].map(encode)))
  const [code] = (await closed) as [number]
  assert.equal(code, 1000)
  assert.deepEqual(errors, [])
})

test('a client whose frame was refused is let go as soon as it goes, whatever it still sends', { timeout: 20_000 }, async () => {
  const { raw, served } = await connect()
  const refused = once(served, 'error')
  const closed = new Promise<void>((resolve) => served.once('close', () => resolve()))
  raw.resume()
  raw.on('error', () => undefined) // what is still on its way then is lost
  raw.write(encode({ opcode: 2, fin: true, payload: Buffer.alloc(LIMIT_BYTES + 1) }))
  await refused
  for (let sent = 0; sent < 8; sent++) raw.write(encode({ opcode: 2, fin: true, payload: randomBytes(LIMIT_BYTES) }))
  raw.end()
  await closed
})
