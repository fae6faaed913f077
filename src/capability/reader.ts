/**
 * Turns a document that the grammar accepted into the model. Both spellings meet here: a list of things with a
 * `name` and a map of things by name are read alike, and so are `label` and `display`, `functions` and `flows`.
 */
import type {
  Action,
  Aggregate,
  Authentication,
  Bind,
  Capability,
  Consume,
  ConsumedInput,
  ConsumedOperation,
  DeclaredResponse,
  Expose,
  Hints,
  Input,
  Json,
  JsonObject,
  McpPrompt,
  McpResource,
  McpTool,
  Method,
  Output,
  Place,
  RawFormat,
  RequestBody,
  RestOperation,
  RestResource,
  ScriptLanguage,
  Scripting,
  Skill,
  SkillTool,
  Step,
  Unit,
  ValueType,
  With,
} from './model.ts'
import { isObject } from './shape.ts'
import { namesInPath } from './template.ts'

type Raw = Readonly<Record<string, unknown>>

/** What the specification gives a script, unless a control adapter says otherwise. */
const SCRIPT_TIMEOUT_MS = 60_000
const SCRIPT_STATEMENTS = 100_000

export function readCapability(raw: Raw): Capability {
  const body = object(raw['capability'])
  const info = object(raw['info'])
  const both = (key: string): readonly Raw[] => [...listOf(raw[key]), ...listOf(body[key])]
  return {
    title: string(info['label']) ?? string(info['display']) ?? 'capability',
    description: string(info['description']) ?? '',
    version: string(info['version']) ?? string(raw['naftiko']) ?? string(raw['ikanos']) ?? '',
    binds: both('binds').map(readBind),
    consumes: both('consumes').map(readConsume),
    aggregates: both('aggregates').map(readAggregate),
    exposes: both('exposes').map(readExpose),
    scripting: readScripting(both('exposes')),
  }
}

function readBind(raw: Raw): Bind {
  return { namespace: string(raw['namespace']) ?? '', location: string(raw['location']), keys: textMap(raw['keys']) }
}

export function readConsume(raw: Raw): Consume {
  const namespace = string(raw['namespace']) ?? ''
  const shared = named(raw['inputParameters']).map(readConsumedInput)
  const operations = named(raw['resources']).flatMap(([, resource]) => {
    const ofResource = named(resource['inputParameters']).map(readConsumedInput)
    const path = string(resource['path']) ?? ''
    return named(resource['operations']).map(([name, each]) => readOperation(namespace, name, path, each, [...shared, ...ofResource]))
  })
  return {
    namespace,
    baseUri: (string(raw['baseUri']) ?? '').replace(/\/+$/, ''),
    authentication: readAuthentication(raw['authentication']),
    operations,
  }
}

function readOperation(namespace: string, name: string, path: string, raw: Raw, above: readonly ConsumedInput[]): ConsumedOperation {
  const inputs = new Map([...above, ...named(raw['inputParameters']).map(readConsumedInput)].map((each) => [each.name, each]))
  return {
    namespace,
    name,
    description: string(raw['description']),
    method: (string(raw['method']) ?? 'GET') as Method,
    path,
    inputs: [...inputs.values()],
    format: (string(raw['outputRawFormat']) ?? 'json') as RawFormat,
    outputSchema: string(raw['outputSchema']),
    readBody: null,
    mediaType: string(raw['outputMediaType']),
    maxBinaryBytes: readSize(raw['maxBinarySize']),
    outputs: readOutputs(raw['outputParameters']),
    body: readBody(raw['body']),
  }
}

function readConsumedInput([name, raw]: readonly [string, Raw]): ConsumedInput {
  const place = (string(raw['in']) ?? 'query') as Place
  return {
    name,
    place,
    value: string(raw['value']),
    type: string(raw['type']) as ValueType | null,
    description: string(raw['description']),
    isRequired: raw['required'] === undefined ? place === 'path' : raw['required'] === true,
  }
}

function readBody(raw: unknown): RequestBody | null {
  if (raw === undefined || raw === null) return null
  // A plain text is a template of JSON, as the grammar's oldest form has it.
  if (typeof raw === 'string') return { type: 'json', data: raw }
  const body = object(raw)
  const data = body['data']
  switch (body['type']) {
    case 'multipartForm':
      return {
        type: 'multipartForm',
        data: listOf(data).map((part) => ({
          name: string(part['name']) ?? '',
          value: string(part['value']) ?? '',
          filename: string(part['filename']),
          contentType: string(part['contentType']),
        })),
      }
    case 'formUrlEncoded':
      return { type: 'formUrlEncoded', data: typeof data === 'string' ? data : textMap(data) }
    case 'text':
    case 'xml':
    case 'sparql':
      return { type: body['type'], data: string(data) ?? '' }
    default:
      return { type: 'json', data: data as Json }
  }
}

