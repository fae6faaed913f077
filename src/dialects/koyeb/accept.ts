/**
 * Definitions of services as the engine's deployments. What Berth has no part for is refused by the field's name
 * where it would change what runs (`git`, `database`) or who may come in or out (`network_policy`, a route's `security_policies`); what only tunes it (strategies, targets that are not measured)
 * passes and is shown again.
 */
import type { NewDeployment } from '../../engine/api.ts'
import type { Catalogue, InstanceType, Region } from '../../instance/catalogue.ts'
import { placeIn, regionNamed, regionsOf, typeNamed, typesOf } from '../../instance/catalogue.ts'
import type { ReplicaSet, ReplicaTemplate } from '../../instance/service.ts'
import type { Json } from './body.ts'
import { asFlag, asInteger, asList, asObject, asText, asTexts, requiredText } from './body.ts'
import { fieldError } from './errors.ts'
import { homeRegion } from './present.ts'
import { acceptConfigFiles } from './config-files.ts'
import { shapedDefinition } from './definition-shape.ts'
import { acceptHealthChecks } from './health-checks.ts'
import { quoted } from './query.ts'
import { acceptVariables } from './variables.ts'
import { acceptVolumes } from './volume-mounts.ts'

export const SERVICE_TYPES = ['WEB', 'WORKER', 'SANDBOX'] as const
/** As the original has it where nothing says how long. */
const DEFAULT_IDLE_SECONDS = 300
export const LONGEST_IDLE_SECONDS = 86_400
const NAME = /^[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?$/
const PORT_MAX = 65_535
const CONCURRENCY_LIMIT = 1_000_000
const REFUSED = [
  ['git', 'builds are not supported; give docker.image'],
  ['archive', 'builds are not supported; give docker.image'],
  ['database', 'databases are not supported; run one from docker.image'],
] as const

export interface AcceptedService {
  readonly name: string
  readonly kind: string
  readonly deployment: NewDeployment
}

export function acceptName(field: string, value: unknown): string {
  const name = requiredText(field, value)
  if (!NAME.test(name)) throw fieldError(field, `${quoted(name)} is not a name: 1 to 63 lower-case letters, digits and dashes`)
  return name
}

export function acceptDefinition(value: unknown, catalogue: Catalogue): AcceptedService {
  if (value === undefined) throw fieldError('definition', 'it is required')
  const given = asObject('definition', value)
  for (const [field, why] of REFUSED) if (given[field] !== undefined) throw fieldError(`definition.${field}`, why)
  const definition = shapedDefinition(given)
  refuseWalls(definition)
  const kind = acceptKind(asText('definition.type', definition['type']))
  const docker = asObject('definition.docker', definition['docker'])
  const named = asTexts('definition.regions', definition['regions'])
  const regions = named.length === 0 ? [homeRegion(catalogue)] : [...new Set(named)]
  const ports = asList('definition.ports', definition['ports']).map((port, index) => acceptPort(`definition.ports[${index}]`, port))
  return {
    name: acceptName('definition.name', definition['name']),
    kind,
    deployment: {
      sets: regions.map(region => acceptSet(definition, docker, acceptRegion(region, catalogue), catalogue, regions.length === 1)),
      ports: [...new Set(ports)],
      definition: fullDefinition(definition, kind, regions),
    },
  }
}

/** What would keep somebody out, and has no part here, is never passed over. */
function refuseWalls(definition: Json): void {
  const egress = asObject('definition.network_policy.egress', asObject('definition.network_policy', definition['network_policy'])['egress'])
  if (egress['mode'] === 'EGRESS_POLICY_MODE_DENY_ALL' || asList('definition.network_policy.egress.allow_list', egress['allow_list']).length > 0) {
    throw fieldError('definition.network_policy', 'egress policies are not supported by this server')
  }
  for (const [index, route] of asList('definition.routes', definition['routes']).entries()) {
    const field = `definition.routes[${index}].security_policies`
    const policies = asObject(field, asObject(field, route)['security_policies'])
    if (Object.values(policies).some(list => asList(field, list).length > 0)) throw fieldError(field, 'they are not supported by this server; let the application ask for credentials')
  }
}

export interface LifeCycle {
  readonly deleteAfterMs: number | null
  readonly deleteAfterSleepMs: number | null
}

/** Seconds; 0 is never. */
export function acceptLifeCycle(value: unknown): LifeCycle {
  const cycle = asObject('life_cycle', value)
  const read = (name: string) => {
    const seconds = asInteger(`life_cycle.${name}`, cycle[name]) ?? 0
    if (seconds < 0) throw fieldError(`life_cycle.${name}`, 'it must not be negative')
    return seconds === 0 ? null : seconds * 1000
  }
  return { deleteAfterMs: read('delete_after_create'), deleteAfterSleepMs: read('delete_after_sleep') }
}

/** `{"scalings":[{"scopes":["region:fra"],"instances":2}]}` as replicas by region. */
export function acceptScalings(body: Json): Readonly<Record<string, number>> {
  const scalings = asList('scalings', body['scalings'])
  if (scalings.length === 0) throw fieldError('scalings', 'it is required')
  return Object.fromEntries(
    scalings.flatMap((item, index) => {
      const scaling = asObject(`scalings[${index}]`, item)
      const count = asInteger(`scalings[${index}].instances`, scaling['instances']) ?? 0
      if (count < 0) throw fieldError(`scalings[${index}].instances`, 'it must not be negative')
      const scopes = asTexts(`scalings[${index}].scopes`, scaling['scopes'])
      const regions = scopes.length === 0 ? ['*'] : scopes.map(scope => scope.replace(/^region:/, ''))
      return regions.map(region => [region, count])
    }),
  )
}

function acceptKind(text: string): string {
  if (text === '' || text === 'INVALID') return 'WEB'
  const kind = SERVICE_TYPES.find(candidate => candidate === text)
  if (kind === undefined) throw fieldError('definition.type', `${quoted(text)} is none of ${SERVICE_TYPES.join(', ')}`)
  return kind
}

function acceptRegion(name: string, catalogue: Catalogue): Region {
  const region = regionNamed(catalogue, 'koyeb', name)
  if (region === null) {
    const known = regionsOf(catalogue, 'koyeb').map(one => one.names.koyeb)
    throw fieldError('definition.regions', `there is no region ${quoted(name)}; choose from ${known.join(', ')}`)
  }
  return region
}

function acceptSet(definition: Json, docker: Json, where: Region, catalogue: Catalogue, isOnly: boolean): Omit<ReplicaSet, 'id'> {
  const region = where.names.koyeb ?? where.id
  const type = acceptType(scoped('definition.instance_types', definition['instance_types'], region), catalogue)
  const scaling = scoped('definition.scalings', definition['scalings'], region)
  const min = asInteger('definition.scalings.min', scaling?.['min']) ?? (scaling === null ? 1 : 0)
  const max = asInteger('definition.scalings.max', scaling?.['max']) ?? Math.max(1, min)
  if (min < 0 || max < min) throw fieldError('definition.scalings', 'min must be from 0 up, and max at least min')
  return {
    region,
    type: type.names.koyeb ?? type.id,
    // What may scale to zero runs once, and sleeps.
    replicas: max === 0 ? 0 : Math.max(1, min),
    ...(min === 0 ? acceptSleep(scaling) : { idleMs: null }),
    ...acceptAutoscale(scaling, min, max),
    template: { ...acceptTemplate(definition, docker, region, type), ...mountsOf(definition, region, isOnly), place: placeIn(where, type), healthChecks: acceptHealthChecks(definition) },
  }
}

function mountsOf(definition: Json, region: string, isOnly: boolean): Pick<ReplicaTemplate, 'volumes'> {
  const entries = asList('definition.volumes', definition['volumes']).map((item, index) => asObject(`definition.volumes[${index}]`, item))
  const volumes = acceptVolumes(entries, region, isOnly)
  return volumes.length === 0 ? {} : { volumes }
}

function acceptTemplate(definition: Json, docker: Json, region: string, type: InstanceType): ReplicaTemplate {
  const image = requiredText('definition.docker.image', docker['image'])
  if (image === '') throw fieldError('definition.docker.image', 'it is required')
  const command = asText('definition.docker.command', docker['command'])
  const args = asTexts('definition.docker.args', docker['args'])
  const entrypoint = asTexts('definition.docker.entrypoint', docker['entrypoint'])
  const ports = asList('definition.ports', definition['ports']).map((item, index) => {
    const field = `definition.ports[${index}]`
    return { port: acceptPort(field, item), protocol: asText(`${field}.protocol`, asObject(field, item)['protocol']) || 'http' }
  })
  const isWeb = acceptKind(asText('definition.type', definition['type'])) === 'WEB'
  const files = acceptConfigFiles(definition)
  const imageSecret = asText('definition.docker.image_registry_secret', docker['image_registry_secret'])
  const cmd = [...(command === '' ? [] : [command]), ...args]
  return {
    image,
    vcpus: type.vcpus,
    memoryBytes: type.memoryBytes,
    overlayBytes: type.diskBytes,
    ...acceptVariables(definition, { region, type, isWeb, ports }),
    ...(files.length === 0 ? {} : { files }),
    ...(imageSecret === '' ? {} : { imageSecret }),
    entrypoint: entrypoint.length === 0 ? null : entrypoint,
    cmd: cmd.length === 0 ? null : cmd,
  }
}

function acceptType(wanted: Json | null, catalogue: Catalogue): InstanceType {
  const offered = typesOf(catalogue, 'koyeb')
  const name = wanted === null ? '' : asText('definition.instance_types.type', wanted['type'])
  const type = name === '' ? offered[0] : (typeNamed(catalogue, 'koyeb', name) ?? undefined)
  if (type === undefined) {
    throw fieldError('definition.instance_types', `there is no type ${quoted(name)}; choose from ${offered.map(one => one.names.koyeb).join(', ')}`)
  }
  return type
}

function acceptPort(field: string, value: unknown): number {
  const port = asInteger(`${field}.port`, asObject(field, value)['port'])
  if (port === null || port < 1 || port > PORT_MAX) throw fieldError(`${field}.port`, `it must be a port from 1 to ${PORT_MAX}`)
  return port
}

/**
 * Light sleep is standby; deep sleep ends the replica, and its disk with it. Where both are wished, the light one comes
 * first. A delay of neither kind is a light one.
 */
function acceptSleep(scaling: Json | null): Pick<ReplicaSet, 'idleMs' | 'deepIdleMs'> {
  const field = 'definition.scalings.targets'
  const delays = asList(field, scaling?.['targets']).map(item => asObject(`${field}.sleep_idle_delay`, asObject(field, item)['sleep_idle_delay']))
  const read = (name: string) => {
    const values = delays.map(delay => asInteger(`${field}.sleep_idle_delay.${name}`, delay[name]) ?? 0)
    if (values.some(value => value < 0 || value > LONGEST_IDLE_SECONDS)) throw fieldError(`${field}.sleep_idle_delay.${name}`, `from 0 to ${LONGEST_IDLE_SECONDS} seconds`)
    return (values.find(value => value > 0) ?? 0) * 1000
  }
  const [light, deep] = [read('light_sleep_value') || read('value'), read('deep_sleep_value')]
  if (deep === 0) return { idleMs: light || DEFAULT_IDLE_SECONDS * 1000 }
  return { idleMs: light > 0 && light < deep ? light : null, deepIdleMs: deep }
}

/** Targets that Berth measures; the others pass, are shown, and do nothing. */
function acceptAutoscale(scaling: Json | null, min: number, max: number): Pick<ReplicaSet, 'autoscale'> {
  const field = 'definition.scalings.targets'
  const targets = asList(field, scaling?.['targets']).map(item => asObject(field, item))
  const read = (name: string, most: number) => {
    const values = targets.map(target => asInteger(`${field}.${name}.value`, asObject(`${field}.${name}`, target[name])['value']) ?? 0)
    if (values.some(value => value < 0 || value > most)) throw fieldError(`${field}.${name}.value`, `from 1 to ${most}`)
    return values.find(value => value > 0) ?? null
  }
  const autoscale = { min, max, cpuPercent: read('average_cpu', 100), memoryPercent: read('average_mem', 100), connections: read('concurrent_requests', CONCURRENCY_LIMIT) }
  const { cpuPercent, memoryPercent, connections } = autoscale
  return max <= Math.max(1, min) || [cpuPercent, memoryPercent, connections].every(target => target === null) ? {} : { autoscale }
}

/** The entry of a scoped list that a region gets: the one that names it, else the one that names none. */
function scoped(field: string, value: unknown, region: string): Json | null {
  const entries = asList(field, value).map((item, index) => asObject(`${field}[${index}]`, item))
  const scopesOf = (entry: Json) => asTexts(`${field}.scopes`, entry['scopes'])
  return entries.find(entry => scopesOf(entry).includes(`region:${region}`)) ?? entries.find(entry => scopesOf(entry).length === 0) ?? null
}

/** What is shown again: all that was given, and the defaults of what was not. */
function fullDefinition(given: Json, kind: string, regions: readonly string[]): Json {
  const docker = asObject('definition.docker', given['docker'])
  return {
    env: [],
    ports: [],
    routes: [],
    health_checks: [],
    volumes: [],
    config_files: [],
    proxy_ports: [],
    scalings: [{ scopes: [], min: 1, max: 1, targets: [] }],
    instance_types: [],
    strategy: { type: 'DEPLOYMENT_STRATEGY_TYPE_ROLLING' },
    mesh: 'DEPLOYMENT_MESH_AUTO',
    skip_cache: asFlag('definition.skip_cache', given['skip_cache']),
    ...given,
    type: kind,
    regions,
    docker: { command: '', args: [], entrypoint: [], image_registry_secret: '', privileged: false, ...docker },
  }
}
