/**
 * The tables, as Kysely sees them. What is queried is a column; what is only kept is JSON text. Times are
 * Unix milliseconds with fractions, truth values are 0 and 1. Migrations (migrations/) make these tables.
 */
import type { Generated, Selectable } from 'kysely'
import type { FileSystem, ImageStatus, InstanceEvent, Volume, VolumeMode } from '../instance/model.ts'
import type { OrderEventType, OrderKind, PeriodKind } from '../instance/market.ts'
import type { DesiredState, Phase } from '../instance/phase.ts'
import type { ServiceEvent, ServiceRecordKind } from '../instance/service.ts'

export interface Database {
  readonly instances: InstanceTable
  readonly events: EventTable
  readonly images: ImageTable
  readonly volumes: VolumeTable
  readonly attachments: AttachmentTable
  readonly projects: ProjectTable
  readonly keys: KeyTable
  readonly ssh_keys: SshKeyTable
  readonly secrets: SecretTable
  readonly audit: AuditTable
  readonly first_boots: FirstBootTable
  readonly file_systems: FileSystemTable
  readonly firewall_rulesets: FirewallRulesetTable
  readonly firewall_rules: FirewallRulesTable
  readonly reservations: ReservationTable
  readonly reserved_ports: ReservedPortTable
  readonly idempotency: IdempotencyTable
  readonly service_records: ServiceRecordTable
  readonly service_events: ServiceEventTable
  readonly instance_counts: InstanceCountTable
  readonly market_orders: OrderTable
  readonly market_events: OrderEventTable
  readonly market_points: MarketPointTable
  readonly price_periods: PricePeriodTable
  readonly snapshots: SnapshotTable
}

/** What services set, with indexes since 0002. */
export const SERVICE_ANNOTATIONS = ['app_id', 'service_id', 'deployment_id', 'regional_deployment_id'] as const
/** What orders set, with an index since 0005. */
export const ORDER_ANNOTATION = 'market_order'
/** Annotations that have an index, which lists filter by. */
export const INDEXED_ANNOTATIONS = [...SERVICE_ANNOTATIONS, ORDER_ANNOTATION] as const

/** JSON text of the type in the name of the column's owner. */
type Json = string
type Flag = 0 | 1

export interface InstanceTable {
  id: string
  project_id: string
  /** A copy of spec.name: unique among the living of a project. */
  name: string
  /** A copy of spec.tags, for filters. */
  tags: Json
  spec: Json
  image_digest: string | null
  desired: DesiredState
  phase: Phase
  phase_since: number
  reason: string | null
  error_code: string | null
  host_id: string | null
  address: Json | null
  /** Id of the snapshot that it is to be made from. */
  basis: string | null
  generation: number
  exit: Json | null
  health: Json | null
  /** 1 with health checks or an idle policy. */
  is_watched: Flag
  restart_attempts: number
  created_at: number
  started_at: number | null
  stopped_at: number | null
  deleted_at: number | null
  origin: string
  annotations: Json
}
export type InstanceRow = Selectable<InstanceTable>

export interface EventTable {
  /** Never used twice, even after the newest was removed. */
  seq: Generated<number>
  instance_id: string
  project_id: string
  at: number
  kind: InstanceEvent['kind']
  from_phase: Phase | null
  to_phase: Phase
  reason: string | null
}

export interface ImageTable {
  project_id: string
  name: string
  status: ImageStatus
  digest: string | null
  size_bytes: number | null
  config: Json | null
  error: string | null
  queue_position: number | null
  progress: number | null
  tags: Json
  created_at: number
  updated_at: number
}
export type ImageRow = Selectable<ImageTable>

export interface VolumeTable {
  id: string
  project_id: string
  name: string
  size_bytes: number
  tags: Json
  status: Volume['status']
  error: string | null
  created_at: number
}
export type VolumeRow = Selectable<VolumeTable>

export interface AttachmentTable {
  volume_id: string
  instance_id: string
  path: string
  mode: VolumeMode
}
export type AttachmentRow = Selectable<AttachmentTable>

