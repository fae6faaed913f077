/**
 * A cgroup for each VM: its share of CPU, a ceiling for its memory, and the counters of both.
 *
 *   v2   <root>/berth/<instance>/               all controllers in one tree
 *   v1   <controller>/berth/<instance>/         a tree for each of cpu, cpuacct, memory, pids
 *
 * At the root of each tree, not below the server's own group: VMs outlive the server, and the next one may
 * run in another group. Only where the root can't be written is our own group used.
 *
 * Where a machine gives none (no root, no controllers) VMs run without, and `warnings` says what that means.
 */
import { readFileSync } from 'node:fs'
import { mkdir, readdir, rename, rmdir, writeFile } from 'node:fs/promises'
import { availableParallelism } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'

const PARENT = 'berth'
const CPU_PERIOD_US = 100_000
/** All VMs together weigh as much as one program on each CPU, not as one: else a busy host starves them. */
const CPUS = availableParallelism()
const V1_SHARES = 1024
const V2_WEIGHT = 100
const V2_MAX_WEIGHT = 10_000
/** A tenth: with less a host whose VMs are all busy would never make another ready. */
const V1_YIELDING_SHARES = 102
const V2_YIELDING_WEIGHT = 10
/** QEMU needs a bounded number of threads: vCPUs, I/O workers, its main loop. */
const MAX_TASKS = 512
const V1_CONTROLLERS = ['cpu', 'cpuacct', 'memory', 'pids'] as const
/** An ended process leaves its group a moment after it is reaped. */
const REMOVE_TRIES = 40
const REMOVE_RETRY_MS = 25

export interface CgroupLimits {
  /** Of one CPU: 1.25 is one and a quarter. */
  readonly cpus: number
  readonly memoryBytes: number
  /** Others' work goes before its own, until it is renamed. Default false. */
  readonly yields?: boolean
}

export interface CgroupUse {
  readonly cpuSeconds: number | null
  readonly memoryBytes: number | null
  /** How often the kernel killed a process of the group because its memory was used up. */
  readonly oomKills: number
}

export interface Cgroups {
  readonly version: 1 | 2 | null
  /** Sentences for the operator: what is not limited, and why. */
  readonly warnings: readonly string[]
  /** Makes the group, or sets its limits again. */
  make(name: string, limits: CgroupLimits): Promise<void>
  /** Gives a group with this one process another name; it yields no more. */
  rename(from: string, to: string, pid: number, limits: CgroupLimits): Promise<void>
  /** Moves a process in, with all its threads. */
  enter(name: string, pid: number): Promise<void>
  use(name: string): Promise<CgroupUse>
  /** Removes the group; its processes must have ended. */
  remove(name: string): Promise<void>
  /** Every group below ours, by name: what `remove` may be told. */
  list(): Promise<readonly string[]>
  /** How many processes are in the group. */
  processes(name: string): Promise<number>
}

/** Looks at what the machine offers; makes the parent group. */
export async function openCgroups(root = '/sys/fs/cgroup'): Promise<Cgroups> {
  if (process.getuid?.() !== 0) return without('Berth does not run as root, so CPU and memory of a VM are limited by QEMU alone.')
  try {
    const unified = await readText(join(root, 'cgroup.controllers'))
    if (unified !== null) return await openV2(root, unified.split(/\s+/))
    return await openV1(root)
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error)
    return without(`The control groups of this machine can't be used (${text}), so CPU and memory of a VM are limited by QEMU alone.`)
  }
}

