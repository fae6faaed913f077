/**
 * A Host that only pretends: no VM, no network, no disk, but every promise of the port. For scale, faults and fast
 * tests, and for `BERTH_HOST=simulated`.
 *
 * Invariants (the port's own): calls are idempotent by (instance, generation), older generations are refused, VMs
 * outlive the object over the same state file, and whatever is thrown is of the catalogue.
 */
import { isDeepStrictEqual } from 'node:util'
import type {
  GuestFile,
  Host,
  HostEvent,
  HostFacts,
  HostImage,
  HostVm,
  VmRef,
  VmSpec,
  VmStarted,
} from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { endedBySignal, exitedWith } from '../../instance/exit.ts'
import type { AppExit, HostId, ImageDigest, InstanceId } from '../../instance/model.ts'
import { DEAF_FILE, isDeafCommand, lifeOf, runCommand } from './command.ts'
import type { FaultPlan, HostCall, Latencies } from './faults.ts'
import { pretendedConnections, putFile, readDirectory, readTree, statFile, writeTree } from './guest-files.ts'
import { imageMissing, pretendImages } from './pretended-images.ts'
import { followLog } from './pretended-log.ts'
import { pretendSnapshots } from './pretended-snapshots.ts'
import { pretendStorage } from './pretended-storage.ts'
import { MachineStore } from './machine-state.ts'
import type { VmState } from './machine-state.ts'

const GIB = 2 ** 30
/** Calls that change nothing, after which there is nothing to save. */
const READING: ReadonlySet<HostCall> = new Set(['facts', 'inventory', 'snapshots'])
const SIGTERM = 15
const SIGKILL = 9

export interface SimulatedOptions {
  readonly id?: string
  /** Where the machine's state is kept, so that it outlives the process; null keeps it in memory. */
  readonly stateFile?: string | null
  /** `change` survives a kill at any instant; `close` is for thousands of VMs, whose state is large. */
  readonly saveOn?: 'change' | 'close'
  readonly latencies?: Latencies
  readonly faults?: FaultPlan
  readonly cpus?: number
  readonly memoryBytes?: number
  readonly diskBytes?: number
  readonly subnet?: string
  /** Images that it has without having pulled them: those of another host. */
  readonly borrowedImages?: () => Promise<readonly HostImage[]>
  readonly now?: () => number
}

/** What a test may do to the machine that no engine can. */
export interface SimulatedHost extends Host {
  /** The VM ends by itself, as if its process was killed or its application exited. */
  crash(instanceId: InstanceId, exit?: AppExit): void
  /** The agent stops answering, or answers again. */
  setAgent(instanceId: InstanceId, reachable: boolean): void
  /** The machine restarts: no VMM is left, saved states and disks are. */
  reboot(): void
  /** Changes what goes wrong from now on. */
  setFaults(plan: FaultPlan): void
  /** Launches of VMMs by `instance/generation`; none may be above 1. */
  launches(): ReadonlyMap<string, number>
  /** What the pretended machine holds, for assertions. */
  vms(): readonly Readonly<VmState>[]
  volumes(): readonly string[]
  /** null: it has none of that id. */
  fileSystemSize(id: string): number | null
}

