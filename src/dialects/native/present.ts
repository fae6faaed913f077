/** Berth's records → the native wire. Pure. */
import type { Snapshot } from '../../instance/snapshot.ts'
import type { HostDevice, HostFacts, LogRecord, PathInfo, VmStats } from '../../engine/host-port.ts'
import type { Resources } from '../../engine/api.ts'
import type { Directory } from '../../engine/directory.ts'
import type { StatsSample } from '../../engine/stats-feed.ts'
import type { Catalogue } from '../../instance/catalogue.ts'
import { healthNow } from '../../instance/health.ts'
import type { Health } from '../../instance/health.ts'
import { spellId } from '../../instance/ids.ts'
import { orderOf } from '../../instance/market.ts'
import type { ApiKey, Image, Instance, InstanceEvent, Project, RestartPolicy, Secret, SshKey, TimestampMs, Volume } from '../../instance/model.ts'
import { phaseDurationsMs } from '../../instance/timeline.ts'
import { presentAutoStandby } from './auto-standby.ts'
import { presentHealthCheck } from './health-checks.ts'
import type { KeyBody, ProjectBody } from './schema/access.ts'
import type { CatalogueBody } from './schema/catalogue.ts'
import type { EventBody } from './schema/events.ts'
import type { DirectoryBody, LogRecordBody, PathBody, StatsBody, StatsSampleBody } from './schema/guest.ts'
import type { DeviceBody, HostBody, ResourcesBody } from './schema/host.ts'
import type { ImageBody } from './schema/images.ts'
import type { InstanceBody, InstanceDetailBody } from './schema/instances.ts'
import type { SecretBody } from './schema/secrets.ts'
import type { SshKeyBody } from './schema/ssh-keys.ts'
import type { SnapshotBody } from './schema/snapshots.ts'
import type { VolumeBody } from './schema/volumes.ts'

/** RFC3339 in UTC with milliseconds. */
export function presentTime(at: TimestampMs): string {
  return new Date(at).toISOString()
}

function timeOrNull(at: TimestampMs | null): string | null {
  return at === null ? null : presentTime(at)
}

export function presentInstance(instance: Instance): InstanceBody {
  const { spec, address } = instance
  const order = orderOf(instance)
  return {
    id: instance.id,
    ids: {
      hypeman: spellId('instance', 'hypeman', instance.id),
      koyeb: spellId('instance', 'koyeb', instance.id),
      lambda: spellId('instance', 'lambda', instance.id),
      mithril: spellId('instance', 'mithril', instance.id),
    },
    projectId: instance.projectId,
    name: spec.name,
    image: spec.image,
    imageDigest: instance.imageDigest,
    desired: instance.desired,
    phase: instance.phase,
    phaseSince: presentTime(instance.phaseSince),
    reason: instance.reason,
    errorCode: instance.errorCode,
    exit: instance.exit === null ? null : { code: instance.exit.code, signal: instance.exit.signal, message: instance.exit.message },
    vcpus: spec.vcpus,
    memoryBytes: spec.memoryBytes,
    hotplugBytes: spec.hotplugBytes,
    overlayBytes: spec.overlayBytes,
    diskIoBytesPerSecond: spec.diskIoBytesPerSecond,
    env: { ...spec.env },
    entrypoint: spec.entrypoint === null ? null : [...spec.entrypoint],
    cmd: spec.cmd === null ? null : [...spec.cmd],
    user: spec.user,
    workingDir: spec.workingDir,
    hostname: spec.hostname,
    network: {
      enabled: spec.network.enabled,
      name: address?.network ?? null,
      ip: address?.ip ?? null,
      mac: address?.mac ?? null,
      downloadBytesPerSecond: spec.network.downloadBytesPerSecond,
      uploadBytesPerSecond: spec.network.uploadBytesPerSecond,
      ports: spec.network.ports.map(({ hostPort, guestPort, protocol }) => ({ hostPort, guestPort, protocol })),
    },
    volumes: spec.volumes.map(({ volumeId, path, mode, overlayBytes }) => ({ volumeId, path, mode, overlayBytes })),
    fileSystems: spec.fileSystems.map(({ fileSystemId, path }) => ({ fileSystemId, path })),
    firewallRulesets: spec.firewallRulesets === null ? null : [...spec.firewallRulesets],
    restart: presentRestart(spec.restart, instance.restartAttempts),
    afterHostRestart: spec.afterHostRestart,
    tags: { ...spec.tags },
    annotations: { ...instance.annotations },
    stopGraceMs: spec.stopGraceMs,
    removeWhenStopped: spec.removeWhenStopped,
    region: spec.place?.region ?? null,
    type: spec.place?.type ?? null,
    order: order === null ? null : { kind: order.kind, id: order.id },
    simulated: spec.place?.isSimulated ?? false,
    hostId: instance.hostId,
    generation: instance.generation,
    origin: instance.origin,
    createdAt: presentTime(instance.createdAt),
    startedAt: timeOrNull(instance.startedAt),
    stoppedAt: timeOrNull(instance.stoppedAt),
    deletedAt: timeOrNull(instance.deletedAt),
    expiresAt: timeOrNull(spec.expiresAt),
    idleAfterMs: spec.idleAfterMs ?? null,
    autoStandby: presentAutoStandby(spec.autoStandby ?? null),
    secrets: [...(spec.secrets ?? [])],
    secretEnv: { ...spec.secretEnv },
    health: presentHealth(healthNow(instance)),
    healthChecks: (spec.healthChecks ?? []).map(presentHealthCheck),
    sshKeys: [...spec.sshKeys],
  }
}

