/**
 * The inputs of an exposed unit: those it declares, or those that follow from what it calls. REST brings texts, which
 * are made into the declared types; MCP brings JSON, whose types must already be right. A fault names its field, and
 * no call goes upstream.
 */
import { EXEC_INPUTS, execAliases } from './exec-input.ts'
import { invalid } from './failure.ts'
import type { FieldError } from './failure.ts'
import { findJson } from './json-path.ts'
import { findFunction, findOperation, isExec } from './model.ts'
import type { Capability, ConsumedInput, Input, Json, JsonObject, Unit, ValueType, With } from './model.ts'
import { referredInput } from './reference.ts'
import { isObject } from './shape.ts'
import { namesIn, namesInPath, spell } from './template.ts'

/** What a unit takes, for any adapter. */
export interface UnitInputs {
  readonly inputs: readonly Input[]
  /** Other names under which inputs are taken; they are not advertised. */
  readonly aliases: readonly string[]
}

/** Inputs by declaration, else by what is called (through `with`). */
export function unitInputs(capability: Capability, unit: Unit, namespace: string): UnitInputs {
  if (unit.inputs !== null) return { inputs: unit.inputs, aliases: [] }
  const { action } = unit
  switch (action.kind) {
    case 'mock':
      return { inputs: mockInputs(action.outputs), aliases: [] }
    case 'ref': {
      const target = findFunction(capability, action.ref)
      if (target === null) return { inputs: [], aliases: [] }
      const theirs = unitInputs(capability, target, action.ref.split('.')[0] ?? '')
      // What the reference itself gives, the caller doesn't.
      const own = Object.entries(action.with).flatMap(([name, value]) => {
        const input = theirs.inputs.find((each) => each.name === name)
        const referred = referredInput(value, [namespace])
        return referred === null || input === undefined ? [] : [{ ...input, name: referred }]
      })
      const given = new Set(Object.keys(action.with))
      return { inputs: unique([...theirs.inputs.filter((each) => !given.has(each.name)), ...own]), aliases: theirs.aliases }
    }
    case 'call':
      return callInputs(capability, action.call, action.with, [namespace])
    case 'steps': {
      const names = new Set(action.steps.map((step) => step.name))
      const parts = action.steps.map((step): UnitInputs => {
        if (step.kind === 'call') return callInputs(capability, step.call, step.with, [namespace])
        const given = step.kind === 'lookup' ? [step.lookupValue] : Object.values(step.with)
        return { inputs: given.flatMap((each) => referredNames(each, [namespace])).map((name) => derived(name, null)), aliases: [] }
      })
      const inputs = parts.flatMap((part) => part.inputs).filter((each) => !names.has(each.name.split('.')[0] ?? ''))
      return { inputs: unique(inputs), aliases: parts.flatMap((part) => part.aliases) }
    }
  }
}

function callInputs(capability: Capability, call: string, given: With, namespaces: readonly string[]): UnitInputs {
  const operation = findOperation(capability, call)
  if (operation === null) return { inputs: [], aliases: [] }
  if (isExec(operation)) return { inputs: EXEC_INPUTS, aliases: execAliases(given, namespaces) }
  const consumed = new Map(operation.inputs.map((each) => [each.name, each]))
  const inPath = namesInPath(operation.path)
  const inputs: Input[] = []
  for (const [name, value] of Object.entries(given)) {
    for (const each of referredNames(value, namespaces)) inputs.push(derived(each, consumed.get(name) ?? null, inPath.includes(name)))
  }
  // Without a `with`, what is consumed is what is taken; with one, only what the path can't do without.
  const isPlain = Object.keys(given).length === 0
  for (const each of operation.inputs) {
    const isOpen = each.value === null && each.place !== 'environment' && !Object.hasOwn(given, each.name)
    if (isOpen && (isPlain || inPath.includes(each.name))) inputs.push(derived(each.name, each, inPath.includes(each.name)))
  }
  for (const name of inPath) {
    if (!Object.hasOwn(given, name) && !consumed.has(name)) inputs.push(derived(name, null, true))
  }
  return { inputs: unique(inputs), aliases: [] }
}

/** The inputs that a value of `with` names. */
function referredNames(value: string | number, namespaces: readonly string[]): readonly string[] {
  const referred = referredInput(value, namespaces)
  if (referred !== null) return [referred]
  return typeof value === 'string' ? namesIn(value) : []
}

function derived(name: string, consumed: ConsumedInput | null, isInPath = false): Input {
  return {
    name,
    place: null,
    type: consumed?.type ?? (isInPath ? 'string' : null),
    description: consumed?.description ?? null,
    isRequired: isInPath || consumed?.isRequired === true,
    pattern: null,
    value: null,
  }
}

