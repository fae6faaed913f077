/**
 * A running QEMU: its process, its control connection, and what it said about its own end.
 *
 * Invariant: whoever gets a Vmm owns a process that really runs; whoever loses it (`kill`, `quit`, or it
 * ended) finds its `ended` settled.
 */
import { BerthError } from '../../instance/errors.ts'
import type { AppExit, InstanceId } from '../../instance/model.ts'
import type { InstancePaths } from '../paths.ts'
import { QEMU } from './accel.ts'
import { limitsOf, type VmContext } from './context.ts'
import { exitCause, exitRecord, lastError } from './exit-cause.ts'
import type { ProcessIdentity } from './identity.ts'
import { readEnd } from './log-file.ts'
import { machineArgs, type MachineSpec } from './machine.ts'
import { adoptVm, killVm, spawnVm, untilGone, type ProcessEnd, type VmProcess } from './process.ts'
import { QmpClient } from './qmp.ts'

/** QEMU opens its control socket before anything else; a machine that is very busy takes its time. */
const SOCKET_TIMEOUT_MS = 30_000
const QUIT_TIMEOUT_MS = 10_000
const EVIDENCE_BYTES = 16 * 1024

export interface VmmStart {
  readonly id: InstanceId
  readonly machine: MachineSpec
  readonly descriptors?: readonly number[]
  /** Others' work goes before its own, until it is somebody's. */
  readonly yields?: boolean
  /** Told as soon as the process exists, before anything can go wrong with it. */
  readonly onSpawned: (identity: ProcessIdentity) => Promise<void>
}

export class Vmm {
  readonly #process: VmProcess
  readonly #qmp: QmpClient
  #shutdownReason: string | null = null
  #panicked = false
  #end: ProcessEnd | null = null

  private constructor(process: VmProcess, qmp: QmpClient) {
    this.#process = process
    this.#qmp = qmp
    qmp.onEvent(({ event, data }) => {
      if (event === 'SHUTDOWN' && typeof data['reason'] === 'string') this.#shutdownReason = data['reason']
      if (event === 'GUEST_PANICKED') this.#panicked = true
    })
    void process.ended.then((end) => {
      this.#end = end
    })
  }

  /** Starts QEMU in its jail and cgroup, and connects to it. Leaves no process behind if it throws. */
  static async start(context: VmContext, request: VmmStart): Promise<Vmm> {
    const paths = context.paths.instance(request.id)
    await context.cgroups.make(request.id, { ...limitsOf(context, request.machine), yields: request.yields ?? false })
    const process = await spawnVm({
      command: inSmallPages(context, context.jail.wrap(QEMU, machineArgs(request.machine), request.id)),
      logPath: paths.vmmLog,
      ...(request.descriptors === undefined ? {} : { descriptors: request.descriptors }),
    })
    try {
      const entering = context.cgroups.enter(request.id, process.identity.pid).catch((error: unknown) => {
        // The process may have ended already, which is told below; a VM without limits is not started.
        throw new BerthError('internal', "The VM's process could not be put into its control group.", { cause: error })
      })
      // The kernel takes its time to move a process; QEMU makes its machine meanwhile.
      const [qmp] = await Promise.all([connectQmp(process, paths), entering, request.onSpawned(process.identity)])
      return new Vmm(process, qmp)
    } catch (error) {
      await killVm(process.identity)
      throw error
    }
  }

  /** Takes over a QEMU that an earlier server started. */
  static async adopt(identity: ProcessIdentity, paths: InstancePaths, timeoutMs: number): Promise<Vmm> {
    const qmp = await QmpClient.connect(paths.qmpSocket, { timeoutMs })
    return new Vmm(adoptVm(identity, qmp.closed), qmp)
  }

  get identity(): ProcessIdentity {
    return this.#process.identity
  }

  get qmp(): QmpClient {
    return this.#qmp
  }

  get version(): string {
    return this.#qmp.version
  }

  /** Settles when the process has ended. */
  get ended(): Promise<ProcessEnd> {
    return this.#process.ended
  }

  get hasEnded(): boolean {
    return this.#end !== null
  }

  async kill(): Promise<void> {
    await killVm(this.identity)
    this.#qmp.close()
  }

  /** Lets QEMU write what it holds and end; kills it if it doesn't. */
  async quit(): Promise<void> {
    await this.#qmp.execute('quit').catch(() => undefined)
    if (!(await untilGone(this.identity, QUIT_TIMEOUT_MS))) await this.kill()
    this.#qmp.close()
  }

  /** Lets go of it; it runs on. */
  detach(): void {
    this.#qmp.close()
  }

  /** How its life ended; call it when it has. `agent` is what the guest told over the link. */
  async cause(context: VmContext, id: InstanceId, agent: AppExit | null, startedAtMs: number): Promise<AppExit> {
    const use = await context.cgroups.use(id)
    return await readCause(context.paths.instance(id), {
      agent,
      startedAtMs,
      shutdownReason: this.#shutdownReason,
      panicked: this.#panicked,
      process: this.#end,
      killedForMemory: use.oomKills > 0,
    })
  }
}

/** Emulation's buffers are large and mostly empty; in small pages they take what is used of them. */
function inSmallPages({ accelerator, artifacts }: VmContext, command: readonly string[]): readonly string[] {
  return accelerator.accelerator === 'tcg' && artifacts.smallPagesTool !== null ? [artifacts.smallPagesTool, ...command] : command
}

export interface KnownEnd {
  readonly agent: AppExit | null
  readonly startedAtMs: number
  readonly shutdownReason: string | null
  readonly panicked: boolean
  readonly process: ProcessEnd | null
  readonly killedForMemory: boolean
}

/** How a VM ended, with what its files say. */
export async function readCause(paths: InstancePaths, known: KnownEnd): Promise<AppExit> {
  const [app, console, vmmLog] = await Promise.all([paths.appLog, paths.consoleLog, paths.vmmLog].map((path) => readEnd(path, EVIDENCE_BYTES)))
  return exitCause({
    agent: known.agent ?? exitRecord(app ?? '', known.startedAtMs),
    shutdownReason: known.shutdownReason,
    panicked: known.panicked,
    console: console ?? '',
    vmmLog: vmmLog ?? '',
    process: known.process,
    killedForMemory: known.killedForMemory,
  })
}

/** Connects; when the process ends instead, its last words become the error. */
async function connectQmp(process: VmProcess, paths: InstancePaths): Promise<QmpClient> {
  let hasEnded = false
  void process.ended.then(() => {
    hasEnded = true
  })
  try {
    return await QmpClient.connect(paths.qmpSocket, {
      timeoutMs: SOCKET_TIMEOUT_MS,
      guard: () => {
        if (hasEnded) throw new BerthError('internal', 'QEMU ended as soon as it was started.')
      },
    })
  } catch (error) {
    const words = lastError(await readEnd(paths.vmmLog, EVIDENCE_BYTES))
    if (words === null) throw error
    if (/no space left/i.test(words)) throw new BerthError('disk_full', `The disk of the host is full: QEMU said "${words}".`, { cause: error })
    throw new BerthError('internal', `QEMU could not run the VM: ${words}.`, { cause: error })
  }
}
