import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { Demand } from './demand.ts'
import type { ImageDigest } from '../../instance/model.ts'
import type { TemplateKey } from './template.ts'

const MACHINE = { profile: 'q35-1', qemu: '7.2', accelerator: 'tcg', cpu: 'emulated' } as const
const sized = (memoryBytes: number): TemplateKey => ({ machine: MACHINE, guest: 'a', vcpus: 1, memoryBytes, network: 'tap', image: null })
const always = () => true
const FIRST = { key: sized(512), overlayBytes: 4 }

function demandAt(clock: { now: number }): Demand {
  return new Demand(FIRST, () => clock.now)
}

test('of the first size two wait before anybody asked, and of no other', () => {
  assert.deepEqual(demandAt({ now: 0 }).wants(always), [{ ...FIRST, count: 2 }])
})

test('of a size wait as many as were asked for in the busiest moment, with the disk that was asked for last', () => {
  const clock = { now: 0 }
  const demand = demandAt(clock)
  for (const at of [0, 100, 5_000, 5_100, 5_200, 60_000]) {
    clock.now = at
    demand.note(sized(256), at)
  }
  assert.deepEqual(demand.wants(always), [{ ...FIRST, count: 2 }, { key: sized(256), overlayBytes: 60_000, count: 3 }])
})

test('of an image with a template wait as many as were asked for, and one that can be any image’s beside it', () => {
  const demand = demandAt({ now: 0 })
  const own = { ...sized(512), image: { digest: 'sha256:a' as ImageDigest, root: 'file', overlayBytes: 4 } }
  demand.note(own, 4)
  assert.deepEqual(demand.wants(always), [{ ...FIRST, count: 1 }, { key: own, overlayBytes: 4, count: 1 }])
  demand.note(own, 4)
  assert.deepEqual(demand.wants(always), [{ ...FIRST, count: 1 }, { key: own, overlayBytes: 4, count: 2 }])
  // Without one all of them can be any image's, with the disk that was asked for last.
  demand.note({ ...own, image: { ...own.image, overlayBytes: 8 } }, 8)
  assert.deepEqual(demand.wants(({ image }) => image === null), [{ key: sized(512), overlayBytes: 8, count: 3 }])
})

test('what was asked for long ago is forgotten', () => {
  const clock = { now: 0 }
  const demand = demandAt(clock)
  demand.note(sized(256), 4)
  clock.now = 11 * 60_000
  assert.equal(demand.wants(always).find(({ key }) => key.memoryBytes === 256)?.count, 0)
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
      const wants = demand.wants(always)
      assert.ok(wants.length <= 17)
      assert.ok(wants.every(({ count }) => count >= 0 && count <= 8))
      const last = launches.at(-1)
      if (last !== undefined) assert.ok((wants.find(({ key }) => key.memoryBytes === last.memory)?.count ?? 0) >= 1)
    }),
  )
})
