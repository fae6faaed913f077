/**
 * What an instance is made of, changed while it lives: its name, its size, the ports it publishes.
 *
 * A size belongs to one life of a VM: it changes only while there is none, and whether there is room is asked by the
 * next start. Ports are reserved in the transaction that records them, so that two can't publish the same one; then
 * the host opens and closes them at once. If it can't, the record is undone.
 */
import { BerthError } from '../instance/errors.ts'
import { orderOf } from '../instance/market.ts'
import type { Instance, InstanceId, InstanceSpec, Place, PortMapping } from '../instance/model.ts'
import { holdsCompute } from '../instance/phase.ts'
import type { Phase } from '../instance/phase.ts'
import { ownInstance, requireScope } from './access.ts'
import type { Candidate } from './admission.ts'
import { candidatesOf, portNames } from './admission.ts'
import type { Caller, Instances } from './api.ts'
import { instanceTarget } from './audit.ts'
import type { Core } from './core.ts'
import { withDeadline } from './fleet.ts'
import { checkIdlePorts } from './idle/proxied-ports.ts'
import { checkSpec, limitsIn } from './limits.ts'
import type { Reconciler } from './reconcile.ts'
import type { StoreTx } from './store-port.ts'
import { publishedPorts, refOf } from './vm-spec.ts'

/** Everything absent stays as it is. */
export interface InstanceShape {
  /** Its host name follows with the next start, unless it has one of its own. */
  readonly name?: string
  readonly size?: InstanceSize
  /** All ports that it publishes from now on. */
  readonly ports?: readonly PortMapping[]
  /** Unused for this long it goes to standby; null is never. */
  readonly idleAfterMs?: number | null
}

export interface InstanceSize {
  readonly vcpus: number
  readonly memoryBytes: number
  /** What of the catalogue it counts as; null is nothing. */
  readonly place: Place | null
}

/** Phases without a VM, and without a memory that was saved. */
const RESTING: readonly Phase[] = ['stopped', 'preempted', 'failed']

export function makeReshaping(core: Core, loop: Reconciler): Pick<Instances, 'reshape'> {
  return {
    async reshape(caller, id, shape) {
      requireScope(caller, 'write')
      await ownInstance(core.store.read, caller, id)
      return loop.run(id, () => reshape(core, caller, id, shape))
    },
  }
}

async function reshape(core: Core, caller: Caller, id: InstanceId, shape: InstanceShape): Promise<Instance> {
  const { hostId } = await ownInstance(core.store.read, caller, id)
  const candidates = hostId === null ? [] : await candidatesOf([core.fleet.link(hostId)])
  const { before, after } = await core.journal.commit(async change => {
    const instance = await ownInstance(change.tx, caller, id)
    const spec = reshaped(instance, shape)
    checkSpec(spec, limitsIn(core, spec), core.now())
    if (shape.ports !== undefined) checkReachable(instance, candidates)
    if (shape.ports !== undefined || shape.idleAfterMs !== undefined) checkIdlePorts(spec, candidates)
    await reserve(change.tx, id, spec)
    await core.audit.record(change.tx, caller, { action: 'instance.reshape', target: instanceTarget(instance), details: { changed: Object.keys(shape) } })
    return { before: instance, after: await change.note(instance, told(instance.spec, spec), { spec }) }
  })
  if (shape.ports === undefined || after.hostId === null) return after
  try {
    await applyPorts(core, after)
    return after
  } catch (error) {
    await takeBackPorts(core, id, before.spec.network.ports)
    throw error
  }
}

function reshaped(instance: Instance, { name, size, ports, idleAfterMs }: InstanceShape): InstanceSpec {
  const { phase, spec } = instance
  if (phase === 'deleting' || phase === 'deleted') throw new BerthError('invalid_state', 'An instance that is being deleted can’t change any more.')
  if (idleAfterMs !== undefined) checkHandover(instance, idleAfterMs)
  return {
    ...spec,
    ...(idleAfterMs === undefined ? {} : { idleAfterMs }),
    ...(name === undefined ? {} : { name }),
    ...(size === undefined ? {} : sized(instance, size)),
    ...(ports === undefined ? {} : { network: { ...spec.network, ports } }),
  }
}

