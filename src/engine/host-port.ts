/**
 * The Host port: one machine that runs instances, as the engine sees it.
 *
 * Invariants every implementation holds:
 * - Everything that crosses is plain data or a byte stream, so that the same interface can run over a
 *   message bus. A host knows no projects, prices or dialects.
 * - Every lifecycle call is idempotent by (instanceId, generation): the same call again finds the work
 *   done and says so; a call with an older generation than the host has seen does nothing and throws
 *   `invalid_state`.
 * - VMs outlive the process that started them: a new Host object over the same directory finds them.
 * - Only catalogue errors (instance/errors.ts) are thrown.
 */
import type {
  AppExit,
  FileSystemId,
  FileSystemMount,
  FirewallRule,
  HostId,
  ImageConfig,
  ImageDigest,
  InstanceId,
  NetworkAddress,
  PortMapping,
  TimestampMs,
  VolumeId,
  VolumeMode,
} from '../instance/model.ts'
import type { InboundConnection } from '../instance/auto-standby.ts'
import type { HealthProbe, ProbeResult } from '../instance/health.ts'
import type { HostSnapshots } from './host-snapshots.ts'

export interface Host extends HostSnapshots {
  readonly id: HostId

  /** What the machine is and has. Cheap after the first call. */
  facts(): Promise<HostFacts>
  /** Every VM the host knows, running or not: what reconciliation starts from. */
  inventory(): Promise<readonly HostVm[]>
  /** What happens without being asked for. Subscribers get what happens after they subscribe. */
  onEvent(listener: (event: HostEvent) => void): () => void

  /** Makes disks, tap and cgroup. The image must be there. */
  prepare(vm: VmSpec): Promise<void>
  /**
   * Boots, waits for the agent, configures the guest and starts the application. Implies `prepare`.
   * `firstBoot` comes until a start has succeeded; its script runs at most once all the same.
   */
  start(vm: VmSpec, firstBoot?: FirstBoot | null): Promise<VmStarted>
  /** SIGTERM to the application, grace, SIGKILL, power off. Drops a saved state. Disks stay. */
  stop(vm: VmRef, options: { readonly graceMs: number }): Promise<AppExit | null>
  /** Pauses, saves memory and devices, ends the VMM. If it throws, the VM runs on as before. */
  suspend(vm: VmRef): Promise<{ readonly savedBytes: number }>
  /** Continues what `suspend` saved; the saved state is gone afterwards. If it throws, it is still there. */
  resume(vm: VmSpec): Promise<VmStarted>
  /** Ends the VMM if there is one and removes all that the instance left: disks, tap, rules, cgroup, logs. */
  destroy(vm: VmRef): Promise<void>

  /** Plugs a volume into the running guest and mounts it. The same mount again does nothing. */
  attachVolume(vm: VmRef, mount: VmVolume): Promise<void>
  /** Unmounts and unplugs; `volume_in_use` if the guest holds files open in it. */
  detachVolume(vm: VmRef, volumeId: VolumeId): Promise<void>

  /** Serves a file system to the running guest and mounts it. The same mount again does nothing. */
  attachFileSystem(vm: VmRef, mount: FileSystemMount): Promise<void>
  /** Unmounts it; `volume_in_use` if the guest holds files open in it. */
  detachFileSystem(vm: VmRef, id: FileSystemId): Promise<void>

  exec(vm: VmRef, request: ExecRequest): Promise<ExecSession>
  stat(vm: VmRef, path: string, options: { readonly followLinks: boolean }): Promise<PathInfo>
  /** Writes a tree below `root`; each file arrives whole (temporary name, then rename) or not at all. */
  copyIn(vm: VmRef, root: string, items: AsyncIterable<CopyItem>): Promise<{ readonly bytesWritten: number }>
  /** Reads a file or tree. A path that can't be read becomes an `error` item; the walk goes on. */
  copyOut(vm: VmRef, path: string, options: CopyOutOptions): AsyncIterable<CopyItem>
  /** Lines already there (the last `tail` of them; null is all), then, with `follow`, new ones until aborted. */
  logs(vm: VmRef, query: LogQuery): AsyncIterable<LogRecord>
  stats(vm: VmRef): Promise<VmStats>
  /** The TCP connections that are open to guests of this host now; null where it can't know. */
  inbound(): Promise<readonly InboundConnection[] | null>
  /** Asks the application once whether it serves, from outside of the guest. That it doesn't is a result. */
  probe(vm: VmRef, probe: Exclude<HealthProbe, { readonly kind: 'exec' }>, options: { readonly timeoutMs: number }): Promise<ProbeResult>

