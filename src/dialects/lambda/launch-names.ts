/** Names that a launch may hold, as things of the engine; what isn't there is told with a suggestion. */
import type { FastifyRequest } from 'fastify'
import type { InstanceType, Region } from '../../instance/catalogue.ts'
import { regionNamed, regionsOf, typeNamed, typesOf } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import { parseId } from '../../instance/ids.ts'
import { asMachine, defaultMachineImage, familyOf, readyImages } from '../../instance/machine-image.ts'
import type { MachineImage } from '../../instance/machine-image.ts'
import type { FileSystemMount, FirewallRulesetId, Image, SshKey } from '../../instance/model.ts'
import type { LaunchRequest } from './accept.ts'
import { quoted } from './body.ts'
import { imageId } from './catalog.ts'
import { fieldError, objectMissing, wordedError } from './errors.ts'
import type { Surface } from './surface.ts'
import { callerOf, DIALECT } from './surface.ts'

/** A file system of a launch, with the name that answers tell it by. */
export interface NamedMount extends FileSystemMount {
  readonly name: string
}

/** Where a file system is mounted that names no place of its own. */
export function defaultMountPoint(name: string): string {
  return `/lambda/nfs/${name}`
}

export function findRegion(surface: Surface, name: string): Region {
  const region = regionNamed(surface.catalogue, 'lambda', name)
  if (region !== null) return region
  const known = regionsOf(surface.catalogue, 'lambda').map(one => one.names.lambda)
  throw new BerthError('invalid_request', `Region ${name.slice(0, 80)} does not exist`, { details: { suggestion: `Use one of ${known.join(', ')}.` } })
}

export function findType(surface: Surface, name: string): InstanceType {
  const type = typeNamed(surface.catalogue, 'lambda', name)
  if (type !== null) return type
  const known = typesOf(surface.catalogue, 'lambda').map(one => one.names.lambda)
  throw objectMissing(`Instance type ${quoted(name)} does not exist.`, `Use one of ${known.join(', ')}.`)
}

export async function findKey(surface: Surface, request: FastifyRequest, name: string): Promise<SshKey> {
  const keys = await surface.engine.sshKeys.list(callerOf(request))
  const key = keys.find(candidate => candidate.name === name)
  if (key !== undefined) return key
  throw objectMissing(`SSH key ${quoted(name)} does not exist.`, 'Add it with POST /api/v1/ssh-keys, or see GET /api/v1/ssh-keys for those that there are.')
}

/** Those that are named are at their default place; a mount point of `file_system_mounts` wins over that. */
export async function findFileSystems(surface: Surface, request: FastifyRequest, wish: LaunchRequest, region: Region): Promise<readonly NamedMount[]> {
  const { fileSystemNames, fileSystemMounts } = wish
  if (fileSystemNames.length === 0 && fileSystemMounts.length === 0) return []
  const all = await surface.engine.fileSystems.list(callerOf(request))
  const mounts = new Map<string, NamedMount>()
  const put = (meant: string, found: (typeof all)[number] | undefined, path: (name: string) => string) => {
    if (found === undefined) throw objectMissing(`Filesystem ${quoted(meant)} does not exist.`, 'See GET /api/v1/file-systems for those that there are, or make it with POST /api/v1/filesystems.')
    if (found.region !== region.id) throw wordedError('wrongRegion', `Filesystem ${quoted(found.name)} is not in ${wish.region}: launch in its own region, or make one there.`)
    mounts.set(found.id, { fileSystemId: found.id, name: found.name, path: path(found.name) })
  }
  for (const name of fileSystemNames) put(name, all.find(one => one.name === name), defaultMountPoint)
  for (const { fileSystemId, mountPoint } of fileSystemMounts) {
    const id = parseId('fileSystem', DIALECT, fileSystemId)
    put(fileSystemId, all.find(one => one.id === id), () => mountPoint)
  }
  return [...mounts.values()]
}

/** A launch has a firewall wherever the machine can hold one, so that the global rules are in force. */
export async function findRulesets(surface: Surface, request: FastifyRequest, wish: LaunchRequest, region: Region): Promise<readonly FirewallRulesetId[] | null> {
  const caller = callerOf(request)
  const wanted = [...new Set(wish.firewallRulesetIds)]
  const { mode } = (await surface.engine.resources(caller)).host.network
  if (wanted.length === 0) return mode === 'bridge' ? [] : null
  if (mode !== 'bridge') throw fieldError('firewall_rulesets', 'this server can hold no firewall, since it does not run as root on the bridge network', 'Launch without rulesets.')
  const all = await surface.engine.firewalls.list(caller)
  return wanted.map((text) => {
    const id = parseId('firewallRuleset', DIALECT, text)
    const found = all.find(one => one.id === id)
    if (found === undefined) throw objectMissing(`Firewall ruleset ${quoted(text)} does not exist.`, 'See GET /api/v1/firewall-rulesets for those that there are.')
    if (found.region !== region.id) throw fieldError('firewall_rulesets', `the ruleset ${quoted(found.name)} is not in ${wish.region}`, 'Use a ruleset of the same region.')
    return found.id
  })
}

export async function findImage(surface: Surface, request: FastifyRequest, { image: choice }: LaunchRequest): Promise<MachineImage> {
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
