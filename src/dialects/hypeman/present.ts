/**
 * Engine records on the Hypeman wire. Sizes are printed the way its server prints them, `null` stands where its
 * clients expect the key, and what is empty there is left out.
 */
import type { Resources, ResourceLine } from '../../engine/api.ts'
import type { HostDevice, PathInfo, VmStats } from '../../engine/host-port.ts'
import { formatDuration } from '../../instance/duration.ts'
import { spellId, spellVolumeId } from '../../instance/ids.ts'
import type { Image, Instance, InstanceId, RestartPolicy, Volume, VolumeMount } from '../../instance/model.ts'
import type { Snapshot } from '../../instance/snapshot.ts'
import type { Phase } from '../../instance/phase.ts'
import { PHASES } from '../../instance/phase.ts'
import { formatBandwidth, formatDataSize } from '../../instance/sizes.ts'
import { presentAutoStandby } from './auto-standby.ts'
import { presentHealth } from './health-check.ts'
import type * as wire from './schema.ts'
import { formatNullableTimestamp, formatTimestamp, formatTimestampSeconds } from './timestamp.ts'

/** Every phase has one state; the wire's enum is closed. */
const STATES: Readonly<Record<Phase, wire.InstanceState>> = {
  pending: 'Created',
  allocated: 'Created',
  preparing: 'Created',
  starting: 'Created',
  running: 'Running',
  unhealthy: 'Running',
  stopping: 'Shutdown',
  stopped: 'Stopped',
  suspending: 'Paused',
  standby: 'Standby',
  restoring: 'Paused',
  preempting: 'Running',
  preempted: 'Stopped',
  deleting: 'Shutdown',
  deleted: 'Stopped',
  failed: 'Stopped',
  lost: 'Unknown',
}

export function presentState(phase: Phase): wire.InstanceState {
  return STATES[phase]
}

/** The phases that show as a state. Deleted ones are gone, not Stopped. */
export function phasesOfState(state: wire.InstanceState): readonly Phase[] {
  return PHASES.filter(phase => STATES[phase] === state && phase !== 'deleted')
}

export function presentInstanceId(id: InstanceId): string {
  return spellId('instance', 'hypeman', id)
}

export interface InstanceContext {
  readonly platform: string
  /** Milliseconds by phase; only where the timeline was read. */
  readonly phaseDurationsMs?: Readonly<Record<string, number>>
}

export function presentInstance(instance: Instance, context: InstanceContext): wire.Instance {
  const { spec } = instance
  const exitMessage = instance.exit?.message ?? (instance.phase === 'failed' ? instance.reason : null)
  return {
    id: presentInstanceId(instance.id),
    name: spec.name,
    image: spec.image,
    state: presentState(instance.phase),
    state_error: instance.phase === 'lost' ? (instance.reason ?? 'the host of this instance does not answer') : null,
    created_at: formatTimestamp(instance.createdAt),
    started_at: formatNullableTimestamp(instance.startedAt),
    stopped_at: formatNullableTimestamp(instance.stoppedAt),
    size: formatDataSize(spec.memoryBytes),
    hotplug_size: formatDataSize(spec.hotplugBytes),
    overlay_size: formatDataSize(spec.overlayBytes),
    vcpus: spec.vcpus,
    ...(spec.diskIoBytesPerSecond === null ? {} : { disk_io_bps: formatBandwidth(spec.diskIoBytesPerSecond) }),
    ...(isEmpty(spec.env) ? {} : { env: spec.env }),
    network: presentNetwork(instance),
    ...(spec.volumes.length === 0 ? {} : { volumes: spec.volumes.map(presentVolumeMount) }),
    has_snapshot: instance.phase === 'standby' || instance.phase === 'restoring',
    hypervisor: 'qemu',
    expires_at: formatNullableTimestamp(spec.expiresAt),
    ...(isEmpty(spec.tags) ? {} : { tags: spec.tags }),
    platform: context.platform,
    ...(instance.exit === null ? {} : { exit_code: instance.exit.code }),
    ...(exitMessage === null ? {} : { exit_message: exitMessage }),
    current_phase: instance.phase,
    current_phase_since: formatTimestamp(instance.phaseSince),
    ...(context.phaseDurationsMs === undefined ? {} : { phase_durations_ms: context.phaseDurationsMs }),
    ...presentRestart(spec.restart, instance.restartAttempts),
    ...presentHealth(instance),
    ...presentAutoStandby(instance),
    ...(spec.network.ports.length === 0
      ? {}
      : {
          ports: spec.network.ports.map(port => ({
            host_port: port.hostPort,
            guest_port: port.guestPort,
            protocol: port.protocol,
          })),
        }),
  }
}

