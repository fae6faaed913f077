import assert from 'node:assert/strict'
import { test } from 'node:test'
import { parseLogLine } from './log-line.ts'

const AT = Date.UTC(2026, 0, 1, 12, 30, 45, 123)

test('output lines keep their stream, time and text', () => {
  for (const [line, stream, text, partial] of [
    ['2026-01-01T12:30:45.123456789Z stdout F hello world', 'stdout', 'hello world', false],
    ['2026-01-01T12:30:45.123456789Z stderr P a piece ', 'stderr', 'a piece ', true],
    ['2026-01-01T12:30:45.123456789Z stdout F ', 'stdout', '', false],
  ] as const) {
    assert.deepEqual(parseLogLine(line), { kind: 'output', record: { at: AT + 0.456789, stream, text, partial } })
  }
})

test('the last record tells how the application ended', () => {
  for (const [text, exit] of [
    ['exit code=3 signal=0 reason=exited', { code: 3, signal: null, message: 'exited' }],
    ['exit code=137 signal=9 reason=out-of-memory', { code: 137, signal: 9, message: 'out of memory' }],
  ] as const) {
    const line = parseLogLine(`2026-01-01T12:30:45.123000000Z berth F ${text}`)
    assert.deepEqual(line, { kind: 'exit', at: AT, exit })
  }
})

test('an application that writes an exit record of its own only writes a line', () => {
  assert.equal(parseLogLine('2026-01-01T12:30:45.123000000Z stdout F exit code=3 signal=0 reason=exited').kind, 'output')
})

test('what is not a log line is output as it is', () => {
  for (const text of ['', 'half of a li', '2026-01-01T12:30:45Z stdout F no fraction']) {
    assert.deepEqual(parseLogLine(text), { kind: 'output', record: { at: null, stream: 'stdout', text, partial: false } })
  }
})
