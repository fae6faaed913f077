/**
 * The Store port: what the engine keeps, and the transactions it needs.
 *
 * A transaction is serialisable and all-or-nothing; a function given to `transaction` may run again
 * after a conflict, so it has no effects but those on its `tx`. What commits is durable.
 */
import type { ConfigFile } from '../instance/config-file.ts'
import type { AuditDetails, AuditLine } from '../instance/audit.ts'
import type {
  ApiKey,
  FileSystem,
  FileSystemId,
  FirewallRule,
  FirewallRuleset,
  FirewallRulesetId,
  HostId,
  Image,
  Instance,
  InstanceEvent,
  InstanceId,
  KeyId,
  Project,
  ProjectId,
  Secret,
  SnapshotId,
  SshKey,
  SshKeyId,
  Volume,
  VolumeId,
} from '../instance/model.ts'
import type { MarketPoint, OrderEvent, OrderId, OrderKind, Orders, PeriodKind, PricePeriod } from '../instance/market.ts'
import type { Phase } from '../instance/phase.ts'
import type { Snapshot } from '../instance/snapshot.ts'
import type { ServiceEvent, ServiceRecordKind, ServiceRecords } from '../instance/service.ts'

export interface TransactionOptions {
  /**
   * False for what may be lost with the machine's power, but not with this process: it is left to the system to write,
   * and nothing waits for the disk. Default true.
   */
  readonly durable?: boolean
}

export interface Store {
  transaction<T>(work: (tx: StoreTx) => Promise<T>, options?: TransactionOptions): Promise<T>
  /** Reads outside a transaction see the last commit. */
  readonly read: StoreReader
  close(): Promise<void>
}

export interface InstanceQuery {
  /** null is every project (the engine's own work, never a client's). */
  readonly projectId: ProjectId | null
  readonly phases?: readonly Phase[]
  /** Deleted ones are left out unless asked for. */
  readonly includeDeleted?: boolean
  readonly name?: string
  readonly tags?: Readonly<Record<string, string>>
  readonly annotations?: Readonly<Record<string, string>>
  /** Only those that have these annotations, or none of that name. */
  readonly annotationsOrAbsent?: Readonly<Record<string, string>>
  /** Only those without an annotation of this name. */
  readonly lacksAnnotation?: string
  /** Only those that lived at some time in this span (Unix milliseconds; null is open). */
  readonly lived?: { readonly from: number | null; readonly until: number | null }
  readonly ids?: readonly InstanceId[]
  readonly hostId?: HostId
  /** Only those that are to be made from this snapshot. */
  readonly basis?: SnapshotId
  /** Only those that have health checks or an idle policy. */
  readonly watched?: true
  /** Of the running ones only those that wait for their health checks, or only those that don't; other phases pass. */
  readonly running?: 'checking' | 'checked'
  /** By creation time; default `newest-first`. */
  readonly order?: 'newest-first' | 'oldest-first'
  readonly limit?: number
  readonly offset?: number
}

export interface EventQuery {
  readonly projectId: ProjectId | null
  readonly instanceIds?: readonly InstanceId[]
  readonly afterSeq?: number
  readonly kinds?: readonly InstanceEvent['kind'][]
  /** Of the steps only those into these phases; other kinds pass. */
  readonly toPhases?: readonly Phase[]
  readonly order?: 'oldest-first' | 'newest-first'
  readonly limit?: number
  readonly offset?: number
}

