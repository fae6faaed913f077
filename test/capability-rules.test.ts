/** The rules S1 to S14 of what a capability document means, each against an upstream that writes down what it is asked. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { after, afterEach, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { parseCapability } from '../src/capability/document.ts'
import { serveCapability } from '../src/capability/serve.ts'
import { runDocument } from './support/capability.ts'
import type { RunningTest } from './support/capability.ts'
import { base64, startUpstream } from './support/recording-upstream.ts'
import type { Recorded, RecordingUpstream } from './support/recording-upstream.ts'

const TOKEN = 'a-token-of-the-capability'
/** A document of the catalogue's kind: references by `rest.` and `tools.`, no inputs, a key that nothing names. */
const CATALOGUE = `
naftiko: 1.0.0-alpha2
info: { label: Things, description: Things }
binds:
  - namespace: env
    keys: { THINGS_KEY: THINGS_KEY }
capability:
  consumes:
    - type: http
      namespace: things
      baseUri: http://things.invalid
      resources:
        - name: some_things
          path: /things
          operations:
            - name: list
              method: GET
              inputParameters:
                - { name: kinds, in: query, type: array, description: Kinds }
                - { name: body.size, in: query, type: integer, description: Size }
                - { name: open, in: query, type: boolean }
                - { name: limit, in: query, type: string }
        - name: thing
          path: /things/{id}
          operations:
            - name: get
              method: GET
              inputParameters:
                - { name: id, in: path, type: string, description: The id, required: true }
        - name: thing-mustache
          path: /things/{{id}}/parts/{part}
          operations:
            - name: part
              method: GET
        - name: exec
          path: /v1/streams/instances/exec
          operations:
            - name: exec
              method: GET
              inputParameters: [{ name: id, in: query, type: string }, { name: body.command, in: query, type: array }]
  exposes:
    - type: rest
      namespace: things-rest
      port: 18081
      description: Things
      resources:
        - path: /v1/v1/things
          operations:
            - name: list
              method: GET
              call: things.list
              with: { kinds: rest.kinds, body.size: rest.body.size, open: things-rest.open, limit: 7 }
              outputParameters: [{ type: object, mapping: $. }]
        - path: /v1/v1/things/{id}
          operations:
            - name: get
              method: GET
              call: things.get
              with: { id: rest.id }
              outputParameters: [{ type: object, mapping: $. }]
        - path: /v1/v1/things/{{id}}/parts/{part}
          operations:
            - name: part
              method: GET
              call: things.part
        - path: /v1/v1/exec
          operations:
            - name: exec
              method: GET
              call: things.exec
              with: { id: rest.id, body.command: rest.body.command }
    - type: mcp
      namespace: things-mcp
      port: 19091
      tools:
        - name: list-things
          description: Things
          call: things.list
          with: { kinds: tools.kinds, body.size: tools.body.size, open: tools.open, limit: literal }
          outputParameters: [{ type: object, mapping: $. }]
        - name: get-thing
          description: A thing
          call: things.get
          with: { id: tools.id }
        - name: exec
          description: Runs
          hints: { readOnly: true, destructive: false, idempotent: true }
          call: things.exec
          with: { id: tools.id, body.command: tools.body.command }
`

let upstream: RecordingUpstream
let running: RunningTest
let client: Client

before(async () => {
  upstream = await startUpstream()
  running = await runDocument(CATALOGUE, upstream.url, { env: { THINGS_KEY: TOKEN }, timeouts: { connectMs: 500, totalMs: 1500 } })
  client = new Client({ name: 'test', version: '1' })
  await client.connect(new StreamableHTTPClientTransport(new URL(running.mcp)))
  reset()
})
after(async () => {
  await client.close()
  await running[Symbol.asyncDispose]()
  await upstream[Symbol.asyncDispose]()
})
afterEach(reset)

function reset(): void {
  upstream.answer = (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"ok":true,"deep":{"list":[1,2]}}')
  upstream.exec = null
  upstream.requests.length = 0
  upstream.execs.length = 0
}

