/**
 * The Host port on QEMU: one machine that runs instances as microVMs. The front door of this room.
 *
 *   openQemuHost ─▶ finds what an earlier server left (VMs outlive the server) ─▶ Host ─▶ close (VMs run on)
 *
 * This file assembles and delegates; what happens to a VM is in qemu/ (lifecycle, standby-ops, volume-ops).
 */
import { availableParallelism } from 'node:os'
import { randomUUID } from 'node:crypto'
import { access, chmod, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type {
  CopyItem,
  CopyOutOptions,
  ExecRequest,
  ExecSession,
  FirstBoot,
  Host,
  HostEvent,
  HostFacts,
  HostImage,
  HostVm,
  LogQuery,
  LogRecord,
  PathInfo,
  PullProgress,
  PullRequest,
  VmRef,
  VmSpec,
  VmStarted,
  VmStats,
  VmVolume,
} from '../engine/host-port.ts'
import type { HostSnapshot, SnapshotRequest, SnapshotUse } from '../engine/host-snapshots.ts'
import type { InboundConnection } from '../instance/auto-standby.ts'
import { asBerthError, BerthError } from '../instance/errors.ts'
import type { ProbeResult } from '../instance/health.ts'
import type { AppExit, FileSystemId, FileSystemMount, FirewallRule, HostId, ImageDigest, InstanceId, PortMapping, SnapshotId, VolumeId } from '../instance/model.ts'
import { openCgroups } from './cgroup/cgroup.ts'
import { FileSystems } from './file-systems/file-systems.ts'
import { BUILT_IN_NAME, openImageStore, type ImageStoreOptions } from './images/image-store.ts'
import { openNetwork, type NetworkOptions } from './network/network.ts'
import { defaultRunDir, hostPaths, OWNER_FILE, type HostPaths } from './paths.ts'
import { Checks } from './network/checks.ts'
import { inboundConnections } from './network/inbound.ts'
import { askPort, doorOf, type NetworkProbe } from './network/probe.ts'
import { chooseAccelerator, qemuVersion } from './qemu/accel.ts'
import { closedDirectory, takeArtifacts } from './qemu/artifacts.ts'
import { mayReadMemory, NO_FOREIGN_MEMORY } from './qemu/private-memory.ts'
import { isMissing } from './qemu/atomic-file.ts'
import { machineIdentity, type HostLog, type VmContext } from './qemu/context.ts'
import { readDevices } from './qemu/devices.ts'
import { openRoot, PASSAGE_MODE } from './qemu/disks.ts'
import { DiskUse, readCpuModel, readFacts, type FixedFacts } from './qemu/facts.ts'
import { openDevice, openJail, type Jail } from './qemu/jail.ts'
import { endBlank } from './qemu/from-pool.ts'
import { destroy, prepare, setFirewall, setPorts, start, stop } from './qemu/lifecycle.ts'
import { Lull } from './qemu/lull.ts'
import { DEFAULT_LOG_LIMIT_BYTES } from './qemu/log-file.ts'
import { LogRounds, noLog, readLogs, rotateLogs } from './qemu/logs.ts'
import type { Accelerator } from './qemu/machine.ts'
import { networkKind } from './qemu/clone.ts'
import { Naps } from './qemu/naps.ts'
import { Pool, type PoolOptions } from './qemu/pool.ts'
import { killVm } from './qemu/process.ts'
import { recover } from './qemu/recover.ts'
import { Seat } from './qemu/seat.ts'
import { readStats } from './qemu/stats.ts'
import { resume, suspend } from './qemu/standby-ops.ts'
import { applySnapshot, takeSnapshot } from './qemu/snapshot-ops.ts'
import { SnapshotStore } from './qemu/snapshot-store.ts'
import { findStrays } from './qemu/strays.ts'
import { repairTaps, TAP_LOOK_EVERY_MS } from './qemu/tap-watch.ts'
import { Templates, type TemplateHome } from './qemu/templates.ts'
import { Turns } from './qemu/turns.ts'
import type { TemplateKey } from './qemu/template.ts'
import { neededTemplate, readRecord } from './qemu/vm-record.ts'
import { attachFileSystem, detachFileSystem } from './qemu/share-ops.ts'
import { attachVolume, detachVolume } from './qemu/volume-ops.ts'
import { openVolumes } from './volumes/volumes.ts'

export interface QemuHostOptions {
  readonly dataDir: string
  /** For sockets; default `/run/berth`, or the user's own runtime directory. Kept short: socket paths have a limit. */
  readonly runDir?: string
  /** Where guest/build.sh put kernel and initramfs. */
  readonly artifactsDir: string
  /** null (the default) proves KVM and falls back to emulation. */
  readonly accelerator?: Accelerator | null
  readonly network?: NetworkOptions
  readonly images?: Omit<ImageStoreOptions, 'dataDir' | 'log'>
  /** `own` (the default for root) gives each VM a user of its own; `same` runs QEMU as the server's user. */
  readonly vmUser?: 'own' | 'same'
  /** Sizes whose templates are made as soon as the host is open; null (the default) boots every instance from nothing. */
  readonly templates?: readonly TemplateSize[] | null
  /** Of images, how many templates there may be; default 4, 0 is none. */
  readonly imageTemplates?: number
  /** The writable layer with which the built-in image's template is made before anybody asked; null (the default) waits for that. */
  readonly builtInOverlayBytes?: number | null
  /** VMs of the first of those sizes, and of others that are asked for, wait for whom they will be; null (the default) keeps none. */
  readonly pool?: PoolOptions | null
  /** What the processes of VMs in standby may keep of memory, of all together, so that they wake at once; 0 (the default) ends each when it sleeps. */
  readonly napBytes?: number
  /** A log above this is rotated. */
  readonly logLimitBytes?: number
  readonly log?: HostLog
}

export interface TemplateSize {
  readonly vcpus: number
  readonly memoryBytes: number
}

const ROTATE_EVERY_MS = 2_000
/** One waits for the disk or the server now and then. */
const TURNS_OF_A_CPU = 2
/** Each costs some 70 MB of memory and as much disk. */
export const DEFAULT_IMAGE_TEMPLATES = 8
/** A launch that takes longer goes on, and the next one begins. */
const LONGEST_TURN_MS = 3_000

/** Opens the host; by the time it resolves, what an earlier server left has been found and taken over. */
export async function openQemuHost(options: QemuHostOptions): Promise<Host> {
  const log = options.log ?? { info: () => undefined, warn: () => undefined }
  const paths = hostPaths(options.dataDir, options.runDir ?? defaultRunDir())
  await makeHostDirectories(paths)
  const version = await qemuVersion()
  const artifacts = await takeArtifacts(options.artifactsDir, paths.guest)
  const { jail, warnings } = await chooseJail(options, paths, log)
  const [accelerator, cgroups, images, volumes, network, cpuModel] = await Promise.all([
    chooseAccelerator(options.accelerator ?? null, {
      verdictPath: paths.acceleratorVerdict,
      runDir: paths.run,
      kernelPath: artifacts.kernel,
      initramfsPath: artifacts.initramfs,
      guestVersion: artifacts.version,
      qemuVersion: version,
      jail,
    }),
    openCgroups(),
    openImageStore({ ...options.images, dataDir: paths.data, log }),
    openVolumes({ dataDir: paths.data }),
    openNetwork({ owner: paths.data, ...options.network }),
    readCpuModel(),
  ])
  await network.ensure()
  const fileSystems = await FileSystems.open({ dataDir: paths.data, network: network.facts(), log })
  const listeners = new Set<(event: HostEvent) => void>()
  const seats = new Map<InstanceId, Seat>()
  const snapshots = await SnapshotStore.open(paths.snapshots)
  let pool: Pool | null = null
  const needed = () => [...snapshots.templates(), ...(pool?.templates() ?? [])]
  const lull = new Lull()
  const home: TemplateHome = {
    paths,
    jail,
    artifacts,
    log,
    volumes,
    lull,
    imageTemplates: options.imageTemplates ?? DEFAULT_IMAGE_TEMPLATES,
    rootOf: async (digest) => await openRoot({ images, jail }, digest).catch(() => null), // gone, or as good as gone
  }
  const templates = await chooseTemplates(options, home, seats, needed)
  const context: VmContext = {
    paths,
    templates,
    snapshots,
    get pool() {
      return pool
    },
    lull,
    turns: new Turns(TURNS_OF_A_CPU * availableParallelism(), LONGEST_TURN_MS),
    naps: (options.napBytes ?? 0) > 0 ? new Naps(options.napBytes ?? 0, log) : null,
    jail,
    cgroups,
    network,
    images,
    volumes,
    fileSystems,
    artifacts,
    accelerator,
    qemuVersion: version,
    cpuModel,
    logLimitBytes: options.logLimitBytes ?? DEFAULT_LOG_LIMIT_BYTES,
    log,
    emit: (event) => {
      for (const listener of listeners) listener(event)
    },
  }
  const fixed: FixedFacts = {
    hostId: await readHostId(paths),
    devices: await readDevices(),
    warnings: [...warnings, ...cgroups.warnings, ...network.facts().warnings],
    diskUse: new DiskUse(context),
  }
  const host = new QemuHost(context, fixed, listeners, seats)
  await host.recover()
  const [first] = options.templates ?? []
  if (templates !== null && first !== undefined && networkKind(context) !== 'user' && options.pool !== undefined && options.pool !== null) {
    pool = new Pool(context, options.pool, sizeKey(context, first))
    templates.onChange = () => pool?.wake()
  }
  for (const size of options.templates ?? []) templates?.want(sizeKey(context, size))
  templates?.wantKnownImages()
  const { builtInOverlayBytes = null } = options
  if (first !== undefined && builtInOverlayBytes !== null) {
    host.expectBuiltIn = (digest) => void expectImage(context, sizeKey(context, first), { digest, overlayBytes: builtInOverlayBytes })
    const builtIn = await images.madeBuiltIn()
    if (builtIn !== null) host.expectBuiltIn(builtIn.digest)
  }
  log.info({ accelerator: accelerator.accelerator, reason: accelerator.reason, qemu: version }, 'host is open')
  return host
}

class QemuHost implements Host {
  readonly id: HostId
  readonly #context: VmContext
  readonly #checks = new Checks()
  readonly #fixed: FixedFacts
  readonly #listeners: Set<(event: HostEvent) => void>
  readonly #seats: Map<InstanceId, Seat>
  readonly #rotation: NodeJS.Timeout
  readonly #logRounds = new LogRounds()
  readonly #tapWatch: NodeJS.Timeout
  /** Told of the built-in image as soon as it is there: most launches of a new machine are of it. */
  expectBuiltIn: (digest: ImageDigest) => void = () => undefined
  #repairing: Promise<void> | null = null
  #closed = false

  constructor(context: VmContext, fixed: FixedFacts, listeners: Set<(event: HostEvent) => void>, seats: Map<InstanceId, Seat>) {
    this.#seats = seats
    this.id = fixed.hostId
    this.#context = context
    this.#fixed = fixed
    this.#listeners = listeners
    this.#rotation = setInterval(() => this.#rotate(), ROTATE_EVERY_MS)
    this.#rotation.unref()
    this.#tapWatch = setInterval(() => this.#repairTaps(), TAP_LOOK_EVERY_MS)
    this.#tapWatch.unref()
  }

  /** Finds the VMs of an earlier server and brings records and reality together. */
  async recover(): Promise<void> {
    const { paths, log, network, fileSystems } = this.#context
    const nobodys: InstanceId[] = []
    for (const name of await readdir(paths.instances)) {
      const id = paths.instanceOf(name)
      if (id === null) continue
      const record = await readRecord(paths.instance(id).record)
      if (record !== null) this.#seats.set(id, new Seat(this.#context, id, record))
      else if (await isThere(paths.instance(id).record)) log.warn({ instance: id }, "an instance's record can't be read; its files are left as they are")
      else nobodys.push(id)
    }
    const seats = [...this.#seats.values()]
    const known = seats.map((seat) => seat.record?.process ?? null).filter((identity) => identity !== null)
    for (const stray of await findStrays(paths, known)) {
      log.warn({ pid: stray.pid }, 'a VM that no record knows is ended')
      await killVm(stray)
    }
    // A directory without a record was being made or removed when its server died, or waited in the pool.
    for (const id of nobodys) await destroy(new Seat(this.#context, id, null), { instanceId: id, generation: 0 })
    await Promise.all(
      seats.map((seat) =>
        seat.serially(() => recover(seat)).catch((error: unknown) => {
          log.warn({ err: error, instance: seat.id }, 'a VM of an earlier server could not be recovered')
        }),
      ),
    )
    const holding = seats.filter((seat) => seat.record !== null && seat.record.status !== 'exited').map((seat) => seat.id)
    await network.sweep(holding)
    await fileSystems.sweep()
    await this.#sweepLeftovers()
  }

  facts(): Promise<HostFacts> {
    return readFacts(this.#context, this.#fixed)
  }

  async inventory(): Promise<readonly HostVm[]> {
    return [...this.#seats.values()].map((seat) => seat.view()).filter((view) => view !== null)
  }

  onEvent(listener: (event: HostEvent) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  async prepare(vm: VmSpec): Promise<void> {
    await this.#inLine(vm, (seat) => prepare(seat, vm))
  }

  start(vm: VmSpec, firstBoot: FirstBoot | null = null): Promise<VmStarted> {
    return this.#inLine(vm, (seat) => start(seat, vm, firstBoot))
  }

  stop(vm: VmRef, options: { readonly graceMs: number }): Promise<AppExit | null> {
    return this.#inLine(vm, (seat) => stop(seat, vm, options.graceMs))
  }

  suspend(vm: VmRef): Promise<{ readonly savedBytes: number }> {
    return this.#inLine(vm, (seat) => suspend(seat, vm))
  }

  resume(vm: VmSpec): Promise<VmStarted> {
    return this.#inLine(vm, (seat) => resume(seat, vm))
  }

  destroy(vm: VmRef): Promise<void> {
    return this.#inLine(vm, (seat) => destroy(seat, vm))
  }

  attachVolume(vm: VmRef, mount: VmVolume): Promise<void> {
    return this.#inLine(vm, (seat) => attachVolume(seat, vm, mount))
  }

  detachVolume(vm: VmRef, volumeId: VolumeId): Promise<void> {
    return this.#inLine(vm, (seat) => detachVolume(seat, vm, volumeId))
  }

  attachFileSystem(vm: VmRef, mount: FileSystemMount): Promise<void> {
    return this.#inLine(vm, (seat) => attachFileSystem(seat, vm, mount))
  }

  detachFileSystem(vm: VmRef, id: FileSystemId): Promise<void> {
    return this.#inLine(vm, (seat) => detachFileSystem(seat, vm, id))
  }

  exec(vm: VmRef, request: ExecRequest): Promise<ExecSession> {
    return guarded(async () => await this.#existing(vm).link(vm).exec(request))
  }

  stat(vm: VmRef, path: string, options: { readonly followLinks: boolean }): Promise<PathInfo> {
    return guarded(async () => await this.#existing(vm).link(vm).stat(path, options))
  }

  copyIn(vm: VmRef, root: string, items: AsyncIterable<CopyItem>): Promise<{ readonly bytesWritten: number }> {
    return guarded(async () => await this.#existing(vm).link(vm).copyIn(root, items))
  }

  async *copyOut(vm: VmRef, path: string, options: CopyOutOptions): AsyncIterable<CopyItem> {
    yield* this.#existing(vm).link(vm).copyOut(path, options)
  }

  async *logs(vm: VmRef, query: LogQuery): AsyncIterable<LogRecord> {
    if (!this.#seats.has(vm.instanceId)) throw noLog()
    yield* readLogs(this.#existing(vm), query)
  }

  stats(vm: VmRef): Promise<VmStats> {
    return guarded(async () => {
      const seat = this.#existing(vm)
      return await readStats(seat, seat.running(vm).live)
    })
  }

  probe(vm: VmRef, probe: NetworkProbe, { timeoutMs }: { readonly timeoutMs: number }): Promise<ProbeResult> {
    return guarded(async () => {
      const seat = this.#existing(vm)
      seat.running(vm)
      const door = doorOf(seat.known.spec.network, probe.port, this.#context.network.facts().mode)
      if (door === null) return { kind: 'unknown', reason: 'this host does not reach the ports of its guests' }
      return await askPort(door, probe, timeoutMs, (socket) => this.#checks.follow(door.host, door.port, socket))
    })
  }

  async inbound(): Promise<readonly InboundConnection[] | null> {
    return this.#context.network.facts().mode === 'bridge' ? inboundConnections(this.#checks) : null
  }

  pullImage(request: PullRequest): Promise<HostImage> {
    return guarded(async () => {
      const image = await this.#context.images.pull(request)
      if (request.name === BUILT_IN_NAME) this.expectBuiltIn(image.digest)
      return image
    })
  }

  importImage(archive: AsyncIterable<Uint8Array>, onProgress: (progress: PullProgress) => void): Promise<HostImage> {
    return guarded(() => this.#context.images.import(archive, onProgress))
  }

  async images(): Promise<readonly HostImage[]> {
    return this.#context.images.list()
  }

  removeImage(digest: ImageDigest): Promise<void> {
    return guarded(async () => {
      const user = [...this.#seats.values()].find((seat) => seat.record?.spec.image === digest)
      if (user !== undefined) throw new BerthError('image_in_use', `Instance ${user.id} is made from this image; delete it first.`)
      const snapshot = this.#context.snapshots.userOf(digest)
      if (snapshot !== null) throw new BerthError('image_in_use', `Snapshot ${snapshot} is of an instance of this image; delete it first.`)
      await this.#context.pool?.forgetImage(digest)
      this.#context.templates?.forgetImage(digest)
      await this.#context.images.remove(digest)
    })
  }

  takeSnapshot(vm: VmRef, request: SnapshotRequest): Promise<HostSnapshot> {
    return this.#inLine(vm, (seat) => takeSnapshot(seat, vm, request))
  }

  applySnapshot(vm: VmSpec, use: SnapshotUse): Promise<void> {
    return this.#inLine(vm, (seat) => applySnapshot(seat, vm, use))
  }

  deleteSnapshot(id: SnapshotId): Promise<void> {
    return guarded(() => this.#context.snapshots.delete(id))
  }

  async snapshots(): Promise<readonly HostSnapshot[]> {
    return this.#context.snapshots.list()
  }

  createVolume(volume: { readonly id: VolumeId; readonly sizeBytes: number }): Promise<void> {
    return guarded(() => this.#context.volumes.create(volume))
  }

  importVolume(
    volume: { readonly id: VolumeId; readonly sizeBytes: number },
    archive: AsyncIterable<Uint8Array>,
  ): Promise<{ readonly sizeBytes: number }> {
    return guarded(() => this.#context.volumes.importArchive(volume, archive))
  }

  deleteVolume(id: VolumeId): Promise<void> {
    return guarded(async () => {
      const user = [...this.#seats.values()].find((seat) => seat.record?.volumes.some(({ volume }) => volume.volumeId === id) === true && seat.live !== null)
      if (user !== undefined) throw new BerthError('volume_in_use', `Volume ${id} is attached to instance ${user.id}; detach it first.`)
      await this.#context.volumes.delete(id)
    })
  }

  createFileSystem(fileSystem: { readonly id: FileSystemId; readonly sizeBytes: number }): Promise<void> {
    return guarded(() => this.#context.fileSystems.create(fileSystem))
  }

  deleteFileSystem(id: FileSystemId): Promise<void> {
    return guarded(() => this.#context.fileSystems.delete(id))
  }

  growFileSystem(fileSystem: { readonly id: FileSystemId; readonly sizeBytes: number }): Promise<void> {
    return guarded(() => this.#context.fileSystems.grow(fileSystem))
  }

  fileSystemUsedBytes(id: FileSystemId): Promise<number> {
    return guarded(() => this.#context.fileSystems.usedBytes(id))
  }

  setFirewall(vm: VmRef, firewall: readonly FirewallRule[] | null): Promise<void> {
    return this.#inLine(vm, (seat) => setFirewall(seat, vm, firewall))
  }

  setPorts(vm: VmRef, ports: readonly PortMapping[]): Promise<void> {
    return this.#inLine(vm, (seat) => setPorts(seat, vm, ports))
  }

  /** Lets operations in flight end, then lets go. VMs run on. */
  async close(): Promise<void> {
    if (this.#closed) return
    this.#closed = true
    clearInterval(this.#rotation)
    clearInterval(this.#tapWatch)
    await this.#repairing
    this.#context.fileSystems.close()
    const seats = [...this.#seats.values()]
    await Promise.all(seats.map((seat) => seat.serially(async () => undefined)))
    for (const seat of seats) {
      const { live } = seat
      seat.live = null
      live?.link?.close()
      live?.vmm.detach()
    }
    for (const seat of seats) await endBlank(seat)
    await this.#context.naps?.close()
    await this.#context.pool?.close()
    await this.#context.templates?.close()
    await this.#context.images.close()
    await this.#context.volumes.close()
  }

  /** Runs an operation in the instance's line; across the port only catalogue errors pass. */
  #inLine<T>(vm: VmRef, work: (seat: Seat) => Promise<T>): Promise<T> {
    return guarded(async () => {
      if (this.#closed) throw new BerthError('shutting_down', 'The host is being closed; try again in a moment.')
      const seat = this.#seats.get(vm.instanceId) ?? new Seat(this.#context, vm.instanceId, null)
      this.#seats.set(vm.instanceId, seat)
      try {
        return await seat.serially(() => work(seat))
      } finally {
        if (seat.record === null && !seat.busy) this.#seats.delete(vm.instanceId)
      }
    })
  }

  #existing(vm: VmRef): Seat {
    const seat = this.#seats.get(vm.instanceId)
    if (seat === undefined) throw new BerthError('not_found', 'This host has no such instance.')
    seat.admit(vm)
    return seat
  }

  #rotate(): void {
    for (const seat of this.#seats.values()) {
      if (seat.live === null || seat.busy || !this.#logRounds.needsRotation(seat)) continue
      seat.serially(() => rotateLogs(seat)).catch((error: unknown) => {
        this.#context.log.warn({ err: error, instance: seat.id }, 'the logs of an instance could not be rotated')
      })
    }
  }

  #repairTaps(): void {
    this.#repairing ??= repairTaps(this.#context, this.#seats.values())
      .catch((error: unknown) => this.#context.log.warn({ err: error }, 'VMs without their network interface could not be repaired'))
      .finally(() => {
        this.#repairing = null
      })
  }

  /** Control groups and socket directories of instances that are no more. */
  async #sweepLeftovers(): Promise<void> {
    const { paths, cgroups, log } = this.#context
    for (const name of await readdir(paths.run)) {
      const id = paths.instanceOf(name)
      if (id !== null && this.#seats.has(id)) continue
      await rm(`${paths.run}/${name}`, { recursive: true, force: true })
      if (id !== null) await cgroups.remove(id).catch((error: unknown) => log.warn({ err: error, instance: id }, 'a control group could not be removed'))
    }
  }
}

/** Templates where the host can use them: the memory of clones is read and written from here, by root or where users may do that. */
async function chooseTemplates(options: QemuHostOptions, home: TemplateHome, seats: ReadonlyMap<InstanceId, Seat>, others: () => readonly string[]): Promise<Templates | null> {
  if ((options.templates ?? null) === null) return null
  const { memoryTool } = home.artifacts
  const why = (await mayReadMemory()) ? (memoryTool === null ? 'guest/build.sh has not built sealed-memory' : null) : NO_FOREIGN_MEMORY
  if (why !== null || memoryTool === null) {
    home.log.warn({ why }, 'instances boot from nothing instead of from templates')
    return null
  }
  const needed = () => new Set([...[...seats.values()].map(({ record, fromPool }) => fromPool?.blank.templateId ?? neededTemplate(record)).filter((id) => id !== null), ...others()])
  return await Templates.open(home, memoryTool, needed)
}

/** What instances of a size need that have a network. */
function sizeKey(context: VmContext, size: TemplateSize): TemplateKey {
  return { machine: machineIdentity(context), guest: context.artifacts.version, ...size, network: networkKind(context), image: null }
}

/** An image that will be launched: its template is made, and one of its VMs waits, before anybody asked. */
async function expectImage(context: VmContext, size: TemplateKey, image: { readonly digest: ImageDigest; readonly overlayBytes: number }): Promise<void> {
  const root = await openRoot(context, image.digest).catch(() => null) // it went again
  if (root === null) return
  const key = { ...size, image: { ...image, root: root.stamp } }
  context.templates?.want(key)
  context.pool?.expect(key)
}

/** Who VMs run as, and what an operator should know about that. */
async function chooseJail(options: QemuHostOptions, paths: HostPaths, log: HostLog): Promise<{ readonly jail: Jail; readonly warnings: readonly string[] }> {
  if (options.vmUser === 'same' || process.getuid?.() !== 0) {
    return { jail: await openJail({ keep: true }), warnings: ["VMs run as the server's own user; as root Berth gives each a user of its own."] }
  }
  for (const dir of [paths.data, paths.run]) {
    const closed = await closedDirectory(dir)
    if (closed === null) continue
    return {
      jail: await openJail({ keep: true }),
      warnings: [`VMs run as root, because other users can't pass ${closed}: open it (chmod o+x ${closed}), or choose another data directory.`],
    }
  }
  for (const device of ['/dev/net/tun', '/dev/kvm'] as const) {
    const changed = await openDevice(device)
    if (changed !== null) log.info({ device }, changed)
  }
  return { jail: await openJail(), warnings: [] }
}

async function makeHostDirectories(paths: HostPaths): Promise<void> {
  try {
    for (const dir of [paths.data, paths.instances, paths.host, paths.run]) await mkdir(dir, { recursive: true })
    // VMs pass through to the files they were told of; nobody but us lists what is there.
    for (const dir of [paths.data, paths.instances, paths.run]) await chmod(dir, PASSAGE_MODE)
    await chmod(paths.host, 0o700)
    await writeFile(join(paths.run, OWNER_FILE), `${paths.data}\n`, { mode: 0o600 })
  } catch (error) {
    throw new BerthError('host_unavailable', `The directories ${paths.data} and ${paths.run} can't be used; check their owner, or choose others.`, { cause: error })
  }
}

async function readHostId(paths: HostPaths): Promise<HostId> {
  try {
    const id = (await readFile(paths.hostId, 'utf8')).trim()
    if (id !== '') return id as HostId
  } catch (error) {
    if (!isMissing(error)) throw error
  }
  const id = randomUUID()
  await writeFile(paths.hostId, `${id}\n`, { mode: 0o600 })
  return id as HostId
}

async function isThere(path: string): Promise<boolean> {
  return await access(path).then(
    () => true,
    () => false,
  )
}

async function guarded<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw asBerthError(error)
  }
}
