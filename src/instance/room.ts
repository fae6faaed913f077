/**
 * Room on machines, and over time: how many slots of a size fit, and what reservations take of it until when.
 * Pure arithmetic over (vCPUs, memory, disk).
 */
import type { SlotSize } from './market.ts'
import type { TimestampMs } from './model.ts'

export type Room = SlotSize

/** What is held from one time (inclusive) to another (exclusive). */
export interface Hold {
  readonly size: SlotSize
  readonly startAt: TimestampMs
  readonly endAt: TimestampMs
}

export const NO_ROOM: Room = { vcpus: 0, memoryBytes: 0, diskBytes: 0 }

export function plus(a: Room, b: Room): Room {
  return { vcpus: a.vcpus + b.vcpus, memoryBytes: a.memoryBytes + b.memoryBytes, diskBytes: a.diskBytes + b.diskBytes }
}

export function minus(a: Room, b: Room): Room {
  return { vcpus: a.vcpus - b.vcpus, memoryBytes: a.memoryBytes - b.memoryBytes, diskBytes: a.diskBytes - b.diskBytes }
}

/** So many times. */
export function times(size: SlotSize, count: number): Room {
  return { vcpus: size.vcpus * count, memoryBytes: size.memoryBytes * count, diskBytes: size.diskBytes * count }
}

export function fits(room: Room, size: SlotSize): boolean {
  return size.vcpus <= room.vcpus && size.memoryBytes <= room.memoryBytes && size.diskBytes <= room.diskBytes
}

/** How many slots of a size the room holds. */
export function slotsIn(room: Room, size: SlotSize): number {
  const part = (all: number, one: number) => (one <= 0 ? Number.POSITIVE_INFINITY : Math.floor(all / one))
  const count = Math.min(part(room.vcpus, size.vcpus), part(room.memoryBytes, size.memoryBytes), part(room.diskBytes, size.diskBytes))
  return Number.isFinite(count) ? Math.max(0, count) : 0
}

/** What is held at a moment. */
export function heldAt(holds: readonly Hold[], at: TimestampMs): Room {
  return holds.filter(hold => hold.startAt <= at && at < hold.endAt).reduce((sum, hold) => plus(sum, hold.size), NO_ROOM)
}

/** The most of each that is held at any moment of a span; the moments at which something begins tell all. */
export function peakHeld(holds: readonly Hold[], from: TimestampMs, until: TimestampMs): Room {
  const moments = [from, ...holds.map(hold => hold.startAt).filter(at => at > from && at < until)]
  return moments
    .map(at => heldAt(holds, at))
    .reduce((most, held) => ({
      vcpus: Math.max(most.vcpus, held.vcpus),
      memoryBytes: Math.max(most.memoryBytes, held.memoryBytes),
      diskBytes: Math.max(most.diskBytes, held.diskBytes),
    }), NO_ROOM)
}