async function openV2(root: string, controllers: readonly string[]): Promise<Cgroups> {
  const wanted = ['cpu', 'memory', 'pids'].filter((name) => controllers.includes(name))
  const parent = join(root, PARENT)
  const enable = wanted.map((name) => `+${name}`).join(' ')
  await mkdir(parent, { recursive: true })
  if (wanted.length > 0) for (const dir of [root, parent]) await writeFile(join(dir, 'cgroup.subtree_control'), enable)
  if (wanted.includes('cpu')) await writeFile(join(parent, 'cpu.weight'), `${Math.min(V2_MAX_WEIGHT, V2_WEIGHT * CPUS)}`)
  const missing = ['cpu', 'memory'].filter((name) => !wanted.includes(name))
  const groups: Cgroups = {
    version: 2,
    warnings: missing.map((name) => `The machine's control groups have no ${name} controller, so the ${name} of a VM is limited by QEMU alone.`),
    async make(name, limits) {
      const dir = join(parent, name)
      await mkdir(dir, { recursive: true })
      if (wanted.includes('cpu')) {
        await writeFile(join(dir, 'cpu.max'), `${Math.round(limits.cpus * CPU_PERIOD_US)} ${CPU_PERIOD_US}`)
        await writeFile(join(dir, 'cpu.weight'), `${limits.yields === true ? V2_YIELDING_WEIGHT : V2_WEIGHT}`)
      }
      if (wanted.includes('memory')) {
        await writeFile(join(dir, 'memory.max'), `${limits.memoryBytes}`)
        await writeFile(join(dir, 'memory.oom.group'), '1')
      }
      if (wanted.includes('pids')) await writeFile(join(dir, 'pids.max'), `${MAX_TASKS}`)
    },
    enter: (name, pid) => writeFile(join(parent, name, 'cgroup.procs'), `${pid}`),
    async use(name) {
      const dir = join(parent, name)
      const [cpu, memory, events] = await Promise.all(['cpu.stat', 'memory.current', 'memory.events'].map((file) => readText(join(dir, file))))
      const micros = field(cpu, 'usage_usec')
      return { cpuSeconds: micros === null ? null : micros / 1e6, memoryBytes: number(memory), oomKills: field(events, 'oom_kill') ?? 0 }
    },
    // This version's groups keep their names: the process moves.
    async rename(from, to, pid, limits) {
      await groups.make(to, limits)
      await groups.enter(to, pid)
      await groups.remove(from)
    },
    remove: (name) => removeGroup(join(parent, name)),
    list: () => groupsIn(parent),
    processes: (name) => processesIn([join(parent, name)]),
  }
  return groups
}

async function openV1(root: string): Promise<Cgroups> {
  const own = await ownV1Groups()
  const parents = new Map<string, string>()
  for (const controller of V1_CONTROLLERS) {
    for (const group of ['/', own.get(controller) ?? '/']) {
      const parent = join(root, controller, group, PARENT)
      // Without the controller this would be an ordinary directory, in which nothing limits anything.
      if ((await readText(join(root, controller, 'cgroup.procs'))) === null) continue
      try {
        await mkdir(parent, { recursive: true })
        parents.set(controller, parent)
        break
      } catch {
        // Not mounted, or read-only there: the next place, or the warning below.
      }
    }
  }
  if (parents.size === 0) return without('This machine has no control groups, so CPU and memory of a VM are limited by QEMU alone.')
  const cpu = parents.get('cpu')
  if (cpu !== undefined) await writeFile(join(cpu, 'cpu.shares'), `${V1_SHARES * CPUS}`)
  const dirs = (name: string) => [...parents.values()].map((parent) => join(parent, name))
  const fileOf = (controller: string, name: string, file: string) => {
    const parent = parents.get(controller)
    return parent === undefined ? null : join(parent, name, file)
  }
  const readOf = async (controller: string, name: string, file: string) => {
    const path = fileOf(controller, name, file)
    return path === null ? null : await readText(path)
  }
  return {
    version: 1,
    warnings: ['cpu', 'memory']
      .filter((name) => !parents.has(name))
      .map((name) => `The machine's control groups have no ${name} controller, so the ${name} of a VM is limited by QEMU alone.`),
    async make(name, limits) {
      await Promise.all(dirs(name).map((dir) => mkdir(dir, { recursive: true })))
      const settings: readonly (readonly [string, string, string])[] = [
        ['cpu', 'cpu.shares', `${limits.yields === true ? V1_YIELDING_SHARES : V1_SHARES}`],
        ['cpu', 'cpu.cfs_period_us', `${CPU_PERIOD_US}`],
        ['cpu', 'cpu.cfs_quota_us', `${Math.round(limits.cpus * CPU_PERIOD_US)}`],
        ['memory', 'memory.limit_in_bytes', `${limits.memoryBytes}`],
        ['pids', 'pids.max', `${MAX_TASKS}`],
      ]
      for (const [controller, file, value] of settings) {
        const path = fileOf(controller, name, file)
        if (path !== null) await writeFile(path, value)
      }
    },
    async enter(name, pid) {
      await Promise.all(dirs(name).map((dir) => writeFile(join(dir, 'cgroup.procs'), `${pid}`)))
    },
    async use(name) {
      const [cpu, memory, oom] = await Promise.all([
        readOf('cpuacct', name, 'cpuacct.usage'),
        readOf('memory', name, 'memory.usage_in_bytes'),
        readOf('memory', name, 'memory.oom_control'),
      ])
      const nanos = number(cpu)
      return { cpuSeconds: nanos === null ? null : nanos / 1e9, memoryBytes: number(memory), oomKills: field(oom, 'oom_kill') ?? 0 }
    },
    async rename(from, to) {
      await Promise.all([...parents.values()].map((parent) => rename(join(parent, from), join(parent, to))))
      const shares = fileOf('cpu', to, 'cpu.shares')
      if (shares !== null) await writeFile(shares, `${V1_SHARES}`)
    },
    async remove(name) {
      await Promise.all(dirs(name).map(removeGroup))
    },
    async list() {
      const lists = await Promise.all([...parents.values()].map(groupsIn))
      return [...new Set(lists.flat())]
    },
    processes: (name) => processesIn(dirs(name)),
  }
}

