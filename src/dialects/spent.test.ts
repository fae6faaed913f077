import assert from 'node:assert/strict'
import { test } from 'node:test'
import { discard } from './spent.ts'

const LARGE = 32 * 1024

test('a large buffer that holds nothing else is freed', () => {
  const whole = Buffer.allocUnsafeSlow(LARGE)
  const behindHead = Buffer.allocUnsafeSlow(LARGE + 14).subarray(14)
  for (const bytes of [whole, behindHead]) {
    discard(bytes)
    assert.equal(bytes.buffer.byteLength, 0)
  }
})

test('what shares its buffer with others, or is small, is left alone', () => {
  const shared = Buffer.allocUnsafeSlow(2 * LARGE).fill(7)
  const small = Buffer.allocUnsafeSlow(1024).fill(7)
  for (const bytes of [shared.subarray(0, LARGE), small]) {
    discard(bytes)
    assert.equal(bytes.every((byte) => byte === 7), true)
    assert.ok(bytes.length >= 1024)
  }
})
