/**
 * Hypeman requests as engine requests. What the wire itself fixes (defaults, grammars, the rules of volume
 * mounts) is settled here; what is true for every dialect (limits, names in use, capacity) is the engine's.
 *
 * A feature that Berth has no part for is refused by name when it is asked for; a wish that changes nothing
 * about what the instance does (`hypervisor`, `skip_kernel_headers`, compression of the saved memory) passes.
 */
import { posix } from 'node:path'
import type { CreateInstance, PullImage } from '../../engine/api.ts'
import { BerthError } from '../../instance/errors.ts'
import { quoteGo } from '../../instance/go-text.ts'
import { parseVolumeId } from '../../instance/ids.ts'
import type { InstanceSpec, RestartPolicy, VolumeMount } from '../../instance/model.ts'
import { checkTags } from '../../instance/names.ts'
import { parseBandwidth, parseDataSize } from '../../instance/sizes.ts'
import { duration } from './durations.ts'
import { wireError } from './errors.ts'
import { acceptAutoStandby } from './auto-standby.ts'
import { acceptHealthCheck } from './health-check.ts'
import type * as wire from './schema.ts'
import { parseTimestamp } from './timestamp.ts'

/** What create means where the request is silent; the same as upstream but for hotplug memory (see docs). */
const DEFAULT_VCPUS = 2
const DEFAULT_MEMORY_BYTES = 2 ** 30
const DEFAULT_OVERLAY_BYTES = 10 * 2 ** 30
const DEFAULT_RESTART_BACKOFF_MS = 5000
const DEFAULT_RESTART_STABLE_MS = 600_000

export function acceptCreate(body: wire.CreateInstanceRequest, at: { readonly nowMs: number; readonly platform: string }): CreateInstance {
  refuseForeignFeatures(body)
  if (body.platform !== undefined && body.platform !== at.platform) {
    throw wireError('not_found', 'platform_not_available', `platform ${body.platform} is not available, this server runs ${at.platform}`)
  }
  const enabled = body.network?.enabled ?? true
  const ports = (body.ports ?? []).map(port => ({
    hostPort: port.host_port,
    guestPort: port.guest_port,
    protocol: port.protocol ?? 'tcp',
  }))
  if (ports.length > 0 && !enabled) throw invalid('ports need a network: leave out network.enabled or set it to true')
  return {
    name: body.name,
    image: body.image,
    vcpus: body.vcpus === undefined || body.vcpus === 0 ? DEFAULT_VCPUS : body.vcpus,
    memoryBytes: size(body.size, 'invalid_size', 'size') || DEFAULT_MEMORY_BYTES,
    hotplugBytes: size(body.hotplug_size, 'invalid_hotplug_size', 'hotplug_size'),
    overlayBytes: size(body.overlay_size, 'invalid_overlay_size', 'overlay_size') || DEFAULT_OVERLAY_BYTES,
    diskIoBytesPerSecond: rate(body.disk_io_bps, 'invalid_disk_io_bps', 'disk_io_bps'),
    env: body.env ?? {},
    network: {
      enabled,
      downloadBytesPerSecond: rate(body.network?.bandwidth_download, 'invalid_bandwidth_download', 'bandwidth_download'),
      uploadBytesPerSecond: rate(body.network?.bandwidth_upload, 'invalid_bandwidth_upload', 'bandwidth_upload'),
      ports,
    },
    volumes: (body.volumes ?? []).map(acceptVolumeMount),
    tags: acceptTags(body.tags),
    restart: acceptRestartPolicy(body.restart_policy ?? {}),
    healthChecks: acceptHealthCheck(body.health_check),
    autoStandby: acceptAutoStandby(body.auto_standby),
    expiresAt: acceptExpiry(body, at.nowMs),
    ...(body.entrypoint === undefined ? {} : { entrypoint: body.entrypoint }),
    ...(body.cmd === undefined ? {} : { cmd: body.cmd }),
  }
}

export type InstanceChange = Partial<Pick<InstanceSpec, 'tags' | 'restart' | 'expiresAt' | 'env' | 'healthChecks' | 'autoStandby'>>

/** PATCH: only what the request names changes. `current` is what `env` is merged into. */
export function acceptUpdate(body: wire.UpdateInstanceRequest, current: InstanceSpec, nowMs: number): InstanceChange {
  refuseForeignFeatures(body)
  const expires = body.ttl !== undefined || body.expires_at !== undefined
  return {
    ...(body.env === undefined ? {} : { env: { ...current.env, ...body.env } }),
    ...(body.tags === undefined ? {} : { tags: acceptTags(body.tags) }),
    ...(body.restart_policy === undefined ? {} : { restart: acceptRestartPolicy(body.restart_policy) }),
    ...(body.health_check === undefined ? {} : { healthChecks: acceptHealthCheck(body.health_check) }),
    ...(body.auto_standby === undefined ? {} : { autoStandby: acceptAutoStandby(body.auto_standby) }),
    ...(expires ? { expiresAt: acceptExpiry(body, nowMs) } : {}),
  }
}

/** One mount of an attach request. */
export function acceptAttach(volumeId: string, body: { readonly mount_path: string; readonly readonly?: boolean }): VolumeMount {
  return acceptVolumeMount({ volume_id: volumeId, mount_path: body.mount_path, readonly: body.readonly ?? false })
}

export function acceptPull(body: wire.CreateImageRequest): PullImage {
  if (body.name === '') throw new BerthError('invalid_image_name', 'invalid image reference')
  const credentials = body.credentials
  const tags = acceptTags(body.tags)
  return {
    name: body.name,
    ...(body.platform === undefined ? {} : { platform: body.platform }),
    ...(Object.keys(tags).length === 0 ? {} : { tags }),
    ...(credentials === undefined ? {} : { credentials: acceptCredentials(credentials) }),
  }
}

