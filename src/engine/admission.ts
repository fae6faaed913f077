/**
 * Who gets a place: CPU, memory, disk, an address and ports are reserved on one host, all or none, in the
 * transaction that places the instance. Two requests can't take the last slot, since transactions are serial.
 *
 *   capacity × over-commit = limit;   sum of reservations + what is wanted ≤ limit, or `insufficient_resources`
 *
 * CPU and memory are held while a VMM may exist; disk, address and ports from create to delete. What the market's
 * reservations hold counts as used for everybody else (market/holds.ts).
 */
import { freeAddress, macOf, parseSubnet } from '../instance/address.ts'
import { BerthError } from '../instance/errors.ts'
import type { Instance, InstanceSpec, NetworkAddress } from '../instance/model.ts'
import type { Budget } from './budget.ts'
import { budgetOf } from './budget.ts'
import { checkSlot } from './capacity.ts'
import type { EngineConfig } from './config.ts'
import type { Core } from './core.ts'
import type { HostLink } from './fleet.ts'
import type { HostFacts } from './host-port.ts'
import { heldFor, heldSlotsFor } from './market/holds.ts'
import type { Reservation, Slot, StoreTx } from './store-port.ts'

export type PlacedInstance = Pick<Instance, 'id' | 'spec' | 'address' | 'annotations'>

/** A host that may be chosen; its facts were read before the transaction. */
export interface Candidate {
  readonly link: HostLink
  readonly facts: HostFacts
}

/** What admission goes by. */
export type Rules = Pick<Core, 'config' | 'catalogue' | 'now'>

export interface Placement {
  readonly reservation: Reservation
  readonly address: NetworkAddress | null
}

/** The facts of hosts that answer now. */
export async function candidatesOf(links: readonly HostLink[]): Promise<readonly Candidate[]> {
  return Promise.all(links.map(async link => ({ link, facts: await link.facts() })))
}

/** Reserves all that a new instance needs, on the host with the most memory left; writes the reservation. */
export async function placeNew(
  tx: StoreTx,
  candidates: readonly Candidate[],
  instance: PlacedInstance,
  rules: Rules,
): Promise<Placement> {
  const slot = await admitted(tx, instance, rules)
  const options: { candidate: Candidate; budget: Budget }[] = []
  for (const candidate of candidates) options.push({ candidate, budget: await budgetFor(tx, candidate.facts, instance, rules) })
  options.sort((a, b) => left(b.budget.memoryBytes) - left(a.budget.memoryBytes))
  let refusal: BerthError | null = null
  for (const { candidate, budget } of options) {
    try {
      checkBudget(budget, instance.spec, diskOf(instance.spec), candidate.link.id)
      const address = await chooseAddress(tx, candidate, instance)
      const reservation: Reservation = {
        instanceId: instance.id,
        hostId: candidate.link.id,
        vcpus: instance.spec.vcpus,
        memoryBytes: memoryOf(instance.spec),
        diskBytes: diskOf(instance.spec),
        ip: address?.ip ?? null,
        ports: portNames(instance.spec),
        slot,
      }
      // The store itself refuses a port that is taken (`port_in_use`).
      await tx.putReservation(reservation)
      return { reservation, address }
    } catch (error) {
      if (!(error instanceof BerthError)) throw error
      refusal ??= error
    }
  }
  throw refusal ?? new BerthError('host_unavailable', 'No host answers: wait until one is back.')
}

/**
 * Reserves CPU and memory again for an instance that kept its disk and address. `force` is for one that
 * already runs: what is so can't be refused.
 */
export async function placeAgain(
  tx: StoreTx,
  candidate: Candidate,
  instance: Instance,
  rules: Rules,
  options: { readonly force?: boolean } = {},
): Promise<Placement> {
  const own = await tx.reservation(instance.id)
  if (own === null) return placeNew(tx, [candidate], instance, rules)
  if (options.force !== true) {
    await admitted(tx, instance, rules)
    checkBudget(await budgetFor(tx, candidate.facts, instance, rules), instance.spec, own.diskBytes, candidate.link.id)
  }
  const reservation = { ...own, vcpus: instance.spec.vcpus, memoryBytes: memoryOf(instance.spec) }
  await tx.putReservation(reservation)
  return { reservation, address: instance.address }
}