function replyWith(status: number, body: string, headers: Record<string, string> = { 'content-type': 'application/json' }): void {
  upstream.answer = (_, response) => void response.writeHead(status, headers).end(body)
}

const asked = (): Recorded => {
  const last = upstream.requests.at(-1)
  assert.ok(last !== undefined, 'nothing was asked upstream')
  return last
}
const call = (name: string, args: Record<string, unknown>) => client.callTool({ name, arguments: args })
const errorOf = (result: { structuredContent?: unknown }) => (result.structuredContent as { error: { code: string; status: number; message: string } }).error

describe('S1: references of with', () => {
  test('rest., tools. and the namespace mean inputs, numbers are themselves, anything else is literal, what is absent is left out', async () => {
    await running.get('/v1/v1/things?kinds=a&body.size=3&open=true')
    assert.equal(String(asked().query), 'kinds=a&body.size=3&open=true&limit=7')
    await running.get('/v1/v1/things')
    assert.equal(String(asked().query), 'limit=7')
    await call('list-things', { kinds: ['a'] })
    assert.equal(String(asked().query), 'kinds=a&limit=literal')
  })
  test('a dotted name is a key first and a walk second', async () => {
    await call('list-things', { 'body.size': 4 })
    assert.equal(asked().query.get('body.size'), '4')
    await call('exec', { id: 'i', body: { command: ['ls'] } })
    const [first] = upstream.execs[0]?.frames ?? []
    assert.deepEqual((first as { body: { command: unknown } }).body.command, ['ls'])
  })
})

test('S2: units without inputs take those of what they call, with name, type, description and requiredness', async () => {
  const { tools } = await client.listTools()
  assert.deepEqual(tools.find((each) => each.name === 'get-thing')?.inputSchema, {
    type: 'object',
    properties: { id: { type: 'string', description: 'The id' } },
    required: ['id'],
    additionalProperties: false,
  })
  const schema = tools.find((each) => each.name === 'list-things')?.inputSchema
  assert.deepEqual(schema?.properties, { kinds: { type: 'array', description: 'Kinds', items: {} }, 'body.size': { type: 'integer', description: 'Size' }, open: { type: 'boolean' } })
  assert.equal((await running.get('/v1/v1/things/t-1')).status, 200)
  assert.equal(asked().path, '/things/t-1')
})

describe('S3: templates of paths', () => {
  test('both forms are filled in, one percent-encoded segment each', async () => {
    await running.get('/v1/v1/things/a%20b%3Fx%3D1/parts/..%2F..%2Fadmin')
    assert.equal(asked().path, '/things/a%20b%3Fx%3D1/parts/..%2F..%2Fadmin')
    assert.equal(String(asked().query), '')
  })
  for (const id of ['', '.', '..']) {
    test(`the id "${id}" is refused`, async () => {
      const result = await call('get-thing', { id })
      assert.equal(result.isError, true)
      assert.equal(errorOf(result).code, 'invalid_argument')
      assert.equal(upstream.requests.length, 0)
    })
  }
})

test('S4: lists repeat their key, inbound and outbound, and a comma is a comma', async () => {
  await running.get('/v1/v1/things?kinds=a&kinds=b%2Cc')
  assert.deepEqual(asked().query.getAll('kinds'), ['a', 'b,c'])
  await call('list-things', { kinds: ['x', 'y,z'] })
  assert.deepEqual(asked().query.getAll('kinds'), ['x', 'y,z'])
})

describe('S5: types', () => {
  test('REST makes texts into their types, or answers 400', async () => {
    for (const query of ['body.size=many', 'body.size=1.5', 'open=yes']) {
      const answer = await running.get(`/v1/v1/things?${query}`)
      assert.equal(answer.status, 400, query)
      assert.deepEqual(((await answer.json()) as { fields: { field: string }[] }).fields.map((each) => each.field), [query.split('=')[0]])
    }
    assert.equal(upstream.requests.length, 0)
  })
  test('MCP answers wrong types as a result with isError', async () => {
    const result = await call('list-things', { kinds: 'a', open: 'true' })
    assert.equal(result.isError, true)
    assert.match(JSON.stringify(result.content), /kinds: must be a list\. open: must be true or false\./)
    assert.equal(upstream.requests.length, 0)
  })
})

