/** Units of work in the grammar: what they do (call, steps, ref, mock) and the outputs that each way of it has. */
import { anything, choose, fail, isObject, list, literal, map, record, text } from '../shape.ts'
import type { Path, Report, Rule } from '../shape.ts'
import type { Spelled } from './spelling.ts'
import { fileUri, inject, kebab, language, name, outputType, reference } from './words.ts'

export interface UnitRules {
  /** `modes` are the fields of which one says what the unit does. */
  readonly unit: (fields: Readonly<Record<string, Rule>>, required: readonly string[], modes: readonly string[]) => Rule
  readonly namedUnits: (fields: Readonly<Record<string, Rule>>, required: readonly string[], modes: readonly string[], key?: Rule) => Rule
}

export function unitRules({ isKeyed, labels }: Spelled): UnitRules {
  const mapped: Rule = (value, path, report) => mappedOutput(value, path, report)
  const orchestrated: Rule = choose((value) => {
    const type = isObject(value) ? value['type'] : undefined
    const fields: Record<string, Rule> = { ...(isKeyed ? {} : { name }), type: outputType }
    if (type === 'array') fields['items'] = isKeyed ? map(orchestrated, { minItems: 1 }) : list(orchestrated, { minItems: 1 })
    if (type === 'object') fields['properties'] = map(orchestrated)
    return record(fields, { required: [...(isKeyed ? [] : ['name']), 'type', ...(type === 'array' ? ['items'] : []), ...(type === 'object' ? ['properties'] : [])] })
  })
  const mock = { type: literal('string', 'number', 'boolean'), value: text() }

  const step: Rule = choose((value) => {
    const own = isKeyed ? {} : { name: kebab }
    const required = ['type', ...(isKeyed ? [] : ['name'])]
    switch (isObject(value) ? value['type'] : undefined) {
      case 'lookup':
        return record(
          { ...own, type: anything, index: kebab, match: name, lookupValue: text(), outputParameters: list(text(), { minItems: 1 }) },
          { required: [...required, 'index', 'match', 'lookupValue', 'outputParameters'] },
        )
      case 'script':
        return record(
          {
            ...own,
            type: anything,
            language,
            location: fileUri,
            file: text(),
            dependencies: list(text(), { minItems: 1 }),
            with: inject,
          },
          { required: [...required, 'file'] },
        )
      default:
        return record({ ...own, type: literal('call', 'lookup', 'script'), call: reference, with: inject }, { required: [...required, 'call'] })
    }
  })
  const stepList = isKeyed ? map(step, { key: kebab, minItems: 1 }) : list(step, { minItems: 1 })
  const target = isKeyed ? 'target' : 'targetName'
  const mappings = list(
    record({ [target]: text({ pattern: /^[a-zA-Z0-9-_.]+$/, what: 'a name' }), value: text() }, { required: [target, 'value'] }),
  )

  /** The outputs of a unit depend on how the unit gets them. */
  const outputs: (unit: unknown) => Rule = (unit) => {
    if (!isObject(unit)) return anything
    if (unit['call'] !== undefined) return list(mapped)
    // An operation of REST may be one value; tools and functions have named ones.
    const mayBeNameless = unit['method'] !== undefined
    if (unit['steps'] !== undefined) return isKeyed ? map(orchestrated) : list(orchestrated)
    return isKeyed
      ? map(record(mock, { required: ['type', 'value'] }), { key: name, minItems: 1 })
      : list(choose((each) => (mayBeNameless && isObject(each) && each['name'] === undefined ? mapped : record({ name, ...mock }, { required: ['name', 'type', 'value'] }))), { minItems: 1 })
  }
  const action = { call: reference, with: inject, steps: stepList, mappings }
  const oneMode = (value: Readonly<Record<string, unknown>>, path: Path, report: Report, modes: readonly string[]): void => {
    const given = modes.filter((mode) => value[mode] !== undefined)
    if (given.length === 0) fail(report, path, 'mode', `says not what it does: it needs one of ${modes.join(', ')}.`)
    const real = given.filter((mode) => mode !== 'outputParameters')
    if (real.length > 1) fail(report, path, 'mode', `says in ${real.length} ways what it does: ${real.join(', ')}.`)
    if (value['responses'] !== undefined && value['responseBinary'] !== undefined) fail(report, path, 'mode', 'has "responses" and its short form "responseBinary"; one of them is enough.')
  }
  const unit: UnitRules['unit'] = (fields, required, modes) =>
    choose((value) =>
      record(
        { ...labels, ...action, ...fields, outputParameters: outputs(value) },
        { required: isObject(value) && value['ref'] !== undefined ? required.filter((each) => each !== 'description' && each !== 'name') : required, also: (each, path, report) => oneMode(each, path, report, modes) },
      ),
    )
  const namedUnits: UnitRules['namedUnits'] = (fields, required, modes, key = kebab) =>
    isKeyed
      ? map(unit(fields, required, modes), { key, minItems: 1 })
      : list(unit({ name: key, ...fields }, ['name', ...required], modes), { minItems: 1 })
  return { unit, namedUnits }
}

const MAPPED_FIELDS = { type: outputType, mapping: text(), const: anything, value: text() }

function mappedOutput(value: unknown, path: Path, report: Report): void {
  const type = isObject(value) ? value['type'] : undefined
  const nested: Rule = (each, at, tell) => mappedOutput(each, at, tell)
  if (type === 'object') {
    const tolerates = isObject(value) && value['properties'] === undefined && value['mapping'] !== undefined
    record({ ...MAPPED_FIELDS, properties: map(nested) }, { required: tolerates ? ['type'] : ['type', 'properties'] })(value, path, report)
    if (tolerates) fail(report, path, 'object-without-properties', 'is an object without "properties"; it gives the whole document that "mapping" finds.', 'warning')
    return
  }
  if (type === 'array') {
    const tolerates = isObject(value) && value['items'] === undefined && value['mapping'] !== undefined
    record({ ...MAPPED_FIELDS, items: nested }, { required: tolerates ? ['type'] : ['type', 'items'] })(value, path, report)
    if (tolerates) fail(report, path, 'array-without-items', 'is an array without "items"; it gives the whole list that "mapping" finds.', 'warning')
    return
  }
  record(MAPPED_FIELDS, {
    required: ['type'],
    also: (each, at, tell) => {
      if ((each['mapping'] === undefined) === (each['value'] === undefined)) fail(tell, at, 'required', 'needs "mapping" or "value", and not both.')
    },
  })(value, path, report)
}
