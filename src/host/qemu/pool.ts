/**
 * The warm pool: a few blanks (blank.ts) that wait, paused, for whom they will be. One is handed out at once; another
 * takes its place in the background.
 *
 *   demand (launches of a size and an image) ─▶ how many are kept ─▶ made one at a time, when no launch is under way
 *
 * Invariants: a launch never waits for the pool; the memory that the waiting have for themselves stays below the
 * budget; one that dies is replaced; those whose template is given up go. All end with the server, or are swept by
 * the next.
 */
import { asBerthError } from '../../instance/errors.ts'
import type { ImageDigest } from '../../instance/model.ts'
import { dropBlank, fits, makeBlank, type Blank } from './blank.ts'
import type { VmContext } from './context.ts'
import { Demand } from './demand.ts'
import { openRoot } from './disks.ts'
import { privateBytes } from './process.ts'
import { rehearsalImage } from './rehearsal.ts'
import { generalKey, keyText, type ImageTemplateKey, type TemplateImage, type TemplateKey } from './template.ts'

/** What a blank is reckoned to take before one was measured: emulation's buffers, and what a rehearsal writes. */
const FIRST_GUESS_BYTES = 64 * 1024 * 1024
/** Launch upon launch for this long doesn't keep the pool from being filled. */
const LONGEST_WAIT_MS = 3_000
const FIRST_RETRY_MS = 5_000
const LONGEST_RETRY_MS = 300_000
/** How often those that nobody asks for any more are looked for. */
const REVIEW_EVERY_MS = 60_000

export interface PoolOptions {
  /** Of all waiting VMs together, what they don't share with others. */
  readonly budgetBytes: number
  /** The writable layer that lies ready for an instance that asks for nothing else. */
  readonly overlayBytes: number
  /** Default true. If not, the guest of one that waits has run nothing: it takes less memory, and a launch more time. */
  readonly rehearses?: boolean
}

interface Waiting {
  readonly blank: Blank
  readonly bytes: number
}

export class Pool {
  readonly #context: VmContext
  readonly #options: PoolOptions
  readonly #demand: Demand
  #waiting: Waiting[] = []
  #filling: Promise<void> | null = null
  #again = false
  #costBytes = FIRST_GUESS_BYTES
  #failures = 0
  #retry: NodeJS.Timeout | null = null
  readonly #review: NodeJS.Timeout
  readonly #closing = new AbortController()

  /** `first` is the size of which some wait before anybody asked. */
  constructor(context: VmContext, options: PoolOptions, first: TemplateKey) {
    this.#context = context
    this.#options = options
    this.#demand = new Demand({ key: first, overlayBytes: options.overlayBytes })
    this.#review = setInterval(() => this.wake(), REVIEW_EVERY_MS)
    this.#review.unref()
  }

  /**
   * One that waits, at once, or null: of that very image (`mounted` tells whether its disks may be mounted already), or
   * one that can be any image's. It is the caller's from now on.
   */
  take(key: ImageTemplateKey, { mounted }: { readonly mounted: boolean }): Blank | null {
    // Its card has the ports that an instance publishes: it can't be there before the instance.
    if (key.network === 'user') return null
    const { overlayBytes } = key.image
    this.#demand.note(mounted ? key : generalKey(key), overlayBytes)
    const own = mounted ? this.#waiting.filter(({ blank }) => fits(blank, key)) : []
    const general = this.#waiting.filter(({ blank }) => fits(blank, generalKey(key)))
    const found = own[0] ?? general.find(({ blank }) => blank.overlayBytes === overlayBytes) ?? general[0]
    if (found !== undefined) this.#waiting = this.#waiting.filter((other) => other !== found)
    this.wake()
    return found?.blank ?? null
  }

  /** Before anybody asked, one of these waits. */
  expect(key: ImageTemplateKey): void {
    this.#demand.note(key, key.image.overlayBytes)
    this.wake()
  }

