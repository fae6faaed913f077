/** Who did what, to what, through which surface, and how it ended: one line of the audit trail. Never an environment or a secret. */
import type { ErrorCode } from './errors.ts'
import type { KeyId, ProjectId, TimestampMs } from './model.ts'

/** What a line may say besides; small and plain. */
export type AuditDetails = Readonly<Record<string, string | number | boolean | null | readonly string[]>>

/** What was acted on. `id` is null where the call was refused before there was one. */
export interface AuditTarget {
  /** `instance`, `image`, `volume`, `key`, `ssh-key`, `project`, `app`, `service`, `deployment`, … */
  readonly kind: string
  readonly id: string | null
  readonly name: string | null
}

export interface AuditLine {
  /** Grows with each line of the installation. */
  readonly seq: number
  readonly at: TimestampMs
  /** The project of whoever acted. */
  readonly projectId: ProjectId
  /** null: the engine itself (a service's replicas), or a token. */
  readonly keyId: KeyId | null
  /** The surface: `native`, `koyeb`, `mcp`, … */
  readonly via: string
  /** What the surface calls it, where that tells more: the tool of MCP. */
  readonly operation: string | null
  /** `instance.create`, `instance.exec`, `key.delete`, …: the kind of the target, and what was done. */
  readonly action: string
  readonly target: AuditTarget
  /** `ok`: done, or taken in hand. Otherwise the code of the error that refused it. */
  readonly outcome: 'ok' | ErrorCode
  readonly details: AuditDetails
}

/** Words of a command that a line keeps, and characters of each. */
export const AUDIT_ARGV_LIMIT_WORDS = 16
export const AUDIT_WORD_LIMIT_CHARACTERS = 200
const CUT = '…'

/** The beginning of a command: enough to know it by. */
export function auditArgv(command: readonly string[]): readonly string[] {
  const words = command.slice(0, AUDIT_ARGV_LIMIT_WORDS).map(auditWord)
  return command.length > AUDIT_ARGV_LIMIT_WORDS ? [...words, CUT] : words
}

export function auditWord(word: string): string {
  if (word.length <= AUDIT_WORD_LIMIT_CHARACTERS) return word
  // A pair of surrogates is not cut in two.
  const kept = word.slice(0, AUDIT_WORD_LIMIT_CHARACTERS).replace(/[\ud800-\udbff]$/, '')
  return kept + CUT
}
