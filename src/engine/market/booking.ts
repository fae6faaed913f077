/**
 * What can be reserved, and when. Reservations have room against everything that gives way or ends: bids are preempted
 * for them, other reservations end; instances on demand stay, so what they have is never reserved.
 */
import type { HostId, TimestampMs } from '../../instance/model.ts'
import type { SlotSize } from '../../instance/market.ts'
import type { Hold, Room } from '../../instance/room.ts'
import { heldAt, minus, peakHeld, plus, slotsIn } from '../../instance/room.ts'
import type { Catalogue } from '../../instance/catalogue.ts'
import type { ReservableSlot } from './api.ts'
import type { Books } from './books.ts'
import { slotLimitOf } from './ground.ts'
import { holdsOn } from './holds.ts'
import type { LiveReservation } from './holds.ts'

export interface Market {
  readonly type: string
  readonly region: string
  readonly size: SlotSize
}

/** How many slots each host could hold from one time to another; `except` is a reservation that doesn't count. */
export function bookable(catalogue: Catalogue, books: Books, market: Market, from: TimestampMs, until: TimestampMs, except: string | null = null): ReadonlyMap<HostId, number> {
  const others = books.reservations.filter(({ reservation }) => reservation.id !== except)
  const rooms = roomsFor(books, market.region)
  const found = new Map<HostId, number>()
  let left = slotsLeft(catalogue, books, market, others, from, until)
  for (const [hostId, room] of rooms) {
    const slots = Math.min(left, slotsIn(minus(room, peakHeld(holdsOn(others, hostId), from, until)), market.size))
    found.set(hostId, slots)
    left -= slots
  }
  return found
}

/** The hosts for so many slots, or null if there aren't so many. */
export function chooseHosts(slots: ReadonlyMap<HostId, number>, quantity: number): readonly HostId[] | null {
  const chosen: HostId[] = []
  for (const [hostId, count] of slots) for (let index = 0; index < count && chosen.length < quantity; index++) chosen.push(hostId)
  return chosen.length < quantity ? null : chosen
}

/** The span in parts, each with the slots that can be had all through it. */
export function reservableParts(catalogue: Catalogue, books: Books, market: Market, from: TimestampMs, until: TimestampMs): readonly ReservableSlot[] {
  const parts: ReservableSlot[] = []
  const moments = momentsIn(books, from, until)
  for (const [index, startAt] of moments.entries()) {
    const endAt = moments[index + 1] ?? until
    const quantity = [...bookable(catalogue, books, market, startAt, endAt).values()].reduce((sum, count) => sum + count, 0)
    const last = parts.at(-1)
    if (last?.quantity === quantity) parts[parts.length - 1] = { ...last, endAt }
    else parts.push({ startAt, endAt, quantity })
  }
  return parts
}

/** How long the slots of a reservation could stay where they are, at most until a time. */
export function extensionLimit(catalogue: Catalogue, books: Books, { reservation }: LiveReservation, latest: TimestampMs): TimestampMs {
  let end = reservation.endAt
  for (const moment of [...momentsIn(books, reservation.endAt, latest).slice(1), latest]) {
    const room = bookable(catalogue, books, reservation, reservation.endAt, moment, reservation.id)
    const needed = new Map<string, number>()
    for (const { hostId } of reservation.slots) needed.set(hostId, (needed.get(hostId) ?? 0) + 1)
    if ([...needed].some(([hostId, count]) => (room.get(hostId as HostId) ?? 0) < count)) break
    end = moment
  }
  return end
}

/** Times within a span at which reservations begin or end, with the span's own beginning. */
function momentsIn(books: Books, from: TimestampMs, until: TimestampMs): readonly TimestampMs[] {
  const all = books.reservations.flatMap(({ reservation }) => [reservation.startAt, reservation.endAt])
  return [...new Set([from, ...all.filter(at => at > from && at < until)])].toSorted((a, b) => a - b)
}

/** The rooms of a region without bids and reservations. */
function roomsFor(books: Books, region: string): ReadonlyMap<HostId, Room> {
  const rooms = new Map<HostId, Room>()
  for (const { link, region: where } of books.hosts) {
    if (where !== region) continue
    const held = heldAt(holdsOn(books.reservations, link.id), books.at)
    const ofBids = books.bids.flatMap(({ rows }) => rows).filter(row => row.hostId === link.id)
    rooms.set(link.id, ofBids.reduce<Room>(plus, plus(books.free.get(link.id) ?? held, held)))
  }
  return rooms
}

/** Where a region has a number of slots of each type: those that others do not have at any time of the span. */
function slotsLeft(catalogue: Catalogue, books: Books, market: Market, others: readonly LiveReservation[], from: TimestampMs, until: TimestampMs): number {
  const limit = slotLimitOf(catalogue, market.type, market.region)
  if (limit === null) return Number.POSITIVE_INFINITY
  const isSame = (one: { readonly type: string; readonly region: string }) => one.type === market.type && one.region === market.region
  const ofBids = books.bids.filter(({ bid }) => isSame(bid)).reduce((sum, { rows }) => sum + rows.filter(row => row.vcpus > 0).length, 0)
  const ofReservations = books.reservations.filter(({ reservation }) => isSame(reservation)).reduce((sum, { instances }) => sum + instances.length, 0)
  const onDemand = Math.max(0, (books.slotsUsed.get(`${market.region}/${market.type}`) ?? 0) - ofBids - ofReservations)
  const one = { vcpus: 1, memoryBytes: 0, diskBytes: 0 }
  const holds: Hold[] = others
    .filter(({ reservation }) => isSame(reservation))
    .flatMap(({ reservation }) => reservation.slots.map(() => ({ size: one, startAt: reservation.startAt, endAt: reservation.endAt })))
  return Math.max(0, limit - onDemand - peakHeld(holds, from, until).vcpus)
}
