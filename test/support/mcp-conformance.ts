/**
 * What the official conformance suite calls: tools, resources and prompts that a product has no use for. Added to
 * Berth's own server, so that its transport, sessions, schemas and notices are what is examined.
 */
import { randomBytes } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import {
  acceptedContent,
  completable,
  createRequestStateCodec,
  fromJsonSchema,
  inputRequired,
  ResourceTemplate,
} from '@modelcontextprotocol/server'
import type { CallToolResult, McpServer, ServerContext } from '@modelcontextprotocol/server'
import { z } from 'zod'
import type { McpExtension } from '../../src/mcp/mcp.ts'

/** One red pixel. */
const PNG = 'iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8DwHwAFBQIAX8jx0gAAAABJRU5ErkJggg=='
/** A WAV header without samples. */
const WAV = 'UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA='
const WATCHED = 'test://watched-resource'
const nothing = z.strictObject({})

const codec = createRequestStateCodec<{ step: string }>({ key: randomBytes(32) })

export const conformanceFixtures: McpExtension = {
  serverOptions: {
    capabilities: {
      tools: { listChanged: true },
      prompts: { listChanged: true },
      resources: { subscribe: true, listChanged: true },
      logging: {},
      completions: {},
    },
    requestState: { verify: (state, ctx) => codec.verify(state, ctx) },
  },
  extend(server, era) {
    addContent(server)
    addBehaviour(server)
    addQuestions(server)
    addRounds(server)
    addResources(server, era)
    addPrompts(server)
  },
}

function text(value: string): CallToolResult {
  return { content: [{ type: 'text', text: value }] }
}

function addContent(server: McpServer): void {
  const answer = (name: string, content: CallToolResult['content']) =>
    server.registerTool(name, { description: `Fixture ${name}`, inputSchema: nothing }, async () => ({ content }))
  const image = { type: 'image', data: PNG, mimeType: 'image/png' } as const
  answer('test_simple_text', [{ type: 'text', text: 'This is a simple text response for testing.' }])
  answer('test_image_content', [image])
  answer('test_audio_content', [{ type: 'audio', data: WAV, mimeType: 'audio/wav' }])
  answer('test_embedded_resource', [{ type: 'resource', resource: { uri: 'test://embedded-resource', mimeType: 'text/plain', text: 'This is an embedded resource content.' } }])
  answer('test_multiple_content_types', [
    { type: 'text', text: 'Multiple content types test:' },
    image,
    { type: 'resource', resource: { uri: 'test://mixed-content-resource', mimeType: 'application/json', text: '{"test":"data","value":123}' } },
  ])
}

function addBehaviour(server: McpServer): void {
  server.registerTool('test_error_handling', { description: 'Always fails', inputSchema: nothing }, async () => {
    throw new Error('This tool intentionally returns an error for testing')
  })
  server.registerTool('test_tool_with_logging', { description: 'Logs while it works', inputSchema: nothing }, async (_args, ctx) => {
    for (const message of ['Tool execution started', 'Tool processing data', 'Tool execution completed']) {
      await ctx.mcpReq.log('info', message)
      await sleep(50)
    }
    return text('Logged three times.')
  })
  server.registerTool('test_logging_tool', { description: 'Logs at every level', inputSchema: nothing }, async (_args, ctx) => {
    for (const level of ['debug', 'info', 'warning', 'error'] as const) await ctx.mcpReq.log(level, `A message at ${level}`)
    return text('Logged.')
  })
  server.registerTool('test_tool_with_progress', { description: 'Tells how far it is', inputSchema: nothing }, async (_args, ctx) => {
    const token = ctx.mcpReq._meta?.progressToken
    for (const progress of [0, 50, 100]) {
      if (token !== undefined) await ctx.mcpReq.notify({ method: 'notifications/progress', params: { progressToken: token, progress, total: 100 } })
      await sleep(50)
    }
    return text('Done.')
  })
  server.registerTool('test_trigger_tool_change', { description: 'Says that the tools changed', inputSchema: nothing }, async () => {
    server.sendToolListChanged()
    return text('Told.')
  })
  server.registerTool('test_trigger_prompt_change', { description: 'Says that the prompts changed', inputSchema: nothing }, async () => {
    server.sendPromptListChanged()
    return text('Told.')
  })
  server.registerTool('json_schema_2020_12_tool', { description: 'Tool with JSON Schema 2020-12 features', inputSchema: fromJsonSchema(RICH_SCHEMA) }, async () => text('Fine.'))
}

