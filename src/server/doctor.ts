/**
 * What `berth doctor` tells: which parts are there, which are missing, and what to do about it.
 * Looks only, and changes nothing but the remembered verdict on KVM, unless it is told to clean up. Works with and without a running server.
 */
import { execFile } from 'node:child_process'
import { constants } from 'node:fs'
import { access, readFile, stat, statfs } from 'node:fs/promises'
import { createServer } from 'node:net'
import { cpus, release, totalmem } from 'node:os'
import { delimiter, dirname, join } from 'node:path'
import { promisify } from 'node:util'
import { whyNoFileSystems } from '../host/file-systems/needs.ts'
import type { Leftover } from '../host/leftovers/leftovers.ts'
import { whyStale } from '../host/qemu/guest-build.ts'

const run = promisify(execFile)
const PROBE_TIMEOUT_MS = 10_000
const MIN_NODE = 24
const MIN_FREE_BYTES = 5 * 1024 ** 3
const MIN_MEMORY_BYTES = 2 * 1024 ** 3
const SYSTEM_PATHS = ['/usr/local/sbin', '/usr/sbin', '/sbin', '/usr/local/bin', '/usr/bin', '/bin']

export type CheckStatus = 'ok' | 'warning' | 'missing'

/** One thing that was looked at. */
export interface Check {
  readonly name: string
  readonly status: CheckStatus
  /** What was found, in a few words. */
  readonly detail: string
  /** What to do, one sentence; null where nothing is to be done. */
  readonly fix: string | null
}

export interface DoctorOptions {
  readonly dataDir: string
  /** Directory with the guest's kernel and initramfs. */
  readonly artifactsDir: string
  /** `host:port` pairs that the server would listen on, and what each is for. */
  readonly listeners: readonly Listener[]
  /** What Berths that are gone left on this machine. */
  readonly leftovers: readonly Leftover[]
  /** Removes what can be removed of it. */
  readonly clean: boolean
  /** Proves KVM by a real boot, or tells the remembered verdict. */
  readonly proveAccelerator: () => Promise<{ readonly accelerator: 'kvm' | 'tcg'; readonly reason: string }>
}

export interface Listener {
  readonly name: string
  readonly host: string
  readonly port: number
  /** Where the data directory's own server has it now; null if there is no such server, or it has it elsewhere. */
  readonly servedAt: string | null
}

interface Tool {
  readonly command: string
  readonly package: string
  readonly version: readonly string[] | null
  readonly use: string
}

const TOOLS: readonly Tool[] = [
  { command: 'qemu-system-x86_64', package: 'qemu-system-x86', version: ['--version'], use: 'runs the VMs' },
  { command: 'skopeo', package: 'skopeo', version: ['--version'], use: 'pulls images' },
  { command: 'umoci', package: 'umoci', version: ['--version'], use: 'unpacks images' },
  { command: 'mkfs.erofs', package: 'erofs-utils', version: null, use: 'makes root images' },
  { command: 'mke2fs', package: 'e2fsprogs', version: ['-V'], use: 'makes writable layers and volumes' },
  { command: 'ip', package: 'iproute2', version: ['-V'], use: 'makes bridges and taps' },
  { command: 'tc', package: 'iproute2', version: ['-V'], use: 'limits bandwidth' },
  { command: 'nft', package: 'nftables', version: ['--version'], use: 'isolates guests' },
  { command: 'musl-gcc', package: 'musl-tools', version: null, use: "builds the guest's agent" },
  { command: 'busybox', package: 'busybox-static', version: null, use: 'fills the built-in image' },
]

/** Looks at everything that running VMs needs, in the order in which a person would mend it. */
export async function diagnose(options: DoctorOptions): Promise<readonly Check[]> {
  const checks: Check[] = [checkNode(), checkUser()]
  checks.push(...(await Promise.all(TOOLS.map(checkTool))))
  checks.push(await checkGuest(options.artifactsDir))
  checks.push(await checkAccelerator(options))
  checks.push(await checkTun(), await checkFileSystems(), await checkCgroups(), checkMemory(), await checkDisk(options.dataDir))
  for (const listener of options.listeners) checks.push(await checkPort(listener))
  checks.push(...(await checkLeftovers(options)))
  return checks
}

