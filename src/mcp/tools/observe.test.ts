import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { VmStats } from '../../engine/host-port.ts'
import { windowStart } from './observe.ts'

const sample = (seconds: number, cpuSeconds = seconds): VmStats => ({
  at: seconds * 1000,
  cpuSeconds,
  memoryRssBytes: 1,
  memoryVirtualBytes: 1,
  networkRxBytes: 0,
  networkTxBytes: 0,
  diskReadBytes: 0,
  diskWriteBytes: 0,
  guest: null,
})
const now = sample(300)

for (const [what, samples, windowMs, start] of [
  ['begins at the oldest sample that is in it', [sample(0), sample(30), sample(240), sample(270)], 60_000, 240],
  ['reaches as far back as there are samples', [sample(200), sample(270)], 3_600_000, 200],
  ['does not reach past a start of the machine', [sample(210, 900), sample(240, 1), sample(270, 2)], 3_600_000, 240],
  ['needs a sample', [], 60_000, null],
  ['needs one that is old enough', [sample(299)], 60_000, null],
  ['needs one that is young enough', [sample(100)], 60_000, null],
] as const) {
  test(`a window ${what}`, () => assert.equal(windowStart(samples, now, windowMs)?.at ?? null, start === null ? null : start * 1000))
}
