import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { formatDuration, parseDuration } from './duration.ts'
import { BerthError } from './errors.ts'

test('durations parse as Go parses them', () => {
  const table: readonly (readonly [string, number])[] = [
    ['0', 0],
    ['+0', 0],
    ['0s', 0],
    ['5s', 5000],
    ['5m', 300_000],
    ['1h30m', 5_400_000],
    ['1h30m10.5s', 5_410_500],
    ['500ms', 500],
    ['1.5h', 5_400_000],
    ['.5s', 500],
    ['5.s', 5000],
    ['-1.5s', -1500],
    ['+5s', 5000],
    ['250us', 0.25],
    ['250µs', 0.25],
    ['250μs', 0.25],
    ['1000000ns', 1],
    ['10s5s', 15_000],
    ['2540400h', 2540400 * 3_600_000],
  ]
  for (const [text, ms] of table) assert.ok(Math.abs(parseDuration(text) - ms) < 1e-9, text)
})

test('what Go refuses is refused in its words', () => {
  const table: readonly (readonly [string, string])[] = [
    ['', 'time: invalid duration ""'],
    ['-', 'time: invalid duration "-"'],
    ['.', 'time: invalid duration "."'],
    ['.s', 'time: invalid duration ".s"'],
    ['s', 'time: invalid duration "s"'],
    ['3', 'time: missing unit in duration "3"'],
    ['1h30', 'time: missing unit in duration "1h30"'],
    ['1d', 'time: unknown unit "d" in duration "1d"'],
    ['5 s', 'time: unknown unit " s" in duration "5 s"'],
    ['5S', 'time: unknown unit "S" in duration "5S"'],
    ['--5s', 'time: invalid duration "--5s"'],
    ['1..5s', 'time: missing unit in duration "1..5s"'],
    ['99999999999999999999h', 'time: invalid duration "99999999999999999999h"'],
    [`${'9'.repeat(400)}s`, `time: invalid duration "${'9'.repeat(200)}…"`],
  ]
  for (const [text, message] of table) {
    assert.throws(
      () => parseDuration(text),
      (error: unknown) => error instanceof BerthError && error.code === 'invalid_request' && error.message === message,
      text,
    )
  }
})

test('durations print as Go prints them', () => {
  const table: readonly (readonly [number, string])[] = [
    [0, '0s'],
    [0.25, '250µs'],
    [1, '1ms'],
    [1.5, '1.5ms'],
    [500, '500ms'],
    [1500, '1.5s'],
    [60_000, '1m0s'],
    [300_000, '5m0s'],
    [3_600_000, '1h0m0s'],
    [5_410_500, '1h30m10.5s'],
    [-1500, '-1.5s'],
  ]
  for (const [ms, text] of table) assert.equal(formatDuration(ms), text)
})

test('a printed duration parses to itself', () => {
  fc.assert(
    fc.property(fc.integer({ min: -(10 ** 12), max: 10 ** 12 }), (ms) => {
      assert.ok(Math.abs(parseDuration(formatDuration(ms)) - ms) < 1e-3)
    }),
  )
})
