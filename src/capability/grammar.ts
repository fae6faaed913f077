/**
 * The grammar of capability documents, in both spellings, written from the public specification: Naftiko 1.0.0-alpha2
 * (lists of things with a `name`) and Ikanos 1.0.0-beta4 (maps keyed by name). Strict but for what published
 * catalogues are known to write; that is told as a warning and understood (see `reader.ts`):
 *
 * - `type`, `description` and `required` on consumed inputs        - dots in names of inputs, underscores of resources
 * - a `description` on the REST adapter                            - `type: object, mapping: $.` without `properties`
 * - `in` and `name` on an apikey authentication
 */
import { anything, choose, fail, flag, integer, isObject, list, literal, map, record, text } from './shape.ts'
import type { Path, Report, Rule } from './shape.ts'

export type Spelling = 'naftiko' | 'ikanos'

/** Versions whose documents are read; the two of Naftiko differ in nothing but the number. */
export const VERSIONS: Readonly<Record<Spelling, readonly string[]>> = {
  naftiko: ['1.0.0-alpha2', '1.0.0-alpha3'],
  ikanos: ['1.0.0-alpha3', '1.0.0-alpha4', '1.0.0-beta1', '1.0.0-beta2', '1.0.0-beta3', '1.0.0-beta4', '1.0.0-beta5'],
}

const KEBAB = /^[a-zA-Z0-9-]+$/
const NAME = /^[a-zA-Z0-9_*-]+$/
const CATALOGUE_NAME = /^[a-zA-Z0-9_.*-]+$/
const REFERENCE = /^[a-zA-Z0-9-]+\.[a-zA-Z0-9-]+$/
const VARIABLE = /^[A-Z][A-Z0-9_]*$/
const DATE = /^\d{4}-(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])$/
const ADDRESS = /^(?:[a-zA-Z0-9](?:[a-zA-Z0-9.-]{0,251}[a-zA-Z0-9])?|[0-9a-fA-F:.]{2,45})$/
const SIZE = /^\d+(\.\d+)?(B|KiB|MiB|GiB)$/

