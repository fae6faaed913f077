/**
 * Tells the rest of the process what was committed, after it was committed. Nothing acts on what is told here
 * but to look again: the store is the truth, so a listener that misses one loses nothing but time.
 */
import type { ErrorCode } from '../instance/errors.ts'
import type { Instance, InstanceEvent } from '../instance/model.ts'

/** Why an operation that left the instance alive did not do what was asked (a standby that could not be saved). */
export interface OperationFailure {
  readonly code: ErrorCode
  readonly message: string
}

export interface Committed {
  readonly instance: Instance
  readonly event: InstanceEvent
  readonly failure: OperationFailure | null
}

export type BusListener = (committed: Committed) => void
/** Of one instance; null says that something may have been committed whose answer was lost: look again. */
export type InstanceListener = (committed: Committed | null) => void

export class EventBus {
  readonly #everywhere = new Set<BusListener>()
  readonly #perInstance = new Map<string, Set<InstanceListener>>()

  publish(committed: Committed): void {
    for (const listener of this.#everywhere) listener(committed)
    for (const listener of this.#perInstance.get(committed.instance.id) ?? []) listener(committed)
  }

  /** Makes those who wait for an instance look at its record again. */
  nudge(instanceId: string): void {
    for (const listener of this.#perInstance.get(instanceId) ?? []) listener(null)
  }

  /** Listens to all instances; the returned function ends it. */
  listen(listener: BusListener): () => void {
    this.#everywhere.add(listener)
    return () => void this.#everywhere.delete(listener)
  }

  /** Listens to one instance; the returned function ends it. */
  listenTo(instanceId: string, listener: InstanceListener): () => void {
    const listeners = this.#perInstance.get(instanceId) ?? new Set()
    listeners.add(listener)
    this.#perInstance.set(instanceId, listeners)
    return () => {
      listeners.delete(listener)
      if (listeners.size === 0 && this.#perInstance.get(instanceId) === listeners) this.#perInstance.delete(instanceId)
    }
  }

  get listeners(): number {
    let count = this.#everywhere.size
    for (const listeners of this.#perInstance.values()) count += listeners.size
    return count
  }
}
