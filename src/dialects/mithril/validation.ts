/**
 * Validation as FastAPI's users know it: every problem of a request is told at once, as a list of
 * `{type, loc, msg, input, ctx?}` with status 422. The words are those that stock FastAPI and pydantic emit.
 *
 *   const fields = new Fields('query', values)
 *   const limit = fields.integer('limit', { minimum: 1, maximum: 100 })   // null where it is not there
 *   const name = fields.required.text('name')                            // a placeholder if it is wrong …
 *   fields.finish()                                                      // … which nobody sees: this throws
 *
 * Lenient like pydantic: `"5"` is an integer and `"true"` a flag, in queries and in bodies; text is only text.
 */
import { BerthError } from '../../instance/errors.ts'
import { parseMoney } from './money.ts'
import { parseTime } from './time.ts'

export type Loc = readonly (string | number)[]

export interface Issue {
  readonly type: string
  readonly loc: Loc
  readonly msg: string
  readonly input: unknown
  readonly ctx?: Readonly<Record<string, unknown>>
}

/** Longest piece of a client's own value that is sent back to it. */
const ECHO_LIMIT_CHARACTERS = 200
/** Issues that one answer lists. */
const ISSUES_LIMIT = 50
/** Items of a list that are looked at. */
const ITEMS_LIMIT = 10_000
const TRUE = /^(?:true|t|yes|y|on|1)$/i
const FALSE = /^(?:false|f|no|n|off|0)$/i

/** A request that is wrong in at least one place. */
export class ValidationError extends BerthError {
  readonly issues: readonly Issue[]

  constructor(issues: readonly Issue[], options?: { cause?: unknown }) {
    const [first] = issues
    super('invalid_request', first === undefined ? 'The request is not valid.' : `${first.loc.join('.')}: ${first.msg}`, options)
    this.issues = issues.slice(0, ISSUES_LIMIT).map(issue => ({ ...issue, input: shortened(issue.input) }))
  }
}

/** One problem that no type tells: `value_error`, as a validator of the vendor's own would raise it. */
export function valueError(loc: Loc, problem: string, input: unknown, cause?: unknown): ValidationError {
  return new ValidationError([valueIssue(loc, problem, input)], { cause })
}

export function valueIssue(loc: Loc, problem: string, input: unknown): Issue {
  return { type: 'value_error', loc, msg: `Value error, ${problem}`, input, ctx: { error: {} } }
}

export interface Range {
  readonly minimum?: number
  readonly maximum?: number
}

export interface TextRule {
  readonly limit?: number
  readonly minLength?: number
  readonly pattern?: RegExp
}

/** The members of one object: a query, or a part of a body. */
export class Fields {
  readonly loc: Loc
  readonly issues: Issue[]
  readonly #values: Readonly<Record<string, unknown>>
  /** The same readers, for members that must be there. */
  readonly required: RequiredFields

  constructor(loc: Loc, values: Readonly<Record<string, unknown>>, issues: Issue[] = []) {
    this.loc = loc
    this.issues = issues
    this.#values = values
    this.required = new RequiredFields(this)
  }

  /** Throws if anything was wrong. */
  finish(): void {
    if (this.issues.length > 0) throw new ValidationError(this.issues)
  }

