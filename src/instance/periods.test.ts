import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import { MICROS_PER_CENT } from './catalogue.ts'
import type { InstanceType } from './catalogue.ts'
import type { PricePeriod } from './market.ts'
import { centsOf } from './market.ts'
import type { InstanceId, ProjectId } from './model.ts'
import { billOf, costOf, costOfPeriod, HOUR_MS, lengthOfPeriod, openKind, typeOfSize } from './periods.ts'
import { PHASES } from './phase.ts'

const INSTANCE = '2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11' as InstanceId

function period(change: Partial<PricePeriod> = {}): PricePeriod {
  return { id: 'p', instanceId: INSTANCE, projectId: 'p' as ProjectId, orderId: null, kind: 'spot', type: 'small', region: 'home', priceMicros: 3_600_000, startAt: 1000, endAt: null, ...change }
}

describe('the cost of a period', () => {
  test('is the price for an hour of it, to the micro-dollar, half a one up', () => {
    for (const [price, ms, cost] of [
      [7_200_000, HOUR_MS, 7_200_000],
      [10_000, 1, 0],
      [1_800_000, 1, 1],
      [1_799_999, 1, 0],
      [25_600_000, 1_234_567, 8_779_143],
      [10_000, 0, 0],
    ] as const) {
      assert.equal(costOf(price, ms), cost, `${price} for ${ms} ms`)
    }
  })

  test('is exact where doubles are not: a year of the dearest type', () => {
    assert.equal(costOf(999_999_999_999, 365 * 24 * HOUR_MS), 999_999_999_999 * 365 * 24)
  })

  test('goes on while it lasts, and is cut to the span that is asked for', () => {
    assert.equal(costOfPeriod(period(), 11_000), 10_000)
    assert.equal(costOfPeriod(period({ endAt: 5000 }), 11_000), 4000)
    assert.equal(costOfPeriod(period(), 11_000, { from: 2000, until: 4000 }), 2000)
    assert.equal(costOfPeriod(period({ endAt: 5000 }), 11_000, { from: 6000, until: 9000 }), 0)
  })

  test('a reserved one costs only what has passed, while its end is known', () => {
    assert.equal(costOfPeriod(period({ kind: 'reserved', endAt: 100_000 }), 11_000), 10_000)
    assert.equal(costOfPeriod(period({ kind: 'reserved', endAt: 100_000 }), 500), 0)
  })

  test('a pause brings something back once it has lasted an hour, and then from its first moment', () => {
    const pause = period({ kind: 'pause-credit', startAt: 0 })
    assert.equal(costOfPeriod(pause, HOUR_MS - 1), 0)
    assert.equal(costOfPeriod(pause, HOUR_MS), 3_600_000)
    assert.equal(costOfPeriod({ ...pause, endAt: HOUR_MS - 1 }, 10 * HOUR_MS), 0)
  })

  test('what is given back is credited at once, to the end of the reservation', () => {
    assert.equal(costOfPeriod(period({ kind: 'return-credit', startAt: 0, endAt: 2 * HOUR_MS }), 1), 7_200_000)
  })
})

describe('what is paid', () => {
  test('an instance costs only where its guest serves', () => {
    const paid = PHASES.filter(phase => openKind(null, phase) !== null)
    assert.deepEqual(paid, ['running', 'unhealthy', 'preempting'])
    assert.deepEqual(PHASES.filter(phase => openKind('bid', phase) === 'spot'), paid)
  })

  test('a reservation brings credit while its instance rests', () => {
    assert.deepEqual(PHASES.filter(phase => openKind('reservation', phase) !== null), ['stopped', 'standby'])
  })

  test('a size is priced as the type that is so, or the cheapest that covers it', () => {
    const type = (id: string, vcpus: number, memoryBytes: number, priceMicrosPerHour: number, gpu: InstanceType['gpu'] = null): InstanceType => ({
      id, description: id, vcpus, cpuShares: vcpus, memoryBytes, diskBytes: 1, gpu, priceMicrosPerHour, names: {},
    })
    const types = [type('gpu', 1, 512, 1, { model: 'x', count: 1, memoryBytes: 1 }), type('large', 4, 4096, 40), type('small', 1, 512, 10), type('medium', 2, 2048, 20)]
    const of = (vcpus: number, memoryBytes: number, hotplugBytes = 0) => typeOfSize(types, { vcpus, memoryBytes, hotplugBytes })?.id ?? null
    assert.deepEqual([of(1, 512), of(1, 600), of(2, 512), of(1, 256, 256), of(3, 100), of(5, 1)], ['small', 'medium', 'medium', 'small', 'large', null])
  })
})

const cuts = fc.uniqueArray(fc.integer({ min: 0, max: 50 * HOUR_MS }), { minLength: 2, maxLength: 12 }).map(all => all.toSorted((a, b) => a - b))

/** A life cut into contiguous periods, each with its own price. */
const life = fc.tuple(cuts, fc.array(fc.integer({ min: 1, max: 3000 }), { minLength: 12, maxLength: 12 })).map(([times, prices]) =>
  times.slice(1).map((endAt, index) => period({ startAt: times[index] ?? 0, endAt, priceMicros: (prices[index] ?? 1) * MICROS_PER_CENT })),
)

describe('sums', () => {
  test('revenue is the sum of the periods, and off the exact product by at most half a micro-dollar each', () => {
    fc.assert(
      fc.property(life, periods => {
        const now = 60 * HOUR_MS
        const bill = billOf(INSTANCE, periods, now)
        assert.equal(bill.costMicros, bill.periods.reduce((sum, one) => sum + one.costMicros, 0))
        assert.equal(bill.paidMs, periods.reduce((sum, one) => sum + lengthOfPeriod(one, now), 0))
        const exact = periods.reduce((sum, one) => sum + BigInt(one.priceMicros) * BigInt((one.endAt ?? 0) - one.startAt), 0n)
        const off = BigInt(bill.costMicros) * BigInt(HOUR_MS) - exact
        assert.ok((off < 0n ? -off : off) * 2n <= BigInt(periods.length) * BigInt(HOUR_MS))
      }),
    )
  })

  test('usage of adjoining spans is the usage of both, but for half a micro-dollar a period', () => {
    fc.assert(
      fc.property(life, fc.integer({ min: 0, max: 50 * HOUR_MS }), (periods, cut) => {
        const now = 60 * HOUR_MS
        const cost = (from: number, until: number) => billOf(INSTANCE, periods, now, { from, until }).costMicros
        assert.ok(Math.abs(cost(0, cut) + cost(cut, now) - cost(0, now)) <= 1)
      }),
    )
  })

  test('credits are told apart from costs', () => {
    const periods = [period({ kind: 'reserved', startAt: 0, endAt: 2 * HOUR_MS }), period({ kind: 'pause-credit', startAt: 0, endAt: HOUR_MS, priceMicros: 1_800_000 })]
    const { costMicros, creditMicros, netMicros, paidMs } = billOf(INSTANCE, periods, 3 * HOUR_MS)
    assert.deepEqual({ costMicros, creditMicros, netMicros, paidMs }, { costMicros: 7_200_000, creditMicros: 1_800_000, netMicros: 5_400_000, paidMs: 2 * HOUR_MS })
  })

  test('cents are made from micro-dollars half a cent up', () => {
    assert.deepEqual([0, 4999, 5000, 14_999, 15_000].map(centsOf), [0, 0, 1, 1, 2])
  })
})