export interface ProjectTable {
  id: string
  name: string
  guest_to_guest: Flag
  created_at: number
}

export interface KeyTable {
  id: string
  project_id: string
  name: string
  scopes: Json
  /** The only surfaces that take it; null is all. */
  audience: Json | null
  /** Of the secret; the secret itself is nowhere. */
  hash: string
  created_at: number
  last_used_at: number | null
  expires_at: number | null
}
export type KeyRow = Selectable<KeyTable>

export interface SshKeyTable {
  id: string
  project_id: string
  name: string
  public_key: string
  created_at: number
}

export interface SecretTable {
  project_id: string
  name: string
  /** Sealed; see sealing.ts. */
  value: string
  /** JSON of the login that the value is the password of; null is none. */
  registry: string | null
  key_id: string | null
  created_at: number
  updated_at: number
}

export interface AuditTable {
  seq: Generated<number>
  at: number
  project_id: string
  key_id: string | null
  via: string
  operation: string | null
  action: string
  target_kind: string
  target_id: string | null
  target_name: string | null
  outcome: string
  details: Json
}

export interface FirstBootTable {
  instance_id: string
  user_data: string | null
  /** JSON; null is none. */
  files: string | null
}

export interface FileSystemTable {
  id: string
  project_id: string
  name: string
  region: string
  size_bytes: number
  status: FileSystem['status']
  created_at: number
  created_by: string | null
}

export interface FirewallRulesetTable {
  id: string
  project_id: string
  name: string
  region: string
  rules: Json
  created_at: number
}

/** Of all firewalls of a project; no row is the default. */
export interface FirewallRulesTable {
  project_id: string
  rules: Json
}

export interface ReservationTable {
  instance_id: string
  host_id: string
  vcpus: number
  memory_bytes: number
  disk_bytes: number
  ip: string | null
  slot_region: string | null
  slot_type: string | null
}

/** One row a port, so that a host can't give the same one twice. */
export interface ReservedPortTable {
  host_id: string
  /** `tcp/8080` */
  port: string
  instance_id: string
}

export interface IdempotencyTable {
  project_id: string
  key: string
  request_hash: string
  instance_id: string
  created_at: number
}

/** Apps, services and deployments: their record is JSON, what is queried are columns. */
export interface ServiceRecordTable {
  id: string
  kind: ServiceRecordKind
  project_id: string
  /** Of an app: its own id. */
  app_id: string
  /** Of a service: its own id. Of an app: null. */
  service_id: string | null
  name: string
  /** 0 once it is deleted, or (a deployment) over. */
  is_live: Flag
  created_at: number
  record: Json
}

export interface ServiceEventTable {
  seq: Generated<number>
  project_id: string
  kind: ServiceEvent['kind']
  subject_id: string
  at: number
  type: string
  message: string
}

export interface SnapshotTable {
  id: string
  project_id: string
  source_id: string
  host_id: string
  name: string | null
  size_bytes: number
  created_at: number
  record: Json
}

/** Kept by triggers. */
export interface InstanceCountTable {
  project_id: string
  phase: Phase
  count: number
}

/** Bids and reservations: their record is JSON, what is queried are columns. */
export interface OrderTable {
  id: string
  kind: OrderKind
  project_id: string
  name: string
  type: string
  region: string
  status: string
  /** 0 once it is over. */
  is_live: Flag
  created_at: number
  record: Json
}

export interface OrderEventTable {
  seq: Generated<number>
  order_id: string
  project_id: string
  at: number
  type: OrderEventType
  details: Json
}

/** One row for each change of a market. */
export interface MarketPointTable {
  seq: Generated<number>
  type: string
  region: string
  at: number
  spot_micros: number
  capacity: number
  allocated: number
}

export interface PricePeriodTable {
  id: string
  instance_id: string
  project_id: string
  order_id: string | null
  kind: PeriodKind
  type: string | null
  region: string
  price_micros: number
  start_at: number
  end_at: number | null
}
