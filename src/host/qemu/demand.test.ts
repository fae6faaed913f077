import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Demand } from './demand.ts'
import type { TemplateKey } from './template.ts'

const MACHINE = { profile: 'q35-1', qemu: '7.2', accelerator: 'tcg', cpu: 'emulated' } as const
const sized = (memoryBytes: number): TemplateKey => ({ machine: MACHINE, guest: 'a', vcpus: 1, memoryBytes, network: 'tap' })
const FIRST = { key: sized(512), overlayBytes: 4 }

function demandAt(clock: { now: number }): Demand {
  return new Demand(FIRST, () => clock.now)
}

test('of the first size two wait before anybody asked, and of no other', () => {
  assert.deepEqual(demandAt({ now: 0 }).wants(), [{ ...FIRST, count: 2 }])
})

test('of a size wait as many as were asked for in the busiest moment, with the disk that was asked for last', () => {
  const clock = { now: 0 }
  const demand = demandAt(clock)
  for (const at of [0, 100, 5_000, 5_100, 5_200, 60_000]) {
    clock.now = at
    demand.note(sized(256), at)
  }
  assert.deepEqual(demand.wants(), [{ ...FIRST, count: 2 }, { key: sized(256), overlayBytes: 60_000, count: 3 }])
})

test('what was asked for long ago is forgotten', () => {
  const clock = { now: 0 }
  const demand = demandAt(clock)
  demand.note(sized(256), 4)
  clock.now = 11 * 60_000
  assert.equal(demand.wants().find(({ key }) => key.memoryBytes === 256)?.count, 0)
})

test('however wild the launches are, few sizes are remembered and few VMs of each are wanted', () => {
  fc.assert(
    fc.property(fc.array(fc.record({ memory: fc.integer({ min: 1, max: 40 }), pauseMs: fc.integer({ min: 0, max: 5_000 }) }), { maxLength: 400 }), (launches) => {
      const clock = { now: 0 }
      const demand = demandAt(clock)
      for (const { memory, pauseMs } of launches) {
        clock.now += pauseMs
        demand.note(sized(memory), 4)
      }
      const wants = demand.wants()
      assert.ok(wants.length <= 9)
      assert.ok(wants.every(({ count }) => count >= 0 && count <= 8))
      const last = launches.at(-1)
      if (last !== undefined) assert.ok((wants.find(({ key }) => key.memoryBytes === last.memory)?.count ?? 0) >= 1)
    }),
  )
})
