/**
 * What reservations hold of a host, against those who want room on it.
 *
 *   used by others = what instances hold − what instances of reservations hold + what reservations hold
 *
 * Against whom:
 * - An instance on demand may live for ever, so everything that is reserved from now on counts, at its peak.
 * - An instance of a bid gives way with a notice, so only what is reserved now counts.
 * - An instance of a reservation has its own slot; what others hold now counts.
 */
import type { Reservation } from '../../instance/market.ts'
import { orderOf } from '../../instance/market.ts'
import type { HostId, Instance, InstanceId, TimestampMs } from '../../instance/model.ts'
import type { Hold, Room } from '../../instance/room.ts'
import { heldAt, minus, NO_ROOM, peakHeld, plus } from '../../instance/room.ts'
import type { Slot, StoreReader } from '../store-port.ts'

/** Slots are counted as if each were one CPU. */
const ONE_SLOT: Room = { vcpus: 1, memoryBytes: 0, diskBytes: 0 }

type Reader = Pick<StoreReader, 'orders' | 'instances' | 'reservation'>

/** Reservations that are not over, with the instances they have. */
export interface LiveReservation {
  readonly reservation: Reservation
  readonly instances: readonly Instance[]
}

export async function liveReservations(reader: Pick<StoreReader, 'orders' | 'instances'>): Promise<readonly LiveReservation[]> {
  const live: LiveReservation[] = []
  for (const reservation of await reader.orders('reservation', { projectId: null, liveOnly: true, order: 'oldest-first' })) {
    live.push({ reservation, instances: await reader.instances({ projectId: reservation.projectId, annotations: { market_order: reservation.id } }) })
  }
  return live
}

/** What all reservations but one slot hold of a host, from when to when. */
export function holdsOn(live: readonly LiveReservation[], hostId: HostId, except: { readonly id: string; readonly slot: number } | null = null): readonly Hold[] {
  return live.flatMap(({ reservation }) =>
    reservation.slots
      .filter(({ slot, hostId: on }) => on === hostId && !(except?.id === reservation.id && except.slot === slot))
      .map(() => ({ size: reservation.size, startAt: reservation.startAt, endAt: reservation.endAt })),
  )
}

/** What instances of reservations hold of a host in the store, but for one of them. */
export async function heldByInstances(reader: Pick<StoreReader, 'reservation'>, live: readonly LiveReservation[], hostId: HostId, except: InstanceId | null): Promise<Room> {
  let sum = NO_ROOM
  for (const { instances } of live) {
    for (const instance of instances) {
      if (instance.id === except) continue
      const row = await reader.reservation(instance.id)
      if (row !== null && row.hostId === hostId) sum = plus(sum, row)
    }
  }
  return sum
}

/** The same of a region's slots of a type: what is to be added to those that instances have. */
export async function heldSlotsFor(reader: Reader, slot: Slot, instance: Pick<Instance, 'id' | 'annotations'> | null, now: TimestampMs): Promise<number> {
  const live = (await liveReservations(reader)).filter(({ reservation }) => reservation.type === slot.type && reservation.region === slot.region)
  if (live.length === 0) return 0
  const order = instance === null ? null : orderOf(instance)
  const own = order?.kind === 'reservation' ? order : null
  const holds = live.flatMap(({ reservation }) =>
    reservation.slots
      .filter(one => !(own?.id === reservation.id && own.slot === one.slot))
      .map(() => ({ size: ONE_SLOT, startAt: reservation.startAt, endAt: reservation.endAt })),
  )
  const held = order === null ? peakHeld(holds, now, Number.POSITIVE_INFINITY) : heldAt(holds, now)
  let running = 0
  for (const { instances } of live) {
    for (const one of instances) if (one.id !== instance?.id && ((await reader.reservation(one.id))?.vcpus ?? 0) > 0) running++
  }
  return held.vcpus - running
}

/** What is to be added to what instances hold of a host, before an instance is placed there; null is a new one on demand. */
export async function heldFor(reader: Reader, hostId: HostId, instance: Pick<Instance, 'id' | 'annotations'> | null, now: TimestampMs): Promise<Room> {
  const live = await liveReservations(reader)
  if (live.length === 0) return NO_ROOM
  const order = instance === null ? null : orderOf(instance)
  const holds = holdsOn(live, hostId, order?.kind === 'reservation' ? order : null)
  const held = order === null ? peakHeld(holds, now, Number.POSITIVE_INFINITY) : heldAt(holds, now)
  return minus(held, await heldByInstances(reader, live, hostId, instance?.id ?? null))
}
