/** The native wire → what the engine takes. Absent fields stay absent, so that the engine's defaults apply. */
import type { Static } from 'typebox'
import type { CreateInstance } from '../../engine/api.ts'
import type { InstanceShape, InstanceSize } from '../../engine/reshaping.ts'
import type { Catalogue, Region } from '../../instance/catalogue.ts'
import { placeIn } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import { ANYWHERE, networkOf } from '../../instance/firewall.ts'
import { quoteGo } from '../../instance/go-text.ts'
import type { FileSystemId, FileSystemMount, FirewallRule, FirewallRulesetId, Instance, InstanceSpec, NetworkSpec, PortMapping, RestartPolicy, TimestampMs, VolumeId, VolumeMount } from '../../instance/model.ts'
import { acceptAutoStandby } from './auto-standby.ts'
import { acceptHealthChecks } from './health-checks.ts'
import type { FirewallRuleRequest } from './schema/firewalls.ts'
import type { CreateInstanceBody, MountRequest, PortMapping as PortRequest, UpdateInstanceBody } from './schema/instance-requests.ts'

/** What a restart policy has where the request says nothing. */
const RESTART_BACKOFF_MS = 1000
const RESTART_MAX_ATTEMPTS = 0
const RESTART_STABLE_AFTER_MS = 60_000

type RestartRequest = NonNullable<CreateInstanceBody['restart']>
/** The id that a volume's id or name stands for. */
export type FindVolume = (idOrName: string) => Promise<VolumeId>

/** RFC3339 with a zone; what `Date` reads besides is too much. */
const RFC3339 = /^\d{4}-\d{2}-\d{2}[Tt ]\d{2}:\d{2}:\d{2}(\.\d+)?([Zz]|[+-]\d{2}:\d{2})$/

/** Throws `invalid_request` unless it is a time. */
export function acceptTime(field: string, text: string): TimestampMs {
  const at = RFC3339.test(text) ? Date.parse(text) : Number.NaN
  if (Number.isNaN(at)) {
    throw new BerthError('invalid_request', `${quoteGo(text)} is not a time: write it like 2026-01-31T12:00:00Z.`, { details: { field } })
  }
  return at
}

/** `key=value` texts of a query as tags; null if there are none. */
export function acceptTagFilter(texts: readonly string[] | undefined): Readonly<Record<string, string>> | null {
  if (texts === undefined || texts.length === 0) return null
  return Object.fromEntries(
    texts.map((text) => {
      const at = text.indexOf('=')
      return [text.slice(0, at), text.slice(at + 1)]
    }),
  )
}

export function acceptRestart(request: RestartRequest): RestartPolicy {
  if (request.policy === 'never') return { kind: 'never' }
  return {
    kind: request.policy,
    backoffMs: request.backoffMs ?? RESTART_BACKOFF_MS,
    maxAttempts: request.maxAttempts ?? RESTART_MAX_ATTEMPTS,
    stableAfterMs: request.stableAfterMs ?? RESTART_STABLE_AFTER_MS,
  }
}

export async function acceptMount(request: MountRequest, findVolume: FindVolume): Promise<VolumeMount> {
  return {
    volumeId: await findVolume(request.volume),
    path: request.path,
    mode: request.mode ?? 'rw',
    overlayBytes: request.overlayBytes ?? null,
  }
}

/** A source as a person writes it: without one anywhere, an address alone is a network of one. The engine checks the rest. */
export function acceptFirewallRules(rules: readonly FirewallRuleRequest[]): readonly FirewallRule[] {
  return rules.map(({ protocol, ports, source = ANYWHERE, description = '' }) => {
    const [first, last] = ports ?? []
    return { protocol, ports: first === undefined || last === undefined ? null : [first, last], source: networkOf(source) ?? source, description }
  })
}

export interface Finders {
  readonly volume: FindVolume
  readonly fileSystem: (word: string) => Promise<FileSystemId>
  readonly firewall: (word: string) => Promise<FirewallRulesetId>
  /** The public key that a word stands for: itself, or one of the project's by its name. */
  readonly sshKey: (word: string) => Promise<string>
}

export async function acceptCreate(body: CreateInstanceBody, find: Finders, now: TimestampMs, catalogue: Catalogue): Promise<CreateInstance> {
  const { image, pull, network, volumes, fileSystems, firewalls, restart, healthChecks, autoStandby, expiresAt, ttlMs, sshKeys, type, region, ...same } = body
  const expiry = acceptExpiry(expiresAt, ttlMs, now)
  const mounts: VolumeMount[] = []
  for (const mount of volumes ?? []) mounts.push(await acceptMount(mount, find.volume))
  const shares: FileSystemMount[] = []
  for (const { fileSystem, path } of fileSystems ?? []) shares.push({ fileSystemId: await find.fileSystem(fileSystem), path })
  const rulesets: FirewallRulesetId[] = []
  for (const word of firewalls ?? []) rulesets.push(await find.firewall(word))
  const publicKeys: string[] = []
  for (const word of sshKeys ?? []) publicKeys.push(await find.sshKey(word))
  return {
    image,
    ...acceptPlace(type, region, catalogue),
    ...same,
    ...(pull === undefined ? {} : { pull }),
    ...(network === undefined ? {} : { network: acceptNetwork(network) }),
    ...(volumes === undefined ? {} : { volumes: mounts }),
    ...(fileSystems === undefined ? {} : { fileSystems: shares }),
    ...(firewalls === undefined ? {} : { firewallRulesets: firewalls === null ? null : [...new Set(rulesets)] }),
    ...(restart === undefined ? {} : { restart: acceptRestart(restart) }),
    ...(healthChecks === undefined ? {} : { healthChecks: acceptHealthChecks(healthChecks) }),
    ...(autoStandby === undefined ? {} : { autoStandby: acceptAutoStandby(autoStandby) }),
    ...(expiry === undefined ? {} : { expiresAt: expiry }),
    ...(sshKeys === undefined ? {} : { sshKeys: publicKeys }),
  }
}

