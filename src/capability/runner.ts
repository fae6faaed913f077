/**
 * Runs exposed units: one call upstream, steps one after another, a mock, or a function of an aggregate. Adapters give
 * it inputs that are already checked and present what it answers; it knows neither REST nor MCP.
 */
import { Credentials } from './credentials.ts'
import { callExec } from './exec-call.ts'
import { readExec } from './exec-input.ts'
import { Failure, invalid } from './failure.ts'
import type { Log } from './log.ts'
import { findFunction, findOperation, isExec } from './model.ts'
import type { Action, Capability, Consume, ConsumedOperation, Json, JsonObject, Step, Unit } from './model.ts'
import { composeSteps, mapOutputs, mockOutputs, projectOutputs } from './output.ts'
import { readErrorBody, readPayload } from './payload.ts'
import type { Media, Payload } from './payload.ts'
import { isStepPath, resolveWith } from './reference.ts'
import { buildRequest } from './request.ts'
import type { BuiltRequest } from './request.ts'
import { findJson } from './json-path.ts'
import { ScriptPool } from './script/pool.ts'
import { isObject } from './shape.ts'
import { namesIn, renderValue, spell } from './template.ts'
import type { Scope } from './template.ts'
import { MAX_BINARY_BYTES, MAX_BODY_BYTES, Upstream } from './upstream.ts'
import type { Timeouts, UpstreamAnswer } from './upstream.ts'
import { Redactor } from './variables.ts'
import type { Variables } from './variables.ts'

export interface RunnerOptions {
  readonly capability: Capability
  readonly variables: Variables
  /** Stands in for the `baseUri` of every consumed API. */
  readonly baseUri: string | null
  readonly timeouts?: Timeouts
  readonly log: Log
}

/** What a unit answered; `value` is undefined where the upstream's answer had no body. */
export interface Answer {
  readonly status: number
  readonly value: Json | undefined
  readonly media: Media | null
  /** The upstream's own error, told as it told it. */
  readonly isError: boolean
}

export interface CallContext {
  /** The namespace of the adapter, which `with` refers to. */
  readonly namespace: string
  readonly signal: AbortSignal | null
  /** The adapter's limit of binary answers. */
  readonly maxBinaryBytes?: number | null
  readonly onOutput?: (bytes: number, text: string) => void
}

interface Called {
  readonly answer: Answer
  readonly operation: ConsumedOperation
}

export class Runner {
  readonly capability: Capability
  readonly variables: Variables
  readonly upstream: Upstream
  readonly #baseUri: string | null
  readonly #log: Log
  readonly #credentials = new Map<string, Credentials>()
  readonly #secrets: Redactor
  readonly #scripts = new ScriptPool()

  constructor(options: RunnerOptions) {
    this.capability = options.capability
    this.variables = options.variables
    this.upstream = new Upstream(options.timeouts)
    this.#log = options.log
    this.#baseUri = options.baseUri?.replace(/\/+$/, '') ?? null
    const secrets = options.capability.consumes.flatMap((each) => namesIn(JSON.stringify(each.authentication)))
    this.#secrets = new Redactor(secrets.flatMap((name) => options.variables.values[name] ?? []))
    const keepSecret = (secret: string): void => {
      this.#secrets.add(secret)
      options.variables.keepSecret(secret)
    }
    for (const consume of options.capability.consumes) {
      this.#credentials.set(consume.namespace, new Credentials(consume.authentication, options.variables.values, this.upstream, keepSecret))
    }
  }

  async close(): Promise<void> {
    this.upstream.close()
    await this.#scripts.close()
  }

  /** Runs a unit with its inputs. Throws a Failure; the upstream's own error is an answer. */
  async run(unit: Pick<Unit, 'action'>, inputs: JsonObject, context: CallContext): Promise<Answer> {
    return this.#act(unit.action, inputs, context, [context.namespace])
  }

  /** Where an operation of this consumed API goes. */
  baseUriOf(consume: Consume): string {
    return this.#baseUri ?? consume.baseUri
  }

  credentialsOf(namespace: string): Credentials {
    const found = this.#credentials.get(namespace)
    if (found === undefined) throw new Failure('internal', `There is no consumed API "${namespace}".`)
    return found
  }

