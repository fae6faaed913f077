/**
 * The MCP adapter: the document's tools, resources and prompts over Streamable HTTP and stdio, in both protocol eras.
 * Arguments are checked here, so that a wrong one is a result that the model can read (`isError`), and what tools do
 * is announced by what they call rather than by what the document claims.
 */
import { randomUUID } from 'node:crypto'
import { createServer } from 'node:http'
import type { IncomingMessage, Server as HttpServer, ServerResponse } from 'node:http'
import { fileURLToPath } from 'node:url'
import { toNodeHandler } from '@modelcontextprotocol/node'
import { createMcpHandler, ProtocolError, ProtocolErrorCode, Server } from '@modelcontextprotocol/server'
import type { CallToolResult, GetPromptResult, ReadResourceResult, Resource, ResourceTemplateType, ServerContext, ServerOptions, Tool, ToolAnnotations } from '@modelcontextprotocol/server'
import { serveStdio } from '@modelcontextprotocol/server/stdio'
import { Failure, asFailure, invalid } from './failure.ts'
import { checkOrigin, makeGate } from './guard.ts'
import { checkToolInputs, inputSchema, unitInputs } from './inputs.ts'
import type { UnitInputs } from './inputs.ts'
import { calledOperations } from './called.ts'
import { MAX_DEPTH, isShallow } from './json.ts'
import type { Log } from './log.ts'
import { EXEC_OUTPUT, messageOf, present } from './mcp-answer.ts'
import { McpSessions } from './mcp-sessions.ts'
import { matchUri, readStatic, readWhole } from './mcp-files.ts'
import { isExec } from './model.ts'
import type { JsonObject, McpExpose, McpPrompt, McpResource, McpTool } from './model.ts'
import type { Runner } from './runner.ts'
import { renderText } from './template.ts'

/** Progress is told at most so often. */
const PROGRESS_MS = 250
const MAX_REQUEST_BYTES = 4 * 1024 * 1024
const MAX_MESSAGE = 200
const ENDPOINT = '/mcp'
const CACHEABLE = ['server/discover', 'tools/list', 'prompts/list', 'resources/list', 'resources/templates/list', 'resources/read'] as const

export interface McpOptions {
  readonly runner: Runner
  readonly expose: McpExpose
  readonly log: Log
}

interface Prepared {
  readonly tool: McpTool
  readonly inputs: UnitInputs
  readonly isExec: boolean
  readonly listed: Tool
}

/** The adapter's HTTP server; `close` ends what is under way. */
export async function makeMcpServer(options: McpOptions & { readonly address: string }): Promise<{ server: HttpServer; close: () => Promise<void> }> {
  const adapter = new McpAdapter(options)
  const gate = makeGate(options.expose.authentication, options.runner.variables.values, options.runner.upstream)
  const handler = createMcpHandler(() => adapter.makeServer(), { maxRequestBodySize: MAX_REQUEST_BYTES })
  const sessions = new McpSessions(() => adapter.makeServer())
  const serve = async (request: Request): Promise<Response> => {
    const reply = (await sessions.serve(request)) ?? (await handler.fetch(request))
    // Streams would say `no-cache`.
    reply.headers.set('cache-control', 'no-store, no-transform')
    return reply
  }
  const handle = toNodeHandler({ fetch: serve }, { maxRequestBodySize: MAX_REQUEST_BYTES })
  const answer = async (request: IncomingMessage, response: ServerResponse): Promise<void> => {
    const path = (request.url ?? '/').split('?')[0] ?? '/'
    try {
      checkOrigin(request, options.address)
      if (path !== ENDPOINT) throw new Failure('not_found', `There is nothing at ${path}; the endpoint is ${ENDPOINT}.`)
      await gate.check(request)
      response.setHeader('x-accel-buffering', 'no')
      // Node's type says that method and url may be undefined, which they are on answers alone.
      await handle(request as Parameters<typeof handle>[0], response)
    } catch (error) {
      const failure = asFailure(error)
      if (response.headersSent) return void response.destroy()
      const challenge = failure.code === 'unauthenticated' || failure.code === 'permission_denied' ? gate.challenge(failure) : null
      response.writeHead(failure.status, { 'content-type': 'application/json', 'cache-control': 'no-store', ...(challenge === null ? {} : { 'www-authenticate': challenge }) })
      const message = options.runner.variables.redact(failure.message)
      response.end(JSON.stringify({ jsonrpc: '2.0', id: null, error: { code: -32000, message } }))
    }
    return undefined
  }
  return { server: createServer((request, response) => void answer(request, response)), close: async () => void (await Promise.all([handler.close(), sessions.close()])) }
}