test('S6: what is required and missing is a 400 with its field, or isError, and no call goes upstream', async () => {
  const answer = await running.get('/v1/v1/exec')
  assert.equal(answer.status, 400)
  assert.deepEqual(await answer.json(), {
    status: 400,
    code: 'invalid_argument',
    message: 'id: is required. command: is required.',
    fields: [
      { field: 'id', description: 'is required.' },
      { field: 'command', description: 'is required.' },
    ],
  })
  assert.equal((await call('get-thing', {})).isError, true)
  assert.equal(upstream.requests.length + upstream.execs.length, 0)
})

test('S7: unknown keys of a query are ignored, unknown arguments of a tool are an error', async () => {
  assert.equal((await running.get('/v1/v1/things?nonsense=1')).status, 200)
  assert.equal(asked().query.has('nonsense'), false)
  upstream.requests.length = 0
  const result = await call('list-things', { nonsense: 1 })
  assert.equal(result.isError, true)
  assert.match(JSON.stringify(result.content), /nonsense: is not an argument/)
  assert.equal(upstream.requests.length, 0)
})

describe('S8: variables', () => {
  test('one that is missing is named, its value never, and nothing listens', async () => {
    const { capability } = await parseCapability(CATALOGUE, '.')
    assert.ok(capability !== null)
    const free = await freePort()
    const options = { directory: '.', env: {}, binds: {}, baseUri: null, restPort: free, mcpPort: 0, writeLog: () => undefined }
    await assert.rejects(serveCapability(capability, options), /The variable THINGS_KEY is not set/)
    await assert.rejects(fetch(`http://127.0.0.1:${free}/`))
  })
  test('the one that nothing names is the bearer token, and the lint says so', async () => {
    await running.get('/v1/v1/things')
    assert.equal(asked().headers.authorization, `Bearer ${TOKEN}`)
    assert.match(running.document.findings.find((each) => each.rule === 'unused-bind')?.message ?? '', /THINGS_KEY.*bearer token/)
  })
  test('its value is in no log, error or answer, even where the upstream repeats it', async () => {
    replyWith(500, JSON.stringify({ message: `bad token ${TOKEN}` }))
    const rest = await (await running.get(`/v1/v1/things?limit=${TOKEN}`)).text()
    const tool = JSON.stringify(await call('get-thing', { id: 'x' }))
    replyWith(200, JSON.stringify({ echo: { [TOKEN]: `Bearer ${TOKEN}`, b64: base64(`user:${TOKEN}`) } }))
    const echoed = await (await running.get('/v1/v1/things')).text()
    upstream.exec = () => [{ error: { code: 13, message: `no ${TOKEN}` } }]
    const exec = await (await running.get('/v1/v1/exec?id=i&body.command=env')).text()
    for (const text of [rest, tool, echoed, exec, ...running.log]) assert.ok(!text.includes(TOKEN), text)
    assert.match(rest, /bad token \*\*\*/)
    assert.match(exec, /no \*\*\*/)
    assert.ok(!echoed.includes(base64(TOKEN).slice(4, 20)))
  })
})

test('S8: a short value is in no error and no log, and stays in data', async () => {
  await using own = await runDocument(CATALOGUE, upstream.url, { env: { THINGS_KEY: 'k3y' } })
  replyWith(404, '{"code":"not_found","message":"nothing for k3y"}')
  assert.deepEqual(await (await own.get('/v1/v1/things')).json(), { code: 'not_found', message: 'nothing for ***' })
  assert.match(await (await own.get('/v1/k3y')).text(), /There is nothing at \/v1\/\*\*\*/)
  upstream.exec = () => [{ error: { code: 13, message: 'no k3y' } }]
  assert.match(await (await own.get('/v1/v1/exec?id=k3y&body.command=ls')).text(), /no \*\*\*/)
  assert.ok(!own.log.some((line) => line.includes('k3y')), own.log.join(''))
  replyWith(200, '{"monk3ys":"k3y"}')
  assert.deepEqual(await (await own.get('/v1/v1/things')).json(), { monk3ys: 'k3y' })
})

