/**
 * How many instances of a type a region can take: the one answer that admission, dialects and the market use.
 *
 *   a simulated region   its slots per type, of each type
 *   home                 what is there already, and as many more as CPU, memory and disk have room for;
 *                        no GPUs: nothing here passes one through
 *
 * What reservations hold, from now on, is nobody else's.
 */
import type { Catalogue, InstanceType, Region } from '../instance/catalogue.ts'
import { BerthError } from '../instance/errors.ts'
import { requireScope } from './access.ts'
import type { Caller } from './api.ts'
import { budgetOf } from './budget.ts'
import type { Budget } from './budget.ts'
import type { Overcommit } from './config.ts'
import type { Core } from './core.ts'
import type { HostFacts } from './host-port.ts'
import { heldFor, heldSlotsFor } from './market/holds.ts'
import type { Slot, SlotUse, StoreReader } from './store-port.ts'

export interface Capacity extends Slot {
  readonly total: number
  /** By instances of this type in this region, whoever has them. */
  readonly used: number
  readonly free: number
}

/** Of every type in every region, in the catalogue's order. */
export async function capacitiesOf(core: Core, reader: StoreReader = core.store.read): Promise<readonly Capacity[]> {
  const { catalogue, fleet, config, now } = core
  const use = await reader.slotUse(null)
  const budget = await freeBudget(reader, await fleet.home.facts(), config.overcommit, now())
  const found: Capacity[] = []
  for (const region of catalogue.regions) {
    for (const type of catalogue.types) {
      const slot = { region: region.id, type: type.id }
      const held = region.simulated === null ? 0 : await heldSlotsFor(reader, slot, null, now())
      found.push(capacityIn(region, type, usedOf(use, slot) + held, budget))
    }
  }
  return found
}

async function freeBudget(reader: StoreReader, facts: HostFacts, overcommit: Overcommit, now: number): Promise<Budget> {
  const budget = await budgetOf(reader, facts, overcommit, null)
  const held = await heldFor(reader, facts.hostId, null, now)
  const plus = (line: Budget['vcpus'], more: number) => ({ ...line, used: line.used + more })
  return { vcpus: plus(budget.vcpus, held.vcpus), memoryBytes: plus(budget.memoryBytes, held.memoryBytes), diskBytes: plus(budget.diskBytes, held.diskBytes) }
}

export async function capacityFor(core: Core, caller: Caller): Promise<readonly Capacity[]> {
  requireScope(caller, 'read')
  return capacitiesOf(core)
}

/** Throws `insufficient_resources` where no slot is left; `held` are those that reservations keep besides. Home is held to its CPU, memory and disk, and has no GPUs. */
export function checkSlot(catalogue: Catalogue, slot: Slot, use: readonly SlotUse[], held: number): void {
  const region = catalogue.regions.find(({ id }) => id === slot.region)
  const type = catalogue.types.find(({ id }) => id === slot.type)
  const slots = region?.simulated?.slotsPerType ?? (type === undefined || type.gpu === null ? Number.POSITIVE_INFINITY : 0)
  if (usedOf(use, slot) + held < slots) return
  const why = slots === 0 ? `The region ${slot.region} has no ${slot.type}` : `All ${slots} of ${slot.type} in the region ${slot.region} are taken`
  throw new BerthError('insufficient_resources', `${why}: use another type or region, or delete an instance there.`, {
    details: { resource: 'slots', region: slot.region, type: slot.type, left: 0 },
  })
}

function capacityIn(region: Region, type: InstanceType, used: number, budget: Budget): Capacity {
  const slot = { region: region.id, type: type.id, used }
  const slots = region.simulated?.slotsPerType
  const free = slots === undefined ? roomFor(type, budget) : Math.max(0, slots - used)
  return { ...slot, total: used + free, free }
}

function roomFor(type: InstanceType, { vcpus, memoryBytes, diskBytes }: Budget): number {
  if (type.gpu !== null) return 0
  const times = (line: { readonly limit: number; readonly used: number }, each: number) => Math.max(0, Math.floor((line.limit - line.used) / each))
  return Math.min(times(vcpus, type.vcpus), times(memoryBytes, type.memoryBytes), times(diskBytes, type.diskBytes))
}

function usedOf(use: readonly SlotUse[], slot: Slot): number {
  return use.find(({ region, type }) => region === slot.region && type === slot.type)?.used ?? 0
}
