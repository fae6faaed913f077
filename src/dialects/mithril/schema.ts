/**
 * The Mithril wire: what answers look like, and its closed words. A member that may be null is there and null, never
 * left out: one of its clients subscripts `bid`, `ssh_destination`, `private_ip` and `region` and fails as a whole.
 */

/** All thirteen; clients generated from the schema take them for closed. `SCHEDULED` and `STOPPED` live in clients only. */
export const INSTANCE_STATUSES = [
  'STATUS_NEW',
  'STATUS_CONFIRMED',
  'STATUS_INITIALIZING',
  'STATUS_STARTING',
  'STATUS_RUNNING',
  'STATUS_STOPPING',
  'STATUS_TERMINATED',
  'STATUS_RELOCATING',
  'STATUS_PREEMPTING',
  'STATUS_PREEMPTED',
  'STATUS_REPLACED',
  'STATUS_PAUSED',
  'STATUS_ERROR',
] as const
export type InstanceStatus = (typeof INSTANCE_STATUSES)[number]
/** What a PATCH may ask for; it answers with other words (`STATUS_CONFIRMED`, `STATUS_STOPPING`). */
export const TARGET_STATUSES = ['STATUS_RUNNING', 'STATUS_PAUSED'] as const

export const BID_STATUSES = ['Open', 'Allocated', 'Preempting', 'Terminated', 'Paused'] as const
export type BidStatus = (typeof BID_STATUSES)[number]
export const RESERVATION_STATUSES = ['Pending', 'Active', 'Paused', 'Canceled', 'Ended'] as const
export type ReservationStatus = (typeof RESERVATION_STATUSES)[number]
export const ORDER_TYPES = ['Bid', 'Reservation'] as const

/** Instances that one order may have. */
export const QUANTITY_LIMIT = 256
export const SCRIPT_LIMIT_CHARACTERS = 10_000
export const KEYS_PER_ORDER_LIMIT = 100
export const VOLUMES_PER_ORDER_LIMIT = 20

export interface Page<T> {
  readonly data: readonly T[]
  readonly next_cursor: string | null
}

export interface InstancesPage<T> {
  readonly instances: readonly T[]
  readonly next_cursor: string | null
}

export interface Instance {
  readonly fid: string
  /** Begins with its order's name: clients group by it. */
  readonly name: string
  readonly project: string
  readonly created_at: string
  readonly created_by: string
  readonly instance_type: string
  readonly region: string | null
  readonly bid: string | null
  readonly reservation: string | null
  /** A bare host: one client dials it as it is, on port 22. */
  readonly ssh_destination: string | null
  readonly private_ip: string | null
  readonly status: InstanceStatus
}

export interface InstanceStatusAnswer {
  readonly fid: string
  readonly name: string
  readonly status: InstanceStatus
  readonly bid: string | null
  readonly reservation: string | null
  readonly end_time: string | null
}

interface HistoryOf<E> {
  readonly instance_fid: string
  readonly bid_fid: string | null
  readonly reservation_fid: string | null
  readonly events: readonly E[]
}
export type StatusHistory = HistoryOf<{ readonly timestamp: string; readonly status: InstanceStatus }>
export type PricingHistory = HistoryOf<{ readonly price_cents: number; readonly start_time: string; readonly end_time: string | null }>

export interface LaunchSpecification {
  readonly volumes: readonly string[]
  readonly ssh_keys: readonly string[]
  readonly startup_script: string | null
  readonly kubernetes_cluster: string | null
  readonly image_version: string | null
  readonly memory_gb: number | null
}

interface Order {
  readonly fid: string
  readonly name: string
  readonly project: string
  readonly created_by: string
  readonly created_at: string
  readonly deactivated_at: string | null
  readonly instance_quantity: number
  readonly instance_type: string
  readonly region: string | null
  readonly instances: readonly string[]
  readonly launch_specification: LaunchSpecification
}

export interface Bid extends Order {
  /** `"$25.60"`: a ceiling, not the price that is paid. */
  readonly limit_price: string
  readonly status: BidStatus
}

export interface Reservation extends Order {
  readonly status: ReservationStatus
  readonly start_time: string
  readonly end_time: string
  readonly total_price: string
  readonly unit_price: string
}

export interface BidEvent {
  readonly timestamp: string
  readonly event_type:
    | 'Placed'
    | 'Paused'
    | 'Resumed'
    | 'Terminated'
    | 'Allocated'
    | 'Preempted'
    | 'Limit Price Changed'
    | 'Memory Adjusted'
    | 'Volumes Attached'
    | 'Volumes Removed'
  readonly limit_price: string | null
  readonly user_id: string | null
  readonly memory_gb: number | null
  readonly persistent_disk_change: { readonly attached: string | null; readonly removed: string | null } | null
}

