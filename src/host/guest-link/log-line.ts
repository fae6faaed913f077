/**
 * The application's log as the agent writes it: CRI lines, any bytes in the text.
 *
 *   2026-01-01T00:00:00.123456789Z stdout F text
 *   2026-01-01T00:00:00.123456789Z stderr P a piece of a line over 16 KiB; the next record goes on
 *   2026-01-01T00:00:00.123456789Z berth F exit code=3 signal=0 reason=exited
 */
import type { LogRecord } from '../../engine/host-port.ts'
import type { AppExit } from '../../instance/model.ts'
import { appExit } from './message.ts'

export type AppLogLine =
  | { readonly kind: 'output'; readonly record: LogRecord }
  /** How the application ended: the last line of its log. */
  | { readonly kind: 'exit'; readonly at: number; readonly exit: AppExit }

const LINE = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3})(\d{6})Z (stdout|stderr|berth) ([FP]) /
const EXIT = /^exit code=(\d{1,3}) signal=(\d{1,2}) reason=([a-z-]{1,40})$/

/** A line without its newline. What is not of the format (a log cut in the middle) comes as plain output. */
export function parseLogLine(line: string): AppLogLine {
  const match = LINE.exec(line)
  if (match === null) return { kind: 'output', record: { at: null, stream: 'stdout', text: line, partial: false } }
  const at = Date.parse(`${match[1]}Z`) + Number(match[2]) / 1_000_000
  const text = line.slice(match[0].length)
  if (match[3] === 'berth') {
    const exit = EXIT.exec(text)
    if (exit !== null) return { kind: 'exit', at, exit: appExit(Number(exit[1]), Number(exit[2]), exit[3] ?? '') }
  }
  return {
    kind: 'output',
    record: { at, stream: match[3] === 'stderr' ? 'stderr' : 'stdout', text, partial: match[4] === 'P' },
  }
}
