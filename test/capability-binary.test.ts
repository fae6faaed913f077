/** Bytes that go through a capability unchanged, declared responses, limits of size, and what clients may keep. */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { gzipSync } from 'node:zlib'
import { after, afterEach, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { parseCapability } from '../src/capability/document.ts'
import { runDocument } from './support/capability.ts'
import type { RunningTest } from './support/capability.ts'
import { startUpstream } from './support/recording-upstream.ts'
import type { RecordingUpstream } from './support/recording-upstream.ts'

const PHOTOS = fileURLToPath(new URL('fixtures/capability/photos.yml', import.meta.url))
/** No text in any encoding. */
const BYTES = Buffer.from(Array.from({ length: 512 }, (_, at) => (at * 7) % 256))

let upstream: RecordingUpstream
let running: RunningTest
let client: Client
let sent = BYTES
let type: string | undefined = 'image/png'

before(async () => {
  upstream = await startUpstream()
  running = await runDocument(PHOTOS, upstream.url)
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
  sent = BYTES
  type = 'image/png'
  upstream.answer = (request, response) => {
    if (request.path === '/records/none') return void response.writeHead(404, { 'content-type': 'application/json' }).end('{"code":"gone"}')
    if (request.path.startsWith('/records/')) return void response.writeHead(200, { 'content-type': 'application/json' }).end('{"label":"a <b>label</b>"}')
    return void response.writeHead(200, type === undefined ? {} : { 'content-type': type }).end(sent)
  }
}

const bytesOf = async (answer: Response): Promise<Buffer> => Buffer.from(await answer.arrayBuffer())

describe('bytes over REST', () => {
  test('are the upstream\'s, with its media type, in a page that can do nothing', async () => {
    const answer = await running.get('/photos/p1')
    assert.equal(answer.status, 200)
    assert.equal(answer.headers.get('content-type'), 'image/png')
    assert.match(answer.headers.get('content-security-policy') ?? '', /^sandbox/)
    assert.equal(answer.headers.get('x-content-type-options'), 'nosniff')
    assert.deepEqual(await bytesOf(answer), BYTES)
  })
  for (const [path, upstreamType, wanted] of [
    ['/small/p1', 'image/png', 'image/jpeg'],
    ['/flow/p1', 'image/png', 'image/webp'],
    ['/photos/p1', undefined, 'image/png'],
    ['/small/p1', undefined, 'image/jpeg'],
    ['/both/p1', 'audio/ogg', 'audio/ogg'],
    ['/both/p1', undefined, 'application/octet-stream'],
  ] as const) {
    test(`${path} of ${upstreamType ?? 'no type'} is ${wanted}`, async () => {
      type = upstreamType
      const answer = await running.get(path)
      assert.equal(answer.headers.get('content-type'), wanted)
      assert.deepEqual(await bytesOf(answer), BYTES)
    })
  }
  test('an operation\'s own limit holds at its edge, and one past it is a 502 that names it', async () => {
    sent = Buffer.alloc(1024, 1)
    assert.equal((await bytesOf(await running.get('/small/p1'))).length, 1024)
    sent = Buffer.alloc(1025, 1)
    const answer = await running.get('/small/p1')
    assert.equal(answer.status, 502)
    const { code, message } = (await answer.json()) as { code: string; message: string }
    assert.equal(code, 'upstream_too_large')
    assert.match(message, /more than 1 KiB/)
  })
  test('the adapter\'s limit holds for those without one, and for what is compressed', async () => {
    sent = Buffer.alloc(2 * 1024 * 1024 + 1)
    assert.equal((await running.get('/photos/p1')).status, 502)
    const packed = gzipSync(sent)
    upstream.answer = (_, response) => void response.writeHead(200, { 'content-type': 'image/png', 'content-encoding': 'gzip' }).end(packed)
    const answer = await running.get('/photos/p1')
    assert.equal(((await answer.json()) as { code: string }).code, 'upstream_too_large')
  })
})

describe('declared responses', () => {
  test('the one success stands for success, with its media type', async () => {
    const answer = await running.get('/photos/p1', { method: 'POST', body: '{}' })
    assert.equal(answer.status, 200 + 2)
    assert.match(answer.headers.get('content-type') ?? '', /^application\/vnd\.photo\+json/)
  })
  test('a success that is not what its schema says is a 502 that names the place; an error is mirrored as it is', async () => {
    const add = () => running.get('/photos/p1', { method: 'POST', body: '{}' })
    const says = (status: number, body: string) => (upstream.answer = (_, response) => void response.writeHead(status, { 'content-type': 'application/json' }).end(body))
    for (const [body, place] of [['{"label":7}', /schema of 202 says: \/label must be string/], ['{}', /it must have required propert/], [`{"label":"${'x'.repeat(41)}"}`, /\/label must not have more than 40/], ['[]', /it must be object/]] as const) {
      says(200, body)
      const answer = await add()
      const told = (await answer.json()) as { code: string; message: string }
      assert.deepEqual([answer.status, told.code], [502, 'upstream_error'])
      assert.match(told.message, place)
    }
    says(200, `{"label":"${'x'.repeat(40)}"}`)
    assert.equal((await add()).status, 202)
    says(409, '{"label":7}')
    const answer = await add()
    assert.deepEqual([answer.status, await answer.json()], [409, { label: 7 }])
  })
  test('a text is a text, and an error has the type of its class', async () => {
    const label = await running.get('/label/p1')
    assert.match(label.headers.get('content-type') ?? '', /^text\/plain/)
    assert.equal(await label.text(), 'a <b>label</b>')
    const none = await running.get('/label/none')
    assert.equal(none.status, 404)
    assert.match(none.headers.get('content-type') ?? '', /^application\/problem\+json/)
    assert.deepEqual(await none.json(), { code: 'gone' })
  })
})

describe('bytes over MCP', () => {
  for (const [what, kind] of [
    ['image/png', 'image'],
    ['audio/ogg', 'audio'],
  ] as const) {
    test(`${what} is content of type ${kind}`, async () => {
      type = what
      const { content } = await client.callTool({ name: 'get-media', arguments: { id: 'm' } })
      assert.deepEqual(content, [{ type: kind, data: BYTES.toString('base64'), mimeType: what }])
    })
  }
  test('anything else is a resource, whose address nothing else has', async () => {
    type = 'application/pdf'
    const results = await Promise.all([1, 2].map(() => client.callTool({ name: 'get-media', arguments: { id: 'm' } })))
    const resources = results.map(({ content }) => (content as { resource: { uri: string; mimeType: string; blob: string } }[])[0]?.resource)
    for (const each of resources) {
      assert.match(each?.uri ?? '', /^ikanos:\/\/transient\/photos-mcp\/get-media\/[0-9a-f-]{36}$/)
      assert.deepEqual([each?.mimeType, each?.blob], ['application/pdf', BYTES.toString('base64')])
    }
    assert.notEqual(resources[0]?.uri, resources[1]?.uri)
  })
  test('a flow says what its bytes are', async () => {
    const { content } = await client.callTool({ name: 'get-flow', arguments: { id: 'm' } })
    assert.equal((content as { mimeType: string }[])[0]?.mimeType, 'image/webp')
  })
  test('a resource is read as a blob', async () => {
    const { contents } = await client.readResource({ uri: 'photos://p1/bytes' })
    assert.deepEqual(contents, [{ uri: 'photos://p1/bytes', mimeType: 'image/png', blob: BYTES.toString('base64') }])
    assert.equal(upstream.requests.at(-1)?.path, '/media/p1')
  })
  test('past the adapter\'s limit it is an error that the model can read', async () => {
    sent = Buffer.alloc(1024 * 1024 + 1)
    const { isError, content } = await client.callTool({ name: 'get-media', arguments: { id: 'm' } })
    assert.equal(isError, true)
    assert.match((content as { text: string }[])[0]?.text ?? '', /more than 1 MiB/)
    await assert.rejects(client.readResource({ uri: 'photos://p1/bytes' }), /more than 1 MiB/)
  })
})

test('clients of 2026 are told how long they may keep lists and resources, and for whom', async () => {
  const modern = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: 'auto' } })
  await modern.connect(new StreamableHTTPClientTransport(new URL(running.mcp)))
  try {
    const raw = await Promise.all([modern.listTools(), modern.readResource({ uri: 'photos://p1/bytes' })])
    for (const each of raw as { ttlMs?: number; cacheScope?: string }[]) assert.deepEqual([each.ttlMs, each.cacheScope], [60_000, 'public'])
  } finally {
    await modern.close()
  }
})

