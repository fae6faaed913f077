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
    await Promise.all(all.map((child) => new Promise<void>((resolve) => (child.exitCode === null && child.signalCode === null ? child.once('exit', () => resolve()).kill('SIGKILL') : resolve()))))
  }

  #take(): Promise<ChildProcess> {
    const spare = this.#spare ?? this.#start()
    this.#spare = null
    return spare
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
    const child = spawn(process.execPath, [...limits, program, library], { env: {}, cwd: '/', stdio: ['ignore', 'ignore', 'ignore', 'ipc'] })
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

function answerOf(child: ChildProcess, job: ScriptJob, signal: AbortSignal | null): Promise<ScriptOutcome> {
  return new Promise((resolve, reject) => {
    child.channel?.ref()
    const timer = setTimeout(() => settle(() => resolve({ kind: 'failed', reason: 'time', message: '' })), job.timeoutMs)
    const settle = (act: () => void): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
      child.removeAllListeners('message').removeAllListeners('exit')
      child.channel?.unref()
      act()
    }
    const onAbort = (): void => settle(() => reject(new Failure('unavailable', 'The call was cancelled.')))
    signal?.addEventListener('abort', onAbort)
    child.on('message', (outcome: ScriptOutcome) => settle(() => resolve(outcome)))
    // Python that runs out of memory in a place where it can't say so ends.
    child.on('exit', () => settle(() => resolve({ kind: 'failed', reason: 'memory', message: '' })))
    child.send(job)
  })
}
