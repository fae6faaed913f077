/**
 * Launch specifications of orders: what a client wrote becomes the template that each instance of the order is made
 * from, and is kept beside it, so that the order can be told as it was written.
 */
import { parseId, spellId } from '../../instance/ids.ts'
import { asMachine, defaultMachineImage, readyImages } from '../../instance/machine-image.ts'
import type { LaunchTemplate, Order, OrderLaunch } from '../../instance/market.ts'
import type { FileSystemMount, Image, SshKey, SshKeyId, VolumeMount } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { fileSystemFid, findMounts } from './disks.ts'
import { imageVersionFid, volumeFid } from './fids.ts'
import { MITHRIL } from './present.ts'
import type * as wire from './schema.ts'
import { KEYS_PER_ORDER_LIMIT, SCRIPT_LIMIT_CHARACTERS, VOLUMES_PER_ORDER_LIMIT } from './schema.ts'
import type { Surface } from './surface.ts'
import { DIALECT } from './surface.ts'
import type { Fields, Loc } from './validation.ts'
import { valueError } from './validation.ts'

const GIB = 2 ** 30

/** What an order keeps for this wire. */
interface Details {
  readonly sshKeys: readonly SshKeyId[]
  readonly script: string | null
  readonly imageVersion: string | null
}

/** A launch specification as it was sent, its types checked. */
export interface LaunchWish {
  readonly volumes: readonly string[]
  readonly sshKeys: readonly string[]
  readonly script: string | null
  readonly imageVersion: string | null
  readonly memoryGb: number | null
}

/** Reads `launch_specification`; what is wrong is told with the rest of the body. */
export function acceptLaunch(body: Fields): LaunchWish {
  const spec = body.required.object('launch_specification')
  const wish: LaunchWish = {
    volumes: spec.required.texts('volumes', { limit: VOLUMES_PER_ORDER_LIMIT }),
    sshKeys: spec.required.texts('ssh_keys', { limit: KEYS_PER_ORDER_LIMIT }),
    script: spec.text('startup_script', { limit: SCRIPT_LIMIT_CHARACTERS }),
    imageVersion: spec.text('image_version'),
    memoryGb: spec.integer('memory_gb', { minimum: 1 }),
  }
  const cluster = spec.text('kubernetes_cluster')
  if (cluster !== null && cluster !== '') spec.wrong('kubernetes_cluster', 'this server has no Kubernetes clusters; leave it out')
  return wish
}

export interface LaunchedOrder {
  readonly name: string
  /** Of the catalogue. */
  readonly region: string
  readonly quantity: number
}

/** Turns the wish into what the market keeps; throws with the place of what is not there. */
export async function launchOf(surface: Surface, caller: Identity, order: LaunchedOrder, wish: LaunchWish): Promise<OrderLaunch> {
  const loc = (...rest: Loc): Loc => ['body', 'launch_specification', ...rest]
  const keys = await findKeys(surface, caller, wish.sshKeys, loc('ssh_keys'))
  const image = await findImage(surface, caller, wish.imageVersion, loc('image_version'))
  const mounts = await findMounts(surface, caller, order, wish.volumes, loc('volumes'))
  const details: Details = { sshKeys: keys.map(key => key.id), script: wish.script, imageVersion: wish.imageVersion }
  const template: LaunchTemplate = {
    ...asMachine(image),
    ...mounts,
    sshKeys: [...new Set(keys.map(key => key.publicKey))],
    ...(wish.script === null || wish.script.trim() === '' ? {} : { userData: asUserData(wish.script) }),
  }
  return {
    template,
    memoryBytes: wish.memoryGb === null ? null : wish.memoryGb * GIB,
    annotations: { [MITHRIL.orderName]: order.name },
    details,
  }
}

/** The Block volumes that an order shall have from now on. Its File volumes are those that it was placed with. */
export async function changedVolumes(surface: Surface, caller: Identity, order: Order, fids: readonly string[]): Promise<readonly VolumeMount[]> {
  const mounts = await findMounts(surface, caller, order, fids, ['body', 'volumes'])
  const spell = (all: readonly FileSystemMount[]) => all.map(mount => mount.fileSystemId).toSorted().join()
  if (spell(mounts.fileSystems) === spell(order.launch.template.fileSystems ?? [])) return mounts.volumes
  throw valueError(['body', 'volumes'], 'File volumes are part of an order from its beginning to its end; only Block volumes can come and go', fids)
}

/** Also of an order that another surface placed. */
export function presentLaunch(order: Order): wire.LaunchSpecification {
  const { template, memoryBytes } = order.launch
  const details = detailsOf(order)
  return {
    volumes: [...(template.volumes ?? []).map(mount => volumeFid(mount.volumeId)), ...(template.fileSystems ?? []).map(mount => fileSystemFid(mount.fileSystemId))],
    ssh_keys: details.sshKeys.map(id => spellId('sshKey', DIALECT, id)),
    startup_script: details.script,
    kubernetes_cluster: null,
    image_version: details.imageVersion,
    memory_gb: memoryBytes === null ? null : Math.ceil(memoryBytes / GIB),
  }
}

/** The SSH keys that an order names. */
export function keysOf(order: Order): readonly SshKeyId[] {
  return detailsOf(order).sshKeys
}

/** The image version of an id; null without one: the server's own choice then. */
export async function findImage(surface: Surface, caller: Identity, fid: string | null, loc: Loc): Promise<Image | null> {
  const images = readyImages(await surface.engine.images.list(caller))
  if (fid === null) return defaultMachineImage(images)
  const image = images.find(candidate => imageVersionFid(candidate) === fid)
  if (image === undefined) throw valueError(loc, 'there is no such image version; see GET /v2/image-versions', fid)
  return image
}

async function findKeys(surface: Surface, caller: Identity, fids: readonly string[], loc: Loc): Promise<readonly SshKey[]> {
  const all = await surface.engine.sshKeys.list(caller)
  const keys = [...new Set(fids)].map((fid, index): SshKey => {
    const id = parseId('sshKey', DIALECT, fid)
    const key = all.find(candidate => candidate.id === id)
    if (key === undefined) throw valueError([...loc, index], 'there is no such SSH key in this project', fid)
    return key
  })
  const missing = all.find(key => surface.notes.isRequired(key.id) && !keys.includes(key))
  if (missing !== undefined) {
    throw valueError(loc, `the SSH key ${spellId('sshKey', DIALECT, missing.id)} is required in every order of this project`, fids)
  }
  return keys
}

function detailsOf(order: Order): Details {
  const details = order.launch.details as Partial<Details> | null | undefined
  return { sshKeys: details?.sshKeys ?? [], script: details?.script ?? null, imageVersion: details?.imageVersion ?? null }
}

/** A script that does not say what runs it is for the shell. */
function asUserData(script: string): string {
  return /^#(?:![ \t]*\/|cloud-config)/.test(script) ? script : `#!/bin/sh\n${script}`
}
