/** A market over a simulated machine of a few slots and a clock that the test moves. */
import assert from 'node:assert/strict'
import type { Market, PlaceBid } from '../src/engine/market/api.ts'
import { bySlot } from '../src/engine/market/books.ts'
import type { Catalogue, InstanceType } from '../src/instance/catalogue.ts'
import type { Bid, OrderId, PricePeriod } from '../src/instance/market.ts'
import { ORDER } from '../src/instance/market.ts'
import type { Instance } from '../src/instance/model.ts'
import type { Phase } from '../src/instance/phase.ts'
import type { Store } from '../src/engine/store-port.ts'
import type { Fixture, FixtureOptions } from './engine-fixture.ts'
import { BUSYBOX, engineFixture, eventually } from './engine-fixture.ts'

export const CENT = 10_000
export const DOLLAR = 1_000_000
export const MINUTE = 60_000
export const HOUR = 3_600_000
const GIB = 2 ** 30

const type = (id: string, gib: number, dollars: number): InstanceType => ({
  id,
  description: id,
  vcpus: 1,
  cpuShares: 1,
  memoryBytes: gib * GIB,
  diskBytes: GIB,
  gpu: null,
  priceMicrosPerHour: dollars * DOLLAR,
  names: {},
})

/** `one` takes a slot of one GiB, `two` of two; the floor is a quarter of the price. */
export const CATALOGUE: Catalogue = {
  regions: [{ id: 'home', description: 'home', names: {}, simulated: null }],
  types: [type('one', 1, 4), type('two', 2, 8)],
}

/** A clock that stands until it is moved, so that every price is exact. */
export class Clock {
  #at = 1_800_000_000_000

  readonly now = (): number => this.#at

  advance(ms: number): void {
    this.#at += ms
  }
}

export interface MarketFixture extends Fixture {
  readonly clock: Clock
  readonly market: Market
  /** Moves the clock and lets everybody look. */
  advance(ms: number): Promise<void>
  bid(limitDollars: number, change?: Partial<PlaceBid>): Promise<Bid>
  instancesOf(id: OrderId): Promise<readonly Instance[]>
  /** All instances of the order are in this phase, and there are so many. */
  reach(id: OrderId, phase: Phase, count?: number): Promise<readonly Instance[]>
  status(bid: Pick<Bid, 'id'>): Promise<Bid['status']>
}

export const LAUNCH = { template: { image: BUSYBOX } } as const

export async function marketFixture(slots: number, options: FixtureOptions = {}): Promise<MarketFixture> {
  const clock = new Clock()
  const fixture = await engineFixture({
    now: clock.now,
    catalogue: CATALOGUE,
    ...options,
    host: { cpus: 64, memoryBytes: slots * GIB, diskBytes: 200 * GIB, ...options.host },
  })
  const made = {
    clock,
    get market() {
      return fixture.engine.market
    },
    async advance(ms: number) {
      clock.advance(ms)
      await fixture.engine.sync()
    },
    async bid(limitDollars: number, change: Partial<PlaceBid> = {}) {
      return fixture.engine.market.placeBid(fixture.caller, { name: 'train', type: 'one', region: 'home', quantity: 1, limitMicros: Math.round(limitDollars * 100) * CENT, launch: LAUNCH, ...change })
    },
    // The clock stands, so they are told apart by their slots, not by their age.
    instancesOf: async (id: OrderId) => bySlot(await fixture.engine.instances.list(fixture.caller, { annotations: { [ORDER.id]: id } })),
    async reach(id: OrderId, phase: Phase, count = 1) {
      let last: readonly Instance[] = []
      await eventually(
        async () => {
          last = await made.instancesOf(id)
          return last.length === count && last.every(instance => instance.phase === phase)
        },
        `${count} of the order are ${phase}`,
      ).catch((error: unknown) => assert.fail(`${String(error)}; they are ${last.map(one => `${one.phase} (${one.reason ?? ''})`).join(', ') || 'none'}`))
      return last
    },
    async status({ id }: Pick<Bid, 'id'>) {
      return (await fixture.engine.market.bid(fixture.caller, id)).status
    },
  }
  return Object.defineProperties(made, Object.getOwnPropertyDescriptors(fixture)) as unknown as MarketFixture
}

/** What must hold of every market at any time: prices, capacity, periods. */
export async function assertMarketSound(store: Store): Promise<void> {
  const bids = await store.read.orders('bid', { projectId: null })
  const periods = await store.read.periods({ projectId: null })
  const byInstance = Map.groupBy(periods.filter(period => period.kind !== 'pause-credit' && period.kind !== 'return-credit'), period => period.instanceId)
  for (const [id, all] of byInstance) {
    assertNoOverlap(id, all)
    const instance = await store.read.instance(id)
    assert.ok(instance !== null)
    const open = all.filter(period => period.endAt === null)
    assert.ok(open.length <= 1, `${id} has ${open.length} prices at once`)
  }
  for (const period of periods.filter(one => one.kind === 'spot')) {
    const events = await store.read.orderEvents(period.orderId as OrderId)
    const limits = events.flatMap(event => (typeof event.details['limitMicros'] === 'number' ? [event.details['limitMicros']] : []))
    assert.ok(period.priceMicros <= Math.max(...limits), 'a bid pays more than it ever offered')
  }
  const serving = await store.read.instances({ projectId: null, phases: ['running', 'unhealthy', 'preempting'] })
  const open = periods.filter(period => period.endAt === null && (period.kind === 'spot' || period.kind === 'on-demand' || period.kind === 'reserved'))
  for (const instance of serving) assert.ok(open.some(period => period.instanceId === instance.id), `${instance.id} runs for nothing`)
  const points = await store.read.marketNow({})
  for (const point of points) {
    const has = bids.filter(bid => bid.type === point.type && bid.region === point.region && (bid.status === 'allocated' || bid.status === 'preempting'))
    assert.equal(point.allocated, has.reduce((sum, bid) => sum + bid.quantity, 0), 'the last point tells what bids have')
    const spot = open.filter(period => period.kind === 'spot' && period.type === point.type && period.region === point.region)
    for (const period of spot) assert.equal(period.priceMicros, point.spotMicros, 'everybody pays the clearing price')
  }
}

function assertNoOverlap(id: string, periods: readonly PricePeriod[]): void {
  const sorted = periods.toSorted((a, b) => a.startAt - b.startAt)
  for (const [index, period] of sorted.entries()) {
    const next = sorted[index + 1]
    if (next !== undefined) assert.ok(period.endAt !== null && period.endAt <= next.startAt, `${id} is priced twice at once`)
  }
}
