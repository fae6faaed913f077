/** Instances on the Mithril wire, and their phases in its thirteen words. */
import type { Catalogue } from '../../instance/catalogue.ts'
import { spellId } from '../../instance/ids.ts'
import { orderOf } from '../../instance/market.ts'
import type { BidId, Instance, InstanceEvent, ReservationId } from '../../instance/model.ts'
import type { Phase } from '../../instance/phase.ts'
import { PHASES } from '../../instance/phase.ts'
import { userFid } from './fids.ts'
import type * as wire from './schema.ts'
import { instanceTypeFid, regionName, regionOf } from './shape.ts'
import { DIALECT } from './surface.ts'
import { formatTime } from './time.ts'

/** What the dialect keeps with an instance of an order that it placed. */
export const MITHRIL = {
  /** The order's name as it was given. */
  orderName: 'mithril_order_name',
} as const

const STATUS: Readonly<Record<Phase, wire.InstanceStatus>> = {
  pending: 'STATUS_NEW',
  allocated: 'STATUS_CONFIRMED',
  preparing: 'STATUS_INITIALIZING',
  starting: 'STATUS_STARTING',
  running: 'STATUS_RUNNING',
  unhealthy: 'STATUS_RUNNING',
  stopping: 'STATUS_STOPPING',
  stopped: 'STATUS_PAUSED',
  suspending: 'STATUS_STOPPING',
  standby: 'STATUS_PAUSED',
  restoring: 'STATUS_STARTING',
  preempting: 'STATUS_PREEMPTING',
  preempted: 'STATUS_PREEMPTED',
  deleting: 'STATUS_STOPPING',
  deleted: 'STATUS_TERMINATED',
  failed: 'STATUS_ERROR',
  lost: 'STATUS_RELOCATING',
}

const SSH_PORT = 22
/** Phases in which its address leads to it. */
const REACHABLE: readonly Phase[] = ['running', 'unhealthy', 'preempting']

export function statusOf(phase: Phase): wire.InstanceStatus {
  return STATUS[phase]
}

export function phasesOf(statuses: readonly wire.InstanceStatus[]): readonly Phase[] {
  return PHASES.filter(phase => statuses.includes(STATUS[phase]))
}

/** The ids of the order that an instance belongs to: of one kind, or of none. */
export function orderFids(instance: Pick<Instance, 'annotations'>): { readonly bid: string | null; readonly reservation: string | null } {
  const order = orderOf(instance)
  return {
    bid: order?.kind === 'bid' ? spellId('bid', DIALECT, order.id as BidId) : null,
    reservation: order?.kind === 'reservation' ? spellId('reservation', DIALECT, order.id as ReservationId) : null,
  }
}

/** `<name of the order>-<place>`; of an instance that no order of this dialect made, the engine's own name. */
export function nameOf(instance: Pick<Instance, 'annotations' | 'spec'>): string {
  const order = orderOf(instance)
  const name = instance.annotations[MITHRIL.orderName]
  return order === null || name === undefined ? instance.spec.name : `${name}-${order.slot + 1}`
}

export function presentInstance(instance: Instance, catalogue: Catalogue): wire.Instance {
  const region = regionOf(instance, catalogue)
  const ip = REACHABLE.includes(instance.phase) ? (instance.address?.ip ?? null) : null
  return {
    fid: spellId('instance', DIALECT, instance.id),
    name: nameOf(instance),
    project: spellId('project', DIALECT, instance.projectId),
    created_at: formatTime(instance.createdAt),
    created_by: userFid(instance.projectId),
    instance_type: instanceTypeFid(instance, catalogue),
    region: region === null ? null : regionName(region),
    ...orderFids(instance),
    ssh_destination: ip === null ? null : sshDestination(instance, ip),
    private_ip: ip,
    status: STATUS[instance.phase],
  }
}

/** The address alone where it can be reached, else the port of the host that an order's instance got for SSH. */
function sshDestination(instance: Instance, ip: string): string {
  const port = instance.spec.network.ports.find(({ guestPort, protocol }) => guestPort === SSH_PORT && protocol === 'tcp')
  return orderOf(instance) === null || port === undefined ? ip : `127.0.0.1:${port.hostPort}`
}

/** Steps into phases as statuses, oldest first; what is one status to this wire is told once. */
export function presentStatuses(events: readonly InstanceEvent[]): readonly { readonly at: number; readonly status: wire.InstanceStatus }[] {
  const steps = events.filter(event => event.kind === 'phase').toSorted((a, b) => a.seq - b.seq)
  return steps.flatMap((event, index) => {
    const before = steps[index - 1]
    const status = STATUS[event.to]
    return before !== undefined && STATUS[before.to] === status ? [] : [{ at: event.at, status }]
  })
}
