/**
 * A capability as the runner knows it: one shape for both spellings of the grammar (Naftiko's lists of named
 * things, Ikanos' keyed maps). What the document left out is null, so that nothing is guessed twice.
 */
import type { ScriptSource } from './script/job.ts'

export type Json = null | boolean | number | string | readonly Json[] | { readonly [key: string]: Json }
export type JsonObject = { readonly [key: string]: Json }

export type ValueType = 'string' | 'number' | 'integer' | 'boolean' | 'array' | 'object'
export type Method = 'GET' | 'POST' | 'PUT' | 'PATCH' | 'DELETE'

export interface Capability {
  readonly title: string
  readonly description: string
  readonly version: string
  readonly binds: readonly Bind[]
  readonly consumes: readonly Consume[]
  readonly aggregates: readonly Aggregate[]
  readonly exposes: readonly Expose[]
  readonly scripting: Scripting
}

/** Names of variables, each with where its value is: a variable of the environment, or a key in a file. */
export interface Bind {
  readonly namespace: string
  readonly location: string | null
  readonly keys: Readonly<Record<string, string>>
}

export type Authentication =
  | { readonly type: 'basic' | 'digest'; readonly username: string; readonly password: string }
  | { readonly type: 'bearer'; readonly token: string }
  | { readonly type: 'apikey'; readonly key: string; readonly value: string; readonly placement: 'header' | 'query' }
  | {
      readonly type: 'oauth2'
      readonly authorizationServerUri: string
      readonly resource: string
      readonly scopes: readonly string[]
      readonly audience: string | null
      readonly tokenEndpoint: string | null
      readonly tokenValidation: 'jwks' | 'introspection'
    }

export interface Consume {
  readonly namespace: string
  readonly baseUri: string
  readonly authentication: Authentication | null
  readonly operations: readonly ConsumedOperation[]
}

export type Place = 'query' | 'header' | 'path' | 'cookie' | 'body' | 'environment'

export interface ConsumedInput {
  readonly name: string
  readonly place: Place
  /** A template that gives the value instead of the caller. */
  readonly value: string | null
  readonly type: ValueType | null
  readonly description: string | null
  readonly isRequired: boolean
}

export type RawFormat = 'json' | 'xml' | 'avro' | 'protobuf' | 'csv' | 'tsv' | 'psv' | 'yaml' | 'html' | 'markdown' | 'binary'

export interface ConsumedOperation {
  readonly namespace: string
  readonly name: string
  readonly description: string | null
  readonly method: Method
  readonly path: string
  /** Those of the adapter, the resource and the operation; of one name, the nearest. */
  readonly inputs: readonly ConsumedInput[]
  readonly format: RawFormat
  readonly outputSchema: string | null
  /** Of avro and protobuf: reads bodies by the schema's file. */
  readonly readBody: ((body: Buffer) => Json) | null
  readonly mediaType: string | null
  /** Of binary answers; null for the default. */
  readonly maxBinaryBytes: number | null
  readonly outputs: readonly Output[]
  readonly body: RequestBody | null
}

export interface FormPart {
  readonly name: string
  readonly value: string
  readonly filename: string | null
  readonly contentType: string | null
}

export type RequestBody =
  | { readonly type: 'json'; readonly data: Json }
  | { readonly type: 'text' | 'xml' | 'sparql'; readonly data: string }
  | { readonly type: 'formUrlEncoded'; readonly data: string | Readonly<Record<string, string>> }
  | { readonly type: 'multipartForm'; readonly data: readonly FormPart[] }

/** One shape of output: mapped from a document, orchestrated from steps, or a mock with a value. */
export interface Output {
  readonly name: string | null
  readonly type: ValueType
  readonly mapping: string | null
  readonly value: Json | undefined
  readonly properties: Readonly<Record<string, Output>> | null
  readonly items: readonly Output[] | null
}

export type With = Readonly<Record<string, string | number>>

export type Step =
  | { readonly kind: 'call'; readonly name: string; readonly call: string; readonly with: With }
  | {
      readonly kind: 'lookup'
      readonly name: string
      readonly index: string
      readonly match: string
      readonly lookupValue: string
      readonly fields: readonly string[]
    }
  | {
      readonly kind: 'script'
      readonly name: string
      /** Null for the default of the control adapter, as is a location. */
      readonly language: ScriptLanguage | null
      readonly location: string | null
      readonly file: string
      readonly dependencies: readonly string[]
      readonly with: With
      /** The texts of the dependencies and the file, once they were read. */
      readonly sources: readonly ScriptSource[]
    }

export type ScriptLanguage = 'javascript' | 'python' | 'groovy'

/** How script steps are run; a control adapter's `management.scripting` says it. */
export interface Scripting {
  readonly isEnabled: boolean
  readonly location: string | null
  readonly language: ScriptLanguage | null
  readonly timeoutMs: number
  readonly statementLimit: number
  readonly allowedLanguages: readonly string[] | null
}

export interface StepMapping {
  readonly target: string
  readonly value: string
}

