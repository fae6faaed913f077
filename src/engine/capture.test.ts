import assert from 'node:assert/strict'
import { test } from 'node:test'
import { Capture, encodingOf } from './capture.ts'

test('a capture keeps the first bytes, counts them all, and cuts where a character ends', () => {
  const capture = new Capture(5)
  capture.add(Buffer.from('abc€'))
  assert.equal(capture.truncated, true)
  assert.deepEqual([capture.bytes().toString(), capture.totalBytes], ['abc', 6])
  const exact = new Capture(6)
  exact.add(Buffer.from('abc€'))
  assert.deepEqual([exact.bytes().toString(), exact.truncated], ['abc€', false])
})

test('bytes that are no text are told in base64', () => {
  assert.equal(encodingOf(Buffer.from('grüße'), Buffer.alloc(0)), 'utf-8')
  assert.equal(encodingOf(Buffer.from('fine'), Buffer.from([0xff, 0xfe])), 'base64')
})