function readAuthentication(raw: unknown): Authentication | null {
  if (!isObject(raw)) return null
  switch (raw['type']) {
    case 'basic':
    case 'digest':
      return { type: raw['type'], username: string(raw['username']) ?? '', password: string(raw['password']) ?? '' }
    case 'bearer':
      return { type: 'bearer', token: string(raw['token']) ?? '' }
    case 'apikey': {
      const placement = string(raw['placement']) ?? string(raw['in'])
      return {
        type: 'apikey',
        key: string(raw['key']) ?? string(raw['name']) ?? 'X-API-Key',
        value: string(raw['value']) ?? '',
        placement: placement === 'query' ? 'query' : 'header',
      }
    }
    case 'oauth2':
      return {
        type: 'oauth2',
        authorizationServerUri: (string(raw['authorizationServerUri']) ?? '').replace(/\/+$/, ''),
        resource: string(raw['resource']) ?? '',
        scopes: texts(raw['scopes']),
        audience: string(raw['audience']),
        tokenEndpoint: string(raw['tokenEndpoint']),
        tokenValidation: raw['tokenValidation'] === 'introspection' ? 'introspection' : 'jwks',
      }
    default:
      return null
  }
}

function readAggregate(raw: Raw): Aggregate {
  const functions = named(raw['functions'] ?? raw['flows']).map(([name, each]) => {
    const semantics = object(each['semantics'])
    return { ...readUnit(name, each), mediaType: string(each['outputMediaType']), semantics: { safe: boolean(semantics['safe']), idempotent: boolean(semantics['idempotent']) } }
  })
  return { namespace: string(raw['namespace']) ?? '', functions }
}

/** What is told of a skill besides its tools and files, in this order. */
const TOLD_OF_SKILLS = ['description', 'license', 'compatibility', 'argument-hint', 'allowed-tools', 'user-invocable', 'disable-model-invocation', 'metadata'] as const

function readSkill([name, raw]: readonly [string, Raw]): Skill {
  const told = Object.fromEntries(TOLD_OF_SKILLS.flatMap((key): [string, Json][] => (raw[key] === undefined ? [] : [[key, raw[key] as Json]])))
  const tools = named(raw['tools']).map(([toolName, tool]): SkillTool => {
    const from = object(tool['from'])
    const [namespace, action] = [string(from['sourceNamespace']), string(from['action'])]
    return { name: toolName, description: string(tool['description']) ?? '', from: namespace === null || action === null ? null : { namespace, action }, instruction: string(tool['instruction']) }
  })
  return { name, told, location: string(raw['location']), tools }
}

function readExpose(raw: Raw): Expose {
  const namespace = string(raw['namespace']) ?? ''
  const type = raw['type']
  if (type !== 'rest' && type !== 'mcp' && type !== 'skill') return { type: 'control', namespace }
  const shared = {
    namespace,
    address: string(raw['address']),
    port: typeof raw['port'] === 'number' ? raw['port'] : 0,
    authentication: readAuthentication(raw['authentication']),
    maxBinaryBytes: readSize(raw['maxBinarySize']),
  }
  if (type === 'skill') return { type, ...shared, skills: named(raw['skills']).map(readSkill) }
  if (type === 'rest') {
    const resources = (Array.isArray(raw['resources']) ? listOf(raw['resources']) : named(raw['resources']).map(([, each]) => each)).map((each) =>
      readRestResource(each, raw['inputParameters']),
    )
    return { type, ...shared, resources }
  }
  return {
    type,
    ...shared,
    transport: raw['transport'] === 'stdio' ? 'stdio' : 'http',
    description: string(raw['description']),
    cache: { ttlMs: typeof raw['ttlMs'] === 'number' ? raw['ttlMs'] : null, scope: raw['cacheScope'] === 'public' || raw['cacheScope'] === 'private' ? raw['cacheScope'] : null },
    tools: named(raw['tools']).map(readTool),
    resources: named(raw['resources']).map(readMcpResource),
    prompts: named(raw['prompts']).map(readPrompt),
  }
}

function readRestResource(raw: Raw, ofAdapter: unknown): RestResource {
  const above = [...named(ofAdapter), ...named(raw['inputParameters'])].map(readInput)
  const operations = named(raw['operations'], true).map(([name, each]): RestOperation => {
    const unit = readUnit(name, each)
    const own = unit.inputs ?? []
    const inputs = new Map([...above, ...own].map((input) => [input.name, input]))
    return { ...unit, inputs: inputs.size === 0 ? null : [...inputs.values()], method: (string(each['method']) ?? 'GET') as Method, responses: readResponses(each) }
  })
  const forward = isObject(raw['forward'])
    ? { targetNamespace: string(raw['forward']['targetNamespace']) ?? '', trustedHeaders: texts(raw['forward']['trustedHeaders']) }
    : null
  return { path: string(raw['path']) ?? '/', operations, forward }
}