function presentHealth(health: Health | null): InstanceBody['health'] {
  return health === null ? null : { status: health.status, since: presentTime(health.since), message: health.message }
}

function presentRestart(policy: RestartPolicy, attempts: number): InstanceBody['restart'] {
  if (policy.kind === 'never') return { policy: 'never', backoffMs: 0, maxAttempts: 0, stableAfterMs: 0, attempts }
  const { kind, backoffMs, maxAttempts, stableAfterMs } = policy
  return { policy: kind, backoffMs, maxAttempts, stableAfterMs, attempts }
}

/** With its timeline; `events` oldest first. */
export function presentInstanceDetail(instance: Instance, events: readonly InstanceEvent[], now: TimestampMs): InstanceDetailBody {
  const durations = Object.entries(phaseDurationsMs(events, now)).map(([phase, ms]) => [phase, Math.round(ms * 1000) / 1000] as const)
  return {
    ...presentInstance(instance),
    timeline: events.map(presentEvent),
    phaseDurationsMs: Object.fromEntries(durations),
  }
}

export function presentEvent(event: InstanceEvent): EventBody {
  return {
    seq: event.seq,
    instanceId: event.instanceId,
    at: presentTime(event.at),
    kind: event.kind,
    from: event.from,
    to: event.to,
    reason: event.reason,
  }
}

export function presentImage(image: Image): ImageBody {
  const { config } = image
  return {
    name: image.name,
    projectId: image.projectId,
    status: image.status,
    digest: image.digest,
    sizeBytes: image.sizeBytes,
    config:
      config === null
        ? null
        : {
            entrypoint: [...config.entrypoint],
            cmd: [...config.cmd],
            env: { ...config.env },
            workingDir: config.workingDir,
            user: config.user,
            stopSignal: config.stopSignal,
            exposedPorts: [...config.exposedPorts],
          },
    error: image.error,
    queuePosition: image.queuePosition,
    progress: image.progress,
    tags: { ...image.tags },
    createdAt: presentTime(image.createdAt),
    updatedAt: presentTime(image.updatedAt),
  }
}

export function presentSnapshot(snapshot: Snapshot): SnapshotBody {
  return {
    id: snapshot.id,
    projectId: snapshot.projectId,
    name: snapshot.name,
    kind: snapshot.kind,
    status: snapshot.status,
    instanceId: snapshot.sourceId,
    instanceName: snapshot.sourceName,
    image: snapshot.spec.image,
    sizeBytes: snapshot.sizeBytes,
    tags: { ...snapshot.tags },
    createdAt: presentTime(snapshot.createdAt),
  }
}

export function presentVolume(volume: Volume): VolumeBody {
  return {
    id: volume.id,
    projectId: volume.projectId,
    name: volume.name,
    sizeBytes: volume.sizeBytes,
    status: volume.status,
    error: volume.error,
    tags: { ...volume.tags },
    attachments: volume.attachments.map(({ instanceId, path, mode }) => ({ instanceId, path, mode })),
    createdAt: presentTime(volume.createdAt),
  }
}

