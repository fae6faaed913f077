import assert from 'node:assert/strict'
import { test } from 'node:test'
import { decideReplicas, FEWER_AFTER_MS, wantedReplicas } from './autoscale-rule.ts'
import type { Use } from './autoscale-rule.ts'

const RULE = { min: 1, max: 5, cpuPercent: null, memoryPercent: null, connections: null }
const use = (more: Partial<Use>): Use => ({ cpuPercent: 0, memoryPercent: 0, connections: 0, ...more })

test('as many are wanted as bring the average to the target, within the bounds', () => {
  const cpu = (...percents: readonly (number | null)[]) => wantedReplicas({ ...RULE, cpuPercent: 50 }, percents.map(cpuPercent => use({ cpuPercent })))
  assert.deepEqual([cpu(100), cpu(100, 100), cpu(100, 20), cpu(54), cpu(45), cpu(10, 10), cpu(0), cpu(100, 100, 100, 100)], [2, 4, 3, 1, 1, 1, 1, 5])
  assert.deepEqual([cpu(), cpu(null), cpu(100, null), wantedReplicas(RULE, [use({})])], [null, null, null, null])
})

test('the target that needs most decides, and one that can not be measured does not', () => {
  const rule = { ...RULE, cpuPercent: 50, memoryPercent: 80, connections: 10 }
  assert.equal(wantedReplicas(rule, [use({ cpuPercent: 10, memoryPercent: 20, connections: 35 })]), 4)
  assert.equal(wantedReplicas(rule, [use({ cpuPercent: null, memoryPercent: 20, connections: 25 })]), 3)
})

test('more at once, fewer only after a while, and then as many as were needed meanwhile', () => {
  assert.equal(decideReplicas(1, [{ at: 0, replicas: 3 }], 0), 3)
  const lull = [{ at: 0, replicas: 2 }, { at: 1000, replicas: 1 }]
  assert.equal(decideReplicas(3, lull, 1000), 3)
  assert.equal(decideReplicas(3, lull, FEWER_AFTER_MS), 2)
  assert.equal(decideReplicas(3, [{ at: 0, replicas: 3 }, ...lull], FEWER_AFTER_MS), 3)
  assert.equal(decideReplicas(3, [], 0), 3)
})
