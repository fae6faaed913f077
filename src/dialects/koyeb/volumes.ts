/**
 * Persistent volumes on the Koyeb wire: the project's own (`berth volumes`). Sizes are in GB, as its CLI has them. A
 * volume belongs to one replica of one region, which has it alone; the service that it is used by follows from there.
 */
import type { FastifyRequest } from 'fastify'
import type { NewDeployment } from '../../engine/api.ts'
import { regionNamed, regionsOf } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import { isUuidV4 } from '../../instance/ids.ts'
import type { Instance, InstanceId, Volume } from '../../instance/model.ts'
import { ANNOTATION } from '../../instance/service.ts'
import type { ReplicaVolume } from '../../instance/service.ts'
import type { Identity } from '../dialect.ts'
import { acceptName } from './accept.ts'
import type { Json } from './body.ts'
import { asFlag, asInteger, asText, readBody } from './body.ts'
import { fieldError } from './errors.ts'
import { derivedId } from './ids.ts'
import { homeRegion } from './present.ts'
import { queryPaging, queryText, quoted } from './query.ts'
import type { Surface } from './surface.ts'
import { callerOf, pathParameter } from './surface.ts'
import { formatTime } from './timestamp.ts'

const GIGABYTE = 2 ** 30
const DEFAULT_GIGABYTES = 10
/** What only this wire knows of a volume, as its tags. */
const TAG = { region: 'koyeb-region', readOnly: 'koyeb-read-only' } as const
const STORES = ['PERSISTENT_VOLUME_BACKING_STORE_INVALID', 'PERSISTENT_VOLUME_BACKING_STORE_LOCAL_BLK'] as const

export async function listVolumes(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const { limit, offset } = queryPaging(request)
  const [name, region, serviceId] = ['name', 'region', 'service_id'].map(key => queryText(request, key))
  const volumes = await surface.engine.volumes.list(caller)
  const users = await usersOf(surface, caller, volumes)
  const all = volumes.map(volume => presentVolume(surface, volume, users))
  const wanted = all.filter(one => (name === null || one['name'] === name) && (region === null || one['region'] === region) && (serviceId === null || one['service_id'] === serviceId))
  return { volumes: wanted.slice(offset, offset + limit), limit, offset, has_next: wanted.length > offset + limit }
}

export async function getVolume(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  return { volume: await shown(surface, caller, await find(surface, caller, pathParameter(request, 'id'))) }
}

export async function createVolume(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const body = readBody(request)
  const store = asText('volume_type', body['volume_type'])
  if (store !== '' && !STORES.some(known => known === store)) throw fieldError('volume_type', `choose from ${STORES.join(', ')}`)
  if (asText('snapshot_id', body['snapshot_id']) !== '') throw fieldError('snapshot_id', 'snapshots of volumes are not supported by this server')
  const gigabytes = asInteger('max_size', body['max_size']) || DEFAULT_GIGABYTES
  if (gigabytes < 0 || gigabytes > Number.MAX_SAFE_INTEGER / GIGABYTE) throw fieldError('max_size', 'it is the size in GB, from 1 up')
  const tags = {
    [TAG.region]: acceptRegion(surface, asText('region', body['region'])),
    ...(asFlag('read_only', body['read_only']) ? { [TAG.readOnly]: 'true' } : {}),
  }
  const name = acceptName('name', body['name'])
  return { volume: await shown(surface, caller, await surface.engine.volumes.create(caller, { name, sizeBytes: gigabytes * GIGABYTE, tags })) }
}

/** Its name alone may change. */
export async function updateVolume(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const body = readBody(request)
  const volume = await find(surface, caller, pathParameter(request, 'id'))
  const size = asInteger('max_size', body['max_size']) || null
  if (size !== null && size !== gigabytesOf(volume)) throw fieldError('max_size', 'the size of a volume does not change; make another one')
  const name = asText('name', body['name'])
  const changed = name === '' ? volume : await surface.engine.volumes.update(caller, volume.id, { name: acceptName('name', name) })
  return { volume: await shown(surface, caller, changed) }
}

export async function deleteVolume(surface: Surface, request: FastifyRequest): Promise<Json> {
  const caller = callerOf(request)
  const volume = await find(surface, caller, pathParameter(request, 'id'))
  const before = await shown(surface, caller, volume)
  await surface.engine.volumes.delete(caller, volume.id)
  return { volume: { ...before, status: 'PERSISTENT_VOLUME_STATUS_DELETED', deleted_at: formatTime(surface.options.now()) } }
}

/**
 * A deployment whose volumes are those of the project. Throws where there is none of that id, where it is of another
 * region, or where somebody else has it: replicas of `ownServiceId` let go of it first.
 */
