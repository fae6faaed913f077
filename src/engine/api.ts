/**
 * What the engine offers to dialects, MCP and the server: the only way in.
 *
 * Every call names its caller, and sees only the caller's project: what belongs to another is
 * `not_found`. Scopes are checked here, not in dialects. Calls that change something return as soon as
 * the wish is recorded; `wait` is separate, and a waiter that goes away interrupts nothing.
 */
import type { ConfigFile } from '../instance/config-file.ts'
import type { ErrorCode, ErrorDetails } from '../instance/errors.ts'
import type {
  ApiKey,
  Image,
  Instance,
  InstanceEvent,
  InstanceId,
  InstanceSpec,
  KeyId,
  Project,
  ProjectId,
  Scope,
  SshKey,
  SshKeyId,
  Surface,
  TimestampMs,
  Volume,
  VolumeId,
  VolumeMount,
} from '../instance/model.ts'
import type { Phase } from '../instance/phase.ts'
import type { App, Deployment, ReplicaSet, Service, ServiceEvent, ServiceRecordKind, ServiceRecords } from '../instance/service.ts'
import type { FileSystems } from './file-systems.ts'
import type { Firewalls } from './firewalls.ts'
import type {
  CopyItem,
  ExecRequest,
  ExecSession,
  HostDevice,
  HostFacts,
  LogQuery,
  LogRecord,
  PathInfo,
  VmStats,
} from './host-port.ts'
import type { Audit } from './audit.ts'
import type { Capacity } from './capacity.ts'
import type { Directory } from './directory.ts'
import type { Market } from './market/api.ts'
import type { StatsFeed } from './stats-feed.ts'
import type { InstanceShape } from './reshaping.ts'
import type { AutoStandbys } from './idle/inbound-keeper.ts'
import type { Secrets } from './secrets.ts'
import type { Snapshots } from './snapshots/api.ts'
import type { ServiceEventQuery, ServiceQuery } from './store-port.ts'

/** Who asks. Made by authentication, passed through unchanged. */
export interface Caller {
  readonly projectId: ProjectId
  readonly keyId: KeyId | null
  readonly scopes: readonly Scope[]
  /** The surface: `hypeman`, `native`, `mcp`, … */
  readonly via: string
  /** What the surface calls the operation, where that tells more than the engine's own word; for the audit trail. */
  readonly operation?: string
  /** Of a token: whom its issuer means, and the client that it was given to; for the audit trail. */
  readonly subject?: string
  readonly client?: string
}

/** What create needs; everything absent takes the default of engine/defaults.ts. */
export type CreateInstance = Pick<InstanceSpec, 'image'> &
  Partial<Omit<InstanceSpec, 'image'>> & {
    readonly annotations?: Readonly<Record<string, string>>
    /** Pull the image first if it isn't there (`berth run`); otherwise `image_not_found`. */
    readonly pull?: 'never' | 'missing'
    /**
     * Done once in the instance's life, at its first start: a script (`#!`), cloud-config, or MIME parts of these
     * (docs/user-data.md). Kept until then and never told; `USER_DATA_LIMIT_BYTES` long at most.
     */
    readonly userData?: string
    /** With `pull: 'missing'`: the secret that is the login of the image's registry. */
    readonly imageSecret?: string
    /** Put into the guest at its first start, before its application. Kept until then and never told. */
    readonly files?: readonly ConfigFile[]
  }

/** What may change on a living instance. */
export type InstanceChange = Partial<Pick<InstanceSpec, 'tags' | 'restart' | 'expiresAt' | 'env' | 'secrets' | 'healthChecks' | 'autoStandby'> & Pick<Instance, 'annotations'>>

export interface InstanceFilter {
  readonly phases?: readonly Phase[]
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
  /** Of the running ones only those that wait for their health checks, or only those that don't; other phases pass. */
  readonly running?: 'checking' | 'checked'
  readonly order?: 'newest-first' | 'oldest-first'
  readonly limit?: number
  readonly offset?: number
}

export interface WaitOptions {
  readonly until: readonly Phase[]
  readonly timeoutMs: number
  /** Ends the wait (as timed out); the operation goes on. */
  readonly signal?: AbortSignal
  /**
   * The record that the request returned. With it the wait is for that very request: a phase of `until` that
   * came and went in between counts, and so does an operation that failed before the wait began.
   */
  readonly since?: Instance
}