async function checkLeftovers({ leftovers, clean }: DoctorOptions): Promise<readonly Check[]> {
  if (leftovers.length === 0) return [ok('leftovers', 'nothing of a Berth that is gone')]
  const look = async ({ kind, name, why, remove }: Leftover): Promise<Check> => {
    if (remove === null || !clean) return warning('leftover', `${kind} ${name}: ${why}`, remove === null ? null : 'Remove it with berth doctor --clean.')
    try {
      return (await remove()) ? ok('leftover', `${kind} ${name} is removed: ${why}`) : ok('leftover', `${kind} ${name} is left: it is in use again, or gone`)
    } catch (error) {
      return warning('leftover', `${kind} ${name} can't be removed: ${error instanceof Error ? error.message : String(error)}`, 'Run berth doctor --clean as root.')
    }
  }
  // What processes hold goes only after them.
  const isProcess = ({ kind }: Leftover) => kind === 'VM' || kind === 'file server'
  const processes = await Promise.all(leftovers.filter(isProcess).map(look))
  return [...processes, ...(await Promise.all(leftovers.filter((leftover) => !isProcess(leftover)).map(look)))]
}

/** As far as it can be known before a network is chosen. */
async function checkFileSystems(): Promise<Check> {
  const why = await whyNoFileSystems('bridge')
  return why === null ? ok('file systems', 'nfs-ganesha can serve them') : warning('file systems', 'can’t be served', why)
}

function checkNode(): Check {
  const major = Number(process.versions.node.split('.')[0])
  return major >= MIN_NODE
    ? ok('node', `v${process.versions.node} on Linux ${release()}`)
    : missing('node', `v${process.versions.node}`, `Start Berth through ./berth, which brings Node.js ${MIN_NODE}.`)
}

function checkUser(): Check {
  return process.getuid?.() === 0
    ? ok('user', 'root')
    : warning('user', `uid ${process.getuid?.() ?? '?'}`, 'Without root there are no taps and no cgroups: guests get QEMU’s user-mode network and no limits; start Berth as root for both.')
}

async function checkTool(tool: Tool): Promise<Check> {
  const path = await findCommand(tool.command)
  if (path === null) {
    return missing(tool.command, 'not found', `It ${tool.use}: run ./berth setup, or apt-get install ${tool.package}.`)
  }
  if (tool.version === null) return ok(tool.command, path)
  try {
    const { stdout, stderr } = await run(path, [...tool.version], { timeout: PROBE_TIMEOUT_MS })
    const line = (stdout.trim() === '' ? stderr : stdout).split('\n')[0]?.trim()
    return ok(tool.command, line === undefined || line === '' ? path : line)
  } catch (error) {
    const reason = error instanceof Error ? (error.message.split('\n')[0] ?? '') : String(error)
    return missing(tool.command, `does not run: ${reason}`, `Reinstall the package ${tool.package}.`)
  }
}

async function checkGuest(artifactsDir: string): Promise<Check> {
  const parts = ['vmlinuz', 'initramfs.gz']
  const absent: string[] = []
  for (const part of parts) if (!(await exists(join(artifactsDir, part)))) absent.push(part)
  if (absent.length > 0) return missing('guest', `no ${absent.join(' and no ')} in ${artifactsDir}`, 'Run ./berth setup, which brings the kernel and builds the agent.')
  const stale = await whyStale(artifactsDir)
  if (stale !== null) return missing('guest', 'built from other sources', stale)
  const version = await readFile(join(artifactsDir, 'version'), 'utf8').catch(() => '')
  return ok('guest', version.trim() === '' ? artifactsDir : `kernel ${version.trim().split('\n')[0] ?? ''}`)
}

async function checkAccelerator(options: DoctorOptions): Promise<Check> {
  try {
    const verdict = await options.proveAccelerator()
    return verdict.accelerator === 'kvm'
      ? ok('kvm', verdict.reason)
      : warning('kvm', verdict.reason, 'VMs run under emulation (TCG), several times slower and without hardware isolation; use a machine with working KVM for hostile code.')
  } catch (error) {
    return missing('kvm', error instanceof Error ? error.message : String(error), 'Mend what is missing above, then run ./berth doctor again.')
  }
}

