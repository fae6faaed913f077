/**
 * Attaching and detaching volumes while an instance lives. The attachment is recorded first, in one transaction with
 * the disk that an overlay takes; then the guest gets it. If the guest can't, the record is undone.
 */
import { BerthError } from '../instance/errors.ts'
import type { Instance, InstanceId, VolumeId, VolumeMount } from '../instance/model.ts'
import { isServing } from '../instance/phase.ts'
import type { Phase } from '../instance/phase.ts'
import { checkMounts, checkSharing } from '../instance/volume-rules.ts'
import { ownInstance, ownVolume, requireScope } from './access.ts'
import { checkDisk, diskOf } from './admission.ts'
import type { Caller, Instances } from './api.ts'
import type { Core } from './core.ts'
import { instanceTarget } from './audit.ts'
import { volumesStayHome, withDeadline } from './fleet.ts'
import { refused } from './instances.ts'
import { checkCount } from './limits.ts'
import type { Change } from './journal.ts'
import type { Reconciler } from './reconcile.ts'
import type { StoreTx } from './store-port.ts'
import { refOf } from './vm-spec.ts'

/** Without a VM the change is only recorded; the next start mounts it. */
const RESTING: readonly Phase[] = ['stopped', 'preempted', 'failed']

export function makeAttachments(core: Core, loop: Reconciler): Pick<Instances, 'attachVolume' | 'detachVolume'> {
  return {
    async attachVolume(caller, id, mount) {
      requireScope(caller, 'write')
      const before = await ownInstance(core.store.read, caller, id)
      refuseUnlessReachable('attach', before)
      return loop.run(id, () => attach(core, caller, id, mount))
    },
    async detachVolume(caller, id, volumeId) {
      requireScope(caller, 'write')
      const before = await ownInstance(core.store.read, caller, id)
      requireMount(before, volumeId)
      refuseUnlessReachable('detach', before)
      return loop.run(id, () => detach(core, caller, id, volumeId))
    },
  }
}

/** Mounts again what the record says, in a guest that was found running; the same mount twice does nothing. */
export async function remount(core: Core, loop: Reconciler, id: InstanceId): Promise<void> {
  await loop.run(id, async () => {
    const instance = await core.store.read.instance(id)
    if (instance === null || !isServing(instance.phase)) return
    const { host } = core.fleet.link(instance.hostId)
    for (const mount of instance.spec.volumes) {
      await withDeadline(host.attachVolume(refOf(instance), mount), core.config.deadlines.volumeMs, 'The guest did not mount the volume in time.')
    }
  })
}

async function attach(core: Core, caller: Caller, id: InstanceId, mount: VolumeMount): Promise<Instance> {
  const facts = await core.fleet.home.facts()
  const recorded = await core.journal.commit(async change => {
    const instance = await ownInstance(change.tx, caller, id)
    refuseUnlessReachable('attach', instance)
    if (instance.spec.place?.isSimulated === true) throw volumesStayHome(instance.spec.place)
    const volume = await ownVolume(change.tx, caller, mount.volumeId)
    if (volume.status !== 'ready') throw new BerthError('volume_conflict', `The volume ${volume.id} is ${volume.status}: wait until it is ready.`)
    checkSharing(volume.id, volume.attachments, { instanceId: id, mode: mount.mode })
    const volumes = [...instance.spec.volumes, mount]
    checkMounts(volumes)
    if (mount.overlayBytes !== null) {
      checkCount('overlayBytes of a volume', mount.overlayBytes, 1, core.config.limits.maxOverlayBytes, 'bytes')
      await checkDisk(change.tx, facts, mount.overlayBytes, core.config)
    }
    await change.tx.putAttachment(volume.id, { instanceId: id, path: mount.path, mode: mount.mode })
    const details = { volumeId: volume.id, path: mount.path, mode: mount.mode }
    await core.audit.record(change.tx, caller, { action: 'instance.attach-volume', target: instanceTarget(instance), details })
    return withVolumes(change, instance, volumes, `The volume ${volume.id} is attached at ${mount.path}.`)
  })
  if (!isServing(recorded.phase)) return recorded
  try {
    const { host } = core.fleet.link(recorded.hostId)
    await withDeadline(host.attachVolume(refOf(recorded), mount), core.config.deadlines.volumeMs, 'The guest did not mount the volume in time.')
    return recorded
  } catch (error) {
    await unrecord(core, id, mount.volumeId, `The volume ${mount.volumeId} could not be attached.`)
    throw error
  }
}

async function detach(core: Core, caller: Caller, id: InstanceId, volumeId: VolumeId): Promise<Instance> {
  const instance = await ownInstance(core.store.read, caller, id)
  requireMount(instance, volumeId)
  refuseUnlessReachable('detach', instance)
  if (isServing(instance.phase)) {
    const { host } = core.fleet.link(instance.hostId)
    await withDeadline(host.detachVolume(refOf(instance), volumeId), core.config.deadlines.volumeMs, 'The guest did not let go of the volume in time.')
  }
  const after = await unrecord(core, id, volumeId, `The volume ${volumeId} is detached.`, tx =>
    core.audit.record(tx, caller, { action: 'instance.detach-volume', target: instanceTarget(instance), details: { volumeId } }),
  )
  return after ?? instance
}

async function unrecord(core: Core, id: InstanceId, volumeId: VolumeId, text: string, besides?: (tx: StoreTx) => Promise<void>): Promise<Instance | null> {
  return core.journal.commit(async change => {
    const instance = await change.tx.instance(id)
    if (instance === null) return null
    await besides?.(change.tx)
    await change.tx.deleteAttachment(volumeId, id)
    if (instance.phase === 'deleted') return instance
    return withVolumes(change, instance, instance.spec.volumes.filter(mount => mount.volumeId !== volumeId), text)
  })
}

async function withVolumes(change: Change, instance: Instance, volumes: readonly VolumeMount[], text: string): Promise<Instance> {
  const spec = { ...instance.spec, volumes }
  const reservation = await change.tx.reservation(instance.id)
  if (reservation !== null) await change.tx.putReservation({ ...reservation, diskBytes: diskOf(spec) })
  return change.note(instance, text, { spec })
}

/** What is attached can change while its guest serves, or has no VM. */
export function refuseUnlessReachable(operation: string, instance: Instance): void {
  if (!isServing(instance.phase) && !RESTING.includes(instance.phase)) throw refused(operation, instance)
}

function requireMount(instance: Instance, volumeId: VolumeId): void {
  if (instance.spec.volumes.some(mount => mount.volumeId === volumeId)) return
  throw new BerthError('volume_not_found', `The volume ${volumeId} is not attached to this instance.`, { details: { volumeId } })
}
