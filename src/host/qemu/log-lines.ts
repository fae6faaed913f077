/**
 * Bytes of a log file → records. Pure; holds at most one line's worth of bytes.
 *
 * The application's log is in CRI format, written by the guest's agent:
 *   2026-01-01T00:00:00.123456789Z stdout F text        F a whole line, P a piece of a longer one
 * The server's log has a time and a text; the console has neither and may hold terminal commands.
 */
import type { LogRecord } from '../../engine/host-port.ts'
import { parseLogLine } from '../guest-link/log-line.ts'

/** A line longer than this is told in pieces. */
export const MAX_RECORD_BYTES = 64 * 1024

export type LogFormat = 'cri' | 'timed' | 'console' | 'stderr'

export class LineReader {
  readonly #format: LogFormat
  #held: Buffer = Buffer.alloc(0)

  constructor(format: LogFormat) {
    this.#format = format
  }

  /** The records that these bytes complete. */
  *push(chunk: Buffer): Generator<LogRecord> {
    let bytes = this.#held.length === 0 ? chunk : Buffer.concat([this.#held, chunk])
    for (;;) {
      const newline = bytes.indexOf(0x0a)
      if (newline >= 0 && newline <= MAX_RECORD_BYTES) {
        yield* this.#record(bytes.subarray(0, newline), false)
        bytes = bytes.subarray(newline + 1)
      } else if (bytes.length > MAX_RECORD_BYTES) {
        const cut = characterBoundary(bytes, MAX_RECORD_BYTES)
        yield* this.#record(bytes.subarray(0, cut), true)
        bytes = bytes.subarray(cut)
      } else break
    }
    // A copy, so that a small rest doesn't keep a large chunk alive.
    this.#held = Buffer.from(bytes)
  }

  /** Bytes of the line that has no newline yet. */
  get heldBytes(): number {
    return this.#held.length
  }

  /** What has no newline yet. */
  *flush(): Generator<LogRecord> {
    const rest = this.#held
    this.#held = Buffer.alloc(0)
    if (rest.length > 0) yield* this.#record(rest, false)
  }

  *#record(line: Buffer, partial: boolean): Generator<LogRecord> {
    const text = line.toString('utf8')
    switch (this.#format) {
      case 'console':
        yield { at: null, stream: 'console', text: withoutTerminalCommands(text), partial }
        return
      case 'stderr':
        yield { at: null, stream: 'stderr', text, partial }
        return
      case 'timed': {
        const space = text.indexOf(' ')
        const at = Date.parse(text.slice(0, Math.max(0, space)))
        yield Number.isNaN(at)
          ? { at: null, stream: 'stdout', text, partial }
          : { at, stream: 'stdout', text: text.slice(space + 1), partial }
        return
      }
      case 'cri': {
        const parsed = parseLogLine(text)
        if (parsed.kind === 'output') yield { ...parsed.record, partial: partial || parsed.record.partial }
      }
    }
  }
}

/** Whether a line of the file ends a line of the log (a piece of a long line doesn't). */
export function endsLogLine(format: LogFormat, start: string): boolean {
  return format !== 'cri' || !/^\S+ [a-z]+ P /.test(start)
}

/** The last place at or before `at` where a UTF-8 character begins. */
function characterBoundary(bytes: Buffer, at: number): number {
  for (let cut = at; cut > at - 4; cut -= 1) {
    if (((bytes[cut] ?? 0) & 0xc0) !== 0x80) return cut
  }
  return at
}

/** Firmware clears the screen when it starts; whoever reads a log doesn't want theirs cleared. */
function withoutTerminalCommands(text: string): string {
  // eslint-disable-next-line no-control-regex
  return text.replaceAll(/\x1b(?:\[[0-?]*[ -/]*[@-~]|[@-Z\\-_a-z])|\r/g, '')
}
