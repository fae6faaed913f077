/**
 * Volumes: recorded as `creating` before the host makes them and as `deleting` before it removes them, so that
 * a crash in between leaves nothing that nobody knows of.
 */
import { BerthError } from '../instance/errors.ts'
import { ID_BYTES, isUuidV4, newId } from '../instance/ids.ts'
import type { Volume, VolumeId } from '../instance/model.ts'
import { checkLabel, checkTags } from '../instance/names.ts'
import { ownVolume, requireScope } from './access.ts'
import { checkDisk } from './admission.ts'
import type { Caller, CreateVolume, Volumes } from './api.ts'
import type { Core } from './core.ts'
import { withDeadline } from './fleet.ts'
import { checkCount } from './limits.ts'

const VOLUME_ID = /^[a-zA-Z0-9_.-]{1,64}$/
/** The smallest volume that a file system can be made on. */
const MIN_VOLUME_BYTES = 16 * 2 ** 20

export function makeVolumes(core: Core): Volumes {
  const reader = core.store.read
  return {
    async create(caller, request) {
      requireScope(caller, 'write')
      return create(core, caller, request)
    },
    async get(caller, id) {
      requireScope(caller, 'read')
      return ownVolume(reader, caller, id)
    },
    async list(caller, filter = {}) {
      requireScope(caller, 'read')
      const { name, tags = {} } = filter
      const all = await reader.volumes({ projectId: caller.projectId, ...(name === undefined ? {} : { name }) })
      return all.filter(volume => volume.status !== 'deleting' && Object.entries(tags).every(([key, value]) => volume.tags[key] === value))
    },
    async update(caller, id, change) {
      requireScope(caller, 'write')
      if (change.name !== undefined) checkLabel('volume', change.name)
      return core.store.transaction(async tx => {
        const volume = await ownVolume(tx, caller, id)
        const changed = { ...volume, ...change }
        await tx.putVolume(changed)
        await core.audit.record(tx, caller, { action: 'volume.update', target: { kind: 'volume', id, name: changed.name } })
        return changed
      })
    },
    async delete(caller, id) {
      requireScope(caller, 'write')
      await core.store.transaction(async tx => {
        const volume = await ownVolume(tx, caller, id)
        if (volume.attachments.length > 0) {
          throw new BerthError('volume_in_use', `The volume ${id} is attached to ${volume.attachments.length} instance(s): detach it first.`, {
            details: { volumeId: id, instanceId: volume.attachments[0]?.instanceId ?? null },
          })
        }
        await tx.putVolume({ ...volume, status: 'deleting' })
        await core.audit.record(tx, caller, { action: 'volume.delete', target: { kind: 'volume', id, name: volume.name } })
      })
      await remove(core, id)
    },
  }
}

/** Finishes what a crash cut off: nobody was told of a volume that was still being made. */
export async function recoverVolumes(core: Core): Promise<void> {
  const volumes = await core.store.read.volumes({ projectId: null })
  for (const volume of volumes) {
    if (volume.status !== 'creating' && volume.status !== 'deleting') continue
    await remove(core, volume.id).catch((error: unknown) => {
      core.logger.warn({ err: error, volumeId: volume.id }, 'a volume that was half made or half removed could not be removed')
    })
  }
}

async function create(core: Core, caller: Caller, request: CreateVolume): Promise<Volume> {
  const { limits } = core.config
  checkLabel('volume', request.name)
  checkTags(request.tags ?? {})
  checkCount('sizeBytes', request.sizeBytes, MIN_VOLUME_BYTES, limits.maxVolumeBytes, 'bytes')
  const id = chosenId(request.id) ?? newId('volume', core.randomBytes(ID_BYTES))
  const facts = await core.fleet.home.facts()
  const draft: Volume = {
    id,
    projectId: caller.projectId,
    name: request.name,
    sizeBytes: request.sizeBytes,
    tags: request.tags ?? {},
    status: 'creating',
    error: null,
    createdAt: core.now(),
    attachments: [],
  }
  await core.store.transaction(async tx => {
    if ((await tx.volume(id)) !== null) throw new BerthError('already_exists', `There is already a volume ${id}: choose another id.`, { details: { volumeId: id } })
    if ((await tx.volumes({ projectId: caller.projectId })).length >= limits.maxVolumesPerProject) {
      throw new BerthError('limit_exceeded', `The project has ${limits.maxVolumesPerProject} volumes already: delete some.`)
    }
    await checkDisk(tx, facts, request.sizeBytes, core.config)
    await tx.putVolume(draft)
    await core.audit.record(tx, caller, { action: 'volume.create', target: { kind: 'volume', id, name: draft.name }, details: { sizeBytes: draft.sizeBytes } })
  })
  try {
    await fill(core, draft, request)
  } catch (error) {
    await remove(core, id).catch((cause: unknown) => {
      // It stays `creating`, and the next start removes it.
      core.logger.warn({ err: cause, volumeId: id }, 'a volume that could not be made could not be removed either')
    })
    throw error
  }
  const ready: Volume = { ...draft, status: 'ready' }
  await core.store.transaction(tx => tx.putVolume(ready))
  return ready
}

async function fill(core: Core, volume: Volume, request: CreateVolume): Promise<void> {
  const { host } = core.fleet.home
  const wanted = { id: volume.id, sizeBytes: volume.sizeBytes }
  // An archive takes as long as its client takes to send it.
  if (request.archive !== undefined) await host.importVolume(wanted, request.archive)
  else await withDeadline(host.createVolume(wanted), core.config.deadlines.volumeMs, 'The host did not make the volume in time.')
}

async function remove(core: Core, id: VolumeId): Promise<void> {
  await withDeadline(core.fleet.home.host.deleteVolume(id), core.config.deadlines.volumeMs, 'The host did not remove the volume in time.')
  await core.store.transaction(tx => tx.deleteVolume(id))
}

function chosenId(text: string | undefined): VolumeId | null {
  if (text === undefined) return null
  if (!isUuidV4(text) && (!VOLUME_ID.test(text) || /^\.+$/.test(text))) {
    throw new BerthError('invalid_request', 'A volume id has 1 to 64 letters, digits, dots, dashes and underscores.', { details: { field: 'id' } })
  }
  return text as VolumeId
}