  /** Ends those of an image that is gone. */
  async forgetImage(digest: ImageDigest): Promise<void> {
    const gone = this.#waiting.filter(({ blank }) => blank.key.image?.digest === digest)
    this.#waiting = this.#waiting.filter((waiting) => !gone.includes(waiting))
    await Promise.all(gone.map(({ blank }) => this.#drop(blank)))
  }

  /** How many of a size wait. */
  count(key: TemplateKey): number {
    return this.#waiting.filter(({ blank }) => fits(blank, key)).length
  }

  /** Templates whose clones wait here. */
  templates(): readonly string[] {
    return this.#waiting.map(({ blank }) => blank.templateId)
  }

  /** Ends those whose network interface somebody removed from the host; others take their place. */
  async endUnplugged(): Promise<void> {
    const plugged = this.#waiting.map(({ blank }) => blank).filter(({ tap }) => tap !== null)
    const missing = new Set(await this.#context.network.missing(plugged.map(({ id }) => id)))
    // One that was taken meanwhile has its tap under another name.
    const lost = this.#waiting.filter(({ blank }) => plugged.includes(blank) && missing.has(blank.id))
    await Promise.all(lost.map(({ blank }) => blank.vmm.kill()))
  }

  /** Looks in the background whether there are too few or too many. */
  wake(): void {
    if (this.#closing.signal.aborted || this.#retry !== null) return
    this.#again = true
    this.#filling ??= this.#work().finally(() => {
      this.#filling = null
      if (this.#again) this.wake()
    })
  }

  /** Ends all that wait. */
  async close(): Promise<void> {
    this.#closing.abort()
    clearInterval(this.#review)
    if (this.#retry !== null) clearTimeout(this.#retry)
    await this.#filling
    await Promise.all(this.#waiting.splice(0).map(({ blank }) => this.#drop(blank)))
  }

  async #work(): Promise<void> {
    try {
      while (this.#again && !this.#closing.signal.aborted) {
        this.#again = false
        await this.#trim()
        for (let wanted = this.#next(); wanted !== null; wanted = this.#next()) {
          await this.#context.lull.until({ mostMs: LONGEST_WAIT_MS, signal: this.#closing.signal })
          if (this.#closing.signal.aborted || !(await this.#add(wanted.key, wanted.overlayBytes))) return
        }
      }
      this.#failures = 0
    } catch (error) {
      this.#failed(error)
    }
  }

  /** What is to be made next; null if enough wait, or the budget is used up. */
  #next(): { readonly key: TemplateKey; readonly overlayBytes: number } | null {
    const used = this.#waiting.reduce((sum, { bytes }) => sum + bytes, 0)
    if (used + this.#costBytes > this.#options.budgetBytes) return null
    const missing = this.#wants().filter(({ key, count }) => this.count(key) < count && this.#has(key))
    return missing.toSorted((a, b) => b.count - this.count(b.key) - (a.count - this.count(a.key)))[0] ?? null
  }

  #wants(): ReturnType<Demand['wants']> {
    return this.#demand.wants((key) => this.#has(key))
  }

  #has(key: TemplateKey): boolean {
    return (this.#context.templates?.look(key) ?? null) !== null
  }

  /** Those that nobody will ask for, and those whose template was given up. */
  async #trim(): Promise<void> {
    const counts = new Map(this.#wants().map(({ key, count }) => [keyText(key), count]))
    const kept: Waiting[] = []
    const gone: Blank[] = []
    for (const waiting of this.#waiting) {
      const { blank } = waiting
      const text = keyText(blank.key)
      const left = counts.get(text) ?? 0
      const isCurrent = this.#context.templates?.look(blank.key)?.id === blank.templateId
      if (left > 0 && isCurrent && !blank.vmm.hasEnded) kept.push(waiting)
      else gone.push(blank)
      counts.set(text, left - 1)
    }
    this.#waiting = kept
    await Promise.all(gone.map((blank) => this.#drop(blank)))
  }

  /** False where none can be made now. */
  async #add(key: TemplateKey, overlayBytes: number): Promise<boolean> {
    const root = key.image === null ? await rehearsalImage(this.#context) : await rootOf(this.#context, key.image)
    const template = this.#context.templates?.take(key) ?? null
    if (template === null || root === null) return false
    const over = this.#context.templates?.hold(template)
    try {
      const blank = await makeBlank(this.#context, { key, template, root, overlayBytes, rehearses: this.#options.rehearses ?? true })
      const bytes = await privateBytes(blank.vmm.identity.pid)
      this.#costBytes = bytes ?? this.#costBytes
      this.#waiting.push({ blank, bytes: bytes ?? this.#costBytes })
      void blank.vmm.ended.then(() => this.#died(blank))
      return true
    } finally {
      over?.()
    }
  }

  async #died(blank: Blank): Promise<void> {
    const waiting = this.#waiting.find((other) => other.blank === blank)
    if (waiting === undefined || this.#closing.signal.aborted) return
    this.#waiting = this.#waiting.filter((other) => other !== waiting)
    this.#context.log.warn({ vm: blank.id }, 'a VM of the pool ended; another takes its place')
    await this.#drop(blank)
    this.wake()
  }

  async #drop(blank: Blank): Promise<void> {
    await dropBlank(this.#context, blank).catch((error: unknown) => {
      this.#context.log.warn({ err: error, vm: blank.id }, 'something of a VM of the pool could not be removed')
    })
  }

  #failed(error: unknown): void {
    if (this.#closing.signal.aborted) return
    const pauseMs = Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** this.#failures)
    this.#failures += 1
    this.#context.log.warn({ err: asBerthError(error), pauseMs }, 'a VM for the pool could not be made; it is tried again')
    this.#retry = setTimeout(() => {
      this.#retry = null
      this.wake()
    }, pauseMs)
    this.#retry.unref()
  }
}

/** The image's root, if it is still the file that its template was made with. */
async function rootOf(context: VmContext, image: TemplateImage): Promise<string | null> {
  const { path, stamp } = await openRoot(context, image.digest)
  return stamp === image.root ? path : null
}