test('S9: an object mapped from $. is the whole document', async () => {
  assert.deepEqual(await (await running.get('/v1/v1/things')).json(), { ok: true, deep: { list: [1, 2] } })
})

describe('S10: errors of the upstream', () => {
  test('a JSON error is mirrored, over MCP as isError with the same document', async () => {
    replyWith(404, '{"status":404,"code":"not_found","message":"No such thing"}')
    const answer = await running.get('/v1/v1/things/x')
    assert.equal(answer.status, 404)
    assert.deepEqual(await answer.json(), { status: 404, code: 'not_found', message: 'No such thing' })
    const result = await call('get-thing', { id: 'x' })
    assert.equal(result.isError, true)
    assert.equal(errorOf(result).message, 'No such thing')
  })
  for (const status of [401, 403]) {
    test(`a ${status} to our own key is a 502 upstream_auth`, async () => {
      replyWith(status, '{}')
      const answer = await running.get('/v1/v1/things')
      assert.equal(answer.status, 502)
      assert.equal(((await answer.json()) as { code: string }).code, 'upstream_auth')
    })
  }
  test('an error that is not JSON is wrapped', async () => {
    replyWith(503, '<html><b>Down</b> for now</html>', { 'content-type': 'text/html' })
    const answer = await running.get('/v1/v1/things')
    assert.equal(answer.status, 503)
    const body = (await answer.json()) as { code: string; message: string }
    assert.equal(body.code, 'upstream_error')
    assert.match(body.message, /503: Down for now$/)
  })
  test('an answer that is not what its format says is a 502', async () => {
    replyWith(200, 'not json')
    assert.equal((await running.get('/v1/v1/things')).status, 502)
  })
  test('an exec that is refused says why', async () => {
    upstream.exec = () => [{ error: { code: 9, message: 'failed_precondition', details: [{ message: 'Instance is not running' }] } }]
    const answer = await running.get('/v1/v1/exec?id=i&body.command=ls')
    assert.equal(answer.status, 409)
    assert.match(((await answer.json()) as { message: string }).message, /Instance is not running/)
    const result = await call('exec', { id: 'i', command: ['ls'] })
    assert.equal(result.isError, true)
    assert.equal(errorOf(result).code, 'invalid_state')
  })
})

