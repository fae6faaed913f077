/** Lists by pages, and how long a request may wait: what every route's query shares. */
import { Type } from 'typebox'
import type { TSchema } from 'typebox'
import { closed, nullable } from './words.ts'

/** Most items of one page of a list. */
export const MAX_PAGE = 1000
export const DEFAULT_PAGE = 100
/** Longest wait of one request. */
export const MAX_WAIT_MS = 10 * 60 * 1000
export const DEFAULT_WAIT_MS = 60 * 1000
/** Most bytes of a JSON body. */
export const MAX_JSON_BYTES = 1024 * 1024

export const pageProperties = {
  limit: Type.Optional(Type.Integer({ minimum: 1, maximum: MAX_PAGE, description: `Items of one page; default ${DEFAULT_PAGE}.` })),
  cursor: Type.Optional(Type.String({ maxLength: 1024, description: '`next` of the page before.' })),
}
export const PageQuery = Type.Object(pageProperties, closed)

/** One page of a list. `next` is the cursor of the page after it, or null. */
export function page<T extends TSchema>(item: T) {
  return Type.Object({
    items: Type.Array(item),
    next: nullable(Type.String(), 'Cursor of the next page; null on the last.'),
  })
}

export const TagFilter = Type.Array(Type.String({ pattern: '^[^=]+=[\\s\\S]*$' }), { maxItems: 16, description: '`key=value`; may be given several times.' })

export const waitMs = Type.Integer({ minimum: 0, maximum: MAX_WAIT_MS, description: `Default ${DEFAULT_WAIT_MS}.` })
