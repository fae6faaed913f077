/**
 * One look at all markets, in one transaction: reservations begin and end, an auction is run for each market with
 * bids, and what follows from it is written: who gets its capacity, who gets notice, what the price is.
 *
 *   wins,  open        ─▶ allocated, if what it needs is free now; else it stays open and waits for the room
 *   wins,  preempting  ─▶ allocated: the notice is withdrawn
 *   loses, allocated   ─▶ preempting, with a notice      loses, preempting ─▶ open, once all of it has stopped
 *
 * Policy: types of one region share its machines. Their auctions are run in the order of the catalogue, each over
 * what is free and what its own bids hold; bids of one type never preempt those of another.
 * Invariant: run again at once, it changes nothing.
 */
import { runAuction } from '../../instance/auction.ts'
import type { Outcome } from '../../instance/auction.ts'
import type { InstanceType } from '../../instance/catalogue.ts'
import type { Bid, MarketPoint } from '../../instance/market.ts'
import type { HostId, TimestampMs } from '../../instance/model.ts'
import { periodTime } from '../../instance/periods.ts'
import { isServing } from '../../instance/phase.ts'
import type { Room } from '../../instance/room.ts'
import { fits, minus, NO_ROOM } from '../../instance/room.ts'
import type { Core } from '../core.ts'
import type { Change } from '../journal.ts'
import type { BidBook, Books } from './books.ts'
import { readBooks, reservedSlots, roomOf, slotsOver } from './books.ts'
import { floorMicrosOf, sizeOf, slotLimitOf } from './ground.ts'
import type { HostGround } from './ground.ts'
import type { Vacancy } from './orders.ts'
import { tellOrder, vacanciesOf } from './orders.ts'
import { settleReservations } from './reservation-life.ts'
import { enforceNotice, giveNotice, isAtRest, startAll, STARTED_AGAIN, withdrawNotice } from './transitions.ts'

export interface Settlement {
  readonly vacancies: readonly Vacancy[]
  /** When time alone will change something; null if nothing is due. */
  readonly nextAt: TimestampMs | null
  /** Whether there is anything that a change of supply could move. */
  readonly isLive: boolean
}

/** One market in one look: what was read, and the room that is left as capacity is given out. */
interface Round {
  readonly core: Core
  readonly change: Change
  readonly books: Books
  readonly type: InstanceType
  readonly region: string
  readonly outcome: Outcome
  readonly capacity: number
  /** Free now, for instances that start now; what is given out is taken off. */
  readonly free: Map<HostId, Room>
  /** The same where a region has a number of slots of the type. */
  slotsFree: number
}

export async function settle(core: Core, change: Change, hosts: readonly HostGround[]): Promise<Settlement> {
  const at = core.now()
  const due = await settleReservations(change, at)
  const books = await readBooks(change.tx, hosts, at)
  const free = new Map(books.free)
  const planned = new Map(books.free)
  const points = await change.tx.marketNow({})
  const bids: Bid[] = []
  let isLive = books.reservations.length > 0 || books.bids.length > 0
  for (const region of core.catalogue.regions) {
    for (const type of core.catalogue.types) {
      const own = books.bids.filter(({ bid }) => bid.type === type.id && bid.region === region.id)
      const point = points.find(one => one.type === type.id && one.region === region.id) ?? null
      if (own.length === 0 && (point === null || isAtEase(core, type, point))) continue
      const round = runRound(core, change, books, type, region.id, own, planned, free)
      const settled: Bid[] = []
      for (const book of ranked(round.outcome, own)) settled.push(await settleBid(round, book))
      bids.push(...settled)
      await writePoint(round, settled, point)
      isLive = true
    }
  }
  const bidVacancies = await vacanciesOf(change.tx, bids.filter(bid => bid.status === 'allocated'))
  const notices = bids.flatMap(bid => (bid.status === 'preempting' && bid.preemptAt !== null && bid.preemptAt > at ? [bid.preemptAt] : []))
  const times = [...notices, ...(due.nextAt === null ? [] : [due.nextAt])]
  return { vacancies: [...bidVacancies, ...due.vacancies], nextAt: times.length === 0 ? null : Math.min(...times), isLive }
}

/** A market that nobody bids in and that was told to be so. */
function isAtEase(core: Core, type: InstanceType, point: MarketPoint): boolean {
  return point.allocated === 0 && point.spotMicros === floorMicrosOf(type, core.config.market.floorShare)
}

