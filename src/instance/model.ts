/**
 * What an instance is: its specification (what was asked for), and its record (what became of it).
 * Plain, readonly data; the store keeps it, the engine changes it, dialects only present it.
 */
import type { AutoStandby } from './auto-standby.ts'
import type { Health, HealthCheck } from './health.ts'
import type { DesiredState, Phase } from './phase.ts'

declare const brand: unique symbol
type Branded<T, Name extends string> = T & { readonly [brand]: Name }

/** A lower-case UUID v4; every dialect has its own spelling of it (ids.ts). */
export type InstanceId = Branded<string, 'InstanceId'>
export type ProjectId = Branded<string, 'ProjectId'>
/** A UUID v4, or a name that the client chose (Hypeman allows that). */
export type VolumeId = Branded<string, 'VolumeId'>
export type KeyId = Branded<string, 'KeyId'>
export type SshKeyId = Branded<string, 'SshKeyId'>
/** A UUID v4. */
export type FileSystemId = Branded<string, 'FileSystemId'>
export type FirewallRulesetId = Branded<string, 'FirewallRulesetId'>
export type HostId = Branded<string, 'HostId'>
export type BidId = Branded<string, 'BidId'>
export type ReservationId = Branded<string, 'ReservationId'>
export type SnapshotId = Branded<string, 'SnapshotId'>
/** `sha256:` + 64 hex digits: the OCI manifest that an image's root was made from. */
export type ImageDigest = Branded<string, 'ImageDigest'>

/** Time is kept as Unix milliseconds (fractions allowed); dialects format it. */
export type TimestampMs = number

export type VolumeMode = 'rw' | 'ro' | 'overlay'

export interface VolumeMount {
  readonly volumeId: VolumeId
  /** Absolute path in the guest. */
  readonly path: string
  /** `rw` is exclusive; `ro` is shared; `overlay` is a shared base with writes kept per instance. */
  readonly mode: VolumeMode
  /** Size of the writable layer; only with `overlay`. */
  readonly overlayBytes: number | null
}

/** A shared file system in an instance. */
export interface FileSystemMount {
  readonly fileSystemId: FileSystemId
  /** Absolute path in the guest. */
  readonly path: string
}

export type PortProtocol = 'tcp' | 'udp'

export interface PortMapping {
  readonly hostPort: number
  readonly guestPort: number
  readonly protocol: PortProtocol
}

export interface NetworkSpec {
  readonly enabled: boolean
  /** Bytes a second into the guest; null is unlimited. */
  readonly downloadBytesPerSecond: number | null
  readonly uploadBytesPerSecond: number | null
  readonly ports: readonly PortMapping[]
}

export type RestartPolicy =
  | { readonly kind: 'never' }
  | {
      readonly kind: 'always' | 'on-failure'
      readonly backoffMs: number
      /** 0 is without limit. */
      readonly maxAttempts: number
      /** After this long in `running` the attempts count from 0 again. */
      readonly stableAfterMs: number
    }

/** Which region an instance belongs to, and what it counts as there; ids of the catalogue. */
export interface Place {
  readonly region: string
  /** null: nothing of the catalogue. */
  readonly type: string | null
  /** Its machines only pretend. */
  readonly isSimulated: boolean
}

