/** The market of the engine: bids that compete for a machine's real room, their instances, and what they pay, to the cent. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { BerthError } from '../src/instance/errors.ts'
import type { ErrorCode } from '../src/instance/errors.ts'
import { centsOf, preemptAtOf } from '../src/instance/market.ts'
import type { BidId } from '../src/instance/model.ts'
import { assertNothingLeaked, eventually, settle } from './engine-fixture.ts'
import { assertMarketSound, CENT, DOLLAR, HOUR, LAUNCH, marketFixture, MINUTE } from './market-fixture.ts'
import type { MarketFixture } from './market-fixture.ts'

async function refused(code: ErrorCode, work: Promise<unknown>): Promise<BerthError> {
  const error: unknown = await work.then(() => assert.fail(`expected ${code}`), (reason: unknown) => reason)
  assert.ok(error instanceof BerthError, String(error))
  assert.equal(error.code, code, error.message)
  return error
}

describe('a market of two slots', () => {
  let f: MarketFixture
  beforeEach(async () => {
    f = await marketFixture(2)
  })
  afterEach(async () => {
    await f.engine.instances.list(f.caller)
    await assertMarketSound(f.store)
    await f.close()
  })

  test('a bid gets its instances at the floor while there is room', async () => {
    const bid = await f.bid(3, { quantity: 2, name: 'Train A' })
    assert.equal(bid.status, 'allocated')
    const instances = await f.reach(bid.id, 'running', 2)
    assert.deepEqual(instances.map(one => one.spec.name), ['train-a-1', 'train-a-2'])
    assert.deepEqual(instances.map(one => [one.spec.vcpus, one.spec.memoryBytes]), [[1, 2 ** 30], [1, 2 ** 30]])
    const [supply] = await f.market.supply(f.caller, { type: 'one' })
    assert.deepEqual(
      { capacity: supply?.capacity, available: supply?.available, allocated: supply?.allocated, spot: supply?.spotMicros, lowest: supply?.lowestAllocatedMicros },
      { capacity: 2, available: 0, allocated: 2, spot: DOLLAR, lowest: 3 * DOLLAR },
    )
    const view = await f.market.bid(f.caller, bid.id as BidId)
    assert.deepEqual(view.instanceIds, instances.map(one => one.id))
  })

  test('an order names only secrets that are there, and they stay as long as it lives', async () => {
    const launch = { template: { ...LAUNCH.template, secrets: ['TOKEN'] } }
    const reserve = () => f.market.reserve(f.caller, { name: 'later', type: 'one', region: 'home', quantity: 1, startAt: f.clock.now() + HOUR, endAt: f.clock.now() + 24 * HOUR, launch })
    await refused('invalid_request', f.bid(3, { launch }))
    await refused('invalid_request', reserve())
    await f.engine.secrets.set(f.caller, 'TOKEN', 'x')
    const reservation = await reserve()
    assert.match((await refused('volume_in_use', f.engine.secrets.delete(f.caller, 'TOKEN'))).message, /reservation later/)
    await f.market.cancelReservation(f.caller, reservation.id)
    await f.engine.secrets.delete(f.caller, 'TOKEN')
  })

  test('the higher of two bids for the last slot wins, after the lower one had its notice; each pays what the other offers, to the cent', async () => {
    const other = await f.bid(9)
    await f.reach(other.id, 'running')
    const low = await f.bid(2)
    await f.reach(low.id, 'running')
    await f.advance(30 * MINUTE)
    const high = await f.bid(5)
    assert.equal(high.status, 'open')
    assert.match(high.message ?? '', /won/)
    assert.equal(await f.status(low), 'preempting')
    const [told] = await f.reach(low.id, 'preempting')
    assert.equal(told === undefined ? null : preemptAtOf(told), f.clock.now() + 5 * MINUTE)
    await f.advance(4 * MINUTE)
    assert.equal(await f.status(low), 'preempting')
    await f.reach(low.id, 'preempting')
    await f.advance(MINUTE)
    await f.reach(low.id, 'preempted')
    await f.reach(high.id, 'running')
    await f.advance(HOUR)

    assert.equal(await f.status(low), 'open')
    assert.match((await f.market.bid(f.caller, low.id as BidId)).message ?? '', /outbid: the price is \$2\.00/)
    const periods = await f.market.periods(f.caller, { orderId: low.id })
    assert.deepEqual(
      periods.map(({ kind, priceMicros, startAt, endAt }) => [kind, priceMicros, (endAt ?? 0) - startAt]),
      [['spot', DOLLAR, 30 * MINUTE], ['spot', 2 * DOLLAR, 5 * MINUTE]],
    )
    assert.equal(periods[0]?.endAt, periods[1]?.startAt, 'prices follow each other without a gap')
    const usage = await f.market.usage(f.caller, { orderId: low.id })
    assert.equal(centsOf(usage.netMicros), 50 + 17)
    assert.equal(usage.netMicros, 500_000 + 166_667)
    const all = await f.market.usage(f.caller)
    // other: half an hour at 1 $, 65 minutes at 2 $; high: an hour at 2 $.
    assert.equal(all.netMicros, usage.netMicros + 500_000 + 2_166_667 + 2_000_000)
    assert.equal(all.netMicros, (await f.market.periods(f.caller)).reduce((sum, period) => sum + period.costMicros, 0))
    const [series] = await f.market.priceHistory(f.caller, { type: 'one', from: f.clock.now() - 2 * HOUR, until: f.clock.now() + 1 })
    assert.deepEqual([...new Set(series?.points.map(point => point.spotMicros))], [DOLLAR, 2 * DOLLAR])
    const story = await f.market.orderEvents(f.caller, low.id)
    assert.deepEqual(story.map(event => event.type), ['placed', 'allocated', 'preempting', 'preempted'])
    assert.equal(story[0]?.details['limitMicros'], 2 * DOLLAR)
    await assertNothingLeaked(f)
  })

  test('a notice is withdrawn when the bid wins again, and nothing of its instance has changed', async () => {
    await f.bid(9)
    const low = await f.bid(2)
    const [before] = await f.reach(low.id, 'running')
    const high = await f.bid(5)
    await f.reach(low.id, 'preempting')
    await f.advance(4 * MINUTE)
    await f.market.updateBid(f.caller, low.id as BidId, { limitMicros: 6 * DOLLAR })
    assert.equal(await f.status(low), 'allocated')
    const [after] = await f.reach(low.id, 'running')
    assert.deepEqual([after?.id, after?.generation, after?.startedAt], [before?.id, before?.generation, before?.startedAt])
    assert.equal(after === undefined ? null : preemptAtOf(after), null)
    assert.equal(await f.status(high), 'open')
    await f.advance(10 * MINUTE)
    await f.reach(low.id, 'running')
    assert.ok((await f.market.orderEvents(f.caller, low.id)).some(event => event.type === 'notice-withdrawn'))
  })

  test('a preempted bid gets its very instance back when room is free again', async () => {
    const keeper = await f.bid(9)
    const low = await f.bid(2)
    const [before] = await f.reach(low.id, 'running')
    const high = await f.bid(5)
    await f.advance(5 * MINUTE)
    await f.reach(low.id, 'preempted')
    await f.reach(high.id, 'running')
    await f.market.endBid(f.caller, high.id as BidId)
    const [after] = await f.reach(low.id, 'running')
    assert.equal(after?.id, before?.id)
    assert.equal(after?.generation, (before?.generation ?? 0) + 1)
    assert.equal(await f.status(low), 'allocated')
    await f.reach(keeper.id, 'running')
    await f.reach(high.id, 'running', 0)
  })

  test('a paused bid keeps its disks, gives its room to others, costs nothing, and competes again when it is resumed', async () => {
    await f.bid(9)
    const bid = await f.bid(5)
    const [before] = await f.reach(bid.id, 'running')
    await f.advance(HOUR)
    await f.market.updateBid(f.caller, bid.id as BidId, { paused: true })
    assert.equal(await f.status(bid), 'paused')
    await f.reach(bid.id, 'stopped')
    const cheap = await f.bid(2)
    await f.reach(cheap.id, 'running')
    await f.advance(HOUR)
    assert.equal((await f.market.usage(f.caller, { orderId: bid.id })).netMicros, DOLLAR)
    await f.market.updateBid(f.caller, bid.id as BidId, { paused: false })
    await f.reach(cheap.id, 'preempting')
    await f.advance(5 * MINUTE)
    await f.reach(cheap.id, 'preempted')
    const [after] = await f.reach(bid.id, 'running')
    assert.equal(after?.id, before?.id)
    assert.deepEqual((await f.market.orderEvents(f.caller, bid.id)).map(event => event.type), ['placed', 'allocated', 'paused', 'resumed', 'allocated'])
  })

  test('a bid is all or nothing, and one that can never fit sets no price', async () => {
    const pair = await f.bid(5, { quantity: 2 })
    await f.reach(pair.id, 'running', 2)
    const huge = await f.bid(100, { quantity: 3 })
    assert.match(huge.message ?? '', /asks for 3, and there is room for 2/)
    const single = await f.bid(4)
    assert.deepEqual([await f.status(pair), huge.status, single.status], ['allocated', 'open', 'open'])
    assert.equal((await f.market.supply(f.caller, { type: 'one' }))[0]?.spotMicros, 4 * DOLLAR)
    assert.equal(await f.market.priceToWin(f.caller, { type: 'one', region: 'home', quantity: 1 }), 5 * DOLLAR + CENT)
    assert.equal(await f.market.priceToWin(f.caller, { type: 'one', region: 'home', quantity: 3 }), null)
  })

  test('what runs on demand takes room from bids only where it is free, and is priced by its size', async () => {
    const made = await f.engine.instances.create(f.caller, { ...LAUNCH.template, memoryBytes: 2 ** 30, overlayBytes: 2 ** 30 })
    await f.engine.instances.wait(f.caller, made.id, { until: ['running'], timeoutMs: 20_000 })
    const bid = await f.bid(5)
    await f.reach(bid.id, 'running')
    await refused('insufficient_resources', f.engine.instances.create(f.caller, { ...LAUNCH.template, memoryBytes: 2 ** 29, overlayBytes: 2 ** 30 }))
    assert.equal((await f.market.supply(f.caller, { type: 'one' }))[0]?.capacity, 1)
    await f.advance(15 * MINUTE)
    await f.engine.instances.stop(f.caller, made.id)
    await eventually(async () => (await f.engine.instances.get(f.caller, made.id)).phase === 'stopped', 'it is stopped')
    await f.advance(HOUR)
    const [line] = (await f.market.usage(f.caller, { instanceIds: [made.id] })).lines
    assert.deepEqual([line?.costMicros, line?.paidMs, line?.periods[0]?.kind, line?.periods[0]?.type], [DOLLAR, 15 * MINUTE, 'on-demand', 'one'])
    // Its room is free now, and the market has noticed.
    await eventually(async () => (await f.store.read.marketNow({ type: 'one' }))[0]?.capacity === 2, 'the market has seen the new room')
  })

  test('types share the machine, and one never preempts another', async () => {
    const big = await f.bid(10, { type: 'two' })
    await f.reach(big.id, 'running')
    const small = await f.bid(100)
    assert.equal(small.status, 'open')
    assert.equal(await f.status(big), 'allocated')
    await f.market.endBid(f.caller, big.id as BidId)
    await f.reach(small.id, 'running')
  })

  test('an instance of a bid that is deleted by hand is made anew, and the place is paid on', async () => {
    const bid = await f.bid(5)
    const [first] = await f.reach(bid.id, 'running')
    assert.ok(first !== undefined)
    await f.engine.instances.delete(f.caller, first.id)
    await eventually(async () => (await f.instancesOf(bid.id)).some(one => one.id !== first.id && one.phase === 'running'), 'another one runs')
    assert.equal((await f.instancesOf(bid.id)).length, 1)
  })

  test('an instance whose bid has no capacity is not started by hand, and nobody forges an order', async () => {
    await f.bid(9)
    const low = await f.bid(2)
    const [instance] = await f.reach(low.id, 'running')
    assert.ok(instance !== undefined)
    await f.bid(5)
    await f.advance(5 * MINUTE)
    await f.reach(low.id, 'preempted')
    await refused('invalid_state', f.engine.instances.start(f.caller, instance.id))
    await refused('invalid_request', f.engine.instances.create(f.caller, { ...LAUNCH.template, annotations: { market_order: low.id, market_kind: 'bid' } }))
    await refused('invalid_request', f.engine.instances.update(f.caller, instance.id, { annotations: { market_preempt_at: '1' } }))
  })

  test('what can not be bid is refused with its field, and changes nothing', async () => {
    for (const [change, field] of [
      [{ limitMicros: 99 * CENT }, 'limitMicros'],
      [{ limitMicros: DOLLAR + 1 }, 'limitMicros'],
      [{ limitMicros: -DOLLAR }, 'limitMicros'],
      [{ limitMicros: Number.NaN }, 'limitMicros'],
      [{ type: 'none' }, 'type'],
      [{ region: 'none' }, 'region'],
      [{ quantity: 0 }, 'quantity'],
      [{ quantity: 1.5 }, 'quantity'],
    ] as const) {
      const error = await refused('invalid_request', f.bid(5, change))
      assert.equal(error.details['field'], field)
    }
    await refused('limit_exceeded', f.bid(5, { quantity: 257 }))
    await refused('invalid_name', f.bid(5, { name: '' }))
    await refused('not_found', f.market.endBid(f.caller, 'a4c3f1f0-6c1c-4c0e-9b42-0a6c3b7f7c11' as BidId))
    const stranger = { ...f.caller, projectId: 'a4c3f1f0-6c1c-4c0e-9b42-0a6c3b7f7c11' as typeof f.caller.projectId }
    const bid = await f.bid(5)
    await refused('not_found', f.market.bid(stranger, bid.id as BidId))
    await refused('not_found', f.market.orderEvents(stranger, bid.id))
    await refused('forbidden', f.market.placeBid({ ...f.caller, scopes: ['read'] }, { name: 'x', type: 'one', region: 'home', quantity: 1, limitMicros: DOLLAR, launch: LAUNCH }))
    assert.deepEqual(await f.market.bids(stranger), [])
    await f.market.endBid(f.caller, bid.id as BidId)
    await refused('not_found', f.market.endBid(f.caller, bid.id as BidId))
    assert.equal((await f.market.bids(f.caller)).length, 1)
    assert.equal((await f.market.bids(f.caller, { liveOnly: true })).length, 0)
  })

  test('a server that was away through a notice carries it out when it is back', async () => {
    await f.bid(9)
    const low = await f.bid(2)
    await f.reach(low.id, 'running')
    const high = await f.bid(5)
    await f.reach(low.id, 'preempting')
    f.clock.advance(HOUR)
    await f.reopen()
    await f.reach(low.id, 'preempted')
    await f.reach(high.id, 'running')
    await settle(f)
    await assertNothingLeaked(f)
  })
})