/** A mock echoes what its values name. */
function mockInputs(outputs: readonly { readonly value: Json | undefined }[]): readonly Input[] {
  return unique(outputs.flatMap(({ value }) => (typeof value === 'string' ? namesIn(value) : []).map((name) => derived(name, null))))
}

function unique(inputs: readonly Input[]): readonly Input[] {
  const byName = new Map<string, Input>()
  for (const each of inputs) {
    const known = byName.get(each.name)
    byName.set(each.name, known === undefined ? each : { ...known, isRequired: known.isRequired || each.isRequired, type: known.type ?? each.type })
  }
  return [...byName.values()]
}

/** Where an HTTP request carries its inputs. */
export interface RestSource {
  readonly path: Readonly<Record<string, string>>
  readonly query: URLSearchParams
  readonly headers: Readonly<Record<string, string | readonly string[] | undefined>>
  /** Undefined if there is no body. */
  readonly body: Json | undefined
}

/** The inputs of a REST request, each made into its type. */
export function readRestInputs({ inputs, aliases }: UnitInputs, source: RestSource): JsonObject {
  const out: Record<string, Json> = {}
  const faults: FieldError[] = []
  for (const input of inputs) {
    const raw = input.value === null ? fromRequest(input, source) : staticValue(input.value, source)
    if (raw === undefined) {
      if (input.isRequired && !hasAlias(input.name, aliases, source)) faults.push({ field: input.name, description: 'is required.' })
      continue
    }
    const value = typeof raw === 'object' && !Array.isArray(raw) ? raw : coerce(raw, input.type)
    if (value === undefined) faults.push({ field: input.name, description: `must be ${article(input.type)}.` })
    else if (misfit(input, value)) faults.push({ field: input.name, description: `must match ${input.pattern}.` })
    else out[input.name] = value
  }
  for (const alias of aliases) {
    const raw = fromQueryOrBody(alias, source)
    if (raw !== undefined) out[alias] = raw
  }
  if (faults.length > 0) throw invalid(faults)
  return out
}

const hasAlias = (name: string, aliases: readonly string[], source: RestSource): boolean =>
  aliases.some((alias) => (alias.endsWith(`.${name}`) || alias === name) && fromQueryOrBody(alias, source) !== undefined)

function fromRequest(input: Input, source: RestSource): Json | undefined {
  switch (input.place) {
    case 'path':
      return source.path[input.name]
    case 'query':
      return fromQuery(input.name, source)
    case 'header': {
      const value = source.headers[input.name.toLowerCase()]
      return typeof value === 'string' || value === undefined ? value : value.join(', ')
    }
    case 'cookie':
      return readCookie(input.name, source.headers['cookie'])
    case 'body':
      // The field of this name; if the body is no map, the whole of it.
      return isObject(source.body) ? (source.body as JsonObject)[input.name] : source.body
    case null:
      return source.path[input.name] ?? fromQueryOrBody(input.name, source)
  }
}

function fromQueryOrBody(name: string, source: RestSource): Json | undefined {
  const value = fromQuery(name, source)
  if (value !== undefined) return value
  return isObject(source.body) && Object.hasOwn(source.body, name) ? (source.body as JsonObject)[name] : undefined
}

/** One value is itself, several are a list: keys repeat, and a comma is a comma. */
function fromQuery(name: string, { query }: RestSource): Json | undefined {
  const values = query.getAll(name)
  return values.length > 1 ? values : values[0]
}

function readCookie(name: string, header: string | readonly string[] | undefined): string | undefined {
  if (typeof header !== 'string') return undefined
  const pair = header.split(/;\s*/).find((each) => each.startsWith(`${name}=`))
  return pair?.slice(name.length + 1)
}

function staticValue(value: string, source: RestSource): Json | undefined {
  if (!value.startsWith('$')) return value
  return source.body === undefined ? undefined : findJson(value, source.body)
}

function coerce(raw: Json, type: ValueType | null): Json | undefined {
  if (type === 'array') return Array.isArray(raw) ? raw : typeof raw === 'string' && raw.startsWith('[') ? (parsed(raw) ?? [raw]) : [raw]
  if (Array.isArray(raw)) return type === null ? raw : undefined
  if (typeof raw !== 'string') return type === 'string' ? spell(raw) : type === null || fits(raw, type) ? raw : undefined
  switch (type) {
    case 'integer':
      return /^[+-]?\d{1,15}$/.test(raw) ? Number(raw) : undefined
    case 'number':
      return /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(raw) && Number.isFinite(Number(raw)) ? Number(raw) : undefined
    case 'boolean':
      return raw === 'true' ? true : raw === 'false' ? false : undefined
    case 'object': {
      const value = parsed(raw)
      return isObject(value) ? (value as JsonObject) : undefined
    }
    default:
      return raw
  }
}

