/** Volumes: block devices with a file system, and shared file systems. What is deleted is gone from the list. */
import type { FastifyRequest } from 'fastify'
import { regionNamed, regionsOf } from '../../instance/catalogue.ts'
import { spellId } from '../../instance/ids.ts'
import type { Order } from '../../instance/market.ts'
import type { BidId, ReservationId, VolumeAttachment } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { bodyFields, queryFields } from './body.ts'
import type { Disk } from './disks.ts'
import { createdAtOf, fileSystemFid, listDisks } from './disks.ts'
import { asValidation, httpError } from './errors.ts'
import { volumeFid } from './fids.ts'
import type * as wire from './schema.ts'
import { regionName } from './shape.ts'
import type { Surface } from './surface.ts'
import { callerOf, checkProject, DIALECT, finishInProject, pathId, projectFid } from './surface.ts'
import { formatTime } from './time.ts'
import { valueError } from './validation.ts'

const GB = 1e9
const NAME = { limit: 64, pattern: /^[a-z]([-a-z0-9]*[a-z0-9])?$/ }
const SIZE_LIMIT_GB = 2 * 2 ** 20

export async function listVolumes(surface: Surface, request: FastifyRequest): Promise<readonly wire.Volume[]> {
  const caller = callerOf(request)
  const query = queryFields(request)
  const region = query.text('region')
  query.flag('include_deleted')
  finishInProject(query, caller)
  const [disks, orders] = await Promise.all([listDisks(surface, caller), liveOrders(surface, caller)])
  return disks.map(disk => presentDisk(surface, caller, disk, orders)).filter(row => region === null || row.region === region)
}

export async function createVolume(surface: Surface, request: FastifyRequest): Promise<wire.Volume> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const name = body.required.text('name', NAME)
  const project = body.required.text('project')
  const kind = body.required.choice('disk_interface', ['Block', 'File'])
  const region = body.required.text('region')
  const sizeGb = body.required.integer('size_gb', { minimum: 1, maximum: SIZE_LIMIT_GB - 1 })
  // Content is kept on the machine whose instances are real.
  const place = regionNamed(surface.catalogue, DIALECT, region)
  if (body.issues.length === 0 && (place === null || place.simulated !== null)) body.wrong('region', `volumes are kept in ${homeRegion(surface)}`)
  body.finish()
  checkProject(caller, project)
  const sizeBytes = sizeGb * GB
  const refuse = (error: unknown): never => {
    throw asValidation(error, ['body', isAboutName(error) ? 'name' : 'size_gb'])
  }
  if (kind === 'File') {
    const fileSystem = await surface.engine.fileSystems.create(caller, { name, region: place?.id ?? '', sizeBytes }).catch(refuse)
    return presentDisk(surface, caller, { kind, fid: fileSystemFid(fileSystem.id), fileSystem }, [])
  }
  const volume = await surface.engine.volumes.create(caller, { name, sizeBytes }).catch(refuse)
  return presentDisk(surface, caller, { kind, fid: volumeFid(volume.id), volume }, [])
}

/** Only the name can change, and only of a Block volume: a shared file system's is unique and in use. */
export async function updateVolume(surface: Surface, request: FastifyRequest): Promise<wire.Volume> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const name = body.required.text('name', NAME)
  body.finish()
  const disk = await findDisk(surface, caller, pathId(request))
  if (disk.kind === 'File') throw valueError(['body', 'name'], 'a File volume keeps its name', name)
  const [volume, orders] = await Promise.all([surface.engine.volumes.update(caller, disk.volume.id, { name }), liveOrders(surface, caller)])
  return presentDisk(surface, caller, { ...disk, volume }, orders)
}

export async function deleteVolume(surface: Surface, request: FastifyRequest): Promise<null> {
  const caller = callerOf(request)
  const disk = await findDisk(surface, caller, pathId(request))
  const user = (await liveOrders(surface, caller)).find(order => uses(order, disk))
  if (user !== undefined) throw httpError(409, `The volume is part of the ${user.kind} ${user.name.slice(0, 80)}, which has to end first.`)
  const { engine } = surface
  await (disk.kind === 'Block' ? engine.volumes.delete(caller, disk.volume.id) : engine.fileSystems.delete(caller, disk.fileSystem.id)).catch((error: unknown) => {
    throw asValidation(error, ['path', 'volume_fid'])
  })
  return null
}

function presentDisk(surface: Surface, caller: Identity, disk: Disk, orders: readonly Order[]): wire.Volume {
  const { name, sizeBytes } = disk.kind === 'Block' ? disk.volume : disk.fileSystem
  const users = orders.filter(order => uses(order, disk))
  const regionId = disk.kind === 'File' ? disk.fileSystem.region : null
  const region = surface.catalogue.regions.find(one => one.id === regionId)
  return {
    fid: disk.fid,
    name,
    region: region === undefined ? homeRegion(surface) : regionName(region),
    created_at: formatTime(createdAtOf(disk)),
    deleted_at: null,
    capacity_gb: Math.ceil(sizeBytes / GB),
    project: projectFid(caller),
    interface: disk.kind,
    bids: users.filter(order => order.kind === 'bid').map(order => spellId('bid', DIALECT, order.id as BidId)),
    reservations: users.filter(order => order.kind === 'reservation').map(order => spellId('reservation', DIALECT, order.id as ReservationId)),
    attachments: Object.fromEntries(attachmentsOf(disk)),
  }
}

/** Instances, and where each has it. */
function attachmentsOf(disk: Disk): readonly (readonly [string, string])[] {
  if (disk.kind === 'Block') return disk.volume.attachments.map(({ instanceId, path }: VolumeAttachment) => [spellId('instance', DIALECT, instanceId), path])
  return disk.fileSystem.instanceIds.map(id => [spellId('instance', DIALECT, id), 'shared'])
}

function uses(order: Order, disk: Disk): boolean {
  const { volumes = [], fileSystems = [] } = order.launch.template
  return disk.kind === 'Block' ? volumes.some(mount => mount.volumeId === disk.volume.id) : fileSystems.some(mount => mount.fileSystemId === disk.fileSystem.id)
}

async function liveOrders(surface: Surface, caller: Identity): Promise<readonly Order[]> {
  const { market } = surface.engine
  const [bids, reservations] = await Promise.all([market.bids(caller, { liveOnly: true }), market.reservations(caller, { liveOnly: true })])
  return [...bids, ...reservations]
}

async function findDisk(surface: Surface, caller: Identity, fid: string): Promise<Disk> {
  const disk = (await listDisks(surface, caller)).find(candidate => candidate.fid === fid)
  if (disk === undefined) throw httpError(404, 'Volume not found.')
  return disk
}

function isAboutName(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'name_conflict' || error.code === 'invalid_name')
}

function homeRegion(surface: Surface): string {
  const regions = regionsOf(surface.catalogue, DIALECT)
  const home = regions.find(region => region.simulated === null) ?? regions[0]
  return home === undefined ? '' : regionName(home)
}