describe('S11: networks', () => {
  test('an upstream that is not there is a 502 upstream_unreachable', async () => {
    const port = await freePort()
    await using nowhere = await runDocument(CATALOGUE, `http://127.0.0.1:${port}`, { env: { THINGS_KEY: TOKEN } })
    const answer = await nowhere.get('/v1/v1/things')
    assert.equal(answer.status, 502)
    assert.equal(((await answer.json()) as { code: string }).code, 'upstream_unreachable')
    const exec = await nowhere.get('/v1/v1/exec?id=i&body.command=ls')
    assert.equal(exec.status, 502)
  })
  test('an upstream that does not answer is a 504 upstream_timeout, asked once', async () => {
    upstream.answer = () => undefined
    const answer = await running.get('/v1/v1/things')
    assert.equal(answer.status, 504)
    assert.equal(((await answer.json()) as { code: string }).code, 'upstream_timeout')
    assert.equal(upstream.requests.length, 1)
  })
  test('a GET that could not connect is tried once more; one that was sent is not', async () => {
    let connections = 0
    const flaky = createServer((socket) => {
      connections += 1
      socket.on('error', () => undefined)
      // Over https this is in the middle of the handshake, over http after the request.
      socket.once('data', () => socket.destroy())
    })
    await new Promise<void>((resolve) => flaky.listen(0, '127.0.0.1', resolve))
    const { port } = flaky.address() as AddressInfo
    try {
      for (const [scheme, wanted] of [['https', 2], ['http', 1]] as const) {
        connections = 0
        await using broken = await runDocument(CATALOGUE, `${scheme}://127.0.0.1:${port}`, { env: { THINGS_KEY: TOKEN } })
        assert.equal((await broken.get('/v1/v1/things')).status, 502)
        assert.equal(connections, wanted, scheme)
      }
    } finally {
      await new Promise((resolve) => flaky.close(resolve))
    }
  })
  test('an exec past its time is ended, with what it wrote', async () => {
    upstream.exec = () => null
    const began = Date.now()
    const pending = running.get('/v1/v1/exec', { method: 'POST', body: JSON.stringify({ id: 'i', command: ['sleep', '60'], timeout_ms: 300 }) })
    const answer = await pending
    assert.equal(answer.status, 200)
    const body = (await answer.json()) as { timed_out: boolean; exit_code: null }
    assert.equal(body.timed_out, true)
    assert.equal(body.exit_code, null)
    assert.ok(Date.now() - began >= 300)
    assert.equal(await upstream.execs[0]?.closed, 1000)
  })
  test('a caller that goes away ends its exec', async () => {
    upstream.exec = () => null
    const abort = new AbortController()
    const pending = running.get('/v1/v1/exec?id=i&body.command=sleep', { signal: abort.signal })
    while (upstream.execs[0]?.frames.length !== 2) await new Promise((resolve) => setTimeout(resolve, 10))
    abort.abort()
    await assert.rejects(pending)
    assert.equal(typeof (await upstream.execs[0]?.closed), 'number')
  })
})

describe('S12: the REST surface', () => {
  test('a wrong method is a 405 with Allow, an unknown path a 404, both in JSON', async () => {
    const wrong = await running.get('/v1/v1/things', { method: 'DELETE' })
    assert.equal(wrong.status, 405)
    assert.equal(wrong.headers.get('allow'), 'GET, HEAD')
    assert.equal(((await wrong.json()) as { code: string }).code, 'method_not_allowed')
    assert.equal((await running.get('/v1/v1/exec', { method: 'DELETE' })).headers.get('allow'), 'GET, POST')
    const unknown = await running.get('/nowhere')
    assert.equal(unknown.status, 404)
    assert.equal(((await unknown.json()) as { code: string }).code, 'not_found')
  })
  test('nothing is to be stored', async () => {
    for (const path of ['/v1/v1/things', '/nowhere', '/v1/v1/exec']) assert.equal((await running.get(path)).headers.get('cache-control'), 'no-store')
  })
  test('the published paths stay, and have an alias without the doubled version', async () => {
    for (const path of ['/v1/v1/things/t', '/v1/things/t']) {
      assert.equal((await running.get(path)).status, 200)
      assert.equal(asked().path, '/things/t')
    }
  })
  test('pages of other origins, rebound names, links and prefetches are refused', async () => {
    assert.equal((await running.get('/v1/v1/things', { headers: { origin: 'http://evil.example' } })).status, 403)
    for (const headers of [{ 'sec-fetch-site': 'cross-site' }, { 'sec-purpose': 'prefetch' }] as Record<string, string>[]) {
      assert.equal((await running.get('/v1/v1/exec?id=i&body.command=ls', { headers })).status, 403)
    }
    assert.equal(upstream.execs.length, 0)
    const { request } = await import('node:http')
    for (const target of [running.rest + '/v1/v1/things', running.mcp]) {
      const status = await new Promise((resolve) => request(target, { headers: { host: 'evil.example' } }, (response) => resolve(response.resume().statusCode)).end())
      assert.equal(status, 403)
    }
  })
})

