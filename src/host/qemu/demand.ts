/**
 * How many VMs of each size, and of which images, are worth keeping ready: as many as were asked for in the busiest
 * moment of late. Pure but for the clock.
 *
 * What was asked for of an image that has no template of its own (yet) is wanted of the general one. Two of the first
 * size wait in any case, and one of them is always anybody's.
 */
import { generalKey, keyText, type TemplateKey } from './template.ts'

/** What was asked for longer ago than this doesn't count. */
const MEMORY_MS = 10 * 60_000
/** Launches this close together would each have wanted one: no other can be made meanwhile. */
const MOMENT_MS = 2_000
/** Of the first size so many wait even if nobody asked yet. */
const FIRST_COUNT = 2
/** More of one size than this a small machine could not run at once anyway. */
const MAX_COUNT = 8
/** More launches than this in memory say nothing new. */
const MAX_LAUNCHES = 256
const MAX_SIZES = 16

export interface Wanted {
  readonly key: TemplateKey
  readonly overlayBytes: number
}

interface Size extends Wanted {
  /** When it was launched, oldest first. */
  readonly launches: readonly number[]
}

export class Demand {
  readonly #first: Wanted
  readonly #now: () => number
  readonly #sizes = new Map<string, Size>()

  constructor(first: Wanted, now: () => number = () => performance.now()) {
    this.#first = first
    this.#now = now
  }

  note(key: TemplateKey, overlayBytes: number): void {
    const text = keyText(key)
    const launches = [...(this.#sizes.get(text)?.launches ?? []), this.#now()].slice(-MAX_LAUNCHES)
    // The latest is last.
    this.#sizes.delete(text)
    this.#sizes.set(text, { key, overlayBytes, launches })
    const [oldest] = this.#sizes.keys()
    if (this.#sizes.size > MAX_SIZES && oldest !== undefined) this.#sizes.delete(oldest)
  }

  /** Each that is worth it, with how many and the writable layer that was asked for last; `has` tells for which keys there is a template. */
  wants(has: (key: TemplateKey) => boolean): readonly (Wanted & { readonly count: number })[] {
    const since = this.#now() - MEMORY_MS
    const first = keyText(this.#first.key)
    const wanted = new Map([[first, { ...this.#first, count: 0 }]])
    let [ofImages, lastBytes] = [0, this.#first.overlayBytes]
    for (const { key: asked, overlayBytes, launches } of this.#sizes.values()) {
      const key = has(asked) ? asked : generalKey(asked)
      const count = busiest(launches.filter((at) => at >= since))
      const text = keyText(key)
      wanted.set(text, { key, overlayBytes, count: Math.min(MAX_COUNT, (wanted.get(text)?.count ?? 0) + count) })
      if (keyText(generalKey(key)) !== first) continue
      lastBytes = overlayBytes
      if (key.image !== null) ofImages += count
    }
    const general = wanted.get(first)
    const least = Math.max(1, FIRST_COUNT - ofImages)
    if (general !== undefined && general.count < least) wanted.set(first, { ...general, overlayBytes: lastBytes, count: least })
    return [...wanted.values()]
  }
}

/** The most launches within a moment, up to the limit. */
function busiest(launches: readonly number[]): number {
  let most = 0
  for (const [index, at] of launches.entries()) {
    const from = launches.findIndex((other) => other > at - MOMENT_MS)
    most = Math.max(most, index - from + 1)
  }
  return Math.min(MAX_COUNT, most)
}