describe('what the lint says of answers', () => {
  const source = readFileSync(PHOTOS, 'utf8')
  const cases: readonly (readonly [string, (text: string) => string, 'error' | 'warning', RegExp])[] = [
    ['a binary resource of documents', (text) => text.replace('          call: library.download\n          with: { id: \'{id}\' }', '          call: library.record\n          with: { id: \'{id}\' }'), 'error', /binary resource "bytes"/],
    ['a binary response of documents', (text) => text.replace('call: library.download\n              responseBinary', 'call: library.record\n              responseBinary'), 'warning', /response 200 is binary/],
    ['outputs of bytes', (text) => text.replace('              responseBinary', '              outputParameters: [{ type: string, mapping: $.x }]\n              responseBinary'), 'warning', /answers bytes, and outputParameters/],
    ['a media type that nothing becomes', (text) => text.replace('text/plain', 'application/xml'), 'warning', /application\/xml, which documents aren't made into/],
    ['a schema of no known type', (text) => text.replace('type: object, required', 'type: thing, required'), 'error', /schema that has the type "thing", which JSON Schema doesn't know/],
    ['a schema deep within, of no regular expression', (text) => text.replace('maxLength: 40', 'pattern: "("'), 'error', /pattern that is no regular expression/],
    ['a schema elsewhere', (text) => text.replace("'#/$defs/text'", "'https://other.example/text.json'"), 'error', /refers to another document/],
    ['a schema of what is no JSON', (text) => text.replace('text/plain: {}', 'text/plain: { schema: { type: string } }'), 'warning', /only JSON is held to one/],
    ['a size past the memory', (text) => text.replace('maxBinarySize: 1KiB', 'maxBinarySize: 2GiB'), 'warning', /past the 256 MiB/],
    ['a public cache behind a credential', (text) => text.replace('      cacheScope: public', '      cacheScope: public\n      authentication: { type: bearer, token: abc }'), 'warning', /"public" where callers need a credential/],
    ['both forms of responses', (text) => text.replace('              responseBinary', '              responses: { \'200\': {} }\n              responseBinary'), 'error', /one of them is enough/],
    ['a status that is none', (text) => text.replace('4XX', '9XX'), 'error', /is not a status/],
    ['a size without a unit', (text) => text.replace('1KiB', '1024'), 'error', /maxBinarySize must be a text/],
  ]
  test('nothing but what follows from the document\'s inputs', async () => {
    const { findings } = await parseCapability(source, '.')
    assert.deepEqual(findings.filter((each) => each.rule !== 'derived-inputs'), [])
  })
  for (const [what, change, severity, message] of cases) {
    test(`${what} is told as ${severity}`, async () => {
      const text = change(source)
      assert.notEqual(text, source)
      const { findings } = await parseCapability(text, '.')
      const spelled = findings.map((each) => ({ ...each, message: `${each.path.at(-1) ?? ''} ${each.message}` }))
      assert.ok(spelled.some((each) => each.severity === severity && message.test(each.message)), JSON.stringify(findings, null, 1))
    })
  }
})
