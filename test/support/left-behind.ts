/**
 * What a test, or a benchmark, has started and not ended yet; ended here when nobody else does it.
 *
 *   startServer, openLab … ─▶ owe(what, undo) ─▶ paid by their own stop or close
 *                                            └─▶ else: undone after the file's last test, or on SIGINT, SIGTERM, SIGHUP
 *
 * So a test file that fails, throws in `before`, or is interrupted leaves no server, VM, interface or directory.
 * Nothing helps against SIGKILL: the next server over the same directory sweeps that.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { rm } from 'node:fs/promises'
import { constants } from 'node:os'
import { after } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { openCgroups } from '../../src/host/cgroup/cgroup.ts'
import { openNetwork, type NetworkOptions } from '../../src/host/network/network.ts'
import { hostPaths } from '../../src/host/paths.ts'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const
/** A server that is asked in vain to let go of something must not keep an interrupted run for ever. */
const UNDO_LIMIT_MS = 60_000
const LOOK_EVERY_MS = 50
/** A pool may start another VM for one that was ended: so many looks in a row must find none. */
const QUIET_LOOKS = 3

const debts = new Map<string, () => Promise<void>>()
let watching = false

// A hook of the file itself, and the last of them: the file's own have stopped what they can when it looks. So it is made
// when the file has been read, not within another hook or a test, whose it would be. The benchmark, which is no test, has
// the signals alone.
if (process.env['NODE_TEST_CONTEXT'] !== undefined || process.argv[1]?.endsWith('.test.ts') === true) setImmediate(() => after(payAll))

/** `undo` runs if `paid(what)` was not called when everything is over. The same `what` again replaces it. */
export function owe(what: string, undo: () => Promise<void>): void {
  debts.set(what, undo)
  if (watching) return
  watching = true
  for (const signal of SIGNALS) process.once(signal, () => void endBy(signal))
}

export function paid(what: string): void {
  debts.delete(what)
}

/** What a host has on the machine. */
export interface HostRemains {
  readonly dataDir: string
  /** Default: where a host over that directory has its sockets. */
  readonly runDir?: string
  readonly network: NetworkOptions | null
}

/** Ends every process that works in the host's directories, and removes its interfaces, control groups and files. */
export async function removeRemains({ dataDir, runDir, network }: HostRemains): Promise<void> {
  const paths = hostPaths(dataDir, ...(runDir === undefined ? [] : [runDir]))
  const deadline = Date.now() + UNDO_LIMIT_MS
  for (let quiet = 0; quiet < QUIET_LOOKS && Date.now() < deadline; await sleep(LOOK_EVERY_MS)) {
    const pids = processesIn([`${dataDir}/`, `${paths.run}/`])
    quiet = pids.length === 0 ? quiet + 1 : 0
    for (const pid of pids) endProcess(pid)
  }
  if (network !== null) await (await openNetwork({ ...network, owner: dataDir })).teardown()
  const cgroups = await openCgroups()
  for (const name of namesIn(paths.instances)) await cgroups.remove(name).catch(() => undefined) // it never had one
  await Promise.all([dataDir, paths.run, ...(runDir === undefined ? [] : [runDir])].map((path) => rm(path, { recursive: true, force: true })))
}

async function payAll(): Promise<void> {
  const open = [...debts.values()].toReversed()
  debts.clear()
  const failed = (await Promise.allSettled(open.map((undo) => undo()))).find((result) => result.status === 'rejected')
  if (failed !== undefined) throw failed.reason
}

async function endBy(signal: NodeJS.Signals): Promise<void> {
  // Whoever is impatient gets what the signal means.
  process.once(signal, () => process.exit(128 + constants.signals[signal]))
  await payAll().catch((error: unknown) => console.error(error))
  process.exit(128 + constants.signals[signal])
}

/** Ids of processes that name one of the directories, but for ourselves. */
function processesIn(directories: readonly string[]): readonly number[] {
  return namesIn('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .filter((pid) => directories.some((directory) => commandOf(pid).includes(directory)))
    .map(Number)
}

/** Empty if it ended meanwhile. */
function commandOf(pid: string): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'utf8')
  } catch {
    return ''
  }
}

function endProcess(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL')
  } catch {
    // It ended by itself.
  }
}

function namesIn(directory: string): readonly string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}