function without(warning: string): Cgroups {
  return {
    version: null,
    warnings: [warning],
    make: async () => undefined,
    rename: async () => undefined,
    enter: async () => undefined,
    use: async () => ({ cpuSeconds: null, memoryBytes: null, oomKills: 0 }),
    remove: async () => undefined,
    list: async () => [],
    processes: async () => 0,
  }
}

/** controller → our own group, from lines like `4:memory:/user.slice`. */
async function ownV1Groups(): Promise<Map<string, string>> {
  const groups = new Map<string, string>()
  for (const line of readFileSync('/proc/self/cgroup', 'utf8').split('\n')) {
    const [, controllers, ...path] = line.split(':')
    for (const controller of (controllers ?? '').split(',')) groups.set(controller, path.join(':'))
  }
  return groups
}

async function removeGroup(dir: string): Promise<void> {
  for (let tried = 1; ; tried += 1) {
    try {
      await rmdir(dir)
      return
    } catch (error) {
      const code = error instanceof Error && 'code' in error ? error.code : null
      if (code === 'ENOENT') return
      if (code !== 'EBUSY' || tried >= REMOVE_TRIES) throw error
    }
    await sleep(REMOVE_RETRY_MS)
  }
}

async function processesIn(dirs: readonly string[]): Promise<number> {
  const lists = await Promise.all(dirs.map((dir) => readText(join(dir, 'cgroup.procs'))))
  return new Set(lists.flatMap((text) => text?.match(/\d+/g) ?? [])).size
}

async function groupsIn(dir: string): Promise<string[]> {
  try {
    const entries = await readdir(dir, { withFileTypes: true })
    return entries.filter((entry) => entry.isDirectory()).map((entry) => entry.name)
  } catch {
    // The parent was removed meanwhile: then nothing is in it.
    return []
  }
}

/** At once: the kernel makes the text as it is read, and a thread for each file would cost ten times as much. */
async function readText(path: string): Promise<string | null> {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    // Absent where the controller or the group is: the caller treats both as unknown.
    return null
  }
}

function number(text: string | null | undefined): number | null {
  const value = Number(text ?? Number.NaN)
  return text === null || !Number.isFinite(value) ? null : value
}

function field(text: string | null | undefined, name: string): number | null {
  for (const line of (text ?? '').split('\n')) {
    const [key, value] = line.split(' ')
    if (key === name) return number(value)
  }
  return null
}