/** The slot that an instance takes in its region; throws if none is left. */
async function admitted(tx: StoreTx, instance: PlacedInstance, { catalogue, now }: Rules): Promise<Slot | null> {
  const { region, type } = instance.spec.place ?? { region: '', type: null }
  if (type === null) return null
  const slot = { region, type }
  checkSlot(catalogue, slot, await tx.slotUse(instance.id), await heldSlotsFor(tx, slot, instance, now()))
  return slot
}

/** Throws unless the host has disk for this much more (a volume, an overlay). */
export async function checkDisk(tx: StoreTx, facts: HostFacts, bytes: number, config: EngineConfig): Promise<void> {
  const budget = await budgetOf(tx, facts, config.overcommit, null)
  if (budget.diskBytes.used + bytes > budget.diskBytes.limit) throw insufficient('disk', budget.diskBytes, bytes, facts.hostId)
}

/** What a host may promise to an instance: what is used by others, and what reservations hold against it. */
async function budgetFor(tx: StoreTx, facts: HostFacts, instance: PlacedInstance, { config, now }: Rules): Promise<Budget> {
  const budget = await budgetOf(tx, facts, config.overcommit, instance.id)
  const held = await heldFor(tx, facts.hostId, instance, now())
  return {
    vcpus: { ...budget.vcpus, used: budget.vcpus.used + held.vcpus },
    memoryBytes: { ...budget.memoryBytes, used: budget.memoryBytes.used + held.memoryBytes },
    diskBytes: { ...budget.diskBytes, used: budget.diskBytes.used + held.diskBytes },
  }
}

/** Memory that counts against the host: what it has, and what may be plugged in. */
export function memoryOf(spec: InstanceSpec): number {
  return spec.memoryBytes + spec.hotplugBytes
}

/** Disk that counts against the host: everything that the instance alone can write. */
export function diskOf(spec: InstanceSpec): number {
  return spec.volumes.reduce((total, mount) => total + (mount.overlayBytes ?? 0), spec.overlayBytes)
}

export function portNames(spec: InstanceSpec): readonly string[] {
  return spec.network.ports.map(port => `${port.protocol}/${port.hostPort}`)
}

function checkBudget(budget: Budget, spec: InstanceSpec, diskBytes: number, host: string): void {
  const wanted = [
    ['vCPUs', budget.vcpus, spec.vcpus],
    ['memory', budget.memoryBytes, memoryOf(spec)],
    ['disk', budget.diskBytes, diskBytes],
  ] as const
  for (const [what, line, more] of wanted) {
    if (line.used + more > line.limit) throw insufficient(what, line, more, host)
  }
}

/** The address of before if it is still free, so that it is one for life; otherwise the lowest free one. */
async function chooseAddress(
  tx: StoreTx,
  candidate: Candidate,
  instance: PlacedInstance,
): Promise<NetworkAddress | null> {
  const { network } = candidate.facts
  if (!instance.spec.network.enabled || network.mode === 'none') return null
  const taken = new Set(await tx.addresses(candidate.link.id))
  if (instance.address !== null && !taken.has(instance.address.ip)) return instance.address
  const ip = freeAddress(parseSubnet(network.subnet), taken)
  if (ip === null) {
    throw new BerthError('insufficient_resources', `All addresses of ${network.subnet} are taken: delete an instance, or configure a larger subnet.`)
  }
  return { ip, mac: macOf(ip), network: 'default' }
}

function insufficient(what: 'vCPUs' | 'memory' | 'disk', line: { readonly limit: number; readonly used: number }, more: number, host: string): BerthError {
  const shown = (value: number) => (what === 'vCPUs' ? `${Math.max(0, value)}` : `${Math.max(0, Math.round(value / 2 ** 20))} MiB`)
  return new BerthError(
    'insufficient_resources',
    `Not enough ${what}: ${shown(more)} wanted, ${shown(line.limit - line.used)} of ${shown(line.limit)} left on ${host}. Stop or delete something, or ask for less.`,
    { details: { resource: what === 'vCPUs' ? 'cpu' : what, wanted: more, left: Math.max(0, line.limit - line.used) } },
  )
}

function left(line: { readonly limit: number; readonly used: number }): number {
  return line.limit - line.used
}

