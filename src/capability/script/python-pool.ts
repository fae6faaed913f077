/**
 * Runs Python scripts, each in a process of its own that ends with it: a few at a time, the others wait. Python takes
 * seconds to load, so one process is ready ahead, from the first script on. None outlives its time, its caller or the runner.
 */
import { spawn } from 'node:child_process'
import type { ChildProcess } from 'node:child_process'
import { dirname } from 'node:path'
import { fileURLToPath } from 'node:url'
import { Failure } from '../failure.ts'
import type { ScriptJob, ScriptOutcome } from './job.ts'

/** Until Python answers, on a machine that has much else to do. */
const LOAD_TIMEOUT_MS = 120_000
const HEAP_MIB = 256
/**
 * What the kernel lets one have in all, of which Node takes some 800 MiB before it uses any: files that a script makes, and
 * arrays of JavaScript's, lie outside of Python's memory and of the heap.
 */
const DATA_MIB = 1536
/** Where the kernel takes no such limit, the others hold. */
const LIMITED = 'ulimit -d "$0" 2>/dev/null; exec "$@"'

export class PythonPool {
  readonly #all = new Set<ChildProcess>()
  #spare: Promise<ChildProcess> | null = null
  #isClosed = false

  /** How it ended. Whoever calls holds back what runs at once. */
  async run(job: ScriptJob, signal: AbortSignal | null): Promise<ScriptOutcome> {
    const child = await this.#take()
    if (this.#isClosed || signal?.aborted === true) {
      child.kill('SIGKILL')
      throw new Failure('unavailable', 'The call was cancelled.')
    }
    try {
      return await answerOf(child, job, signal)
    } finally {
      child.kill('SIGKILL')
      this.#keepSpare()
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    const all = [...this.#all]
    await Promise.all(all.map((child) => new Promise<void>((resolve) => (hasEnded(child) ? resolve() : child.once('exit', () => resolve()).kill('SIGKILL')))))
  }

  async #take(): Promise<ChildProcess> {
    const spare = this.#spare
    this.#spare = null
    const child = spare === null ? null : await spare
    // The kernel may have ended it meanwhile, for want of memory.
    return child === null || hasEnded(child) ? this.#start() : child
  }

  #keepSpare(): void {
    if (this.#isClosed || this.#spare !== null) return
    const spare = this.#start()
    this.#spare = spare
    // One that breaks while nobody waits for it is nobody's loss.
    spare.catch(() => {
      if (this.#spare === spare) this.#spare = null
    })
  }

  /** No environment, no arguments of ours, and nothing open but the channel. */
  #start(): Promise<ChildProcess> {
    const library = import.meta.resolve('pyodide')
    const program = fileURLToPath(new URL('./python-child.ts', import.meta.url))
    const readable = [dirname(fileURLToPath(library)), program, fileURLToPath(new URL('./job.ts', import.meta.url))]
    const limits = ['--permission', ...readable.map((path) => `--allow-fs-read=${path}`), '--disallow-code-generation-from-strings', `--max-old-space-size=${HEAP_MIB}`, '--disable-warning=ExperimentalWarning']
    const command = [process.execPath, ...limits, program, library]
    const child = spawn('/bin/sh', ['-c', LIMITED, String(DATA_MIB * 1024), ...command], { env: {}, cwd: '/', stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
    this.#all.add(child)
    child.once('exit', () => this.#all.delete(child))
    // What waits keeps no process alive.
    child.unref()
    child.channel?.unref()
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => child.kill('SIGKILL'), LOAD_TIMEOUT_MS)
      timer.unref()
      child.channel?.ref()
      child.once('error', (error) => reject(new Failure('internal', 'Python could not be started.', { cause: error })))
      child.once('exit', () => reject(this.#isClosed ? new Failure('unavailable', 'The runner is ending.') : new Failure('internal', 'Python could not be loaded.')))
      child.once('message', () => {
        clearTimeout(timer)
        child.channel?.unref()
        resolve(child)
      })
    })
  }
}

function hasEnded({ exitCode, signalCode }: ChildProcess): boolean {
  return exitCode !== null || signalCode !== null
}

function answerOf(child: ChildProcess, job: ScriptJob, signal: AbortSignal | null): Promise<ScriptOutcome> {
  return new Promise((resolve, reject) => {
    child.channel?.ref()
    const timer = setTimeout(() => settle(() => resolve({ kind: 'failed', reason: 'time', message: '' })), job.timeoutMs)
    const settle = (act: () => void): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      child.off('message', onMessage).off('exit', onExit)
      child.channel?.unref()
      act()
    }
    const onAbort = (): void => settle(() => reject(new Failure('unavailable', 'The call was cancelled.')))
    const onMessage = (outcome: ScriptOutcome): void => settle(() => resolve(outcome))
    // Python that runs out of memory in a place where it can't say so ends.
    const onExit = (): void => settle(() => resolve({ kind: 'failed', reason: 'memory', message: '' }))
    signal?.addEventListener('abort', onAbort)
    child.on('message', onMessage).on('exit', onExit)
    child.send(job)
  })
}
