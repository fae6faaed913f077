/** Types and regions of the catalogue under the ids of this wire, where one id means a shape in one region. */
import type { Catalogue, InstanceType, Region } from '../../instance/catalogue.ts'
import { regionNamed, regionsOf, typesOf } from '../../instance/catalogue.ts'
import { ORDER } from '../../instance/market.ts'
import type { Instance } from '../../instance/model.ts'
import { customTypeFid, typeFid } from './fids.ts'
import type * as wire from './schema.ts'
import { DIALECT } from './surface.ts'
import { valueError } from './validation.ts'

const GIB = 2 ** 30

export interface Shape {
  readonly type: InstanceType
  readonly region: Region
}

/** Every type in every region, in the catalogue's order. */
export function shapesOf(catalogue: Catalogue): readonly Shape[] {
  return regionsOf(catalogue, DIALECT).flatMap(region => typesOf(catalogue, DIALECT).map(type => ({ type, region })))
}

/** The shape of an id, or null. */
export function shapeOf(catalogue: Catalogue, fid: string): Shape | null {
  return shapesOf(catalogue).find(({ region, type }) => typeFid(region, type) === fid) ?? null
}

/** The shape that a request names by type and region: by the type's id in any region, or by its name. */
export function findShape(catalogue: Catalogue, where: 'query' | 'body', typeText: string, regionText: string | null): Shape {
  const region = regionText === null ? null : regionNamed(catalogue, DIALECT, regionText)
  if (regionText !== null && region === null) {
    const known = regionsOf(catalogue, DIALECT).map(regionName)
    throw valueError([where, 'region'], `there is no such region; use one of ${known.join(', ')}`, regionText)
  }
  const meant = shapeOf(catalogue, typeText)
  const type = meant?.type ?? typesOf(catalogue, DIALECT).find(one => one.names.mithril === typeText)
  const home = region ?? meant?.region ?? regionsOf(catalogue, DIALECT)[0]
  if (type === undefined || home === undefined) {
    throw valueError([where, 'instance_type'], 'there is no such instance type; use a fid of GET /v2/instance-types', typeText)
  }
  return { type, region: home }
}

export function regionName(region: Region): string {
  return region.names.mithril ?? region.id
}

/** The id of the region's name as instances tell it; null for a region that has no name here. */
export function regionOf(instance: Instance, catalogue: Catalogue): Region | null {
  const regions = regionsOf(catalogue, DIALECT)
  const given = instance.annotations[ORDER.region] ?? instance.spec.place?.region
  return regions.find(region => region.id === given) ?? regions.find(region => region.simulated === null) ?? null
}

/** The type it was ordered as, or that has its size; otherwise one that is nobody else's. */
export function instanceTypeFid(instance: Instance, catalogue: Catalogue): string {
  const region = regionOf(instance, catalogue)
  const { vcpus, memoryBytes } = instance.spec
  const types = typesOf(catalogue, DIALECT)
  const given = instance.annotations[ORDER.type] ?? instance.spec.place?.type
  const type = types.find(one => one.id === given) ?? types.find(one => one.gpu === null && one.vcpus === vcpus && one.memoryBytes === memoryBytes)
  return type === undefined || region === null ? customTypeFid(instance) : typeFid(region, type)
}

export function presentType({ type, region }: Shape): wire.InstanceType {
  const { gpu } = type
  // `H100 (80 GB SXM5)`
  const [, chip = gpu?.model ?? '', socket = ''] = /^(.*?)\s*\((?:\d+ GB )?(\S+)\)$/.exec(gpu?.model ?? '') ?? []
  return {
    fid: typeFid(region, type),
    name: type.names.mithril ?? type.id,
    num_cpus: type.vcpus,
    cpu_type: 'x86_64',
    ram_gb: Math.ceil(type.memoryBytes / GIB),
    num_gpus: gpu?.count ?? 0,
    gpu_type: chip,
    gpu_memory_gb: gpu === null ? 0 : Math.ceil(gpu.memoryBytes / GIB),
    gpu_socket: socket,
    local_storage_gb: Math.ceil(type.diskBytes / GIB),
    network_type: null,
    ib_count: 0,
    bridge_count: 0,
  }
}
