/**
 * The tools as they were specified before they were built: names, arguments, answers, hints and scopes that clients may count
 * on; and that docs/mcp-conformance.md, the list of all rules, names only tests that there are.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Client } from '@modelcontextprotocol/client'
import { ALL_TOOLS } from '../src/mcp/tools/all.ts'
import { checkedRules } from './support/conformance-page.ts'
import { connect, dataOf, mcpFixture, textOf } from './support/mcp.ts'
import type { McpFixture } from './support/mcp.ts'

interface Expected {
  /** Required ones end with `!`. */
  readonly input: string
  readonly output: string
  /** Read-only, destructive, idempotent, open world. */
  readonly hints: 'TFTF' | 'FFFT' | 'FFFF' | 'FTTF' | 'FFTF' | 'FTFF' | 'FTFT'
  readonly scope: 'read' | 'write' | 'exec'
}
const READ = { hints: 'TFTF', scope: 'read' } as const
const PAGED = 'count limit offset has_next'
const SPECIFIED: Readonly<Record<string, Expected>> = {
  'list-instances': {
    ...READ,
    input: 'app_id service_id deployment_id regional_deployment_id allocation_id replica_index statuses limit offset order starting_time ending_time',
    output: `instances ${PAGED}`,
  },
  'get-instance': { ...READ, input: 'id!', output: 'instance' },
  'list-instance-events': { ...READ, input: 'instance_ids types limit offset order', output: 'events limit offset has_next' },
  'get-instance-logs': { ...READ, input: 'id! stream since until tail contains', output: 'lines truncated next_since' },
  'get-instance-metrics': { ...READ, input: 'id! window', output: 'cpu memory network' },
  'list-images': { ...READ, input: 'limit offset', output: `images ${PAGED}` },
  'list-instance-types': { ...READ, input: 'limit offset', output: `types ${PAGED}` },
  'list-regions': { ...READ, input: 'limit offset', output: `regions ${PAGED}` },
  'create-instance': { input: 'name image! type region env secrets ports volumes command wait idempotency_key', output: 'instance operation_id', hints: 'FFFT', scope: 'write' },
  'update-instance': { input: 'id! name env ports type', output: 'instance', hints: 'FTTF', scope: 'write' },
  'start-instance': { input: 'id!', output: 'instance', hints: 'FFTF', scope: 'write' },
  'stop-instance': { input: 'id! timeout_s force', output: 'instance', hints: 'FTTF', scope: 'write' },
  'restart-instance': { input: 'id!', output: 'instance', hints: 'FTFF', scope: 'write' },
  'suspend-instance': { input: 'id!', output: 'instance', hints: 'FTTF', scope: 'write' },
  'delete-instance': { input: 'id! delete_volumes force', output: 'id status', hints: 'FTTF', scope: 'write' },
  'wait-for-instance': { ...READ, input: 'id! status! timeout_ms', output: 'instance reached elapsed_ms' },
  'exec-command': {
    input: 'id! id_type command! stdin stdin_encoding env workdir tty tty_size timeout_ms max_output_bytes',
    output: 'stdout stderr encoding exit_code signal timed_out truncated duration_ms instance_id',
    hints: 'FTFT',
    scope: 'exec',
  },
  'read-file': { input: 'id! path! max_bytes', output: 'content encoding size truncated', hints: 'TFTF', scope: 'exec' },
  'list-files': { input: 'id! path! depth', output: 'entries', hints: 'TFTF', scope: 'exec' },
  'write-file': { input: 'id! path! content! encoding mode overwrite', output: 'path size', hints: 'FTTF', scope: 'exec' },
  'create-snapshot': { input: 'id! name', output: 'snapshot', hints: 'FFFF', scope: 'write' },
  'list-snapshots': { ...READ, input: '', output: 'snapshots' },
  'restore-snapshot': { input: 'snapshot_id!', output: 'snapshot', hints: 'FTFF', scope: 'write' },
}
/** Limits and defaults that were specified. */
const LIMITS: readonly (readonly [tool: string, argument: string, schema: Readonly<Record<string, unknown>>])[] = [
  ['list-instances', 'limit', { type: 'integer', minimum: 1, maximum: 100, default: 20 }],
  ['list-instances', 'offset', { type: 'integer', minimum: 0 }],
  ['list-instances', 'order', { enum: ['asc', 'desc'] }],
  ['list-instances', 'replica_index', { type: 'integer' }],
  ['list-instances', 'starting_time', { type: 'string', format: 'date-time' }],
  ['list-instances', 'ending_time', { type: 'string', format: 'date-time' }],
  ['get-instance-logs', 'stream', { enum: ['stdout', 'stderr', 'both'] }],
  ['get-instance-logs', 'tail', { maximum: 1000, default: 200 }],
  ['wait-for-instance', 'timeout_ms', { maximum: 600_000 }],
  ['delete-instance', 'delete_volumes', { default: false }],
  ['delete-instance', 'force', { default: false }],
  ['write-file', 'overwrite', { default: false }],
  ['exec-command', 'id_type', { enum: ['INSTANCE_ID', 'SERVICE_ID'], default: 'INSTANCE_ID' }],
  ['exec-command', 'command', { type: 'array', minItems: 1, maxItems: 256 }],
  ['exec-command', 'stdin_encoding', { enum: ['utf-8', 'base64'], default: 'utf-8' }],
  ['exec-command', 'tty', { type: 'boolean', default: false }],
  ['exec-command', 'timeout_ms', { type: 'integer', minimum: 100, maximum: 600_000, default: 30_000 }],
  ['exec-command', 'max_output_bytes', { type: 'integer', minimum: 1, maximum: 1_048_576, default: 65_536 }],
]