export function presentImage(image: Image, platform: string): wire.Image {
  const config = image.config
  return {
    name: image.name,
    digest: image.digest ?? '',
    status: image.status,
    created_at: formatTimestamp(image.createdAt),
    queue_position: image.queuePosition,
    error: image.error,
    size_bytes: image.sizeBytes,
    entrypoint: nullIfEmpty(config?.entrypoint),
    cmd: nullIfEmpty(config?.cmd),
    working_dir: config === null || config.workingDir === '' ? null : config.workingDir,
    ...(config === null || isEmpty(config.env) ? {} : { env: config.env }),
    platform,
    ...(isEmpty(image.tags) ? {} : { tags: image.tags }),
  }
}

export function presentVolume(volume: Volume): wire.Volume {
  return {
    id: spellVolumeId(volume.id),
    name: volume.name,
    size_gb: Math.ceil(volume.sizeBytes / 2 ** 30),
    created_at: formatTimestampSeconds(volume.createdAt),
    ...(volume.attachments.length === 0
      ? {}
      : {
          attachments: volume.attachments.map(attachment => ({
            instance_id: presentInstanceId(attachment.instanceId),
            mount_path: attachment.path,
            readonly: attachment.mode !== 'rw',
          })),
        }),
    ...(isEmpty(volume.tags) ? {} : { tags: volume.tags }),
  }
}

export function presentPathInfo(info: PathInfo): wire.PathInfo {
  return {
    exists: info.exists,
    is_dir: info.kind === 'directory',
    is_file: info.kind === 'file',
    is_symlink: info.kind === 'symlink',
    mode: info.mode,
    size: info.sizeBytes,
    link_target: info.linkTarget ?? '',
    error: info.error,
  }
}

export function presentStats(instance: Instance, stats: VmStats): wire.InstanceStats {
  return {
    instance_id: presentInstanceId(instance.id),
    instance_name: instance.spec.name,
    cpu_seconds: stats.cpuSeconds,
    memory_rss_bytes: stats.memoryRssBytes,
    memory_vms_bytes: stats.memoryVirtualBytes,
    network_rx_bytes: stats.networkRxBytes,
    network_tx_bytes: stats.networkTxBytes,
    allocated_vcpus: instance.spec.vcpus,
    allocated_memory_bytes: instance.spec.memoryBytes,
    memory_utilization_ratio: instance.spec.memoryBytes === 0 ? null : stats.memoryRssBytes / instance.spec.memoryBytes,
  }
}

export function presentResources(resources: Resources): wire.Resources {
  const { diskUse } = resources.host
  return {
    cpu: presentLine(resources, 'cpu'),
    memory: presentLine(resources, 'memory'),
    disk: presentLine(resources, 'disk'),
    network: presentLine(resources, 'network'),
    allocations: resources.allocations.map(allocation => ({
      instance_id: presentInstanceId(allocation.instanceId),
      instance_name: allocation.name,
      cpu: allocation.vcpus,
      memory_bytes: allocation.memoryBytes,
      disk_bytes: allocation.diskBytes,
      network_download_bps: allocation.downloadBytesPerSecond,
      network_upload_bps: allocation.uploadBytesPerSecond,
    })),
    disk_breakdown: {
      images_bytes: diskUse.imagesBytes,
      oci_cache_bytes: diskUse.imageCacheBytes,
      volumes_bytes: diskUse.volumesBytes,
      overlays_bytes: diskUse.overlaysBytes,
    },
    gpu: null,
  }
}

