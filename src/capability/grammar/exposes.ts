/** What the grammar says of adapters: REST, MCP, skills, and control, which is read and not served. */
import { anything, choose, fail, flag, integer, isObject, list, literal, map, record, text } from '../shape.ts'
import type { Rule } from '../shape.ts'
import type { Spelled } from './spelling.ts'
import type { UnitRules } from './units.ts'
import { address, authentication, fileUri, kebab, language, mediaType, method, name, port, reference, resourceName, responseBinary, responses, size } from './words.ts'

export function exposeRule(spelling: Spelled, { unit, namedUnits }: UnitRules): Rule {
  const { isKeyed, label, labels, named, restInputs, toolInputs } = spelling
  const restOperation = { method, inputParameters: restInputs, ref: reference, ...(isKeyed ? { responses, responseBinary } : { name: kebab }) }
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
      ...(isKeyed ? { maxBinarySize: size } : {}),
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
    { uri: text(), mimeType: mediaType, location: fileUri, ...(isKeyed ? { binary: flag } : {}) },
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
      ...(isKeyed ? { maxBinarySize: size, ttlMs: integer(0), cacheScope: literal('public', 'private') } : {}),
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
  return choose((value) => {
    switch (isObject(value) ? value['type'] : undefined) {
      case 'rest':
        return rest
      case 'mcp':
        return mcp
      case 'skill':
        return skillRule(spelling)
      case 'control':
        return control
      default:
        return record({ type: literal('rest', 'mcp', 'skill', 'control') }, { required: ['type'] })
    }
  })
}

function skillRule({ isKeyed, named }: Spelled): Rule {
  const tools = named(
    kebab,
    { description: text(), from: record({ sourceNamespace: text(), action: text() }, { required: ['sourceNamespace', 'action'] }), instruction: text() },
    {
      required: ['description'],
      also: (value, path, report) => {
        if ((value['from'] === undefined) === (value['instruction'] === undefined)) fail(report, path, 'required', 'needs "from" or "instruction", and not both.')
      },
    },
  )
  const skills = named(
    kebab,
    {
      description: text({ maxLength: 1024 }),
      license: text(),
      compatibility: text({ maxLength: 500 }),
      metadata: map(text()),
      'allowed-tools': text({ maxLength: 1024 }),
      'argument-hint': text(),
      'user-invocable': flag,
      'disable-model-invocation': flag,
      location: fileUri,
      tools,
    },
    { required: isKeyed ? ['description'] : ['name', 'description'] },
  )
  return record({ type: anything, address, port, namespace: kebab, description: text(), authentication, skills }, { required: ['type', 'port', 'namespace', 'skills'] })
}

const scripting = record({
  enabled: flag,
  defaultLocation: fileUri,
  defaultLanguage: language,
  timeout: integer(1),
  statementLimit: integer(1),
  allowedLanguages: list(language),
})
const logs = choose((value) => (isObject(value) ? record({ 'level-control': flag, stream: flag, 'max-subscribers': integer(1, 20) }) : flag))
const observability = record({
  enabled: flag,
  metrics: record({ local: record({ enabled: flag }) }),
  traces: record({
    sampling: (value, path, report) => {
      if (typeof value !== 'number' || value < 0 || value > 1) fail(report, path, 'type', 'must be a number from 0 to 1.')
    },
    propagation: literal('w3c', 'b3'),
    local: record({ enabled: flag, 'buffer-size': integer(10, 10_000) }),
  }),
  exporters: record({ otlp: record({ endpoint: text() }, { required: ['endpoint'] }) }),
})
const control = record(
  {
    type: anything,
    address,
    port,
    authentication,
    management: record({ health: flag, info: flag, reload: flag, validate: flag, logs, scripting }),
    observability,
  },
  { required: ['type', 'port'] },
)
