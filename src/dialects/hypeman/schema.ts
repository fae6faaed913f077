/**
 * The Hypeman wire, exactly: what its API of January 2026 (version 0.2.0) declares, and the additions that its
 * newest clients know. Requests are lenient (unknown properties pass, `null` is absent); responses are exact.
 *
 * A property that the old API always sends is required here even where its schema says optional, since old SDKs
 * were generated from what servers sent.
 */
import { Type, type Static } from 'typebox'

export const NAME_PATTERN = '^[a-z0-9]([a-z0-9-]*[a-z0-9])?$'
export const NAME_MAX_LENGTH = 63
/** Devices have a wider alphabet than instances. */
export const DEVICE_NAME_PATTERN = '^[a-zA-Z0-9][a-zA-Z0-9_.-]+$'
const PLATFORM_PATTERN = '^[a-z0-9]+/[a-z0-9]+(/[a-z0-9.]+)?$'

const HypervisorKind = Type.Enum(['cloud-hypervisor', 'firecracker', 'qemu', 'qemu-microvm', 'vz'])
const StringMap = Type.Record(Type.String(), Type.String())

// --- requests -------------------------------------------------------------------------------------------------

export const VolumeMountRequest = Type.Object({
  volume_id: Type.String({ minLength: 1 }),
  mount_path: Type.String({ minLength: 1 }),
  readonly: Type.Optional(Type.Boolean()),
  overlay: Type.Optional(Type.Boolean()),
  overlay_size: Type.Optional(Type.String()),
})
export type VolumeMountRequest = Static<typeof VolumeMountRequest>

/** Declared by the Hypeman API without an operation that takes it; here `ports` of create does. */
export const PortMapping = Type.Object({
  host_port: Type.Integer({ minimum: 1, maximum: 65535 }),
  guest_port: Type.Integer({ minimum: 1, maximum: 65535 }),
  protocol: Type.Optional(Type.Enum(['tcp', 'udp'])),
})
export type PortMapping = Static<typeof PortMapping>

export const RestartPolicy = Type.Object({
  policy: Type.Optional(Type.Enum(['never', 'always', 'on_failure'])),
  backoff: Type.Optional(Type.String()),
  max_attempts: Type.Optional(Type.Integer({ minimum: 0 })),
  stable_after: Type.Optional(Type.String()),
})
export type RestartPolicy = Static<typeof RestartPolicy>

export const HealthCheck = Type.Object({
  type: Type.Optional(Type.Enum(['none', 'http', 'tcp', 'exec'])),
  interval: Type.Optional(Type.String()),
  timeout: Type.Optional(Type.String()),
  start_period: Type.Optional(Type.String()),
  failure_threshold: Type.Optional(Type.Integer()),
  success_threshold: Type.Optional(Type.Integer()),
  http: Type.Optional(
    Type.Object({
      port: Type.Optional(Type.Integer()),
      path: Type.Optional(Type.String()),
      scheme: Type.Optional(Type.Enum(['http', 'https'])),
      expected_status: Type.Optional(Type.Integer()),
    }),
  ),
  tcp: Type.Optional(Type.Object({ port: Type.Optional(Type.Integer()) })),
  exec: Type.Optional(Type.Object({ command: Type.Optional(Type.Array(Type.String())), working_dir: Type.Optional(Type.String()) })),
})
export type HealthCheck = Static<typeof HealthCheck>

export const AutoStandby = Type.Object({
  enabled: Type.Optional(Type.Boolean()),
  idle_timeout: Type.Optional(Type.String()),
  ignore_source_cidrs: Type.Optional(Type.Array(Type.String())),
  ignore_destination_ports: Type.Optional(Type.Array(Type.Integer())),
})
export type AutoStandby = Static<typeof AutoStandby>