export interface StoreReader {
  instance(id: InstanceId): Promise<Instance | null>
  instances(query: InstanceQuery): Promise<readonly Instance[]>
  countInstances(query: InstanceQuery): Promise<number>
  events(query: EventQuery): Promise<readonly InstanceEvent[]>
  countEvents(query: EventQuery): Promise<number>
  image(projectId: ProjectId, name: string): Promise<Image | null>
  images(projectId: ProjectId | null): Promise<readonly Image[]>
  volume(id: VolumeId): Promise<Volume | null>
  volumes(query: { readonly projectId: ProjectId | null; readonly name?: string }): Promise<readonly Volume[]>
  project(id: ProjectId): Promise<Project | null>
  projects(): Promise<readonly Project[]>
  keyByHash(hash: string): Promise<ApiKey | null>
  keys(projectId: ProjectId | null): Promise<readonly ApiKey[]>
  /** Oldest first. */
  sshKeys(projectId: ProjectId): Promise<readonly SshKey[]>
  /** By name. */
  secrets(projectId: ProjectId): Promise<readonly Secret[]>
  /** Values by name, for the machine that an instance starts on alone; those that are not there are left out. */
  secretValues(projectId: ProjectId, names: readonly string[]): Promise<Readonly<Record<string, string>>>
  /** Newest first. */
  audit(query: AuditQuery): Promise<readonly AuditLine[]>
  /** What an instance has still to do at its first start; null is nothing (any more). */
  firstBoot(instanceId: InstanceId): Promise<FirstBootRecord | null>
  fileSystem(id: FileSystemId): Promise<FileSystem | null>
  /** Oldest first; null is every project. */
  fileSystems(projectId: ProjectId | null): Promise<readonly FileSystem[]>
  /** Living instances and the file systems they name. */
  fileSystemUsers(projectId: ProjectId): Promise<readonly { readonly instanceId: InstanceId; readonly fileSystemId: FileSystemId }[]>
  /** Oldest first. */
  firewallRulesets(projectId: ProjectId): Promise<readonly FirewallRuleset[]>
  /** Those of every firewall in the project; null where nobody has set any. */
  globalFirewallRules(projectId: ProjectId): Promise<readonly FirewallRule[] | null>
  /** Living instances that have a firewall; null is every project. */
  firewallUsers(projectId: ProjectId | null): Promise<readonly { readonly instanceId: InstanceId; readonly rulesetIds: readonly FirewallRulesetId[] }[]>
  snapshot(id: SnapshotId): Promise<Snapshot | null>
  /** Newest first. */
  snapshots(query: SnapshotQuery): Promise<readonly Snapshot[]>
  reservations(hostId: HostId): Promise<readonly Reservation[]>
  serviceRecord<K extends ServiceRecordKind>(kind: K, id: string): Promise<ServiceRecords[K] | null>
  serviceRecords<K extends ServiceRecordKind>(kind: K, query: ServiceQuery): Promise<readonly ServiceRecords[K][]>
  countServiceRecords(kind: ServiceRecordKind, query: ServiceQuery): Promise<number>
  serviceEvents(query: ServiceEventQuery): Promise<readonly ServiceEvent[]>
  order<K extends OrderKind>(kind: K, id: OrderId): Promise<Orders[K] | null>
  orders<K extends OrderKind>(kind: K, query: OrderQuery): Promise<readonly Orders[K][]>
  countOrders(kind: OrderKind, query: OrderQuery): Promise<number>
  /** Oldest first. */
  orderEvents(orderId: OrderId): Promise<readonly OrderEvent[]>
  /** The newest point of each market; of one, or of those of a region. */
  marketNow(query: MarketQuery): Promise<readonly MarketPoint[]>
  /** Points of a span, oldest first, with the last one before it of each market. */
  marketPoints(query: MarketQuery & { readonly from: number; readonly until: number }): Promise<readonly MarketPoint[]>
  /** Oldest first. */
  periods(query: PeriodQuery): Promise<readonly PricePeriod[]>
  /** The sums of what instances hold of a host, but for one; volumes are of all hosts. */
  usage(hostId: HostId, except: InstanceId | null): Promise<Usage>
  /** Slots that instances which hold CPU and memory take, but for one; those that nobody takes are left out. */
  slotUse(except: InstanceId | null): Promise<readonly SlotUse[]>
  /** The addresses that are taken on a host. */
  addresses(hostId: HostId): Promise<readonly string[]>
  /** What one instance holds, or null. */
  reservation(instanceId: InstanceId): Promise<Reservation | null>
}

export interface StoreTx extends StoreReader {
  insertInstance(instance: Instance): Promise<void>
  /** Replaces the record; the row must exist. */
  updateInstance(instance: Instance): Promise<void>
  /** Gives the event its `seq`. */
  appendEvent(event: Omit<InstanceEvent, 'seq'>): Promise<InstanceEvent>
  putImage(image: Image): Promise<void>
  deleteImage(projectId: ProjectId, name: string): Promise<void>
  /** Attachments are kept apart: `putVolume` ignores them. */
  putVolume(volume: Volume): Promise<void>
  deleteVolume(id: VolumeId): Promise<void>
  putAttachment(volumeId: VolumeId, attachment: Volume['attachments'][number]): Promise<void>
  deleteAttachment(volumeId: VolumeId, instanceId: InstanceId): Promise<void>
  putProject(project: Project): Promise<void>
  putKey(key: ApiKey, hash: string): Promise<void>
  deleteKey(id: KeyId): Promise<void>
  insertSshKey(key: SshKey): Promise<void>
  deleteSshKey(id: SshKeyId): Promise<void>
  putSecret(secret: Secret, value: string): Promise<void>
  deleteSecret(projectId: ProjectId, name: string): Promise<void>
  /** Gives the line its `seq`. */
  appendAudit(line: Omit<AuditLine, 'seq'>): Promise<number>
  /** Replaces the details of a line. */
  amendAudit(seq: number, details: AuditDetails): Promise<void>
  /** Removes at most `limit` lines that are older than `before` or not among the latest `keepLines`; returns how many. */
  pruneAudit(rule: { readonly before: number; readonly keepLines: number; readonly limit: number }): Promise<number>
  insertFirstBoot(instanceId: InstanceId, record: FirstBootRecord): Promise<void>
  deleteFirstBoot(instanceId: InstanceId): Promise<void>
  /** `name_conflict` if the project has another one of that name. */
  putFileSystem(fileSystem: FileSystem): Promise<void>
  deleteFileSystem(id: FileSystemId): Promise<void>
  putFirewallRuleset(ruleset: FirewallRuleset): Promise<void>
  deleteFirewallRuleset(id: FirewallRulesetId): Promise<void>
  putGlobalFirewallRules(projectId: ProjectId, rules: readonly FirewallRule[]): Promise<void>
  /** `name_conflict` if another of the same source has the name. */
  putSnapshot(snapshot: Snapshot): Promise<void>
  deleteSnapshot(id: SnapshotId): Promise<void>
  putReservation(reservation: Reservation): Promise<void>
  deleteReservation(instanceId: InstanceId): Promise<void>
  /** Writes an app, service or deployment, new or changed. */
  putServiceRecord<K extends ServiceRecordKind>(kind: K, record: ServiceRecords[K]): Promise<void>
  /** Writes a bid or a reservation, new or changed. */
  putOrder<K extends OrderKind>(kind: K, record: Orders[K]): Promise<void>
  appendOrderEvent(event: Omit<OrderEvent, 'seq'>): Promise<void>
  putMarketPoint(point: MarketPoint): Promise<void>
  /** Writes a period, new or changed; one that ends where it begins is removed. */
  putPeriod(period: PricePeriod): Promise<void>
  appendServiceEvent(event: Omit<ServiceEvent, 'seq'>): Promise<void>
  /** The remembered answer to an idempotency key, or null. */
  idempotent(projectId: ProjectId, key: string): Promise<IdempotencyRecord | null>
  putIdempotent(record: IdempotencyRecord): Promise<void>
}

