/**
 * A command run to its end, and answered as one thing, for surfaces where one request is one command.
 *
 * Output past the limit is read and let go, so that a command that says too much still ends. Whoever goes away takes
 * the command with them: the session is closed, which kills its process group.
 */
import { BerthError } from '../instance/errors.ts'
import { signalName } from '../instance/exit.ts'
import { Capture, encode, encodingOf } from './capture.ts'
import type { Encoding } from './capture.ts'
import type { ExecOutput, ExecSession } from './host-port.ts'

/** What may be asked of such a command, and what holds where nothing is asked. */
export const RUN_LIMITS = {
  timeoutMs: { min: 100, max: 600_000, default: 30_000 },
  /** Of each stream. */
  outputBytes: { min: 1, max: 1_048_576, default: 65_536 },
  /** As it is written in the request. */
  stdinCharacters: 2_097_152,
  arguments: 256,
  /** Of one argument, or of one variable's value; the kernel's own. */
  wordCharacters: 131_071,
} as const

const STDIN_CHUNK_BYTES = 65_536

export interface RunOptions {
  readonly stdin: Buffer | null
  /** Of each stream. */
  readonly limitBytes: number
  /** Aborted when nobody waits for the answer any more. */
  readonly signal: AbortSignal
  /** Told of each piece, with all bytes so far. */
  readonly onOutput?: (piece: ExecOutput, totalBytes: number) => void
}

export interface FinishedRun {
  readonly stdout: string
  readonly stderr: string
  /** Of both streams: `base64` if either is not text. */
  readonly encoding: Encoding
  /** 128 + n after signal n; null if the time was over. */
  readonly exitCode: number | null
  /** `SIGKILL`, … */
  readonly signal: string | null
  readonly timedOut: boolean
  readonly truncated: { readonly stdout: boolean; readonly stderr: boolean }
  /** All that it wrote. */
  readonly outputBytes: { readonly stdout: number; readonly stderr: number }
  readonly durationMs: number
}

/** Feeds and reads a session to its end, and closes it. Throws `cancelled` when the signal is aborted. */
export async function runToEnd(session: ExecSession, { stdin, limitBytes, signal, onOutput }: RunOptions): Promise<FinishedRun> {
  const startedAt = performance.now()
  const stdout = new Capture(limitBytes)
  const stderr = new Capture(limitBytes)
  const close = () => session.close()
  signal.addEventListener('abort', close, { once: true })
  // It is looked at below; a link that breaks must not be an unhandled rejection meanwhile.
  session.exit.catch(() => undefined)
  const fed = feed(session, stdin).catch(() => undefined)
  try {
    requireWaiting(signal)
    for await (const piece of session.output) {
      ;(piece.stream === 'stdout' ? stdout : stderr).add(piece.data)
      onOutput?.(piece, stdout.totalBytes + stderr.totalBytes)
    }
    const exit = await session.exit
    requireWaiting(signal)
    const kept = { stdout: stdout.bytes(), stderr: stderr.bytes() }
    const encoding = encodingOf(kept.stdout, kept.stderr)
    return {
      stdout: encode(kept.stdout, encoding),
      stderr: encode(kept.stderr, encoding),
      encoding,
      exitCode: exit.timedOut ? null : exit.code,
      signal: exit.signal === null ? null : signalName(exit.signal),
      timedOut: exit.timedOut,
      truncated: { stdout: stdout.truncated, stderr: stderr.truncated },
      outputBytes: { stdout: stdout.totalBytes, stderr: stderr.totalBytes },
      durationMs: Math.round(performance.now() - startedAt),
    }
  } finally {
    signal.removeEventListener('abort', close)
    session.close()
    await fed
  }
}

/** A command that ends without reading all of its input is no failure. */
async function feed(session: ExecSession, stdin: Buffer | null): Promise<void> {
  for (let at = 0; stdin !== null && at < stdin.length; at += STDIN_CHUNK_BYTES) {
    await session.write(stdin.subarray(at, at + STDIN_CHUNK_BYTES))
  }
  await session.endInput()
}

function requireWaiting(signal: AbortSignal): void {
  if (signal.aborted) throw new BerthError('cancelled', 'The call was cancelled.')
}
