/**
 * The grammar of capability documents, in both spellings, written from the public specification: Naftiko 1.0.0-alpha2
 * (lists of things with a `name`) and Ikanos 1.0.0-beta4 (maps keyed by name). Strict but for what published
 * catalogues are known to write; that is told as a warning and understood (see `../reader.ts`):
 *
 * - `type`, `description` and `required` on consumed inputs        - dots in names of inputs, underscores of resources
 * - a `description` on the REST adapter                            - `type: object, mapping: $.` without `properties`
 * - `in` and `name` on an apikey authentication
 */
import { choose, fail, flag, isObject, list, literal, record, text } from '../shape.ts'
import type { Rule } from '../shape.ts'
import { consumeRule } from './consumes.ts'
import { exposeRule } from './exposes.ts'
import { spelled } from './spelling.ts'
import type { Spelling } from './spelling.ts'
import { unitRules } from './units.ts'
import { DATE, binding, kebab } from './words.ts'

/** Versions whose documents are read; the two of Naftiko differ in nothing but the number. */
export const VERSIONS: Readonly<Record<Spelling, readonly string[]>> = {
  naftiko: ['1.0.0-alpha2', '1.0.0-alpha3'],
  ikanos: ['1.0.0-alpha3', '1.0.0-alpha4', '1.0.0-beta1', '1.0.0-beta2', '1.0.0-beta3', '1.0.0-beta4', '1.0.0-beta5'],
}

/** The whole grammar in one of its spellings. */
export function grammar(spelling: Spelling): Rule {
  const words = spelled(spelling)
  const { isKeyed, label, toolInputs } = words
  const units = unitRules(words)
  const { namedUnits } = units

  const importEntry = record(
    { [isKeyed ? 'from' : 'location']: text(), import: kebab, as: kebab, description: text() },
    { required: [isKeyed ? 'from' : 'location', 'import'] },
  )
  const orImport = (rule: Rule): Rule => choose((value) => (isObject(value) && value['import'] !== undefined ? importEntry : rule))

  const consume = orImport(consumeRule(words))

  const aggregate = record(
    {
      [label]: text(),
      namespace: kebab,
      [isKeyed ? 'flows' : 'functions']: namedUnits(
        {
          semantics: record({ safe: flag, idempotent: flag, cacheable: flag }),
          inputParameters: toolInputs,
          ...(isKeyed ? { outputMediaType: text() } : {}),
        },
        ['description'],
        ['call', 'steps', 'outputParameters'],
      ),
    },
    { required: [label, isKeyed ? 'flows' : 'functions', ...(isKeyed ? [] : ['namespace'])] },
  )

  const expose = exposeRule(words, units)

  const person = record({ role: text(), fullName: text(), email: text({ pattern: /^[^@\s]+@[^@\s]+\.[a-zA-Z]{2,}$/, what: 'an e-mail address' }) }, { required: ['role', 'fullName'] })
  const date = text({ pattern: DATE, what: 'a date of the form YYYY-MM-DD' })
  const info = record(
    { [label]: text(), description: text(), tags: list(text()), created: date, modified: date, stakeholders: list(person), ...(isKeyed ? { version: text() } : {}) },
    { required: [label, 'description'] },
  )
  const parts = {
    binds: list(orImport(binding), { minItems: 1 }),
    consumes: list(consume, { minItems: 1 }),
    aggregates: list(orImport(aggregate), { minItems: 1 }),
    exposes: list(orImport(expose), { minItems: 1 }),
  }
  const rootParts = isKeyed ? parts : { binds: parts.binds, consumes: parts.consumes }
  const capability = record(parts, {
    also: (value, path, report) => {
      if (value['exposes'] === undefined && value['consumes'] === undefined) fail(report, path, 'required', 'needs "exposes" or "consumes".')
    },
  })
  return record({ [spelling]: literal(...VERSIONS[spelling]), info, ...rootParts, capability }, {
    required: [spelling],
    also: (value, path, report) => {
      const shared = Object.keys(rootParts).filter((each) => value[each] !== undefined)
      if (value['capability'] === undefined && shared.every((each) => each === 'binds' && !isKeyed)) fail(report, path, 'required', 'lacks "capability".')
      else if (value['capability'] !== undefined && shared.some((each) => each !== 'binds')) {
        fail(report, path, 'mode', `has a capability, so that "${shared.find((each) => each !== 'binds')}" belongs into it.`)
      }
    },
  })
}
