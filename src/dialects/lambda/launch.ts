/**
 * Launching: names of the request become things of the engine, one after the other, and what isn't there is told with
 * a suggestion. The key and the user data are the engine's to put into the guest, before the instance counts as active.
 */
import { randomBytes } from 'node:crypto'
import type { FastifyRequest } from 'fastify'
import type { InstanceType, Region } from '../../instance/catalogue.ts'
import { placeIn, regionNamed, regionsOf, typeNamed, typesOf } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import { spellId } from '../../instance/ids.ts'
import { asMachine, defaultMachineImage, familyOf, readyImages } from '../../instance/machine-image.ts'
import type { MachineImage } from '../../instance/machine-image.ts'
import type { Image, SshKey } from '../../instance/model.ts'
import type { LaunchRequest } from './accept.ts'
import { acceptLaunch } from './accept.ts'
import { LAMBDA } from './annotation.ts'
import { quoted, readBody } from './body.ts'
import { imageId } from './catalog.ts'
import { fieldError, objectMissing } from './errors.ts'
import type { Surface } from './surface.ts'
import { callerOf } from './surface.ts'

export async function launchInstance(surface: Surface, request: FastifyRequest): Promise<{ readonly instance_ids: readonly string[] }> {
  const caller = callerOf(request)
  const wish = acceptLaunch(readBody(request))
  const region = findRegion(surface, wish.region)
  const type = findType(surface, wish.type)
  const key = await findKey(surface, request, wish.sshKey)
  refuseAbsent(wish)
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
    ...(wish.userData === null ? {} : { userData: wish.userData }),
    annotations: {
      [LAMBDA.launch]: launch,
      [LAMBDA.name]: wish.name ?? '',
      [LAMBDA.type]: type.id,
      [LAMBDA.region]: region.id,
      [LAMBDA.sshKeys]: JSON.stringify([key.name]),
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

function findRegion(surface: Surface, name: string): Region {
  const region = regionNamed(surface.catalogue, 'lambda', name)
  if (region !== null) return region
  const known = regionsOf(surface.catalogue, 'lambda').map(one => one.names.lambda)
  throw new BerthError('invalid_request', `Region ${name.slice(0, 80)} does not exist`, { details: { suggestion: `Use one of ${known.join(', ')}.` } })
}

function findType(surface: Surface, name: string): InstanceType {
  const type = typeNamed(surface.catalogue, 'lambda', name)
  if (type !== null) return type
  const known = typesOf(surface.catalogue, 'lambda').map(one => one.names.lambda)
  throw objectMissing(`Instance type ${quoted(name)} does not exist.`, `Use one of ${known.join(', ')}.`)
}

async function findKey(surface: Surface, request: FastifyRequest, name: string): Promise<SshKey> {
  const keys = await surface.engine.sshKeys.list(callerOf(request))
  const key = keys.find(candidate => candidate.name === name)
  if (key !== undefined) return key
  throw objectMissing(`SSH key ${quoted(name)} does not exist.`, 'Add it with POST /api/v1/ssh-keys, or see GET /api/v1/ssh-keys for those that there are.')
}

/** File systems and rulesets: there are none that could be meant. */
function refuseAbsent(wish: LaunchRequest): void {
  const fileSystem = wish.fileSystemNames[0] ?? wish.fileSystemIds[0]
  if (fileSystem !== undefined) {
    throw objectMissing(`Filesystem ${quoted(fileSystem)} does not exist.`, 'Launch without file systems: this server has none yet.')
  }
  const ruleset = wish.firewallRulesetIds[0]
  if (ruleset !== undefined) {
    throw objectMissing(`Firewall ruleset ${quoted(ruleset)} does not exist.`, 'Launch without firewall rulesets: this server has none yet.')
  }
}

async function findImage(surface: Surface, request: FastifyRequest, { image: choice }: LaunchRequest): Promise<MachineImage> {
  const images = readyImages(await surface.engine.images.list(callerOf(request)))
  if (choice === null) return asMachine(defaultMachineImage(images))
  const found = 'id' in choice ? images.find(image => plain(imageId(image)) === plain(choice.id)) : ofFamily(images, choice.family)
  if (found !== undefined) return asMachine(found)
  const meant = 'id' in choice ? choice.id : choice.family
  throw objectMissing(`Image ${quoted(meant)} does not exist.`, 'See GET /api/v1/images, or pull an image first: berth images pull NAME.')
}

function ofFamily(images: readonly Image[], family: string): Image | undefined {
  if (family === '') throw fieldError('image.family', 'it is empty')
  return images.find(image => familyOf(image.name) === family) ?? images.find(image => image.name === family)
}

/** Ids of images are written with and without dashes. */
function plain(id: string): string {
  return id.toLowerCase().replaceAll('-', '')
}
