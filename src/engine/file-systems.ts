/**
 * Shared file systems: recorded as `creating` before the host makes them and as `deleting` before it removes them, so
 * that a crash in between leaves nothing that nobody knows of. Instances name them when they are made, or later
 * (share-attachments.ts); while one has it, it stays.
 */
import type { AuditTarget } from '../instance/audit.ts'
import { BerthError } from '../instance/errors.ts'
import { ID_BYTES, newId } from '../instance/ids.ts'
import type { FileSystem, FileSystemId, FileSystemMount, Instance, InstanceId, InstanceSpec } from '../instance/model.ts'
import { checkLabel } from '../instance/names.ts'
import { formatFriendlySize } from '../instance/sizes.ts'
import { checkMountPath } from '../instance/volume-rules.ts'
import { requireScope } from './access.ts'
import { checkDisk } from './admission.ts'
import type { Caller } from './api.ts'
import type { Core } from './core.ts'
import { withDeadline } from './fleet.ts'
import type { HostLink } from './fleet.ts'
import { checkCount } from './limits.ts'
import type { StoreReader } from './store-port.ts'

const GIB = 2 ** 30
export const DEFAULT_FILE_SYSTEM_BYTES = 10 * GIB
export const MIN_FILE_SYSTEM_BYTES = 64 * 2 ** 20
export const FILE_SYSTEMS_PER_PROJECT_LIMIT = 100
/** A check of all that it holds comes first. */
const GROW_MS = 11 * 60_000
/** Of one instance. */
export const FILE_SYSTEMS_PER_INSTANCE_LIMIT = 16

/** What is asked for; the region is an id of the catalogue. */
export interface CreateFileSystem {
  readonly name: string
  readonly region: string
  readonly sizeBytes?: number
}

export interface FileSystemView extends FileSystem {
  readonly usedBytes: number
  /** Instances that live and have it. */
  readonly instanceIds: readonly InstanceId[]
}

export interface FileSystems {
  /** `name_conflict` if the project has one of that name; `not_supported` where the host can serve none. */
  create(caller: Caller, request: CreateFileSystem): Promise<FileSystemView>
  get(caller: Caller, id: FileSystemId): Promise<FileSystemView>
  /** Oldest first. */
  list(caller: Caller): Promise<readonly FileSystemView[]>
  /** `volume_in_use` while an instance has it. */
  delete(caller: Caller, id: FileSystemId): Promise<void>
  /** Makes it larger, while instances have it too; `invalid_request` if it is to be smaller. */
  resize(caller: Caller, id: FileSystemId, sizeBytes: number): Promise<FileSystemView>
  /** Mounts one in a living instance, which may run. */
  attach(caller: Caller, instanceId: InstanceId, mount: FileSystemMount): Promise<Instance>
  /** `volume_in_use` if the guest holds files open in it. */
  detach(caller: Caller, instanceId: InstanceId, id: FileSystemId): Promise<Instance>
}

export function makeFileSystems(core: Core): Omit<FileSystems, 'attach' | 'detach'> {
  const reader = core.store.read
  return {
    async create(caller, request) {
      requireScope(caller, 'write')
      return { ...(await create(core, caller, request)), usedBytes: 0, instanceIds: [] }
    },
    async get(caller, id) {
      requireScope(caller, 'read')
      const fileSystem = await ownFileSystem(reader, caller, id)
      return viewOf(core, fileSystem, await reader.fileSystemUsers(caller.projectId))
    },
    async list(caller) {
      requireScope(caller, 'read')
      const [all, users] = await Promise.all([reader.fileSystems(caller.projectId), reader.fileSystemUsers(caller.projectId)])
      return Promise.all(all.filter(({ status }) => status === 'ready').map(fileSystem => viewOf(core, fileSystem, users)))
    },
    async delete(caller, id) {
      requireScope(caller, 'write')
      const going = await core.store.transaction(async tx => {
        const fileSystem = await ownFileSystem(tx, caller, id)
        const user = (await tx.fileSystemUsers(caller.projectId)).find(({ fileSystemId }) => fileSystemId === id)
        if (user !== undefined) {
          throw new BerthError('volume_in_use', `The file system ${fileSystem.name} is mounted in an instance: detach it there first.`, {
            details: { fileSystemId: id, instanceId: user.instanceId },
          })
        }
        await tx.putFileSystem({ ...fileSystem, status: 'deleting' })
        await core.audit.record(tx, caller, { action: 'file-system.delete', target: targetOf(fileSystem) })
        return fileSystem
      })
      await remove(core, going)
    },
    async resize(caller, id, sizeBytes) {
      requireScope(caller, 'write')
      const after = await resize(core, caller, id, sizeBytes)
      return viewOf(core, after, await reader.fileSystemUsers(caller.projectId))
    },
  }
}

