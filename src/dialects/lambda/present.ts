/** Instances, types and regions on the Lambda wire. */
import type { Catalogue, InstanceType, Region } from '../../instance/catalogue.ts'
import { MICROS_PER_CENT, regionsOf, typesOf } from '../../instance/catalogue.ts'
import { spellId } from '../../instance/ids.ts'
import type { Instance, SshKey } from '../../instance/model.ts'
import type { Phase } from '../../instance/phase.ts'
import { LAMBDA } from './annotation.ts'
import type * as wire from './schema.ts'
import { ACTIONS } from './schema.ts'

const GIB = 2 ** 30
const NAME_LIMIT_CHARACTERS = 64
const TAG_KEY = /^[a-z][a-z0-9-:]{1,54}$/
const TAG_VALUE_LIMIT_CHARACTERS = 128

const STATUS: Readonly<Record<Phase, wire.InstanceStatus>> = {
  pending: 'booting',
  allocated: 'booting',
  preparing: 'booting',
  starting: 'booting',
  restoring: 'booting',
  running: 'active',
  preempting: 'active',
  unhealthy: 'unhealthy',
  lost: 'unhealthy',
  failed: 'unhealthy',
  // There is no stopped or sleeping machine on this wire; one that is shut down from inside counts as not healthy.
  stopping: 'unhealthy',
  stopped: 'unhealthy',
  suspending: 'unhealthy',
  standby: 'unhealthy',
  preempted: 'unhealthy',
  deleting: 'terminating',
  deleted: 'terminated',
}

export function statusOf(instance: Instance): wire.InstanceStatus {
  const { phase, desired } = instance
  if (desired === 'deleted' && phase !== 'deleted') return 'terminating'
  if ((phase === 'stopping' || phase === 'stopped') && desired === 'running') return 'booting'
  return STATUS[phase]
}

export function presentInstance(instance: Instance, catalogue: Catalogue): wire.Instance {
  const { spec, annotations, address } = instance
  const status = statusOf(instance)
  const isReachable = status === 'active' || status === 'unhealthy'
  const name = annotations[LAMBDA.name] ?? (annotations[LAMBDA.launch] === undefined ? spec.name : '')
  const tags = Object.entries(spec.tags).filter(([key, value]) => TAG_KEY.test(key) && value.length <= TAG_VALUE_LIMIT_CHARACTERS)
  return {
    id: spellId('instance', 'lambda', instance.id),
    ...(name === '' ? {} : { name: Array.from(name).slice(0, NAME_LIMIT_CHARACTERS).join('') }),
    ...(isReachable && address !== null ? { ip: address.ip, private_ip: address.ip } : {}),
    status,
    ssh_key_names: sshKeyNames(annotations[LAMBDA.sshKeys]),
    ...fileSystemsOf(instance),
    region: presentRegion(regionOf(instance, catalogue)),
    instance_type: typeOf(instance, catalogue),
    ...(spec.hostname === null ? {} : { hostname: spec.hostname }),
    actions: actionsOf(status, instance),
    ...firewallOf(instance),
    ...(tags.length === 0 ? {} : { tags: tags.map(([key, value]) => ({ key, value })) }),
  }
}

/** The region of the catalogue with this id; one that the catalogue has lost is shown as the home region. */
export function presentRegionOf(catalogue: Catalogue, id: string): wire.Region {
  return presentRegion(regionsOf(catalogue, 'lambda').find(region => region.id === id) ?? homeRegion(catalogue))
}

export function presentRegion(region: Region | null): wire.Region {
  return { name: region?.names.lambda ?? 'us-west-1', description: region?.description ?? 'This machine' }
}

export function presentType(type: InstanceType): wire.InstanceType {
  const memoryGib = Math.ceil(type.memoryBytes / GIB)
  return {
    name: type.names.lambda ?? type.id,
    // A client reads GPU types out of this text, and leaves out what is not of that form.
    description: type.gpu === null ? `${type.vcpus}x CPU General (${memoryGib} GiB)` : type.description,
    gpu_description: type.gpu?.model ?? 'N/A',
    price_cents_per_hour: Math.round(type.priceMicrosPerHour / MICROS_PER_CENT),
    specs: { vcpus: type.vcpus, memory_gib: memoryGib, storage_gib: Math.ceil(type.diskBytes / GIB), gpus: type.gpu?.count ?? 0 },
  }
}