export interface WaitResult {
  readonly instance: Instance
  readonly timedOut: boolean
  /**
   * Why the operation that was waited for did not do what was asked: a standby that could not be saved (it runs
   * on), a restore that could not be resumed (its saved state is intact), a start that ended in `failed`.
   */
  readonly failure: { readonly code: ErrorCode; readonly message: string } | null
}

export interface Instances {
  /**
   * The same idempotency key gives the same instance. `idempotencyBasis` is what is compared in place of the request,
   * where a dialect makes the request anew each time (a lifetime becomes a time).
   */
  create(
    caller: Caller,
    request: CreateInstance,
    options?: { readonly idempotencyKey?: string; readonly idempotencyBasis?: unknown },
  ): Promise<Instance>
  get(caller: Caller, id: InstanceId): Promise<Instance>
  list(caller: Caller, filter?: InstanceFilter): Promise<readonly Instance[]>
  count(caller: Caller, filter?: InstanceFilter): Promise<number>
  /** `invalid_state` unless it is stopped, preempted or failed. May replace entrypoint and cmd. */
  start(caller: Caller, id: InstanceId, override?: Partial<Pick<InstanceSpec, 'entrypoint' | 'cmd'>>): Promise<Instance>
  /** From any phase with a VM, or from standby (drops the saved state) with `fromStandby`. */
  stop(caller: Caller, id: InstanceId, options?: { readonly fromStandby?: boolean; readonly graceMs?: number }): Promise<Instance>
  restart(caller: Caller, id: InstanceId): Promise<Instance>
  standby(caller: Caller, id: InstanceId): Promise<Instance>
  restore(caller: Caller, id: InstanceId): Promise<Instance>
  delete(caller: Caller, id: InstanceId, options?: { readonly graceful?: boolean }): Promise<Instance>
  /** Changes what may change on a living instance; annotations are added to those that it has. */
  update(caller: Caller, id: InstanceId, change: InstanceChange): Promise<Instance>
  /**
   * Changes its name, its size (`invalid_state` unless it is stopped, preempted or failed) and the ports that it publishes
   * (at once, also while it runs; `port_in_use`).
   */
  reshape(caller: Caller, id: InstanceId, shape: InstanceShape): Promise<Instance>
  /**
   * Makes its writable disk anew, from its image or from another one. `invalid_state` unless it is stopped, preempted or
   * failed; what was in standby has to be stopped first.
   */
  renewDisk(caller: Caller, id: InstanceId, options?: { readonly image?: string }): Promise<Instance>
  /** Resolves when the phase is one of `until`, when what was asked for has failed, or at the time limit. */
  wait(caller: Caller, id: InstanceId, options: WaitOptions): Promise<WaitResult>

  attachVolume(caller: Caller, id: InstanceId, mount: VolumeMount): Promise<Instance>
  detachVolume(caller: Caller, id: InstanceId, volumeId: VolumeId): Promise<Instance>

  /** With `wake` a standby instance is restored first; otherwise it is `invalid_state`. */
  exec(caller: Caller, id: InstanceId, request: ExecRequest, options?: { readonly wake?: boolean }): Promise<ExecSession>
  /** `wake` as with exec. */
  stat(caller: Caller, id: InstanceId, path: string, options: { readonly followLinks: boolean; readonly wake?: boolean }): Promise<PathInfo>
  copyIn(caller: Caller, id: InstanceId, root: string, items: AsyncIterable<CopyItem>): Promise<{ readonly bytesWritten: number }>
  copyOut(caller: Caller, id: InstanceId, path: string, options: { readonly followLinks: boolean }): Promise<AsyncIterable<CopyItem>>
  /** What stands in a directory; a link that leads to one is followed. */
  readDirectory(caller: Caller, id: InstanceId, path: string): Promise<Directory>
  logs(caller: Caller, id: InstanceId, query: LogQuery): Promise<AsyncIterable<LogRecord>>
  stats(caller: Caller, id: InstanceId): Promise<VmStats>
  /** What it used over the last hours, oldest first; the last is of now if it runs. */
  statsHistory(caller: Caller, id: InstanceId): Promise<readonly VmStats[]>
}

