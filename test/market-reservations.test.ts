/** Reservations of the engine: room that is theirs from start to end, pauses and returns that bring something back, exact accounts. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import type { PlaceReservation } from '../src/engine/market/api.ts'
import { BerthError } from '../src/instance/errors.ts'
import type { ErrorCode } from '../src/instance/errors.ts'
import { assertNothingLeaked, eventually, settle } from './engine-fixture.ts'
import { assertMarketSound, DOLLAR, HOUR, LAUNCH, marketFixture, MINUTE } from './market-fixture.ts'
import type { MarketFixture } from './market-fixture.ts'

let f: MarketFixture
beforeEach(async () => {
  f = await marketFixture(2)
})
afterEach(async () => {
  await assertMarketSound(f.store)
  await f.close()
})

const reserve = (change: Partial<PlaceReservation> = {}) => {
  const now = f.clock.now()
  return f.market.reserve(f.caller, { name: 'held', type: 'one', region: 'home', quantity: 1, launch: LAUNCH, startAt: now, endAt: now + 4 * HOUR, ...change })
}
const onDemand = () => f.engine.instances.create(f.caller, { ...LAUNCH.template, memoryBytes: 2 ** 30, overlayBytes: 2 ** 30 })

async function refused(code: ErrorCode, work: Promise<unknown>): Promise<BerthError> {
  const error: unknown = await work.then(() => assert.fail(`expected ${code}`), (reason: unknown) => reason)
  assert.ok(error instanceof BerthError, String(error))
  assert.equal(error.code, code, error.message)
  return error
}

test('a reservation has its room from start to end, keeps it while paused, and an hour of pause brings credit back', async () => {
  const held = await reserve()
  assert.equal(held.status, 'active')
  const [first] = await f.reach(held.id, 'running')
  assert.ok(first !== undefined)
  assert.equal((await f.market.supply(f.caller, { type: 'one' }))[0]?.capacity, 1)
  await f.advance(HOUR)
  await f.engine.instances.stop(f.caller, first.id)
  await f.reach(held.id, 'stopped')
  const other = await onDemand()
  await refused('insufficient_resources', onDemand())
  await f.advance(HOUR - 1)
  assert.equal((await f.market.reservationUsage(f.caller, held.id)).pauseCreditMicros, 0)
  await f.advance(1)
  assert.equal((await f.market.reservationUsage(f.caller, held.id)).pauseCreditMicros, 2 * DOLLAR)
  await f.engine.instances.start(f.caller, first.id)
  await f.reach(held.id, 'running')
  await f.advance(HOUR)
  const account = await f.market.reservationUsage(f.caller, held.id)
  assert.deepEqual(
    [account.committedMicros, account.pauseCreditMicros, account.netMicros, account.reservedMs, account.idleMs],
    [16 * DOLLAR, 2 * DOLLAR, 14 * DOLLAR, 3 * HOUR, HOUR],
  )
  // An hour after its end the server looks again; the price has ended at the end.
  await f.advance(2 * HOUR)
  await f.reach(held.id, 'running', 0)
  const over = await f.market.reservation(f.caller, held.id)
  assert.deepEqual([over.status, over.deactivatedAt, over.instanceIds], ['ended', held.endAt, [first.id]])
  const [period, ...more] = await f.market.periods(f.caller, { orderId: held.id })
  assert.deepEqual([period?.kind, period?.startAt, period?.endAt, period?.costMicros, more.length], ['reserved', held.startAt, held.endAt, 16 * DOLLAR, 0])
  assert.deepEqual((await f.market.orderEvents(f.caller, held.id)).map(event => event.type), ['placed', 'terms-set', 'active', 'ended'])
  await f.engine.instances.delete(f.caller, other.id)
  await settle(f)
  await assertNothingLeaked(f)
})

test('bids give way to a reservation when it begins, and what is reserved for later is not given away on demand', async () => {
  const start = f.clock.now() + 2 * HOUR
  const later = await reserve({ startAt: start, endAt: start + 3 * HOUR, quantity: 2 })
  assert.equal(later.status, 'pending')
  await refused('insufficient_resources', onDemand())
  const bid = await f.bid(5, { quantity: 2 })
  await f.reach(bid.id, 'running', 2)
  await f.advance(2 * HOUR)
  await eventually(async () => (await f.status(bid)) === 'preempting', 'the bid has notice')
  assert.equal((await f.market.reservation(f.caller, later.id)).status, 'active')
  await f.advance(5 * MINUTE)
  await f.reach(bid.id, 'preempted', 2)
  await f.reach(later.id, 'running', 2)
  await f.advance(3 * HOUR)
  await f.reach(later.id, 'running', 0)
  await f.reach(bid.id, 'running', 2)
})

test('what can be reserved follows from what others have reserved, to the moment', async () => {
  const now = f.clock.now()
  await reserve({ startAt: now + 10 * HOUR, endAt: now + 14 * HOUR })
  const parts = await f.market.reservable(f.caller, { type: 'one', region: 'home', from: now, until: now + 20 * HOUR })
  assert.deepEqual(parts.map(part => [(part.startAt - now) / HOUR, (part.endAt - now) / HOUR, part.quantity]), [[0, 10, 2], [10, 14, 1], [14, 20, 2]])
  const quote = (quantity: number, from: number, until: number) => f.market.quote(f.caller, { type: 'one', region: 'home', quantity, startAt: now + from * HOUR, endAt: now + until * HOUR })
  assert.equal((await quote(2, 6, 10)).isAvailable, true)
  assert.equal((await quote(2, 6, 11)).isAvailable, false)
  assert.equal((await quote(2, 14, 18)).isAvailable, true)
  const { isAvailable: _is, ...terms } = await quote(2, 6, 10)
  assert.deepEqual(terms, { unitMicros: 4 * DOLLAR, pauseBuybackMicros: 2 * DOLLAR, returnBuybackMicros: DOLLAR, totalMicros: 32 * DOLLAR })
  await refused('insufficient_resources', reserve({ quantity: 2, startAt: now + 12 * HOUR, endAt: now + 16 * HOUR }))
  const pair = await reserve({ quantity: 2, startAt: now, endAt: now + 4 * HOUR })
  assert.equal(await f.market.latestExtension(f.caller, pair.id), now + 10 * HOUR)
  await refused('insufficient_resources', f.market.extendReservation(f.caller, pair.id, now + 11 * HOUR))
  const longer = await f.market.extendReservation(f.caller, pair.id, now + 10 * HOUR)
  assert.equal(longer.endAt, now + 10 * HOUR)
})

test('a paused instance is given back for good, and what is left of it is credited at once', async () => {
  const held = await reserve({ quantity: 2 })
  const [one, two] = await f.reach(held.id, 'running', 2)
  assert.ok(one !== undefined && two !== undefined)
  assert.deepEqual(await f.market.returnInstances(f.caller, held.id, [one.id]), [])
  await f.engine.instances.stop(f.caller, one.id)
  await eventually(async () => (await f.engine.instances.get(f.caller, one.id)).phase === 'stopped', 'one is paused')
  await f.advance(HOUR)
  assert.deepEqual(await f.market.returnInstances(f.caller, held.id, [one.id, two.id]), [one.id])
  await f.reach(held.id, 'running', 1)
  assert.equal((await f.market.reservation(f.caller, held.id)).quantity, 1)
  const account = await f.market.reservationUsage(f.caller, held.id)
  assert.deepEqual([account.committedMicros, account.pauseCreditMicros, account.returnCreditMicros], [32 * DOLLAR, 2 * DOLLAR, 3 * DOLLAR])
  assert.equal((await f.market.supply(f.caller, { type: 'one' }))[0]?.capacity, 1)
  await f.advance(3 * HOUR)
  const usage = await f.market.usage(f.caller, { orderId: held.id })
  assert.deepEqual([usage.costMicros, usage.creditMicros, usage.netMicros], [32 * DOLLAR, 5 * DOLLAR, 27 * DOLLAR])
  await refused('not_found', f.market.returnInstances(f.caller, held.id, [two.id]))
})

test('all of a reservation is paused and resumed with one wish, and a place that loses its instance is filled and paid on', async () => {
  const held = await reserve({ quantity: 2 })
  const [first] = await f.reach(held.id, 'running', 2)
  assert.ok(first !== undefined)
  await f.market.updateReservation(f.caller, held.id, { paused: true })
  await f.reach(held.id, 'stopped', 2)
  assert.equal((await f.market.reservation(f.caller, held.id)).status, 'paused')
  await f.market.updateReservation(f.caller, held.id, { paused: false })
  await f.reach(held.id, 'running', 2)
  await f.advance(HOUR)
  await f.engine.instances.delete(f.caller, first.id)
  await eventually(async () => {
    const all = await f.instancesOf(held.id)
    return all.length === 2 && all.every(one => one.phase === 'running') && all.every(one => one.id !== first.id)
  }, 'the place is filled')
  await f.advance(3 * HOUR)
  await f.reach(held.id, 'running', 0)
  const usage = await f.market.usage(f.caller, { orderId: held.id })
  assert.equal(usage.costMicros, 32 * DOLLAR)
  assert.equal(usage.lines.length, 3)
})

test('one that has not begun is canceled; one that has is not, and what can not be reserved is refused', async () => {
  const now = f.clock.now()
  const later = await reserve({ startAt: now + HOUR, endAt: now + 5 * HOUR })
  await refused('invalid_state', f.market.updateReservation(f.caller, later.id, { paused: true }))
  assert.equal((await f.market.cancelReservation(f.caller, later.id)).status, 'canceled')
  await refused('not_found', f.market.cancelReservation(f.caller, later.id))
  assert.equal((await f.market.reservationUsage(f.caller, later.id)).committedMicros, 0)
  const running = await reserve()
  await f.reach(running.id, 'running')
  await refused('invalid_state', f.market.cancelReservation(f.caller, running.id))
  for (const change of [{ endAt: now + HOUR }, { endAt: now + 20 * 24 * HOUR }, { startAt: now - HOUR }, { startAt: now + 9 * HOUR }, { quantity: 0 }, { type: 'none' }, { endAt: Number.NaN }]) {
    await refused('invalid_request', reserve(change))
  }
  await refused('limit_exceeded', reserve({ maxUnitMicros: DOLLAR }))
  assert.equal((await f.market.reservations(f.caller, { liveOnly: true })).length, 1)
})

test('a server that was away for the end of a reservation ends it at its end', async () => {
  const held = await reserve()
  await f.reach(held.id, 'running')
  f.clock.advance(10 * HOUR)
  await f.reopen()
  await f.reach(held.id, 'running', 0)
  assert.equal((await f.market.usage(f.caller, { orderId: held.id })).costMicros, 16 * DOLLAR)
  await settle(f)
  await assertNothingLeaked(f)
})