export const CreateInstanceRequest = Type.Object({
  name: Type.String({ pattern: NAME_PATTERN, minLength: 1, maxLength: NAME_MAX_LENGTH }),
  image: Type.String({ minLength: 1 }),
  size: Type.Optional(Type.String()),
  hotplug_size: Type.Optional(Type.String()),
  overlay_size: Type.Optional(Type.String()),
  vcpus: Type.Optional(Type.Integer({ minimum: 0 })),
  disk_io_bps: Type.Optional(Type.String()),
  env: Type.Optional(StringMap),
  network: Type.Optional(
    Type.Object({
      enabled: Type.Optional(Type.Boolean()),
      bandwidth_download: Type.Optional(Type.String()),
      bandwidth_upload: Type.Optional(Type.String()),
      egress: Type.Optional(Type.Object({ enabled: Type.Optional(Type.Boolean()) })),
    }),
  ),
  devices: Type.Optional(Type.Array(Type.String())),
  gpu: Type.Optional(Type.Object({ profile: Type.Optional(Type.String()) })),
  volumes: Type.Optional(Type.Array(VolumeMountRequest)),
  hypervisor: Type.Optional(HypervisorKind),
  ports: Type.Optional(Type.Array(PortMapping)),
  tags: Type.Optional(StringMap),
  entrypoint: Type.Optional(Type.Array(Type.String())),
  cmd: Type.Optional(Type.Array(Type.String())),
  platform: Type.Optional(Type.String({ pattern: PLATFORM_PATTERN })),
  ttl: Type.Optional(Type.String()),
  expires_at: Type.Optional(Type.String()),
  restart_policy: Type.Optional(RestartPolicy),
  credentials: Type.Optional(Type.Record(Type.String(), Type.Unknown())),
  health_check: Type.Optional(HealthCheck),
  auto_standby: Type.Optional(AutoStandby),
})
export type CreateInstanceRequest = Static<typeof CreateInstanceRequest>

export const UpdateInstanceRequest = Type.Object({
  env: Type.Optional(StringMap),
  restart_policy: Type.Optional(RestartPolicy),
  ttl: Type.Optional(Type.String()),
  expires_at: Type.Optional(Type.String()),
  tags: Type.Optional(StringMap),
  health_check: Type.Optional(HealthCheck),
  auto_standby: Type.Optional(AutoStandby),
})
export type UpdateInstanceRequest = Static<typeof UpdateInstanceRequest>

export const StartInstanceRequest = Type.Object({
  entrypoint: Type.Optional(Type.Array(Type.String())),
  cmd: Type.Optional(Type.Array(Type.String())),
})

export const SNAPSHOT_KINDS = ['Standby', 'Stopped'] as const
export type SnapshotKind = (typeof SNAPSHOT_KINDS)[number]
const FORK_TARGETS = ['Stopped', 'Standby', 'Running'] as const
export type ForkTarget = (typeof FORK_TARGETS)[number]

export const CreateSnapshotRequest = Type.Object({
  kind: Type.Enum([...SNAPSHOT_KINDS]),
  name: Type.Optional(Type.String({ pattern: `^$|${NAME_PATTERN}`, maxLength: NAME_MAX_LENGTH })),
  tags: Type.Optional(StringMap),
})

export const RestoreSnapshotRequest = Type.Object({
  target_state: Type.Optional(Type.Enum([...FORK_TARGETS])),
  target_hypervisor: Type.Optional(HypervisorKind),
})

export const ForkInstanceRequest = Type.Object({
  name: Type.String({ pattern: NAME_PATTERN, minLength: 1, maxLength: NAME_MAX_LENGTH }),
  from_running: Type.Optional(Type.Boolean()),
  target_state: Type.Optional(Type.Enum([...FORK_TARGETS])),
})

export const ForkSnapshotRequest = Type.Object({
  name: Type.String({ pattern: NAME_PATTERN, minLength: 1, maxLength: NAME_MAX_LENGTH }),
  target_state: Type.Optional(Type.Enum([...FORK_TARGETS])),
  target_hypervisor: Type.Optional(HypervisorKind),
})

export const AttachVolumeRequest = Type.Object({
  mount_path: Type.String({ minLength: 1 }),
  readonly: Type.Optional(Type.Boolean()),
})

export const CreateImageRequest = Type.Object({
  name: Type.String(),
  platform: Type.Optional(Type.String({ pattern: PLATFORM_PATTERN })),
  tags: Type.Optional(StringMap),
  credentials: Type.Optional(
    Type.Object({
      username: Type.Optional(Type.String()),
      password: Type.Optional(Type.String()),
      registry_token: Type.Optional(Type.String()),
    }),
  ),
})
export type CreateImageRequest = Static<typeof CreateImageRequest>

export const TagImageRequest = Type.Object({ target: Type.String() })

