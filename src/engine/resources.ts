/** What the host has, what of it may be promised, and what is. */
import type { Instance } from '../instance/model.ts'
import { requireScope } from './access.ts'
import type { Caller, ResourceLine, Resources } from './api.ts'
import { budgetOf } from './budget.ts'
import type { Core } from './core.ts'
import type { HostDevice } from './host-port.ts'

export async function resourcesOf(core: Core, caller: Caller): Promise<Resources> {
  requireScope(caller, 'read')
  const { home } = core.fleet
  const facts = await home.facts()
  const { read } = core.store
  const reservations = await read.reservations(home.id)
  const own = await read.instances({ projectId: caller.projectId, hostId: home.id })
  const { overcommit } = core.config
  const budget = await budgetOf(read, facts, overcommit, null)
  const byInstance = new Map(reservations.map(reservation => [reservation.instanceId, reservation]))
  const lines: ResourceLine[] = [
    { kind: 'cpu', capacity: facts.cpus, limit: budget.vcpus.limit, allocated: budget.vcpus.used, overcommit: overcommit.cpu },
    { kind: 'memory', capacity: facts.memoryBytes, limit: budget.memoryBytes.limit, allocated: budget.memoryBytes.used, overcommit: overcommit.memory },
    { kind: 'disk', capacity: facts.diskBytes, limit: budget.diskBytes.limit, allocated: budget.diskBytes.used, overcommit: overcommit.disk },
    { kind: 'network', capacity: 0, limit: 0, allocated: promisedBandwidth(own), overcommit: overcommit.network },
  ]
  const allocations = own.flatMap(instance => {
    const reservation = byInstance.get(instance.id)
    if (reservation === undefined) return []
    const { vcpus, memoryBytes, diskBytes } = reservation
    const { downloadBytesPerSecond, uploadBytesPerSecond } = instance.spec.network
    return [
      {
        instanceId: instance.id,
        name: instance.spec.name,
        vcpus,
        memoryBytes,
        diskBytes,
        downloadBytesPerSecond: downloadBytesPerSecond ?? 0,
        uploadBytesPerSecond: uploadBytesPerSecond ?? 0,
      },
    ]
  })
  return { host: facts, lines, allocations }
}

export async function devicesOf(core: Core, caller: Caller): Promise<readonly HostDevice[]> {
  requireScope(caller, 'read')
  return (await core.fleet.home.facts()).devices
}

function promisedBandwidth(instances: readonly Instance[]): number {
  return instances.reduce((sum, { spec }) => sum + (spec.network.downloadBytesPerSecond ?? 0), 0)
}