const kebab = text({ pattern: KEBAB, what: 'a name of letters, digits and dashes' })
const resourceName = text({ pattern: KEBAB, what: 'a name of letters, digits and dashes', tolerated: NAME })
const name = text({ pattern: NAME, what: 'a name of letters, digits, dashes and underscores' })
const inputName = text({ pattern: NAME, what: 'a name of letters, digits, dashes and underscores', tolerated: CATALOGUE_NAME })
const reference = text({ pattern: REFERENCE, what: 'a reference of the form namespace.name' })
const fileUri = text({ pattern: /^file:\/\/\//, what: 'a file:/// address' })
const webUri = text({ pattern: /^https?:\/\/[^/]+/, what: 'an http or https address' })
const port = integer(1, 65_535)
const address = text({ pattern: ADDRESS, what: 'a host name or an IP address' })
const method = literal('GET', 'POST', 'PUT', 'PATCH', 'DELETE')
const valueType = literal('string', 'number', 'integer', 'boolean', 'array', 'object')
const outputType = literal('string', 'number', 'boolean', 'object', 'array')
const inject = map((value, path, report) => {
  if (typeof value !== 'string' && typeof value !== 'number') fail(report, path, 'type', 'must be a text or a number.')
})

const binding = record(
  {
    namespace: kebab,
    description: text(),
    location: text({ pattern: /^[a-zA-Z][a-zA-Z0-9+.-]*:\/\//, what: 'an address with a scheme, such as file:///etc/keys.yml' }),
    keys: map(name, { key: text({ pattern: VARIABLE, what: 'a variable of capitals, digits and underscores' }) }),
  },
  { required: ['namespace', 'keys'] },
)

const authentication = choose((value) => {
  const type = isObject(value) ? value['type'] : undefined
  const login = { type: anything, username: text(), password: text() }
  switch (type) {
    case 'basic':
    case 'digest':
      return record(login, { required: ['type'] })
    case 'bearer':
      return record({ type: anything, token: text() }, { required: ['type'] })
    case 'apikey': {
      const tolerated = { in: 'it is read as "placement".', name: 'it is read as "key".' }
      return record({ type: anything, key: text(), value: text(), placement: literal('header', 'query') }, { required: ['type'], tolerated })
    }
    case 'oauth2':
      return record(
        {
          type: anything,
          authorizationServerUri: webUri,
          resource: text(),
          scopes: list(text()),
          audience: text(),
          tokenEndpoint: webUri,
          tokenValidation: literal('jwks', 'introspection'),
        },
        { required: ['type', 'authorizationServerUri', 'resource'] },
      )
    default:
      return record({ type: literal('basic', 'digest', 'bearer', 'apikey', 'oauth2') }, { required: ['type'] })
  }
})

const requestBody = choose((value) => {
  if (typeof value === 'string') return text()
  const type = isObject(value) ? value['type'] : undefined
  const part = record({ name: text(), value: text(), filename: text(), contentType: text() }, { required: ['name', 'value'] })
  const data: Rule =
    type === 'json'
      ? (each, path, report) => {
          if (typeof each !== 'string' && typeof each !== 'object') fail(report, path, 'type', 'must be a text, a map or a list.')
        }
      : type === 'formUrlEncoded'
        ? choose((each) => (typeof each === 'string' ? text() : map(text())))
        : type === 'multipartForm'
          ? list(part)
          : text()
  return record({ type: literal('json', 'text', 'xml', 'sparql', 'formUrlEncoded', 'multipartForm'), data }, { required: ['type', 'data'] })
})

/** The whole grammar in one of its spellings. */
export function grammar(spelling: Spelling): Rule {
  const isKeyed = spelling === 'ikanos'
  const label = isKeyed ? 'display' : 'label'

  /** A list of things with a name, or a map of things by name. */
  const named = (key: Rule, fields: Readonly<Record<string, Rule>>, options: Parameters<typeof record>[1] = {}, minItems = 1): Rule => {
    if (isKeyed) return map(record(fields, options), { key, minItems })
    return list(record({ name: key, ...fields }, { ...options, required: ['name', ...(options.required ?? [])] }), { minItems })
  }
  const labels = { [label]: text(), description: text(), ...(isKeyed ? { tags: list(text()) } : {}) }

  const consumedInputs = named(
    inputName,
    { in: literal('query', 'header', 'path', 'cookie', 'body', 'environment'), value: text() },
    {
      required: ['in'],
      tolerated: {
        type: 'inputs of tools and paths take their type from it.',
        description: 'inputs of tools take their description from it.',
        required: 'inputs of tools and paths are required by it.',
      },
    },
    0,
  )
  const unitInputs = (fields: Readonly<Record<string, Rule>>, required: readonly string[]): Rule =>
    named(inputName, { type: valueType, description: text(), ...fields }, { required: [...required, 'type', 'description'] }, 0)
  const restInputs = unitInputs({ in: literal('query', 'header', 'path', 'cookie', 'body'), pattern: regularExpression, value: text() }, ['in'])
  const toolInputs = unitInputs({ required: flag }, [])

  const consumedOutputs = named(name, { type: outputType, value: text() }, { required: ['type', 'value'] }, 0)
  const mapped: Rule = (value, path, report) => mappedOutput(value, path, report)
  const orchestrated: Rule = choose((value) => {
    const type = isObject(value) ? value['type'] : undefined
    const fields: Record<string, Rule> = { ...(isKeyed ? {} : { name }), type: outputType }
    if (type === 'array') fields['items'] = isKeyed ? map(orchestrated, { minItems: 1 }) : list(orchestrated, { minItems: 1 })
    if (type === 'object') fields['properties'] = map(orchestrated)
    return record(fields, { required: ['type', ...(type === 'array' ? ['items'] : []), ...(type === 'object' ? ['properties'] : [])] })
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
            language: literal('javascript', 'python', 'groovy'),
            location: fileUri,
            file: text(),
            dependencies: list(text()),
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
    if (unit['steps'] !== undefined) return isKeyed ? map(orchestrated) : list(orchestrated)
    return isKeyed
      ? map(record(mock, { required: ['type', 'value'] }), { key: name, minItems: 1 })
      : list(choose((each) => (isObject(each) && each['name'] === undefined ? mapped : record({ name, ...mock }, { required: ['type', 'value'] }))), { minItems: 1 })
  }
  const action = { call: reference, with: inject, steps: stepList, mappings }
  const oneMode = (value: Readonly<Record<string, unknown>>, path: Path, report: Report, modes: readonly string[]): void => {
    const given = modes.filter((mode) => value[mode] !== undefined)
    if (given.length === 0) fail(report, path, 'mode', `says not what it does: it needs one of ${modes.join(', ')}.`)
    const real = given.filter((mode) => mode !== 'outputParameters')
    if (real.length > 1) fail(report, path, 'mode', `says in ${real.length} ways what it does: ${real.join(', ')}.`)
  }
  const unit = (fields: Readonly<Record<string, Rule>>, required: readonly string[], modes: readonly string[]): Rule =>
    choose((value) =>
      record(
        { ...labels, ...action, ...fields, outputParameters: outputs(value) },
        { required: isObject(value) && value['ref'] !== undefined ? required.filter((each) => each !== 'description' && each !== 'name') : required, also: (each, path, report) => oneMode(each, path, report, modes) },
      ),
    )
  const namedUnits = (fields: Readonly<Record<string, Rule>>, required: readonly string[], modes: readonly string[], key: Rule = kebab): Rule =>
    isKeyed
      ? map(unit(fields, required, modes), { key, minItems: 1 })
      : list(unit({ name: key, ...fields }, ['name', ...required], modes), { minItems: 1 })

  const importEntry = record(
    { [isKeyed ? 'from' : 'location']: text(), import: kebab, as: kebab, description: text() },
    { required: [isKeyed ? 'from' : 'location', 'import'] },
  )
  const orImport = (rule: Rule): Rule => choose((value) => (isObject(value) && value['import'] !== undefined ? importEntry : rule))

  const consume = orImport(
    record(
      {
        namespace: kebab,
        type: literal('http'),
        description: text(),
        baseUri: text({ pattern: /^https?:\/\/[^/]+(\/[^{]*)?$/, what: 'an http or https address without templates' }),
        authentication,
        inputParameters: consumedInputs,
        ...(isKeyed
          ? { tunnel: record({ type: literal('ziti'), service: text(), identity: text(), fallback: literal('fail', 'direct') }, { required: ['type', 'service', 'identity'] }) }
          : {}),
        resources: named(
          resourceName,
          {
            ...labels,
            path: text(),
            inputParameters: consumedInputs,
            operations: named(
              kebab,
              {
                ...labels,
                method,
                inputParameters: consumedInputs,
                outputRawFormat: literal('json', 'xml', 'avro', 'protobuf', 'csv', 'tsv', 'psv', 'yaml', 'html', 'markdown', ...(isKeyed ? ['binary'] : [])),
                outputSchema: text(),
                outputParameters: consumedOutputs,
                body: requestBody,
                ...(isKeyed ? { outputMediaType: text(), maxBinarySize: text({ pattern: SIZE, what: 'a size such as 10MiB' }) } : {}),
              },
              { required: ['method'] },
            ),
          },
          { required: ['path', 'operations'] },
        ),
      },
      { required: ['namespace', 'type', 'baseUri'] },
    ),
  )

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

  const restOperation = { method, inputParameters: restInputs, ref: reference, ...(isKeyed ? { responses: anything, responseBinary: anything } : { name: kebab }) }
  const restOperations = isKeyed
    ? map(unit(restOperation, ['method'], ['call', 'steps', 'ref', 'outputParameters']), { key: kebab, minItems: 1 })
    : list(unit(restOperation, ['method'], ['call', 'steps', 'ref', 'outputParameters']))
  const restResource = record(
    {
      ...labels,
      ...(isKeyed ? {} : { name: resourceName }),
      path: text({ pattern: /^\//, what: 'a path that begins with /' }),
      inputParameters: restInputs,
      operations: restOperations,
      forward: record({ targetNamespace: kebab, trustedHeaders: list(text(), { minItems: 1 }) }, { required: ['targetNamespace'] }),
    },
    {
      required: ['path'],
      also: (value, path, report) => {
        if (value['operations'] === undefined && value['forward'] === undefined) fail(report, path, 'required', 'needs "operations" or "forward".')
      },
    },
  )
  const rest = record(
    {
      type: anything,
      address,
      port,
      namespace: kebab,
      authentication,
      inputParameters: restInputs,
      ...(isKeyed ? { maxBinarySize: text({ pattern: SIZE, what: 'a size such as 10MiB' }) } : {}),
      resources: isKeyed ? map(restResource, { key: kebab, minItems: 1 }) : list(restResource, { minItems: 1 }),
    },
    { required: ['type', 'port', 'namespace'], tolerated: { description: 'it is for people.' } },
  )

  const tools = namedUnits(
    { inputParameters: toolInputs, ref: reference, hints: record({ readOnly: flag, destructive: flag, idempotent: flag, openWorld: flag }) },
    ['description'],
    ['call', 'steps', 'ref', 'outputParameters'],
  )
  const resources = namedUnits(
    { uri: text(), mimeType: text({ pattern: /^[\w!#$&^.+-]+\/[\w!#$&^.+-]+/, what: 'a media type' }), location: fileUri, ...(isKeyed ? { binary: flag } : {}) },
    [label, 'uri', 'description'],
    ['call', 'steps', 'location'],
    name,
  )
  const message = record({ role: literal('user', 'assistant'), content: text() }, { required: ['role', 'content'] })
  const prompts = named(
    name,
    {
      [label]: text(),
      description: text(),
      arguments: named(name, { [label]: text(), description: text(), required: flag }, { required: ['description'] }),
      template: list(message, { minItems: 1 }),
      location: fileUri,
    },
    {
      required: [label, 'description'],
      also: (value, path, report) => {
        if ((value['template'] === undefined) === (value['location'] === undefined)) fail(report, path, 'required', 'needs "template" or "location", and not both.')
      },
    },
  )
  const mcp = record(
    {
      type: anything,
      transport: literal('http', 'stdio'),
      address,
      port,
      namespace: kebab,
      description: text(),
      authentication,
      tools,
      resources,
      prompts,
      ...(isKeyed ? { maxBinarySize: text({ pattern: SIZE, what: 'a size such as 10MiB' }), ttlMs: integer(0), cacheScope: literal('public', 'private') } : {}),
    },
    {
      required: ['type', 'namespace', 'tools'],
      also: (value, path, report) => {
        const isStdio = value['transport'] === 'stdio'
        if (isStdio && value['port'] !== undefined) fail(report, [...path, 'port'], 'unknown-field', 'has no meaning over stdio.')
        if (!isStdio && value['port'] === undefined) fail(report, path, 'required', 'lacks "port".')
      },
    },
  )
  const expose = choose((value) => {
    switch (isObject(value) ? value['type'] : undefined) {
      case 'rest':
        return rest
      case 'mcp':
        return mcp
      case 'skill':
      case 'control':
        return anything
      default:
        return record({ type: literal('rest', 'mcp', 'skill', 'control') }, { required: ['type'] })
    }
  })

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

function regularExpression(value: unknown, path: Path, report: Report): void {
  text()(value, path, report)
  if (typeof value !== 'string') return
  try {
    RegExp(value, 'u')
  } catch {
    fail(report, path, 'pattern', `"${value}" is not a regular expression.`)
  }
}
