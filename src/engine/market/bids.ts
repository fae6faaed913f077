/** What clients ask of bids: each wish is checked and recorded in one transaction with the auction that follows. */
import { MICROS_PER_CENT } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import { ID_BYTES, newId } from '../../instance/ids.ts'
import type { Bid } from '../../instance/market.ts'
import type { BidId, VolumeMount } from '../../instance/model.ts'
import { requireScope } from '../access.ts'
import type { Caller, Instances } from '../api.ts'
import type { Core } from '../core.ts'
import type { Change } from '../journal.ts'
import type { BidChange, Market } from './api.ts'
import type { MarketController } from './controller.ts'
import { floorMicrosOf, marketOf } from './ground.ts'
import { audited, checkNewOrder, draftOrder, instancesOf, liveOrder, ownOrder, tellOrder, withInstances } from './orders.ts'
import { deleteAll, isAtRest, pauseAll } from './transitions.ts'
import { changeVolumes } from './volumes.ts'

/** The most that can be bid: a million dollars an hour. */
export const LIMIT_MICROS_MAX = 1_000_000_000_000
export const LIST_LIMIT = 10_000

export interface OrderParts {
  readonly core: Core
  readonly controller: MarketController
  readonly attachments: Pick<Instances, 'attachVolume' | 'detachVolume'>
}

export function makeBids({ core, controller, attachments }: OrderParts): Pick<Market, 'placeBid' | 'updateBid' | 'endBid' | 'bid' | 'bids'> {
  const { store, now } = core

  /** As it is after the auction. */
  const fresh = async (caller: Caller, id: BidId) => withInstances(store.read, await ownOrder(store.read, caller, 'bid', id))

  return {
    async placeBid(caller, request) {
      requireScope(caller, 'write')
      checkLimit(core, request, request.limitMicros)
      const draft = draftOrder(core, caller, request, now())
      const id = newId('bid', core.randomBytes(ID_BYTES))
      await controller.trade(async ({ tx }) => {
        await checkNewOrder(tx, caller, 'bid', request.launch)
        const bid: Bid = { ...draft, kind: 'bid', id, status: 'open', limitMicros: request.limitMicros, allocatedAt: null, preemptAt: null }
        await tx.putOrder('bid', bid)
        await tellOrder(tx, bid, draft.createdAt, 'placed', { limitMicros: bid.limitMicros })
        const { type, region, quantity, limitMicros } = bid
        await audited(core, tx, caller, 'place', bid, { type, region, quantity, limitMicros })
      })
      return fresh(caller, id)
    },

    async updateBid(caller, id, wanted) {
      requireScope(caller, 'write')
      const before = await liveOrder(store.read, caller, 'bid', id)
      if (wanted.limitMicros !== undefined) checkLimit(core, before, wanted.limitMicros)
      if (wanted.memoryBytes !== undefined) checkMemory(core, before, wanted.memoryBytes)
      if (wanted.volumes !== undefined) await changeBidVolumes(core, attachments, caller, before, wanted)
      await controller.trade(async change => {
        const bid = await liveOrder(change.tx, caller, 'bid', id)
        const next = await changed(change, bid, wanted, now())
        await change.tx.putOrder('bid', { ...next, updatedAt: now() })
        await audited(core, change.tx, caller, 'update', next, { changed: Object.keys(wanted) })
      })
      return fresh(caller, id)
    },

    async endBid(caller, id) {
      requireScope(caller, 'write')
      await controller.trade(async change => {
        const bid = await liveOrder(change.tx, caller, 'bid', id)
        const at = now()
        await deleteAll(change, await instancesOf(change.tx, bid), 'Its bid is terminated.')
        await change.tx.putOrder('bid', { ...bid, status: 'terminated', preemptAt: null, message: null, updatedAt: at, deactivatedAt: at })
        await tellOrder(change.tx, bid, at, 'terminated')
        await audited(core, change.tx, caller, 'end', bid)
      })
      return fresh(caller, id)
    },

    async bid(caller, id) {
      requireScope(caller, 'read')
      return fresh(caller, id)
    },

    async bids(caller, filter = {}) {
      requireScope(caller, 'read')
      const found = await store.read.orders('bid', { ...filter, projectId: caller.projectId, limit: Math.min(filter.limit ?? LIST_LIMIT, LIST_LIMIT) })
      return Promise.all(found.map(bid => withInstances(store.read, bid)))
    },
  }
}

async function changed(change: Change, before: Bid, wanted: BidChange, at: number): Promise<Bid> {
  const { tx } = change
  let bid = before
  if (wanted.limitMicros !== undefined && wanted.limitMicros !== bid.limitMicros) {
    bid = { ...bid, limitMicros: wanted.limitMicros }
    await tellOrder(tx, bid, at, 'limit-changed', { limitMicros: wanted.limitMicros })
  }
  if (wanted.memoryBytes !== undefined && wanted.memoryBytes !== bid.launch.memoryBytes) {
    bid = { ...bid, launch: { ...bid.launch, memoryBytes: wanted.memoryBytes } }
    await tellOrder(tx, bid, at, 'memory-changed', { memoryBytes: wanted.memoryBytes })
  }
  if (wanted.details !== undefined) bid = { ...bid, launch: { ...bid.launch, details: wanted.details } }
  if (wanted.paused === true && bid.status !== 'paused') {
    await pauseAll(change, await instancesOf(tx, bid))
    bid = { ...bid, status: 'paused', preemptAt: null, message: null }
    await tellOrder(tx, bid, at, 'paused')
  }
  if (wanted.paused === false && bid.status === 'paused') {
    bid = { ...bid, status: 'open' }
    await tellOrder(tx, bid, at, 'resumed')
  }
  return bid
}

async function changeBidVolumes(core: Core, attachments: OrderParts['attachments'], caller: Caller, bid: Bid, wanted: BidChange): Promise<void> {
  const volumes: readonly VolumeMount[] = wanted.volumes ?? []
  const instances = await instancesOf(core.store.read, bid)
  if (!instances.every(isAtRest)) {
    throw new BerthError('invalid_state', 'Volumes can change only while no instance of the bid runs: pause it first.', { details: { status: bid.status } })
  }
  await changeVolumes(core, attachments, caller, 'bid', bid, instances, volumes)
}

function checkLimit(core: Core, market: Pick<Bid, 'type' | 'region'>, limitMicros: number): void {
  const type = marketOf(core.catalogue, market.type, market.region)
  const floor = floorMicrosOf(type, core.config.market.floorShare)
  const wrong = (problem: string) => new BerthError('invalid_request', `The limit price ${problem}.`, { details: { field: 'limitMicros', floorMicros: floor } })
  if (!Number.isSafeInteger(limitMicros) || limitMicros % MICROS_PER_CENT !== 0) throw wrong('must be a whole number of cents an hour')
  if (limitMicros < floor) throw wrong(`must be at least the minimum price of $${(floor / 1e6).toFixed(2)} an hour`)
  if (limitMicros > LIMIT_MICROS_MAX) throw wrong(`must be at most $${LIMIT_MICROS_MAX / 1e6} an hour`)
}

function checkMemory(core: Core, bid: Bid, memoryBytes: number): void {
  const { minMemoryBytes } = core.config.limits
  if (Number.isSafeInteger(memoryBytes) && memoryBytes >= minMemoryBytes && memoryBytes <= bid.size.memoryBytes) return
  throw new BerthError('invalid_request', `The memory must be from ${minMemoryBytes} to ${bid.size.memoryBytes} bytes, which is what the type has.`, { details: { field: 'memoryBytes' } })
}
