/** What can be launched, and where: types with the room that there really is, regions, and images of the project. */
import { createHash } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { Region } from '../../instance/catalogue.ts'
import { regionsOf, typesOf } from '../../instance/catalogue.ts'
import { familyOf, readyImages } from '../../instance/machine-image.ts'
import type { Image } from '../../instance/model.ts'
import { homeRegion, presentRegion, presentType } from './present.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'
import { timestamp } from './timestamp.ts'

/** All types; a type has a region only while the region could take one more of it. */
export async function listInstanceTypes(surface: Surface, request: FastifyRequest): Promise<Readonly<Record<string, wire.InstanceTypesItem>>> {
  const capacity = await surface.engine.capacity(callerOf(request))
  const items = typesOf(surface.catalogue, 'lambda').map(type => {
    const hasRoom = (region: Region) => capacity.some(line => line.type === type.id && line.region === region.id && line.free > 0)
    const regions = regionsOf(surface.catalogue, 'lambda').filter(hasRoom).map(presentRegion)
    return [type.names.lambda ?? type.id, { instance_type: presentType(type), regions_with_capacity_available: regions }] as const
  })
  return Object.fromEntries(items)
}

export async function listRegions(surface: Surface, request: FastifyRequest): Promise<readonly wire.Region[]> {
  callerOf(request)
  return regionsOf(surface.catalogue, 'lambda').map(presentRegion)
}

export async function listImages(surface: Surface, request: FastifyRequest): Promise<readonly wire.Image[]> {
  const caller = callerOf(request)
  const [images, { host }] = await Promise.all([surface.engine.images.list(caller), surface.engine.resources(caller)])
  const region = presentRegion(homeRegion(surface.catalogue))
  return readyImages(images).map(image => ({
    id: imageId(image),
    created_time: timestamp(image.createdAt),
    updated_time: timestamp(image.updatedAt),
    name: image.name,
    description: image.name,
    family: familyOf(image.name),
    version: (image.digest ?? '').replace(/^sha256:/, '').slice(0, 12),
    architecture: host.arch === 'aarch64' ? 'arm64' : 'x86_64',
    region,
  }))
}

/** A UUID that follows from name and content, so that no table of ids is kept. */
export function imageId(image: Pick<Image, 'name' | 'digest'>): string {
  const hex = createHash('sha256').update(`lambda:image:${image.name}:${image.digest ?? ''}`).digest('hex')
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-8${hex.slice(17, 20)}-${hex.slice(20, 32)}`
}
