/**
 * Does a piece of work once for everyone who asks for it at the same time.
 * Each asker keeps its own progress and may leave; the work is stopped only when nobody is left.
 */
import type { PullProgress } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'

export interface Asker {
  readonly signal: AbortSignal
  readonly onProgress: (progress: PullProgress) => void
}

export interface SharedWork<T> {
  run(key: string, asker: Asker, work: (all: Asker) => Promise<T>): Promise<T>
}

interface Running<T> {
  readonly result: Promise<T>
  readonly askers: Set<Asker>
  readonly controller: AbortController
  readonly told: { last: PullProgress | null }
}

export function sharedWork<T>(): SharedWork<T> {
  const runs = new Map<string, Running<T>>()

  const begin = (key: string, work: (all: Asker) => Promise<T>): Running<T> => {
    const controller = new AbortController()
    const askers = new Set<Asker>()
    const told: { last: PullProgress | null } = { last: null }
    const result = work({
      signal: controller.signal,
      onProgress(progress) {
        told.last = progress
        for (const asker of askers) asker.onProgress(progress)
      },
    }).finally(() => {
      if (runs.get(key) === running) runs.delete(key)
    })
    const running: Running<T> = { askers, controller, told, result }
    // Whoever waits sees the failure; when all have left, nobody needs to.
    running.result.catch(() => undefined)
    runs.set(key, running)
    return running
  }

  return {
    async run(key, asker, work) {
      const running = runs.get(key) ?? begin(key, work)
      running.askers.add(asker)
      if (running.told.last !== null) asker.onProgress(running.told.last)
      const left = Promise.withResolvers<never>()
      const leave = () => {
        running.askers.delete(asker)
        if (running.askers.size === 0) {
          // The next asker starts afresh rather than joining what is being stopped.
          if (runs.get(key) === running) runs.delete(key)
          running.controller.abort()
          running.result.then(
            () => left.reject(cancelled()),
            () => left.reject(cancelled()),
          )
        } else left.reject(cancelled())
      }
      if (asker.signal.aborted) leave()
      else asker.signal.addEventListener('abort', leave, { once: true })
      try {
        return await Promise.race([running.result, left.promise])
      } catch (error) {
        if (asker.signal.aborted) throw cancelled()
        throw error
      } finally {
        asker.signal.removeEventListener('abort', leave)
        running.askers.delete(asker)
      }
    },
  }
}

function cancelled(): BerthError {
  return new BerthError('cancelled', 'The pull was cancelled.')
}
