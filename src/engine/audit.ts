/**
 * The audit trail: a line for each thing that somebody did or was refused, kept with the change itself.
 *
 *   a change           ─▶ `record` in its own transaction: both are there, or neither
 *   a command, a copy  ─▶ `later`: a buffer, written together within `AUDIT_DELAY_MS`, without waiting for the disk
 *   a refused call     ─▶ `later` as well (refusals.ts), with the code of its error
 *
 * Invariants:
 * - A line never holds an environment, what a command was fed, or a secret.
 * - What is asked of the trail sees every line from before: `list` writes the buffer first.
 * - It has an end: lines past `auditKeepMs` or `auditKeepLines` are removed, the oldest first.
 */
import type { AuditDetails, AuditLine, AuditTarget } from '../instance/audit.ts'
import { auditWord } from '../instance/audit.ts'
import type { ErrorCode } from '../instance/errors.ts'
import type { Instance } from '../instance/model.ts'
import { requireScope } from './access.ts'
import type { Caller } from './api.ts'
import type { EngineConfig } from './config.ts'
import type { Logger } from './core.ts'
import type { AuditQuery, Store, StoreTx } from './store-port.ts'

/** How long a line may wait in memory. */
export const AUDIT_DELAY_MS = 100
/** Lines that wait in memory at once; past it they are dropped, and the log says how many. */
export const AUDIT_BUFFER_LIMIT = 10_000
/** Lines of one page. */
export const AUDIT_PAGE_LIMIT = 1000
/** How often old lines are looked for, and how many go in one transaction. */
const PRUNE_INTERVAL_MS = 600_000
const PRUNE_BATCH = 5000
/** These lines were a moment in memory anyway; a sync of the disk would hold the whole server for each. */
const NOT_DURABLE = { durable: false } as const
const DETAILS_LIMIT_BYTES = 8192

export type AuditFilter = Omit<AuditQuery, 'projectId'>

/** What the engine offers of it. */
export interface Audit {
  /** Newest first. */
  list(caller: Caller, filter?: AuditFilter): Promise<readonly AuditLine[]>
}

/** What was done; the rest of the line follows from the caller. */
export interface AuditNote {
  readonly action: string
  readonly target: AuditTarget
  readonly outcome?: ErrorCode
  readonly details?: AuditDetails
}

export function instanceTarget(instance: Pick<Instance, 'id' | 'spec'>): AuditTarget {
  return { kind: 'instance', id: instance.id, name: instance.spec.name }
}

/** A line that may still learn how what it tells of ended. */
export interface OpenLine {
  end(details: AuditDetails): void
}

/** A line on its way: `seq` once it is in the store, and what it has learned since. */
interface Pending {
  readonly draft: Omit<AuditLine, 'seq'>
  readonly details: AuditDetails
  seq: number | null
}

export interface AuditTrailParts {
  readonly store: Store
  readonly logger: Logger
  readonly config: Pick<EngineConfig, 'auditKeepMs' | 'auditKeepLines'>
  readonly now: () => number
}

export class AuditTrail {
  readonly #parts: AuditTrailParts
  #buffer: Pending[] = []
  #dropped = 0
  #closed = false
  #timer: NodeJS.Timeout | null = null
  #prune: NodeJS.Timeout | null = null
  #writing: Promise<void> = Promise.resolve()

  constructor(parts: AuditTrailParts) {
    this.#parts = parts
  }

  readonly api: Audit = {
    list: async (caller, filter = {}) => {
      requireScope(caller, 'read')
      await this.flush()
      const limit = Math.min(filter.limit ?? AUDIT_PAGE_LIMIT, AUDIT_PAGE_LIMIT)
      return this.#parts.store.read.audit({ ...filter, projectId: caller.projectId, limit })
    },
  }