export const CreateVolumeRequest = Type.Object({
  name: Type.String({ minLength: 1 }),
  size_gb: Type.Integer({ minimum: 1 }),
  id: Type.Optional(Type.String({ minLength: 1 })),
  tags: Type.Optional(StringMap),
})
export type CreateVolumeRequest = Static<typeof CreateVolumeRequest>

export const CreateDeviceRequest = Type.Object({
  pci_address: Type.String(),
  name: Type.Optional(Type.String()),
  tags: Type.Optional(StringMap),
})

/** First message of an exec WebSocket. */
export const ExecStart = Type.Object({
  command: Type.Optional(Type.Array(Type.String())),
  tty: Type.Optional(Type.Boolean()),
  env: Type.Optional(StringMap),
  cwd: Type.Optional(Type.String()),
  timeout: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })),
  wait_for_agent: Type.Optional(Type.Integer({ minimum: 0, maximum: 2 ** 31 - 1 })),
  rows: Type.Optional(Type.Integer({ minimum: 0, maximum: 65535 })),
  cols: Type.Optional(Type.Integer({ minimum: 0, maximum: 65535 })),
})
export type ExecStart = Static<typeof ExecStart>

/** A text message in a session with a terminal. */
export const ExecResize = Type.Object({
  resize: Type.Object({
    rows: Type.Integer({ minimum: 1, maximum: 65535 }),
    cols: Type.Integer({ minimum: 1, maximum: 65535 }),
  }),
})

/** First message of a cp WebSocket. `src_basename` is sent by the CLI and has no meaning. */
export const CpStart = Type.Object({
  direction: Type.String(),
  guest_path: Type.String({ minLength: 1 }),
  is_dir: Type.Optional(Type.Boolean()),
  mode: Type.Optional(Type.Integer({ minimum: 0 })),
  follow_links: Type.Optional(Type.Boolean()),
  uid: Type.Optional(Type.Integer({ minimum: 0 })),
  gid: Type.Optional(Type.Integer({ minimum: 0 })),
})
export type CpStart = Static<typeof CpStart>

// --- responses ------------------------------------------------------------------------------------------------

export const INSTANCE_STATES = [
  'Created',
  'Initializing',
  'Running',
  'Paused',
  'Shutdown',
  'Stopped',
  'Standby',
  'Unknown',
] as const
export type InstanceState = (typeof INSTANCE_STATES)[number]

export interface VolumeMount {
  readonly volume_id: string
  readonly mount_path: string
  readonly readonly: boolean
  readonly overlay?: boolean
  readonly overlay_size?: string
}

export interface Instance {
  readonly id: string
  readonly name: string
  readonly image: string
  readonly state: InstanceState
  readonly state_error: string | null
  readonly created_at: string
  readonly started_at: string | null
  readonly stopped_at: string | null
  readonly size: string
  readonly hotplug_size: string
  readonly overlay_size: string
  readonly vcpus: number
  readonly disk_io_bps?: string
  readonly env?: Readonly<Record<string, string>>
  readonly network: {
    readonly enabled: boolean
    readonly name?: string
    readonly ip: string | null
    readonly mac: string | null
    readonly bandwidth_download?: string
    readonly bandwidth_upload?: string
  }
  readonly volumes?: readonly VolumeMount[]
  readonly has_snapshot: boolean
  readonly hypervisor: 'qemu'

  // Additions of newer servers. Their clients require `expires_at`.
  readonly expires_at: string | null
  readonly tags?: Readonly<Record<string, string>>
  readonly platform?: string
  readonly exit_code?: number
  readonly exit_message?: string
  readonly current_phase: string
  readonly current_phase_since: string
  readonly phase_durations_ms?: Readonly<Record<string, number>>
  readonly restart_policy?: RestartPolicy
  readonly restart_status?: { readonly attempts: number }
  readonly auto_standby?: AutoStandby
  readonly health_check?: HealthCheck
  readonly health_status?: {
    readonly status: 'disabled' | 'starting' | 'healthy' | 'unhealthy' | 'unknown'
    readonly last_error?: string
    readonly last_transition_at?: string
  }

  // Berth's own: what `ports` of create published.
  readonly ports?: readonly PortMapping[]
}