export interface EventFilter {
  readonly instanceIds?: readonly InstanceId[]
  readonly afterSeq?: number
  readonly kinds?: readonly InstanceEvent['kind'][]
  /** Of the steps only those into these phases; other kinds pass. */
  readonly toPhases?: readonly Phase[]
  readonly order?: 'oldest-first' | 'newest-first'
  readonly limit?: number
  readonly offset?: number
}

export interface Events {
  list(caller: Caller, filter?: EventFilter): Promise<readonly InstanceEvent[]>
  /** Past events after `afterSeq` (if given), then live ones, without gap or repeat, until aborted. */
  watch(caller: Caller, filter: EventFilter & { readonly signal: AbortSignal }): AsyncIterable<InstanceEvent>
}

export interface PullImage {
  readonly name: string
  readonly platform?: string
  readonly credentials?: { readonly username: string; readonly password: string } | { readonly token: string }
  readonly tags?: Readonly<Record<string, string>>
}

export interface Images {
  /** Queues the pull, or returns what is there (a failed one is tried again). */
  pull(caller: Caller, request: PullImage): Promise<Image>
  import(caller: Caller, name: string, archive: AsyncIterable<Uint8Array>): Promise<Image>
  /** By any spelling of the name, or by name@digest. The built-in image belongs to every project. */
  get(caller: Caller, name: string): Promise<Image>
  list(caller: Caller): Promise<readonly Image[]>
  /** `image_in_use` while an instance needs it. */
  delete(caller: Caller, name: string): Promise<void>
  /** Another name for the same content. */
  tag(caller: Caller, name: string, target: string): Promise<Image>
  /** Resolves when it is ready or failed, or at the time limit. */
  wait(caller: Caller, name: string, options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<Image>
}

export interface CreateVolume {
  readonly name: string
  readonly sizeBytes: number
  /** 1-64 of `[a-zA-Z0-9_.-]`; otherwise one is made. */
  readonly id?: string
  readonly tags?: Readonly<Record<string, string>>
  /** tar.gz that fills it. */
  readonly archive?: AsyncIterable<Uint8Array>
}

export interface Volumes {
  create(caller: Caller, request: CreateVolume): Promise<Volume>
  get(caller: Caller, id: VolumeId): Promise<Volume>
  list(caller: Caller, filter?: { readonly name?: string; readonly tags?: Readonly<Record<string, string>> }): Promise<readonly Volume[]>
  update(caller: Caller, id: VolumeId, change: { readonly name?: string }): Promise<Volume>
  /** `volume_in_use` while attached. */
  delete(caller: Caller, id: VolumeId): Promise<void>
}

export interface NewKey {
  readonly key: ApiKey
  /** 64 characters of [A-Za-z0-9]; told once. */
  readonly secret: string
}

export interface Keys {
  create(
    caller: Caller,
    request: {
      readonly name: string
      readonly scopes: readonly Scope[]
      /** The only surfaces that take it; null and absent is all. */
      readonly audience?: readonly Surface[] | null
      readonly projectId?: ProjectId
      readonly expiresAt?: TimestampMs
    },
  ): Promise<NewKey>
  list(caller: Caller): Promise<readonly ApiKey[]>
  delete(caller: Caller, id: KeyId): Promise<void>
  /** The caller a secret stands for, or null. Throws `unauthenticated` where the key is not for that surface. */
  authenticate(secret: string, via: string): Promise<Caller | null>
}

export interface NewSshKey {
  readonly key: SshKey
  /** PEM; told once and kept nowhere. null if the public key was given. */
  readonly privateKey: string | null
}

/** Public keys of a project, which dialects put into the instances that name them. */
export interface SshKeys {
  /** Without a public key a pair is made. `name_conflict` if the project has one of that name. */
  create(caller: Caller, request: { readonly name: string; readonly publicKey?: string }): Promise<NewSshKey>
  /** Oldest first. */
  list(caller: Caller): Promise<readonly SshKey[]>
  delete(caller: Caller, id: SshKeyId): Promise<void>
}

export interface Projects {
  create(caller: Caller, request: { readonly name: string; readonly guestToGuest?: boolean }): Promise<Project>
  get(caller: Caller, id: ProjectId): Promise<Project>
  list(caller: Caller): Promise<readonly Project[]>
  update(caller: Caller, id: ProjectId, change: { readonly name?: string; readonly guestToGuest?: boolean }): Promise<Project>
}

/** A deployment as it is asked for; ids and numbers are given by the engine. */
export interface NewDeployment {
  readonly sets: readonly Omit<ReplicaSet, 'id'>[]
  /** Guest ports that are to be reached from outside. */
  readonly ports: readonly number[]
  /** Opaque; kept for the dialect. */
  readonly definition: unknown
}

export interface CreateService {
  readonly appId: string
  readonly name: string
  readonly kind: string
  readonly deployment: NewDeployment
  readonly deleteAfterMs: number | null
  readonly deleteAfterSleepMs: number | null
}

export interface Deployed {
  readonly service: Service
  readonly deployment: Deployment
}

export type ServiceFilter = Omit<ServiceQuery, 'projectId'>

/** Replicas kept at their number. Like instances: a wish is recorded, then worked on. */
export interface Services {
  createApp(caller: Caller, request: { readonly name: string; readonly removeWhenEmpty: boolean }): Promise<App>
  updateApp(caller: Caller, id: string, change: { readonly name?: string; readonly removeWhenEmpty?: boolean }): Promise<App>
  /** Deletes its services as well. */
  deleteApp(caller: Caller, id: string): Promise<App>
  create(caller: Caller, request: CreateService): Promise<Deployed>
  /** A new deployment beside the one that serves; it takes over once all of its replicas run. */
  deploy(
    caller: Caller,
    id: string,
    deployment: NewDeployment,
    change?: { readonly deleteAfterMs?: number | null; readonly deleteAfterSleepMs?: number | null },
  ): Promise<Deployed>
  /** Replicas by region (`*` is every other one), over what the deployment says; null takes that back. */
  scale(caller: Caller, id: string, scale: Readonly<Record<string, number>> | null): Promise<Service>
  /** Ends its replicas and keeps the service. */
  pause(caller: Caller, id: string): Promise<Service>
  resume(caller: Caller, id: string): Promise<Service>
  /** Ends its deep sleep: replicas are made anew. False if it isn't in one. The exec scope is enough. */
  wake(caller: Caller, id: string): Promise<boolean>
  delete(caller: Caller, id: string): Promise<Service>
  /** Takes back a deployment that does not serve yet. */
  cancelDeployment(caller: Caller, id: string): Promise<Deployment>
  get<K extends ServiceRecordKind>(caller: Caller, kind: K, id: string): Promise<ServiceRecords[K]>
  list<K extends ServiceRecordKind>(caller: Caller, kind: K, filter?: ServiceFilter): Promise<readonly ServiceRecords[K][]>
  count(caller: Caller, kind: ServiceRecordKind, filter?: ServiceFilter): Promise<number>
  events(caller: Caller, query: Omit<ServiceEventQuery, 'projectId'>): Promise<readonly ServiceEvent[]>
}

export interface ResourceLine {
  readonly kind: 'cpu' | 'memory' | 'disk' | 'network'
  readonly capacity: number
  /** capacity × over-commit */
  readonly limit: number
  readonly allocated: number
  readonly overcommit: number
}

export interface Resources {
  readonly host: HostFacts
  readonly lines: readonly ResourceLine[]
  readonly allocations: readonly {
    readonly instanceId: InstanceId
    readonly name: string
    readonly vcpus: number
    readonly memoryBytes: number
    readonly diskBytes: number
    readonly downloadBytesPerSecond: number
    readonly uploadBytesPerSecond: number
  }[]
}

export interface Engine {
  readonly instances: Instances
  readonly events: Events
  readonly images: Images
  readonly volumes: Volumes
  readonly snapshots: Snapshots
  readonly keys: Keys
  readonly sshKeys: SshKeys
  readonly secrets: Secrets
  readonly fileSystems: FileSystems
  readonly firewalls: Firewalls
  readonly projects: Projects
  readonly services: Services
  readonly statsFeed: StatsFeed
  readonly autoStandbys: AutoStandbys
  readonly audit: Audit
  readonly market: Market
  /** How many instances of each type each region can take. */
  capacity(caller: Caller): Promise<readonly Capacity[]>
  resources(caller: Caller): Promise<Resources>
  devices(caller: Caller): Promise<readonly HostDevice[]>
  /** Stops taking work, lets operations in flight reach a safe point; VMs run on. */
  close(): Promise<void>
}

export type { ErrorDetails }
