/**
 * Query parameters as Koyeb's clients send them: by proto name or JSON name (`app_id`, `appId`), numbers as text,
 * lists as repeated keys (or, from one client, as `[A, B]`), `key=` for unset. What is unknown is ignored.
 */
import type { FastifyRequest } from 'fastify'
import { fieldError } from './errors.ts'
import type { Order } from './schema.ts'
import { parseTime } from './timestamp.ts'

export const DEFAULT_LIMIT = 100
/** More is given as this many. Never below 100: the CLI counts on pages of that size. */
export const MAX_LIMIT = 1000
const INTEGER = /^\d{1,10}$/

/** All values of a parameter, in whichever spelling. */
export function queryValues(request: FastifyRequest, name: string): readonly string[] {
  const query = request.query as Readonly<Record<string, unknown>>
  const values = spellings(name).flatMap(key => (Object.hasOwn(query, key) ? query[key] : []))
  return values.filter(value => typeof value === 'string')
}

/** The first value; null where it isn't there or empty. */
export function queryText(request: FastifyRequest, name: string): string | null {
  return queryValues(request, name).find(value => value !== '') ?? null
}

/** A list of plain words: repeated keys, commas, and `[A, B]` are the same. Null where it is not there. */
export function queryList(request: FastifyRequest, name: string): readonly string[] | null {
  const words = queryValues(request, name).flatMap(value => value.replace(/^\s*\[(.*)\]\s*$/s, '$1').split(','))
  const clean = words.map(word => word.trim().replace(/^(["'])(.*)\1$/s, '$2')).filter(word => word !== '')
  return clean.length === 0 ? null : clean
}

/** The same, with every value of a closed set. */
export function queryEnums<T extends string>(request: FastifyRequest, name: string, choices: readonly T[]): readonly T[] | null {
  const words = queryList(request, name)
  return words === null ? null : words.map(word => oneOf(name, word, choices))
}

export function queryEnum<T extends string>(request: FastifyRequest, name: string, choices: readonly T[]): T | null {
  const word = queryText(request, name)
  return word === null ? null : oneOf(name, word, choices)
}

/** A number from 0 up; null where it is not there. */
export function queryInteger(request: FastifyRequest, name: string): number | null {
  const text = queryText(request, name)
  if (text === null) return null
  if (!INTEGER.test(text)) throw fieldError(name, `${quoted(text)} is not a whole number from 0 up`)
  return Number(text)
}

export function queryBoolean(request: FastifyRequest, name: string): boolean | null {
  const text = queryText(request, name)
  if (text === null) return null
  if (/^(true|1|t)$/i.test(text)) return true
  if (/^(false|0|f)$/i.test(text)) return false
  throw fieldError(name, `${quoted(text)} is neither true nor false`)
}

/** Unix milliseconds; null where it is not there. */
export function queryTime(request: FastifyRequest, name: string): number | null {
  const text = queryText(request, name)
  if (text === null) return null
  const at = parseTime(text)
  if (at === null) throw fieldError(name, `${quoted(text)} is not a time like 2026-01-31T12:00:00Z`)
  return at
}

export interface Paging {
  readonly limit: number
  readonly offset: number
  readonly order: Order
}

/** What lists take; echoed in their replies. */
export function queryPaging(request: FastifyRequest, defaults: { readonly order?: Order; readonly limit?: number } = {}): Paging {
  const asked = queryInteger(request, 'limit') ?? 0
  const order = queryText(request, 'order')?.toLowerCase() ?? defaults.order ?? 'asc'
  if (order !== 'asc' && order !== 'desc') throw fieldError('order', `${quoted(order)} is neither asc nor desc`)
  return {
    // 0 is what an unset number is on this wire.
    limit: Math.min(MAX_LIMIT, asked === 0 ? (defaults.limit ?? DEFAULT_LIMIT) : asked),
    offset: queryInteger(request, 'offset') ?? 0,
    order,
  }
}

/** `body.tty_size.height` → itself and `body.ttySize.height`; `body.disableTty` → itself and `body.disable_tty`. */
export function spellings(name: string): readonly string[] {
  const camel = name.replace(/_([a-z])/g, (_, letter: string) => letter.toUpperCase())
  const snake = name.replace(/[A-Z]/g, letter => `_${letter.toLowerCase()}`)
  return [...new Set([name, camel, snake])]
}

function oneOf<T extends string>(name: string, word: string, choices: readonly T[]): T {
  const choice = choices.find(candidate => candidate === word)
  if (choice === undefined) throw fieldError(name, `unknown value ${quoted(word)}; choose from ${choices.join(', ')}`)
  return choice
}

/** A client's own text in a message, cut where it is long. */
export function quoted(text: string): string {
  return JSON.stringify(text.length > 64 ? `${text.slice(0, 64)}…` : text)
}
