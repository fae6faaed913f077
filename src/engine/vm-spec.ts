/** An instance as its host needs to know it: what the image and the request say, combined. */
import { resolveCommand } from '../instance/command.ts'
import { BerthError } from '../instance/errors.ts'
import type { Instance } from '../instance/model.ts'
import type { Core } from './core.ts'
import { derive, DERIVED_FILE_LIMIT_BYTES } from './derived-text.ts'
import type { Derivation } from './derived-text.ts'
import { firstBootOf } from './user-data/first-boot.ts'
import type { FirstBoot, VmNetwork, VmRef, VmSpec } from './host-port.ts'
import { firewallOf } from './firewall-rules.ts'
import { secretVariables } from './secrets.ts'
import { proxiedPorts } from './idle/proxied-ports.ts'

export function refOf(instance: Pick<Instance, 'id' | 'generation'>): VmRef {
  return { instanceId: instance.id, generation: instance.generation }
}

/** Throws `image_not_found` if the image is gone from the host. */
export async function vmSpecOf(core: Core, instance: Instance): Promise<VmSpec> {
  const { spec } = instance
  const digest = instance.imageDigest
  const image = digest === null ? null : await core.fleet.link(instance.hostId).image(digest)
  if (digest === null || image === null) {
    throw new BerthError('image_not_found', `The image ${spec.image} is not on the host any more: pull it again.`)
  }
  const resolved = resolveCommand(image.config, spec)
  return {
    ...refOf(instance),
    name: spec.name,
    hostname: spec.hostname ?? spec.name,
    image: digest,
    imageConfig: image.config,
    vcpus: spec.vcpus,
    memoryBytes: spec.memoryBytes,
    overlayBytes: spec.overlayBytes,
    diskIoBytesPerSecond: spec.diskIoBytesPerSecond,
    command: resolved.command,
    env: (await variablesOf(core, instance, resolved.env)).variables,
    workingDir: resolved.workingDir,
    user: resolved.user,
    network: await networkOf(core, instance),
    volumes: spec.volumes,
    sshKeys: spec.sshKeys,
    fileSystems: spec.fileSystems,
  }
}

/** What the instance has to do at its first start, as long as that has not succeeded; null is nothing. */
export async function firstBootFor(core: Core, instance: Instance): Promise<FirstBoot | null> {
  const record = await core.store.read.firstBoot(instance.id)
  if (record === null) return null
  const { userData, files } = record
  const { hostname, name, sshKeys, env } = instance.spec
  const { text } = await variablesOf(core, instance, env, files.map(({ content }) => content))
  const configFiles = files.map(({ path, mode, content }) => ({ path, mode, data: Buffer.from(text(content, DERIVED_FILE_LIMIT_BYTES)) }))
  // Nothing for an init of the image's own, where there are only files.
  if (userData === null && sshKeys.length === 0) return { seed: [], files: [], script: null, configFiles }
  return { ...firstBootOf({ instanceId: instance.id, hostname: hostname ?? name, sshKeys, userData }), configFiles }
}

/** All variables of an instance over those of `base`, and how its other texts are filled in. */
async function variablesOf(core: Core, instance: Instance, base: Readonly<Record<string, string>>, texts: readonly string[] = []): Promise<Derivation> {
  const known = { ...base, ...(await secretVariables(core.store.read, instance)) }
  return derive(core.store.read, instance, known, texts)
}

async function networkOf(core: Core, instance: Instance): Promise<VmNetwork | null> {
  if (instance.address === null) return null
  const project = await core.store.read.project(instance.projectId)
  const { downloadBytesPerSecond, uploadBytesPerSecond } = instance.spec.network
  const peerGroup = project?.guestToGuest === true ? instance.projectId : null
  const ports = await publishedPorts(core, instance)
  return { ...instance.address, downloadBytesPerSecond, uploadBytesPerSecond, ports, peerGroup, firewall: await firewallOf(core.store.read, instance) }
}

/** The ports that the host publishes. Those that wake an instance are the server's own, where it reaches the guest. */
export async function publishedPorts(core: Core, instance: Instance): Promise<VmNetwork['ports']> {
  const proxied = (await core.fleet.link(instance.hostId).facts()).network.mode === 'bridge' ? proxiedPorts(instance) : []
  return instance.spec.network.ports.filter(port => !proxied.includes(port))
}