  /** Writes the line with the change that it tells of. */
  async record(tx: StoreTx, caller: Caller, note: AuditNote): Promise<void> {
    await tx.appendAudit(this.#draft(caller, note))
  }

  /** Writes the line soon; how it ended is added when it has. */
  later(caller: Caller, note: AuditNote): OpenLine {
    if (this.#closed) return { end: () => undefined }
    if (this.#buffer.length >= AUDIT_BUFFER_LIMIT) {
      this.#dropped += 1
      return { end: () => undefined }
    }
    const draft = this.#draft(caller, note)
    let line: Pending = { draft, details: draft.details, seq: null }
    this.#enqueue(line)
    return {
      end: details => {
        const ended: Pending = { draft, details: { ...line.details, ...details }, seq: line.seq }
        const at = this.#buffer.indexOf(line)
        if (at >= 0) this.#buffer[at] = ended
        // It is being written or is there: the end is written after it.
        else void this.#writing.then(() => this.#enqueue({ ...ended, seq: line.seq }))
        line = ended
      },
    }
  }

  /** Resolves when all lines from before are in the store. */
  flush(): Promise<void> {
    if (this.#timer !== null) clearTimeout(this.#timer)
    this.#timer = null
    const lines = this.#buffer
    this.#buffer = []
    if (lines.length === 0) return this.#writing
    this.#writing = this.#writing.then(() => this.#write(lines))
    return this.#writing
  }

  /** Removes what is too old, now and from time to time. */
  start(): void {
    this.#prune = setInterval(() => void this.#removeOld(), PRUNE_INTERVAL_MS)
    this.#prune.unref()
    void this.#removeOld()
  }

  async close(): Promise<void> {
    if (this.#prune !== null) clearInterval(this.#prune)
    this.#prune = null
    await this.flush()
    this.#closed = true
    await this.flush()
  }

  #enqueue(line: Pending): void {
    if (this.#closed) return
    this.#buffer.push(line)
    this.#timer ??= setTimeout(() => void this.flush(), AUDIT_DELAY_MS)
  }

  #draft(caller: Caller, note: AuditNote): Pending['draft'] {
    const { action, target } = note
    const details = { ...whoOf(caller), ...note.details }
    const name = target.name === null ? null : auditWord(target.name)
    return {
      at: this.#parts.now(),
      projectId: caller.projectId,
      keyId: caller.keyId,
      via: caller.via,
      operation: caller.operation ?? null,
      action,
      target: { kind: target.kind, id: target.id === null ? null : auditWord(target.id), name },
      outcome: note.outcome ?? 'ok',
      details: Buffer.byteLength(JSON.stringify(details)) > DETAILS_LIMIT_BYTES ? { ...whoOf(caller), cut: true } : details,
    }
  }

  async #write(lines: readonly Pending[]): Promise<void> {
    const { store, logger } = this.#parts
    const dropped = this.#dropped
    try {
      const seqs = await store.transaction(async tx => {
        const written: number[] = []
        for (const { draft, details, seq } of lines) {
          if (seq !== null) await tx.amendAudit(seq, details)
          written.push(seq ?? (await tx.appendAudit({ ...draft, details })))
        }
        return written
      }, NOT_DURABLE)
      for (const [index, line] of lines.entries()) line.seq = seqs[index] ?? null
      if (dropped > 0) logger.error({ dropped }, 'lines of the audit trail were lost: more came than could be written')
      this.#dropped -= dropped
    } catch (error) {
      logger.error({ err: error, lines: lines.length }, 'lines of the audit trail could not be written')
    }
  }

  async #removeOld(): Promise<void> {
    const { store, logger, config, now } = this.#parts
    try {
      for (;;) {
        const removed = await store.transaction(tx => tx.pruneAudit({ before: now() - config.auditKeepMs, keepLines: config.auditKeepLines, limit: PRUNE_BATCH }))
        if (removed < PRUNE_BATCH || this.#prune === null) return
      }
    } catch (error) {
      logger.warn({ err: error }, 'old lines of the audit trail could not be removed; it is tried again')
    }
  }
}

/** A key tells who it is by its id; behind a token stands whom its issuer means. */
function whoOf({ subject, client }: Caller): AuditDetails {
  return { ...(subject === undefined ? {} : { subject: auditWord(subject) }), ...(client === undefined ? {} : { client: auditWord(client) }) }
}