let mcp: McpFixture
let client: Client
let tools: Awaited<ReturnType<Client['listTools']>>['tools']
before(async () => {
  mcp = await mcpFixture()
  client = await connect(mcp.url, '2026-07-28', mcp.key)
  tools = (await client.listTools()).tools
})
after(async () => {
  await client.close()
  await mcp.close()
})
const call = (name: string, args: Record<string, unknown> = {}) => client.callTool({ name, arguments: args })
const toolOf = (name: string) => {
  const found = tools.find(each => each.name === name)
  assert.ok(found !== undefined, `there is no ${name}`)
  return found
}
const words = (text: string) => text.split(' ').filter(word => word !== '')

describe('the specified tools', () => {
  for (const [name, expected] of Object.entries(SPECIFIED)) {
    test(`${name} takes and answers what was specified, and requires nothing beyond`, () => {
      const { inputSchema, outputSchema, annotations = {} } = toolOf(name)
      const has = Object.keys(inputSchema.properties ?? {})
      assert.deepEqual(words(expected.input).map(word => word.replace('!', '')).filter(argument => !has.includes(argument)), [], 'arguments')
      const required = words(expected.input).filter(word => word.endsWith('!')).map(word => word.slice(0, -1))
      assert.deepEqual((inputSchema.required ?? []).toSorted(), required.toSorted())
      const answered = (outputSchema?.['required'] ?? []) as readonly string[]
      assert.deepEqual(words(expected.output).filter(field => !answered.includes(field)), [], 'fields of the answer')
      const { readOnlyHint, destructiveHint, idempotentHint, openWorldHint } = annotations
      assert.equal([readOnlyHint, destructiveHint, idempotentHint, openWorldHint].map(hint => (hint === true ? 'T' : 'F')).join(''), expected.hints)
      assert.equal(ALL_TOOLS.find(tool => tool.name === name)?.scope, expected.scope)
    })
  }

  for (const [name, argument, schema] of LIMITS) {
    test(`${name}: ${argument} is ${JSON.stringify(schema)}`, () => {
      const told = (toolOf(name).inputSchema.properties ?? {})[argument] as Readonly<Record<string, unknown>>
      assert.deepEqual(Object.fromEntries(Object.keys(schema).map(key => [key, told[key]])), schema)
    })
  }

  test('ids, lines, entries and truncation have the fields that were specified', () => {
    const fields = (name: string, path: readonly string[]) => {
      const at = path.reduce<Record<string, unknown>>((schema, key) => schema[key] as Record<string, unknown>, toolOf(name).outputSchema as Record<string, unknown>)
      return Object.keys(at['properties'] as object)
    }
    assert.deepEqual(fields('get-instance-logs', ['properties', 'lines', 'items']), ['ts', 'stream', 'message'])
    assert.deepEqual(fields('exec-command', ['properties', 'truncated']), ['stdout', 'stderr'])
  })
})