  async #act(action: Action, inputs: JsonObject, context: CallContext, namespaces: readonly string[]): Promise<Answer> {
    const scope = this.#scope(inputs)
    switch (action.kind) {
      case 'mock':
        return { status: 200, value: mockOutputs(action.outputs, scope), media: null, isError: false }
      case 'ref': {
        const target = findFunction(this.capability, action.ref)
        if (target === null) throw new Failure('internal', `There is no function ${action.ref}.`)
        const given = resolveWith(action.with, scope, namespaces)
        const answer = await this.#act(target.action, given, context, [...namespaces, action.ref.split('.')[0] ?? ''])
        return answer.media === null || target.mediaType === null ? answer : { ...answer, media: { ...answer.media, type: target.mediaType } }
      }
      case 'call': {
        const { answer } = await this.#call(action.call, resolveWith(action.with, scope, namespaces), context)
        if (answer.isError || answer.value === undefined || action.outputs.length === 0) return answer
        return { ...answer, value: mapOutputs(action.outputs, answer.value, scope) }
      }
      case 'steps':
        return this.#runSteps(action, inputs, context, namespaces)
    }
  }

  /** Steps see the inputs and what the steps before them gave, by their names. The first that fails ends it. */
  async #runSteps(action: Extract<Action, { kind: 'steps' }>, inputs: JsonObject, context: CallContext, namespaces: readonly string[]): Promise<Answer> {
    const given: Record<string, Json> = {}
    let last: Json = null
    let media: Media | null = null
    for (const step of action.steps) {
      const scope = this.#scope({ ...inputs, ...given })
      if (step.kind === 'lookup') {
        media = null
        last = this.#lookUp(step, scope, given)
        given[step.name] = last
        continue
      }
      const values = resolveWith(step.with, scope, namespaces, given)
      if (step.kind === 'script') {
        media = null
        last = await this.#runScript(step, values, { ...inputs, ...given }, context)
        given[step.name] = last
        continue
      }
      const { answer, operation } = await this.#call(step.call, values, context)
      if (answer.isError) return answer
      media = answer.media
      // To later steps, bytes are base64.
      last = answer.value === undefined ? (media?.bytes.toString('base64') ?? null) : projectOutputs(operation.outputs, answer.value, scope)
      given[step.name] = last
    }
    if (media !== null && action.mappings.length === 0) return { status: 200, value: undefined, media, isError: false }
    const scope = this.#scope({ ...inputs, ...given })
    return { status: 200, value: composeSteps(action.mappings, action.outputs, given, last, scope), media: null, isError: false }
  }

  /** A script sees what is around it as `context`, and each part by its name; a step `fetch-data` also as `fetchData`. */
  async #runScript(step: Extract<Step, { kind: 'script' }>, values: JsonObject, around: JsonObject, context: CallContext): Promise<Json> {
    const { timeoutMs, statementLimit, language: usual } = this.capability.scripting
    const camel = Object.entries(around).map(([name, value]): [string, Json] => [name.replace(/-+([a-zA-Z0-9])/g, (_, char: string) => char.toUpperCase()), value])
    const language = (step.language ?? usual) === 'python' ? 'python' : 'javascript'
    // What `with` names and nobody gave is null: a script may ask for it.
    const asked = Object.fromEntries(Object.keys(step.with).map((name): [string, Json] => [name, values[name] ?? null]))
    const bindings = JSON.stringify({ context: around, names: { ...Object.fromEntries(camel), ...around, ...values, ...asked } })
    const result = await this.#scripts.run(step.name, { language, sources: step.sources, bindings, timeoutMs, statementLimit }, context.signal)
    return this.#secrets.strikeValue(result)
  }

  /** Finds the entries of an earlier step by a field; for a list of values, a list of what was found. */
  #lookUp(step: Extract<Step, { kind: 'lookup' }>, scope: Scope, given: JsonObject): Json {
    const index = given[step.index]
    if (index === undefined) throw new Failure('internal', `The step "${step.name}" looks up in "${step.index}", which gave nothing.`)
    const value = isStepPath(step.lookupValue, given) ? findJson(step.lookupValue, given) : renderValue(step.lookupValue, scope)
    const entries = entriesOf(index)
    const find = (wanted: Json): Json => {
      const entry = entries.find((each) => isObject(each) && each[step.match] !== undefined && spell(each[step.match] as Json) === spell(wanted))
      if (!isObject(entry)) return null
      return Object.fromEntries(step.fields.map((field): [string, Json] => [field, (entry[field] as Json | undefined) ?? null]))
    }
    if (value === undefined || value === null) return null
    return Array.isArray(value) ? (value as readonly Json[]).map(find).filter((each) => each !== null) : find(value)
  }

  #scope(inputs: JsonObject): Scope {
    return { variables: this.variables.values, inputs }
  }

  async #call(call: string, values: JsonObject, context: CallContext): Promise<Called> {
    const operation = findOperation(this.capability, call)
    const consume = this.capability.consumes.find((each) => each.namespace === operation?.namespace)
    if (operation === null || consume === undefined) throw new Failure('internal', `There is no operation ${call}.`)
    if (isExec(operation)) return { operation, answer: await this.#exec(consume, operation, values, context) }
    const built = await buildRequest(operation, this.#scope(values), this.baseUriOf(consume))
    const answer = await this.send(consume.namespace, built, context.signal, bodyLimit(operation, context))
    const isOurs = consume.authentication !== null || built.headers['authorization'] === undefined
    return { operation, answer: this.#read(operation, answer, built.url.host, isOurs) }
  }

  /** A text of an upstream without our credentials. */
  strikeText(text: string): string {
    return this.#secrets.strike(text)
  }

  async #exec(consume: Consume, operation: ConsumedOperation, values: JsonObject, context: CallContext): Promise<Answer> {
    const request = readExec(values)
    if (/^\.{1,2}$/.test(request.id)) throw invalid([{ field: 'id', description: `can't be "${request.id}".` }])
    const credential = await this.credentialsOf(consume.namespace).first()
    const url = new URL(this.baseUriOf(consume) + operation.path)
    const onOutput = context.onOutput === undefined ? {} : { onOutput: context.onOutput }
    // Who ran what: the words of the command, never what it read or wrote.
    const entry = { event: 'exec', instance: request.id, command: JSON.stringify(request.command) }
    const value = await callExec(request, { url, credential, timeouts: this.upstream.timeouts, signal: context.signal, ...onOutput }).catch((error: unknown) => {
      this.#log({ ...entry, error: error instanceof Failure ? error.code : 'internal' })
      throw error
    })
    this.#log({ ...entry, exitCode: value['exit_code'] as number | null, timedOut: value['timed_out'] === true, ms: value['duration_ms'] as number })
    return { status: 200, value: this.#secrets.strikeValue(value), media: null, isError: false }
  }

  /** Sends with the consumed API's credential, and once more if its challenge can be answered. */
  async send(namespace: string, built: BuiltRequest, signal: AbortSignal | null, maxBytes = MAX_BODY_BYTES): Promise<UpstreamAnswer> {
    const credentials = this.credentialsOf(namespace)
    const attempt = async (credential: Awaited<ReturnType<Credentials['first']>>): Promise<UpstreamAnswer> => {
      const url = new URL(built.url)
      for (const [name, value] of credential.query) url.searchParams.append(name, value)
      return this.upstream.send({ ...built, url, headers: { ...built.headers, ...credential.headers }, signal, maxBytes })
    }
    const answer = await attempt(await credentials.first())
    if (answer.status !== 401) return answer
    const second = await credentials.retry(answer.headers['www-authenticate'], { method: built.method, url: built.url })
    return second === null ? answer : attempt(second)
  }

  #read(operation: ConsumedOperation, answer: UpstreamAnswer, host: string, isOurs: boolean): Answer {
    const { status, headers, body } = answer
    if ((status === 401 || status === 403) && isOurs) {
      throw new Failure('upstream_auth', `${host} refused the capability's own credential (HTTP ${status}); the caller's has no part in it.`)
    }
    if (status >= 300 && status < 400) throw new Failure('upstream_error', `${host} redirects (HTTP ${status}), and redirects are not followed.`)
    if (status >= 400) return { status, value: this.variables.redactValue(readErrorBody(status, body, host)), media: null, isError: true }
    const payload: Payload = readPayload(operation, body, headers['content-type'])
    switch (payload.kind) {
      case 'empty':
        return { status, value: undefined, media: null, isError: false }
      case 'media':
        return { status, value: undefined, media: payload.media, isError: false }
      case 'json':
        // An upstream that repeats our credential must not give it to the caller.
        return { status, value: this.#secrets.strikeValue(payload.value), media: null, isError: false }
    }
  }
}

/** What a lookup looks through: a list, or an object and the list that is the only one in it. */
function entriesOf(index: Json): readonly Json[] {
  if (Array.isArray(index)) return index as readonly Json[]
  const lists = isObject(index) ? Object.values(index as JsonObject).filter((each): each is readonly Json[] => Array.isArray(each)) : []
  return lists.length === 1 ? [index, ...(lists[0] ?? [])] : [index]
}

/** Of binary answers the operation's limit, within the adapter's; of all others the usual one. */
function bodyLimit(operation: ConsumedOperation, context: CallContext): number {
  if (operation.format !== 'binary') return MAX_BODY_BYTES
  const own = operation.maxBinaryBytes ?? context.maxBinaryBytes ?? MAX_BODY_BYTES
  return Math.min(own, context.maxBinaryBytes ?? own, MAX_BINARY_BYTES)
}
