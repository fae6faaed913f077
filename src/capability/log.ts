import type { Json, JsonObject } from './model.ts'

/** One JSON line per event on stderr, without queries, bodies and credentials; what is bound is struck out besides. */
export interface LogEntry {
  readonly event: string
  readonly [key: string]: string | number | boolean | null
}

export type Log = (entry: LogEntry) => void

export function makeLog(write: (line: string) => void, redact: <T extends Json>(value: T) => T): Log {
  return ({ event, ...entry }) => write(`${JSON.stringify({ time: new Date().toISOString(), event, ...redact<JsonObject>(entry) })}\n`)
}
