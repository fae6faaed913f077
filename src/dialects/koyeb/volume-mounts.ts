/** `volumes` of a definition: which volume stands at which path of which replica. */
import type { ReplicaVolume } from '../../instance/service.ts'
import type { Json } from './body.ts'
import { asInteger, asTexts, requiredText } from './body.ts'
import { fieldError } from './errors.ts'

/** Volumes of a definition, for the replicas of one region; whose they are is seen later. */
export function acceptVolumes(entries: readonly Json[], region: string, isOnly: boolean): readonly ReplicaVolume[] {
  return entries.flatMap((entry, index) => {
    const field = `definition.volumes[${index}]`
    const id = requiredText(`${field}.id`, entry['id'])
    const path = requiredText(`${field}.path`, entry['path'])
    const replicaIndex = asInteger(`${field}.replica_index`, entry['replica_index']) ?? 0
    if (replicaIndex < 0) throw fieldError(`${field}.replica_index`, 'it must not be negative')
    const scopes = asTexts(`${field}.scopes`, entry['scopes'])
    if (scopes.length === 0 && !isOnly) throw fieldError(`${field}.scopes`, 'a volume belongs to one region; say which, like ["region:fra"]')
    if (scopes.length > 0 && !scopes.includes(`region:${region}`)) return []
    return [{ volumeId: id as ReplicaVolume['volumeId'], path, mode: 'rw', overlayBytes: null, replicaIndex } as const]
  })
}