export function presentAvailableDevice(device: HostDevice): wire.AvailableDevice {
  return {
    pci_address: device.pciAddress,
    vendor_id: device.vendorId,
    device_id: device.deviceId,
    iommu_group: device.iommuGroup,
    current_driver: device.driver,
    ...(device.vendorName === null ? {} : { vendor_name: device.vendorName }),
    ...(device.deviceName === null ? {} : { device_name: device.deviceName }),
  }
}

export function presentSnapshot(snapshot: Snapshot): wire.Snapshot {
  return {
    id: spellId('snapshot', 'hypeman', snapshot.id),
    kind: snapshot.kind === 'standby' ? 'Standby' : 'Stopped',
    source_instance_id: presentInstanceId(snapshot.sourceId),
    source_instance_name: snapshot.sourceName,
    source_hypervisor: 'qemu',
    size_bytes: snapshot.sizeBytes,
    created_at: formatTimestamp(snapshot.createdAt),
    ...(snapshot.name === null ? {} : { name: snapshot.name }),
    ...(isEmpty(snapshot.tags) ? {} : { tags: snapshot.tags }),
    compression_state: 'none',
  }
}

function presentNetwork(instance: Instance): wire.Instance['network'] {
  const { network } = instance.spec
  if (!network.enabled) return { enabled: false, ip: null, mac: null }
  return {
    enabled: true,
    name: instance.address?.network ?? 'default',
    ip: instance.address?.ip ?? null,
    mac: instance.address?.mac ?? null,
    ...(network.downloadBytesPerSecond === null ? {} : { bandwidth_download: formatBandwidth(network.downloadBytesPerSecond) }),
    ...(network.uploadBytesPerSecond === null ? {} : { bandwidth_upload: formatBandwidth(network.uploadBytesPerSecond) }),
  }
}

function presentVolumeMount(mount: VolumeMount): wire.VolumeMount {
  return {
    volume_id: spellVolumeId(mount.volumeId),
    mount_path: mount.path,
    readonly: mount.mode !== 'rw',
    ...(mount.mode === 'overlay' ? { overlay: true } : {}),
    ...(mount.overlayBytes === null ? {} : { overlay_size: formatDataSize(mount.overlayBytes) }),
  }
}

function presentRestart(policy: RestartPolicy, attempts: number): Pick<wire.Instance, 'restart_policy' | 'restart_status'> {
  if (policy.kind === 'never') return {}
  return {
    restart_policy: {
      policy: policy.kind === 'always' ? 'always' : 'on_failure',
      backoff: formatDuration(policy.backoffMs),
      max_attempts: policy.maxAttempts,
      stable_after: formatDuration(policy.stableAfterMs),
    },
    restart_status: { attempts },
  }
}

function presentLine(resources: Resources, kind: ResourceLine['kind']): wire.ResourceStatus {
  const line = resources.lines.find(candidate => candidate.kind === kind)
  const capacity = Math.round(line?.capacity ?? 0)
  const limit = Math.round(line?.limit ?? 0)
  const allocated = Math.round(line?.allocated ?? 0)
  return {
    type: kind,
    capacity,
    effective_limit: limit,
    allocated,
    available: Math.max(0, limit - allocated),
    oversub_ratio: line?.overcommit ?? 1,
    source: line === undefined ? 'unknown' : 'detected',
  }
}

function nullIfEmpty(list: readonly string[] | undefined): readonly string[] | null {
  return list === undefined || list.length === 0 ? null : list
}

function isEmpty(map: Readonly<Record<string, string>>): boolean {
  return Object.keys(map).length === 0
}