export function createSimulatedHost(options: SimulatedOptions = {}): SimulatedHost {
  const machine = new MachineStore(options.stateFile ?? null)
  const save = () => {
    if (options.saveOn !== 'close') machine.save()
  }
  const { state } = machine
  const now = options.now ?? Date.now
  const id = (options.id ?? 'simulated') as HostId
  const listeners = new Set<(event: HostEvent) => void>()
  const timers = new Map<string, NodeJS.Timeout>()
  const sessions = new Map<string, Set<{ kill(signal: number): void }>>()
  const logNews = new Set<() => void>()
  const counts = new Map<HostCall, number>()
  let faults: FaultPlan = options.faults ?? (() => null)
  let closed = false

  const borrowed = async () => (await options.borrowedImages?.()) ?? []

  const emit = (event: HostEvent) => {
    for (const listener of listeners) listener(event)
  }

  /** Every call goes through here: latency, faults, then its effect, at once and saved. */
  async function act<T>(call: HostCall, instanceId: string | null, effect: () => T | Promise<T>, isChange = !READING.has(call)): Promise<T> {
    if (closed) throw new BerthError('host_unavailable', 'The simulated host is closed.')
    const count = (counts.get(call) ?? 0) + 1
    counts.set(call, count)
    const halfMs = (options.latencies?.[call] ?? 0) / 2
    const fault = faults({ call, count, instanceId })
    if (halfMs > 0) await delay(halfMs)
    if (fault?.kind === 'before') throw new BerthError(fault.code, fault.message)
    if (fault?.kind === 'hang' && !fault.effect) return new Promise<T>(() => {})
    const result = await effect()
    if (isChange) save()
    if (fault?.kind === 'hang') return new Promise<T>(() => {})
    if (halfMs > 0) await delay(halfMs)
    if (fault?.kind === 'after') throw new BerthError(fault.code, fault.message)
    return result
  }

  /** Refuses a call of a life that is over. */
  function guard(ref: VmRef): void {
    const seen = state.seen[ref.instanceId] ?? 0
    if (ref.generation < seen) {
      throw new BerthError('invalid_state', `Generation ${ref.generation} of ${ref.instanceId} is over; the host has seen ${seen}.`)
    }
    state.seen[ref.instanceId] = ref.generation
  }

  function prepared(spec: VmSpec): VmState {
    if (state.images[spec.image] === undefined && options.borrowedImages === undefined) throw imageMissing(spec.image)
    for (const volume of spec.volumes) storage.requireVolume(volume.volumeId)
    for (const { fileSystemId } of spec.fileSystems ?? []) storage.requireFileSystem(fileSystemId)
    const existing = state.vms[spec.instanceId]
    const fresh: VmState = existing ?? {
      instanceId: spec.instanceId,
      generation: spec.generation,
      status: 'prepared',
      exit: null,
      name: spec.name,
      image: spec.image,
      vcpus: spec.vcpus,
      memoryBytes: spec.memoryBytes,
      command: spec.command,
      env: spec.env,
      startedAt: 0,
      endsAt: null,
      leftMs: null,
      volumes: [],
      log: [],
      files: {},
    }
    if (existing !== undefined && existing.generation < spec.generation && existing.status !== 'suspended') {
      if (existing.status === 'running') halted(existing, SIGKILL)
      existing.status = 'prepared'
      existing.exit = null
    }
    fresh.command = spec.command
    fresh.env = spec.env
    fresh.volumes = spec.volumes.map(volume => volume.volumeId)
    fresh.fileSystems = (spec.fileSystems ?? []).map(mount => mount.fileSystemId)
    fresh.firewall = spec.network?.firewall ?? null
    fresh.ports = spec.network?.ports ?? []
    fresh.generation = spec.generation
    state.vms[spec.instanceId] = fresh
    return fresh
  }

  function launch(vm: VmState, runsForMs: number | null): VmStarted {
    const life = `${vm.instanceId}/${vm.generation}`
    state.launches[life] = (state.launches[life] ?? 0) + 1
    vm.status = 'running'
    vm.exit = null
    vm.startedAt = now()
    vm.leftMs = null
    vm.endsAt = runsForMs === null ? null : now() + runsForMs
    armEnd(vm)
    return { startedAt: vm.startedAt, how: 'cold' }
  }

  function armEnd(vm: VmState): void {
    disarm(vm)
    if (vm.endsAt === null || vm.status !== 'running') return
    const { generation } = vm
    const timer = setTimeout(() => {
      if (vm.status === 'running' && vm.generation === generation) endApp(vm, exitedWith(lifeOf(vm.command).code))
    }, Math.max(0, vm.endsAt - now()))
    timer.unref()
    timers.set(vm.instanceId, timer)
  }

  function disarm(vm: VmState): void {
    clearTimeout(timers.get(vm.instanceId))
    timers.delete(vm.instanceId)
  }

  function endApp(vm: VmState, exit: AppExit): void {
    if (closed) return
    vm.status = 'exited'
    vm.exit = exit
    dropGuest(vm, SIGKILL)
    save()
    emit({ kind: 'exited', vm: refOf(vm), exit })
  }

  /** Ends the VMM without an event: somebody asked for it. */
  function halted(vm: VmState, signal: number): AppExit {
    const exit = endedBySignal(signal)
    vm.status = 'exited'
    vm.exit = exit
    dropGuest(vm, SIGKILL)
    return exit
  }

  function dropGuest(vm: VmState, signal: number): void {
    disarm(vm)
    for (const session of sessions.get(vm.instanceId) ?? []) session.kill(signal)
    sessions.delete(vm.instanceId)
    for (const tell of logNews) tell()
  }

  function log(vm: VmState, text: string): void {
    if (text === '') return
    vm.log.push({ at: now(), text })
    for (const tell of logNews) tell()
  }

  function running(ref: VmRef): VmState {
    const vm = state.vms[ref.instanceId]
    if (vm?.status !== 'running' || vm.generation !== ref.generation) throw new BerthError('guest_unreachable', 'The guest does not run.')
    return vm
  }

  /** Of one that borrows, what `prepared` can't ask. */
  async function requireBorrowed(digest: ImageDigest): Promise<void> {
    if (options.borrowedImages === undefined || state.images[digest] !== undefined) return
    if (!(await borrowed()).some(image => image.digest === digest)) throw imageMissing(digest)
  }

  const storage = pretendStorage({ state, act, running, save })

  for (const vm of Object.values(state.vms)) armEnd(vm)

  return {
    id,
    facts: () => act('facts', null, () => factsOf(id, options, state)),
    inventory: () => act('inventory', null, () => Object.values(state.vms).map(vm => inventoryLine(vm))),

    onEvent(listener) {
      listeners.add(listener)
      return () => void listeners.delete(listener)
    },

    prepare: spec =>
      act('prepare', spec.instanceId, async () => {
        await requireBorrowed(spec.image)
        guard(spec)
        if (state.vms[spec.instanceId]?.generation !== spec.generation) prepared(spec)
      }),

    start: (spec, firstBoot = null) =>
      act('start', spec.instanceId, async () => {
        await requireBorrowed(spec.image)
        guard(spec)
        const existing = state.vms[spec.instanceId]
        if (existing?.status === 'running' && existing.generation === spec.generation) return { startedAt: existing.startedAt, how: 'already-running' as const }
        const vm = prepared(spec)
        const life = lifeOf(spec.command)
        const started = launch(vm, life.runsForMs)
        for (const file of [...(firstBoot?.files ?? []), ...(firstBoot?.configFiles ?? [])]) putFile(vm, file)
        if (firstBoot !== null && spec.sshKeys.length > 0) putFile(vm, authorizedKeys(spec.sshKeys))
        log(vm, life.output)
        return started
      }),

    stop: ref =>
      act('stop', ref.instanceId, () => {
        guard(ref)
        const vm = state.vms[ref.instanceId]
        if (vm === undefined) return null
        const exit = vm.status === 'running' ? halted(vm, SIGTERM) : vm.exit
        if (vm.status === 'suspended') vm.status = 'prepared'
        return exit
      }),

    suspend: ref =>
      act('suspend', ref.instanceId, () => {
        guard(ref)
        const vm = state.vms[ref.instanceId]
        if (vm?.status === 'suspended' && vm.generation === ref.generation) return { savedBytes: vm.memoryBytes }
        if (vm?.status !== 'running') throw new BerthError('invalid_state', 'There is no running VM to suspend.')
        vm.leftMs = vm.endsAt === null ? null : Math.max(0, vm.endsAt - now())
        vm.endsAt = null
        vm.status = 'suspended'
        disarm(vm)
        return { savedBytes: vm.memoryBytes }
      }),

    resume: spec =>
      act('resume', spec.instanceId, () => {
        guard(spec)
        const vm = state.vms[spec.instanceId]
        if (vm?.status === 'running' && vm.generation === spec.generation) return { startedAt: vm.startedAt, how: 'already-running' as const }
        if (vm?.status !== 'suspended') throw new BerthError('invalid_state', 'There is no saved state to resume.')
        vm.generation = spec.generation
        return { ...launch(vm, vm.leftMs), how: 'restored' as const }
      }),

    destroy: ref =>
      act('destroy', ref.instanceId, () => {
        guard(ref)
        const vm = state.vms[ref.instanceId]
        if (vm === undefined) return
        dropGuest(vm, SIGKILL)
        delete state.vms[ref.instanceId]
      }),

    ...pretendSnapshots({ state, act, guard, now, prepared, halted: vm => void halted(vm, SIGKILL) }),

    ...storage.calls,

    exec: (ref, request) =>
      act('exec', ref.instanceId, () => {
        const vm = running(ref)
        const session = runCommand({ request, env: vm.env, hostname: vm.name })
        const open = sessions.get(vm.instanceId) ?? new Set()
        open.add(session)
        sessions.set(vm.instanceId, open)
        const forget = () => void open.delete(session)
        session.exit.then(forget, forget)
        return session
      }),

    async stat(ref, path, { followLinks }) {
      return statFile(running(ref), path, followLinks)
    },
    async copyIn(ref, root, items) {
      const written = await writeTree(running(ref), root, items)
      save()
      return written
    },
    copyOut: (ref, path, { followLinks, shallow = false }) => (shallow ? readDirectory : readTree)(running(ref), path, followLinks),

    logs(ref, query) {
      const vm = state.vms[ref.instanceId]
      if (vm === undefined) throw new BerthError('log_not_found', 'There is no log of this instance.')
      return followLog(query.source === 'app' ? vm.log : [], query, logNews, () => state.vms[ref.instanceId] === undefined)
    },

    async stats(ref) {
      const vm = running(ref)
      return {
        at: now(),
        cpuSeconds: (now() - vm.startedAt) / 100_000,
        memoryRssBytes: Math.round(vm.memoryBytes / 6),
        memoryVirtualBytes: vm.memoryBytes,
        networkRxBytes: 0,
        networkTxBytes: 0,
        diskReadBytes: 0,
        diskWriteBytes: 0,
        guest: { memoryTotalBytes: vm.memoryBytes, memoryAvailableBytes: Math.round((vm.memoryBytes * 5) / 6) },
      }
    },

    async inbound() {
      return Object.values(state.vms).flatMap(pretendedConnections)
    },

    async probe(ref, probe) {
      const vm = running(ref)
      const isDeaf = isDeafCommand(vm.command) || statFile(vm, DEAF_FILE, true).sizeBytes > 0
      return isDeaf ? { kind: 'failed', reason: `nothing answers on port ${probe.port}` } : { kind: 'passed' }
    },

    ...pretendImages({ state, act, borrowed }),

    setFirewall: (ref, firewall) =>
      act(
        'setFirewall',
        ref.instanceId,
        () => {
          guard(ref)
          const vm = state.vms[ref.instanceId]
          if (vm !== undefined) vm.firewall = firewall
        },
        !isDeepStrictEqual(state.vms[ref.instanceId]?.firewall, firewall),
      ),
    setPorts: (ref, ports) =>
      act(
        'setPorts',
        ref.instanceId,
        () => {
          guard(ref)
          const vm = state.vms[ref.instanceId]
          if (vm !== undefined) vm.ports = ports
        },
        !isDeepStrictEqual(state.vms[ref.instanceId]?.ports, ports),
      ),

    async close() {
      if (closed) return
      closed = true
      for (const timer of timers.values()) clearTimeout(timer)
      for (const open of sessions.values()) for (const session of open) session.kill(SIGKILL)
      for (const tell of logNews) tell()
      machine.save()
    },

    crash(instanceId, exit = endedBySignal(SIGKILL, 'VMM died')) {
      const vm = state.vms[instanceId]
      if (vm?.status === 'running') endApp(vm, exit)
    },
    setAgent(instanceId, reachable) {
      const vm = state.vms[instanceId]
      if (vm !== undefined) emit({ kind: 'agent', vm: refOf(vm), reachable, reason: reachable ? null : 'The guest does not answer.' })
    },
    reboot() {
      for (const vm of Object.values(state.vms)) {
        if (vm.status !== 'running') continue
        dropGuest(vm, SIGKILL)
        vm.status = 'prepared'
        vm.exit = null
      }
      machine.save()
    },
    setFaults(plan) {
      faults = plan
    },
    launches: () => new Map(Object.entries(state.launches)),
    vms: () => Object.values(state.vms),
    fileSystemSize: id => state.fileSystems?.[id]?.sizeBytes ?? null,
    volumes: () => Object.keys(state.volumes),
  }
}