describe('S13: limits and headers', () => {
  test('an answer past 10 MiB is cut off, one of 10 MiB is not', async () => {
    const body = (bytes: number): string => `"${'x'.repeat(bytes - 2)}"`
    replyWith(200, body(10 * 1024 * 1024))
    assert.equal((await running.get('/v1/v1/things/x/parts/y')).status, 200)
    replyWith(200, body(10 * 1024 * 1024 + 1))
    const answer = await running.get('/v1/v1/things/x/parts/y')
    assert.equal(answer.status, 502)
    assert.equal(((await answer.json()) as { code: string }).code, 'upstream_too_large')
  })
  test('Accept is JSON; the credentials, cookies and hop-by-hop headers of callers go no further', async () => {
    await running.get('/v1/v1/things', { headers: { authorization: 'Bearer of-the-caller', cookie: 'a=b', te: 'trailers', 'x-other': '1' } })
    const { headers } = asked()
    assert.equal(headers.accept, 'application/json')
    assert.equal(headers.authorization, `Bearer ${TOKEN}`)
    for (const name of ['cookie', 'te', 'x-other']) assert.equal(headers[name], undefined, name)
  })
  test('redirects are not followed', async () => {
    replyWith(302, '', { location: 'http://evil.example/' })
    const answer = await running.get('/v1/v1/things')
    assert.equal(answer.status, 502)
    assert.equal(upstream.requests.length, 1)
  })
  test('output of an exec is kept up to its limit, and what is no text is base64', async () => {
    const out = (data: string): unknown => ({ result: { stdout: { data }, stderr: null, exited: false, exit_code: 0 } })
    const exited = { result: { stdout: null, stderr: null, exited: true, exit_code: 0 } }
    upstream.exec = () => [out(base64('äääää')), exited]
    const cut = await call('exec', { id: 'i', command: ['x'], max_output_bytes: 5 })
    const { stdout, truncated } = cut.structuredContent as { stdout: string; truncated: { stdout: boolean } }
    assert.equal(stdout, 'ää')
    assert.equal(truncated.stdout, true)
    upstream.exec = () => [out(Buffer.from([0xff, 0xfe, 0]).toString('base64')), exited]
    const binary = (await call('exec', { id: 'i', command: ['x'] })).structuredContent as { stdout: string; encoding: string }
    assert.equal(binary.encoding, 'base64')
    assert.equal(binary.stdout, '//4A')
  })
})

describe('exec over MCP', () => {
  const result = (stdout: string | null, exited = false): unknown => ({ result: { stdout: stdout === null ? null : { data: base64(stdout) }, stderr: null, exited, exit_code: 0 } })
  test('whoever asks for progress is told bytes and the last line, without control characters', async () => {
    upstream.exec = () => [result('one\ntwo\u001b[31m\n'), result(null, true)]
    const told: { progress: number; message?: string | undefined }[] = []
    await client.callTool({ name: 'exec', arguments: { id: 'i', command: ['x'] } }, { onprogress: (each) => void told.push(each) })
    assert.deepEqual(told.map(({ progress, message }) => ({ progress, message })), [{ progress: 13, message: 'two [31m' }])
  })
  test('a modern caller that cancels ends the command', async () => {
    upstream.exec = () => null
    const modern = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: { pin: '2026-07-28' } } })
    await modern.connect(new StreamableHTTPClientTransport(new URL(running.mcp)))
    try {
      const abort = new AbortController()
      const pending = modern.callTool({ name: 'exec', arguments: { id: 'i', command: ['sleep', '60'] } }, { signal: abort.signal })
      pending.catch(() => undefined)
      while (upstream.execs[0]?.frames.length !== 2) await new Promise((resolve) => setTimeout(resolve, 10))
      abort.abort()
      await assert.rejects(pending)
      assert.equal(typeof (await upstream.execs[0]?.closed), 'number')
    } finally {
      await modern.close()
    }
  })
  test('stdin goes as base64 frames, a terminal as its size', async () => {
    const answer = await call('exec', { id: 'i', command: ['cat'], stdin: 'x'.repeat(40_000), tty: true, tty_size: { height: 10, width: 20 } })
    assert.notEqual(answer.isError, true)
    const frames = upstream.execs[0]?.frames as { body: { tty_size?: unknown; disableTty?: boolean; stdin?: { data?: string; close?: boolean } } }[]
    assert.deepEqual([frames[0]?.body.disableTty, frames[0]?.body.tty_size], [false, { height: 10, width: 20 }])
    const sent = Buffer.concat(frames.flatMap(({ body }) => (body.stdin?.data === undefined ? [] : [Buffer.from(body.stdin.data, 'base64')])))
    assert.equal(sent.length, 40_000)
    const audit = running.log.map((line) => JSON.parse(line) as Record<string, unknown>).findLast((each) => each['event'] === 'exec')
    assert.deepEqual([audit?.['instance'], audit?.['command'], audit?.['exitCode']], ['i', '["cat"]', 3])
    assert.ok(!running.log.some((line) => line.includes('xxx')))
    assert.equal(frames.at(-1)?.body.stdin?.close, true)
  })
  test('limits are held at their edge and refused one past it', async () => {
    for (const [args, isError] of [
      [{ timeout_ms: 100 }, false],
      [{ timeout_ms: 99 }, true],
      [{ timeout_ms: 600_001 }, true],
      [{ max_output_bytes: 1_048_577 }, true],
      [{ command: [] }, true],
      [{ command: Array.from({ length: 257 }, () => 'x') }, true],
      [{ command: [1] }, true],
      [{ stdin: '%', stdin_encoding: 'base64' }, true],
      [{ id_type: 'OTHER' }, true],
      [{ id: '..' }, true],
    ] as [Record<string, unknown>, boolean][]) {
      const answer = await call('exec', { id: 'i', command: ['x'], ...args })
      assert.equal(answer.isError === true, isError, JSON.stringify([args, answer.content]))
    }
    assert.equal(upstream.execs.length, 1)
  })
})