  /** Pulls, unpacks and converts; the result is content-addressed. `onProgress` may be called often. */
  pullImage(request: PullRequest): Promise<HostImage>
  /** Reads an OCI archive or a `docker save` tar from a byte stream. */
  importImage(archive: AsyncIterable<Uint8Array>, onProgress: (progress: PullProgress) => void): Promise<HostImage>
  images(): Promise<readonly HostImage[]>
  removeImage(digest: ImageDigest): Promise<void>

  createVolume(volume: { readonly id: VolumeId; readonly sizeBytes: number }): Promise<void>
  /** Fills a new volume from a tar.gz stream; refuses entries that escape, and more than `sizeBytes`. */
  importVolume(
    volume: { readonly id: VolumeId; readonly sizeBytes: number },
    archive: AsyncIterable<Uint8Array>,
  ): Promise<{ readonly sizeBytes: number }>
  deleteVolume(id: VolumeId): Promise<void>

  /** A file system that instances of this host can mount at the same time. `not_supported`, with the reason, where it can't. */
  createFileSystem(fileSystem: { readonly id: FileSystemId; readonly sizeBytes: number }): Promise<void>
  /** `volume_in_use` while an instance holds it; one that isn't there is gone already. */
  deleteFileSystem(id: FileSystemId): Promise<void>
  /** Makes it larger; one that is as large already stays as it is. Guests that have it mounted wait meanwhile. */
  growFileSystem(fileSystem: { readonly id: FileSystemId; readonly sizeBytes: number }): Promise<void>
  /** Bytes that its files take. */
  fileSystemUsedBytes(id: FileSystemId): Promise<number>

  /** Replaces what may reach an instance, at once; null takes the firewall away. One without a VM gets it at its start. */
  setFirewall(vm: VmRef, firewall: readonly FirewallRule[] | null): Promise<void>
  /** Replaces the ports that an instance publishes, at once; `port_in_use`. One without a VM gets them at its start. */
  setPorts(vm: VmRef, ports: readonly PortMapping[]): Promise<void>

  /** Lets go of the VMs (they run on) and closes sockets. */
  close(): Promise<void>
}

export interface HostFacts {
  readonly hostId: HostId
  readonly os: 'linux'
  readonly arch: 'x86_64' | 'aarch64'
  readonly hypervisor: string
  readonly accelerator: 'kvm' | 'tcg' | 'simulated'
  /** Why this accelerator, in one sentence. */
  readonly acceleratorReason: string
  readonly cpus: number
  readonly memoryBytes: number
  readonly diskBytes: number
  readonly diskFreeBytes: number
  readonly network: {
    readonly mode: 'bridge' | 'user' | 'none'
    /** CIDR that instance addresses come from. */
    readonly subnet: string
    readonly gateway: string
    readonly dns: readonly string[]
  }
  readonly diskUse: {
    readonly imagesBytes: number
    readonly imageCacheBytes: number
    readonly volumesBytes: number
    readonly overlaysBytes: number
  }
  readonly devices: readonly HostDevice[]
  /** Sizes of VM that start from a guest which has booted already, and those that are about to. */
  readonly templates: readonly HostTemplate[]
  /** Sentences that an operator should read (no cgroups, no root, …). */
  readonly warnings: readonly string[]
}

export interface HostTemplate {
  readonly vcpus: number
  readonly memoryBytes: number
  readonly state: 'making' | 'ready'
  /** Whether it is of one image (with a disk of one size), which is mounted in it; otherwise it serves all. */
  readonly ofImage: boolean
  /** VMs of it that wait to be an instance. */
  readonly waiting: number
}

export interface HostDevice {
  /** `0000:a2:00.0` */
  readonly pciAddress: string
  readonly vendorId: string
  readonly deviceId: string
  readonly vendorName: string | null
  readonly deviceName: string | null
  readonly iommuGroup: number
  readonly driver: string | null
  readonly kind: 'gpu' | 'pci'
}

/** Which VM a call means. */
export interface VmRef {
  readonly instanceId: InstanceId
  readonly generation: number
}