export interface AuditQuery {
  readonly projectId: ProjectId
  /** Unix milliseconds: from this time on, and before that one. */
  readonly from?: number
  readonly until?: number
  readonly keyId?: KeyId
  /** `instance`, `key`, …; with `id` only that one. */
  readonly targetKind?: string
  readonly targetId?: string
  readonly action?: string
  /** Lines that come after this one in the list. */
  readonly after?: { readonly at: number; readonly seq: number }
  readonly limit?: number
}

export interface FirstBootRecord {
  /** As it was given; null is none (there are SSH keys then). */
  readonly userData: string | null
  readonly files: readonly ConfigFile[]
}

/** What an instance holds of a host: all of it or none, in the transaction that places it. */
export interface Reservation {
  readonly instanceId: InstanceId
  readonly hostId: HostId
  /** 0 while stopped or in standby; disk, address and ports stay. */
  readonly vcpus: number
  readonly memoryBytes: number
  readonly diskBytes: number
  readonly ip: string | null
  /** `tcp/8080`; unique on a host. */
  readonly ports: readonly string[]
  /** What it counts as in its region, as long as it holds CPU and memory; null is nothing. */
  readonly slot: Slot | null
}

/** One machine of a type in a region; ids of the catalogue. */
export interface Slot {
  readonly region: string
  readonly type: string
}

export interface SlotUse extends Slot {
  readonly used: number
}

export interface Usage {
  readonly vcpus: number
  readonly memoryBytes: number
  readonly diskBytes: number
  /** Shared file systems, too. */
  readonly volumeBytes: number
  /** Of the snapshots on that host. */
  readonly snapshotBytes: number
}

export interface IdempotencyRecord {
  readonly projectId: ProjectId
  readonly key: string
  /** Hash of the request: the same key with another request is a conflict. */
  readonly requestHash: string
  readonly instanceId: InstanceId
  readonly createdAt: number
}

export interface SnapshotQuery {
  /** null is every project (the engine's own work). */
  readonly projectId: ProjectId | null
  readonly sourceId?: InstanceId
  readonly name?: string
}

export interface ServiceQuery {
  /** null is every project (the engine's own work). */
  readonly projectId: ProjectId | null
  readonly appId?: string
  readonly serviceId?: string
  readonly name?: string
  /** Leaves out apps and services that are deleted, and deployments that are over. */
  readonly liveOnly?: boolean
  /** By creation time; default `newest-first`. */
  readonly order?: 'newest-first' | 'oldest-first'
  readonly limit?: number
  readonly offset?: number
}

export interface ServiceEventQuery {
  readonly projectId: ProjectId
  readonly kind: ServiceEvent['kind']
  readonly subjectId?: string
  readonly types?: readonly string[]
  /** Default `oldest-first`. */
  readonly order?: 'newest-first' | 'oldest-first'
  readonly limit?: number
  readonly offset?: number
}

export interface OrderQuery {
  /** null is every project (the engine's own work). */
  readonly projectId: ProjectId | null
  readonly name?: string
  readonly type?: string
  readonly region?: string
  readonly statuses?: readonly string[]
  /** Leaves out orders that are over. */
  readonly liveOnly?: boolean
  /** By creation time; default `newest-first`. */
  readonly order?: 'newest-first' | 'oldest-first'
  readonly limit?: number
  readonly offset?: number
}

export interface MarketQuery {
  readonly type?: string
  readonly region?: string
}

export interface PeriodQuery {
  /** null is every project (the engine's own work). */
  readonly projectId: ProjectId | null
  readonly instanceIds?: readonly InstanceId[]
  readonly orderId?: OrderId
  readonly kinds?: readonly PeriodKind[]
  readonly type?: string
  readonly region?: string
  /** Only those that last. */
  readonly openOnly?: boolean
  /** Those that overlap this span. */
  readonly from?: number
  readonly until?: number
  readonly limit?: number
  readonly offset?: number
}
