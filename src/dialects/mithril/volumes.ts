/** Volumes: block devices with a file system, each for one instance at a time. What is deleted is gone from the list. */
import type { FastifyRequest } from 'fastify'
import { spellId } from '../../instance/ids.ts'
import type { Order } from '../../instance/market.ts'
import type { BidId, ReservationId, Volume, VolumeAttachment } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { bodyFields, queryFields } from './body.ts'
import { asValidation, httpError } from './errors.ts'
import { volumeFid, volumeOf } from './fids.ts'
import type * as wire from './schema.ts'
import { regionName } from './shape.ts'
import type { Surface } from './surface.ts'
import { callerOf, checkProject, DIALECT, finishInProject, pathId } from './surface.ts'
import { formatTime } from './time.ts'
import { regionsOf } from '../../instance/catalogue.ts'

const GB = 1e9
const NAME = { limit: 64, pattern: /^[a-z]([-a-z0-9]*[a-z0-9])?$/ }
const SIZE_LIMIT_GB = 2 * 2 ** 20

export async function listVolumes(surface: Surface, request: FastifyRequest): Promise<readonly wire.Volume[]> {
  const caller = callerOf(request)
  const query = queryFields(request)
  const region = query.text('region')
  query.flag('include_deleted')
  finishInProject(query, caller)
  if (region !== null && region !== homeRegion(surface)) return []
  const [volumes, orders] = await Promise.all([surface.engine.volumes.list(caller), liveOrders(surface, caller)])
  return volumes.map(volume => presentVolume(surface, volume, orders))
}

export async function createVolume(surface: Surface, request: FastifyRequest): Promise<wire.Volume> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const name = body.required.text('name', NAME)
  const project = body.required.text('project')
  const kind = body.required.choice('disk_interface', ['Block', 'File'])
  const region = body.required.text('region')
  const sizeGb = body.required.integer('size_gb', { minimum: 1, maximum: SIZE_LIMIT_GB - 1 })
  if (body.issues.length === 0 && kind === 'File') body.wrong('disk_interface', 'this server has Block volumes only')
  if (body.issues.length === 0 && region !== homeRegion(surface)) body.wrong('region', `volumes are kept in ${homeRegion(surface)}`)
  body.finish()
  checkProject(caller, project)
  const volume = await surface.engine.volumes.create(caller, { name, sizeBytes: sizeGb * GB }).catch((error: unknown) => {
    throw asValidation(error, ['body', 'size_gb'])
  })
  return presentVolume(surface, volume, [])
}

/** Only the name can change. */
export async function updateVolume(surface: Surface, request: FastifyRequest): Promise<wire.Volume> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const name = body.required.text('name', NAME)
  body.finish()
  const volume = await findVolume(surface, caller, pathId(request))
  const [renamed, orders] = await Promise.all([surface.engine.volumes.update(caller, volume.id, { name }), liveOrders(surface, caller)])
  return presentVolume(surface, renamed, orders)
}

export async function deleteVolume(surface: Surface, request: FastifyRequest): Promise<null> {
  const caller = callerOf(request)
  const volume = await findVolume(surface, caller, pathId(request))
  const user = (await liveOrders(surface, caller)).find(order => usesVolume(order, volume))
  if (user !== undefined) throw httpError(409, `The volume is part of the ${user.kind} ${user.name.slice(0, 80)}: remove it there first.`)
  await surface.engine.volumes.delete(caller, volume.id).catch((error: unknown) => {
    throw asValidation(error, ['path', 'volume_fid'])
  })
  return null
}

function presentVolume(surface: Surface, volume: Volume, orders: readonly Order[]): wire.Volume {
  const users = orders.filter(order => usesVolume(order, volume))
  return {
    fid: volumeFid(volume.id),
    name: volume.name,
    region: homeRegion(surface),
    created_at: formatTime(volume.createdAt),
    deleted_at: null,
    capacity_gb: Math.ceil(volume.sizeBytes / GB),
    project: spellId('project', DIALECT, volume.projectId),
    interface: 'Block',
    bids: users.filter(order => order.kind === 'bid').map(order => spellId('bid', DIALECT, order.id as BidId)),
    reservations: users.filter(order => order.kind === 'reservation').map(order => spellId('reservation', DIALECT, order.id as ReservationId)),
    attachments: Object.fromEntries(volume.attachments.map(presentAttachment)),
  }
}

function presentAttachment({ instanceId, path }: VolumeAttachment): readonly [string, string] {
  return [spellId('instance', DIALECT, instanceId), path]
}

function usesVolume(order: Order, volume: Volume): boolean {
  return (order.launch.template.volumes ?? []).some(mount => mount.volumeId === volume.id)
}

async function liveOrders(surface: Surface, caller: Identity): Promise<readonly Order[]> {
  const { market } = surface.engine
  const [bids, reservations] = await Promise.all([market.bids(caller, { liveOnly: true }), market.reservations(caller, { liveOnly: true })])
  return [...bids, ...reservations]
}

async function findVolume(surface: Surface, caller: Identity, fid: string): Promise<Volume> {
  const volume = volumeOf(await surface.engine.volumes.list(caller), fid)
  if (volume === null) throw httpError(404, 'Volume not found.')
  return volume
}

/** Content is kept where instances really run. */
function homeRegion(surface: Surface): string {
  const regions = regionsOf(surface.catalogue, DIALECT)
  const home = regions.find(region => region.simulated === null) ?? regions[0]
  return home === undefined ? '' : regionName(home)
}
