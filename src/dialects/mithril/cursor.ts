/**
 * Pages of a sorted list. A cursor says after which row the next page begins: the row's sort value and its id, so
 * that rows which come or go meanwhile neither repeat nor skip others. Opaque to clients; base64url of JSON.
 */
import { valueError } from './validation.ts'

export const MAX_LIMIT = 100
/** The most: one client walks three pages at most, so that a smaller one would hide rows from it. */
export const DEFAULT_LIMIT = 100
const CURSOR_LIMIT_CHARACTERS = 1024

export type SortDirection = 'asc' | 'desc'
export const SORT_DIRECTIONS = ['asc', 'desc'] as const
export type SortValue = string | number

export interface Page<T> {
  readonly rows: readonly T[]
  readonly next_cursor: string | null
}

export interface PageRequest<T> {
  readonly rows: readonly T[]
  readonly sortValue: (row: T) => SortValue
  readonly id: (row: T) => string
  readonly direction: SortDirection
  readonly limit: number | null
  readonly cursor: string | null
}

export function pageOf<T>(request: PageRequest<T>): Page<T> {
  const { direction, cursor } = request
  const sign = direction === 'asc' ? 1 : -1
  const positionOf = (row: T): Position => [request.sortValue(row), request.id(row)]
  const ordered = request.rows.map(row => ({ row, position: positionOf(row) })).toSorted((a, b) => sign * compare(a.position, b.position))
  const after = cursor === null || cursor === '' ? null : readCursor(cursor)
  const rest = after === null ? ordered : ordered.filter(({ position }) => sign * compare(position, after) > 0)
  const rows = rest.slice(0, request.limit ?? DEFAULT_LIMIT)
  const last = rows.at(-1)
  const next_cursor = last === undefined || rows.length === rest.length ? null : writeCursor(last.position)
  return { rows: rows.map(({ row }) => row), next_cursor }
}

type Position = readonly [value: SortValue, id: string]

function compare([a, aId]: Position, [b, bId]: Position): number {
  const byValue = typeof a === 'number' && typeof b === 'number' ? a - b : order(String(a), String(b))
  return byValue === 0 ? order(aId, bId) : byValue
}

function order(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function writeCursor(position: Position): string {
  return Buffer.from(JSON.stringify(position)).toString('base64url')
}

function readCursor(text: string): Position {
  try {
    if (text.length > CURSOR_LIMIT_CHARACTERS) throw new RangeError('it is too long')
    const value: unknown = JSON.parse(Buffer.from(text, 'base64url').toString())
    const [sortValue, id] = Array.isArray(value) ? (value as readonly unknown[]) : []
    if ((typeof sortValue !== 'string' && typeof sortValue !== 'number') || typeof id !== 'string') throw new TypeError('it has another form')
    return [sortValue, id]
  } catch (error) {
    throw valueError(['query', 'next_cursor'], 'this is not a cursor that a page of this list gave', text, error)
  }
}
