/**
 * Pages of log lines. Who reads on follows `next_start` (or `next_end`) while there is more, and sends these times back
 * in whole seconds: so its CLI and every client of its Go module do. A page that ended within a second would be read
 * twice, or, where more lines than a page holds fall into one second, for ever. So a page ends between seconds only,
 * and is longer than was asked for where one second is.
 */
import type { Order } from './schema.ts'

const SECOND_MS = 1000

export interface LogPage<T> {
  readonly lines: readonly T[]
  /** From where to where the next page goes; null where there is none. */
  readonly next: { readonly start: number; readonly end: number } | null
}

/** The first page of all lines within a span, in the order that is wanted. */
export function firstPage<T extends { readonly at: number }>(all: readonly T[], order: Order, limit: number, span: { readonly start: number; readonly end: number }): LogPage<T> {
  const sorted = all.toSorted((a, b) => (order === 'asc' ? a.at - b.at : b.at - a.at))
  // A second begins with its first moment going forward, and ends with its last one going back.
  const secondOf = (line: T) => (order === 'asc' ? Math.floor(line.at / SECOND_MS) : Math.ceil(line.at / SECOND_MS)) * SECOND_MS
  let size = Math.min(limit, sorted.length)
  for (let last = sorted[size - 1], next = sorted[size]; last !== undefined && next !== undefined && secondOf(last) === secondOf(next); last = next, next = sorted[size]) size++
  const next = sorted[size]
  const lines = sorted.slice(0, size)
  if (next === undefined) return { lines, next: null }
  return { lines, next: order === 'asc' ? { start: secondOf(next), end: span.end } : { start: span.start, end: secondOf(next) } }
}
