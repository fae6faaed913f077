/**
 * Snapshots of instances on the Koyeb wire: the project's own (`berth snapshots`). FULL holds memory and disks, of an
 * instance that runs or sleeps; FILESYSTEM holds disks, of one that has stopped.
 */
import type { FastifyRequest } from 'fastify'
import { isUuidV4 } from '../../instance/ids.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Instance, InstanceId, SnapshotId } from '../../instance/model.ts'
import { ANNOTATION } from '../../instance/service.ts'
import type { Snapshot, SnapshotKind } from '../../instance/snapshot.ts'
import type { Identity } from '../dialect.ts'
import type { Json } from './body.ts'
import { asText, readBody, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { defaultIds } from './ids.ts'
import { queryEnum, queryEnums, queryPaging, queryText } from './query.ts'
import type { Surface } from './surface.ts'
import { asInstanceId, callerOf, pathParameter } from './surface.ts'
import { formatNullableTime, formatTime } from './timestamp.ts'

const TYPES = ['INSTANCE_SNAPSHOT_TYPE_INVALID', 'INSTANCE_SNAPSHOT_TYPE_FILESYSTEM', 'INSTANCE_SNAPSHOT_TYPE_FULL'] as const
type SnapshotType = (typeof TYPES)[number]
const STATUSES = ['INVALID', 'CREATING', 'AVAILABLE', 'ERROR', 'DELETING', 'DELETED'].map(word => `INSTANCE_SNAPSHOT_STATUS_${word}`)
const STATUS_OF = { creating: 'CREATING', ready: 'AVAILABLE', failed: 'ERROR', deleting: 'DELETING' } as const
const TYPE_OF: Readonly<Record<SnapshotKind, SnapshotType>> = { standby: 'INSTANCE_SNAPSHOT_TYPE_FULL', stopped: 'INSTANCE_SNAPSHOT_TYPE_FILESYSTEM' }

export async function listInstanceSnapshots(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const { limit, offset } = queryPaging(request)
  const [name, type, statuses] = [queryText(request, 'name'), queryEnum(request, 'type', TYPES), queryEnums(request, 'statuses', STATUSES)]
  const snapshots = await surface.engine.snapshots.list(caller)
  const sources = await sourcesOf(surface, caller, snapshots)
  const all = snapshots.map(snapshot => presentSnapshot(snapshot, sources.get(snapshot.sourceId)))
  const isOfType = (one: Json) => type === null || type === 'INSTANCE_SNAPSHOT_TYPE_INVALID' || one['type'] === type
  const wanted = all.filter(one => (name === null || one['name'] === name) && isOfType(one) && (statuses?.includes(String(one['status'])) ?? true))
  return { instance_snapshots: wanted.slice(offset, offset + limit), limit, offset, count: wanted.length, has_next: wanted.length > offset + limit }
}

export async function createInstanceSnapshot(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const body = readBody(request)
  const type = asText('type', body['type'])
  if (type !== '' && !TYPES.some(known => known === type)) throw fieldError('type', `choose from ${TYPES.join(', ')}`)
  const kind = (Object.keys(TYPE_OF) as SnapshotKind[]).find(one => TYPE_OF[one] === type)
  const name = asText('name', body['name'])
  const id = asInstanceId('instance_id', requiredText('instance_id', body['instance_id']))
  const snapshot = await surface.engine.snapshots.create(caller, id, { ...(kind === undefined ? {} : { kind }), ...(name === '' ? {} : { name }) })
  return { instance_snapshot: await shown(surface, caller, snapshot) }
}

export async function getInstanceSnapshot(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  return { instance_snapshot: await shown(surface, caller, await surface.engine.snapshots.get(caller, idOf(request))) }
}

export async function deleteInstanceSnapshot(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const id = idOf(request)
  const before = await shown(surface, caller, await surface.engine.snapshots.get(caller, id))
  await surface.engine.snapshots.delete(caller, id)
  return { instance_snapshot: { ...before, status: 'INSTANCE_SNAPSHOT_STATUS_DELETED', deleted_at: formatTime(surface.options.now()) } }
}

function idOf(request: FastifyRequest): SnapshotId {
  const id = pathParameter(request, 'id')
  if (!isUuidV4(id)) throw new BerthError('not_found', 'There is no such snapshot.')
  return id as SnapshotId
}

async function shown(surface: Surface, caller: Identity, snapshot: Snapshot): Promise<Json> {
  return presentSnapshot(snapshot, (await sourcesOf(surface, caller, [snapshot])).get(snapshot.sourceId))
}

/** A snapshot outlives its source, which is known as long as its record is. */
async function sourcesOf(surface: Surface, caller: Identity, snapshots: readonly Snapshot[]): Promise<ReadonlyMap<InstanceId, Instance>> {
  const ids = [...new Set(snapshots.map(({ sourceId }) => sourceId))]
  if (ids.length === 0) return new Map()
  return new Map((await surface.engine.instances.list(caller, { ids, includeDeleted: true })).map(instance => [instance.id, instance]))
}

function presentSnapshot(snapshot: Snapshot, source: Instance | undefined): Json {
  const own = defaultIds(snapshot.projectId)
  const place = (name: keyof typeof ANNOTATION, otherwise: string) => source?.annotations[ANNOTATION[name]] ?? (source === undefined ? '' : otherwise)
  return {
    id: snapshot.id,
    organization_id: snapshot.projectId,
    project_id: snapshot.projectId,
    name: snapshot.name ?? '',
    instance_id: snapshot.sourceId,
    service_id: place('service', own.service),
    deployment_id: place('deployment', own.deployment),
    regional_deployment_id: place('set', own.set),
    status: `INSTANCE_SNAPSHOT_STATUS_${STATUS_OF[snapshot.status]}`,
    type: TYPE_OF[snapshot.kind],
    messages: snapshot.error === null ? [] : [snapshot.error.message],
    version: '1',
    created_at: formatTime(snapshot.createdAt),
    updated_at: formatTime(snapshot.createdAt),
    available_at: formatNullableTime(snapshot.status === 'ready' ? snapshot.createdAt : null),
    deleted_at: null,
  }
}