function readTool([name, raw]: readonly [string, Raw]): McpTool {
  const hints = object(raw['hints'])
  const read: Hints = {
    readOnly: boolean(hints['readOnly']),
    destructive: boolean(hints['destructive']),
    idempotent: boolean(hints['idempotent']),
    openWorld: boolean(hints['openWorld']),
  }
  return { ...readUnit(name, raw), hints: read }
}

function readMcpResource([name, raw]: readonly [string, Raw]): McpResource {
  return {
    unit: raw['location'] === undefined ? readUnit(name, withTemplates(raw)) : null,
    name,
    title: title(raw) ?? name,
    description: string(raw['description']) ?? '',
    uri: string(raw['uri']) ?? '',
    mimeType: string(raw['mimeType']),
    isBinary: raw['binary'] === true,
    location: string(raw['location']),
  }
}

/** In a resource's `with`, `{x}` is what stands at `{x}` of its address. */
function withTemplates(raw: Raw): Raw {
  const names = namesInPath(string(raw['uri']) ?? '')
  const given = Object.entries(object(raw['with'])).map(([key, value]): [string, unknown] => {
    const name = typeof value === 'string' ? /^\{([^{}]+)\}$/.exec(value)?.[1] : undefined
    return [key, name !== undefined && names.includes(name) ? `{{${name}}}` : value]
  })
  return raw['with'] === undefined ? raw : { ...raw, with: Object.fromEntries(given) }
}

/** `responses`, or its short form for one binary answer. */
function readResponses(raw: Raw): readonly DeclaredResponse[] {
  const short = raw['responseBinary']
  if (isObject(short)) {
    const content = [{ mediaType: string(short['mediaType']) ?? '', isBinary: true, schema: null }]
    return [{ status: `${typeof short['status'] === 'number' ? short['status'] : 200}`, description: string(short['description']), content }]
  }
  return Object.entries(object(raw['responses'])).map(([status, each]) => ({
    status,
    description: string(object(each)['description']),
    content: Object.entries(object(object(each)['content'])).map(([mediaType, one]) => {
      const { binary, schema } = object(one)
      return { mediaType, isBinary: binary === true, schema: isObject(schema) ? (schema as JsonObject) : null }
    }),
  }))
}

/** `5MiB`, in bytes. */
function readSize(raw: unknown): number | null {
  const [, number, unit] = /^(\d+(?:\.\d+)?)(B|KiB|MiB|GiB)$/.exec(string(raw) ?? '') ?? []
  const power = ['B', 'KiB', 'MiB', 'GiB'].indexOf(unit ?? '')
  return number === undefined ? null : Math.floor(Number(number) * 1024 ** power)
}

function readPrompt([name, raw]: readonly [string, Raw]): McpPrompt {
  return {
    name,
    title: title(raw) ?? name,
    description: string(raw['description']) ?? '',
    arguments: named(raw['arguments']).map(([argument, each]) => ({
      name: argument,
      description: string(each['description']) ?? '',
      isRequired: each['required'] !== false,
    })),
    template: listOf(raw['template']).map((each) => ({
      role: each['role'] === 'assistant' ? ('assistant' as const) : ('user' as const),
      content: string(each['content']) ?? '',
    })),
    location: string(raw['location']),
  }
}

function readUnit(name: string, raw: Raw): Unit {
  const inputs = raw['inputParameters'] === undefined ? null : named(raw['inputParameters']).map(readInput)
  return { name, title: title(raw), description: string(raw['description']) ?? '', inputs, action: readAction(raw) }
}

function readInput([name, raw]: readonly [string, Raw]): Input {
  const place = string(raw['in']) as Input['place']
  return {
    name,
    place,
    type: string(raw['type']) as ValueType | null,
    description: string(raw['description']),
    // Inputs of tools are required unless they say otherwise; those of REST are where their path needs them.
    isRequired: place === null ? raw['required'] !== false : place === 'path' || raw['required'] === true,
    pattern: string(raw['pattern']),
    value: string(raw['value']),
  }
}

function readAction(raw: Raw): Action {
  const outputs = readOutputs(raw['outputParameters'])
  const given = readWith(raw['with'])
  const call = string(raw['call'])
  const ref = string(raw['ref'])
  if (ref !== null) return { kind: 'ref', ref, with: given }
  if (call !== null) return { kind: 'call', call, with: given, outputs }
  if (raw['steps'] === undefined) return { kind: 'mock', outputs }
  const mappings = listOf(raw['mappings']).map((each) => ({
    target: string(each['targetName']) ?? string(each['target']) ?? '',
    value: string(each['value']) ?? '',
  }))
  return { kind: 'steps', steps: named(raw['steps']).flatMap(readStep), mappings, outputs }
}

