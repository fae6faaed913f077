/** Query parameters as Hypeman's generated server reads them: Go's booleans and integers, `tags[key]=value`. */
import type { FastifyRequest } from 'fastify'
import { schemaError } from './errors.ts'

const TRUE: ReadonlySet<string> = new Set(['1', 't', 'T', 'TRUE', 'true', 'True'])
const FALSE: ReadonlySet<string> = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False'])

/** The first value of a parameter; null if it is not there. */
export function queryText(request: FastifyRequest, name: string): string | null {
  const query = request.query as Readonly<Record<string, unknown>>
  const value = Object.hasOwn(query, name) ? query[name] : undefined
  const first: unknown = Array.isArray(value) ? value[0] : value
  return typeof first === 'string' ? first : null
}

export function queryBoolean(request: FastifyRequest, name: string, fallback: boolean): boolean {
  const text = queryText(request, name)
  if (text === null || text === '') return fallback
  if (TRUE.has(text)) return true
  if (FALSE.has(text)) return false
  throw schemaError(`parameter "${name}" in query has an error: value ${JSON.stringify(text)}: an invalid boolean`)
}

export function queryInteger(request: FastifyRequest, name: string, fallback: number): number {
  const text = queryText(request, name)
  if (text === null || text === '') return fallback
  const value = Number(text)
  if (/^[+-]?\d{1,15}$/.test(text)) return value
  throw schemaError(`parameter "${name}" in query has an error: value ${JSON.stringify(text)}: an invalid integer`)
}

export function queryChoice<T extends string>(request: FastifyRequest, name: string, choices: readonly T[]): T | null {
  const text = queryText(request, name)
  if (text === null || text === '') return null
  const choice = choices.find(candidate => candidate === text)
  if (choice !== undefined) return choice
  throw schemaError(
    `parameter "${name}" in query has an error: value is not one of the allowed values [${choices.map(c => JSON.stringify(c)).join(',')}]`,
  )
}

/** `?tags[team]=backend&tags[env]=staging`: all must match. */
export function queryTags(request: FastifyRequest): Readonly<Record<string, string>> {
  const query = request.query as Readonly<Record<string, unknown>>
  const tags: [string, string][] = []
  for (const name of Object.keys(query)) {
    const key = /^tags\[(.+)\]$/.exec(name)?.[1]
    if (key === undefined) continue
    const value = queryText(request, name)
    if (value !== null) tags.push([key, value])
  }
  return Object.fromEntries(tags)
}
