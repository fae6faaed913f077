/**
 * What a unit answers: mapped out of the upstream's document, put together from steps, or a mock. `type: object,
 * mapping: $.` is the whole document; properties and items are mapped from what their parent found.
 */
import { findJson } from './json-path.ts'
import type { Json, JsonObject, Output, StepMapping, ValueType } from './model.ts'
import { isStepPath } from './reference.ts'
import { isObject } from './shape.ts'
import { inScope, namesIn, renderValue, spell } from './template.ts'
import type { Scope } from './template.ts'

const RESERVED = new Set(['__proto__', 'constructor', 'prototype'])

/** The outputs in their order; the first that finds something is the answer. Without outputs, the document itself. */
export function mapOutputs(outputs: readonly Output[], document: Json, scope: Scope): Json {
  if (outputs.length === 0) return document
  for (const output of outputs) {
    const value = mapOutput(output, document, scope)
    if (value !== undefined && value !== null) return value
  }
  return null
}

function mapOutput(output: Output, document: Json, scope: Scope): Json | undefined {
  if (output.value !== undefined) return typed(typeof output.value === 'string' ? renderValue(output.value, scope) : output.value, output.type)
  const found = output.mapping === null ? document : findJson(output.mapping, document)
  if (found === undefined) return undefined
  if (output.properties !== null && output.type === 'object') {
    const entries = Object.entries(output.properties).map(([name, each]): [string, Json] => [name, mapOutput(each, found, scope) ?? null])
    return Object.fromEntries(entries)
  }
  const [item] = output.items ?? []
  if (output.type === 'array' && item !== undefined) {
    const list = (Array.isArray(found) ? found : found === null ? [] : [found]) as readonly Json[]
    return list.map((each) => mapOutput(item, each, scope) ?? null)
  }
  return typed(found, output.type)
}

/** Named outputs of a consumed operation, as later steps see them; a list keeps its entries, each with them added. */
export function projectOutputs(outputs: readonly Output[], document: Json, scope: Scope): Json {
  const named = outputs.filter((each) => each.name !== null)
  if (named.length === 0) return mapOutputs(outputs, document, scope)
  const project = (each: Json): JsonObject =>
    Object.fromEntries(named.map((output): [string, Json] => [output.name ?? '', mapOutput(output, each, scope) ?? null]))
  if (Array.isArray(document)) return (document as readonly Json[]).map((each) => ({ ...(isObject(each) ? (each as JsonObject) : {}), ...project(each) }))
  return project(document)
}

/** What steps gave, by mappings; without any, what outputs name among the steps and the last of them. */
export function composeSteps(mappings: readonly StepMapping[], outputs: readonly Output[], steps: JsonObject, last: Json, scope: Scope): Json {
  if (mappings.length === 0) return outputs.length === 0 ? last : shapeSteps(outputs, { ...(isObject(last) ? (last as JsonObject) : {}), ...steps })
  const composed: Record<string, Json> = {}
  for (const { target, value } of mappings) {
    const found = isStepPath(value, steps) ? findJson(value, steps) : value.includes('{{') ? renderValue(value, scope) : value
    put(composed, target.split('.'), found ?? null)
  }
  return outputs.length === 0 ? composed : shapeSteps(outputs, composed)
}

function put(into: Record<string, Json>, path: readonly string[], value: Json): void {
  const [head = '', ...rest] = path
  if (RESERVED.has(head)) return
  if (rest.length === 0) {
    into[head] = value
    return
  }
  const inner = isObject(into[head]) ? { ...(into[head] as JsonObject) } : {}
  put(inner, rest, value)
  into[head] = inner
}

/** Only what is declared, each made into its type. */
function shapeSteps(outputs: readonly Output[], values: JsonObject): Json {
  return Object.fromEntries(outputs.filter((each) => each.name !== null).map((each): [string, Json] => [each.name ?? '', shape(each, values[each.name ?? '']) ?? null]))
}

function shape(output: Output, value: Json | undefined): Json | undefined {
  if (value === undefined || value === null) return null
  if (output.type === 'object' && output.properties !== null && isObject(value)) {
    return Object.fromEntries(Object.entries(output.properties).map(([name, each]): [string, Json] => [name, shape(each, (value as JsonObject)[name]) ?? null]))
  }
  if (output.type === 'array' && output.items !== null && output.items.length > 0 && Array.isArray(value)) {
    const [first] = output.items
    const isRow = output.items.every((each) => each.name !== null)
    return (value as readonly Json[]).map((each) => {
      if (isRow && isObject(each)) return shapeSteps(output.items ?? [], each as JsonObject)
      return first === undefined ? each : (shape(first, each) ?? null)
    })
  }
  return typed(value, output.type)
}

/** A mock: named values are a map, one without a name is itself. */
export function mockOutputs(outputs: readonly Output[], scope: Scope): Json {
  const named = outputs.filter((each) => each.name !== null)
  if (named.length === 0) return mapOutputs(outputs, null, scope)
  return Object.fromEntries(
    named.map((each): [string, Json] => {
      const text = typeof each.value === 'string' ? each.value : null
      // A mock answers even where the caller left something out: nothing stands there.
      const filled = text === null ? each.value : text.replace(/\{\{\s*([^{}\s]+)\s*\}\}/g, (_, name: string) => spell(inScope(scope, name)))
      const sole = text !== null && namesIn(text).length === 1 ? renderValue(text, scope) : undefined
      return [each.name ?? '', typed(sole ?? filled, each.type) ?? null]
    }),
  )
}

/** A value in the declared type where that loses nothing; otherwise as it is. */
function typed(value: Json | undefined, type: ValueType): Json | undefined {
  if (value === undefined || value === null) return value
  if (type === 'string') return typeof value === 'string' ? value : spell(value)
  if (typeof value !== 'string') return value
  if ((type === 'number' || type === 'integer') && value.trim() !== '' && Number.isFinite(Number(value))) return Number(value)
  if (type === 'boolean' && (value === 'true' || value === 'false')) return value === 'true'
  return value
}
