/**
 * Shapes of a document: small rules that are put together into a grammar, and tell each place that breaks them in
 * one sentence. A rule decides by what is there (a `type`, a field), so that nothing is told twice over.
 */
export type Severity = 'error' | 'warning'

export interface Finding {
  readonly severity: Severity
  /** A word to grep for. */
  readonly rule: string
  readonly path: readonly (string | number)[]
  readonly message: string
  readonly line?: number
  readonly column?: number
}

export type Path = readonly (string | number)[]
export type Report = (finding: Finding) => void
export type Rule = (value: unknown, path: Path, report: Report) => void

export function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

export function fail(report: Report, path: Path, rule: string, message: string, severity: Severity = 'error'): void {
  report({ severity, rule, path, message })
}

const kindOf = (value: unknown): string => (value === null ? 'nothing' : Array.isArray(value) ? 'a list' : isObject(value) ? 'a map' : `the ${typeof value} ${JSON.stringify(value)}`)

export const anything: Rule = () => undefined

interface TextOptions {
  readonly pattern?: RegExp
  /** What a text that fits the pattern is called. */
  readonly what?: string
  /** A text that breaks the strict pattern but fits this one is only warned of. */
  readonly tolerated?: RegExp
  readonly maxLength?: number
}

export function text(options: TextOptions = {}): Rule {
  return (value, path, report) => {
    if (typeof value !== 'string') return fail(report, path, 'type', `must be a text, and is ${kindOf(value)}.`)
    if (options.maxLength !== undefined && value.length > options.maxLength) {
      return fail(report, path, 'length', `is ${value.length} characters long, and ${options.maxLength} is the most.`)
    }
    if (options.pattern === undefined || options.pattern.test(value)) return undefined
    const isTolerated = options.tolerated?.test(value) === true
    return fail(report, path, 'identifier', `"${value}" is not ${options.what ?? `of the form ${options.pattern.source}`}.`, isTolerated ? 'warning' : 'error')
  }
}

export function literal(...allowed: readonly string[]): Rule {
  return (value, path, report) => {
    if (typeof value === 'string' && allowed.includes(value)) return
    fail(report, path, 'choice', `must be ${allowed.map((each) => `"${each}"`).join(' or ')}, and is ${kindOf(value)}.`)
  }
}

export const flag: Rule = (value, path, report) => {
  if (typeof value !== 'boolean') fail(report, path, 'type', `must be true or false, and is ${kindOf(value)}.`)
}

export function integer(minimum = Number.MIN_SAFE_INTEGER, maximum = Number.MAX_SAFE_INTEGER): Rule {
  return (value, path, report) => {
    const isFit = typeof value === 'number' && Number.isInteger(value) && value >= minimum && value <= maximum
    if (!isFit) fail(report, path, 'type', `must be a whole number from ${minimum} to ${maximum}, and is ${kindOf(value)}.`)
  }
}

export function list(item: Rule, options: { readonly minItems?: number } = {}): Rule {
  return (value, path, report) => {
    if (!Array.isArray(value)) return fail(report, path, 'type', `must be a list, and is ${kindOf(value)}.`)
    if (value.length < (options.minItems ?? 0)) fail(report, path, 'empty', `needs at least ${options.minItems} entry.`)
    for (const [at, each] of value.entries()) item(each, [...path, at], report)
    return undefined
  }
}

export function map(item: Rule, options: { readonly key?: Rule; readonly minItems?: number } = {}): Rule {
  return (value, path, report) => {
    if (!isObject(value)) return fail(report, path, 'type', `must be a map, and is ${kindOf(value)}.`)
    const entries = Object.entries(value)
    if (entries.length < (options.minItems ?? 0)) fail(report, path, 'empty', `needs at least ${options.minItems} entry.`)
    for (const [key, each] of entries) {
      options.key?.(key, [...path, key], report)
      item(each, [...path, key], report)
    }
    return undefined
  }
}

interface RecordOptions {
  readonly required?: readonly string[]
  /** Fields outside the grammar that catalogues write: warned of, with what is made of them. */
  readonly tolerated?: Readonly<Record<string, string>>
  /** What must hold between the fields. */
  readonly also?: (value: Readonly<Record<string, unknown>>, path: Path, report: Report) => void
}

export function record(fields: Readonly<Record<string, Rule>>, options: RecordOptions = {}): Rule {
  return (value, path, report) => {
    if (!isObject(value)) return fail(report, path, 'type', `must be a map, and is ${kindOf(value)}.`)
    for (const name of options.required ?? []) {
      if (value[name] === undefined) fail(report, path, 'required', `lacks "${name}".`)
    }
    for (const [name, each] of Object.entries(value)) {
      const rule = Object.hasOwn(fields, name) ? fields[name] : undefined
      const tolerance = Object.hasOwn(options.tolerated ?? {}, name) ? options.tolerated?.[name] : undefined
      if (rule !== undefined) rule(each, [...path, name], report)
      else if (tolerance !== undefined) fail(report, [...path, name], 'unknown-field', `is not of the grammar here; ${tolerance}`, 'warning')
      else fail(report, [...path, name], 'unknown-field', 'is not a field of the grammar here.')
    }
    options.also?.(value, path, report)
    return undefined
  }
}

/** Picks the rule by what the value is. */
export function choose(pick: (value: unknown) => Rule): Rule {
  return (value, path, report) => pick(value)(value, path, report)
}

/** `$.a[0].b`, for people. */
export function spellPath(path: Path): string {
  return path.reduce<string>((sum, each) => (typeof each === 'number' ? `${sum}[${each}]` : sum === '' ? each : `${sum}.${each}`), '') || 'the document'
}
