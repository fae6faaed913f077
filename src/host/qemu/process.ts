/**
 * The QEMU process of a VM: started as a session of its own so that it outlives the server, told apart by
 * identity, and ended only after a look at that.
 *
 * Invariants: standard output and error go to files, never to pipes that end with us; nothing of our
 * environment is passed on; a signal is sent only to the very process that was started.
 */
import { spawn } from 'node:child_process'
import { open, readFile } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { BerthError } from '../../instance/errors.ts'
import { asDiskError, TOOL_ENVIRONMENT } from '../command.ts'
import { identify, isAlive, signalProcess, type ProcessIdentity } from './identity.ts'

export const KILL_TIMEOUT_MS = 10_000
/** A process that was told to end has mostly done so by then; later it is looked at less often. */
const LOOK_AFTER_MS = 2
const LOOK_EVERY_MS = 100

/** How a process ended; both null where only its absence is known. */
export interface ProcessEnd {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
}

export interface VmProcess {
  readonly identity: ProcessIdentity
  /** Settles when it has ended; never rejects. */
  readonly ended: Promise<ProcessEnd>
}

export interface Spawn {
  /** argv, as the jail wrapped it. */
  readonly command: readonly string[]
  /** Gets what QEMU prints, behind what is there. */
  readonly logPath: string
  /** Open files that the child finds as descriptors 3, 4, …; they stay open here. */
  readonly descriptors?: readonly number[]
}

/** Starts QEMU. Throws `not_supported` if it isn't installed. */
export async function spawnVm(request: Spawn): Promise<VmProcess> {
  const [program, ...args] = request.command
  if (program === undefined) throw new BerthError('internal', 'A VM was to be started without a command.')
  const log = await open(request.logPath, 'a', 0o600).catch((error: unknown) => {
    throw asDiskError(error, "a VM's log")
  })
  try {
    const child = spawn(program, args, {
      cwd: '/',
      // One heap for all of QEMU's threads: each of its own would be a megabyte or two in every VM.
      env: { ...TOOL_ENVIRONMENT, MALLOC_ARENA_MAX: '1' },
      stdio: ['ignore', log.fd, log.fd, ...(request.descriptors ?? [])],
      detached: true,
    })
    const ended = new Promise<ProcessEnd>((resolve) => {
      child.once('exit', (code, signal) => resolve({ code, signal }))
      child.once('error', () => resolve({ code: null, signal: null }))
    })
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', (error) => reject(notStarted(program, error)))
    })
    child.unref()
    const identity = child.pid === undefined ? null : await identify(child.pid)
    if (identity === null) throw new BerthError('internal', `${program} ended as soon as it was started; the VM's log may say why.`)
    return { identity, ended }
  } finally {
    await log.close()
  }
}

/** A process that an earlier server started: its end is seen when `hint` (its control socket closed) says so. */
export function adoptVm(identity: ProcessIdentity, hint: Promise<void>): VmProcess {
  const ended = hint.then(async (): Promise<ProcessEnd> => {
    await untilGone(identity, Number.POSITIVE_INFINITY)
    return { code: null, signal: null }
  })
  return { identity, ended }
}

/** Ends the very process, and waits until it is gone. Safe if it has gone already. */
export async function killVm(identity: ProcessIdentity): Promise<void> {
  if (!(await signalProcess(identity, 'SIGKILL'))) return
  if (!(await untilGone(identity, KILL_TIMEOUT_MS))) {
    throw new BerthError('timeout', `QEMU (pid ${identity.pid}) did not end although it was killed; the host's storage may hang.`)
  }
}

/** Waits for the process to end; false if the time limit came first. */
export async function untilGone(identity: ProcessIdentity, timeoutMs: number): Promise<boolean> {
  const deadline = performance.now() + timeoutMs
  for (let pauseMs = LOOK_AFTER_MS; await isAlive(identity); pauseMs = Math.min(LOOK_EVERY_MS, pauseMs * 2)) {
    if (performance.now() >= deadline) return false
    await sleep(pauseMs)
  }
  return true
}

/** What a process shares with no other; null if it is gone. */
export async function privateBytes(pid: number): Promise<number | null> {
  const text = await readFile(`/proc/${pid}/smaps_rollup`, 'utf8').catch(() => null)
  if (text === null) return null
  return [...text.matchAll(/^Private_Dirty:\s+(\d+) kB/gm)].reduce((sum, [, kib]) => sum + Number(kib) * 1024, 0)
}

function notStarted(program: string, error: Error): BerthError {
  if ('code' in error && error.code === 'ENOENT') {
    const brings = program.startsWith('qemu') ? 'qemu-system-x86' : program === 'setpriv' ? 'util-linux' : program
    return new BerthError('not_supported', `${program} is not on this machine; install the package ${brings}.`, { cause: error })
  }
  return new BerthError('internal', `${program} could not be started: ${error.message}.`, { cause: error })
}
