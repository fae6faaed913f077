/**
 * What running instances used over time: each is asked every half minute, and the last hours are kept in memory.
 * A new server begins anew; an instance that sleeps or stops keeps its history until it is deleted.
 */
import type { Instance, InstanceId } from '../instance/model.ts'
import { isServing } from '../instance/phase.ts'
import type { Core } from './core.ts'
import type { VmStats } from './host-port.ts'
import { refOf } from './vm-spec.ts'

export const SAMPLE_EVERY_MS = 30_000
/** Three hours. */
export const SAMPLES_KEPT = 360
/** Hosts are asked for this many instances at once. */
const PARALLEL = 8
/** A sample younger than this is fresh. */
const FRESH_MS = 500

export class Meter {
  readonly #core: Core
  readonly #samples = new Map<InstanceId, VmStats[]>()
  readonly #unlisten: () => void
  #timer: NodeJS.Timeout | null = null
  #round: Promise<void> = Promise.resolve()

  constructor(core: Core) {
    this.#core = core
    this.#unlisten = core.bus.listen(({ instance }) => {
      if (instance.phase === 'deleted') this.#samples.delete(instance.id)
    })
  }

  start(): void {
    this.#timer = setInterval(() => {
      this.#round = this.#round.then(() => this.#sampleAll())
    }, SAMPLE_EVERY_MS)
    this.#timer.unref()
  }

  async close(): Promise<void> {
    if (this.#timer !== null) clearInterval(this.#timer)
    this.#unlisten()
    await this.#round
  }

  /** Oldest first; the last one is of now if the instance runs and answers. */
  async history(instance: Instance): Promise<readonly VmStats[]> {
    const kept = this.#samples.get(instance.id) ?? []
    const newest = kept.at(-1)
    const isFresh = newest !== undefined && this.#core.now() - newest.at < FRESH_MS
    if (!isFresh && isServing(instance.phase)) await this.#sample(instance)
    return [...(this.#samples.get(instance.id) ?? [])]
  }

  async #sampleAll(): Promise<void> {
    try {
      const running = [...(await this.#core.store.read.instances({ projectId: null, phases: ['running', 'unhealthy'] }))]
      const worker = async () => {
        for (let next = running.pop(); next !== undefined; next = running.pop()) await this.#sample(next)
      }
      await Promise.all(Array.from({ length: PARALLEL }, worker))
    } catch (error) {
      this.#core.logger.warn({ err: error }, 'what instances use could not be read; it is tried again')
    }
  }

  async #sample(instance: Instance): Promise<void> {
    try {
      const stats = await this.#core.fleet.link(instance.hostId).host.stats(refOf(instance))
      const kept = this.#samples.get(instance.id) ?? []
      kept.push(stats)
      if (kept.length > SAMPLES_KEPT) kept.shift()
      this.#samples.set(instance.id, kept)
    } catch (error) {
      // It ended meanwhile, or does not answer: its history has a gap.
      this.#core.logger.debug({ err: error, instanceId: instance.id }, 'what an instance uses could not be read')
    }
  }
}
