/**
 * The Lambda Cloud wire: what answers look like, and the closed words of it. Optional members are left out, never
 * null: one of its clients walks through optional lists without a look.
 */

/**
 * Two of its four current clients know these region codes alone and fail on any other, in every answer that holds
 * a region. Only the seed SDK knows the two of the tests.
 */
export const REGION_CODES = [
  'europe-central-1',
  'asia-south-1',
  'australia-east-1',
  'me-west-1',
  'asia-northeast-1',
  'asia-northeast-2',
  'us-east-1',
  'us-east-2',
  'us-east-3',
  'us-west-1',
  'us-west-2',
  'us-west-3',
  'us-south-1',
  'us-south-2',
  'us-south-3',
  'us-midwest-1',
  'us-midwest-2',
  'test-east-1',
  'test-west-1',
] as const

/** `preempted` is of the newest version alone: the seed SDK refuses a whole list for it, so it is never told. */
export type InstanceStatus = 'booting' | 'active' | 'unhealthy' | 'terminating' | 'terminated'

export const ACTIONS = ['migrate', 'rebuild', 'restart', 'cold_reboot', 'terminate'] as const

export interface ActionAvailability {
  readonly available: boolean
  readonly reason_code?: 'vm-has-not-launched' | 'vm-is-terminating' | 'vm-action-in-progress'
  readonly reason_description?: string
}

export interface Region {
  readonly name: string
  readonly description: string
}

export interface InstanceType {
  readonly name: string
  readonly description: string
  readonly gpu_description: string
  /** Whole: a fraction breaks two clients. */
  readonly price_cents_per_hour: number
  readonly specs: { readonly vcpus: number; readonly memory_gib: number; readonly storage_gib: number; readonly gpus: number }
}

export interface InstanceTypesItem {
  readonly instance_type: InstanceType
  readonly regions_with_capacity_available: readonly Region[]
}

export interface Tag {
  readonly key: string
  readonly value: string
}

export interface Instance {
  readonly id: string
  readonly name?: string
  readonly ip?: string
  readonly private_ip?: string
  readonly status: InstanceStatus
  readonly ssh_key_names: readonly string[]
  readonly file_system_names: readonly string[]
  readonly file_system_mounts?: readonly { readonly mount_point: string; readonly file_system_id: string }[]
  readonly firewall_rulesets?: readonly { readonly id: string }[]
  readonly region: Region
  readonly instance_type: InstanceType
  readonly hostname?: string
  readonly actions: Readonly<Record<(typeof ACTIONS)[number], ActionAvailability>>
  readonly tags?: readonly Tag[]
}

export interface SshKey {
  readonly id: string
  readonly name: string
  readonly public_key: string
  /** Only in the answer to the request that made it. */
  readonly private_key?: string
}

export interface Image {
  readonly id: string
  readonly created_time: string
  readonly updated_time: string
  readonly name: string
  readonly description: string
  readonly family: string
  readonly version: string
  readonly architecture: 'x86_64' | 'arm64'
  readonly region: Region
}

export interface FileSystem {
  readonly id: string
  readonly name: string
  readonly mount_point: string
  readonly created: string
  readonly created_by: { readonly id: string; readonly email: string; readonly status: 'active' | 'deactivated' }
  readonly is_in_use: boolean
  readonly region: Region
  readonly bytes_used: number
}

export interface FirewallRule {
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'all'
  /** Not with ICMP. */
  readonly port_range?: readonly [number, number]
  readonly source_network: string
  readonly description: string
}

export interface FirewallRuleset {
  readonly id: string
  readonly name: string
  readonly region: Region
  readonly rules: readonly FirewallRule[]
  readonly created: string
  readonly instance_ids: readonly string[]
}

export interface GlobalFirewallRuleset {
  readonly id: 'global'
  readonly name: string
  readonly rules: readonly FirewallRule[]
}

/** The one object of this wire whose members may be null: its schema requires them. */
export interface AuditEvent {
  readonly service_name: string
  readonly resource_name: string
  readonly action: string
  readonly catalog_version: string
  readonly event_id: string
  readonly event_time: string
  readonly actor_lrn: string | null
  readonly resource_lrns: readonly string[]
  readonly resource_owner_lrn: string | null
  readonly request_api_key_lrn: string | null
  readonly additional_details: Readonly<Record<string, unknown>>
}

export interface ErrorBody {
  readonly error: { readonly code: string; readonly message: string; readonly suggestion?: string }
}