export function acceptTags(tags: Readonly<Record<string, string>> | undefined): Readonly<Record<string, string>> {
  checkTags(tags ?? {})
  return tags ?? {}
}

const GIB = 2 ** 30
/** More bytes than that are no exact number here. */
const SIZE_GB_LIMIT = Math.floor(Number.MAX_SAFE_INTEGER / GIB)

/** GiB of the wire as bytes. */
export function acceptVolumeSize(sizeGb: number): number {
  if (!Number.isSafeInteger(sizeGb) || sizeGb < 1 || sizeGb > SIZE_GB_LIMIT) {
    throw invalid(`size_gb must be a whole number from 1 to ${SIZE_GB_LIMIT}, got ${sizeGb}`)
  }
  return sizeGb * GIB
}

function acceptCredentials(credentials: NonNullable<wire.CreateImageRequest['credentials']>): NonNullable<PullImage['credentials']> {
  const { username, password, registry_token: token } = credentials
  if (token !== undefined && username === undefined && password === undefined) return { token }
  if (token === undefined && username !== undefined && password !== undefined) return { username, password }
  throw invalid('credentials take either username and password, or registry_token')
}

function acceptVolumeMount(mount: wire.VolumeMountRequest): VolumeMount {
  // Upstream cleans the path; the engine wants it clean and says what else is wrong with it.
  const path = posix.normalize(mount.mount_path).replace(/(.)\/+$/, '$1')
  const overlay = mount.overlay ?? false
  const readonly = mount.readonly ?? false
  if (overlay && !readonly) throw invalid(`volume ${mount.volume_id}: overlay requires readonly=true`)
  const overlayBytes = overlay ? size(mount.overlay_size, 'invalid_overlay_size', 'overlay_size') : 0
  if (overlay && overlayBytes === 0) throw invalid(`volume ${mount.volume_id}: overlay_size is required when overlay=true`)
  return {
    volumeId: parseVolumeId(mount.volume_id),
    path,
    mode: overlay ? 'overlay' : readonly ? 'ro' : 'rw',
    overlayBytes: overlay ? overlayBytes : null,
  }
}

function acceptRestartPolicy(policy: wire.RestartPolicy): RestartPolicy {
  const backoffMs = duration(policy.backoff, DEFAULT_RESTART_BACKOFF_MS, 'invalid_restart_policy', 'restart_policy.backoff')
  const stableAfterMs = duration(policy.stable_after, DEFAULT_RESTART_STABLE_MS, 'invalid_restart_policy', 'restart_policy.stable_after')
  const kind = policy.policy ?? 'never'
  if (kind === 'never') return { kind: 'never' }
  return { kind: kind === 'always' ? 'always' : 'on-failure', backoffMs, maxAttempts: policy.max_attempts ?? 0, stableAfterMs }
}

function acceptExpiry(body: { readonly ttl?: string; readonly expires_at?: string }, nowMs: number): number | null {
  if (body.ttl !== undefined && body.expires_at !== undefined) {
    throw wireError('invalid_request', 'invalid_expires_at', 'ttl and expires_at are mutually exclusive')
  }
  if (body.ttl !== undefined && body.ttl !== '') {
    const ttlMs = duration(body.ttl, 0, 'invalid_ttl', 'ttl')
    return ttlMs === 0 ? null : nowMs + ttlMs
  }
  if (body.expires_at === undefined || body.expires_at === '') return null
  const at = parseTimestamp(body.expires_at)
  if (at === null) throw wireError('invalid_request', 'invalid_expires_at', `expires_at ${quoteGo(body.expires_at)} is not an RFC 3339 time`)
  if (at <= nowMs) throw wireError('invalid_request', 'invalid_expires_at', 'expires_at must be in the future')
  return at
}

function refuseForeignFeatures(body: Partial<wire.CreateInstanceRequest> & Partial<wire.UpdateInstanceRequest>): void {
  const refused = (field: string, instead: string) =>
    wireError('not_supported', 'not_supported', `${field} is not supported by this server; ${instead}`)
  if ((body.devices ?? []).length > 0) throw refused('devices', 'leave it out, instances have no PCI passthrough')
  if ((body.gpu?.profile ?? '') !== '') throw refused('gpu.profile', 'leave it out, instances have no virtual GPUs')
  if (Object.keys(body.credentials ?? {}).length > 0) throw refused('credentials', 'pass secrets in env')
  if (body.network?.egress?.enabled === true) throw refused('network.egress', 'instances reach the network directly')
}

function size(text: string | undefined, wireCode: string, field: string): number {
  return measured(text, parseDataSize, wireCode, field === 'size' ? 'invalid size format' : `invalid ${field} format`)
}

function rate(text: string | undefined, wireCode: string, field: string): number | null {
  const bytesPerSecond = measured(text, parseBandwidth, wireCode, `invalid ${field} format`)
  return bytesPerSecond === 0 ? null : bytesPerSecond
}

function measured(text: string | undefined, parse: (text: string) => number, wireCode: string, problem: string): number {
  if (text === undefined || text === '') return 0
  try {
    return parse(text)
  } catch (error) {
    if (!(error instanceof BerthError)) throw error
    throw wireError('invalid_size', wireCode, `${problem}: ${error.message}`, { cause: error })
  }
}

function invalid(message: string): BerthError {
  return new BerthError('invalid_request', message)
}