/** What the catalogue says of a type and a region. */
function acceptPlace(typeId: string | undefined, regionId: string | undefined, catalogue: Catalogue): Partial<CreateInstance> {
  if (typeId === undefined && regionId === undefined) return {}
  const type = typeId === undefined ? null : catalogue.types.find(({ id }) => id === typeId)
  if (type === undefined) throw unknownOf('type', typeId ?? '', catalogue.types)
  const region = acceptRegion(regionId, catalogue)
  const place = placeIn(region, type)
  return type === null ? { place } : { place, vcpus: type.vcpus, memoryBytes: type.memoryBytes, overlayBytes: type.diskBytes }
}

/** A region by its id; the first real one where none is named. */
export function acceptRegion(regionId: string | undefined, catalogue: Catalogue): Region {
  const region = catalogue.regions.find(({ id, simulated }) => (regionId === undefined ? simulated === null : id === regionId))
  if (region === undefined) throw unknownOf('region', regionId ?? '', catalogue.regions)
  return region
}

function unknownOf(field: 'type' | 'region', word: string, known: readonly { readonly id: string }[]): BerthError {
  const list = known.map(({ id }) => id).join(', ')
  return new BerthError('invalid_request', `There is no ${field} ${quoteGo(word)} in the catalogue: it has ${list}.`, { details: { field } })
}

export function acceptUpdate(
  body: UpdateInstanceBody,
  now: TimestampMs,
): Partial<Pick<InstanceSpec, 'tags' | 'restart' | 'expiresAt' | 'env' | 'secrets' | 'healthChecks' | 'autoStandby'>> {
  const { tags, env, secrets, restart, healthChecks, autoStandby, expiresAt, ttlMs } = body
  const expiry = acceptExpiry(expiresAt, ttlMs, now)
  return {
    ...(secrets === undefined ? {} : { secrets }),
    ...(tags === undefined ? {} : { tags }),
    ...(env === undefined ? {} : { env }),
    ...(restart === undefined ? {} : { restart: acceptRestart(restart) }),
    ...(healthChecks === undefined ? {} : { healthChecks: acceptHealthChecks(healthChecks) }),
    ...(autoStandby === undefined ? {} : { autoStandby: acceptAutoStandby(autoStandby) }),
    ...(expiry === undefined ? {} : { expiresAt: expiry }),
  }
}

/** What of a body changes the instance's name, size and ports; null is nothing. */
export function acceptShape(body: UpdateInstanceBody, { spec }: Pick<Instance, 'spec'>, catalogue: Catalogue): InstanceShape | null {
  const { name, type: typeId, vcpus, memoryBytes, ports, idleAfterMs } = body
  const isSized = typeId !== undefined || vcpus !== undefined || memoryBytes !== undefined
  if (name === undefined && ports === undefined && idleAfterMs === undefined && !isSized) return null
  return {
    ...(name === undefined ? {} : { name }),
    ...(ports === undefined ? {} : { ports: ports.map(acceptPort) }),
    ...(idleAfterMs === undefined ? {} : { idleAfterMs }),
    ...(isSized ? { size: resized(spec, { typeId, vcpus, memoryBytes }, catalogue) } : {}),
  }
}

function resized(spec: InstanceSpec, wish: { readonly typeId: string | undefined; readonly vcpus: number | undefined; readonly memoryBytes: number | undefined }, catalogue: Catalogue): InstanceSize {
  const asked = wish.typeId === undefined ? {} : acceptPlace(wish.typeId, spec.place?.region, catalogue)
  return {
    vcpus: wish.vcpus ?? asked.vcpus ?? spec.vcpus,
    memoryBytes: wish.memoryBytes ?? asked.memoryBytes ?? spec.memoryBytes,
    place: asked.place ?? spec.place ?? null,
  }
}

function acceptExpiry(
  expiresAt: string | null | undefined,
  ttlMs: number | undefined,
  now: TimestampMs,
): TimestampMs | null | undefined {
  if (ttlMs !== undefined) {
    if (expiresAt !== undefined) throw new BerthError('invalid_request', 'Give expiresAt or ttlMs, not both.', { details: { field: 'ttlMs' } })
    return now + ttlMs
  }
  if (expiresAt === undefined || expiresAt === null) return expiresAt
  const at = acceptTime('expiresAt', expiresAt)
  if (at <= now) throw new BerthError('invalid_request', 'The time of expiresAt has passed already.', { details: { field: 'expiresAt' } })
  return at
}

function acceptNetwork(network: NonNullable<CreateInstanceBody['network']>): NetworkSpec {
  return {
    enabled: network.enabled ?? true,
    downloadBytesPerSecond: network.downloadBytesPerSecond ?? null,
    uploadBytesPerSecond: network.uploadBytesPerSecond ?? null,
    ports: (network.ports ?? []).map(acceptPort),
  }
}

function acceptPort({ hostPort, guestPort, protocol }: Static<typeof PortRequest>): PortMapping {
  return { hostPort, guestPort, protocol: protocol ?? 'tcp' }
}
