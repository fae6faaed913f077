/** Health checks: what answers add up to. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { HealthCheck, ProbeResult, Tally } from './health.ts'
import { newTally, pauseAfter, tallied, verdictOf } from './health.ts'

const CHECK: HealthCheck = {
  probe: { kind: 'tcp', port: 80 },
  intervalMs: 10_000,
  timeoutMs: 1000,
  graceMs: 5000,
  unhealthyAfter: 1,
  healthyAfter: 1,
  restartAfter: 3,
}
const PASSED: ProbeResult = { kind: 'passed' }
const FAILED: ProbeResult = { kind: 'failed', reason: 'connection refused' }

/** Answers at times after the start of the VM. */
function after(check: HealthCheck, ...answers: readonly (readonly [number, ProbeResult])[]): Tally {
  return answers.reduce((tally, [at, result]) => tallied(tally, check, result, at, check.graceMs), newTally(false))
}
const statusOf = (check: HealthCheck, tally: Tally) => verdictOf([check], [tally]).status

test('what fails in the grace does not count, and the first pass makes it healthy', () => {
  const early = after(CHECK, [100, FAILED], [4000, FAILED])
  assert.deepEqual([early.failures, statusOf(CHECK, early)], [0, 'starting'])
  assert.equal(statusOf(CHECK, after(CHECK, [100, FAILED], [1100, PASSED])), 'healthy')
})

test('after the grace failures count once an interval however often is asked, up to the end', () => {
  const late = after(CHECK, [5000, FAILED], [6000, FAILED], [7000, FAILED])
  assert.equal(late.failures, 1)
  assert.deepEqual(verdictOf([CHECK], [late]), { status: 'unhealthy', message: 'The TCP check of port 80 failed: connection refused', isGivenUp: false })
  const given = after(CHECK, [5000, FAILED], [15_000, FAILED], [25_000, FAILED])
  assert.equal(verdictOf([CHECK], [given]).isGivenUp, true)
  assert.equal(verdictOf([{ ...CHECK, restartAfter: null }], [given]).isGivenUp, false)
})

test('one pass forgets the failures; several are needed where the check says so', () => {
  assert.equal(after(CHECK, [5000, FAILED], [15_000, PASSED], [25_000, FAILED]).failures, 1)
  const slow = { ...CHECK, healthyAfter: 2, unhealthyAfter: 2 }
  assert.equal(statusOf(slow, after(slow, [10, PASSED])), 'starting')
  assert.equal(statusOf(slow, after(slow, [10, PASSED], [20, PASSED])), 'healthy')
  assert.equal(statusOf(slow, after(slow, [10, PASSED], [20, PASSED], [6000, FAILED])), 'healthy')
})

test('all checks must pass, and what can not be asked holds nothing up', () => {
  const passed = after(CHECK, [10, PASSED])
  assert.equal(verdictOf([CHECK, CHECK], [passed, newTally(false)]).status, 'starting')
  assert.equal(verdictOf([CHECK, CHECK], [passed, after(CHECK, [10, { kind: 'unknown', reason: 'no bridge' }])]).status, 'unknown')
})

test('it is asked often before the first pass, and then once an interval', () => {
  assert.equal(pauseAfter(newTally(false), CHECK), 1000)
  assert.equal(pauseAfter(newTally(true), CHECK), 10_000)
  // A timer of more would end at once.
  assert.equal(pauseAfter(newTally(true), { ...CHECK, intervalMs: 30 * 86_400_000 }), 2 ** 31 - 1)
})