export interface Image {
  readonly name: string
  readonly digest: string
  readonly status: 'pending' | 'pulling' | 'converting' | 'ready' | 'failed'
  readonly created_at: string
  readonly queue_position: number | null
  readonly error: string | null
  readonly size_bytes: number | null
  readonly entrypoint: readonly string[] | null
  readonly cmd: readonly string[] | null
  readonly working_dir: string | null
  readonly env?: Readonly<Record<string, string>>
  readonly platform?: string
  readonly tags?: Readonly<Record<string, string>>
}

export interface Volume {
  readonly id: string
  readonly name: string
  readonly size_gb: number
  readonly created_at: string
  readonly attachments?: readonly { readonly instance_id: string; readonly mount_path: string; readonly readonly: boolean }[]
  readonly tags?: Readonly<Record<string, string>>
}

export interface Snapshot {
  readonly id: string
  readonly kind: SnapshotKind
  readonly source_instance_id: string
  readonly source_instance_name: string
  readonly source_hypervisor: 'qemu'
  readonly size_bytes: number
  readonly created_at: string
  readonly name?: string
  readonly tags?: Readonly<Record<string, string>>
  readonly compression_state: 'none'
}

export interface Device {
  readonly id: string
  readonly name?: string
  readonly type: 'gpu' | 'pci'
  readonly pci_address: string
  readonly vendor_id: string
  readonly device_id: string
  readonly iommu_group: number
  readonly bound_to_vfio: boolean
  readonly attached_to: string | null
  readonly created_at: string
  readonly tags?: Readonly<Record<string, string>>
}

export interface AvailableDevice {
  readonly pci_address: string
  readonly vendor_id: string
  readonly device_id: string
  readonly iommu_group: number
  readonly current_driver: string | null
  readonly vendor_name?: string
  readonly device_name?: string
}

export interface PathInfo {
  readonly exists: boolean
  readonly is_dir: boolean
  readonly is_file: boolean
  readonly is_symlink: boolean
  readonly mode: number
  readonly size: number
  readonly link_target: string
  readonly error: string | null
}

export interface ResourceStatus {
  readonly type: string
  readonly capacity: number
  readonly effective_limit: number
  readonly allocated: number
  readonly available: number
  readonly oversub_ratio: number
  readonly source?: string
}

export interface Resources {
  readonly cpu: ResourceStatus
  readonly memory: ResourceStatus
  readonly disk: ResourceStatus
  readonly network: ResourceStatus
  readonly allocations: readonly {
    readonly instance_id: string
    readonly instance_name: string
    readonly cpu: number
    readonly memory_bytes: number
    readonly disk_bytes: number
    readonly network_download_bps: number
    readonly network_upload_bps: number
  }[]
  readonly disk_breakdown: {
    readonly images_bytes: number
    readonly oci_cache_bytes: number
    readonly volumes_bytes: number
    readonly overlays_bytes: number
  }
  readonly gpu: null
}

export interface InstanceStats {
  readonly instance_id: string
  readonly instance_name: string
  readonly cpu_seconds: number
  readonly memory_rss_bytes: number
  readonly memory_vms_bytes: number
  readonly network_rx_bytes: number
  readonly network_tx_bytes: number
  readonly allocated_vcpus: number
  readonly allocated_memory_bytes: number
  readonly memory_utilization_ratio: number | null
}

/** Every error. Codes are snake_case, but for the HTTP status texts of authentication and schema errors. */
export interface ErrorBody {
  readonly code: string
  readonly message: string
}

/** What is known of an instance's `auto_standby`; its enums are the published ones. */
export interface AutoStandbyStatus {
  readonly active_inbound_connections: number
  readonly configured: boolean
  readonly eligible: boolean
  readonly enabled: boolean
  readonly reason:
    | 'unsupported_platform'
    | 'policy_missing'
    | 'policy_disabled'
    | 'instance_not_running'
    | 'network_disabled'
    | 'missing_ip'
    | 'has_vgpu'
    | 'active_inbound_connections'
    | 'idle_timeout_not_elapsed'
    | 'observer_error'
    | 'ready_for_standby'
  readonly status: 'unsupported' | 'disabled' | 'ineligible' | 'active' | 'idle_countdown' | 'ready_for_standby' | 'standby_requested' | 'error'
  readonly supported: boolean
  readonly tracking_mode: string
  readonly countdown_remaining?: string
  readonly hold_until?: string
  readonly idle_since?: string
  readonly idle_timeout?: string
  readonly last_inbound_activity_at?: string
  readonly next_standby_at?: string
}