  raw(name: string): unknown {
    return Object.hasOwn(this.#values, name) ? this.#values[name] : undefined
  }

  /** A problem of a member, told with the others. */
  wrong(name: string, problem: string): void {
    this.issues.push(valueIssue([...this.loc, name], problem, this.raw(name)))
  }

  /** That a member must be there and is not. */
  missing(name: string): void {
    this.#issue('missing', name, 'Field required', this.loc[0] === 'query' ? null : this.#values)
  }

  has(name: string): boolean {
    const value = this.raw(name)
    return value !== undefined && value !== null
  }

  text(name: string, rule: TextRule = {}): string | null {
    if (!this.has(name)) return null
    const value = this.raw(name)
    if (typeof value !== 'string') return this.#issue('string_type', name, 'Input should be a valid string', value)
    if (value.includes('\0') || !value.isWellFormed()) {
      this.wrong(name, 'it must not hold a zero byte or broken Unicode')
      return null
    }
    const length = Array.from(value).length
    const { minLength = 0, limit = Infinity, pattern } = rule
    if (length < minLength) {
      return this.#issue('string_too_short', name, `String should have at least ${minLength} character${minLength === 1 ? '' : 's'}`, value, { min_length: minLength })
    }
    if (length > limit) return this.#issue('string_too_long', name, `String should have at most ${limit} characters`, value, { max_length: limit })
    if (pattern !== undefined && !pattern.test(value)) {
      return this.#issue('string_pattern_mismatch', name, `String should match pattern '${pattern.source}'`, value, { pattern: pattern.source })
    }
    return value
  }

  integer(name: string, { minimum = -Number.MAX_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER }: Range = {}): number | null {
    if (!this.has(name)) return null
    const value = this.raw(name)
    const number = typeof value === 'string' && /^\s*[+-]?\d{1,18}\s*$/.test(value) ? Number(value) : value
    if (typeof number === 'string') {
      return this.#issue('int_parsing', name, 'Input should be a valid integer, unable to parse string as an integer', value)
    }
    if (typeof number !== 'number') return this.#issue('int_type', name, 'Input should be a valid integer', value)
    if (!Number.isInteger(number)) {
      return this.#issue('int_from_float', name, 'Input should be a valid integer, got a number with a fractional part', value)
    }
    if (number < minimum) return this.#issue('greater_than_equal', name, `Input should be greater than or equal to ${minimum}`, value, { ge: minimum })
    if (number > maximum) return this.#issue('less_than_equal', name, `Input should be less than or equal to ${maximum}`, value, { le: maximum })
    return number
  }

  flag(name: string): boolean | null {
    if (!this.has(name)) return null
    const value = this.raw(name)
    if (typeof value === 'boolean') return value
    const text = typeof value === 'number' ? String(value) : value
    if (typeof text === 'string' && TRUE.test(text)) return true
    if (typeof text === 'string' && FALSE.test(text)) return false
    if (typeof text === 'string') return this.#issue('bool_parsing', name, 'Input should be a valid boolean, unable to interpret input', value)
    return this.#issue('bool_type', name, 'Input should be a valid boolean', value)
  }

  /** One of a closed set. A set that has a name of its own (`SortDirection`) is told as an `enum`. */
  choice<const T extends string>(name: string, choices: readonly T[], kind: 'literal' | 'enum' = 'literal'): T | null {
    if (!this.has(name)) return null
    return this.#oneOf([name], this.raw(name), choices, kind)
  }

  /** Unix milliseconds. */
  time(name: string): number | null {
    if (!this.has(name)) return null
    const value = this.raw(name)
    const parsed = parseTime(value)
    if ('atMs' in parsed) return parsed.atMs
    if (parsed.isType) return this.#issue('datetime_type', name, 'Input should be a valid datetime', value)
    return this.#issue('datetime_from_date_parsing', name, `Input should be a valid datetime or date, ${parsed.problem}`, value, { error: parsed.problem })
  }

  /** Whole cents of `"$25.60"`. */
  cents(name: string): number | null {
    const text = this.text(name)
    if (text === null) return null
    const cents = parseMoney(text)
    if (cents === null) this.wrong(name, 'a price is written like "$25.60"')
    return cents
  }

  texts(name: string, rule: { readonly limit: number; readonly as?: 'list' | 'set'; readonly minItems?: number }): readonly string[] | null {
    if (!this.has(name)) return null
    const value = this.raw(name)
    const { as = 'list', minItems = 0, limit } = rule
    if (!Array.isArray(value)) return this.#issue(`${as}_type`, name, `Input should be a valid ${as}`, value)
    const texts = value.slice(0, ITEMS_LIMIT).map((item: unknown, index) => {
      if (typeof item === 'string') return item
      this.issues.push({ type: 'string_type', loc: [...this.loc, name, index], msg: 'Input should be a valid string', input: item })
      return ''
    })
    const items = as === 'set' ? [...new Set(texts)] : texts
    const kind = as === 'set' ? 'Set' : 'List'
    const counted = (bound: string, count: number) => `${kind} should have at ${bound} ${count} item${count === 1 ? '' : 's'} after validation, not ${items.length}`
    if (items.length < minItems) {
      return this.#issue('too_short', name, counted('least', minItems), value, { field_type: kind, min_length: minItems, actual_length: items.length })
    }
    if (value.length > limit) return this.#issue('too_long', name, counted('most', limit), value, { field_type: kind, max_length: limit, actual_length: value.length })
    return items
  }

  object(name: string): Fields | null {
    if (!this.has(name)) return null
    const value = this.raw(name)
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      return this.#issue('model_attributes_type', name, 'Input should be a valid dictionary or object to extract fields from', value)
    }
    return new Fields([...this.loc, name], value as Readonly<Record<string, unknown>>, this.issues)
  }

