/**
 * What becomes of an order's instances when the order changes: each function takes the steps of all of them in the
 * transaction of that change, so that an order and its instances never tell different stories.
 */
import type { Bid, Order } from '../../instance/market.ts'
import { ORDER, preemptAtOf, withoutNotice } from '../../instance/market.ts'
import type { Instance, TimestampMs } from '../../instance/model.ts'
import { holdsCompute, isServing } from '../../instance/phase.ts'
import type { Phase } from '../../instance/phase.ts'
import type { Core } from '../core.ts'
import type { Change } from '../journal.ts'
import { allocate } from '../operations.ts'
import type { HostGround } from './ground.ts'

/** On their way to `running`, where a wish is enough to stop them. */
const ON_THE_WAY: readonly Phase[] = ['allocated', 'preparing', 'starting', 'restoring', 'suspending']
/** Started again when their order has its capacity back. */
export const STARTED_AGAIN: readonly Phase[] = ['stopped', 'preempted']

/** Whether nothing is being done with it, and it needs no CPU and memory. */
export function isAtRest(instance: Instance): boolean {
  return !holdsCompute(instance.phase) && instance.phase !== 'pending'
}

/** Tells those that serve when they will be stopped; those that come up later are told then. */
export async function giveNotice(change: Change, instances: readonly Instance[], bid: Bid, preemptAt: TimestampMs): Promise<void> {
  for (const instance of instances) {
    if (!isServing(instance.phase) || instance.phase === 'preempting') continue
    const annotations = { ...instance.annotations, [ORDER.preemptAt]: String(preemptAt) }
    await change.step(instance, 'preempting', { annotations, reason: bid.message ?? 'Its bid is outbid.' })
  }
}

/** Takes the notice back from those that have it. */
export async function withdrawNotice(change: Change, instances: readonly Instance[]): Promise<void> {
  for (const instance of instances) {
    if (preemptAtOf(instance) === null) continue
    await change.step(instance, 'running', { annotations: withoutNotice(instance.annotations), reason: 'The notice is withdrawn: its bid wins again.' })
  }
}

/** The notice is over: what has it stops by itself (next-action.ts), the others are told to. */
export async function enforceNotice(change: Change, instances: readonly Instance[]): Promise<void> {
  for (const instance of instances) {
    if (ON_THE_WAY.includes(instance.phase) && instance.desired !== 'stopped' && instance.desired !== 'deleted') {
      await change.note(instance, 'It is stopped: its bid is outbid.', { desired: 'stopped' })
    }
  }
}

/** Stops all and keeps their disks. */
export async function pauseAll(change: Change, instances: readonly Instance[]): Promise<void> {
  for (const instance of instances) {
    if (instance.desired === 'deleted') continue
    const annotations = withoutNotice(instance.annotations)
    if (isServing(instance.phase)) await change.step(instance, 'stopping', { desired: 'stopped', restartAttempts: 0, annotations, reason: 'Its order is paused.' })
    else if (ON_THE_WAY.includes(instance.phase)) await change.note(instance, 'It is stopped: its order is paused.', { desired: 'stopped', annotations })
    else if (instance.phase === 'stopped' && instance.desired === 'running') await change.note(instance, 'It is not started again: its order is paused.', { desired: 'stopped' })
  }
}

/** Starts those that rest; each takes its CPU and memory in this very transaction. */
export async function startAll(core: Core, change: Change, hosts: readonly HostGround[], order: Order, instances: readonly Instance[]): Promise<void> {
  for (const instance of instances) {
    if (!STARTED_AGAIN.includes(instance.phase) || instance.desired === 'deleted') continue
    const host = hosts.find(one => one.link.id === instance.hostId)
    if (host === undefined) continue
    const spec = { ...instance.spec, memoryBytes: order.launch.memoryBytes ?? order.size.memoryBytes }
    const patch = { spec, desired: 'running', restartAttempts: 0, reason: null, annotations: withoutNotice(instance.annotations) } as const
    await allocate(core, change, { ...instance, spec }, host, patch)
  }
}

export async function deleteAll(change: Change, instances: readonly Instance[], reason: string): Promise<void> {
  for (const instance of instances) {
    if (instance.phase === 'deleting' || instance.phase === 'deleted') continue
    await change.step(instance, 'deleting', { desired: 'deleted', reason })
  }
}
