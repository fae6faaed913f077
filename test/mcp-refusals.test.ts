/** What the MCP endpoint refuses, and how it says so: who may come, what may be asked, and what each key is shown. */
import assert from 'node:assert/strict'
import { request as httpRequest } from 'node:http'
import { after, before, describe, test } from 'node:test'
import type { Client } from '@modelcontextprotocol/client'
import { SCOPES } from '../src/instance/model.ts'
import type { Scope } from '../src/instance/model.ts'
import { EVERYTHING } from '../src/mcp/mode.ts'
import { CALLS_LIMIT } from '../src/mcp/tool.ts'
import { eventually, SMALL } from './engine-fixture.ts'
import { connect, dataOf, ERAS, mcpFixture, textOf, TOOLS } from './support/mcp.ts'
import type { McpFixture } from './support/mcp.ts'

const PING = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-11-25', capabilities: {}, clientInfo: { name: 't', version: '1' } } })
const META = { 'io.modelcontextprotocol/protocolVersion': '2026-07-28', 'io.modelcontextprotocol/clientCapabilities': {} }

let mcp: McpFixture
let box: string
before(async () => {
  mcp = await mcpFixture()
  const { id } = await mcp.fixture.engine.instances.create(mcp.fixture.caller, { ...SMALL, name: 'box' })
  box = id
  await mcp.fixture.engine.instances.wait(mcp.fixture.caller, id, { until: ['running'], timeoutMs: 20_000 })
})
after(() => mcp.close())

interface Raw {
  readonly status: number
  readonly headers: Readonly<Record<string, string | string[] | undefined>>
  readonly body: string
}

/** A request with whatever headers, `Host` among them. */
async function send(method: string, headers: Readonly<Record<string, string>>, body: string = PING, path = '/mcp'): Promise<Raw> {
  const url = new URL(mcp.url)
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      { host: url.hostname, port: url.port, path, method, headers: { accept: 'application/json, text/event-stream', 'content-type': 'application/json', ...headers } },
      answer => {
        let text = ''
        answer.setEncoding('utf8').on('data', (chunk: string) => (text += chunk))
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, headers: answer.headers, body: text }))
      },
    )
    outgoing.on('error', reject)
    outgoing.end(method === 'POST' ? body : undefined)
  })
}

const key = () => ({ authorization: `Bearer ${mcp.key}` })

describe('who may come', () => {
  for (const [name, headers, status] of [
    ['a name that was rebound to this machine', { host: 'evil.example' }, 403],
    ['no page of another site', { origin: 'https://evil.example' }, 403],
    ['no page without an origin of its own', { origin: 'null' }, 403],
    ['nothing that calls itself local and is not', { origin: 'http://127.0.0.1.evil.example' }, 403],
    ['a page of this machine', { origin: 'http://localhost:5173' }, 200],
    ['a client without an origin', {}, 200],
    ['this machine by name', { host: 'localhost:9090' }, 200],
  ] as const) {
    test(`${status === 200 ? 'may' : 'may not'}: ${name}`, async () => {
      assert.equal((await send('POST', { ...key(), ...headers })).status, status)
    })
  }

  test('whoever has no key is told what to bring, and a wrong key is called so', async () => {
    const none = await send('POST', {})
    assert.deepEqual([none.status, none.headers['www-authenticate']], [401, 'Bearer realm="berth"'])
    const wrong = await send('POST', { authorization: `Bearer ${'x'.repeat(64)}` })
    assert.deepEqual([wrong.status, wrong.headers['www-authenticate']], [401, 'Bearer realm="berth", error="invalid_token"'])
    assert.match(wrong.body, /API key/)
    assert.equal((await send('POST', { authorization: `Basic ${mcp.key}` })).status, 401)
    assert.equal((await send('POST', {}, PING, `/mcp?access_token=${mcp.key}`)).status, 401)
  })

  test('a session is of the key it was opened with', async () => {
    const opened = await send('POST', key())
    const session = String(opened.headers['mcp-session-id'])
    const list = JSON.stringify({ jsonrpc: '2.0', id: 2, method: 'tools/list' })
    assert.equal((await send('POST', { ...key(), 'mcp-session-id': session }, list)).status, 200)
    const other = await mcp.keyWith(['read'])
    assert.equal((await send('POST', { authorization: `Bearer ${other}`, 'mcp-session-id': session }, list)).status, 404)
    assert.equal((await send('POST', { ...key(), 'mcp-session-id': 'made-up' }, list)).status, 404)
    assert.equal((await send('DELETE', { ...key(), 'mcp-session-id': session })).status, 200)
    assert.equal((await send('POST', { ...key(), 'mcp-session-id': session }, list)).status, 404)
  })
})