  /** A comma-separated list; repeated parameters are the same. null where it is not there. */
  words(name: string): readonly string[] | null {
    if (!this.has(name)) return null
    const value = this.raw(name)
    const values: readonly unknown[] = Array.isArray(value) ? value : [value]
    const texts = values.map(each => (typeof each === 'string' ? each : JSON.stringify(each)))
    const words = texts.flatMap(text => text.split(',')).map(word => word.trim()).filter(word => word !== '')
    return words.length === 0 ? null : words.slice(0, ITEMS_LIMIT)
  }

  /** The same of a closed set. */
  choices<const T extends string>(name: string, choices: readonly T[]): readonly T[] | null {
    const words = this.words(name)
    return words === null ? null : words.flatMap((word, index) => this.#oneOf([name, index], word, choices, 'literal') ?? [])
  }

  #oneOf<const T extends string>(path: Loc, value: unknown, choices: readonly T[], kind: 'literal' | 'enum'): T | null {
    const found = choices.find(choice => choice === value)
    if (found !== undefined) return found
    const quoted = choices.map(choice => `'${choice}'`)
    const expected = quoted.length < 2 ? quoted.join('') : `${quoted.slice(0, -1).join(', ')} or ${quoted.at(-1)}`
    const type = kind === 'enum' ? 'enum' : 'literal_error'
    this.issues.push({ type, loc: [...this.loc, ...path], msg: `Input should be ${expected}`, input: value, ctx: { expected } })
    return null
  }

  #issue(type: string, name: string, msg: string, input: unknown, ctx?: Readonly<Record<string, unknown>>): null {
    this.issues.push({ type, loc: [...this.loc, name], msg, input, ...(ctx === undefined ? {} : { ctx }) })
    return null
  }
}

/** Members that must be there. What they return where they are not is a placeholder that `finish` lets nobody see. */
class RequiredFields {
  readonly #fields: Fields

  constructor(fields: Fields) {
    this.#fields = fields
  }

  text(name: string, rule: TextRule = {}): string {
    return this.#there(name, () => this.#fields.text(name, rule), 'a valid string', 'string_type') ?? ''
  }

  integer(name: string, range: Range = {}): number {
    return this.#there(name, () => this.#fields.integer(name, range), 'a valid integer', 'int_type') ?? 0
  }

  flag(name: string): boolean {
    return this.#there(name, () => this.#fields.flag(name), 'a valid boolean', 'bool_type') ?? false
  }

  choice<const T extends string>(name: string, choices: readonly [T, ...T[]]): T {
    return this.#there(name, () => this.#fields.choice(name, choices), 'one of the known words', 'literal_error') ?? choices[0]
  }

  time(name: string): number {
    return this.#there(name, () => this.#fields.time(name), 'a valid datetime', 'datetime_type') ?? 0
  }

  cents(name: string): number {
    return this.#there(name, () => this.#fields.cents(name), 'a valid string', 'string_type') ?? 0
  }

  texts(name: string, rule: { readonly limit: number; readonly as?: 'list' | 'set'; readonly minItems?: number }): readonly string[] {
    const { as = 'list' } = rule
    return this.#there(name, () => this.#fields.texts(name, rule), `a valid ${as}`, `${as}_type`) ?? []
  }

  object(name: string): Fields {
    const found = this.#there(name, () => this.#fields.object(name), 'a valid dictionary or object to extract fields from', 'model_attributes_type')
    // What is read of it is not told: that it isn't there is enough.
    return found ?? new Fields([...this.#fields.loc, name], {}, [])
  }

  #there<T>(name: string, read: () => T | null, expected: string, type: string): T | null {
    const raw = this.#fields.raw(name)
    if (raw === undefined) this.#fields.missing(name)
    else if (raw === null) this.#fields.issues.push({ type, loc: [...this.#fields.loc, name], msg: `Input should be ${expected}`, input: null })
    else return read()
    return null
  }
}

function shortened(input: unknown): unknown {
  if (typeof input === 'string') return input.length > ECHO_LIMIT_CHARACTERS ? `${input.slice(0, ECHO_LIMIT_CHARACTERS)}…` : input
  if (typeof input !== 'object' || input === null) return input
  return (JSON.stringify(input)?.length ?? 0) > ECHO_LIMIT_CHARACTERS ? null : input
}