/** Finishes what a crash cut off. */
export async function recoverFileSystems(core: Core): Promise<void> {
  for (const fileSystem of await core.store.read.fileSystems(null)) {
    const { id, status } = fileSystem
    if (status === 'ready') {
      await grow(core, fileSystem).catch((error: unknown) => {
        core.logger.warn({ err: error, fileSystemId: id }, 'the size of a file system could not be checked')
      })
      continue
    }
    await remove(core, fileSystem).catch((error: unknown) => {
      core.logger.warn({ err: error, fileSystemId: id }, 'a file system that was half made or half removed could not be removed')
    })
  }
}

/** The file system, if it is the caller's and not on its way out. */
export async function ownFileSystem(reader: Pick<StoreReader, 'fileSystem'>, caller: Pick<Caller, 'projectId'>, id: FileSystemId): Promise<FileSystem> {
  const fileSystem = await reader.fileSystem(id)
  if (fileSystem === null || fileSystem.projectId !== caller.projectId || fileSystem.status !== 'ready') {
    throw new BerthError('volume_not_found', `There is no file system ${id}.`, { details: { fileSystemId: id } })
  }
  return fileSystem
}

/** Refuses mounts that can't be: of a new instance, before it is placed. */
export async function checkFileSystems(reader: Pick<StoreReader, 'fileSystem'>, caller: Caller, spec: InstanceSpec): Promise<void> {
  const { fileSystems, volumes, network } = spec
  if (fileSystems.length === 0) return
  if (spec.place?.isSimulated === true) {
    throw new BerthError('not_supported', `File systems are kept on this machine: an instance in the region ${spec.place.region} can't have one.`)
  }
  if (fileSystems.length > FILE_SYSTEMS_PER_INSTANCE_LIMIT) throw new BerthError('limit_exceeded', `An instance has at most ${FILE_SYSTEMS_PER_INSTANCE_LIMIT} file systems.`)
  if (!network.enabled) throw new BerthError('invalid_request', 'File systems need a network: enable it, or leave them out.')
  const paths = new Set(volumes.map(({ path }) => path))
  const seen = new Set<FileSystemId>()
  for (const { fileSystemId, path } of fileSystems) {
    checkMountPath(path)
    if (seen.has(fileSystemId)) throw new BerthError('invalid_request', `The file system ${fileSystemId} is named twice.`)
    if (paths.has(path)) throw new BerthError('invalid_request', `Two things are to be mounted at ${path}; give each a path of its own.`)
    seen.add(fileSystemId)
    paths.add(path)
    await ownFileSystem(reader, caller, fileSystemId)
  }
}

/** Those of the hosts that keep all of the instance's file systems. */
export async function linksWithFileSystems(core: Core, caller: Caller, spec: InstanceSpec, links: readonly HostLink[]): Promise<readonly HostLink[]> {
  let left = links
  for (const { fileSystemId } of spec.fileSystems) {
    const { name, region } = await ownFileSystem(core.store.read, caller, fileSystemId)
    left = left.filter(link => link === linkOf(core, region))
    if (left.length === 0) throw new BerthError('invalid_request', `The file system ${name} is in the region ${region}: an instance elsewhere can't have it.`)
  }
  return left
}