/** All a host needs to know to run an instance. */
export interface VmSpec extends VmRef {
  readonly name: string
  readonly hostname: string
  readonly image: ImageDigest
  readonly imageConfig: ImageConfig
  readonly vcpus: number
  readonly memoryBytes: number
  readonly overlayBytes: number
  readonly diskIoBytesPerSecond: number | null
  /** argv after the image's and the instance's wishes were combined; never empty. */
  readonly command: readonly string[]
  /** Environment after the image's and the instance's were combined. */
  readonly env: Readonly<Record<string, string>>
  readonly workingDir: string
  /** `name`, `uid`, `name:group` or `uid:gid`; resolved in the guest. */
  readonly user: string
  readonly network: VmNetwork | null
  readonly volumes: readonly VmVolume[]
  /** Public keys that open a shell over SSH; none is no SSH. */
  readonly sshKeys: readonly string[]
  /** Shared file systems of this host. Absent in what an earlier Berth wrote. */
  readonly fileSystems?: readonly FileSystemMount[]
}

/** What a host may keep of it: not the variables, of which some are secrets. Whoever starts it brings them again. */
export type KeptSpec = Omit<VmSpec, 'env'>

/**
 * What is done once in an instance's life, at its first start. Not a part of `VmSpec`, since it may hold secrets: no
 * record of a host keeps it.
 */
export interface FirstBoot {
  /** Where the image's own init runs a cloud-init of its own: the NoCloud seed that it looks for, and nothing else. */
  readonly seed: readonly GuestFile[]
  /** For every other image: what is there before the application starts, */
  readonly files: readonly GuestFile[]
  /** and a program among them that runs once after it, as root, with its output in the instance's log. */
  readonly script: string | null
  /** For whichever image: what is there before its application starts, over all of the above. */
  readonly configFiles: readonly GuestFile[]
}

export interface GuestFile {
  /** Absolute; its directories are made. */
  readonly path: string
  readonly mode: number
  readonly data: Uint8Array
}

export interface VmNetwork extends NetworkAddress {
  readonly downloadBytesPerSecond: number | null
  readonly uploadBytesPerSecond: number | null
  readonly ports: readonly PortMapping[]
  /** Guests with the same non-null group may reach each other; null is alone. */
  readonly peerGroup: string | null
  /** All that may reach it, beside answers; null or absent is no firewall. */
  readonly firewall?: readonly FirewallRule[] | null
}

export interface VmVolume {
  readonly volumeId: VolumeId
  readonly path: string
  readonly mode: VolumeMode
  readonly overlayBytes: number | null
}

export interface VmStarted {
  readonly startedAt: TimestampMs
  /** How it came up: a cold boot, or a template's clone, or a saved state. */
  readonly how: 'cold' | 'template' | 'pool' | 'restored' | 'already-running'
}

export interface HostVm extends VmRef {
  /**
   * `prepared`: its disks are there and no VMM has run in this generation, or nothing can be known of how it
   * ended (the machine was restarted). `suspended` has a saved state; it keeps the generation it was saved under.
   */
  readonly status: 'prepared' | 'running' | 'suspended' | 'exited'
  /** With `exited`: how, as far as it can be known; null is the same as `prepared`. */
  readonly exit: AppExit | null
}

export type HostEvent =
  /** The application ended, or the guest or the VMM did; the VMM is gone when this is told. */
  | { readonly kind: 'exited'; readonly vm: VmRef; readonly exit: AppExit }
  /** The agent stopped answering, or answers again. */
  | { readonly kind: 'agent'; readonly vm: VmRef; readonly reachable: boolean; readonly reason: string | null }
  /** A line for the instance's own record of what the server did. */
  | { readonly kind: 'note'; readonly vm: VmRef; readonly text: string }

export interface ExecRequest {
  /** argv; never empty. */
  readonly command: readonly string[]
  readonly env: Readonly<Record<string, string>>
  readonly workingDir: string | null
  /** null is root. */
  readonly user: string | null
  /** null is without a terminal; stdout and stderr then stay apart. */
  readonly tty: { readonly rows: number; readonly cols: number } | null
  /** Kills the process group at the end; null is no limit. */
  readonly timeoutMs: number | null
}