describe('S14: what of a document is tolerated', () => {
  test('the classes of the catalogue are warnings', () => {
    const rules = new Set(running.document.findings.map((each) => each.rule))
    for (const rule of ['unknown-field', 'identifier', 'object-without-properties', 'unused-bind', 'hints', 'derived-inputs']) assert.ok(rules.has(rule), rule)
    assert.ok(running.document.findings.every((each) => each.severity === 'warning' && each.line !== undefined))
  })
  const broken: readonly (readonly [string, (text: string) => string, RegExp])[] = [
    ['another version', (text) => text.replace('1.0.0-alpha2', '2.0.0'), /must be "1\.0\.0-alpha2"/],
    ['a field of no grammar', (text) => text.replace('type: http', 'type: http\n      colour: red'), /is not a field/],
    ['a call that leads nowhere', (text) => text.replace('call: things.get', 'call: things.gone'), /leads nowhere/],
    ['a method of no grammar', (text) => text.replace('method: GET', 'method: FETCH'), /must be "GET"/],
    ['a path that is none', (text) => text.replace('mapping: $.', "mapping: '$..['"), /can't be read/],
    ['a missing field', (text) => text.replace('namespace: things\n', '\n'), /lacks "namespace"/],
    ['what is no YAML', (text) => `${text}\n  - [`, /is not YAML/],
    ['variables that are somewhere else', (text) => text.replace('namespace: env', 'namespace: env\n    location: vault://things/key'), /is vault:\/\/things\/key, and variables are read from file: addresses/],
    ['two adapters on one port', (text) => text.replace('19091', '18081'), /port 18081 of 127\.0\.0\.1 twice/],
  ]
  for (const [what, change, message] of broken) {
    test(`${what} is an error, and nothing is run`, async () => {
      const { capability, findings } = await parseCapability(change(CATALOGUE), '.')
      assert.equal(capability, null)
      assert.ok(findings.some((each) => each.severity === 'error' && message.test(each.message)), JSON.stringify(findings.filter((each) => each.severity === 'error')))
    })
  }
})

test('commands are announced as what they are, whatever the document says', async () => {
  const { tools } = await client.listTools()
  assert.deepEqual(tools.find((each) => each.name === 'exec')?.annotations, { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true })
})

async function freePort(): Promise<number> {
  const server = createServer()
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  await new Promise((resolve) => server.close(resolve))
  return port
}