export interface ReservationEvent {
  readonly timestamp: string
  readonly event_type: 'Placed' | 'Active' | 'Paused' | 'Resumed' | 'Canceled' | 'Ended' | 'Terms Set' | 'Terms Changed'
  readonly user_id: string | null
  readonly unit_price_cents: number | null
  readonly pause_credit_cents: number | null
  readonly return_credit_cents: number | null
}

export interface ReservationOffer {
  readonly key: string
  readonly display_name: string
  readonly unit_price: string
  readonly return_buyback_price: string
  readonly pause_buyback_price: string
  readonly total_price: string
  readonly total_etbp_value: string
  readonly total_fubp_value: string
  readonly option_premium: string
}

export interface ReservationUsage {
  readonly reservation: {
    readonly fid: string
    readonly order_name: string
    readonly start_date: string
    readonly end_date: string
    /** Of the bids' words, not the reservations'; so it is declared. */
    readonly status: BidStatus
    readonly committed_cost_cents: number
  }
  readonly summary: {
    readonly committed_cost_cents: number
    readonly flex_use_credits_cents: number
    readonly early_termination_credits_cents: number
    readonly net_cost_cents: number
    /** ISO 8601 durations. */
    readonly reserved_instance_hours: string
    readonly active_instance_hours: string
    readonly idle_instance_hours: string
    readonly as_of: string
  }
  readonly grants: readonly {
    readonly fid: string
    readonly starts_at: string
    readonly ends_at: string
    readonly quantity: number
    readonly unit_price: number
    readonly price_credit: number
    readonly return_credit: number
  }[]
  readonly pricing_events: readonly {
    /** A UUID. */
    readonly id: string
    readonly occurred_at: string
    readonly instance_fid: string
    readonly instance_name: string
    readonly instance_status: InstanceStatus
  }[]
  readonly reservation_events: readonly {
    readonly occurred_at: string
    readonly event_type: 'Started' | 'Paused' | 'Extended'
    readonly reservation_name: string
  }[]
}

export interface InstanceType {
  readonly fid: string
  /** The same in every region; the id is not. */
  readonly name: string
  readonly num_cpus: number
  readonly cpu_type: string
  readonly ram_gb: number
  readonly num_gpus: number
  readonly gpu_type: string
  readonly gpu_memory_gb: number
  readonly gpu_socket: string
  readonly local_storage_gb: number
  readonly network_type: string | null
  readonly ib_count: number
  readonly bridge_count: number
}

export interface Auction {
  readonly fid: string
  readonly instance_type: string
  readonly region: string
  readonly capacity: number
  readonly last_instance_price: string
  readonly lowest_allocated_price: string | null
  readonly adjustable_memory: boolean
  readonly default_image_version: string | null
}

export interface CurrentPrices {
  /** Never null: one client refuses that. */
  readonly spot_price_cents: number
  readonly reserved_price_cents: number
  readonly minimum_price_cents: number
  readonly lowest_allocated_bid_cents: number | null
  readonly dynamic_win_price_cents: number | null
  readonly available_capacity: number
  readonly total_capacity: number
}

export interface PriceSeries {
  readonly instance_type: string
  readonly region: string
  readonly timestamps: readonly string[]
  readonly spot_prices: readonly string[]
  readonly reserved_prices: readonly string[]
  readonly region_disabled: boolean
}

export interface SshKey {
  readonly fid: string
  readonly name: string
  readonly project: string
  readonly public_key: string
  readonly created_at: string
  readonly required: boolean
}

export interface CreatedSshKey extends SshKey {
  /** Only in the answer to the request that made the pair. */
  readonly private_key: string | null
}

export interface Volume {
  readonly fid: string
  readonly name: string
  readonly region: string
  readonly created_at: string
  readonly deleted_at: string | null
  readonly capacity_gb: number
  readonly project: string
  readonly interface: 'Block' | 'File'
  readonly bids: readonly string[]
  readonly reservations: readonly string[]
  readonly attachments: Readonly<Record<string, string>>
}

export interface ApiKey {
  readonly fid: string
  readonly name: string
  readonly created_at: string
  readonly expires_at: string
  readonly deactivated_at: string | null
  readonly snippet: string
}

export interface ImageVersion {
  readonly image_version_fid: string
  readonly image_version_name: string
  readonly os: string
  readonly kernel: string
  readonly stable: boolean
  readonly supported_regions: readonly string[]
  readonly deactivated_at: string | null
  readonly nvidia_driver: string | null
  readonly cuda: string | null
  readonly cuda_toolkit: string | null
  readonly nvidia_container_toolkit: string | null
  readonly packages: string | null
}

export interface Quota {
  readonly fid: string
  readonly project: string
  readonly instance_type: string | null
  readonly product_type: string
  readonly total_quantity: number
  readonly used_quantity: number
  readonly units: string
  readonly name: string
}
