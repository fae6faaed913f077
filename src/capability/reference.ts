/**
 * References of `with`: `rest.x`, `tools.x` and `<namespace>.x` mean the input x of the exposed unit, whatever the
 * adapter; `$.step.x` means what a step gave; `{{x}}` is a template; a number is itself; anything else is literal.
 */
import { findJson } from './json-path.ts'
import type { Json, JsonObject, With } from './model.ts'
import { lookUp, renderValue } from './template.ts'
import type { Scope } from './template.ts'

const ADAPTERS = ['rest', 'tools']

/** The name of the input that a value refers to, or null. */
export function referredInput(value: string | number, namespaces: readonly string[]): string | null {
  if (typeof value === 'number') return null
  const prefix = [...ADAPTERS, ...namespaces].find((each) => each !== '' && value.startsWith(`${each}.`))
  return prefix === undefined ? null : value.slice(prefix.length + 1)
}

/** What the call is given: the inputs, and over them what `with` says. What refers to nothing is left out. */
export function resolveWith(given: With, scope: Scope, namespaces: readonly string[], steps: JsonObject = {}): JsonObject {
  const out: Record<string, Json> = { ...scope.inputs }
  for (const [name, value] of Object.entries(given)) {
    const resolved = resolveOne(value, scope, namespaces, steps)
    if (resolved === undefined) delete out[name]
    else out[name] = resolved
  }
  return out
}

function resolveOne(value: string | number, scope: Scope, namespaces: readonly string[], steps: JsonObject): Json | undefined {
  if (typeof value === 'number') return value
  const input = referredInput(value, namespaces)
  if (input !== null) return lookUp(scope.inputs, input)
  if (isStepPath(value, steps)) return findJson(value, steps)
  return value.includes('{{') ? renderValue(value, scope) : value
}

/** Whether a text is a path into what steps gave. */
export function isStepPath(value: string, steps: JsonObject): boolean {
  return value.startsWith('$.') && Object.keys(steps).some((name) => value === `$.${name}` || value.startsWith(`$.${name}.`) || value.startsWith(`$.${name}[`))
}
