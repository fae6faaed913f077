/**
 * The only way in which a record of an instance changes: one transaction that holds the change, its event, and
 * what the change means for the host's resources; what was committed is told on the bus afterwards.
 *
 * Invariants:
 * - A step that the state machine doesn't allow is a defect, and throws before anything is written.
 * - Times of one instance's steps strictly grow, whatever the clock does.
 * - Entering a phase without a VMM releases CPU and memory in the same transaction; an instance of a reservation
 *   keeps them until it is deleted.
 * - What a step means for the instance's price is written with it (`Pricing`).
 */
import type { ErrorCode } from '../instance/errors.ts'
import { orderOf } from '../instance/market.ts'
import type { Instance, InstanceEvent } from '../instance/model.ts'
import { holdsCompute, isLegalStep } from '../instance/phase.ts'
import type { Phase } from '../instance/phase.ts'
import type { Committed, EventBus, OperationFailure } from './event-bus.ts'
import type { Store, StoreTx } from './store-port.ts'

/** Fields that go with a step; the rest follows from it. */
export type StepPatch = Partial<
  Pick<Instance, 'spec' | 'desired' | 'imageDigest' | 'hostId' | 'address' | 'basis' | 'generation' | 'exit' | 'health' | 'restartAttempts' | 'startedAt' | 'annotations'>
> & {
  readonly reason?: string | null
  readonly errorCode?: ErrorCode | null
  /** The operation's own failure, for whoever waits for it. */
  readonly failure?: OperationFailure
}

/** The smallest distance between two steps of one instance. */
const TICK_MS = 0.001

/** Told of each step in its own transaction: `before` is null for a new instance. */
export interface Pricing {
  follow(tx: StoreTx, before: Instance | null, after: Instance): Promise<void>
}

export class Change {
  readonly tx: StoreTx
  readonly #now: () => number
  readonly #pricing: Pricing
  readonly committed: Committed[] = []

  constructor(tx: StoreTx, now: () => number, pricing: Pricing) {
    this.tx = tx
    this.#now = now
    this.#pricing = pricing
  }

  /** Writes a new instance and its first event. */
  async insert(instance: Instance): Promise<Instance> {
    await this.tx.insertInstance(instance)
    await this.#pricing.follow(this.tx, null, instance)
    await this.#append(instance, { at: instance.phaseSince, kind: 'phase', from: null, to: instance.phase, reason: instance.reason }, null)
    return instance
  }

  /** One legal step along the state machine. */
  async step(instance: Instance, to: Phase, patch: StepPatch = {}): Promise<Instance> {
    const from = instance.phase
    if (!isLegalStep(from, to)) throw new Error(`illegal step of instance ${instance.id}: ${from} to ${to}`)
    const { failure, ...fields } = patch
    const at = this.#after(instance)
    const ends = to === 'stopped' || to === 'standby' || to === 'preempted'
    const next: Instance = {
      ...instance,
      ...fields,
      reason: fields.reason ?? null,
      errorCode: fields.errorCode ?? null,
      phase: to,
      phaseSince: at,
      stoppedAt: ends ? at : instance.stoppedAt,
      deletedAt: to === 'deleted' ? at : instance.deletedAt,
    }
    await this.tx.updateInstance(next)
    await this.#append(next, { at, kind: 'phase', from, to, reason: next.reason }, failure ?? null)
    await this.#pricing.follow(this.tx, instance, next)
    if (holdsCompute(from) && !holdsCompute(to) && orderOf(next)?.kind !== 'reservation') await this.releaseCompute(next)
    return next
  }

  /** A change without a step, with a note in the timeline where there is something to say. */
  async note(instance: Instance, text: string | null, patch: Omit<StepPatch, 'failure'> = {}): Promise<Instance> {
    const next: Instance = { ...instance, ...patch }
    await this.tx.updateInstance(next)
    if (text !== null) {
      await this.#append(next, { at: this.#now(), kind: 'note', from: instance.phase, to: instance.phase, reason: text }, null)
    }
    return next
  }

  /** A line in the timeline; the record stays as it is. */
  async remark(instance: Instance, text: string): Promise<void> {
    await this.#append(instance, { at: this.#now(), kind: 'note', from: instance.phase, to: instance.phase, reason: text }, null)
  }

  async releaseCompute(instance: Instance): Promise<void> {
    const held = await this.tx.reservation(instance.id)
    if (held === null || (held.vcpus === 0 && held.memoryBytes === 0)) return
    await this.tx.putReservation({ ...held, vcpus: 0, memoryBytes: 0 })
  }

  async #append(instance: Instance, event: Omit<InstanceEvent, 'seq' | 'instanceId' | 'projectId'>, failure: OperationFailure | null) {
    const appended = await this.tx.appendEvent({ ...event, instanceId: instance.id, projectId: instance.projectId })
    this.committed.push({ instance, event: appended, failure })
  }

  #after(instance: Instance): number {
    return Math.max(this.#now(), instance.phaseSince + TICK_MS)
  }
}

export class Journal {
  readonly #store: Store
  readonly #bus: EventBus
  readonly #now: () => number
  readonly #pricing: Pricing

  constructor(store: Store, bus: EventBus, now: () => number, pricing: Pricing) {
    this.#store = store
    this.#bus = bus
    this.#now = now
    this.#pricing = pricing
  }

  /** Runs the work in one transaction (again, after a conflict), then tells what was committed. */
  async commit<T>(work: (change: Change) => Promise<T>): Promise<T> {
    let last: Pick<Change, 'committed'> | null = null
    try {
      return await this.#store.transaction(async tx => {
        const change = new Change(tx, this.#now, this.#pricing)
        last = change
        return work(change)
      })
    } catch (error) {
      last = await this.#whatWasCommitted(last)
      throw error
    } finally {
      for (const one of (last as Pick<Change, 'committed'> | null)?.committed ?? []) this.#bus.publish(one)
    }
  }

  /** After an error: steps that are in the store all the same, since only the answer of the commit was lost. */
  async #whatWasCommitted(change: Pick<Change, 'committed'> | null): Promise<Pick<Change, 'committed'>> {
    const committed: Committed[] = []
    for (const one of change?.committed ?? []) {
      if (one.event.kind !== 'phase') continue
      const now = await this.#store.read.instance(one.instance.id).catch(() => null)
      if (now?.phase === one.instance.phase && now.phaseSince === one.instance.phaseSince) committed.push(one)
    }
    return { committed }
  }

  /**
   * Changes an instance if it still is in the phase that the work was done for. A request may have moved it
   * since (a delete, a stop); then its wish wins, and null says so.
   */
  async ifStill(id: Instance['id'], expected: Pick<Instance, 'phase' | 'generation'>, work: (change: Change, instance: Instance) => Promise<Instance>): Promise<Instance | null> {
    return this.commit(async change => {
      const instance = await change.tx.instance(id)
      if (instance === null || instance.phase !== expected.phase || instance.generation !== expected.generation) return null
      return work(change, instance)
    })
  }
}