describe('what is no MCP', () => {
  for (const [name, method, headers, body, path, status] of [
    ['another path', 'POST', {}, PING, '/', 404],
    ['GET without a session', 'GET', {}, '', '/mcp', 405],
    ['DELETE without a session', 'DELETE', {}, '', '/mcp', 405],
    ['bytes that are no JSON', 'POST', {}, '{"jsonrpc"', '/mcp', 400],
    ['another content type', 'POST', { 'content-type': 'text/plain' }, PING, '/mcp', 415],
    ['a body past the limit', 'POST', {}, JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'ping', params: { pad: 'x'.repeat(5_000_000) } }), '/mcp', 413],
    ['a request before initialize', 'POST', {}, '{"jsonrpc":"2.0","id":1,"method":"tools/list"}', '/mcp', 400],
    ['a toolset that is none', 'POST', { 'berth-mcp-toolsets': 'shell' }, PING, '/mcp', 400],
    ['a revision that nobody knows', 'POST', { 'mcp-protocol-version': '1999-01-01', 'mcp-method': 'tools/list' }, JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta: { ...META, 'io.modelcontextprotocol/protocolVersion': '1999-01-01' } } }), '/mcp', 400],
    ['a header that contradicts the body', 'POST', { 'mcp-protocol-version': '2026-07-28', 'mcp-method': 'tools/call' }, JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'tools/list', params: { _meta: META } }), '/mcp', 400],
  ] as const) {
    test(`${name}: ${status}`, async () => {
      const answer = await send(method, { ...key(), ...headers }, body, path)
      assert.equal(answer.status, status, answer.body)
      assert.equal(answer.headers['x-powered-by'], undefined)
      assert.match(answer.body, /"error"/)
    })
  }
})

