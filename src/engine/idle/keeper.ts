/**
 * Idle policies of instances: one that nobody has used for as long as its policy says goes to standby. Commands and
 * connections to its published ports are use (services/activity.ts), and both wake it.
 *
 *   used ─▶ (idle for idleAfterMs) ─▶ standby ─▶ a command, or a connection to a published port ─▶ running
 */
import { asBerthError } from '../../instance/errors.ts'
import type { Instance, InstanceId } from '../../instance/model.ts'
import { SCOPES } from '../../instance/model.ts'
import type { Caller, Instances } from '../api.ts'
import type { Core } from '../core.ts'
import type { Activity } from '../services/activity.ts'

/** Before a standby that failed is tried again. */
const RETRY_MS = 30_000
/** The longest a timer of Node can wait. */
const TIMER_LIMIT_MS = 2 ** 31 - 1

export class IdleKeeper {
  readonly #core: Core
  readonly #standby: Instances['standby']
  readonly #activity: Activity
  readonly #timers = new Map<InstanceId, NodeJS.Timeout>()
  #unlisten: () => void = () => {}
  #closing = false

  constructor(core: Core, standby: Instances['standby'], activity: Activity) {
    this.#core = core
    this.#standby = standby
    this.#activity = activity
  }

  start(watched: readonly Instance[]): void {
    this.#unlisten = this.#core.bus.listen(({ instance }) => this.#follow(instance))
    for (const instance of watched) this.#follow(instance)
  }

  /** Nobody uses it any more. */
  async look(id: InstanceId): Promise<void> {
    const instance = await this.#core.store.read.instance(id)
    if (instance !== null) this.#follow(instance)
  }

  close(): void {
    this.#closing = true
    this.#unlisten()
    for (const timer of this.#timers.values()) clearTimeout(timer)
  }

  #follow(instance: Instance): void {
    const { id, phase, desired, startedAt, spec } = instance
    const idleAfterMs = spec.idleAfterMs ?? null
    clearTimeout(this.#timers.get(id))
    this.#timers.delete(id)
    if (idleAfterMs === null || this.#closing || phase !== 'running' || desired !== 'running') return
    const since = this.#activity.idleSince(id)
    // Whoever uses it now tells when that ends.
    if (since === null) return
    const dueMs = Math.max(since, startedAt ?? since) + idleAfterMs - this.#core.now()
    if (dueMs <= 0) return void this.#sleep(instance)
    this.#after(id, dueMs)
  }

  #after(id: InstanceId, ms: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(id)
      this.look(id).catch((error: unknown) => {
        this.#core.logger.warn({ err: asBerthError(error), instanceId: id }, 'an idle instance could not be looked at; it is tried again')
        if (!this.#closing) this.#after(id, RETRY_MS)
      })
    }, Math.min(TIMER_LIMIT_MS, Math.ceil(ms)))
    timer.unref()
    this.#timers.set(id, timer)
  }

  async #sleep(instance: Instance): Promise<void> {
    try {
      await this.#standby(callerFor(instance), instance.id)
      // One that can't be saved runs on, and that is told on the bus; it rests before the next try.
      if (!this.#closing) this.#after(instance.id, RETRY_MS)
    } catch (error) {
      // It moved meanwhile, and whatever it becomes is told.
      const known = asBerthError(error)
      if (known.code !== 'invalid_state' && known.code !== 'not_found') {
        this.#core.logger.warn({ err: known, instanceId: instance.id }, 'an idle instance could not be put to standby; it is tried again')
        if (!this.#closing) this.#after(instance.id, RETRY_MS)
      }
    }
  }
}

/** The engine's own hand, in the project of an instance. */
export function callerFor(instance: Instance): Caller {
  return { projectId: instance.projectId, keyId: null, scopes: SCOPES, via: instance.origin }
}
