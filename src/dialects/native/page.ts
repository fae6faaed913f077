/** Pages of lists: `limit` items and a cursor to what comes after them. The cursor is opaque to clients. */
import { BerthError } from '../../instance/errors.ts'
import { DEFAULT_PAGE } from './schema/page.ts'

export interface PageWish {
  readonly limit?: number | undefined
  readonly cursor?: string | undefined
}

export interface Page<T> {
  readonly items: T[]
  readonly next: string | null
}

/**
 * The page of a whole list that comes after the item that the cursor names. An item is named by its key, so
 * that what is made or deleted between two pages never repeats or hides another. If the named item is gone,
 * `isAfter` (the list's own order) finds where it was.
 */
export function pageOf<T>(
  all: readonly T[],
  wish: PageWish,
  keyOf: (item: T) => readonly [order: number | string, id: string],
  direction: 'ascending' | 'descending' = 'ascending',
): Page<T> {
  const limit = wish.limit ?? DEFAULT_PAGE
  const after = wish.cursor === undefined ? null : readCursor(wish.cursor)
  const begin = after === null ? 0 : positionAfter(all, after, keyOf, direction)
  const items = all.slice(begin, begin + limit)
  const last = items.at(-1)
  return { items, next: last === undefined || begin + limit >= all.length ? null : writeCursor(keyOf(last)) }
}

/** A cursor that holds one key. */
export function writeCursor(key: readonly [order: number | string, id: string]): string {
  return Buffer.from(JSON.stringify(key)).toString('base64url')
}

/** Throws `invalid_request` unless it is a cursor that `writeCursor` made. */
export function readCursor(cursor: string): readonly [order: number | string, id: string] {
  try {
    const key: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'))
    if (Array.isArray(key) && key.length === 2) {
      const [order, id] = key as readonly unknown[]
      if ((typeof order === 'number' || typeof order === 'string') && typeof id === 'string') return [order, id]
    }
  } catch {
    // Not JSON: the same answer as any other text that is no cursor.
  }
  throw new BerthError('invalid_request', 'The cursor is not one that a list gave; leave it out to begin at the start.', {
    details: { field: 'cursor' },
  })
}

function positionAfter<T>(
  all: readonly T[],
  [order, id]: readonly [order: number | string, id: string],
  keyOf: (item: T) => readonly [order: number | string, id: string],
  direction: 'ascending' | 'descending',
): number {
  const at = all.findIndex((item) => keyOf(item)[1] === id)
  if (at >= 0) return at + 1
  const next = all.findIndex((item) => {
    const [each] = keyOf(item)
    return direction === 'ascending' ? each > order : each < order
  })
  return next < 0 ? all.length : next
}
