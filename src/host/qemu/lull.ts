/**
 * Tells when the machine is free for what nobody waits for: no launch is under way, and whoever was just given a VM has
 * its first command behind it.
 */
import { setTimeout as sleep } from 'node:timers/promises'

const PAUSE_AFTER_LAUNCH_MS = 150

export class Lull {
  #launches = 0
  #lastLaunchAt = Number.NEGATIVE_INFINITY

  /** Call it when a launch begins, and what it gives when the launch is over. */
  launching(): () => void {
    this.#launches += 1
    return () => {
      this.#launches -= 1
      this.#lastLaunchAt = performance.now()
    }
  }

  /** Waits until no launch is under way, but not for ever: launch upon launch must not keep anything undone. */
  async until({ mostMs, signal }: { readonly mostMs: number; readonly signal: AbortSignal }): Promise<void> {
    const until = performance.now() + mostMs
    while (performance.now() < until && !signal.aborted) {
      const restMs = this.#lastLaunchAt + PAUSE_AFTER_LAUNCH_MS - performance.now()
      if (this.#launches === 0 && restMs <= 0) return
      await sleep(Math.max(restMs, PAUSE_AFTER_LAUNCH_MS / 3), undefined, { signal }).catch(() => undefined) // seen above
    }
  }
}