/** Text, since an object with a `then` looks like a promise. */
const RICH_SCHEMA = JSON.parse(`{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "type": "object",
  "$defs": { "address": { "$anchor": "addressDef", "type": "object", "properties": { "street": { "type": "string" }, "city": { "type": "string" } } } },
  "properties": {
    "name": { "type": "string" },
    "address": { "$ref": "#/$defs/address" },
    "contactMethod": { "type": "string", "enum": ["phone", "email"] },
    "phone": { "type": "string" },
    "email": { "type": "string" }
  },
  "allOf": [{ "anyOf": [{ "required": ["phone"] }, { "required": ["email"] }] }],
  "if": { "properties": { "contactMethod": { "const": "phone" } }, "required": ["contactMethod"] },
  "then": { "required": ["phone"] },
  "else": { "required": ["email"] },
  "additionalProperties": false
}`) as Parameters<typeof fromJsonSchema>[0]

/** Server asks client, as the 2025 era does it. */
function addQuestions(server: McpServer): void {
  server.registerTool('test_sampling', { description: 'Asks the client’s model', inputSchema: z.strictObject({ prompt: z.string() }) }, async ({ prompt }, ctx) => {
    const answer = await ctx.mcpReq.requestSampling({ messages: [{ role: 'user', content: { type: 'text', text: prompt } }], maxTokens: 100 })
    return text(`LLM response: ${JSON.stringify(answer.content)}`)
  })
  const ask = async (ctx: ServerContext, message: string, properties: Record<string, unknown>, required: string[], said: string) => {
    const requestedSchema = { type: 'object', properties, required } as Parameters<ServerContext['mcpReq']['elicitInput']>[0] extends { requestedSchema: infer S } ? S : never
    const answer = await ctx.mcpReq.elicitInput({ message, requestedSchema })
    return text(`${said}: action=${answer.action}, content=${JSON.stringify(answer.content ?? {})}`)
  }
  server.registerTool('test_elicitation', { description: 'Asks the person', inputSchema: z.strictObject({ message: z.string() }) }, ({ message }, ctx) =>
    ask(ctx, message, { username: { type: 'string', description: 'User’s response' }, email: { type: 'string', description: 'User’s email address' } }, ['username', 'email'], 'User response'),
  )
  server.registerTool('test_elicitation_sep1034_defaults', { description: 'Asks with defaults', inputSchema: nothing }, (_args, ctx) =>
    ask(
      ctx,
      'Please look these over',
      {
        name: { type: 'string', default: 'John Doe' },
        age: { type: 'integer', default: 30 },
        score: { type: 'number', default: 95.5 },
        status: { type: 'string', enum: ['active', 'inactive', 'pending'], default: 'active' },
        verified: { type: 'boolean', default: true },
      },
      [],
      'Elicitation completed',
    ),
  )
  const titled = (titles: readonly string[]) => titles.map((title, at) => ({ const: `value${at + 1}`, title }))
  server.registerTool('test_elicitation_sep1330_enums', { description: 'Asks with enums', inputSchema: nothing }, (_args, ctx) =>
    ask(
      ctx,
      'Please choose',
      {
        untitledSingle: { type: 'string', enum: ['option1', 'option2', 'option3'] },
        titledSingle: { type: 'string', oneOf: titled(['First Option', 'Second Option', 'Third Option']) },
        legacyEnum: { type: 'string', enum: ['opt1', 'opt2', 'opt3'], enumNames: ['Option One', 'Option Two', 'Option Three'] },
        untitledMulti: { type: 'array', items: { type: 'string', enum: ['option1', 'option2', 'option3'] } },
        titledMulti: { type: 'array', items: { anyOf: titled(['First Choice', 'Second Choice', 'Third Choice']) } },
      },
      [],
      'Elicitation completed',
    ),
  )
}