export async function withVolumes(surface: Surface, caller: Identity, deployment: NewDeployment, ownServiceId: string | null): Promise<NewDeployment> {
  if (deployment.sets.every(({ template }) => template.volumes === undefined)) return deployment
  const all = await surface.engine.volumes.list(caller)
  const users = await usersOf(surface, caller, all)
  const resolve = (given: ReplicaVolume, index: number, region: string): ReplicaVolume => {
    const field = `definition.volumes[${index}].id`
    const volume = all.find(one => idOf(one) === given.volumeId)
    if (volume === undefined) throw fieldError(field, `there is no volume ${quoted(given.volumeId)}; make it first`)
    if (regionOf(surface, volume) !== region) throw fieldError(field, `the volume is of the region ${regionOf(surface, volume)}, and the service runs in ${region}`)
    const ofThis = volume.attachments.flatMap(({ instanceId }) => users.get(instanceId) ?? [])
    const other = ofThis.find(({ annotations }) => ownServiceId === null || annotations[ANNOTATION.service] !== ownServiceId)
    if (other !== undefined) throw fieldError(field, `the instance ${other.spec.name} has this volume; one instance has it at a time`)
    return { ...given, volumeId: volume.id, mode: volume.tags[TAG.readOnly] === 'true' ? 'ro' : 'rw' }
  }
  const sets = deployment.sets.map(set => {
    const volumes = (set.template.volumes ?? []).map((volume, index) => resolve(volume, index, set.region))
    return { ...set, template: { ...set.template, ...(volumes.length === 0 ? {} : { volumes }) } }
  })
  return { ...deployment, sets }
}

async function find(surface: Surface, caller: Identity, id: string): Promise<Volume> {
  const volume = (await surface.engine.volumes.list(caller)).find(one => idOf(one) === id)
  if (volume === undefined) throw new BerthError('not_found', 'There is no such volume.')
  return volume
}

function acceptRegion(surface: Surface, name: string): string {
  if (name === '') return homeRegion(surface.catalogue)
  const region = regionNamed(surface.catalogue, 'koyeb', name)
  if (region?.simulated === null) return name
  const known = regionsOf(surface.catalogue, 'koyeb').filter(({ simulated }) => simulated === null)
  throw fieldError('region', `there is no region ${quoted(name)} with volumes; choose from ${known.map(one => one.names.koyeb).join(', ')}`)
}

function regionOf(surface: Surface, { tags }: Volume): string {
  return tags[TAG.region] ?? homeRegion(surface.catalogue)
}

/** One that another dialect named by a word of its own has an id that follows from it. */
function idOf({ id, projectId }: Volume): string {
  return isUuidV4(id) ? id : derivedId(`koyeb:volume:${projectId}:${id}`)
}

function gigabytesOf({ sizeBytes }: Volume): number {
  return Math.ceil(sizeBytes / GIGABYTE)
}

async function shown(surface: Surface, caller: Identity, volume: Volume): Promise<Json> {
  return presentVolume(surface, volume, await usersOf(surface, caller, [volume]))
}

type Users = ReadonlyMap<InstanceId, Instance>

/** The instances that have the volumes; one that ended meanwhile has none any more. */
async function usersOf(surface: Surface, caller: Identity, volumes: readonly Volume[]): Promise<Users> {
  const ids = volumes.flatMap(({ attachments }) => attachments.map(({ instanceId }) => instanceId))
  if (ids.length === 0) return new Map()
  return new Map((await surface.engine.instances.list(caller, { ids })).map(instance => [instance.id, instance]))
}

function presentVolume(surface: Surface, volume: Volume, users: Users): Json {
  const [user] = volume.attachments
  const instance = user === undefined ? undefined : users.get(user.instanceId)
  const status = volume.status === 'deleting' ? 'DELETING' : instance === undefined ? 'DETACHED' : 'ATTACHED'
  return {
    id: idOf(volume),
    name: volume.name,
    organization_id: volume.projectId,
    region: regionOf(surface, volume),
    service_id: instance?.annotations[ANNOTATION.service] ?? '',
    snapshot_id: '',
    status: `PERSISTENT_VOLUME_STATUS_${status}`,
    backing_store: 'PERSISTENT_VOLUME_BACKING_STORE_LOCAL_BLK',
    read_only: volume.tags[TAG.readOnly] === 'true',
    max_size: gigabytesOf(volume),
    cur_size: gigabytesOf(volume),
    created_at: formatTime(volume.createdAt),
    updated_at: formatTime(volume.createdAt),
    deleted_at: null,
  }
}