/** What a client asked for, defaults applied. Does not change but for volumes, tags and env. */
export interface InstanceSpec {
  /** Unique among the living instances of a project. */
  readonly name: string
  /** The image as the client wrote it; echoed. */
  readonly image: string
  readonly vcpus: number
  readonly memoryBytes: number
  /** Memory that may be added while running; counted against the host like memory. 0 is none. */
  readonly hotplugBytes: number
  /** The limit of what the instance can write to its root. */
  readonly overlayBytes: number
  /** Bytes a second of disk I/O; null is unlimited. */
  readonly diskIoBytesPerSecond: number | null
  readonly env: Readonly<Record<string, string>>
  /** Replaces the image's entrypoint and drops its command; empty is none; null keeps it. */
  readonly entrypoint: readonly string[] | null
  /** Replaces the image's command; null or empty keeps it (command.ts). */
  readonly cmd: readonly string[] | null
  /** Replaces the image's user and working directory; null keeps them. */
  readonly user: string | null
  readonly workingDir: string | null
  readonly hostname: string | null
  readonly network: NetworkSpec
  readonly volumes: readonly VolumeMount[]
  readonly fileSystems: readonly FileSystemMount[]
  /** Only what these and the project's global rules let in reaches the instance; null is no firewall. */
  readonly firewallRulesets: readonly FirewallRulesetId[] | null
  readonly restart: RestartPolicy
  /** What happens after the host has restarted: `restart` brings it back if it was to run. */
  readonly afterHostRestart: 'restart' | 'stop'
  readonly tags: Readonly<Record<string, string>>
  /** Seconds between SIGTERM and SIGKILL on stop. */
  readonly stopGraceMs: number
  /** Removed by itself once it has stopped (`berth run --rm`). */
  readonly removeWhenStopped: boolean
  /** Deleted at this time; null is never. */
  readonly expiresAt: TimestampMs | null
  /** Public keys (one line each, ssh-key.ts) that open a shell in it over SSH; none is no SSH. */
  readonly sshKeys: readonly string[]
  /** Absent and null: on this machine, as nothing of the catalogue. */
  readonly place?: Place | null
  /** Names of secrets of the project, whose values it has as variables of the same names; absent is none. */
  readonly secrets?: readonly string[]
  /** Variables in whose values `{{ secret.NAME }}` stands for the value of that secret; absent is none. */
  readonly secretEnv?: Readonly<Record<string, string>>
  /** Variables in whose values names stand for other variables, secrets, and what is known at the start (derived-text.ts); absent is none. */
  readonly derivedEnv?: Readonly<Record<string, string>>
  /** What its application is asked to know that it serves; absent and empty is nothing. */
  readonly healthChecks?: readonly HealthCheck[]
  /** Goes to standby once nobody has used it for this long, and wakes for who does; absent and null is never. */
  readonly idleAfterMs?: number | null
  /** Goes to standby once nobody has had a connection to it for a while, and is woken by a restore alone; absent and null is never. */
  readonly autoStandby?: AutoStandby | null
}

/** How the application of an instance ended. */
export interface AppExit {
  /** 0-255; 128 + signal when a signal ended it. */
  readonly code: number
  /** Signal number, or null. */
  readonly signal: number | null
  /** A word for a person: `exited`, `out of memory`, `guest panicked`, `powered off`, `VMM died`. */
  readonly message: string
}

export interface NetworkAddress {
  /** Dotted IPv4; one for life. */
  readonly ip: string
  /** Lower-case, colon-separated; one for life. */
  readonly mac: string
  /** The network's own name on the wire; always `default`. */
  readonly network: string
}

/** The record of an instance: what the store keeps. */
export interface Instance {
  readonly id: InstanceId
  readonly projectId: ProjectId
  readonly spec: InstanceSpec
  /** The digest that `spec.image` meant when the instance was placed; null before that. */
  readonly imageDigest: ImageDigest | null
  readonly desired: DesiredState
  readonly phase: Phase
  readonly phaseSince: TimestampMs
  /** One sentence on why it is in this phase, where that is not plain; null otherwise. */
  readonly reason: string | null
  /** The error code (errors.ts) behind `failed`; null otherwise. */
  readonly errorCode: string | null
  readonly hostId: HostId | null
  readonly address: NetworkAddress | null
  /** The snapshot whose disks (and memory) it is to get before it goes on; null once it has them, and for all others. */
  readonly basis: SnapshotId | null
  /** Counts VMM lives; every Host call carries it, and a call of an older generation does nothing. */
  readonly generation: number
  readonly exit: AppExit | null
  /** What its health checks say; absent and null where it has none, or has not run yet. */
  readonly health?: Health | null
  readonly restartAttempts: number
  readonly createdAt: TimestampMs
  /** Kept through stop and standby; updated by start and restore. */
  readonly startedAt: TimestampMs | null
  /** Set by stop and by standby; never cleared. */
  readonly stoppedAt: TimestampMs | null
  readonly deletedAt: TimestampMs | null
  /** Which surface made it: `hypeman`, `native`, … */
  readonly origin: string
  /** Opaque to the engine; a dialect keeps here what only its wire knows (service ids, …). */
  readonly annotations: Readonly<Record<string, string>>
}

/** One step of an instance's life. The list of them is the timeline that every dialect presents. */
export interface InstanceEvent {
  /** Grows by one with each event of the whole installation; the cursor for watching. */
  readonly seq: number
  readonly instanceId: InstanceId
  readonly projectId: ProjectId
  readonly at: TimestampMs
  /** `phase` for a step; others (`requested`, `attached`, `exec`, …) are notes that change no phase. */
  readonly kind: 'phase' | 'note'
  readonly from: Phase | null
  readonly to: Phase
  readonly reason: string | null
}

export type ImageStatus = 'pending' | 'pulling' | 'converting' | 'ready' | 'failed'