const NAME = { name: z.string() }
const question = (message: string, properties: Record<string, unknown>) =>
  inputRequired.elicit({ message, requestedSchema: { type: 'object', properties, required: Object.keys(properties) } as never })
const sample = (value: string, maxTokens: number) => inputRequired.createMessage({ messages: [{ role: 'user', content: { type: 'text', text: value } }], maxTokens })

/** Answers that need more input, as the 2026 era does it. */
function addRounds(server: McpServer): void {
  const add = (name: string, run: (ctx: ServerContext) => Promise<CallToolResult | ReturnType<typeof inputRequired>>) =>
    server.registerTool(name, { description: `Fixture ${name}`, inputSchema: nothing }, (_args, ctx) => run(ctx))
  const given = (ctx: ServerContext, key: string) => ctx.mcpReq.inputResponses?.[key]
  add('test_input_required_result_elicitation', async ctx => {
    const answer = acceptedContent(ctx.mcpReq.inputResponses, 'user_name', z.object(NAME))
    if (answer !== undefined) return text(`Hello, ${answer.name}!`)
    return inputRequired({ inputRequests: { user_name: question('What is your name?', { name: { type: 'string' } }) } })
  })
  add('test_input_required_result_sampling', async ctx => {
    const answer = given(ctx, 'capital_question')
    if (answer !== undefined) return text(JSON.stringify(answer))
    return inputRequired({ inputRequests: { capital_question: sample('What is the capital of France?', 100) } })
  })
  add('test_input_required_result_list_roots', async ctx => {
    const answer = given(ctx, 'client_roots')
    if (answer !== undefined) return text(JSON.stringify(answer))
    return inputRequired({ inputRequests: { client_roots: inputRequired.listRoots() } })
  })
  const confirm = { confirm: question('Please confirm', { ok: { type: 'boolean' } }) }
  const confirmed = (name: string) =>
    add(name, async ctx => {
      if (given(ctx, 'confirm') !== undefined && ctx.mcpReq.requestState<{ step: string }>()?.step === name) return text('state-ok')
      return inputRequired({ inputRequests: confirm, requestState: await codec.mint({ step: name }) })
    })
  confirmed('test_input_required_result_request_state')
  confirmed('test_input_required_result_tampered_state')
  add('test_input_required_result_multiple_inputs', async ctx => {
    if (['user_name', 'greeting', 'client_roots'].every(key => given(ctx, key) !== undefined)) return text('All there.')
    return inputRequired({
      inputRequests: {
        user_name: question('What is your name?', { name: { type: 'string' } }),
        greeting: sample('Generate a greeting', 50),
        client_roots: inputRequired.listRoots(),
      },
      requestState: await codec.mint({ step: 'multiple' }),
    })
  })
  add('test_input_required_result_multi_round', async ctx => {
    const step = ctx.mcpReq.requestState<{ step: string }>()?.step
    if (step === '2' && given(ctx, 'step2') !== undefined) return text('Both rounds are done.')
    if (step === '1' && given(ctx, 'step1') !== undefined) {
      return inputRequired({ inputRequests: { step2: question('Step 2: What is your favorite color?', { color: { type: 'string' } }) }, requestState: await codec.mint({ step: '2' }) })
    }
    return inputRequired({ inputRequests: { step1: question('Step 1: What is your name?', { name: { type: 'string' } }) }, requestState: await codec.mint({ step: '1' }) })
  })
  add('test_input_required_result_capabilities', async ctx => {
    const declared = (ctx.mcpReq.envelope as Record<string, Record<string, unknown>> | undefined)?.['io.modelcontextprotocol/clientCapabilities'] ?? {}
    return inputRequired({
      inputRequests: {
        ...(declared['sampling'] === undefined ? {} : { greeting: sample('Generate a greeting', 50) }),
        ...(declared['elicitation'] === undefined ? {} : { user_name: question('What is your name?', { name: { type: 'string' } }) }),
      },
    })
  })
  add('test_missing_capability', async ctx => {
    if (given(ctx, 'answer') !== undefined) return text('Fine.')
    return inputRequired({ inputRequests: { answer: sample('Anything', 10) } })
  })
  add('test_streaming_elicitation', async ctx => {
    if (given(ctx, 'answer') !== undefined) return text('Fine.')
    return inputRequired({ inputRequests: { answer: question('Go on?', { ok: { type: 'boolean' } }) } })
  })
}

