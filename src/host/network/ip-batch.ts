/**
 * Lines of `ip`, run in order. What many ask for at once goes to one process, and each is told of its own failure.
 *
 * Invariant: `ip` stops at the first line that fails and says which it was: whoever asked for lines before it has them
 * done, whoever asked for that line is told, and the rest is run again.
 */
import { CommandFailed } from '../command.ts'
import { ReadyTool } from '../ready-tool.ts'

interface Asked {
  readonly lines: readonly string[]
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

const tool = new ReadyTool('ip', ['-batch', '-'])
let asked: readonly Asked[] = []
let running = false

/** Stops at the first line that fails, as `CommandFailed`. */
export function ipBatch(lines: readonly string[]): Promise<void> {
  return new Promise((resolve, reject) => {
    asked = [...asked, { lines, resolve, reject }]
    if (!running) void work()
  })
}

async function work(): Promise<void> {
  running = true
  while (asked.length > 0) {
    const batch = asked
    asked = []
    await runAll(batch)
  }
  running = false
}

async function runAll(batch: readonly Asked[]): Promise<void> {
  try {
    await tool.run(`${batch.flatMap(({ lines }) => lines).join('\n')}\n`)
    for (const { resolve } of batch) resolve()
  } catch (error) {
    const failed = batch.length === 1 ? 0 : askerOf(batch, error)
    for (const [index, { resolve, reject }] of batch.entries()) {
      // Without a line nobody knows what was done: then it failed for all of them.
      if (failed === null || index === failed) reject(error)
      else if (index < failed) resolve()
    }
    if (failed !== null) asked = [...batch.slice(failed + 1), ...asked]
  }
}

/** Whose line failed. */
function askerOf(batch: readonly Asked[], error: unknown): number | null {
  const line = error instanceof CommandFailed ? /^Command failed -:(\d+)/m.exec(error.stderr)?.[1] : undefined
  if (line === undefined) return null
  let end = 0
  const found = batch.findIndex(({ lines }) => (end += lines.length) >= Number(line))
  return found < 0 ? null : found
}