describe('answers', () => {
  type Created = { instance: { id: string }; operation_id: string }
  test('a creation has an id that can be waited for', async () => {
    const made = dataOf<Created>(await call('create-instance', { image: 'localhost/busybox', name: 'made', type: 'nano', wait: false }))
    const waited = dataOf<{ instance: { id: string }; reached: boolean }>(await call('wait-for-instance', { id: made.operation_id, status: 'HEALTHY' }))
    assert.deepEqual([waited.instance.id, waited.reached], [made.instance.id, true])
  })

  test('a window of figures is a time or milliseconds, in either spelling, and out of its limits an error', async () => {
    for (const [args, atLeast] of [[{ window: '200ms' }, 190], [{ window: 150 }, 140], [{ window_ms: 120 }, 110], [{}, 900]] as const) {
      const { window_ms: took } = dataOf<{ window_ms: number }>(await call('get-instance-metrics', { id: 'made', ...args }))
      assert.ok(took >= atLeast, `${JSON.stringify(args)}: ${took}`)
    }
    for (const window of ['4h', '1ms', 'soon', 10, -1]) {
      const refused = await call('get-instance-metrics', { id: 'made', window })
      assert.equal(refused.isError, true, String(window))
      assert.match(textOf(refused), /window/)
    }
  })
})

describe('the wire', () => {
  const META = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} }
  const post = (method: string, params: Record<string, unknown> = {}, headers: Record<string, string> = {}) =>
    fetch(mcp.url, {
      method: 'POST',
      headers: { authorization: `Bearer ${mcp.key}`, accept: 'application/json, text/event-stream', 'content-type': 'application/json', 'mcp-protocol-version': '2026-07-28', 'mcp-method': method, ...headers },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params: { _meta: META, ...params } }),
    })
  type Reply = { result?: { ttlMs?: unknown; cacheScope?: unknown; resultType?: unknown; tools?: { name: string }[] }; error?: { code: number; data?: { supported?: readonly string[] } } }

  test('lists say whose they are, come in one order, and are not to be stored', async () => {
    for (const method of ['server/discover', 'tools/list', 'resources/list', 'resources/templates/list']) {
      const answer = await post(method)
      const { result } = (await answer.json()) as Reply
      assert.deepEqual([answer.status, answer.headers.get('cache-control'), result?.resultType, result?.cacheScope, typeof result?.ttlMs], [200, 'no-store, no-transform', 'complete', 'private', 'number'], method)
      if (result?.tools !== undefined) assert.deepEqual(result.tools.map(({ name }) => name), result.tools.map(({ name }) => name).toSorted())
    }
  })

  test('a stream is not held back on its way', async () => {
    const answer = await post('tools/call', { name: 'exec-command', arguments: { id: 'made', command: ['true'] } }, { 'mcp-name': 'exec-command' })
    assert.deepEqual(['content-type', 'cache-control', 'x-accel-buffering'].map(name => answer.headers.get(name)), ['text/event-stream', 'no-store, no-transform', 'no'])
    await answer.text()
  })

  for (const [what, method, params, headers, status, code] of [
    ['a method that nobody knows', 'tools/burn', {}, {}, 404, -32_601],
    ['a header that contradicts the body', 'tools/list', {}, { 'mcp-method': 'tools/call' }, 400, -32_020],
    ['a name that is not in the header', 'tools/call', { name: 'get-instance', arguments: {} }, {}, 400, -32_020],
    ['a revision that nobody knows', 'tools/list', { _meta: { ...META, 'io.modelcontextprotocol/protocolVersion': '1999-01-01' } }, { 'mcp-protocol-version': '1999-01-01' }, 400, -32_022],
    ['a client that does not say what it can', 'tools/list', { _meta: { 'io.modelcontextprotocol/protocolVersion': '2026-07-28' } }, {}, 400, -32_602],
    ['a cursor of nobody', 'resources/list', { cursor: 'made-up' }, {}, 200, -32_602],
    ['a resource that is not there', 'resources/read', { uri: 'instance://nobody' }, { 'mcp-name': 'instance://nobody' }, 200, -32_602],
    ['a tool that is not there', 'tools/call', { name: 'burn', arguments: {} }, { 'mcp-name': 'burn' }, 200, -32_602],
  ] as const) {
    test(`${what} is ${code}`, async () => {
      const answer = await post(method, params, headers)
      const { error } = (await answer.json()) as Reply
      assert.equal(error?.code, code)
      assert.equal(answer.status, status)
      if (code === -32_022) assert.deepEqual(error.data?.supported, ['2026-07-28'])
    })
  }
})

describe('docs/mcp-conformance.md', () => {
  test('names tests that there are, one for each rule', () => {
    const rules = checkedRules('mcp-conformance.md')
    for (let rule = 1; rule <= 14; rule += 1) assert.ok(rules.some(each => each === `S${rule}` || each.startsWith(`S${rule}.`)), `S${rule}`)
    assert.ok(rules.length > 50, `${rules.length} rules`)
  })
})
