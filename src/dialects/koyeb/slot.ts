/** One item at a time from those who make them to the one who takes them: the makers wait while it is slow. */
export class Slot<T> {
  #item: { readonly value: T } | null = null
  #state: 'open' | 'ended' | { readonly error: unknown } = 'open'
  #changed = Promise.withResolvers<void>()

  /** Resolves when there was room; after the end what comes is dropped. */
  async put(value: T): Promise<void> {
    while (this.#item !== null && this.#state === 'open') await this.#changed.promise
    if (this.#state !== 'open') return
    this.#item = { value }
    this.#signal()
  }

  end(): void {
    if (this.#state === 'open') this.#state = 'ended'
    this.#signal()
  }

  fail(error: unknown): void {
    if (this.#state === 'open') this.#state = { error }
    this.#signal()
  }

  async *read(): AsyncGenerator<T> {
    try {
      for (;;) {
        const item = this.#item
        if (item !== null) {
          this.#item = null
          this.#signal()
          yield item.value
        } else if (this.#state === 'ended') return
        else if (this.#state !== 'open') throw this.#state.error
        else await this.#changed.promise
      }
    } finally {
      this.end()
    }
  }

  #signal(): void {
    const { resolve } = this.#changed
    this.#changed = Promise.withResolvers()
    resolve()
  }
}
