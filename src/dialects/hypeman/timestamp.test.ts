import assert from 'node:assert/strict'
import test from 'node:test'
import { formatTimestamp, formatTimestampSeconds, parseTimestamp } from './timestamp.ts'

test('times are RFC 3339 with the fraction that there is', () => {
  const base = Date.UTC(2026, 0, 16, 10, 30, 0)
  assert.equal(formatTimestamp(base), '2026-01-16T10:30:00Z')
  assert.equal(formatTimestamp(base + 120), '2026-01-16T10:30:00.12Z')
  assert.equal(formatTimestamp(base + 123.456), '2026-01-16T10:30:00.123456Z')
  assert.equal(formatTimestampSeconds(base + 999), '2026-01-16T10:30:00Z')
})

test('a time is read with its offset, and nothing else is a time', () => {
  assert.equal(parseTimestamp('2026-01-16T10:30:00Z'), Date.UTC(2026, 0, 16, 10, 30))
  assert.equal(parseTimestamp('2026-01-16T10:30:00.5+02:00'), Date.UTC(2026, 0, 16, 8, 30, 0, 500))
  for (const text of ['', 'tomorrow', '2026-01-16', '2026-01-16T10:30:00', '2026-13-16T10:30:00Z', '1768559400']) {
    assert.equal(parseTimestamp(text), null, text)
  }
})