function readStep([name, raw]: readonly [string, Raw]): readonly Step[] {
  switch (raw['type']) {
    case 'call':
      return [{ kind: 'call', name, call: string(raw['call']) ?? '', with: readWith(raw['with']) }]
    case 'lookup':
      return [
        {
          kind: 'lookup',
          name,
          index: string(raw['index']) ?? '',
          match: string(raw['match']) ?? '',
          lookupValue: string(raw['lookupValue']) ?? '',
          fields: texts(raw['outputParameters']),
        },
      ]
    case 'script':
      return [
        {
          kind: 'script',
          name,
          language: readLanguage(raw['language']),
          location: string(raw['location']),
          file: string(raw['file']) ?? '',
          dependencies: texts(raw['dependencies']),
          with: readWith(raw['with']),
          sources: [],
        },
      ]
    default:
      return []
  }
}

function readScripting(exposes: readonly Raw[]): Scripting {
  const raw = object(object(exposes.find((each) => each['type'] === 'control')?.['management'])['scripting'])
  const number = (value: unknown, fallback: number): number => (typeof value === 'number' ? value : fallback)
  return {
    isEnabled: raw['enabled'] !== false,
    location: string(raw['defaultLocation']),
    language: readLanguage(raw['defaultLanguage']),
    timeoutMs: number(raw['timeout'], SCRIPT_TIMEOUT_MS),
    statementLimit: number(raw['statementLimit'], SCRIPT_STATEMENTS),
    allowedLanguages: Array.isArray(raw['allowedLanguages']) ? texts(raw['allowedLanguages']) : null,
  }
}

const readLanguage = (raw: unknown): ScriptLanguage | null => (raw === 'javascript' || raw === 'python' || raw === 'groovy' ? raw : null)

function readWith(raw: unknown): With {
  return Object.fromEntries(Object.entries(object(raw)).filter((entry): entry is [string, string | number] => ['string', 'number'].includes(typeof entry[1])))
}

function readOutputs(raw: unknown): readonly Output[] {
  if (Array.isArray(raw)) return listOf(raw).map((each) => readOutput(string(each['name']), each))
  return named(raw).map(([name, each]) => readOutput(name, each))
}

function readOutput(name: string | null, raw: Raw): Output {
  const items = raw['items']
  const value = raw['value'] ?? raw['const']
  const type = (string(raw['type']) ?? 'string') as ValueType
  // On the consumed side the path is called `value`; it is told from a constant by its dollar.
  const isPath = raw['mapping'] === undefined && typeof value === 'string' && /^\$(?:$|[.[])/.test(value)
  return {
    name,
    type,
    mapping: string(raw['mapping']) ?? (isPath ? value : null),
    value: isPath ? undefined : (value as Json | undefined),
    properties: isObject(raw['properties'])
      ? Object.fromEntries(Object.entries(raw['properties']).map(([key, each]) => [key, readOutput(key, object(each))]))
      : null,
    items: items === undefined ? null : isObject(items) && typeof items['type'] === 'string' ? [readOutput(null, items)] : readOutputs(items),
  }
}

/** `[name, thing]` pairs of a list of things with names, or of a map. */
function named(raw: unknown, mayLackName = false): readonly (readonly [string, Raw])[] {
  if (Array.isArray(raw)) {
    return listOf(raw).flatMap((each, at): [string, Raw][] => {
      const name = string(each['name']) ?? refName(each) ?? (mayLackName ? `operation-${at + 1}` : null)
      return name === null ? [] : [[name, each]]
    })
  }
  return Object.entries(object(raw)).map(([name, each]) => [name, object(each)])
}

/** What only refers to a function is called as it is. */
function refName(raw: Raw): string | null {
  return string(raw['ref'])?.split('.')[1] ?? null
}

const title = (raw: Raw): string | null => string(raw['label']) ?? string(raw['display'])
const object = (value: unknown): Raw => (isObject(value) ? value : {})
const string = (value: unknown): string | null => (typeof value === 'string' ? value : null)
const boolean = (value: unknown): boolean | null => (typeof value === 'boolean' ? value : null)
const listOf = (value: unknown): readonly Raw[] => (Array.isArray(value) ? value.filter(isObject) : [])
const texts = (value: unknown): readonly string[] => (Array.isArray(value) ? value.filter((each) => typeof each === 'string') : [])
const textMap = (value: unknown): Readonly<Record<string, string>> =>
  Object.fromEntries(Object.entries(object(value)).filter((entry): entry is [string, string] => typeof entry[1] === 'string'))
