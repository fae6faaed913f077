import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import type { Hold } from './room.ts'
import { fits, heldAt, minus, peakHeld, plus, slotsIn, times } from './room.ts'

const size = (vcpus: number, memoryBytes = vcpus, diskBytes = vcpus) => ({ vcpus, memoryBytes, diskBytes })
const someSize = fc.record({ vcpus: fc.integer({ min: 1, max: 8 }), memoryBytes: fc.integer({ min: 1, max: 64 }), diskBytes: fc.integer({ min: 1, max: 64 }) })
const someHold = fc.record({ size: someSize, startAt: fc.integer({ min: 0, max: 50 }), length: fc.integer({ min: 1, max: 30 }) }).map(
  ({ size: held, startAt, length }): Hold => ({ size: held, startAt, endAt: startAt + length }),
)

test('as many slots fit as can be taken out one after another', () => {
  fc.assert(
    fc.property(someSize, someSize, (room, one) => {
      const count = slotsIn(times(room, 5), one)
      assert.ok(fits(times(room, 5), times(one, count)))
      assert.ok(!fits(times(room, 5), times(one, count + 1)))
    }),
  )
  assert.equal(slotsIn(minus(size(1), size(2)), size(1)), 0, 'a host that promised too much has room for none')
})

test('a hold counts from its first moment to before its last', () => {
  const holds = [{ size: size(2), startAt: 10, endAt: 20 }]
  assert.deepEqual([9, 10, 19, 20].map(at => heldAt(holds, at).vcpus), [0, 2, 2, 0])
})

test('holds that follow each other never add up, those that overlap do', () => {
  const holds = [{ size: size(2), startAt: 0, endAt: 10 }, { size: size(3), startAt: 10, endAt: 20 }, { size: size(1), startAt: 15, endAt: 30 }]
  assert.equal(peakHeld(holds, 0, 100).vcpus, 4)
  assert.equal(peakHeld(holds, 0, 12).vcpus, 3)
  assert.equal(peakHeld(holds, 40, 50).vcpus, 0)
})

test('the peak of a span is what is held at one of its moments, and never less than at any', () => {
  fc.assert(
    fc.property(fc.array(someHold, { maxLength: 8 }), fc.integer({ min: 0, max: 40 }), fc.integer({ min: 1, max: 40 }), (holds, from, length) => {
      const peak = peakHeld(holds, from, from + length)
      const all = Array.from({ length }, (_, index) => heldAt(holds, from + index))
      assert.equal(peak.vcpus, Math.max(...all.map(held => held.vcpus)))
      assert.equal(peak.memoryBytes, Math.max(...all.map(held => held.memoryBytes)))
    }),
  )
  assert.deepEqual(plus(size(1), size(2)), size(3))
})