export function presentKey(key: ApiKey): KeyBody {
  return {
    id: key.id,
    projectId: key.projectId,
    name: key.name,
    scopes: [...key.scopes],
    audience: key.audience === null ? null : [...key.audience],
    createdAt: presentTime(key.createdAt),
    lastUsedAt: timeOrNull(key.lastUsedAt),
    expiresAt: timeOrNull(key.expiresAt),
  }
}

export function presentSecret({ name, createdAt, updatedAt }: Secret): SecretBody {
  return { name, createdAt: presentTime(createdAt), updatedAt: presentTime(updatedAt) }
}

export function presentSshKey(key: SshKey): SshKeyBody {
  return { id: key.id, projectId: key.projectId, name: key.name, publicKey: key.publicKey, createdAt: presentTime(key.createdAt) }
}

export function presentProject(project: Project): ProjectBody {
  const { id, name, guestToGuest } = project
  return { id, name, guestToGuest, createdAt: presentTime(project.createdAt) }
}

export function presentPath(info: PathInfo): PathBody {
  return {
    exists: info.exists,
    kind: info.kind,
    mode: info.mode,
    sizeBytes: info.sizeBytes,
    uid: info.uid,
    gid: info.gid,
    modifiedAt: info.exists ? presentTime(info.mtimeSeconds * 1000) : null,
    linkTarget: info.linkTarget,
    error: info.error,
  }
}

export function presentLogRecord(record: LogRecord): LogRecordBody {
  return { at: timeOrNull(record.at), stream: record.stream, text: record.text, partial: record.partial }
}

export function presentStatsSample({ instanceId, stats }: StatsSample): StatsSampleBody {
  return { instanceId, stats: presentStats(stats) }
}

export function presentDirectory(path: string, { entries, truncated }: Directory): DirectoryBody {
  const told = entries.map(({ mtimeSeconds, ...entry }) => ({ ...entry, modifiedAt: mtimeSeconds === null ? null : presentTime(mtimeSeconds * 1000) }))
  return { path, entries: told, truncated }
}

export function presentStats(stats: VmStats): StatsBody {
  return {
    at: presentTime(stats.at),
    cpuSeconds: stats.cpuSeconds,
    memoryRssBytes: stats.memoryRssBytes,
    memoryVirtualBytes: stats.memoryVirtualBytes,
    networkRxBytes: stats.networkRxBytes,
    networkTxBytes: stats.networkTxBytes,
    diskReadBytes: stats.diskReadBytes,
    diskWriteBytes: stats.diskWriteBytes,
    guest: stats.guest === null ? null : { ...stats.guest },
  }
}

export function presentDevice(device: HostDevice): DeviceBody {
  const { pciAddress, vendorId, deviceId, vendorName, deviceName, iommuGroup, driver, kind } = device
  return { pciAddress, vendorId, deviceId, vendorName, deviceName, iommuGroup, driver, kind }
}

export function presentHost(facts: HostFacts): HostBody {
  const { hostId, os, arch, hypervisor, accelerator, acceleratorReason, cpus, memoryBytes, diskBytes, diskFreeBytes } = facts
  const { mode, subnet, gateway, dns } = facts.network
  return {
    hostId,
    os,
    arch,
    hypervisor,
    accelerator,
    acceleratorReason,
    cpus,
    memoryBytes,
    diskBytes,
    diskFreeBytes,
    network: { mode, subnet, gateway, dns: [...dns] },
    diskUse: { ...facts.diskUse },
    templates: facts.templates.map((template) => ({ ...template })),
    warnings: [...facts.warnings],
  }
}

export function presentResources(resources: Resources): ResourcesBody {
  return {
    lines: resources.lines.map(({ kind, capacity, limit, allocated, overcommit }) => ({ kind, capacity, limit, allocated, overcommit })),
    allocations: resources.allocations.map((allocation) => ({ ...allocation })),
  }
}

export function presentCatalogue({ types, regions }: Catalogue): CatalogueBody {
  return {
    types: types.map(({ gpu, names, ...type }) => ({ ...type, gpu: gpu === null ? null : { ...gpu }, names: { ...names } })),
    regions: regions.map(({ id, description, names, simulated }) => ({ id, description, names: { ...names }, simulated: simulated !== null })),
  }
}