async function create(core: Core, caller: Caller, request: CreateFileSystem): Promise<FileSystem> {
  const { name, region, sizeBytes = DEFAULT_FILE_SYSTEM_BYTES } = request
  checkLabel('file system', name)
  checkCount('sizeBytes', sizeBytes, MIN_FILE_SYSTEM_BYTES, core.config.limits.maxVolumeBytes, 'bytes')
  const link = linkOf(core, region)
  const facts = await link.facts()
  const draft: FileSystem = {
    id: newId('fileSystem', core.randomBytes(ID_BYTES)),
    projectId: caller.projectId,
    name,
    region,
    sizeBytes,
    status: 'creating',
    createdAt: core.now(),
    createdBy: caller.keyId,
  }
  await core.store.transaction(async tx => {
    if ((await tx.fileSystems(caller.projectId)).length >= FILE_SYSTEMS_PER_PROJECT_LIMIT) {
      throw new BerthError('limit_exceeded', `The project has ${FILE_SYSTEMS_PER_PROJECT_LIMIT} file systems already: delete some.`)
    }
    await checkDisk(tx, facts, sizeBytes, core.config)
    await tx.putFileSystem(draft)
    await core.audit.record(tx, caller, { action: 'file-system.create', target: targetOf(draft), details: { region, sizeBytes } })
  })
  try {
    await withDeadline(link.host.createFileSystem(draft), core.config.deadlines.volumeMs, 'The host did not make the file system in time.')
  } catch (error) {
    await remove(core, draft).catch((cause: unknown) => {
      // It stays `creating`, and the next start removes it.
      core.logger.warn({ err: cause, fileSystemId: draft.id }, 'a file system that could not be made could not be removed either')
    })
    throw error
  }
  const ready: FileSystem = { ...draft, status: 'ready' }
  await core.store.transaction(tx => tx.putFileSystem(ready))
  return ready
}

/** Recorded first, so that the room is its own; if its host can't, the record is undone. */
async function resize(core: Core, caller: Caller, id: FileSystemId, sizeBytes: number): Promise<FileSystem> {
  checkCount('sizeBytes', sizeBytes, MIN_FILE_SYSTEM_BYTES, core.config.limits.maxVolumeBytes, 'bytes')
  const facts = await linkOf(core, (await ownFileSystem(core.store.read, caller, id)).region).facts()
  const { before, after } = await core.store.transaction(async tx => {
    const known = await ownFileSystem(tx, caller, id)
    if (sizeBytes < known.sizeBytes) {
      throw new BerthError('invalid_request', `The file system ${known.name} has ${formatFriendlySize(known.sizeBytes)} and can only be made larger.`, { details: { field: 'sizeBytes' } })
    }
    const larger: FileSystem = { ...known, sizeBytes }
    await checkDisk(tx, facts, sizeBytes - known.sizeBytes, core.config)
    await tx.putFileSystem(larger)
    await core.audit.record(tx, caller, { action: 'file-system.resize', target: targetOf(known), details: { sizeBytes } })
    return { before: known, after: larger }
  })
  try {
    await grow(core, after)
    return after
  } catch (error) {
    await core.store.transaction(async tx => {
      const now = await tx.fileSystem(id)
      if (now !== null && now.sizeBytes === sizeBytes) await tx.putFileSystem({ ...now, sizeBytes: before.sizeBytes })
    })
    throw error
  }
}

function grow(core: Core, { id, region, sizeBytes }: FileSystem): Promise<void> {
  return withDeadline(linkOf(core, region).host.growFileSystem({ id, sizeBytes }), GROW_MS, 'The host did not make the file system larger in time.')
}

function targetOf({ id, name }: Pick<FileSystem, 'id' | 'name'>): AuditTarget {
  return { kind: 'file-system', id, name }
}

async function remove(core: Core, { id, region }: Pick<FileSystem, 'id' | 'region'>): Promise<void> {
  await withDeadline(linkOf(core, region).host.deleteFileSystem(id), core.config.deadlines.volumeMs, 'The host did not remove the file system in time.')
  await core.store.transaction(tx => tx.deleteFileSystem(id))
}

/** The host that keeps the file systems of a region; those of one that the catalogue has lost are at home. */
function linkOf(core: Core, region: string): HostLink {
  const known = core.catalogue.regions.find(({ id }) => id === region)
  return known === undefined ? core.fleet.home : core.fleet.firstOf({ region, type: null, isSimulated: known.simulated !== null })
}

async function viewOf(core: Core, fileSystem: FileSystem, users: readonly { readonly fileSystemId: FileSystemId; readonly instanceId: InstanceId }[]): Promise<FileSystemView> {
  const usedBytes = await linkOf(core, fileSystem.region).host.fileSystemUsedBytes(fileSystem.id)
  const instanceIds = users.filter(({ fileSystemId }) => fileSystemId === fileSystem.id).map(({ instanceId }) => instanceId)
  return { ...fileSystem, usedBytes, instanceIds }
}
