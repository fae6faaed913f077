/**
 * The books of all markets at one moment, read in one transaction: what is physically free on each host, what each
 * live bid holds of it, and what reservations hold. Auctions and quotes are worked out from these numbers alone.
 *
 *   free on a host = limit − what instances hold − (what reservations hold − what their instances hold already)
 */
import type { Bid } from '../../instance/market.ts'
import { orderOf } from '../../instance/market.ts'
import type { HostId, Instance, TimestampMs } from '../../instance/model.ts'
import type { Room } from '../../instance/room.ts'
import { heldAt, minus, plus, slotsIn } from '../../instance/room.ts'
import type { Reservation as Row, StoreReader } from '../store-port.ts'
import type { HostGround } from './ground.ts'
import type { LiveReservation } from './holds.ts'
import { heldByInstances, holdsOn, liveReservations } from './holds.ts'

export interface BidBook {
  readonly bid: Bid
  /** Living ones, in the order of their slots. */
  readonly instances: readonly Instance[]
  /** What each of them holds of its host. */
  readonly rows: readonly Row[]
}

export interface Books {
  readonly at: TimestampMs
  readonly hosts: readonly HostGround[]
  readonly free: ReadonlyMap<HostId, Room>
  readonly bids: readonly BidBook[]
  readonly reservations: readonly LiveReservation[]
  /** Instances that hold CPU as this type in this region, by `region/type`. */
  readonly slotsUsed: ReadonlyMap<string, number>
}

export async function readBooks(reader: StoreReader, hosts: readonly HostGround[], at: TimestampMs): Promise<Books> {
  const reservations = await liveReservations(reader)
  const bids: BidBook[] = []
  for (const bid of await reader.orders('bid', { projectId: null, liveOnly: true, order: 'oldest-first' })) {
    const instances = bySlot(await reader.instances({ projectId: bid.projectId, annotations: { market_order: bid.id } }))
    const rows: Row[] = []
    for (const instance of instances) {
      const row = await reader.reservation(instance.id)
      if (row !== null) rows.push(row)
    }
    bids.push({ bid, instances, rows })
  }
  const free = new Map<HostId, Room>()
  for (const { link, limit } of hosts) {
    const { vcpus, memoryBytes, diskBytes, volumeBytes } = await reader.usage(link.id, null)
    const used = { vcpus, memoryBytes, diskBytes: diskBytes + volumeBytes }
    const held = minus(heldAt(holdsOn(reservations, link.id), at), await heldByInstances(reader, reservations, link.id, null))
    free.set(link.id, minus(limit, plus(used, held)))
  }
  const slotsUsed = new Map((await reader.slotUse(null)).map(use => [`${use.region}/${use.type}`, use.used]))
  return { at, hosts, free, bids, reservations, slotsUsed }
}

export function bySlot(instances: readonly Instance[]): readonly Instance[] {
  return instances.toSorted((a, b) => (orderOf(a)?.slot ?? 0) - (orderOf(b)?.slot ?? 0) || a.createdAt - b.createdAt)
}

/** The room of each host of a region, with what some bids hold given back. */
export function roomOf(books: Books, region: string, free: ReadonlyMap<HostId, Room>, givenBack: readonly BidBook[]): Map<HostId, Room> {
  const rooms = new Map<HostId, Room>()
  for (const host of books.hosts) if (host.region === region) rooms.set(host.link.id, free.get(host.link.id) ?? host.limit)
  for (const { rows } of givenBack) {
    for (const row of rows) {
      const room = rooms.get(row.hostId)
      if (room !== undefined) rooms.set(row.hostId, plus(room, row))
    }
  }
  return rooms
}

/** Slots of a size in all rooms together; no slot spans two hosts. */
export function slotsOver(rooms: ReadonlyMap<HostId, Room>, size: Room): number {
  let slots = 0
  for (const room of rooms.values()) slots += slotsIn(room, size)
  return slots
}

/** Slots that reservations hold now of a type in a region. */
export function reservedSlots(books: Books, type: string, region: string): number {
  return books.reservations
    .filter(({ reservation: one }) => one.type === type && one.region === region && one.startAt <= books.at && books.at < one.endAt)
    .reduce((sum, { reservation }) => sum + reservation.slots.length, 0)
}