export type Action =
  | { readonly kind: 'call'; readonly call: string; readonly with: With; readonly outputs: readonly Output[] }
  | { readonly kind: 'steps'; readonly steps: readonly Step[]; readonly mappings: readonly StepMapping[]; readonly outputs: readonly Output[] }
  | { readonly kind: 'mock'; readonly outputs: readonly Output[] }
  | { readonly kind: 'ref'; readonly ref: string; readonly with: With }

export interface Input {
  readonly name: string
  readonly place: Exclude<Place, 'environment'> | null
  readonly type: ValueType | null
  readonly description: string | null
  readonly isRequired: boolean
  readonly pattern: string | null
  readonly value: string | null
}

export interface Hints {
  readonly readOnly: boolean | null
  readonly destructive: boolean | null
  readonly idempotent: boolean | null
  readonly openWorld: boolean | null
}

/** What an adapter exposes and an aggregate offers: inputs, and what is done with them. */
export interface Unit {
  readonly name: string
  readonly title: string | null
  readonly description: string
  /** Null if the document declares none: then they follow from what the unit calls. */
  readonly inputs: readonly Input[] | null
  readonly action: Action
}

export interface AggregateFunction extends Unit {
  /** Of what binary operations answer through it. */
  readonly mediaType: string | null
  readonly semantics: { readonly safe: boolean | null; readonly idempotent: boolean | null }
}

export interface Aggregate {
  readonly namespace: string
  readonly functions: readonly AggregateFunction[]
}

/** What an operation answers with one status, or a class of them (`4XX`): media types, each binary or not. */
export interface DeclaredResponse {
  readonly status: string
  readonly description: string | null
  readonly content: readonly { readonly mediaType: string; readonly isBinary: boolean; readonly schema: JsonObject | null }[]
}

export interface RestOperation extends Unit {
  readonly method: Method
  readonly responses: readonly DeclaredResponse[]
}

export interface RestResource {
  readonly path: string
  readonly operations: readonly RestOperation[]
  readonly forward: { readonly targetNamespace: string; readonly trustedHeaders: readonly string[] } | null
}

export interface McpTool extends Unit {
  readonly hints: Hints
}

export interface McpResource {
  readonly unit: Unit | null
  readonly name: string
  readonly title: string
  readonly description: string
  readonly uri: string
  readonly mimeType: string | null
  readonly isBinary: boolean
  readonly location: string | null
}

export interface McpPrompt {
  readonly name: string
  readonly title: string
  readonly description: string
  readonly arguments: readonly { readonly name: string; readonly description: string; readonly isRequired: boolean }[]
  readonly template: readonly { readonly role: 'user' | 'assistant'; readonly content: string }[]
  readonly location: string | null
}

export interface Skill {
  readonly name: string
  /** Its description, license and all else that is told of it as it was written. */
  readonly told: JsonObject
  readonly location: string | null
  readonly tools: readonly SkillTool[]
}

export interface SkillTool {
  readonly name: string
  readonly description: string
  /** Where it is called: the adapter of the document, and its operation or tool; null for an instruction. */
  readonly from: { readonly namespace: string; readonly action: string } | null
  /** A file at the skill's location. */
  readonly instruction: string | null
}

export type Expose =
  | {
      readonly type: 'rest'
      readonly namespace: string
      readonly address: string | null
      readonly port: number
      readonly authentication: Authentication | null
      readonly maxBinaryBytes: number | null
      readonly resources: readonly RestResource[]
    }
  | {
      readonly type: 'mcp'
      readonly namespace: string
      readonly transport: 'http' | 'stdio'
      readonly address: string | null
      readonly port: number
      readonly description: string | null
      readonly authentication: Authentication | null
      readonly maxBinaryBytes: number | null
      /** How long clients may keep lists and resources, and whether they may share them. */
      readonly cache: { readonly ttlMs: number | null; readonly scope: 'public' | 'private' | null }
      readonly tools: readonly McpTool[]
      readonly resources: readonly McpResource[]
      readonly prompts: readonly McpPrompt[]
    }
  | {
      readonly type: 'skill'
      readonly namespace: string
      readonly address: string | null
      readonly port: number
      readonly authentication: Authentication | null
      readonly skills: readonly Skill[]
    }
  | { readonly type: 'control'; readonly namespace: string }

export type RestExpose = Extract<Expose, { type: 'rest' }>
export type SkillExpose = Extract<Expose, { type: 'skill' }>
export type McpExpose = Extract<Expose, { type: 'mcp' }>

/** Whether a consumed operation is Koyeb's exec: a stream over a WebSocket, spelled as a GET. */
export function isExec(operation: ConsumedOperation): boolean {
  return operation.method === 'GET' && /\/streams\/instances\/exec\/?$/.test(operation.path)
}

/** The operation that `namespace.name` calls. */
export function findOperation(capability: Capability, call: string): ConsumedOperation | null {
  const [namespace, name] = call.split('.')
  const consume = capability.consumes.find((each) => each.namespace === namespace)
  return consume?.operations.find((each) => each.name === name) ?? null
}

/** The function of an aggregate that `namespace.name` refers to. */
export function findFunction(capability: Capability, ref: string): AggregateFunction | null {
  const [namespace, name] = ref.split('.')
  const aggregate = capability.aggregates.find((each) => each.namespace === namespace)
  return aggregate?.functions.find((each) => each.name === name) ?? null
}
