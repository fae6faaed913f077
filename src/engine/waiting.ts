/**
 * Waiting for what an instance becomes, apart from the work itself: a waiter that goes away interrupts nothing.
 *
 * A waiter listens first and reads then, so that no step falls between. It ends at a phase it wants, at the failure
 * of what was asked for, at an end that nothing leaves by itself (failed, deleted, stopped for good), or in time.
 */
import { BerthError } from '../instance/errors.ts'
import type { ErrorCode } from '../instance/errors.ts'
import { ERROR_CODES } from '../instance/errors.ts'
import type { Instance, InstanceId } from '../instance/model.ts'
import type { WaitOptions, WaitResult } from './api.ts'
import type { Core } from './core.ts'
import type { Committed, OperationFailure } from './event-bus.ts'

/** The longest wait, whatever is asked for: a day. */
export const WAIT_LIMIT_MS = 86_400_000
/** Steps after `since` that are looked through; an operation has far fewer. */
const HISTORY_LIMIT = 200

export class Waiting {
  readonly #core: Core
  /** The last operation of each living instance that failed and left it alive; gone with the next one that works. */
  readonly #failures = new Map<InstanceId, { readonly at: number; readonly failure: OperationFailure }>()
  readonly #waiters = new Set<() => void>()
  readonly #unlisten: () => void

  constructor(core: Core) {
    this.#core = core
    this.#unlisten = core.bus.listen(committed => this.#remember(committed))
  }

  /** Every waiter gets `shutting_down`. */
  close(): void {
    this.#unlisten()
    for (const end of this.#waiters) end()
  }

  async wait(instance: Instance, options: WaitOptions): Promise<WaitResult> {
    const { id } = instance
    const { since } = options
    const outcome = Promise.withResolvers<WaitResult>()
    // A failure here is handed on below; nobody may be waiting yet.
    outcome.promise.catch(() => {})
    let isOver = false
    const end = (result: WaitResult) => {
      isOver = true
      outcome.resolve(result)
    }
    const fail = (error: unknown) => {
      isOver = true
      outcome.reject(error)
    }
    const expire = () => {
      if (isOver) return
      isOver = true
      this.#current(id, instance).then(current => outcome.resolve({ instance: current, timedOut: true, failure: null }), outcome.reject)
    }
    const stopped = () => fail(new BerthError('shutting_down', 'The server is stopping: ask again in a moment.'))
    const lookBack = () => void this.#lookBack(instance, since, options).then(found => (found === null ? undefined : end(found)), fail)
    const unlisten = this.#core.bus.listenTo(id, committed => {
      if (isOver) return
      if (committed === null) return lookBack()
      if (committed.event.kind !== 'phase') return
      const verdict = verdictOf(committed.instance, committed.failure, options, true)
      if (verdict !== null) end(verdict)
    })
    const timer = setTimeout(expire, Math.max(0, Math.min(options.timeoutMs, WAIT_LIMIT_MS)))
    options.signal?.addEventListener('abort', expire, { once: true })
    this.#waiters.add(stopped)
    try {
      if (options.signal?.aborted === true) expire()
      else lookBack()
      return await outcome.promise
    } finally {
      unlisten()
      clearTimeout(timer)
      options.signal?.removeEventListener('abort', expire)
      this.#waiters.delete(stopped)
    }
  }

  /** What is so already, and with `since` also what came and went. */
  async #lookBack(instance: Instance, since: Instance | undefined, options: WaitOptions): Promise<WaitResult | null> {
    const current = await this.#current(instance.id, instance)
    const past = this.#failures.get(instance.id)
    const failure = since !== undefined && past !== undefined && past.at > since.phaseSince ? past.failure : null
    const moved = since !== undefined && current.phaseSince !== since.phaseSince
    const verdict = verdictOf(current, failure, options, moved)
    if (verdict !== null || since === undefined || !moved) return verdict
    const steps = await this.#core.store.read.events({
      projectId: instance.projectId,
      instanceIds: [instance.id],
      kinds: ['phase'],
      order: 'newest-first',
      limit: HISTORY_LIMIT,
    })
    const passed = steps.some(step => step.at > since.phaseSince && options.until.includes(step.to))
    return passed ? { instance: current, timedOut: false, failure: null } : null
  }

  async #current(id: InstanceId, fallback: Instance): Promise<Instance> {
    return (await this.#core.store.read.instance(id)) ?? fallback
  }

  #remember({ instance, event, failure }: Committed): void {
    if (event.kind !== 'phase') return
    if (failure !== null && instance.phase !== 'deleted') this.#failures.set(instance.id, { at: event.at, failure })
    else if (instance.phase === 'deleted' || instance.phase === 'running' || instance.phase === 'standby') this.#failures.delete(instance.id)
  }
}

/** How a wait ends with this record, or null if it goes on. `moved`: the record is a step that happened meanwhile. */
function verdictOf(instance: Instance, failure: OperationFailure | null, options: WaitOptions, moved: boolean): WaitResult | null {
  const { phase } = instance
  if (phase === 'failed') return { instance, timedOut: false, failure: failure ?? failureOf(instance) }
  if (failure !== null) return { instance, timedOut: false, failure }
  if (options.until.includes(phase) || phase === 'deleted') return { instance, timedOut: false, failure: null }
  if (phase === 'stopped' && instance.desired === 'stopped' && moved) return { instance, timedOut: false, failure: null }
  return null
}

/** The error that a `failed` record tells. */
export function failureOf(instance: Instance): OperationFailure {
  const code = instance.errorCode !== null && Object.hasOwn(ERROR_CODES, instance.errorCode) ? (instance.errorCode as ErrorCode) : 'internal'
  return { code, message: instance.reason ?? 'It failed, and nobody said why.' }
}
