/**
 * The loop that moves instances toward what was asked for: one lane per instance, each strictly serial, none
 * waiting for another. A lane exists only while there is something to do or a timer to wait for.
 *
 *   wake(id) ─▶ lane ─▶ read the record ─▶ nextAction ─▶ perform ─▶ again, until there is nothing to do
 *
 * Failure: whatever a pass throws (a store that is full, a host that is away) is tried again after a growing
 * pause; the record says where to go on, so that nothing is kept in memory but what was seen of the VM.
 */
import { asBerthError, BerthError } from '../instance/errors.ts'
import type { Instance, InstanceId } from '../instance/model.ts'
import type { Core } from './core.ts'
import type { Action, Observed } from './next-action.ts'
import { nextAction } from './next-action.ts'
import type { Performed } from './operations.ts'
import { perform } from './operations.ts'

/** Actions in one pass; more means that two of them undo each other, which is a defect. */
const PASS_LIMIT = 64
/** The longest a timer of Node can wait. */
const TIMER_LIMIT_MS = 2 ** 31 - 1
const UNKNOWN: Observed = { kind: 'unknown' }

interface Lane {
  readonly id: InstanceId
  tail: Promise<void>
  /** Jobs that wait or run. */
  pending: number
  passQueued: boolean
  observed: Observed
  timer: NodeJS.Timeout | null
  failures: number
}

export class Reconciler {
  readonly #core: Core
  readonly #lanes = new Map<InstanceId, Lane>()
  readonly #ready: Promise<void>
  /** Grows with each job of any lane: whoever compares it knows whether a lane moved meanwhile. */
  readonly #epochs = new Map<InstanceId, number>()
  #closing = false

  /** Nothing is done before `ready` resolves: until then nobody knows what really runs. */
  constructor(core: Core, ready: Promise<void>) {
    this.#core = core
    this.#ready = ready
  }

  /** Looks at the instance soon, with what was seen of it. */
  wake(id: InstanceId, observed: Observed = UNKNOWN): void {
    if (this.#closing) return
    const lane = this.#lane(id)
    if (observed.kind !== 'unknown') lane.observed = observed
    if (lane.passQueued) return
    lane.passQueued = true
    void this.#enqueue(lane, async () => {
      lane.passQueued = false
      await this.#pass(lane)
    })
  }

  /** Runs a job that must not overlap with the instance's other operations. */
  async run<T>(id: InstanceId, job: () => Promise<T>): Promise<T> {
    if (this.#closing) throw new BerthError('shutting_down', 'The server is stopping: try again in a moment.')
    const outcome = Promise.withResolvers<T>()
    void this.#enqueue(this.#lane(id), () => job().then(outcome.resolve, outcome.reject))
    return outcome.promise
  }

  /** For an instance that has nothing to do now: only its timer is set. */
  schedule(instance: Instance, action: Action): void {
    if (this.#closing) return
    if (action.kind === 'wait') this.#setTimer(this.#lane(instance.id), action.until - this.#core.now())
  }

  /** A number that changes with each job of the instance's lane, and null while one waits or runs. */
  quietEpoch(id: InstanceId): number | null {
    const lane = this.#lanes.get(id)
    return lane !== undefined && lane.pending > 0 ? null : (this.#epochs.get(id) ?? 0)
  }

  get busy(): number {
    let count = 0
    for (const lane of this.#lanes.values()) if (lane.pending > 0) count++
    return count
  }

  /** Begins nothing new, and resolves when what is in flight is done, or after the grace. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true
    for (const lane of this.#lanes.values()) if (lane.timer !== null) clearTimeout(lane.timer)
    const settled = Promise.all([...this.#lanes.values()].map(lane => lane.tail))
    const grace = Promise.withResolvers<void>()
    const timer = setTimeout(grace.resolve, graceMs)
    await Promise.race([settled, grace.promise])
    clearTimeout(timer)
  }

  #lane(id: InstanceId): Lane {
    const existing = this.#lanes.get(id)
    if (existing !== undefined) return existing
    const lane: Lane = { id, tail: this.#ready, pending: 0, passQueued: false, observed: UNKNOWN, timer: null, failures: 0 }
    this.#lanes.set(id, lane)
    return lane
  }

  #enqueue(lane: Lane, job: () => Promise<void>): Promise<void> {
    lane.pending++
    this.#epochs.set(lane.id, (this.#epochs.get(lane.id) ?? 0) + 1)
    lane.tail = lane.tail.then(job).then(
      () => this.#done(lane),
      (error: unknown) => {
        this.#done(lane)
        this.#failed(lane, error)
      },
    )
    return lane.tail
  }

  #done(lane: Lane): void {
    lane.pending--
    if (lane.pending === 0 && lane.timer === null && lane.observed.kind === 'unknown') this.#lanes.delete(lane.id)
  }

  #failed(lane: Lane, error: unknown): void {
    if (this.#closing) return
    lane.failures++
    const known = asBerthError(error)
    const { first, longest } = this.#core.config.retryMs
    const pauseMs = Math.min(longest, first * 2 ** Math.min(20, lane.failures - 1))
    const details = { instanceId: lane.id, err: known, failures: lane.failures, pauseMs }
    if (known.code === 'internal') this.#core.logger.error(details, 'work on an instance met a defect; it is tried again')
    else this.#core.logger.warn(details, 'work on an instance failed; it is tried again')
    this.#lanes.set(lane.id, lane)
    this.#setTimer(lane, pauseMs)
  }

  #setTimer(lane: Lane, delayMs: number): void {
    if (lane.timer !== null) clearTimeout(lane.timer)
    lane.timer = setTimeout(
      () => {
        lane.timer = null
        this.wake(lane.id)
      },
      Math.max(0, Math.min(TIMER_LIMIT_MS, Math.ceil(delayMs))),
    )
    lane.timer.unref()
  }

  async #pass(lane: Lane): Promise<void> {
    for (let steps = 0; steps < PASS_LIMIT; steps++) {
      if (this.#closing) return
      const instance = await this.#core.store.read.instance(lane.id)
      if (instance === null) return this.#forget(lane)
      const action = nextAction(instance, lane.observed, this.#core.now(), this.#core.config.retryMs.longest)
      if (action.kind === 'none' || action.kind === 'wait') {
        lane.observed = UNKNOWN
        if (action.kind === 'wait') this.#setTimer(lane, action.until - this.#core.now())
        else if (instance.phase === 'deleted') this.#forget(lane)
        // After a failure a commit may have gone untold.
        if (lane.failures > 0) this.#core.bus.nudge(lane.id)
        lane.failures = 0
        return
      }
      const seen = lane.observed
      const performed = await perform(this.#core, instance, action)
      if (lane.failures > 0) this.#core.bus.nudge(lane.id)
      if (performed === 'idle') {
        lane.observed = UNKNOWN
        lane.failures = 0
        return
      }
      // What a host event told while the action ran is newer than what the action found out.
      if (lane.observed === seen) lane.observed = sightAfter(performed, seen)
      lane.failures = 0
    }
    throw new Error(`instance ${lane.id} did not settle within ${PASS_LIMIT} actions`)
  }

  #forget(lane: Lane): void {
    if (lane.timer !== null) clearTimeout(lane.timer)
    lane.timer = null
    lane.observed = UNKNOWN
    this.#epochs.delete(lane.id)
  }
}

function sightAfter(performed: Exclude<Performed, 'idle'>, before: Observed): Observed {
  if (performed === 'recorded') return before
  return performed === 'changed' ? UNKNOWN : performed
}
