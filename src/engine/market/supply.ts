/** What is to be had and for how much: now, and over time. Everybody sees the same; nobody sees another's bid. */
import type { AuctionBid } from '../../instance/auction.ts'
import { priceToWin } from '../../instance/auction.ts'
import type { InstanceType } from '../../instance/catalogue.ts'
import { MICROS_PER_CENT } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import type { MarketPoint } from '../../instance/market.ts'
import { requireScope } from '../access.ts'
import type { Core } from '../core.ts'
import { checkCount } from '../limits.ts'
import type { Market, PriceSeries, Supply, SupplyFilter } from './api.ts'
import type { BidBook, Books } from './books.ts'
import { readBooks, reservedSlots, roomOf } from './books.ts'
import type { Ground } from './ground.ts'
import { floorMicrosOf, marketOf } from './ground.ts'
import { ORDER_QUANTITY_LIMIT } from './orders.ts'
import { capacityOf } from './settle.ts'

export function makeSupply(core: Core, ground: Ground): Pick<Market, 'supply' | 'priceToWin' | 'priceHistory'> {
  const { catalogue } = core
  const { read } = core.store
  const books = async () => readBooks(read, await ground.hosts(), core.now())

  return {
    async supply(caller, filter = {}) {
      requireScope(caller, 'read')
      const now = await books()
      const points = await read.marketNow(filter)
      return marketsOf(core, filter).map(({ type, region }) => supplyOf(core, now, type, region, points))
    },

    async priceToWin(caller, { type: typeId, region, quantity }) {
      requireScope(caller, 'read')
      checkCount('quantity', quantity, 1, ORDER_QUANTITY_LIMIT)
      const type = marketOf(catalogue, typeId, region)
      const now = await books()
      const rivals = rivalsIn(now, type, region)
      const capacity = capacityOf(core, now, type, region, roomOf(now, region, now.free, rivals), rivals)
      const bids: readonly AuctionBid[] = rivals.map(({ bid }) => bid)
      return priceToWin({ capacity, held: 0, floorMicros: floorMicrosOf(type, core.config.market.floorShare) }, bids, quantity, MICROS_PER_CENT)
    },

    async priceHistory(caller, { from, until, ...filter }) {
      requireScope(caller, 'read')
      if (!Number.isFinite(from) || !Number.isFinite(until) || until <= from) {
        throw new BerthError('invalid_request', 'The end must be after the start.', { details: { field: 'until' } })
      }
      const points = await read.marketPoints({ ...filter, from, until })
      return marketsOf(core, filter).map(({ type, region }) => seriesOf(core, type, region, from, points))
    },
  }
}

/** Types and regions that are meant, in the catalogue's order; one that there is not is an error of the caller's. */
function marketsOf(core: Core, { type: typeId, region: regionId }: SupplyFilter): readonly { readonly type: InstanceType; readonly region: string }[] {
  const { regions, types } = core.catalogue
  if (typeId !== undefined) marketOf(core.catalogue, typeId, regionId ?? regions[0]?.id ?? '')
  if (regionId !== undefined && types[0] !== undefined) marketOf(core.catalogue, typeId ?? types[0].id, regionId)
  return regions
    .filter(region => regionId === undefined || region.id === regionId)
    .flatMap(region => types.filter(type => typeId === undefined || type.id === typeId).map(type => ({ type, region: region.id })))
}

function rivalsIn(books: Books, type: InstanceType, region: string): readonly BidBook[] {
  return books.bids.filter(({ bid }) => bid.type === type.id && bid.region === region && bid.status !== 'paused')
}

function supplyOf(core: Core, books: Books, type: InstanceType, region: string, points: readonly MarketPoint[]): Supply {
  const rivals = rivalsIn(books, type, region)
  const capacity = capacityOf(core, books, type, region, roomOf(books, region, books.free, rivals), rivals)
  const has = rivals.filter(({ bid }) => bid.status === 'allocated' || bid.status === 'preempting').map(({ bid }) => bid)
  const allocated = has.reduce((sum, bid) => sum + bid.quantity, 0)
  const reserved = reservedSlots(books, type.id, region)
  const floorMicros = floorMicrosOf(type, core.config.market.floorShare)
  const used = books.slotsUsed.get(`${region}/${type.id}`) ?? 0
  const available = Math.max(0, capacity - allocated)
  return {
    type: type.id,
    region,
    capacity,
    available,
    allocated,
    reserved,
    total: available + Math.max(used, allocated + reserved),
    spotMicros: points.find(point => point.type === type.id && point.region === region)?.spotMicros ?? floorMicros,
    floorMicros,
    lowestAllocatedMicros: has.length === 0 ? null : Math.min(...has.map(bid => bid.limitMicros)),
    reservedMicros: type.priceMicrosPerHour,
    onDemandMicros: type.priceMicrosPerHour,
  }
}

/** A market that nobody has bid in yet is at its floor. */
function seriesOf(core: Core, type: InstanceType, region: string, from: number, points: readonly MarketPoint[]): PriceSeries {
  const own = points.filter(point => point.type === type.id && point.region === region)
  const spotMicros = floorMicrosOf(type, core.config.market.floorShare)
  const first = own[0]
  const begins = first !== undefined && first.at <= from ? own : [{ type: type.id, region, at: from, spotMicros, capacity: 0, allocated: 0 }, ...own]
  return { type: type.id, region, points: begins, reservedMicros: type.priceMicrosPerHour, onDemandMicros: type.priceMicrosPerHour }
}
