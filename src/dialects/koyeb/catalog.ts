/** The catalogue as Koyeb shows it: types of instance, regions, datacenters. */
import type { FastifyRequest } from 'fastify'
import type { InstanceType, Region } from '../../instance/catalogue.ts'
import { regionNamed, regionsOf, typeNamed, typesOf } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Json } from './body.ts'
import { datacenterOf } from './present.ts'
import { queryPaging, queryText } from './query.ts'
import type { Surface } from './surface.ts'
import { callerOf, pathParameter } from './surface.ts'

const MICROS = 1_000_000
const HOURS_PER_MONTH = 730

export async function listCatalogInstances(surface: Surface, request: FastifyRequest): Promise<Json> {
  const { limit, offset } = queryPaging(request)
  const id = queryText(request, 'id')
  const types = typesOf(surface.catalogue, 'koyeb').filter(type => id === null || type.names.koyeb === id)
  return { instances: types.slice(offset, offset + limit).map(type => presentType(surface, type)), limit, offset, count: types.length }
}

export async function getCatalogInstance(surface: Surface, request: FastifyRequest): Promise<Json> {
  const type = typeNamed(surface.catalogue, 'koyeb', pathParameter(request, 'id'))
  if (type === null) throw new BerthError('not_found', 'There is no such type of instance.')
  return { instance: presentType(surface, type) }
}

export async function listRegions(surface: Surface, request: FastifyRequest): Promise<Json> {
  const { limit, offset } = queryPaging(request)
  const id = queryText(request, 'id')
  const regions = regionsOf(surface.catalogue, 'koyeb').filter(region => id === null || region.names.koyeb === id)
  return { regions: regions.slice(offset, offset + limit).map(region => presentRegion(surface, region)), limit, offset, count: regions.length }
}

export async function getRegion(surface: Surface, request: FastifyRequest): Promise<Json> {
  const region = regionNamed(surface.catalogue, 'koyeb', pathParameter(request, 'id'))
  if (region === null) throw new BerthError('not_found', 'There is no such region.')
  return { region: presentRegion(surface, region) }
}

export async function listDatacenters(surface: Surface): Promise<Json> {
  const datacenters = regionsOf(surface.catalogue, 'koyeb').map(region => {
    const name = nameOf(region)
    return { id: datacenterOf(name), region_id: name, regions: [name], domain: '', coordinates: [], use_gpu: false }
  })
  return { datacenters }
}

/** How likely a launch finds room. */
export async function getUsage(surface: Surface, request: FastifyRequest): Promise<Json> {
  const capacity = await surface.engine.capacity(callerOf(request))
  const levelOf = (free: number) => (free >= 4 ? 'HIGH' : free >= 1 ? 'MEDIUM' : 'LOW')
  const regions = regionsOf(surface.catalogue, 'koyeb')
  const entries = typesOf(surface.catalogue, 'koyeb').map(type => {
    const free = regions.filter(region => offers(region, type)).map(region => [nameOf(region), capacity.find(line => line.region === region.id && line.type === type.id)?.free ?? 0] as const)
    const byRegion = Object.fromEntries(free.map(([name, count]) => [name, { availability: levelOf(count) }]))
    return [type.names.koyeb ?? type.id, { availability: levelOf(Math.max(0, ...free.map(([, count]) => count))), regions: byRegion }]
  })
  return { usage: { instances: Object.fromEntries(entries) as Json } }
}

function presentType(surface: Surface, type: InstanceType): Json {
  const dollarsPerHour = type.priceMicrosPerHour / MICROS
  const regions = regionsOf(surface.catalogue, 'koyeb').filter(region => offers(region, type)).map(nameOf)
  return {
    id: type.names.koyeb ?? type.id,
    display_name: type.description,
    description: type.description,
    aliases: [],
    type: type.gpu === null ? 'standard' : 'gpu',
    status: regions.length > 0 ? 'AVAILABLE' : 'UNAVAILABLE',
    vcpu: type.vcpus,
    vcpu_shares: type.cpuShares,
    memory: binarySize(type.memoryBytes),
    disk: binarySize(type.diskBytes),
    gpu: type.gpu === null ? null : { name: type.gpu.model, brand: 'NVIDIA', count: type.gpu.count, memory: binarySize(type.gpu.memoryBytes) },
    price_per_second: (dollarsPerHour / 3600).toFixed(9),
    price_hourly: dollarsPerHour.toFixed(4),
    price_monthly: (dollarsPerHour * HOURS_PER_MONTH).toFixed(2),
    regions,
    require_plan: [],
    service_types: ['web', 'worker'],
    light_sleep_enabled: type.gpu === null,
    volumes_enabled: false,
  }
}

function presentRegion(surface: Surface, region: Region): Json {
  const name = nameOf(region)
  const types = typesOf(surface.catalogue, 'koyeb').filter(type => offers(region, type))
  return {
    id: name,
    name: region.description,
    status: types.length > 0 ? 'AVAILABLE' : 'UNAVAILABLE',
    scope: 'metropolitan',
    coordinates: [],
    datacenters: [datacenterOf(name)],
    instances: types.map(type => type.names.koyeb ?? type.id),
    volumes_enabled: false,
  }
}

/** Whether the region could ever take one; this machine has no GPUs to give. */
function offers(region: Region, type: InstanceType): boolean {
  return region.simulated === null ? type.gpu === null : region.simulated.slotsPerType > 0
}

function nameOf(region: Region): string {
  return region.names.koyeb ?? region.id
}

/** As its clients parse it: powers of two with decimal names. */
function binarySize(bytes: number): string {
  return bytes >= 2 ** 30 && bytes % 2 ** 30 === 0 ? `${bytes / 2 ** 30}GB` : `${Math.round(bytes / 2 ** 20)}MB`
}
