/**
 * The one writer: transactions of this process wait in a queue and run one after another.
 *
 *   queue ─▶ batch ─▶ BEGIN IMMEDIATE ─▶ [savepoint · work · release]… ─▶ COMMIT ─▶ answers
 *
 * What waits while a commit is on its way to the disk is committed together by the next one, so that many
 * callers share the price of one sync; each has its own savepoint, and one that throws leaves nothing.
 * No answer is given before its commit is on the disk, but where all of a batch said that it may be lost with the
 * machine's power: then it is with the system, and the next commit that is durable takes it along. If a commit fails, each of its transactions runs
 * again alone: that is why work may have no effects but those on its `tx`.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { StoreTx, TransactionOptions } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import { asStoreError, beginImmediate } from './sqlite.ts'

/** Transactions that may wait; past it `rate_limited`. */
export const TRANSACTION_QUEUE_LIMIT = 10_000
/** Transactions that share one commit. */
export const TRANSACTION_BATCH_LIMIT = 64
/** How long one transaction may take; the others wait for it. */
export const TRANSACTION_LIMIT_MS = 30_000

type Work<T> = (tx: StoreTx) => Promise<T>

interface Job {
  readonly durable: boolean
  readonly work: Work<unknown>
  readonly settle: (outcome: Outcome) => void
}

type Outcome = { readonly ok: true; readonly value: unknown } | { readonly ok: false; readonly error: unknown }

export class Writer {
  readonly #raw: DatabaseSync
  readonly #tx: StoreTx
  readonly #path: string
  readonly #limitMs: number
  readonly #queue: Job[] = []
  #running: Promise<void> | null = null
  #isDurable = true
  #closed = false

  constructor(raw: DatabaseSync, tx: StoreTx, path: string, limitMs = TRANSACTION_LIMIT_MS) {
    this.#raw = raw
    this.#tx = tx
    this.#path = path
    this.#limitMs = limitMs
  }

  /** Runs the work in a transaction of its own; resolves once it is on the disk (or with the system). */
  async transaction<T>(work: Work<T>, { durable = true }: TransactionOptions = {}): Promise<T> {
    if (this.#closed) throw new BerthError('shutting_down', 'The store is closed.')
    if (this.#queue.length >= TRANSACTION_QUEUE_LIMIT) {
      throw new BerthError('rate_limited', `${TRANSACTION_QUEUE_LIMIT} changes wait for the disk already: try again in a moment.`)
    }
    const outcome = await new Promise<Outcome>((settle) => {
      this.#queue.push({ work, durable, settle })
      this.#running ??= this.#drain()
    })
    if (!outcome.ok) throw asStoreError(outcome.error, this.#path)
    // The job's value is what this very work returned.
    return outcome.value as T
  }

  /** Takes no more, and resolves when what was taken is done. */
  async close(): Promise<void> {
    this.#closed = true
    await this.#running
  }

  async #drain(): Promise<void> {
    // Let all that is asked for in this turn come into the first batch.
    await Promise.resolve()
    while (this.#queue.length > 0) {
      const batch = this.#queue.splice(0, TRANSACTION_BATCH_LIMIT)
      this.#setDurable(batch.some(({ durable }) => durable))
      const outcomes = await this.#commit(batch)
      for (const [index, job] of batch.entries()) {
        job.settle(outcomes?.[index] ?? (await this.#commitAlone(job)))
      }
    }
    this.#running = null
  }

  #setDurable(durable: boolean): void {
    if (durable === this.#isDurable) return
    this.#raw.exec(`PRAGMA synchronous=${durable ? 'FULL' : 'NORMAL'}`)
    this.#isDurable = durable
  }

  async #commitAlone(job: Job): Promise<Outcome> {
    try {
      await beginImmediate(this.#raw)
      const outcome = await this.#run(job)
      if (outcome.ok) this.#raw.exec('COMMIT')
      else this.#rollback()
      return outcome
    } catch (error) {
      this.#rollback()
      return { ok: false, error }
    }
  }

  /** The outcomes of a batch in its order, or null if each must be tried alone. */
  async #commit(batch: readonly Job[]): Promise<readonly Outcome[] | null> {
    if (batch.length === 1) return null
    const outcomes: Outcome[] = []
    try {
      await beginImmediate(this.#raw)
    } catch (error) {
      return batch.map(() => ({ ok: false, error }))
    }
    try {
      for (const job of batch) {
        this.#raw.exec('SAVEPOINT job')
        const outcome = await this.#run(job)
        if (!outcome.ok) this.#raw.exec('ROLLBACK TO job')
        this.#raw.exec('RELEASE job')
        outcomes.push(outcome)
      }
      this.#raw.exec('COMMIT')
      return outcomes
    } catch {
      // A full disk, a failed read: SQLite may have rolled all of it back. Alone, each gets its own error.
      this.#rollback()
      return null
    }
  }

  async #run(job: Job): Promise<Outcome> {
    const lease = leaseOf(this.#tx)
    const late = Promise.withResolvers<never>()
    const timer = setTimeout(() => {
      late.reject(new BerthError('timeout', `A change took longer than ${this.#limitMs} ms and was undone.`))
    }, this.#limitMs)
    try {
      return { ok: true, value: await Promise.race([job.work(lease.tx), late.promise]) }
    } catch (error) {
      return { ok: false, error }
    } finally {
      clearTimeout(timer)
      lease.end()
    }
  }

  #rollback(): void {
    if (this.#raw.isTransaction) this.#raw.exec('ROLLBACK')
  }
}

/** A `tx` that stops working when its transaction is over, so that a late call can't slip into another's. */
function leaseOf(tx: StoreTx): { readonly tx: StoreTx; end(): void } {
  let isOver = false
  const guarded = new Proxy(tx, {
    get(target, name, receiver) {
      if (isOver) throw new BerthError('internal', `The transaction is over; ${String(name)} came too late.`)
      return Reflect.get(target, name, receiver)
    },
  })
  return {
    tx: guarded,
    end() {
      isOver = true
    },
  }
}
