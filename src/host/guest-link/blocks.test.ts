import assert from 'node:assert/strict'
import { test } from 'node:test'
import { BLOCK_BYTES, giveBlockBack, takeBlock } from './blocks.ts'

const MANY = 100

test('blocks are used again, no two at once, and those that are too many to keep are freed', () => {
  const first = Array.from({ length: MANY }, () => takeBlock())
  assert.equal(new Set(first.map(({ buffer }) => buffer)).size, MANY)
  for (const block of first) giveBlockBack(block)
  const lasting = first.filter(({ buffer }) => buffer.byteLength === BLOCK_BYTES)
  assert.ok(lasting.length > 0 && lasting.length < MANY)
  const again = new Set(Array.from({ length: lasting.length }, () => takeBlock().buffer))
  assert.deepEqual(again, new Set(lasting.map(({ buffer }) => buffer)))
  assert.equal(takeBlock().buffer.byteLength, BLOCK_BYTES)
})

test('what is no whole block is not kept', () => {
  giveBlockBack(Buffer.allocUnsafeSlow(100))
  assert.equal(takeBlock().length, BLOCK_BYTES)
})