function runRound(core: Core, change: Change, books: Books, type: InstanceType, region: string, own: readonly BidBook[], planned: Map<HostId, Room>, free: Map<HostId, Room>): Round {
  const size = sizeOf(type)
  const rivals = own.filter(({ bid }) => bid.status !== 'paused')
  const rooms = roomOf(books, region, planned, rivals)
  const capacity = capacityOf(core, books, type, region, rooms, rivals)
  const lot = { capacity, held: 0, floorMicros: floorMicrosOf(type, core.config.market.floorShare) }
  const outcome = runAuction(lot, rivals.map(({ bid }) => bid))
  let slotsFree = slotsFreeNow(core, books, type, region)
  // What the winners are to have is taken off for the auctions that follow.
  for (const id of outcome.winners) {
    const book = rivals.find(one => one.bid.id === id)
    if (book === undefined) continue
    for (const row of book.rows) rooms.set(row.hostId, minus(rooms.get(row.hostId) ?? NO_ROOM, size))
    for (let missing = book.bid.quantity - book.rows.length; missing > 0; missing--) takeFirst(rooms, size)
    // Instances of it that are still to be made have their room already.
    const coming = book.bid.status === 'allocated' ? book.bid.quantity - book.instances.length : 0
    for (let missing = coming; missing > 0; missing--) takeFirst(free, size, new Set(rooms.keys()))
    slotsFree -= coming
  }
  for (const [hostId, room] of rooms) planned.set(hostId, room)
  return { core, change, books, type, region, outcome, capacity, free, slotsFree }
}

/** Slots that bids can get: what the machines have room for, within what the region has of the type. */
export function capacityOf(core: Pick<Core, 'catalogue'>, books: Books, type: InstanceType, region: string, rooms: ReadonlyMap<HostId, Room>, rivals: readonly BidBook[]): number {
  const byRoom = slotsOver(rooms, sizeOf(type))
  const limit = slotLimitOf(core.catalogue, type.id, region)
  if (limit === null) return byRoom
  const running = (rows: readonly { readonly vcpus: number }[]) => rows.filter(row => row.vcpus > 0).length
  const ofBids = rivals.reduce((sum, { rows }) => sum + running(rows), 0)
  const ofReservations = runningOfReservations(books, type, region)
  const ofOthers = Math.max(0, (books.slotsUsed.get(`${region}/${type.id}`) ?? 0) - ofBids - ofReservations)
  return Math.max(0, Math.min(byRoom, limit - ofOthers - reservedSlots(books, type.id, region)))
}

/** Slots that nobody is in now, and no reservation holds; without a limit only room counts. */
function slotsFreeNow(core: Core, books: Books, type: InstanceType, region: string): number {
  const limit = slotLimitOf(core.catalogue, type.id, region)
  if (limit === null) return Number.POSITIVE_INFINITY
  const held = reservedSlots(books, type.id, region) - runningOfReservations(books, type, region)
  return limit - (books.slotsUsed.get(`${region}/${type.id}`) ?? 0) - Math.max(0, held)
}

/** Slots that instances of reservations are in; they keep them while they rest. */
function runningOfReservations(books: Books, type: InstanceType, region: string): number {
  return books.reservations
    .filter(({ reservation }) => reservation.type === type.id && reservation.region === region)
    .reduce((sum, { instances }) => sum + instances.filter(instance => instance.hostId !== null).length, 0)
}

/** Winners first, so that what is free goes to the best of them. */
function ranked(outcome: Outcome, own: readonly BidBook[]): readonly BidBook[] {
  const order = [...outcome.winners, ...outcome.losers, ...outcome.setAside]
  const rank = (id: string) => (order.includes(id) ? order.indexOf(id) : order.length)
  return own.toSorted((a, b) => rank(a.bid.id) - rank(b.bid.id))
}

async function settleBid(round: Round, book: BidBook): Promise<Bid> {
  const { bid } = book
  if (bid.status === 'paused') return bid
  const next = round.outcome.winners.includes(bid.id) ? await won(round, book) : await lost(round, book)
  if (next !== bid) await round.change.tx.putOrder('bid', { ...next, updatedAt: round.books.at })
  return next
}

async function won(round: Round, book: BidBook): Promise<Bid> {
  const { bid, instances } = book
  const { change, books } = round
  const { tx } = change
  switch (bid.status) {
    case 'allocated':
      return bid
    case 'preempting': {
      // Once the notice is over it has to stop first.
      if (bid.preemptAt === null || books.at >= bid.preemptAt || instances.some(one => one.phase === 'preempted')) return stopping(round, book)
      await withdrawNotice(change, instances)
      await tellOrder(tx, bid, books.at, 'notice-withdrawn')
      return { ...bid, status: 'allocated', preemptAt: null, message: null }
    }
    default: {
      const waits = instances.every(isAtRest) ? whatIsMissing(round, book) : 'Its instances are still stopping.'
      if (waits !== null) return withMessage(bid, `It has won, and waits for room: ${waits}`)
      await startAll(round.core, change, books.hosts, bid, instances)
      await tellOrder(tx, bid, books.at, 'allocated', { spotMicros: round.outcome.clearingMicros })
      return { ...bid, status: 'allocated', allocatedAt: books.at, preemptAt: null, message: null }
    }
  }
}