async function checkTun(): Promise<Check> {
  return (await exists('/dev/net/tun'))
    ? ok('tun', '/dev/net/tun')
    : missing('tun', 'no /dev/net/tun', 'Load the kernel module tun (modprobe tun), or set BERTH_NETWORK=user.')
}

async function checkCgroups(): Promise<Check> {
  const fix = 'VMs run without CPU and memory limits of their own; mount cgroup2 with the cpu and memory controllers.'
  const v2 = await readFile('/sys/fs/cgroup/cgroup.controllers', 'utf8').catch(() => null)
  if (v2 !== null) {
    const has = v2.trim().split(/\s+/)
    return has.includes('cpu') && has.includes('memory') ? ok('cgroups', `v2 with ${v2.trim()}`) : warning('cgroups', `v2 with ${v2.trim() || 'no controllers'}`, fix)
  }
  const v1 = (await exists('/sys/fs/cgroup/cpu')) && (await exists('/sys/fs/cgroup/memory'))
  return v1 ? ok('cgroups', 'v1 with cpu and memory') : warning('cgroups', 'none', fix)
}

function checkMemory(): Check {
  const detail = `${gib(totalmem())}, ${cpus().length} CPUs`
  return totalmem() >= MIN_MEMORY_BYTES ? ok('memory', detail) : warning('memory', detail, 'Have at least 2 GiB for a few small instances.')
}

async function checkDisk(dataDir: string): Promise<Check> {
  let directory = dataDir
  while (!(await exists(directory)) && directory !== dirname(directory)) directory = dirname(directory)
  try {
    await access(directory, constants.W_OK)
  } catch {
    return missing('disk', `${dataDir} can't be written`, 'Choose another data directory with --data-dir or BERTH_DATA_DIR.')
  }
  const fs = await statfs(directory)
  const free = fs.bavail * fs.bsize
  const detail = `${gib(free)} free for ${dataDir}`
  return free >= MIN_FREE_BYTES ? ok('disk', detail) : warning('disk', detail, 'Free some space, or choose another data directory with BERTH_DATA_DIR.')
}

async function checkPort(listener: Listener): Promise<Check> {
  const where = `${listener.host}:${listener.port}`
  const name = `port ${listener.name}`
  const free = await new Promise<boolean>((resolve) => {
    const server = createServer()
    server.once('error', () => resolve(false))
    server.listen(listener.port, listener.host, () => server.close(() => resolve(true)))
  })
  if (free) return ok(name, `${where} is free`)
  if (listener.servedAt !== null) return ok(name, `the server of this data directory is at ${listener.servedAt}`)
  try {
    const answer = await fetch(`http://${where}/healthz`, { signal: AbortSignal.timeout(PROBE_TIMEOUT_MS) })
    if (answer.ok) return ok(name, `${where} answers: a server runs there`)
  } catch {
    // Not HTTP, or not answering: somebody else's.
  }
  return warning(name, `${where} is taken by another program`, 'Stop it, or choose another address with --listen or BERTH_LISTEN.')
}

async function findCommand(command: string): Promise<string | null> {
  const directories = new Set([...(process.env['PATH'] ?? '').split(delimiter), ...SYSTEM_PATHS])
  for (const directory of directories) {
    const path = join(directory, command)
    try {
      await access(path, constants.X_OK)
      if ((await stat(path)).isFile()) return path
    } catch {
      // Not in this directory.
    }
  }
  return null
}

async function exists(path: string): Promise<boolean> {
  return access(path).then(
    () => true,
    () => false,
  )
}

function gib(bytes: number): string {
  return `${(bytes / 1024 ** 3).toFixed(1)} GiB`
}

function ok(name: string, detail: string): Check {
  return { name, status: 'ok', detail, fix: null }
}

function warning(name: string, detail: string, fix: string | null): Check {
  return { name, status: 'warning', detail, fix }
}

function missing(name: string, detail: string, fix: string): Check {
  return { name, status: 'missing', detail, fix }
}
