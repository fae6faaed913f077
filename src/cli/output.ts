/** What commands print: tables for people, JSON for programs, colours only where a person looks at them. */
import { styleText } from 'node:util'

export type Colour = 'green' | 'yellow' | 'red' | 'cyan' | 'dim' | 'bold'

/** Gap between columns. */
const GAP = '  '

/** Prints to a stream; resolves when there is room for more. */
export async function print(text: string | Uint8Array, stream: NodeJS.WriteStream = process.stdout): Promise<void> {
  if (stream.write(text)) return
  await new Promise<void>((resolve) => stream.once('drain', resolve))
}

export async function printJson(value: unknown): Promise<void> {
  await print(`${JSON.stringify(value, null, 2)}\n`)
}

export async function printLines(lines: readonly string[]): Promise<void> {
  if (lines.length > 0) await print(`${lines.join('\n')}\n`)
}

/** One line for a person, beside the output proper. */
export function say(text: string): void {
  process.stderr.write(`${text}\n`)
}

export function hasColour(stream: NodeJS.WriteStream, env: NodeJS.ProcessEnv = process.env): boolean {
  return stream.isTTY === true && (env['NO_COLOR'] ?? '') === '' && env['TERM'] !== 'dumb'
}

export function paint(colour: Colour, text: string, stream: NodeJS.WriteStream = process.stdout): string {
  return hasColour(stream) ? styleText(colour, text, { validateStream: false }) : text
}

export interface Column<T> {
  readonly title: string
  readonly text: (row: T) => string
  readonly colour?: (row: T) => Colour | null
  readonly align?: 'right'
}

/** A table; what a guest or another user named is shown without its control characters. */
export function table<T>(rows: readonly T[], columns: readonly Column<T>[]): string {
  const cells = rows.map((row) => columns.map((column) => visible(column.text(row))))
  const widths = columns.map((column, at) => Math.max(column.title.length, ...cells.map((line) => line[at]?.length ?? 0)))
  const pad = (text: string, at: number) => {
    const column = columns[at]
    const width = widths[at] ?? 0
    if (column?.align === 'right') return text.padStart(width)
    return at === columns.length - 1 ? text : text.padEnd(width)
  }
  const head = paint('bold', columns.map((column, at) => pad(column.title, at)).join(GAP))
  const lines = rows.map((row, number) =>
    columns
      .map((column, at) => {
        const text = pad(cells[number]?.[at] ?? '', at)
        const colour = column.colour?.(row) ?? null
        return colour === null ? text : paint(colour, text)
      })
      .join(GAP)
      .trimEnd(),
  )
  return `${[head, ...lines].join('\n')}\n`
}

/** Text without control characters, so that no name can steer the terminal. */
export function visible(text: string): string {
  return text.replace(/\p{Cc}/gu, '�')
}

/** `3s`, `5m`, `2h`, `4d` since a time. */
export function age(since: string, now = Date.now()): string {
  const seconds = Math.max(0, Math.floor((now - Date.parse(since)) / 1000))
  if (seconds < 60) return `${seconds}s`
  if (seconds < 3600) return `${Math.floor(seconds / 60)}m`
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)}h`
  return `${Math.floor(seconds / 86_400)}d`
}

/** Colour of a phase: green runs, yellow is on its way, red needs a look, dim is at rest. */
export function phaseColour(phase: string): Colour {
  switch (phase) {
    case 'running':
      return 'green'
    case 'failed':
    case 'lost':
    case 'unhealthy':
      return 'red'
    case 'standby':
      return 'cyan'
    case 'stopped':
    case 'deleted':
    case 'preempted':
      return 'dim'
    default:
      return 'yellow'
  }
}
