/** A line of the server's log as a person reads it: `13:14:05 warn image work failed: … (image=…)`; a stack below it where something broke. */
import { pino } from 'pino'

/** Of one value: what is longer stands whole in the JSON of a log that is no terminal. */
const VALUE_LIMIT_CHARACTERS = 200
const ERROR_LEVEL = pino.levels.values['error'] ?? Infinity

interface LoggedError {
  readonly message?: unknown
  readonly stack?: unknown
}

export function logText(json: string): string {
  const { level, time, msg, err, ...details } = JSON.parse(json) as Readonly<Record<string, unknown>>
  const error = typeof err === 'object' && err !== null ? (err as LoggedError) : null
  const why = error === null ? '' : `: ${plain(error.message)}`
  const rest = Object.entries(details).map(([name, value]) => `${plain(name)}=${plain(value)}`).join(' ')
  const word = pino.levels.labels[Number(level)] ?? String(level)
  const head = `${clock(Number(time))} ${word} ${plain(msg ?? '')}${why}${rest === '' ? '' : ` (${rest})`}\n`
  return Number(level) >= ERROR_LEVEL && typeof error?.stack === 'string' ? `${head}${frames(error.stack)}` : head
}

/** Of a stack, where it was: what it was stands above. */
function frames(stack: string): string {
  return stack.split('\n').filter(line => /^\s+at /.test(line)).map(line => `  ${printable(line.trim())}\n`).join('')
}

function plain(value: unknown): string {
  const text = printable(typeof value === 'string' ? value : (JSON.stringify(value) ?? ''))
  return text.length <= VALUE_LIMIT_CHARACTERS ? text : `${text.slice(0, VALUE_LIMIT_CHARACTERS)}…`
}

/** Nothing that a guest or a client named steers the terminal. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, '�')
}

function clock(timeMs: number): string {
  const at = new Date(timeMs)
  return [at.getHours(), at.getMinutes(), at.getSeconds()].map(part => String(part).padStart(2, '0')).join(':')
}