export async function serveMcpStdio(options: McpOptions): Promise<{ ended: Promise<void>; close: () => Promise<void> }> {
  const adapter = new McpAdapter(options)
  const handle = serveStdio(() => adapter.makeServer())
  const ended = new Promise<void>((resolve) => {
    process.stdin.once('end', () => resolve())
    process.stdin.once('close', () => resolve())
  })
  return { ended, close: () => handle.close() }
}

class McpAdapter {
  readonly #runner: Runner
  readonly #expose: McpExpose
  readonly #log: Log
  readonly #tools: ReadonlyMap<string, Prepared>

  constructor({ runner, expose, log }: McpOptions) {
    this.#runner = runner
    this.#expose = expose
    this.#log = log
    const prepared = expose.tools.map((tool) => this.#prepare(tool)).toSorted((a, b) => (a.tool.name < b.tool.name ? -1 : 1))
    this.#tools = new Map(prepared.map((each) => [each.tool.name, each]))
  }

  #prepare(tool: McpTool): Prepared {
    const inputs = unitInputs(this.#runner.capability, tool, this.#expose.namespace)
    const operations = calledOperations(this.#runner.capability, tool.action)
    const exec = operations.some(isExec)
    const writes = operations.some((each) => each.method !== 'GET')
    const annotations = annotate(tool, exec, writes)
    const description = exec
      ? `${tool.description}. Runs argv (no shell) in an instance and gives stdout, stderr and exit code; a status other than 0 is a result, not an error.`
      : tool.description
    const listed: Tool = {
      name: tool.name,
      ...(tool.title === null ? {} : { title: tool.title }),
      description,
      inputSchema: inputSchema(inputs) as Tool['inputSchema'],
      ...(exec && tool.action.kind === 'call' ? { outputSchema: EXEC_OUTPUT as unknown as NonNullable<Tool['outputSchema']> } : {}),
      annotations,
    }
    return { tool, inputs, isExec: exec, listed }
  }

  makeServer(): Server {
    const { capability } = this.#runner
    const { resources, prompts } = this.#expose
    const server = new Server(
      { name: this.#expose.namespace, title: capability.title, version: capability.version },
      {
        capabilities: { tools: {}, ...(resources.length === 0 ? {} : { resources: {} }), ...(prompts.length === 0 ? {} : { prompts: {} }) },
        instructions: this.#expose.description ?? capability.description,
        ...cacheHints(this.#expose.cache),
      },
    )
    const whole = <T>(list: () => T) => ({ params }: { readonly params?: { readonly cursor?: string | undefined } | undefined }): T => {
      if ((params?.cursor ?? '') !== '') throw new ProtocolError(ProtocolErrorCode.InvalidParams, 'Lists come whole and have no cursors: ask without one.')
      return list()
    }
    server.setRequestHandler('tools/list', whole(() => ({ tools: [...this.#tools.values()].map((each) => each.listed) })))
    server.setRequestHandler('tools/call', (request, context) => this.#call(request.params.name, (request.params.arguments ?? {}) as JsonObject, context))
    if (resources.length > 0) {
      server.setRequestHandler('resources/list', whole(() => ({ resources: resources.filter((each) => !each.uri.includes('{')).map(listResource) })))
      server.setRequestHandler('resources/templates/list', whole(() => ({ resourceTemplates: resources.filter((each) => each.uri.includes('{')).map(listTemplate) })))
      server.setRequestHandler('resources/read', (request, context) => this.#read(request.params.uri, context))
    }
    if (prompts.length > 0) {
      server.setRequestHandler('prompts/list', whole(() => ({ prompts: prompts.map(listPrompt) })))
      server.setRequestHandler('prompts/get', (request) => this.#prompt(request.params.name, request.params.arguments ?? {}))
    }
    return server
  }

  async #call(name: string, given: JsonObject, context: ServerContext): Promise<CallToolResult> {
    const prepared = this.#tools.get(name)
    if (prepared === undefined) throw new ProtocolError(ProtocolErrorCode.InvalidParams, `There is no tool "${name}".`)
    const began = Date.now()
    let result: CallToolResult
    try {
      if (!isShallow(given)) throw invalid([{ field: 'arguments', description: `must be nested at most ${MAX_DEPTH} deep.` }])
      const values = checkToolInputs(prepared.inputs, given)
      const onOutput = makeProgress(context)
      const answer = await this.#runner.run(prepared.tool, values, { namespace: this.#expose.namespace, signal: signalOf(context), maxBinaryBytes: this.#expose.maxBinaryBytes, ...(onOutput === null ? {} : { onOutput }) })
      result = present(answer, prepared.isExec, `ikanos://transient/${this.#expose.namespace}/${name}/${randomUUID()}`)
    } catch (error) {
      result = this.#refuse(error)
    }
    this.#log({ event: 'tool', tool: name, isError: result.isError === true, ms: Date.now() - began })
    return result
  }

  #refuse(error: unknown): CallToolResult {
    const failure = asFailure(error)
    if (failure.code === 'internal') this.#log({ event: 'error', message: failure.cause instanceof Error ? (failure.cause.stack ?? failure.cause.message) : failure.message })
    const body = this.#runner.variables.redactValue(failure.body)
    return { isError: true, content: [{ type: 'text', text: this.#runner.variables.redact(failure.message) }], structuredContent: { error: body } }
  }

  async #read(uri: string, context: ServerContext): Promise<ReadResourceResult> {
    for (const resource of this.#expose.resources) {
      const values = matchUri(resource.uri, uri, resource.location !== null)
      if (values === null) continue
      if (resource.location !== null) return { contents: [await readStatic(resource, resource.location, uri, values['path'] ?? '')] }
      if (resource.unit === null) continue
      const answer = await this.#runner.run(resource.unit, values, { namespace: this.#expose.namespace, signal: signalOf(context), maxBinaryBytes: this.#expose.maxBinaryBytes }).catch((error: unknown) => {
        const failure = asFailure(error)
        throw new ProtocolError(failure.code === 'invalid_argument' ? ProtocolErrorCode.InvalidParams : ProtocolErrorCode.InternalError, this.#runner.variables.redact(failure.message))
      })
      if (answer.isError) {
        const message = messageOf(answer.value) ?? `The upstream answered ${answer.status}.`
        throw answer.status === 404 ? new ProtocolError(ProtocolErrorCode.InvalidParams, message, { uri }) : new ProtocolError(ProtocolErrorCode.InternalError, message)
      }
      if (answer.media !== null) return { contents: [{ uri, mimeType: answer.media.type ?? resource.mimeType ?? 'application/octet-stream', blob: answer.media.bytes.toString('base64') }] }
      return { contents: [{ uri, mimeType: resource.mimeType ?? 'application/json', text: typeof answer.value === 'string' ? answer.value : JSON.stringify(answer.value ?? null) }] }
    }
    throw new ProtocolError(ProtocolErrorCode.InvalidParams, 'There is no such resource.', { uri })
  }

  async #prompt(name: string, given: Readonly<Record<string, string>>): Promise<GetPromptResult> {
    const prompt = this.#expose.prompts.find((each) => each.name === name)
    if (prompt === undefined) throw new ProtocolError(ProtocolErrorCode.InvalidParams, `There is no prompt "${name}".`)
    const missing = prompt.arguments.filter((each) => each.isRequired && given[each.name] === undefined).map((each) => each.name)
    if (missing.length > 0) throw new ProtocolError(ProtocolErrorCode.InvalidParams, `The prompt needs ${missing.join(', ')}.`)
    const scope = { variables: {}, inputs: given }
    const template = prompt.location === null ? prompt.template : [{ role: 'user' as const, content: (await readWhole(fileURLToPath(prompt.location))).toString('utf8') }]
    return { description: prompt.description, messages: template.map(({ role, content }) => ({ role, content: { type: 'text', text: renderText(content, scope) } })) }
  }
}

/** What a tool does, by what it calls; the document may only make it sound more careful than that. */
function annotate(tool: McpTool, exec: boolean, writes: boolean): ToolAnnotations {
  if (exec) return { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true }
  const readOnly = tool.hints.readOnly === true && !writes
  return {
    readOnlyHint: readOnly,
    destructiveHint: tool.hints.destructive ?? !readOnly,
    idempotentHint: tool.hints.idempotent ?? readOnly,
    openWorldHint: tool.hints.openWorld ?? true,
  }
}

/** A caller cancels by a message, or by going away. */
function signalOf({ mcpReq, http }: ServerContext): AbortSignal {
  const connection = http?.req?.signal
  return connection === undefined ? mcpReq.signal : AbortSignal.any([mcpReq.signal, connection])
}

/** Tells progress in bytes, rising strictly, with the last line; null if the caller asked for none. */
function makeProgress(context: ServerContext): ((bytes: number, text: string) => void) | null {
  const token = context.mcpReq._meta?.progressToken
  if (token === undefined) return null
  let last = 0
  let told = 0
  return (bytes, text) => {
    const now = Date.now()
    if (bytes <= told || now - last < PROGRESS_MS) return
    last = now
    told = bytes
    const line = text.trimEnd().split('\n').at(-1) ?? ''
    const message = line.replace(/\p{Cc}/gu, ' ').slice(0, MAX_MESSAGE)
    // Whoever no longer listens misses it; the call's own end tells them apart.
    void context.mcpReq.notify({ method: 'notifications/progress', params: { progressToken: token, progress: bytes, message } }).catch(() => undefined)
  }
}

/** What the document says of keeping lists and resources, for the clients that are told (those of 2026 on). */
function cacheHints({ ttlMs, scope }: McpExpose['cache']): Pick<ServerOptions, 'cacheHints'> {
  if (ttlMs === null && scope === null) return {}
  const hint = { ...(ttlMs === null ? {} : { ttlMs }), ...(scope === null ? {} : { cacheScope: scope }) }
  return { cacheHints: Object.fromEntries(CACHEABLE.map((each) => [each, hint])) }
}

function listResource(resource: McpResource): Resource {
  return { name: resource.name, title: resource.title, description: resource.description, uri: resource.uri, ...(resource.mimeType === null ? {} : { mimeType: resource.mimeType }) }
}

function listTemplate(resource: McpResource): ResourceTemplateType {
  const uriTemplate = resource.uri.replace(/\{\{\s*([^{}\s]+)\s*\}\}/g, '{$1}')
  return { name: resource.name, title: resource.title, description: resource.description, uriTemplate, ...(resource.mimeType === null ? {} : { mimeType: resource.mimeType }) }
}

function listPrompt(prompt: McpPrompt): { name: string; title: string; description: string; arguments: { name: string; description: string; required: boolean }[] } {
  const own = prompt.arguments.map(({ name, description, isRequired }) => ({ name, description, required: isRequired }))
  return { name: prompt.name, title: prompt.title, description: prompt.description, arguments: own }
}
