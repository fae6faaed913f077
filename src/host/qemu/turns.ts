/**
 * How many launches are at work at once: more than the machine has CPUs for only take each other's caches and turns, and
 * all of them end later.
 *
 * Invariants: whoever came first goes first; a launch that takes long (a boot, a guest that hangs) gives its turn to the
 * next after a while and goes on beside it, so that nobody waits for another instance for ever.
 */
export class Turns {
  readonly #count: number
  readonly #longestMs: number
  readonly #waiting: (() => void)[] = []
  #taken = 0

  constructor(count: number, longestMs: number) {
    this.#count = count
    this.#longestMs = longestMs
  }

  /** Waits for a turn; gives what ends it, which may be called twice. */
  async take(): Promise<() => void> {
    if (this.#taken < this.#count) this.#taken += 1
    // Whoever ends a turn gives it on.
    else await new Promise<void>((resolve) => this.#waiting.push(resolve))
    let over = false
    const end = () => {
      if (over) return
      over = true
      clearTimeout(timer)
      const next = this.#waiting.shift()
      if (next === undefined) this.#taken -= 1
      else next()
    }
    const timer = setTimeout(end, this.#longestMs)
    timer.unref()
    return end
  }
}
