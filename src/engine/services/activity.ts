/**
 * Who uses an instance right now, and since when nobody does: commands that run in it and connections to its ports.
 * Kept in memory: after a restart of the server everything counts as just used.
 */
import type { InstanceId, TimestampMs } from '../../instance/model.ts'

interface Use {
  held: number
  lastAt: TimestampMs
}

export class Activity {
  readonly #uses = new Map<InstanceId, Use>()
  readonly #now: () => TimestampMs
  readonly #began: TimestampMs
  /** Told when the last use of an instance ends. */
  onIdle: (id: InstanceId) => void = () => {}

  constructor(now: () => TimestampMs) {
    this.#now = now
    this.#began = now()
  }

  /** Marks an instance as used until the returned function is called. */
  hold(id: InstanceId): () => void {
    const use = this.#uses.get(id) ?? { held: 0, lastAt: this.#now() }
    this.#uses.set(id, use)
    use.held++
    let released = false
    return () => {
      if (released) return
      released = true
      use.held--
      use.lastAt = this.#now()
      if (use.held === 0) this.onIdle(id)
    }
  }

  /** Null while it is used. */
  idleSince(id: InstanceId): TimestampMs | null {
    const use = this.#uses.get(id)
    if (use === undefined) return this.#began
    return use.held > 0 ? null : use.lastAt
  }

  forget(id: InstanceId): void {
    this.#uses.delete(id)
  }
}
