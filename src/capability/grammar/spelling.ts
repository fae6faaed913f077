/** The two spellings: Naftiko writes lists of things with a `name`, Ikanos maps of things by name. */
import { flag, list, literal, map, record, text } from '../shape.ts'
import type { Rule } from '../shape.ts'
import { inputName, regularExpression, valueType } from './words.ts'

export type Spelling = 'naftiko' | 'ikanos'

export interface Spelled {
  readonly isKeyed: boolean
  /** What a title is called. */
  readonly label: 'label' | 'display'
  /** Fields that most things may have. */
  readonly labels: Readonly<Record<string, Rule>>
  /** A list of things with a name, or a map of things by name. */
  readonly named: (key: Rule, fields: Readonly<Record<string, Rule>>, options?: Parameters<typeof record>[1], minItems?: number) => Rule
  readonly restInputs: Rule
  readonly toolInputs: Rule
}

export function spelled(spelling: Spelling): Spelled {
  const isKeyed = spelling === 'ikanos'
  const label = isKeyed ? 'display' : 'label'
  const named: Spelled['named'] = (key, fields, options = {}, minItems = 1) => {
    if (isKeyed) return map(record(fields, options), { key, minItems })
    return list(record({ name: key, ...fields }, { ...options, required: ['name', ...(options.required ?? [])] }), { minItems })
  }
  const labels = { [label]: text(), description: text(), ...(isKeyed ? { tags: list(text()) } : {}) }

  const unitInputs = (fields: Readonly<Record<string, Rule>>, required: readonly string[]): Rule =>
    named(inputName, { type: valueType, description: text(), ...fields }, { required: [...required, 'type', 'description'] }, 0)
  const restInputs = unitInputs({ in: literal('query', 'header', 'path', 'cookie', 'body'), pattern: regularExpression, value: text() }, ['in'])
  const toolInputs = unitInputs({ required: flag }, [])
  return { isKeyed, label, labels, named, restInputs, toolInputs }
}
