/** What every Store must do about the market: the part of the suite of contract.ts that is about orders and prices. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import type { Store } from '../engine/store-port.ts'
import type { Bid, MarketPoint, OrderEvent, PricePeriod, Reservation } from '../instance/market.ts'
import { ORDER } from '../instance/market.ts'
import type { StoreUnderTest } from './contract-fixture.ts'
import { anId, anInstance } from './contract-fixture.ts'

const SIZE = { vcpus: 1, memoryBytes: 2 ** 30, diskBytes: 2 ** 33 }
const LAUNCH = { template: { image: 'alpine', env: { A: 'b "c"' } }, memoryBytes: null, annotations: { key: 'ü' }, details: { keys: ['one'] } }

export function aBid(change: Partial<Bid> = {}): Bid {
  return {
    kind: 'bid',
    id: anId('bid'),
    projectId: anId('project'),
    name: 'train',
    type: 'small',
    region: 'home',
    quantity: 2,
    size: SIZE,
    launch: LAUNCH,
    origin: 'mithril',
    status: 'open',
    limitMicros: 25_600_000,
    allocatedAt: null,
    preemptAt: 1_800_000_000_000.5,
    message: null,
    createdAt: 1000.25,
    updatedAt: 1000.25,
    deactivatedAt: null,
    ...change,
  }
}

export function aMarketReservation(change: Partial<Reservation> = {}): Reservation {
  const { kind: _kind, limitMicros: _limit, allocatedAt: _allocated, preemptAt: _preempt, ...base } = aBid()
  return {
    ...base,
    kind: 'reservation',
    id: anId('reservation'),
    status: 'pending',
    startAt: 5000,
    endAt: 9000,
    unitMicros: 10_000,
    pauseBuybackMicros: 5000,
    returnBuybackMicros: 2500,
    slots: [{ slot: 0, hostId: 'host-1' }],
    ...change,
  }
}

export function aPeriod(change: Partial<PricePeriod> = {}): PricePeriod {
  return {
    id: crypto.randomUUID(),
    instanceId: anId('instance'),
    projectId: anId('project'),
    orderId: null,
    kind: 'on-demand',
    type: 'small',
    region: 'home',
    priceMicros: 10_000,
    startAt: 1000,
    endAt: null,
    ...change,
  }
}

export function describeMarketStore(name: string, make: () => Promise<StoreUnderTest>): void {
  describe(`the market in a store ${name}`, () => {
    let under: StoreUnderTest
    let store: Store
    beforeEach(async () => {
      under = await make()
      store = under.store
    })
    afterEach(() => under.dispose())

    test('an order comes back as it was written, also after a reopen, and only as its own kind', async () => {
      const bid = aBid()
      const reservation = aMarketReservation({ message: 'It waits.' })
      await store.transaction(async tx => {
        await tx.putOrder('bid', bid)
        await tx.putOrder('reservation', reservation)
      })
      const again = await under.reopen()
      assert.deepEqual(await again.read.order('bid', bid.id), bid)
      assert.deepEqual(await again.read.order('reservation', reservation.id), reservation)
      assert.equal(await again.read.order('reservation', bid.id), null)
      const changed = { ...bid, status: 'allocated', limitMicros: 1 } as const
      await again.transaction(tx => tx.putOrder('bid', changed))
      assert.deepEqual(await again.read.orders('bid', { projectId: null }), [changed])
    })

    test('orders are found by project, name, market, status and life, newest first', async () => {
      const projectId = anId('project')
      const first = aBid({ projectId, createdAt: 1 })
      const second = aBid({ projectId, createdAt: 2, name: 'other', region: 'away', status: 'allocated' })
      const over = aBid({ projectId, createdAt: 3, status: 'terminated', deactivatedAt: 4 })
      await store.transaction(async tx => {
        for (const bid of [first, second, over, aBid()]) await tx.putOrder('bid', bid)
      })
      const ids = async (query: Omit<Parameters<typeof store.read.orders>[1], 'projectId'>) => (await store.read.orders('bid', { projectId, ...query })).map(bid => bid.id)
      assert.deepEqual(await ids({}), [over.id, second.id, first.id])
      assert.deepEqual(await ids({ liveOnly: true, order: 'oldest-first' }), [first.id, second.id])
      assert.deepEqual(await ids({ name: 'train' }), [over.id, first.id])
      assert.deepEqual(await ids({ region: 'away', type: 'small' }), [second.id])
      assert.deepEqual(await ids({ statuses: ['open', 'terminated'] }), [over.id, first.id])
      assert.deepEqual(await ids({ limit: 1, offset: 1 }), [second.id])
      assert.equal(await store.read.countOrders('bid', { projectId, liveOnly: true }), 2)
      assert.equal(await store.read.countOrders('bid', { projectId: null }), 4)
      assert.equal(await store.read.countOrders('reservation', { projectId: null }), 0)
    })

    test('the story of an order is told in the order in which it was written', async () => {
      const bid = aBid()
      const line = (type: OrderEvent['type'], details: OrderEvent['details'] = {}) => ({ orderId: bid.id, projectId: bid.projectId, at: 7.5, type, details })
      await store.transaction(async tx => {
        await tx.appendOrderEvent(line('placed', { limitMicros: 5 }))
        await tx.appendOrderEvent({ ...line('placed'), orderId: anId('bid') })
        await tx.appendOrderEvent(line('allocated', { reason: 'it won "it"', nothing: null }))
      })
      const events = await store.read.orderEvents(bid.id)
      assert.deepEqual(events.map(({ seq: _seq, ...event }) => event), [line('placed', { limitMicros: 5 }), line('allocated', { reason: 'it won "it"', nothing: null })])
    })

    test('a market is at its newest point, and a span begins with what held before it', async () => {
      const point = (at: number, change: Partial<MarketPoint> = {}): MarketPoint => ({ type: 'small', region: 'home', at, spotMicros: at * 10, capacity: 4, allocated: 1, ...change })
      const other = point(2, { type: 'large' })
      await store.transaction(async tx => {
        for (const one of [point(1), other, point(3), point(5), point(9)]) await tx.putMarketPoint(one)
      })
      assert.deepEqual(await store.read.marketNow({}), [other, point(9)])
      assert.deepEqual(await store.read.marketNow({ type: 'small', region: 'home' }), [point(9)])
      assert.deepEqual(await store.read.marketNow({ region: 'away' }), [])
      assert.deepEqual(await store.read.marketPoints({ from: 4, until: 9 }), [other, point(3), point(5)])
      assert.deepEqual(await store.read.marketPoints({ type: 'small', from: 3, until: 100 }), [point(3), point(5), point(9)])
      assert.deepEqual(await store.read.marketPoints({ from: 0, until: 1 }), [])
    })

    test('periods are found by instance, order, kind, market and span; one without a length is not kept', async () => {
      const projectId = anId('project')
      const orderId = anId('bid')
      const past = aPeriod({ projectId, startAt: 1000, endAt: 2000 })
      const open = aPeriod({ projectId, instanceId: past.instanceId, orderId, kind: 'spot', startAt: 2000, region: 'away' })
      const foreign = aPeriod({ startAt: 1500 })
      await store.transaction(async tx => {
        for (const one of [open, past, foreign]) await tx.putPeriod(one)
      })
      const find = (query: Omit<Parameters<typeof store.read.periods>[0], 'projectId'>) => store.read.periods({ projectId, ...query })
      assert.deepEqual(await find({}), [past, open])
      assert.deepEqual(await find({ instanceIds: [past.instanceId], openOnly: true }), [open])
      assert.deepEqual(await find({ orderId }), [open])
      assert.deepEqual(await find({ kinds: ['on-demand'] }), [past])
      assert.deepEqual(await find({ type: 'small', region: 'away' }), [open])
      assert.deepEqual(await find({ from: 2000, until: 2001 }), [open])
      assert.deepEqual(await find({ from: 1999, until: 2000 }), [past])
      assert.deepEqual(await find({ limit: 1, offset: 1 }), [open])
      assert.deepEqual(await store.read.periods({ projectId: null, openOnly: true }), [foreign, open])
      await store.transaction(tx => tx.putPeriod({ ...open, endAt: 2000 }))
      assert.deepEqual(await find({}), [past])
    })

    test('instances of an order are found by its annotation', async () => {
      const orderId = anId('bid')
      const mine = anInstance({ annotations: { [ORDER.id]: orderId, [ORDER.slot]: '0' } })
      await store.transaction(async tx => {
        await tx.insertInstance(mine)
        await tx.insertInstance(anInstance({ projectId: mine.projectId }))
      })
      assert.deepEqual(await store.read.instances({ projectId: mine.projectId, annotations: { [ORDER.id]: orderId } }), [mine])
    })
  })
}
