/**
 * What the market stands on: the machines of each region with what they may promise, and the catalogue's types as
 * slots. Facts are read before a transaction; what is used of them is read within it (books.ts).
 */
import type { Catalogue, InstanceType } from '../../instance/catalogue.ts'
import { MICROS_PER_CENT } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import type { SlotSize } from '../../instance/market.ts'
import type { HostId } from '../../instance/model.ts'
import type { Room } from '../../instance/room.ts'
import type { Candidate } from '../admission.ts'
import type { Core } from '../core.ts'
import type { HostLink } from '../fleet.ts'
import type { HostFacts } from '../host-port.ts'

export interface HostGround extends Candidate {
  readonly region: string
  /** All that the host may promise, over-commit included. */
  readonly limit: Room
}

export class Ground {
  readonly #core: Pick<Core, 'fleet' | 'config' | 'catalogue'>
  /** A host that is silent for a moment has not lost its size. */
  readonly #lastFacts = new Map<HostId, HostFacts>()

  constructor(core: Pick<Core, 'fleet' | 'config' | 'catalogue'>) {
    this.#core = core
  }

  async hosts(): Promise<readonly HostGround[]> {
    const { fleet, config, catalogue } = this.#core
    const hosts: HostGround[] = []
    for (const link of fleet.links) {
      const known = link.silent ? this.#lastFacts.get(link.id) : undefined
      const facts = known ?? (await link.facts())
      this.#lastFacts.set(link.id, facts)
      const { cpu, memory, disk } = config.overcommit
      const limit = { vcpus: facts.cpus * cpu, memoryBytes: facts.memoryBytes * memory, diskBytes: facts.diskBytes * disk }
      hosts.push({ link, facts, region: regionOfLink(catalogue, link), limit })
    }
    return hosts
  }
}

/** The region of a host; what has none yet is at home. */
export function regionOfLink(catalogue: Catalogue, link: HostLink | null): string {
  return link?.region ?? homeRegionId(catalogue)
}

/** The region of this machine: the first that doesn't only pretend. */
export function homeRegionId(catalogue: Catalogue): string {
  return (catalogue.regions.find(region => region.simulated === null) ?? catalogue.regions[0])?.id ?? 'home'
}

export function sizeOf(type: InstanceType): SlotSize {
  return { vcpus: type.vcpus, memoryBytes: type.memoryBytes, diskBytes: type.diskBytes }
}

/** The least that a bid may offer: a part of the catalogue's price in whole cents, one at least. */
export function floorMicrosOf(type: InstanceType, floorShare: number): number {
  return Math.max(MICROS_PER_CENT, Math.ceil((type.priceMicrosPerHour * floorShare) / MICROS_PER_CENT) * MICROS_PER_CENT)
}

/** Slots that a region has of a type whatever its machines have room for; null where only their room counts. */
export function slotLimitOf(catalogue: Catalogue, typeId: string, regionId: string): number | null {
  const region = catalogue.regions.find(one => one.id === regionId)
  if (region?.simulated) return region.simulated.slotsPerType
  const type = catalogue.types.find(one => one.id === typeId)
  // No machine here passes a GPU through.
  return type === undefined || type.gpu !== null ? 0 : null
}

/** The type and the region that a market is of. Throws `invalid_request` with the field. */
export function marketOf(catalogue: Catalogue, typeId: string, regionId: string): InstanceType {
  const type = catalogue.types.find(one => one.id === typeId)
  if (type === undefined) {
    const known = catalogue.types.map(one => one.id).join(', ')
    throw new BerthError('invalid_request', `There is no type ${JSON.stringify(typeId.slice(0, 80))}: use one of ${known}.`, { details: { field: 'type' } })
  }
  if (!catalogue.regions.some(one => one.id === regionId)) {
    const known = catalogue.regions.map(one => one.id).join(', ')
    throw new BerthError('invalid_request', `There is no region ${JSON.stringify(regionId.slice(0, 80))}: use one of ${known}.`, { details: { field: 'region' } })
  }
  return type
}
