import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import fc from 'fast-check'
import type { AuctionBid, Lot } from './auction.ts'
import { priceToWin, runAuction } from './auction.ts'

const CENT = 10_000
const bid = (id: string, limit: number, quantity = 1, createdAt = 0): AuctionBid => ({ id, limitMicros: limit * CENT, quantity, createdAt })
const lot = (capacity: number, floor = 1, held = 0): Lot => ({ capacity, held, floorMicros: floor * CENT })

const someBids = fc
  .array(fc.record({ limit: fc.integer({ min: 0, max: 12 }), quantity: fc.integer({ min: 1, max: 5 }), createdAt: fc.integer({ min: 0, max: 5 }) }), { maxLength: 14 })
  .map(all => all.map(({ limit, quantity, createdAt }, index) => bid(`b${index}`, limit, quantity, createdAt)))
const someLot = fc.record({ capacity: fc.integer({ min: 0, max: 14 }), held: fc.integer({ min: 0, max: 6 }), floor: fc.integer({ min: 1, max: 4 }) }).map(one => lot(one.capacity, one.floor, one.held))

describe('an auction', () => {
  test('gives the last slot to the higher bid, at the limit of the one that loses', () => {
    const outcome = runAuction(lot(1), [bid('low', 5), bid('high', 8)])
    assert.deepEqual(outcome, { winners: ['high'], losers: ['low'], setAside: [], clearingMicros: 5 * CENT, allocated: 1 })
  })

  test('costs the floor while there is room for everybody', () => {
    assert.equal(runAuction(lot(3, 2), [bid('a', 9), bid('b', 5)]).clearingMicros, 2 * CENT)
  })

  test('prefers the earlier of two that bid the same, and lets it pay its limit', () => {
    const outcome = runAuction(lot(1), [bid('late', 5, 1, 2), bid('early', 5, 1, 1)])
    assert.deepEqual([outcome.winners, outcome.clearingMicros], [['early'], 5 * CENT])
  })

  test('gives a bid all of its slots or none, and nothing to those below it', () => {
    const outcome = runAuction(lot(3), [bid('first', 20, 2), bid('pair', 12, 2), bid('single', 9)])
    assert.deepEqual([outcome.winners, outcome.losers, outcome.clearingMicros], [['first'], ['pair', 'single'], 12 * CENT])
  })

  test('sets aside what is larger than all there is, and lets it set no price', () => {
    const outcome = runAuction(lot(4, 1, 1), [bid('huge', 50, 4), bid('fits', 3, 3)])
    assert.deepEqual([outcome.winners, outcome.setAside, outcome.clearingMicros], [['fits'], ['huge'], CENT])
  })

  test('never lets anybody pay more than its limit, nor less than the floor', () => {
    fc.assert(
      fc.property(someLot, someBids, (sale, bids) => {
        const { winners, clearingMicros } = runAuction(sale, bids)
        assert.ok(clearingMicros >= sale.floorMicros)
        for (const one of bids) if (winners.includes(one.id)) assert.ok(clearingMicros <= one.limitMicros, `${one.id} pays ${clearingMicros}`)
      }),
    )
  })

  test('never gives to a lower bid what a higher one that could have had it did not get', () => {
    fc.assert(
      fc.property(someLot, someBids, (sale, bids) => {
        const { winners, losers } = runAuction(sale, bids)
        const limitOf = (id: string) => bids.find(one => one.id === id)?.limitMicros ?? 0
        for (const winner of winners) for (const loser of losers) assert.ok(limitOf(loser) <= limitOf(winner))
      }),
    )
  })

  test('never gives more than there is, nor what reservations hold, and forgets no bid', () => {
    fc.assert(
      fc.property(someLot, someBids, (sale, bids) => {
        const outcome = runAuction(sale, bids)
        const given = bids.filter(one => outcome.winners.includes(one.id)).reduce((sum, one) => sum + one.quantity, 0)
        assert.equal(outcome.allocated, given)
        assert.ok(given <= Math.max(0, sale.capacity - sale.held))
        const all = [...outcome.winners, ...outcome.losers, ...outcome.setAside]
        assert.deepEqual(all.toSorted(), bids.map(one => one.id).toSorted())
      }),
    )
  })

  test('does not depend on the order in which it hears of the bids', () => {
    fc.assert(
      fc.property(someLot, someBids.chain(bids => fc.tuple(fc.constant(bids), fc.shuffledSubarray(bids, { minLength: bids.length }))), (sale, [bids, shuffled]) => {
        const { setAside, ...outcome } = runAuction(sale, bids)
        const { setAside: others, ...other } = runAuction(sale, shuffled)
        assert.deepEqual(outcome, other)
        assert.deepEqual(setAside.toSorted(), others.toSorted())
      }),
    )
  })

  test('a bid that comes below a winner never evicts it, and no new bid makes anything cheaper', () => {
    fc.assert(
      fc.property(someLot, someBids, fc.integer({ min: 0, max: 14 }), fc.integer({ min: 1, max: 5 }), (sale, bids, limit, quantity) => {
        const before = runAuction(sale, bids)
        const newcomer = bid('new', limit, quantity, 99)
        const after = runAuction(sale, [...bids, newcomer])
        for (const winner of bids.filter(one => before.winners.includes(one.id) && one.limitMicros >= newcomer.limitMicros)) {
          assert.ok(after.winners.includes(winner.id), `${winner.id} was evicted by a bid that is not higher`)
        }
        assert.ok(after.clearingMicros >= before.clearingMicros)
      }),
    )
  })

  test('more capacity never evicts a bid that could win, unless a larger one comes back in', () => {
    fc.assert(
      fc.property(someLot, someBids, (sale, bids) => {
        const before = runAuction(sale, bids)
        const after = runAuction({ ...sale, capacity: sale.capacity + 1 }, bids)
        const isSameField = before.setAside.length === after.setAside.length
        if (isSameField) for (const winner of before.winners) assert.ok(after.winners.includes(winner))
      }),
    )
  })
})

test('the price to win is a limit that wins, and the least whole step that does', () => {
  fc.assert(
    fc.property(someLot, someBids, fc.integer({ min: 1, max: 5 }), (sale, bids, quantity) => {
      const price = priceToWin(sale, bids, quantity, CENT)
      const wins = (limitMicros: number) => runAuction(sale, [...bids, { id: 'me', limitMicros, quantity, createdAt: 1e9 }]).winners.includes('me')
      if (price === null) return assert.ok(!wins(100 * CENT))
      assert.ok(wins(price))
      assert.ok(price === sale.floorMicros || !wins(price - CENT))
    }),
  )
})
