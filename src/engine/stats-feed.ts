/**
 * What instances use, as it changes: measured only while somebody watches, once for all who watch the same instance.
 *
 *   the first watcher of an instance ─▶ it is asked every SAMPLE_MS ─▶ the last one leaves: it is asked no more
 *
 * An instance that sleeps or stops is quiet meanwhile, and heard of again when it serves. A slow reader gets the newest
 * sample of each instance and never a queue of old ones.
 */
import { BerthError } from '../instance/errors.ts'
import type { InstanceId } from '../instance/model.ts'
import { isServing } from '../instance/phase.ts'
import { ownInstance, requireScope } from './access.ts'
import type { Caller } from './api.ts'
import type { Core } from './core.ts'
import type { VmStats } from './host-port.ts'
import { refOf } from './vm-spec.ts'

export const SAMPLE_MS = 2000
/** Instances of one watch. */
export const WATCHED_LIMIT = 100
/** Watches of the whole server. */
export const STATS_WATCHES_LIMIT = 1000
/** Hosts are asked for this many instances at once. */
const PARALLEL = 8

export interface StatsSample {
  readonly instanceId: InstanceId
  readonly stats: VmStats
}

export interface StatsFeed {
  /** Samples of these instances, each at once and then every `SAMPLE_MS`, until aborted. */
  watch(caller: Caller, ids: readonly InstanceId[], signal: AbortSignal): Promise<AsyncIterable<StatsSample>>
}

type Listener = (sample: StatsSample) => void

export class Sampler implements StatsFeed {
  readonly #core: Core
  readonly #closing: AbortSignal
  readonly #listeners = new Map<InstanceId, Set<Listener>>()
  #watches = 0
  #timer: NodeJS.Timeout | null = null
  #isBusy = false

  constructor(core: Core, closing: AbortSignal) {
    this.#core = core
    this.#closing = closing
  }

  async watch(caller: Caller, ids: readonly InstanceId[], signal: AbortSignal): Promise<AsyncIterable<StatsSample>> {
    requireScope(caller, 'read')
    if (ids.length > WATCHED_LIMIT) throw new BerthError('limit_exceeded', `One watch takes ${WATCHED_LIMIT} instances: open another for the rest.`)
    if (this.#watches >= STATS_WATCHES_LIMIT) throw new BerthError('rate_limited', `${STATS_WATCHES_LIMIT} watches are open already: close some.`)
    await Promise.all(ids.map(id => ownInstance(this.#core.store.read, caller, id)))
    return this.#follow(new Set(ids), AbortSignal.any([signal, this.#closing]))
  }

  async *#follow(ids: ReadonlySet<InstanceId>, signal: AbortSignal): AsyncGenerator<StatsSample> {
    const newest = new Map<InstanceId, StatsSample>()
    let wake: () => void = () => {}
    const take: Listener = sample => {
      newest.set(sample.instanceId, sample)
      wake()
    }
    const rouse = () => wake()
    signal.addEventListener('abort', rouse)
    this.#watches++
    for (const id of ids) this.#listeners.set(id, (this.#listeners.get(id) ?? new Set()).add(take))
    this.#timer ??= setInterval(() => void this.#round(), SAMPLE_MS)
    try {
      void this.#sample([...ids])
      while (!signal.aborted) {
        const samples = [...newest.values()]
        newest.clear()
        for (const sample of samples) yield sample
        if (newest.size === 0 && !signal.aborted) await new Promise<void>(resolve => (wake = resolve))
      }
    } finally {
      signal.removeEventListener('abort', rouse)
      this.#leave(ids, take)
    }
  }

  #leave(ids: ReadonlySet<InstanceId>, take: Listener): void {
    this.#watches--
    for (const id of ids) {
      const set = this.#listeners.get(id)
      set?.delete(take)
      if (set?.size === 0) this.#listeners.delete(id)
    }
    if (this.#listeners.size > 0 || this.#timer === null) return
    clearInterval(this.#timer)
    this.#timer = null
  }

  /** A round that takes longer than its time is not joined by another. */
  async #round(): Promise<void> {
    if (this.#isBusy) return
    this.#isBusy = true
    await this.#sample([...this.#listeners.keys()])
    this.#isBusy = false
  }

  /** Never throws: what can't be measured now is measured in the next round. */
  async #sample(ids: readonly InstanceId[]): Promise<void> {
    try {
      const left = [...(await this.#core.store.read.instances({ projectId: null, ids }))].filter(({ phase }) => isServing(phase))
      const worker = async () => {
        for (let instance = left.pop(); instance !== undefined; instance = left.pop()) {
          const { id, hostId } = instance
          const stats = await this.#core.fleet
            .link(hostId)
            .host.stats(refOf(instance))
            .catch((error: unknown) => {
              this.#core.logger.debug({ err: error, instanceId: id }, 'what a watched instance uses could not be read')
              return null
            })
          if (stats !== null) for (const listener of this.#listeners.get(id) ?? []) listener({ instanceId: id, stats })
        }
      }
      await Promise.all(Array.from({ length: PARALLEL }, worker))
    } catch (error) {
      this.#core.logger.warn({ err: error }, 'what watched instances use could not be read; it is tried again')
    }
  }
}
