/**
 * Pulls that wait and pulls that run: at most so many at once, first come first served. Credentials live only here,
 * in memory; a pull that a crash interrupted is queued again without them.
 */
import { BerthError } from '../instance/errors.ts'
import type { ImageStatus, ProjectId } from '../instance/model.ts'
import type { HostImage, PullRequest } from './host-port.ts'

export interface PullJob {
  readonly projectId: ProjectId
  /** Normalised. */
  readonly name: string
  readonly platform: string | null
  readonly credentials: PullRequest['credentials']
}

/** How far a pull is. */
export interface PullState {
  readonly status: ImageStatus
  readonly queuePosition: number | null
  readonly progress: number | null
}

interface Running {
  readonly job: PullJob
  readonly abort: AbortController
  readonly done: Promise<void>
  state: PullState
}

export interface QueueParts {
  readonly parallel: number
  readonly limit: number
  readonly pull: (request: PullRequest) => Promise<HostImage>
  /** Called once for each job that ended by itself; not for those that `close` cut off. */
  readonly settled: (job: PullJob, outcome: { readonly image: HostImage } | { readonly error: unknown }) => Promise<void>
}

export class ImageQueue {
  readonly #parts: QueueParts
  readonly #waiting: PullJob[] = []
  readonly #running = new Map<string, Running>()
  #closed = false

  constructor(parts: QueueParts) {
    this.#parts = parts
  }

  get size(): number {
    return this.#waiting.length + this.#running.size
  }

  /** Throws `rate_limited` when too many wait already. */
  checkRoom(): void {
    if (this.#waiting.length < this.#parts.limit) return
    throw new BerthError('rate_limited', `${this.#parts.limit} images wait to be pulled already: try again later.`)
  }

  add(job: PullJob): void {
    if (this.#closed || this.state(job.projectId, job.name) !== null) return
    this.#waiting.push(job)
    this.#next()
  }

  /** null if the queue knows no such pull. */
  state(projectId: ProjectId, name: string): PullState | null {
    const running = this.#running.get(keyOf(projectId, name))
    if (running !== undefined) return running.state
    const index = this.#waiting.findIndex(job => job.projectId === projectId && job.name === name)
    return index < 0 ? null : { status: 'pending', queuePosition: index + 1, progress: null }
  }

  /** Nobody wants it any more. */
  cancel(projectId: ProjectId, name: string): void {
    const index = this.#waiting.findIndex(job => job.projectId === projectId && job.name === name)
    if (index >= 0) this.#waiting.splice(index, 1)
    this.#running.get(keyOf(projectId, name))?.abort.abort()
  }

  /** Cuts off what runs; the record says `pending`, so that the next start takes it up. */
  async close(): Promise<void> {
    this.#closed = true
    this.#waiting.length = 0
    for (const running of this.#running.values()) running.abort.abort()
    await Promise.all([...this.#running.values()].map(running => running.done))
  }

  #next(): void {
    while (!this.#closed && this.#running.size < this.#parts.parallel) {
      const job = this.#waiting.shift()
      if (job === undefined) return
      this.#begin(job)
    }
  }

  #begin(job: PullJob): void {
    const key = keyOf(job.projectId, job.name)
    const abort = new AbortController()
    const started = Promise.withResolvers<void>()
    const running: Running = { job, abort, done: started.promise, state: { status: 'pulling', queuePosition: null, progress: null } }
    this.#running.set(key, running)
    void this.#work(running).finally(() => {
      this.#running.delete(key)
      started.resolve()
      this.#next()
    })
  }

  async #work(running: Running): Promise<void> {
    const { job, abort } = running
    const outcome = await this.#parts
      .pull({
        name: job.name,
        platform: job.platform,
        credentials: job.credentials,
        signal: abort.signal,
        onProgress: progress => {
          running.state = { status: progress.status, queuePosition: null, progress: progress.fraction }
        },
      })
      .then(
        image => ({ image }),
        (error: unknown) => ({ error }),
      )
    if (this.#closed) return
    await this.#parts.settled(job, outcome)
  }
}

function keyOf(projectId: ProjectId, name: string): string {
  return `${projectId} ${name}`
}
