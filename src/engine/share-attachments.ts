/**
 * Shared file systems that a living instance is given, or that are taken from it. As with volumes the record comes
 * first, then the guest; if the guest can't, the record is undone. Without a VM the next start mounts it.
 */
import { BerthError } from '../instance/errors.ts'
import type { FileSystemId, FileSystemMount, Instance, InstanceId } from '../instance/model.ts'
import { isServing } from '../instance/phase.ts'
import { ownInstance, requireScope } from './access.ts'
import type { Caller } from './api.ts'
import { refuseUnlessReachable } from './attachments.ts'
import { instanceTarget } from './audit.ts'
import type { Core } from './core.ts'
import { checkFileSystems, linksWithFileSystems } from './file-systems.ts'
import type { FileSystems } from './file-systems.ts'
import { withDeadline } from './fleet.ts'
import type { HostLink } from './fleet.ts'
import type { Reconciler } from './reconcile.ts'
import type { StoreTx } from './store-port.ts'
import { refOf } from './vm-spec.ts'

export function makeShareAttachments(core: Core, loop: Reconciler): Pick<FileSystems, 'attach' | 'detach'> {
  return {
    async attach(caller, instanceId, mount) {
      requireScope(caller, 'write')
      refuseUnlessReachable('attach', await ownInstance(core.store.read, caller, instanceId))
      return loop.run(instanceId, () => attach(core, caller, instanceId, mount))
    },
    async detach(caller, instanceId, fileSystemId) {
      requireScope(caller, 'write')
      const before = await ownInstance(core.store.read, caller, instanceId)
      requireMounted(before, fileSystemId)
      refuseUnlessReachable('detach', before)
      return loop.run(instanceId, () => detach(core, caller, instanceId, fileSystemId))
    },
  }
}

/** After a start: a running guest gets all that its record says; what it has already is left alone. */
export async function remountShares(core: Core, loop: Reconciler, id: InstanceId): Promise<void> {
  await loop.run(id, async () => {
    const instance = await core.store.read.instance(id)
    if (instance === null || !isServing(instance.phase)) return
    for (const mount of instance.spec.fileSystems) await mountIn(core, instance, mount)
  })
}

async function attach(core: Core, caller: Caller, id: InstanceId, mount: FileSystemMount): Promise<Instance> {
  const recorded = await core.journal.commit(async change => {
    const instance = await ownInstance(change.tx, caller, id)
    refuseUnlessReachable('attach', instance)
    const spec = { ...instance.spec, fileSystems: [...instance.spec.fileSystems, mount] }
    await checkFileSystems(change.tx, caller, spec)
    if (instance.hostId !== null) await linksWithFileSystems(core, caller, spec, [linkOf(core, instance)])
    await core.audit.record(change.tx, caller, { action: 'instance.attach-file-system', target: instanceTarget(instance), details: { fileSystemId: mount.fileSystemId, path: mount.path } })
    return change.note(instance, `The file system ${mount.fileSystemId} is mounted at ${mount.path}.`, { spec })
  })
  if (!isServing(recorded.phase)) return recorded
  try {
    await mountIn(core, recorded, mount)
    return recorded
  } catch (error) {
    await unrecord(core, id, mount.fileSystemId, `The file system ${mount.fileSystemId} could not be mounted.`)
    throw error
  }
}

async function detach(core: Core, caller: Caller, id: InstanceId, fileSystemId: FileSystemId): Promise<Instance> {
  const instance = await ownInstance(core.store.read, caller, id)
  requireMounted(instance, fileSystemId)
  refuseUnlessReachable('detach', instance)
  if (isServing(instance.phase)) {
    const { host } = linkOf(core, instance)
    await withDeadline(host.detachFileSystem(refOf(instance), fileSystemId), core.config.deadlines.volumeMs, 'The guest did not let go of the file system in time.')
  }
  const after = await unrecord(core, id, fileSystemId, `The file system ${fileSystemId} is unmounted.`, tx =>
    core.audit.record(tx, caller, { action: 'instance.detach-file-system', target: instanceTarget(instance), details: { fileSystemId } }),
  )
  return after ?? instance
}

async function unrecord(core: Core, id: InstanceId, fileSystemId: FileSystemId, text: string, besides?: (tx: StoreTx) => Promise<void>): Promise<Instance | null> {
  return core.journal.commit(async change => {
    const instance = await change.tx.instance(id)
    if (instance === null) return null
    await besides?.(change.tx)
    if (instance.phase === 'deleted') return instance
    const fileSystems = instance.spec.fileSystems.filter(mount => mount.fileSystemId !== fileSystemId)
    return change.note(instance, text, { spec: { ...instance.spec, fileSystems } })
  })
}

function mountIn(core: Core, instance: Instance, mount: FileSystemMount): Promise<void> {
  const { host } = linkOf(core, instance)
  return withDeadline(host.attachFileSystem(refOf(instance), mount), core.config.deadlines.volumeMs, 'The guest did not mount the file system in time.')
}

function linkOf(core: Core, { hostId }: Pick<Instance, 'hostId'>): HostLink {
  return core.fleet.link(hostId)
}

function requireMounted(instance: Instance, fileSystemId: FileSystemId): void {
  if (instance.spec.fileSystems.some(mount => mount.fileSystemId === fileSystemId)) return
  throw new BerthError('volume_not_found', `The file system ${fileSystemId} is not mounted in this instance.`, { details: { fileSystemId } })
}
