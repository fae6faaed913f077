import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { decideRestart, describeExit, endedBySignal, exitedWith, signalName, signalNumber } from './exit.ts'
import type { RestartPolicy } from './model.ts'

const POLICY = { kind: 'on-failure', backoffMs: 5000, maxAttempts: 3, stableAfterMs: 600_000 } as const satisfies RestartPolicy

test('an exit reads as a sentence', () => {
  assert.equal(describeExit(exitedWith(3)), 'exited with code 3')
  assert.equal(describeExit(exitedWith(127, 'command not found')), 'exited with code 127: command not found')
  assert.equal(describeExit(endedBySignal(9, 'out of memory')), 'ended by SIGKILL (137): out of memory')
  assert.equal(describeExit(endedBySignal(40)), 'ended by signal 40 (168)')
})

test('signals are known by name and number', () => {
  for (const text of ['SIGTERM', 'term', 'Term', '15']) assert.equal(signalNumber(text), 15)
  for (const text of ['', '0', '65', 'SIG', 'SIGNOPE', '-9', '9x']) assert.equal(signalNumber(text), null)
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 31 }), (signal) => {
      const name = signalName(signal)
      if (name.startsWith('SIG')) assert.equal(signalNumber(name), signal)
      assert.deepEqual([endedBySignal(signal).code, endedBySignal(signal).signal], [128 + signal, signal])
    }),
  )
})

test('who never restarts stays, and a clean exit stays under on-failure', () => {
  const ended = { exit: exitedWith(1), attempts: 0, ranForMs: 1 }
  assert.deepEqual(decideRestart({ kind: 'never' }, ended), { kind: 'stay' })
  assert.deepEqual(decideRestart(POLICY, { ...ended, exit: exitedWith(0) }), { kind: 'stay' })
  assert.equal(decideRestart({ ...POLICY, kind: 'always' }, { ...ended, exit: exitedWith(0) }).kind, 'restart')
})

test('attempts count up to the limit, and from 0 again after a stable run', () => {
  const exit = exitedWith(1)
  assert.deepEqual(decideRestart(POLICY, { exit, attempts: 0, ranForMs: 1 }), { kind: 'restart', afterMs: 5000, attempts: 1 })
  assert.deepEqual(decideRestart(POLICY, { exit, attempts: 2, ranForMs: 1 }), { kind: 'restart', afterMs: 5000, attempts: 3 })
  assert.deepEqual(decideRestart(POLICY, { exit, attempts: 3, ranForMs: 1 }), { kind: 'blocked', reason: 'max_attempts_exceeded' })
  assert.deepEqual(decideRestart(POLICY, { exit, attempts: 3, ranForMs: 600_000 }), { kind: 'restart', afterMs: 5000, attempts: 1 })
  assert.equal(decideRestart({ ...POLICY, maxAttempts: 0 }, { exit, attempts: 10_000, ranForMs: 1 }).kind, 'restart')
})

test('an application that keeps failing at once is restarted exactly maxAttempts times', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 50 }), (maxAttempts) => {
      let attempts = 0
      for (let restarts = 0; ; restarts++) {
        const decision = decideRestart({ ...POLICY, maxAttempts }, { exit: endedBySignal(11), attempts, ranForMs: 10 })
        if (decision.kind !== 'restart') {
          assert.equal(decision.kind, 'blocked')
          assert.equal(restarts, maxAttempts)
          return
        }
        attempts = decision.attempts
      }
    }),
  )
})
