/**
 * Who a process is: a bare pid is given to somebody else sooner or later; pid + start time + boot id is not.
 */
import { readFileSync } from 'node:fs'
import { readFile } from 'node:fs/promises'

export interface ProcessIdentity {
  readonly pid: number
  /** Clock ticks after boot, as /proc says. */
  readonly startTicks: number
  readonly bootId: string
}

let bootIdOnce: string | null = null

/** Changes with every start of the host. */
export function bootId(): string {
  bootIdOnce ??= readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()
  return bootIdOnce
}

/** The identity of a process that runs now; null if there is none (a zombie has ended too). */
export async function identify(pid: number): Promise<ProcessIdentity | null> {
  const startTicks = await startTicksOf(pid)
  return startTicks === null ? null : { pid, startTicks, bootId: bootId() }
}

/** Whether this very process still runs. */
export async function isAlive(identity: ProcessIdentity): Promise<boolean> {
  return identity.bootId === bootId() && (await startTicksOf(identity.pid)) === identity.startTicks
}

/** Signals this very process; false if it is gone. */
export async function signalProcess(identity: ProcessIdentity, signal: NodeJS.Signals): Promise<boolean> {
  if (!(await isAlive(identity))) return false
  try {
    process.kill(identity.pid, signal)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ESRCH') return false
    throw error
  }
}

async function startTicksOf(pid: number): Promise<number | null> {
  let text: string
  try {
    text = await readFile(`/proc/${pid}/stat`, 'utf8')
  } catch {
    // The process is gone, and with it the file.
    return null
  }
  // The second field is the program's name in parentheses, which may hold anything: count from the last one.
  const fields = text.slice(text.lastIndexOf(')') + 2).split(' ')
  const state = fields[0]
  const startTicks = Number(fields[19])
  return state === 'Z' || state === 'X' || !Number.isFinite(startTicks) ? null : startTicks
}