export interface ExecExit {
  /** 0-255; 128 + signal when a signal ended it. */
  readonly code: number
  readonly signal: number | null
  /** The time limit ended it. */
  readonly timedOut: boolean
}

/**
 * A command that runs in a guest. Whoever holds it must read `output` to its end or call `close`;
 * an unread session holds the process, never the memory of the server.
 */
export interface ExecSession {
  /** Output as it arrives; with a terminal everything is `stdout`. Ends when the process has ended. */
  readonly output: AsyncIterable<ExecOutput>
  /** Settles when the process has ended; rejects with a catalogue error if the link broke. */
  readonly exit: Promise<ExecExit>
  /** Resolves when the guest has room for more, and the bytes' memory is the caller's again: await it before the next write. */
  write(data: Uint8Array): Promise<void>
  /** End of stdin. */
  endInput(): Promise<void>
  resize(rows: number, cols: number): void
  /** To the process group. */
  signal(signal: number): void
  /** Kills what still runs and frees the session. Safe to call twice. */
  close(): void
}

export interface ExecOutput {
  readonly stream: 'stdout' | 'stderr'
  /** Lent until the next is asked for: who keeps it copies it, who sends it awaits that. */
  readonly data: Uint8Array
}

export interface PathInfo {
  readonly exists: boolean
  readonly kind: 'file' | 'directory' | 'symlink' | 'other' | null
  /** Permission bits (07777). */
  readonly mode: number
  readonly sizeBytes: number
  readonly uid: number
  readonly gid: number
  readonly mtimeSeconds: number
  readonly linkTarget: string | null
  readonly error: string | null
}

export interface CopyOutOptions {
  readonly followLinks: boolean
  /**
   * Of a directory only what stands in it: entries without their bytes, links as links. What is neither file, directory
   * nor link becomes an `error` item.
   */
  readonly shallow?: boolean
}

/** A tree on its way: an entry, then its bytes as `data` items, until the next entry. */
export type CopyItem =
  | { readonly type: 'entry'; readonly entry: CopyEntry }
  | { readonly type: 'data'; readonly data: Uint8Array }
  | { readonly type: 'error'; readonly path: string; readonly message: string }

export interface CopyEntry {
  /** Relative to the root of the copy; empty for the root itself. Never `..`, never absolute. */
  readonly path: string
  readonly kind: 'file' | 'directory' | 'symlink'
  readonly mode: number
  readonly uid: number | null
  readonly gid: number | null
  readonly sizeBytes: number
  readonly mtimeSeconds: number
  readonly linkTarget: string | null
}

export interface LogQuery {
  /** `app`: the application's stdout and stderr; `vmm`: the VMM and the guest's console; `server`: what Berth did. */
  readonly source: 'app' | 'vmm' | 'server'
  readonly tail: number | null
  readonly follow: boolean
  readonly signal: AbortSignal
}

export interface LogRecord {
  readonly at: TimestampMs | null
  readonly stream: 'stdout' | 'stderr' | 'console'
  /** Without its newline; a very long line arrives as several records with `partial` true but for the last. */
  readonly text: string
  readonly partial: boolean
}

export interface VmStats {
  readonly at: TimestampMs
  readonly cpuSeconds: number
  readonly memoryRssBytes: number
  readonly memoryVirtualBytes: number
  readonly networkRxBytes: number
  readonly networkTxBytes: number
  readonly diskReadBytes: number
  readonly diskWriteBytes: number
  /** What the guest's own kernel says; null when it doesn't answer. */
  readonly guest: { readonly memoryTotalBytes: number; readonly memoryAvailableBytes: number } | null
}

export interface PullRequest {
  /** Normalised reference. */
  readonly name: string
  readonly credentials: { readonly username: string; readonly password: string } | { readonly token: string } | null
  /** `linux/amd64` and the like; null is the host's. */
  readonly platform: string | null
  readonly onProgress: (progress: PullProgress) => void
  readonly signal: AbortSignal
}

export interface PullProgress {
  /** `pending`: it waits in the host's line. */
  readonly status: 'pending' | 'pulling' | 'converting'
  readonly fraction: number | null
  /** With `pending`: its place in the line; 1 is next. */
  readonly queuePosition?: number
}

export interface HostImage {
  readonly digest: ImageDigest
  readonly config: ImageConfig
  readonly sizeBytes: number
}
