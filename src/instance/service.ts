/**
 * Services: replicas of one description, kept at their number.
 *
 *   App 1─n Service 1─n Deployment (never changes its template) 1─n ReplicaSet (one per region) 1─n slot 1─n Instance
 *
 * A slot (replica index) has at most one living instance; one that dies is replaced by a new instance in the same
 * slot. An instance knows its place by its annotations (`ANNOTATION`). Ids are lower-case UUID v4.
 */
import type { ConfigFile } from './config-file.ts'
import type { InstanceId, InstanceSpec, ProjectId, TimestampMs, VolumeMount } from './model.ts'

/** What an instance of a service carries in its annotations. */
export const ANNOTATION = {
  app: 'app_id',
  service: 'service_id',
  deployment: 'deployment_id',
  set: 'regional_deployment_id',
  index: 'replica_index',
  region: 'region',
  type: 'instance_type',
} as const

export interface App {
  readonly id: string
  readonly projectId: ProjectId
  /** Unique among the living apps of a project. */
  readonly name: string
  readonly removeWhenEmpty: boolean
  readonly createdAt: TimestampMs
  readonly updatedAt: TimestampMs
  readonly deletedAt: TimestampMs | null
}

export type ServiceWish = 'running' | 'paused' | 'deleted'

export interface Service {
  readonly id: string
  readonly projectId: ProjectId
  readonly appId: string
  /** Unique among the living services of an app. */
  readonly name: string
  /** What the dialect that made it calls its kind; opaque. */
  readonly kind: string
  readonly desired: ServiceWish
  /** Grows with each change. */
  readonly version: number
  /** The one that serves; null before the first has come up. */
  readonly activeDeploymentId: string | null
  readonly latestDeploymentId: string
  /** Replicas by region (`*` is every other region) that override the deployment's own number. */
  readonly scale: Readonly<Record<string, number>> | null
  /** Deleted this long after it was made; null is never. */
  readonly deleteAfterMs: number | null
  /** Deleted after it slept for this long; null is never. */
  readonly deleteAfterSleepMs: number | null
  /** The surface that made it; its instances have the same origin. */
  readonly origin: string
  readonly createdAt: TimestampMs
  readonly updatedAt: TimestampMs
  readonly pausedAt: TimestampMs | null
  readonly resumedAt: TimestampMs | null
  readonly deletedAt: TimestampMs | null
}

export type DeploymentState =
  | 'pending'
  | 'starting'
  | 'healthy'
  | 'degraded'
  | 'unhealthy'
  | 'sleeping'
  | 'stopping'
  | 'stopped'
  | 'failed'
  | 'canceled'

/** What a replica may be told about itself in its variables. */
export const REPLICA_FACTS = ['app-id', 'app-name', 'service-id', 'service-name', 'set-id', 'replica-index', 'project-id', 'project-name', 'instance-id', 'host-id'] as const
export type ReplicaFact = (typeof REPLICA_FACTS)[number]

/** A volume of one replica of a set; nobody else has it while that lives. */
export interface ReplicaVolume extends VolumeMount {
  readonly replicaIndex: number
}

/** What each replica is made from. */
export type ReplicaTemplate = Pick<InstanceSpec, 'image' | 'vcpus' | 'memoryBytes' | 'overlayBytes' | 'env' | 'secretEnv' | 'derivedEnv' | 'entrypoint' | 'cmd' | 'place' | 'healthChecks'> & {
  /** Variables that tell each replica what it is; those of `env`, `secretEnv` and `derivedEnv` count before them. */
  readonly factEnv?: Readonly<Record<string, ReplicaFact>>
  readonly volumes?: readonly ReplicaVolume[]
  /** The secret that is the login of the image's registry; absent is none. */
  readonly imageSecret?: string
  /** What each replica finds in its file system. */
  readonly files?: readonly ConfigFile[]
}

/** How many replicas a set has follows from what they use: the average over them is kept at each target. */
export interface Autoscale {
  readonly min: number
  readonly max: number
  /** Of its CPUs, in percent; null is no target. */
  readonly cpuPercent: number | null
  /** Of its memory, in percent. */
  readonly memoryPercent: number | null
  /** Open connections to its published ports. */
  readonly connections: number | null
}

export interface ReplicaSet {
  readonly id: string
  readonly region: string
  /** The type of instance, as the dialect calls it. */
  readonly type: string
  readonly replicas: number
  /** Sleeps (standby) after it was idle for this long; null is never. */
  readonly idleMs: number | null
  /** Ends after it was idle for this long, and is made anew for who comes; absent and null is never. */
  readonly deepIdleMs?: number | null
  /** Absent: as many as `replicas` says. */
  readonly autoscale?: Autoscale
  readonly template: ReplicaTemplate
}

/** What is known of the replicas that died in one slot, since one of them lived for long. */
export interface SlotDeaths {
  readonly count: number
  readonly lastAt: TimestampMs
  /** The newest of them, so that none is counted twice. */
  readonly instanceId: InstanceId
}

export interface Deployment {
  readonly id: string
  readonly projectId: ProjectId
  readonly appId: string
  readonly serviceId: string
  readonly version: number
  readonly state: DeploymentState
  /** One sentence on why it is in this state, where that is not plain. */
  readonly message: string | null
  readonly sets: readonly ReplicaSet[]
  /** Guest ports that are published, with the host's port that leads to any replica. */
  readonly ports: readonly { readonly guestPort: number; readonly publicPort: number | null }[]
  /** Replicas that died, by slot (`set/index`); what the pause before the next one follows from. */
  readonly deaths: Readonly<Record<string, SlotDeaths>>
  /** Sets in deep sleep: none of their replicas is there until somebody wants one; since when they sleep. Absent is none. */
  readonly dormant?: Readonly<Record<string, TimestampMs>>
  /** Replicas by set, where autoscaling has decided about them. */
  readonly autoscaled?: Readonly<Record<string, number>>
  /** As the client wrote it; the dialect presents it again. */
  readonly definition: unknown
  readonly createdAt: TimestampMs
  readonly updatedAt: TimestampMs
  readonly startedAt: TimestampMs | null
  /** First time that all replicas ran. */
  readonly succeededAt: TimestampMs | null
  readonly endedAt: TimestampMs | null
}

export interface ServiceRecords {
  readonly app: App
  readonly service: Service
  readonly deployment: Deployment
}
export type ServiceRecordKind = keyof ServiceRecords

/** A line in the story of an app, a service, a deployment or one region's part of it. */
export interface ServiceEvent {
  readonly seq: number
  readonly projectId: ProjectId
  readonly kind: ServiceRecordKind | 'set'
  readonly subjectId: string
  readonly at: TimestampMs
  /** Upper-case word: `CREATED`, `HEALTHY`, … */
  readonly type: string
  readonly message: string
}