for (const era of ERAS) {
  describe(`bad input of a client of ${era}`, () => {
    let client: Client
    before(async () => {
      client = await connect(mcp.url, era, mcp.key)
    })
    after(() => client.close())

    for (const [name, tool, args, expected] of [
      ['an argument that is missing', 'exec-command', { id: 'box' }, /command/],
      ['an argument nobody knows', 'get-instance', { id: 'box', colour: 'red' }, /colour/],
      ['an argument of another type', 'exec-command', { id: 'box', command: 'ls -la' }, /command/],
      ['a number past its limit', 'exec-command', { id: 'box', command: ['ls'], timeout_ms: 10_000_000 }, /timeout_ms/],
      ['an id that is a path', 'get-instance', { id: '../../etc' }, /id/],
      ['a status that is none', 'list-instances', { statuses: ['RUNNING'] }, /statuses/],
      ['an instance that is not there', 'get-instance', { id: 'nobody' }, /^not_found: There is no instance "nobody"/],
      ['an empty program', 'exec-command', { id: 'box', command: [''] }, /^invalid_request: /],
      ['a program that is not there', 'exec-command', { id: 'box', command: ['no-such-program'] }, /^command_not_found: /],
      ['stdin that is not what it says', 'exec-command', { id: 'box', command: ['cat'], stdin: '%%%', stdin_encoding: 'base64' }, /^invalid_request: stdin is not base64/],
      ['a file that is not there', 'read-file', { id: 'box', path: '/no/such' }, /^guest_path: /],
      ['a path that is not absolute', 'read-file', { id: 'box', path: 'etc/passwd' }, /absolute/],
      ['a directory as a file', 'read-file', { id: 'box', path: '/' }, /^guest_path: .* is no file: list-files/],
      ['a type that is not in the catalogue', 'create-instance', { image: 'localhost/busybox', type: 'huge' }, /^invalid_request: There is no instance type "huge"/],
      ['GPUs that no host has', 'create-instance', { image: 'localhost/busybox', type: 'h100-8' }, /^insufficient_resources: /],
      ['a region that only pretends, without a type', 'create-instance', { image: 'localhost/busybox', region: 'simulated' }, /^invalid_request: .*give one/],
      ['a name that is taken', 'create-instance', { image: 'localhost/busybox', name: 'box' }, /^name_conflict: /],
      ['a name that can be none', 'create-instance', { image: 'localhost/busybox', name: 'No Good' }, /^invalid_name: /],
      ['an image that can be none', 'create-instance', { image: 'NOT AN IMAGE' }, /^invalid_image_name: /],
      ['a start of what starts no more', 'restart-instance', { id: 'nobody' }, /^not_found: /],
      ['a volume that is not there', 'create-instance', { image: 'localhost/busybox', volumes: [{ volume: 'none', path: '/data' }] }, /^volume_not_found: /],
    ] as const) {
      test(`${name} is a result that says so`, async () => {
        const result = await client.callTool({ name: tool, arguments: args })
        assert.equal(result.isError, true)
        assert.match(textOf(result), expected)
      })
    }

    test('an unknown tool is an error of the protocol', async () => {
      await assert.rejects(client.callTool({ name: 'format-disk', arguments: {} }), (error: Error & { code?: number }) => error.code === -32_602)
    })

    test('another project’s instance is not there, by id or by name, as a tool or as a resource', async () => {
      const stranger = await connect(mcp.url, era, await mcp.keyWith(['read', 'write', 'exec'], `other-${era}`))
      for (const id of [box, 'box']) {
        for (const tool of ['get-instance', 'stop-instance', 'delete-instance', 'get-instance-logs', 'list-files', 'suspend-instance']) {
          const result = await stranger.callTool({ name: tool, arguments: { id, ...(tool === 'list-files' ? { path: '/' } : {}) } })
          assert.match(textOf(result), /^not_found: /, tool)
        }
        assert.match(textOf(await stranger.callTool({ name: 'exec-command', arguments: { id, command: ['true'] } })), /^not_found: /)
        await assert.rejects(stranger.readResource({ uri: `instance://${id}` }), /There is no instance/)
      }
      assert.equal(dataOf<{ count: number }>(await stranger.callTool({ name: 'list-instances', arguments: {} })).count, 0)
      assert.match(textOf(await stranger.callTool({ name: 'list-instance-events', arguments: { instance_ids: [box] } })), /^not_found: /)
      await stranger.close()
    })

    test('the error stands as data beside its sentence', async () => {
      const result = await client.callTool({ name: 'get-instance', arguments: { id: 'nobody' } })
      assert.deepEqual(result._meta?.['berth/error'], { code: 'not_found', message: 'There is no instance "nobody" in this project; list-instances tells which there are.', retry: false, details: {} })
    })
  })
}

