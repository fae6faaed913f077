import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { readRecords } from './copy.ts'
import { RECORD } from './protocol.ts'

async function* chunks(stream: Buffer, sizes: readonly number[]): AsyncGenerator<{ data: Uint8Array }> {
  let at = 0
  for (let turn = 0; at < stream.length; turn++) {
    const size = sizes[turn % sizes.length] ?? 1
    yield { data: stream.subarray(at, at + size) }
    at += size
  }
}

test('records survive any cutting of the stream', async () => {
  const record = fc.record({ kind: fc.constantFrom(...Object.values(RECORD)), body: fc.uint8Array({ maxLength: 200 }) })
  await fc.assert(
    fc.asyncProperty(fc.array(record, { maxLength: 10 }), fc.array(fc.integer({ min: 1, max: 150 }), { minLength: 1, maxLength: 6 }), async (records, sizes) => {
      const stream = Buffer.concat(records.flatMap(({ kind, body }) => {
        const header = Buffer.alloc(8)
        header[0] = kind
        header.writeUInt32LE(body.length, 4)
        return [header, body]
      }))
      const merged: { kind: number; body: Buffer }[] = []
      for await (const { kind, body } of readRecords(chunks(stream, sizes))) {
        const last = merged.at(-1)
        if (kind === RECORD.data && last?.kind === RECORD.data) last.body = Buffer.concat([last.body, body])
        else merged.push({ kind, body: Buffer.from(body) })
      }
      const expected: { kind: number; body: Buffer }[] = []
      for (const { kind, body } of records) {
        const last = expected.at(-1)
        if (kind === RECORD.data && body.length === 0) continue // an empty piece carries nothing
        if (kind === RECORD.data && last?.kind === RECORD.data) last.body = Buffer.concat([last.body, body])
        else expected.push({ kind, body: Buffer.from(body) })
      }
      assert.deepEqual(merged, expected)
    }),
  )
})
