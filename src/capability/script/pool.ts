/**
 * Runs scripts: a few at a time, the others wait. JavaScript runs in threads: one that doesn't end in time, or whose caller
 * went away, is ended from outside; one that is idle is kept for the next script and keeps no process alive. Python has
 * processes (python-pool.ts), of which nothing is loaded before the first such script.
 */
import { Worker } from 'node:worker_threads'
import { Failure } from '../failure.ts'
import type { Json } from '../model.ts'
import { MEMORY_MIB } from './job.ts'
import type { ScriptJob, ScriptOutcome } from './job.ts'
import type { PythonPool } from './python-pool.ts'

const MAX_RUNNING = 2
const MAX_WAITING = 64
/** What a thread may take to start and to notice its own limit, before it is ended. */
const GRACE_MS = 5_000
const MAX_MESSAGE = 300

export class ScriptPool {
  readonly #idle: Worker[] = []
  readonly #busy = new Set<Worker>()
  readonly #waiting: (() => void)[] = []
  #python: Promise<PythonPool> | null = null
  #running = 0
  #isClosed = false

  /** What the script gave. `name` is the step's, for the sentences of its failures. */
  async run(name: string, job: ScriptJob, signal: AbortSignal | null): Promise<Json> {
    await this.#enter()
    try {
      signal?.throwIfAborted()
      const outcome = await (job.language === 'python' ? (await this.#pythons()).run(job, signal) : this.#inThread(job, signal))
      return read(name, outcome, job)
    } catch (error) {
      if (signal?.aborted === true) throw new Failure('unavailable', 'The call was cancelled.', { cause: error })
      throw error
    } finally {
      this.#leave()
    }
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([...[...this.#idle.splice(0), ...this.#busy].map((each) => each.terminate()), this.#python?.then((pool) => pool.close())])
  }

  async #pythons(): Promise<PythonPool> {
    this.#python ??= import('./python-pool.ts').then(({ PythonPool: Pool }) => new Pool())
    return this.#python
  }

  async #enter(): Promise<void> {
    if (this.#waiting.length >= MAX_WAITING) throw new Failure('resource_exhausted', `${MAX_WAITING} scripts wait already; try again later.`)
    if (this.#running >= MAX_RUNNING) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    else this.#running += 1
  }

  /** Whoever waits longest takes the place over. */
  #leave(): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#running -= 1
    else next()
  }

  #inThread(job: ScriptJob, signal: AbortSignal | null): Promise<ScriptOutcome> {
    const worker = this.#idle.pop() ?? this.#startWorker()
    this.#busy.add(worker)
    worker.ref()
    return new Promise((resolve, reject) => {
      const settle = (act: () => void, isReusable: boolean): void => {
        clearTimeout(timer)
        signal?.removeEventListener('abort', onAbort)
        worker.off('message', onMessage).off('error', onError).off('exit', onExit)
        this.#busy.delete(worker)
        if (isReusable && !this.#isClosed) {
          worker.unref()
          this.#idle.push(worker)
        } else void worker.terminate()
        act()
      }
      const onAbort = (): void => settle(() => reject(new Failure('unavailable', 'The call was cancelled.')), false)
      const onMessage = (outcome: ScriptOutcome): void => settle(() => resolve(outcome), true)
      const onError = (error: unknown): void => settle(() => reject(new Failure('internal', 'The thread of scripts broke.', { cause: error })), false)
      const onExit = (): void => settle(() => reject(new Failure('unavailable', 'The runner is ending.')), false)
      const timer = setTimeout(() => settle(() => resolve({ kind: 'failed', reason: 'time', message: '' }), false), job.timeoutMs + GRACE_MS)
      signal?.addEventListener('abort', onAbort)
      worker.on('message', onMessage).on('error', onError).on('exit', onExit)
      worker.postMessage(job)
    })
  }

  /** No environment, no arguments, and in the thread nothing but the interpreter. */
  #startWorker(): Worker {
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { env: {}, argv: [], resourceLimits: { maxOldGenerationSizeMb: 256 } })
    // A thread that breaks while nobody waits for it is nobody's loss.
    worker.on('error', () => undefined)
    worker.on('exit', () => {
      const at = this.#idle.indexOf(worker)
      if (at >= 0) this.#idle.splice(at, 1)
    })
    return worker
  }
}

function read(name: string, outcome: ScriptOutcome, { language, timeoutMs, statementLimit }: ScriptJob): Json {
  if (outcome.kind === 'done') {
    try {
      return JSON.parse(outcome.json) as Json
    } catch (error) {
      throw new Failure('script_failed', `The script of "${name}" gave what is no JSON.`, { cause: error })
    }
  }
  switch (outcome.reason) {
    case 'time':
      throw new Failure('script_timeout', `The script of "${name}" ran longer than ${timeoutMs} ms and was ended.`)
    case 'statements':
      throw new Failure('script_failed', `The script of "${name}" ran more than ${statementLimit} statements and was ended.`)
    case 'memory':
      throw new Failure('script_failed', `The script of "${name}" wanted more than ${MEMORY_MIB[language]} MiB of memory and was ended.`)
    case 'size':
      throw new Failure('script_failed', `The script of "${name}" gave more than 10 MiB.`)
    case 'threw':
      throw new Failure('script_failed', `The script of "${name}" failed: ${outcome.message.replace(/[\s\p{Cc}]+/gu, ' ').slice(0, MAX_MESSAGE)}.`)
  }
}