describe('what each key is shown', () => {
  const shown = async (secret: string, headers: Readonly<Record<string, string>> = {}, era: (typeof ERAS)[number] = '2026-07-28') => {
    const client = await connect(mcp.url, era, secret, { headers })
    const { tools } = await client.listTools()
    await client.close()
    return tools.map(({ name }) => name)
  }
  const READ = [
    'get-instance',
    'get-instance-logs',
    'get-instance-metrics',
    'list-file-systems',
    'list-firewalls',
    'list-images',
    'list-instance-events',
    'list-instance-types',
    'list-instances',
    'list-regions',
    'list-secrets',
    'list-snapshots',
    'wait-for-instance',
  ]
  const EXEC = ['edit-file', 'exec-command', 'get-command', 'list-files', 'read-file', 'start-command', 'stop-command', 'write-file']

  for (const era of ERAS) {
    test(`tools follow the scopes of the key (${era})`, async () => {
      assert.deepEqual(await shown(await mcp.keyWith(['read']), {}, era), READ)
      assert.deepEqual(await shown(await mcp.keyWith(['exec']), {}, era), EXEC)
      assert.equal((await shown(mcp.key, {}, era)).length, TOOLS.length)
    })

    test(`a tool that the key may not use is not there (${era})`, async () => {
      const client = await connect(mcp.url, era, await mcp.keyWith(['read']))
      await assert.rejects(client.callTool({ name: 'exec-command', arguments: { id: 'box', command: ['true'] } }), /exec-command/)
      await client.close()
    })
  }

  test('a key for commands alone runs them, and wakes whom it needs', async () => {
    const client = await connect(mcp.url, '2026-07-28', await mcp.keyWith(['exec']))
    const said = await client.callTool({ name: 'exec-command', arguments: { id: 'box', command: ['echo', 'hi'] } })
    assert.equal(dataOf<{ stdout: string }>(said).stdout, 'hi\n')
    await client.close()
  })

  test('a client may ask to be shown less', async () => {
    assert.deepEqual(await shown(mcp.key, { 'berth-mcp-read-only': 'true' }), [...READ, 'get-command', 'list-files', 'read-file'].toSorted())
    assert.ok(!(await shown(mcp.key, { 'berth-mcp-no-exec': '1' })).some(name => EXEC.includes(name)))
    assert.deepEqual(await shown(mcp.key, { 'berth-mcp-toolsets': 'exec' }), ['exec-command', 'get-command', 'start-command', 'stop-command'])
  })

  test('a server that offers less offers it to no one', async () => {
    const strict = await mcpFixture({ mode: { ...EVERYTHING, readOnly: true, noExec: true } })
    try {
      const client = await connect(strict.url, '2026-07-28', await strict.keyWith(SCOPES as readonly Scope[]), { headers: { 'berth-mcp-read-only': 'false' } })
      const { tools } = await client.listTools()
      assert.deepEqual(tools.map(({ name }) => name), READ)
      await assert.rejects(client.callTool({ name: 'write-file', arguments: {} }), /write-file/)
      await client.close()
    } finally {
      await strict.close()
    }
  })
})

test('calls past the limit of a project are refused, and those of another are not held up', async () => {
  const client = await connect(mcp.url, '2026-07-28', mcp.key)
  const other = await connect(mcp.url, '2026-07-28', await mcp.keyWith(['read', 'write'], 'busy'))
  const { id } = await mcp.fixture.engine.instances.create(mcp.fixture.caller, { ...SMALL, name: 'waited-for' })
  const cancel = new AbortController()
  const waits = Array.from({ length: CALLS_LIMIT }, () => client.callTool({ name: 'wait-for-instance', arguments: { id, status: 'SLEEPING' } }, { signal: cancel.signal }))
  const ended = Promise.allSettled(waits)
  await eventually(async () => textOf(await client.callTool({ name: 'get-instance', arguments: { id } })).startsWith('rate_limited: '), 'a refusal')
  assert.equal(dataOf<{ count: number }>(await other.callTool({ name: 'list-instances', arguments: {} })).count, 0)
  cancel.abort()
  await ended
  await eventually(async () => (await client.callTool({ name: 'get-instance', arguments: { id } })).isError !== true, 'room again')
  await Promise.all([client.close(), other.close()])
})

test('the audit tells who ran what and how it ended, and never what a command was fed or a key', async () => {
  const client = await connect(mcp.url, '2025', mcp.key)
  const args = { id: 'box', command: ['cat', '-'], stdin: 'very-secret-input', env: { TOKEN: 'very-secret-variable' } }
  await client.callTool({ name: 'exec-command', arguments: args })
  await client.callTool({ name: 'exec-command', arguments: { ...args, command: ['no-such-program'] } })
  await client.close()
  const lines = mcp.audit.filter(line => line['tool'] === 'exec-command').slice(-2)
  assert.deepEqual(
    lines.map(({ instance, argv, outcome, exitCode }) => ({ instance, argv, outcome, exitCode })),
    [
      { instance: box, argv: ['cat', '-'], outcome: 'ok', exitCode: 0 },
      { instance: box, argv: ['no-such-program'], outcome: 'command_not_found', exitCode: undefined },
    ],
  )
  assert.ok(lines.every(line => typeof line['key'] === 'string' && typeof line['durationMs'] === 'number'))
  const all = JSON.stringify(mcp.audit)
  assert.ok(!all.includes('very-secret') && !all.includes(mcp.key))
})
