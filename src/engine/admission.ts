/**
 * Who gets a place: CPU, memory, disk, an address and ports are reserved on one host, all or none, in the
 * transaction that places the instance. Two requests can't take the last slot, since transactions are serial.
 *
 *   capacity × over-commit = limit;   sum of reservations + what is wanted ≤ limit, or `insufficient_resources`
 *
 * CPU and memory are held while a VMM may exist; disk, address and ports from create to delete.
 */
import { freeAddress, macOf, parseSubnet } from '../instance/address.ts'
import { BerthError } from '../instance/errors.ts'
import type { Instance, InstanceSpec, NetworkAddress } from '../instance/model.ts'
import type { EngineConfig, Overcommit } from './config.ts'
import type { HostLink } from './fleet.ts'
import type { HostFacts } from './host-port.ts'
import type { Reservation, StoreTx } from './store-port.ts'

/** A host that may be chosen; its facts were read before the transaction. */
export interface Candidate {
  readonly link: HostLink
  readonly facts: HostFacts
}

export interface Placement {
  readonly reservation: Reservation
  readonly address: NetworkAddress | null
}

/** Of a host: what may be promised, and what is. */
export interface Budget {
  readonly vcpus: { readonly limit: number; readonly used: number }
  readonly memoryBytes: { readonly limit: number; readonly used: number }
  readonly diskBytes: { readonly limit: number; readonly used: number }
}

/** The facts of hosts that answer now. */
export async function candidatesOf(links: readonly HostLink[]): Promise<readonly Candidate[]> {
  return Promise.all(links.map(async link => ({ link, facts: await link.facts() })))
}

/** Reserves all that a new instance needs, on the host with the most memory left; writes the reservation. */
export async function placeNew(
  tx: StoreTx,
  candidates: readonly Candidate[],
  instance: Pick<Instance, 'id' | 'spec' | 'address'>,
  config: EngineConfig,
): Promise<Placement> {
  const options: { candidate: Candidate; held: readonly Reservation[]; budget: Budget }[] = []
  for (const candidate of candidates) {
    const held = await othersOf(tx, candidate, instance.id)
    options.push({ candidate, held, budget: await budgetOf(tx, candidate.facts, held, config.overcommit) })
  }
  options.sort((a, b) => left(b.budget.memoryBytes) - left(a.budget.memoryBytes))
  let refusal: BerthError | null = null
  for (const { candidate, held, budget } of options) {
    try {
      checkBudget(budget, instance.spec, diskOf(instance.spec), candidate.link.id)
      checkPorts(held, instance.spec)
      const address = chooseAddress(candidate, held, instance)
      const reservation: Reservation = {
        instanceId: instance.id,
        hostId: candidate.link.id,
        vcpus: instance.spec.vcpus,
        memoryBytes: memoryOf(instance.spec),
        diskBytes: diskOf(instance.spec),
        ip: address?.ip ?? null,
        ports: portNames(instance.spec),
      }
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
  config: EngineConfig,
  options: { readonly force?: boolean } = {},
): Promise<Placement> {
  const own = await tx.reservation(instance.id)
  if (own === null) return placeNew(tx, [candidate], instance, config)
  if (options.force !== true) {
    const others = await othersOf(tx, candidate, instance.id)
    checkBudget(await budgetOf(tx, candidate.facts, others, config.overcommit), instance.spec, own.diskBytes, candidate.link.id)
  }
  const reservation = { ...own, vcpus: instance.spec.vcpus, memoryBytes: memoryOf(instance.spec) }
  await tx.putReservation(reservation)
  return { reservation, address: instance.address }
}

/** Throws unless the host has disk for this much more (a volume, an overlay). */
export async function checkDisk(tx: StoreTx, facts: HostFacts, bytes: number, config: EngineConfig): Promise<void> {
  const budget = await budgetOf(tx, facts, await tx.reservations(facts.hostId), config.overcommit)
  if (budget.diskBytes.used + bytes > budget.diskBytes.limit) throw insufficient('disk', budget.diskBytes, bytes, facts.hostId)
}

export async function budgetOf(tx: Pick<StoreTx, 'volumes'>, facts: HostFacts, held: readonly Reservation[], overcommit: Overcommit): Promise<Budget> {
  const volumes = await tx.volumes({ projectId: null })
  return {
    vcpus: { limit: facts.cpus * overcommit.cpu, used: sum(held, one => one.vcpus) },
    memoryBytes: { limit: facts.memoryBytes * overcommit.memory, used: sum(held, one => one.memoryBytes) },
    diskBytes: {
      limit: facts.diskBytes * overcommit.disk,
      used: sum(held, one => one.diskBytes) + sum(volumes, volume => volume.sizeBytes),
    },
  }
}

/** Memory that counts against the host: what it has, and what may be plugged in. */
export function memoryOf(spec: InstanceSpec): number {
  return spec.memoryBytes + spec.hotplugBytes
}

/** Disk that counts against the host: everything that the instance alone can write. */
export function diskOf(spec: InstanceSpec): number {
  return spec.overlayBytes + sum(spec.volumes, mount => mount.overlayBytes ?? 0)
}

export function portNames(spec: InstanceSpec): readonly string[] {
  return spec.network.ports.map(port => `${port.protocol}/${port.hostPort}`)
}

async function othersOf(tx: StoreTx, candidate: Candidate, own: Instance['id']): Promise<readonly Reservation[]> {
  const held = await tx.reservations(candidate.link.id)
  return held.filter(reservation => reservation.instanceId !== own)
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

function checkPorts(held: readonly Reservation[], spec: InstanceSpec): void {
  const taken = new Set(held.flatMap(reservation => reservation.ports))
  const clash = portNames(spec).find(port => taken.has(port))
  if (clash === undefined) return
  throw new BerthError('port_in_use', `The host port ${clash} is published by another instance: choose another.`, { details: { port: clash } })
}

/** The address of before if it is still free, so that it is one for life; otherwise the lowest free one. */
function chooseAddress(candidate: Candidate, held: readonly Reservation[], instance: Pick<Instance, 'spec' | 'address'>): NetworkAddress | null {
  const { network } = candidate.facts
  if (!instance.spec.network.enabled || network.mode === 'none') return null
  const taken = new Set(held.flatMap(reservation => reservation.ip ?? []))
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

function sum<T>(items: readonly T[], of: (item: T) => number): number {
  return items.reduce((total, item) => total + of(item), 0)
}