function authorizedKeys(keys: readonly string[]): GuestFile {
  return { path: '/root/.ssh/authorized_keys', mode: 0o600, data: Buffer.from(`${keys.join('\n')}\n`) }
}

function inventoryLine(vm: VmState): HostVm {
  return { instanceId: vm.instanceId as InstanceId, generation: vm.generation, status: vm.status, exit: vm.status === 'exited' ? vm.exit : null }
}

function refOf(vm: VmState): VmRef {
  return { instanceId: vm.instanceId as InstanceId, generation: vm.generation }
}

function factsOf(id: HostId, options: SimulatedOptions, state: MachineStore['state']): HostFacts {
  const diskBytes = options.diskBytes ?? 100_000 * GIB
  const imagesBytes = Object.values(state.images).reduce((sum, image) => sum + image.sizeBytes, 0)
  const volumesBytes = Object.values(state.volumes).reduce((sum, volume) => sum + volume.sizeBytes, 0)
  return {
    hostId: id,
    os: 'linux',
    arch: 'x86_64',
    hypervisor: 'simulated',
    accelerator: 'simulated',
    acceleratorReason: 'This host only pretends to run VMs.',
    cpus: options.cpus ?? 4096,
    memoryBytes: options.memoryBytes ?? 16_384 * GIB,
    diskBytes,
    diskFreeBytes: diskBytes - imagesBytes - volumesBytes,
    network: { mode: 'bridge', subnet: options.subnet ?? '10.64.0.0/16', gateway: '10.64.0.1', dns: ['10.64.0.1'] },
    diskUse: { imagesBytes, imageCacheBytes: 0, volumesBytes, overlaysBytes: 0 },
    devices: [],
    templates: [],
    warnings: ['Nothing here is real: the host is simulated.'],
  }
}

function delay(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