function parsed(text: string): Json | undefined {
  try {
    return JSON.parse(text) as Json
  } catch {
    return undefined
  }
}

/** The arguments of a tool, checked as they are. */
export function checkToolInputs({ inputs, aliases }: UnitInputs, given: JsonObject): JsonObject {
  const faults: FieldError[] = []
  const out: Record<string, Json> = {}
  for (const [name, value] of Object.entries(given)) {
    const input = inputs.find((each) => each.name === name)
    if (input === undefined) {
      const isAlias = aliases.some((alias) => alias === name || alias.startsWith(`${name}.`))
      if (!isAlias) faults.push({ field: name, description: 'is not an argument of this tool.' })
      else out[name] = value
      continue
    }
    if (value === null && !input.isRequired) continue
    if (input.type !== null && !fits(value, input.type)) faults.push({ field: name, description: `must be ${article(input.type)}.` })
    else if (misfit(input, value)) faults.push({ field: name, description: `must match ${input.pattern}.` })
    else out[name] = value
  }
  for (const input of inputs) {
    const isThere = out[input.name] !== undefined || aliases.some((alias) => alias.endsWith(`.${input.name}`) && aliasValue(given, alias) !== undefined)
    const isTold = faults.some((fault) => fault.field === input.name)
    if (input.isRequired && !isThere && !isTold) faults.push({ field: input.name, description: 'is required.' })
    if (input.value !== null) out[input.name] = input.value
  }
  if (faults.length > 0) throw invalid(faults)
  return out
}

/** `body.command` as a key, or `command` in `body`. */
function aliasValue(given: JsonObject, alias: string): Json | undefined {
  if (Object.hasOwn(given, alias)) return given[alias]
  return alias.split('.').reduce<Json | undefined>((at, part) => (isObject(at) ? (at as JsonObject)[part] : undefined), given)
}

function fits(value: Json, type: ValueType): boolean {
  switch (type) {
    case 'string':
      return typeof value === 'string'
    case 'number':
      return typeof value === 'number' && Number.isFinite(value)
    case 'integer':
      return Number.isSafeInteger(value)
    case 'boolean':
      return typeof value === 'boolean'
    case 'array':
      return Array.isArray(value)
    case 'object':
      return isObject(value)
  }
}

function misfit({ pattern }: Input, value: Json): boolean {
  return pattern !== null && typeof value === 'string' && !new RegExp(pattern, 'u').test(value)
}

const ARTICLES: Readonly<Record<ValueType, string>> = {
  string: 'a text',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'an object',
}
const article = (type: ValueType | null): string => (type === null ? 'a value' : ARTICLES[type])

/** The JSON Schema of a unit's inputs, as tools advertise it. */
export function inputSchema({ inputs }: UnitInputs): JsonObject {
  const open = inputs.filter((each) => each.value === null)
  const required = open.filter((each) => each.isRequired).map((each) => each.name)
  const properties = Object.fromEntries(
    open.map((each): [string, Json] => {
      const special = EXEC_INPUTS.includes(each) ? execSchema(each.name) : {}
      const type = each.type === null ? {} : { type: each.type }
      const items = each.type === 'array' ? { items: special.items ?? {} } : {}
      const pattern = each.pattern === null ? {} : { pattern: each.pattern }
      return [each.name, { ...type, ...(each.description === null ? {} : { description: each.description }), ...pattern, ...special, ...items } as Json]
    }),
  )
  return { type: 'object', properties, ...(required.length === 0 ? {} : { required }), additionalProperties: false }
}

/** What a schema can say of exec's arguments beyond their types. */
function execSchema(name: string): Record<string, Json> {
  switch (name) {
    case 'id_type':
      return { enum: ['INSTANCE_ID', 'SERVICE_ID'], default: 'INSTANCE_ID' }
    case 'command':
      return { items: { type: 'string' }, minItems: 1, maxItems: 256 }
    case 'stdin_encoding':
      return { enum: ['utf-8', 'base64'], default: 'utf-8' }
    case 'tty':
      return { default: false }
    case 'tty_size':
      return { properties: { height: { type: 'integer' }, width: { type: 'integer' } }, additionalProperties: false }
    case 'timeout_ms':
      return { minimum: 100, maximum: 600_000, default: 30_000 }
    case 'max_output_bytes':
      return { minimum: 1, maximum: 1_048_576, default: 65_536 }
    default:
      return {}
  }
}
