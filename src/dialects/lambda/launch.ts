/**
 * Launching: names of the request become things of the engine, one after the other, and what isn't there is told with
 * a suggestion. The key and the user data are the engine's to put into the guest, before the instance counts as active.
 */
import { randomBytes } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import { placeIn } from '../../instance/catalogue.ts'
import { spellId } from '../../instance/ids.ts'
import { acceptLaunch } from './accept.ts'
import { LAMBDA } from './annotation.ts'
import { readBody } from './body.ts'
import { findFileSystems, findImage, findKey, findRegion, findRulesets, findType } from './launch-names.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'

export async function launchInstance(surface: Surface, request: FastifyRequest): Promise<{ readonly instance_ids: readonly string[] }> {
  const caller = callerOf(request)
  const wish = acceptLaunch(readBody(request))
  const region = findRegion(surface, wish.region)
  const type = findType(surface, wish.type)
  const key = await findKey(surface, request, wish.sshKey)
  const mounts = await findFileSystems(surface, request, wish, region)
  const firewallRulesets = await findRulesets(surface, request, wish, region)
  const image = await findImage(surface, request, wish)
  const launch = randomBytes(16).toString('hex')
  const instance = await surface.engine.instances.create(caller, {
    ...image,
    name: engineName(wish.name, launch),
    vcpus: type.vcpus,
    memoryBytes: type.memoryBytes,
    overlayBytes: type.diskBytes,
    place: placeIn(region, type),
    hostname: wish.hostname,
    tags: wish.tags,
    sshKeys: [key.publicKey],
    fileSystems: mounts.map(({ fileSystemId, path }) => ({ fileSystemId, path })),
    firewallRulesets,
    ...(wish.userData === null ? {} : { userData: wish.userData }),
    annotations: {
      [LAMBDA.launch]: launch,
      [LAMBDA.name]: wish.name ?? '',
      [LAMBDA.type]: type.id,
      [LAMBDA.region]: region.id,
      [LAMBDA.sshKeys]: JSON.stringify([key.name]),
      ...(mounts.length === 0 ? {} : { [LAMBDA.fileSystems]: JSON.stringify(Object.fromEntries(mounts.map(({ fileSystemId, name }) => [fileSystemId, name]))) }),
    },
  })
  return { instance_ids: [spellId('instance', 'lambda', instance.id)] }
}

/**
 * The engine's names are unique and of a few characters only; Lambda's are neither. What can be kept of the given
 * name is kept, so that other dialects show something that a person knows.
 */
export function engineName(name: string | null, launch: string): string {
  const kept = (name ?? '')
    .toLowerCase()
    .replaceAll(/[^a-z0-9]+/g, '-')
    .slice(0, 48)
    .replaceAll(/^-+|-+$/g, '')
  return `${kept === '' ? 'lambda' : kept}-${launch.slice(0, 8)}`
}
