import assert from 'node:assert/strict'
import { test } from 'node:test'
import { pino } from 'pino'
import { logText } from './log-text.ts'

/** What a person reads of what is logged, without its clock. */
function read(log: (logger: pino.Logger) => void): string {
  const lines: string[] = []
  log(pino({ base: null }, { write: line => void lines.push(line) }))
  return lines.map(line => logText(line).replace(/^\d\d:\d\d:\d\d /, '')).join('')
}

test('a line of the log is its level, its sentence, why, and what it is about', () => {
  assert.equal(read(log => log.info('Berth stops; instances run on')), 'info Berth stops; instances run on\n')
  assert.equal(read(log => log.warn({ err: new Error('no space left'), instance: 'i-1', ms: 3 }, 'a standby could not be made durable')), 'warn a standby could not be made durable: no space left (instance=i-1 ms=3)\n')
})

test('a defect shows where it was, a warning does not', () => {
  const error = new Error('broken')
  error.stack = 'Error: broken\n    at here (file.ts:1:2)\n    at there (file.ts:3:4)'
  assert.equal(read(log => log.error({ err: error }, 'a request failed')), 'error a request failed: broken\n  at here (file.ts:1:2)\n  at there (file.ts:3:4)\n')
  assert.equal(read(log => log.warn({ err: error }, 'a request failed')), 'warn a request failed: broken\n')
})

test('nothing that is logged steers the terminal or fills it', () => {
  const text = read(log => log.warn({ argv: ['\u001B[2J', 'a\nb'], long: 'x'.repeat(1000), err: new Error('\u001B]0;mine\u0007') }, 'a\r\u009Bb'))
  assert.doesNotMatch(text.trimEnd(), /\p{Cc}/u)
  assert.ok(text.length < 500, text)
})