function addResources(server: McpServer, era: 'legacy' | 'modern'): void {
  const read = (uri: string, mimeType: string, content: { readonly text: string } | { readonly blob: string }) =>
    server.registerResource(uri, uri, { description: `Fixture ${uri}`, mimeType }, async () => ({ contents: [{ uri, mimeType, ...content }] }))
  read('test://static-text', 'text/plain', { text: 'This is the content of the static text resource.' })
  read('test://static-binary', 'image/png', { blob: PNG })
  read(WATCHED, 'text/plain', { text: 'Watched.' })
  server.registerResource('template', new ResourceTemplate('test://template/{id}/data', { list: undefined }), { description: 'Fixture template', mimeType: 'application/json' }, async (uri, { id }) => ({
    contents: [{ uri: uri.href, mimeType: 'application/json', text: JSON.stringify({ id, templateTest: true, data: `Data for ID: ${String(id)}` }) }],
  }))
  if (era === 'modern') return
  const followed = new Set<string>()
  server.server.setRequestHandler('resources/subscribe', async ({ params }) => {
    followed.add(params.uri)
    return {}
  })
  server.server.setRequestHandler('resources/unsubscribe', async ({ params }) => {
    followed.delete(params.uri)
    return {}
  })
}

function addPrompts(server: McpServer): void {
  const user = (content: { type: 'text'; text: string } | { type: 'image'; data: string; mimeType: string } | { type: 'resource'; resource: { uri: string; mimeType: string; text: string } }) => ({ role: 'user' as const, content })
  const say = (value: string) => user({ type: 'text', text: value })
  server.registerPrompt('test_simple_prompt', { description: 'Fixture' }, async () => ({ messages: [say('This is a simple prompt for testing.')] }))
  server.registerPrompt(
    'test_prompt_with_arguments',
    {
      description: 'Fixture',
      argsSchema: z.object({ arg1: completable(z.string(), value => ['paris', 'park', 'party'].filter(word => word.startsWith(value))), arg2: z.string() }),
    },
    async ({ arg1, arg2 }) => ({ messages: [say(`Prompt with arguments: arg1='${arg1}', arg2='${arg2}'`)] }),
  )
  server.registerPrompt('test_prompt_with_embedded_resource', { description: 'Fixture', argsSchema: z.object({ resourceUri: z.string() }) }, async ({ resourceUri }) => ({
    messages: [
      user({ type: 'resource', resource: { uri: resourceUri, mimeType: 'text/plain', text: 'Embedded resource content for testing.' } }),
      say('Please process the embedded resource above.'),
    ],
  }))
  server.registerPrompt('test_prompt_with_image', { description: 'Fixture' }, async () => ({
    messages: [user({ type: 'image', data: PNG, mimeType: 'image/png' }), say('Please analyze the image above.')],
  }))
  server.registerPrompt('test_input_required_result_prompt', { description: 'Fixture' }, async ctx => {
    const answer = ctx.mcpReq.inputResponses?.['user_context']
    if (answer !== undefined) return { messages: [say(`With context: ${JSON.stringify(answer)}`)] }
    return inputRequired({ inputRequests: { user_context: question('What context should the prompt use?', { context: { type: 'string' } }) } })
  })
}