export function presentSshKey(key: SshKey, privateKey: string | null = null): wire.SshKey {
  return {
    id: spellId('sshKey', 'lambda', key.id),
    name: key.name,
    public_key: key.publicKey,
    ...(privateKey === null ? {} : { private_key: privateKey }),
  }
}

/** The region where instances really run. */
export function homeRegion(catalogue: Catalogue): Region | null {
  return regionsOf(catalogue, 'lambda').find(region => region.simulated === null) ?? null
}

function regionOf(instance: Instance, catalogue: Catalogue): Region | null {
  const given = instance.annotations[LAMBDA.region] ?? instance.spec.place?.region
  return regionsOf(catalogue, 'lambda').find(region => region.id === given) ?? homeRegion(catalogue)
}

/** The type that it was launched as, or that has its size; otherwise one that says its size. */
function typeOf(instance: Instance, catalogue: Catalogue): wire.InstanceType {
  const { vcpus, memoryBytes, overlayBytes } = instance.spec
  const given = instance.annotations[LAMBDA.type] ?? instance.spec.place?.type
  const types = typesOf(catalogue, 'lambda')
  const launched = given === undefined ? undefined : types.find(type => type.id === given)
  const fitting = types.find(type => type.gpu === null && type.vcpus === vcpus && type.memoryBytes === memoryBytes)
  const found = launched ?? fitting
  if (found !== undefined) return presentType(found)
  const memoryGib = Math.ceil(memoryBytes / GIB)
  return {
    name: `cpu_${vcpus}x_custom`,
    description: `${vcpus}x CPU Custom (${memoryGib} GiB)`,
    gpu_description: 'N/A',
    price_cents_per_hour: 0,
    specs: { vcpus, memory_gib: memoryGib, storage_gib: Math.ceil(overlayBytes / GIB), gpus: 0 },
  }
}

function actionsOf(status: wire.InstanceStatus, instance: Instance): wire.Instance['actions'] {
  const availability = availabilityOf(status, instance)
  return Object.fromEntries(ACTIONS.map(action => [action, availability])) as wire.Instance['actions']
}

function availabilityOf(status: wire.InstanceStatus, instance: Instance): wire.ActionAvailability {
  if (status === 'active' || status === 'unhealthy') return { available: true }
  if (status === 'terminating' || status === 'terminated') {
    return { available: false, reason_code: 'vm-is-terminating', reason_description: 'The instance is terminating.' }
  }
  if (instance.startedAt !== null && instance.phase !== 'running') {
    return { available: false, reason_code: 'vm-action-in-progress', reason_description: 'The instance is being restarted.' }
  }
  return { available: false, reason_code: 'vm-has-not-launched', reason_description: 'The instance has not launched yet.' }
}

function sshKeyNames(text: string | undefined): readonly string[] {
  return text === undefined ? [] : (JSON.parse(text) as readonly string[])
}

/** The list of mounts is missing where there are none, the list of names is empty. */
function fileSystemsOf({ spec, annotations }: Instance): Pick<wire.Instance, 'file_system_names' | 'file_system_mounts'> {
  const { fileSystems } = spec
  if (fileSystems.length === 0) return { file_system_names: [] }
  const names = JSON.parse(annotations[LAMBDA.fileSystems] ?? '{}') as Readonly<Record<string, string>>
  return {
    // One that another dialect mounted is called as its place is.
    file_system_names: fileSystems.map(({ fileSystemId, path }) => names[fileSystemId] ?? path.slice(path.lastIndexOf('/') + 1)),
    file_system_mounts: fileSystems.map(({ fileSystemId, path }) => ({ mount_point: path, file_system_id: spellId('fileSystem', 'lambda', fileSystemId) })),
  }
}

function firewallOf({ spec: { firewallRulesets } }: Instance): Pick<wire.Instance, 'firewall_rulesets'> {
  if (firewallRulesets === null || firewallRulesets.length === 0) return {}
  return { firewall_rulesets: firewallRulesets.map(id => ({ id: spellId('firewallRuleset', 'lambda', id) })) }
}