/** Takes what a bid needs to start off what is free; or says what isn't there, and takes nothing. */
function whatIsMissing(round: Round, { bid, instances, rows }: BidBook): string | null {
  const size = sizeOf(round.type)
  const rooms = roomOf(round.books, round.region, round.free, [])
  for (const instance of instances) {
    if (!STARTED_AGAIN.includes(instance.phase)) continue
    const row = rows.find(one => one.instanceId === instance.id)
    const room = instance.hostId === null ? undefined : rooms.get(instance.hostId)
    // Its disk is its own already.
    const need = { ...size, diskBytes: row === undefined ? size.diskBytes : 0 }
    if (instance.hostId === null || room === undefined || !fits(room, need)) return 'the machine that has its disks is full.'
    rooms.set(instance.hostId, minus(room, need))
  }
  for (let missing = bid.quantity - instances.length; missing > 0; missing--) {
    if (!takeFirst(rooms, size)) return 'what it gets is still in use.'
  }
  const starting = bid.quantity - rows.filter(row => row.vcpus > 0).length
  if (starting > round.slotsFree) return 'what it gets is still in use.'
  round.slotsFree -= starting
  for (const [hostId, room] of rooms) round.free.set(hostId, room)
  return null
}

async function lost(round: Round, book: BidBook): Promise<Bid> {
  const { bid, instances } = book
  const { change, books, core, outcome, capacity } = round
  const message = outcome.losers.includes(bid.id)
    ? `It is outbid: the price is ${dollars(outcome.clearingMicros)} an hour, and it offers ${dollars(bid.limitMicros)}.`
    : bid.quantity > capacity
      ? `It asks for ${bid.quantity}, and there is room for ${capacity}.`
      : `It offers less than the least price, ${dollars(outcome.clearingMicros)} an hour.`
  switch (bid.status) {
    case 'allocated': {
      const told = { ...bid, message }
      if (instances.every(isAtRest)) {
        await tellOrder(change.tx, bid, books.at, 'preempted', { spotMicros: outcome.clearingMicros })
        return { ...told, status: 'open' }
      }
      const preemptAt = Math.ceil(books.at + core.config.market.noticeMs)
      await giveNotice(change, instances, told, preemptAt)
      await tellOrder(change.tx, bid, books.at, 'preempting', { preemptAt, spotMicros: outcome.clearingMicros })
      return { ...told, status: 'preempting', preemptAt }
    }
    case 'preempting':
      return stopping(round, book)
    default:
      return withMessage(bid, message)
  }
}

/** A bid with a notice: those of its instances that came up meanwhile get it too; once all rest it is open again. */
async function stopping(round: Round, { bid, instances }: BidBook): Promise<Bid> {
  const { change, books } = round
  const preemptAt = bid.preemptAt ?? books.at
  if (instances.some(instance => isServing(instance.phase))) await giveNotice(change, instances, bid, preemptAt)
  if (books.at < preemptAt) return bid
  await enforceNotice(change, instances)
  if (!instances.every(isAtRest)) return bid
  await tellOrder(change.tx, bid, books.at, 'preempted', { spotMicros: round.outcome.clearingMicros })
  return { ...bid, status: 'open', preemptAt: null }
}

/** Writes where the market is, if that is news, and gives what runs its new price from this moment on. */
async function writePoint({ change, books, type, region, outcome, capacity }: Round, settled: readonly Bid[], before: MarketPoint | null): Promise<void> {
  const { tx } = change
  const has = settled.filter(bid => bid.status === 'allocated' || bid.status === 'preempting')
  const allocated = has.reduce((sum, bid) => sum + bid.quantity, 0)
  const spotMicros = outcome.clearingMicros
  if (before?.spotMicros === spotMicros && before.capacity === capacity && before.allocated === allocated) return
  // Time never goes back in a list of prices, whatever the clock does.
  const at = Math.max(periodTime(books.at), before?.at ?? 0)
  await tx.putMarketPoint({ type: type.id, region, at, spotMicros, capacity, allocated })
  for (const period of await tx.periods({ projectId: null, kinds: ['spot'], type: type.id, region, openOnly: true })) {
    if (period.priceMicros === spotMicros) continue
    const from = Math.max(at, period.startAt)
    await tx.putPeriod({ ...period, endAt: from })
    await tx.putPeriod({ ...period, id: `${period.id.slice(0, 36)}.${from.toString(36)}`, priceMicros: spotMicros, startAt: from })
  }
}

/** Takes one slot off the first room that has it. */
function takeFirst(rooms: Map<HostId, Room>, size: Room, among: ReadonlySet<HostId> | null = null): boolean {
  for (const [hostId, room] of rooms) {
    if (!fits(room, size) || among?.has(hostId) === false) continue
    rooms.set(hostId, minus(room, size))
    return true
  }
  return false
}

function withMessage(bid: Bid, message: string): Bid {
  return bid.message === message ? bid : { ...bid, message }
}

function dollars(micros: number): string {
  return `$${(micros / 1_000_000).toFixed(2)}`
}

