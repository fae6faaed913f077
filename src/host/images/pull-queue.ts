/**
 * Lets a few pieces of image work run at once and keeps the rest in line, in order of arrival.
 * Pure but for promises. Everyone in line is told its place (1 is next) whenever it changes.
 */
import { BerthError } from '../../instance/errors.ts'

export interface PullQueue {
  /** Runs `work` when its turn comes. Leaving the line (abort) costs nothing. */
  run<T>(work: () => Promise<T>, options: { readonly signal: AbortSignal; readonly onPlace: (place: number) => void }): Promise<T>
  /** How many run and how many wait. */
  state(): { readonly running: number; readonly waiting: number }
}

interface Waiter {
  readonly start: () => void
  readonly onPlace: (place: number) => void
}

export function pullQueue(limits: { readonly running: number; readonly waiting: number }): PullQueue {
  let running = 0
  const line: Waiter[] = []

  const tellPlaces = () => line.forEach((waiter, index) => waiter.onPlace(index + 1))

  const turn = (signal: AbortSignal, onPlace: (place: number) => void) =>
    new Promise<void>((resolve, reject) => {
      if (running < limits.running) {
        running += 1
        resolve()
        return
      }
      if (line.length >= limits.waiting) {
        reject(new BerthError('limit_exceeded', `More than ${limits.waiting} images are waiting already; try again later.`))
        return
      }
      const leave = () => {
        line.splice(line.indexOf(waiter), 1)
        reject(cancelled())
        tellPlaces()
      }
      const waiter: Waiter = {
        start: () => {
          signal.removeEventListener('abort', leave)
          running += 1
          resolve()
        },
        onPlace,
      }
      signal.addEventListener('abort', leave, { once: true })
      line.push(waiter)
      onPlace(line.length)
    })

  return {
    async run(work, { signal, onPlace }) {
      if (signal.aborted) throw cancelled()
      await turn(signal, onPlace)
      try {
        return await work()
      } finally {
        running -= 1
        line.shift()?.start()
        tellPlaces()
      }
    },
    state: () => ({ running, waiting: line.length }),
  }
}

function cancelled(): BerthError {
  return new BerthError('cancelled', 'The image was cancelled before its turn came.')
}