/** What an OCI image config says that matters for running it. */
export interface ImageConfig {
  readonly entrypoint: readonly string[]
  readonly cmd: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly workingDir: string
  readonly user: string
  readonly stopSignal: string | null
  readonly exposedPorts: readonly string[]
}

/** A name that a project knows, and the content it stands for. */
export interface Image {
  readonly projectId: ProjectId
  /** Normalised: `docker.io/library/alpine:latest`, or `…@sha256:…`. */
  readonly name: string
  readonly status: ImageStatus
  readonly digest: ImageDigest | null
  readonly sizeBytes: number | null
  readonly config: ImageConfig | null
  readonly error: string | null
  readonly queuePosition: number | null
  /** 0-1 while pulling, where the registry tells sizes; null otherwise. */
  readonly progress: number | null
  readonly tags: Readonly<Record<string, string>>
  readonly createdAt: TimestampMs
  readonly updatedAt: TimestampMs
}

export interface Volume {
  readonly id: VolumeId
  readonly projectId: ProjectId
  readonly name: string
  readonly sizeBytes: number
  readonly tags: Readonly<Record<string, string>>
  readonly status: 'creating' | 'ready' | 'deleting' | 'failed'
  readonly error: string | null
  readonly createdAt: TimestampMs
  readonly attachments: readonly VolumeAttachment[]
}

export interface VolumeAttachment {
  readonly instanceId: InstanceId
  readonly path: string
  readonly mode: VolumeMode
}

/** Files that several instances of a project share, as long as nobody deletes them. */
export interface FileSystem {
  readonly id: FileSystemId
  readonly projectId: ProjectId
  /** Unique in its project. */
  readonly name: string
  /** Id of the catalogue's region; instances of other regions can't mount it. */
  readonly region: string
  /** The most that its files may take. */
  readonly sizeBytes: number
  readonly status: 'creating' | 'ready' | 'deleting'
  readonly createdAt: TimestampMs
  /** The key that made it; null if nobody's. */
  readonly createdBy: KeyId | null
}

export interface FirewallRule {
  readonly protocol: 'tcp' | 'udp' | 'icmp' | 'all'
  /** First and last; null with ICMP, and where every port is meant. */
  readonly ports: readonly [number, number] | null
  /** CIDR */
  readonly source: string
  readonly description: string
}

/** Rules with a name, for the instances that are made with it. */
export interface FirewallRuleset {
  readonly id: FirewallRulesetId
  readonly projectId: ProjectId
  readonly name: string
  readonly region: string
  readonly rules: readonly FirewallRule[]
  readonly createdAt: TimestampMs
}

export interface Project {
  readonly id: ProjectId
  readonly name: string
  /** Whether instances of this project may reach each other over the network. */
  readonly guestToGuest: boolean
  readonly createdAt: TimestampMs
}

export const SCOPES = ['read', 'write', 'exec', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

/** Where a key may be used; `native` is the command line and the dashboard. */
export const SURFACES = ['native', 'hypeman', 'koyeb', 'lambda', 'mithril', 'mcp'] as const
export type Surface = (typeof SURFACES)[number]

/** A value that instances of a project are given in a variable, and that nothing ever tells. */
export interface Secret {
  readonly projectId: ProjectId
  /** Unique in its project; the variable has the same name. */
  readonly name: string
  /** The value is the password of this login, and never a variable; absent and null is a value for variables. */
  readonly registry?: RegistryLogin | null
  readonly createdAt: TimestampMs
  readonly updatedAt: TimestampMs
}

/** Who a registry of images knows. */
export interface RegistryLogin {
  /** What the dialect that made it calls it; opaque. */
  readonly kind: string
  /** As image names have it: `docker.io`, `localhost:5000`. Its password goes nowhere else. */
  readonly host: string
  readonly username: string
}

/** A public key that instances can be entered with; whoever made it holds the private part. */
export interface SshKey {
  readonly id: SshKeyId
  readonly projectId: ProjectId
  /** Unique in its project. */
  readonly name: string
  /** One line of an `authorized_keys` file. */
  readonly publicKey: string
  readonly createdAt: TimestampMs
}

/** An API key; its secret is known only when it is made, then kept as a hash. */
export interface ApiKey {
  readonly id: KeyId
  readonly projectId: ProjectId
  readonly name: string
  readonly scopes: readonly Scope[]
  /** The only surfaces that take it; null is all of them. */
  readonly audience: readonly Surface[] | null
  readonly createdAt: TimestampMs
  readonly lastUsedAt: TimestampMs | null
  readonly expiresAt: TimestampMs | null
}