function sized(instance: Instance, size: InstanceSize): Pick<InstanceSpec, 'vcpus' | 'memoryBytes' | 'place'> {
  const { phase } = instance
  if (!RESTING.includes(phase)) {
    const how = phase === 'standby' ? 'its saved memory has the size of before: stop it from standby first, change it, and start it' : 'stop it first, change it, and start it again'
    throw new BerthError('invalid_state', `The size of an instance that is ${phase} can’t change: ${how}.`, { details: { operation: 'reshape', phase } })
  }
  const order = orderOf(instance)
  if (order !== null) throw new BerthError('invalid_state', `The instance belongs to a ${order.kind} for its type: its size can’t change.`, { details: { operation: 'reshape', phase } })
  return size
}

/** With an idle time its published TCP ports are listeners of the server, without one rules of the kernel: none is both while it is up. */
function checkHandover({ phase, spec }: Instance, idleAfterMs: number | null): void {
  const isOther = (idleAfterMs === null) !== ((spec.idleAfterMs ?? null) === null)
  if (!isOther || RESTING.includes(phase) || spec.network.ports.every(({ protocol }) => protocol !== 'tcp')) return
  throw new BerthError('invalid_state', 'Its published ports change hands with this: stop it first, change its idle time, and start it again.', { details: { operation: 'reshape', phase } })
}

/** QEMU's own network has its ports from its start on. */
function checkReachable(instance: Instance, candidates: readonly Candidate[]): void {
  if (!holdsCompute(instance.phase) || candidates.every(({ facts }) => facts.network.mode !== 'user')) return
  throw new BerthError('not_supported', 'This host has no bridge, so that ports change only while the instance is stopped: stop it first, change them, and start it again.', {
    details: { field: 'ports' },
  })
}

async function applyPorts(core: Core, instance: Instance): Promise<void> {
  const { host } = core.fleet.link(instance.hostId)
  const ports = await publishedPorts(core, instance)
  await withDeadline(host.setPorts(refOf(instance), ports), core.config.deadlines.volumeMs, 'The host did not change the ports in time.')
}

async function takeBackPorts(core: Core, id: InstanceId, ports: readonly PortMapping[]): Promise<void> {
  await core.journal.commit(async change => {
    const now = await change.tx.instance(id)
    if (now === null || now.phase === 'deleted') return
    const spec = { ...now.spec, network: { ...now.spec.network, ports } }
    await reserve(change.tx, id, spec)
    await change.note(now, 'The ports could not be changed; they are as before.', { spec })
  })
}

/** What it holds of its host follows: the store itself refuses a port that is taken (`port_in_use`). */
async function reserve(tx: StoreTx, id: InstanceId, spec: InstanceSpec): Promise<void> {
  const reservation = await tx.reservation(id)
  if (reservation === null) return
  const { region, type = null } = spec.place ?? { region: '' }
  await tx.putReservation({ ...reservation, ports: portNames(spec), slot: type === null ? null : { region, type } })
}

function told(before: InstanceSpec, after: InstanceSpec): string {
  const ports = ({ network }: InstanceSpec) => network.ports.map(({ hostPort, guestPort, protocol }) => `${protocol} ${hostPort} to ${guestPort}`).join(', ') || 'no ports'
  const size = ({ vcpus, memoryBytes }: InstanceSpec) => `${vcpus} vCPUs and ${Math.round(memoryBytes / 2 ** 20)} MiB`
  const changes = [
    ...(before.name === after.name ? [] : [`it is called ${after.name}`]),
    ...(size(before) === size(after) ? [] : [`it has ${size(after)}`]),
    ...(ports(before) === ports(after) ? [] : [`it publishes ${ports(after)}`]),
    ...((before.idleAfterMs ?? null) === (after.idleAfterMs ?? null) ? [] : [idleText(after.idleAfterMs ?? null)]),
  ]
  return changes.length === 0 ? 'Nothing about it changed.' : `From now on ${changes.join(', ')}.`
}

function idleText(idleAfterMs: number | null): string {
  return idleAfterMs === null ? 'it does not fall asleep for want of use' : `it falls asleep after ${idleAfterMs / 1000} s without use`
}
