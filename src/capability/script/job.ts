/** What goes to the thread of scripts and comes back: plain data. */
export interface ScriptSource {
  readonly name: string
  readonly text: string
}

/** Those that have a sandbox here. */
export const SANDBOXED = ['javascript', 'python'] as const
export type Sandboxed = (typeof SANDBOXED)[number]

/** What a script may have of memory, with what its language takes itself. */
export const MEMORY_MIB: Readonly<Record<Sandboxed, number>> = { javascript: 64, python: 128 }

export interface ScriptJob {
  readonly language: Sandboxed
  /** Run one after another, in one global scope; the last is the script itself. */
  readonly sources: readonly ScriptSource[]
  /** JSON of `{context, names}`. */
  readonly bindings: string
  readonly timeoutMs: number
  readonly statementLimit: number
}

export type ScriptOutcome =
  | { readonly kind: 'done'; readonly json: string }
  | { readonly kind: 'failed'; readonly reason: 'time' | 'statements' | 'memory' | 'size' | 'threw'; readonly message: string }

/** What a script may give, as JSON. */
export const MAX_RESULT_CHARACTERS = 10 * 1024 * 1024
