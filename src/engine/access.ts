/** Who may do what: scopes first, then projects. What belongs to another project is not found. */
import { BerthError } from '../instance/errors.ts'
import type { Instance, InstanceId, Scope, Volume, VolumeId } from '../instance/model.ts'
import type { Caller } from './api.ts'
import type { StoreReader } from './store-port.ts'

/** Throws `forbidden` unless the caller's key has the scope. */
export function requireScope(caller: Caller, scope: Scope): void {
  if (caller.scopes.includes(scope)) return
  throw new BerthError('forbidden', `This key may not do that: it lacks the scope "${scope}".`, { details: { scope } })
}

/** The instance, if it is the caller's. Deleted ones are found where their story is told (`includeDeleted`). */
export async function ownInstance(
  reader: Pick<StoreReader, 'instance'>,
  caller: Caller,
  id: InstanceId,
  options: { readonly includeDeleted?: boolean } = {},
): Promise<Instance> {
  const instance = await reader.instance(id)
  const hidden = instance?.phase === 'deleted' && options.includeDeleted !== true
  if (instance === null || instance.projectId !== caller.projectId || hidden) {
    throw new BerthError('not_found', `There is no instance ${id}.`, { details: { instanceId: id } })
  }
  return instance
}

/** The volume, if it is the caller's and not on its way out. */
export async function ownVolume(reader: Pick<StoreReader, 'volume'>, caller: Pick<Caller, 'projectId'>, id: VolumeId): Promise<Volume> {
  const volume = await reader.volume(id)
  if (volume === null || volume.projectId !== caller.projectId || volume.status === 'deleting') {
    throw new BerthError('volume_not_found', `There is no volume ${id}.`, { details: { volumeId: id } })
  }
  return volume
}
