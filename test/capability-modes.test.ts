/** Every mode of units, place of parameters, kind of body and of authentication, by documents written for it. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { readDocument } from '../src/capability/document.ts'
import { readChallenge } from '../src/capability/credentials.ts'
import { CONNECT_TIMEOUT_MS, TOTAL_TIMEOUT_MS } from '../src/capability/upstream.ts'
import { referenceDocument, runDocument, SECRET } from './support/capability.ts'
import type { RunningTest } from './support/capability.ts'
import { startUpstream } from './support/recording-upstream.ts'
import type { Recorded, RecordingUpstream } from './support/recording-upstream.ts'

const ORDERS = fileURLToPath(new URL('fixtures/capability/orders.yml', import.meta.url))
const TOKEN = 'orders-token-of-ours'
const ENV = { ORDERS_TOKEN: TOKEN, ORDERS_TENANT: 'acme' }

let upstream: RecordingUpstream
let running: RunningTest
let client: Client

before(async () => {
  upstream = await startUpstream()
  running = await runDocument(ORDERS, `${upstream.url}/api/`, { env: ENV })
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
  upstream.requests.length = 0
  upstream.answer = orders
}

const orders: NonNullable<RecordingUpstream['answer']> = (request, response) => {
  const send = (body: unknown): void => void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
  if (request.method === 'DELETE') return void response.writeHead(204).end()
  if (request.path === '/api/people') return send([{ id: 'c1', name: 'Ann', email: 'ann@example.org', age: 3 }, { id: 'c2', name: 'Bo', email: 'bo@example.org' }])
  if (/\/orders\/./.test(request.path)) return send({ id: 'o1', customerId: 'c2', total: '12.5' })
  return send({ orders: [{ id: 'o1', secret: 1 }, { id: 'o2', secret: 2 }] })
}

const asked = (): Recorded => {
  const last = upstream.requests.at(-1)
  assert.ok(last !== undefined, 'nothing was asked upstream')
  return last
}

describe('calls', () => {
  test('query, header and cookie, those of the adapter among them, and outputs mapped item by item', async () => {
    const answer = await running.get('/orders?status=a&status=b&limit=5&open=true&price=1.5&code=ABC', { headers: { cookie: 'session=s 1; x=y', 'x-trace': 't1' } })
    assert.deepEqual(await answer.json(), [{ key: 'o1', source: 'orders' }, { key: 'o2', source: 'orders' }])
    const { path, query, headers } = asked()
    assert.equal(path, '/api/orders')
    assert.equal(String(query), 'status=a&status=b&limit=5')
    assert.equal(headers['x-tenant'], 'acme')
    assert.equal(headers['x-trace'], 't1')
    assert.equal(headers.cookie, 'session=s%201')
    assert.equal(headers.authorization, `Bearer ${TOKEN}`)
  })
  test('a pattern is held, and each wrong type is told', async () => {
    const answer = await running.get('/orders?code=abc&limit=x&price=y&open=z')
    assert.equal(answer.status, 400)
    assert.deepEqual(((await answer.json()) as { fields: { field: string }[] }).fields.map((each) => each.field), ['limit', 'open', 'price', 'code'])
  })
  test('an id that is empty or steps through the path is asked nowhere', async () => {
    const before = upstream.requests.length
    const { port } = new URL(running.rest)
    for (const path of ['/orders/.', '/orders/..', '/orders/%2e', '/orders/%2E%2e', '/orders/']) {
      const status = await new Promise((resolve, reject) => request({ host: '127.0.0.1', port, path, method: 'DELETE' }, (response) => resolve(response.resume().statusCode)).on('error', reject).end())
      assert.ok(status === 400 || status === 404 || status === 405, `${path}: ${String(status)}`)
    }
    assert.equal(upstream.requests.length, before)
  })
  test('answers of MCP are not to be stored or held back, and it has one path of one method', async () => {
    const body = JSON.stringify({ jsonrpc: '2.0', id: 1, method: 'initialize', params: { protocolVersion: '2025-06-18', capabilities: {}, clientInfo: { name: 't', version: '1' } } })
    const answer = await fetch(running.mcp, { method: 'POST', body, headers: { 'content-type': 'application/json', accept: 'application/json, text/event-stream' } })
    assert.deepEqual([answer.status, answer.headers.get('cache-control'), answer.headers.get('x-accel-buffering')], [200, 'no-store, no-transform', 'no'])
    assert.match(await answer.text(), /"protocolVersion":"2025-06-18"/)
    await assert.rejects(client.request({ method: 'tools/list', params: { cursor: 'made-up' } }), (error: Error & { code?: number }) => error.code === -32_602)
    for (const method of ['GET', 'DELETE']) assert.equal((await fetch(running.mcp, { method, headers: { accept: 'text/event-stream' } })).status, 405)
  })
  test('the times of an upstream are what they are said to be', () => {
    assert.deepEqual([CONNECT_TIMEOUT_MS, TOTAL_TIMEOUT_MS], [5000, 30_000])
  })
  test('a body of templates keeps types, drops what is not given, and reads no template in a value', async () => {
    const body = JSON.stringify({ sku: '{{ORDERS_TOKEN}}"', count: 2, customer: 'Ann' })
    assert.equal((await running.get('/orders', { method: 'POST', body, headers: { 'content-type': 'application/json' } })).status, 200)
    assert.deepEqual(JSON.parse(asked().body), { sku: '{{ORDERS_TOKEN}}"', count: 2, note: 'for Ann', fixed: true })
    assert.equal(asked().query.get('dry-run'), '1')
  })
  test('a body that is no JSON is a 400', async () => {
    assert.equal((await running.get('/orders', { method: 'POST', body: '{' })).status, 400)
  })
  test('a body that begins as JSON is JSON, whatever curl -d says of it, and a form is a form', async () => {
    const form = { 'content-type': 'application/x-www-form-urlencoded' }
    await running.get('/orders', { method: 'POST', body: ' {"sku": "A1", "count": 2}', headers: form })
    assert.deepEqual([asked().body].map((each) => JSON.parse(each) as unknown), [{ sku: 'A1', count: 2, fixed: true }])
    await running.get('/orders', { method: 'POST', body: 'sku=B2&count=3', headers: form })
    assert.deepEqual([asked().body].map((each) => JSON.parse(each) as unknown), [{ sku: 'B2', count: 3, fixed: true }])
    assert.equal((await running.get('/orders', { method: 'POST', body: '{"sku":', headers: form })).status, 400)
  })
  test('an answer without a body stays without', async () => {
    const answer = await running.get('/orders/o1', { method: 'DELETE' })
    assert.equal(answer.status, 204)
    assert.equal(await answer.text(), '')
    const result = await client.callTool({ name: 'remove-order', arguments: { id: 'o1' } })
    assert.notEqual(result.isError, true)
  })
})

describe('the other modes', () => {
  test('a ref calls the function of an aggregate', async () => {
    assert.equal(((await (await running.get('/orders/o%2F1')).json()) as { id: string }).id, 'o1')
    assert.equal(asked().path, '/api/orders/o%2F1')
    assert.equal(((await client.callTool({ name: 'find-order', arguments: { id: 'o1' } })).structuredContent as { id: string }).id, 'o1')
  })
  test('steps see what the steps before them gave, a lookup finds in it, mappings put it together', async () => {
    assert.deepEqual(await (await running.get('/orders/o1/customer')).json(), { order: { total: 12.5 }, name: 'Bo' })
    assert.deepEqual(upstream.requests.map((each) => each.path), ['/api/orders/o1', '/api/people'])
  })
  test('a lookup finds in the one list of an object, too', async () => {
    upstream.answer = (request, response) => {
      const body = request.path === '/api/people' ? { total: 2, people: [{ id: 'c1', name: 'Ann' }, { id: 'c2', name: 'Bo' }] } : { id: 'o1', customerId: 'c2', total: '12.5' }
      response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
    }
    assert.deepEqual(await (await running.get('/orders/o1/customer')).json(), { order: { total: 12.5 }, name: 'Bo' })
  })
  test('a step that fails ends the steps with its error', async () => {
    upstream.answer = (_, response) => void response.writeHead(404, { 'content-type': 'application/json' }).end('{"code":"gone"}')
    const answer = await running.get('/orders/o1/customer')
    assert.equal(answer.status, 404)
    assert.deepEqual(await answer.json(), { code: 'gone' })
    assert.equal(upstream.requests.length, 1)
  })
  test('a mock answers by itself', async () => {
    assert.deepEqual(await (await running.get('/hello?who=Ann')).json(), { greeting: 'Hello Ann', count: 3 })
    assert.deepEqual((await client.callTool({ name: 'greet', arguments: {} })).structuredContent, { greeting: 'hello' })
    assert.equal(upstream.requests.length, 0)
  })
  test('a forward passes method, path, query and body, and of the headers those that are trusted', async () => {
    upstream.answer = (_, response) => void response.writeHead(201, { 'content-type': 'text/plain', 'set-cookie': 'a=b', 'x-seen': '1' }).end('made')
    const answer = await running.get('/raw/a/b%2Fc?x=1&x=2', { method: 'PUT', body: 'hi', headers: { 'x-request-id': 'r', 'x-evil': 'e', authorization: 'Bearer other', 'content-type': 'text/plain' } })
    assert.equal(answer.status, 201)
    assert.equal(await answer.text(), 'made')
    assert.equal(answer.headers.get('set-cookie'), null)
    assert.equal(answer.headers.get('x-seen'), '1')
    const { method, path, query, body, headers } = asked()
    assert.deepEqual([method, path, String(query), body], ['PUT', '/api/a/b%2Fc', 'x=1&x=2', 'hi'])
    assert.deepEqual([headers['x-request-id'], headers['x-evil'], headers.authorization], ['r', undefined, `Bearer ${TOKEN}`])
    const { request } = await import('node:http')
    const status = await new Promise((resolve) => request(`${running.rest}`, { path: '/raw/%2e%2e/admin' }, (response) => resolve(response.resume().statusCode)).end())
    // The path is read as a URL before anything else: it never was below the forward.
    assert.equal(status, 404)
    assert.equal(upstream.requests.length, 1)
  })
  test('a forward gives no caller the credential that an upstream repeats, and other bytes as they are', async () => {
    upstream.answer = (asked, response) => void response.writeHead(200, { 'content-type': 'text/plain', 'x-you-sent': asked.headers.authorization, etag: '"1"' }).end(`you sent ${String(asked.headers.authorization)}, ü`)
    const answer = await running.get('/raw/echo')
    assert.equal(await answer.text(), 'you sent Bearer ***, ü')
    assert.deepEqual(['x-you-sent', 'etag', 'content-length'].map((each) => answer.headers.get(each)), ['Bearer ***', null, '23'])
    const bytes = Buffer.from([0xff, 0xfe, 0x00, 0x80, 0x41])
    upstream.answer = (_, response) => void response.writeHead(200, { 'content-type': 'image/png', etag: '"2"' }).end(bytes)
    const picture = await running.get('/raw/picture')
    assert.deepEqual(Buffer.from(await picture.arrayBuffer()), bytes)
    assert.equal(picture.headers.get('etag'), '"2"')
  })
  test('a tool that writes is not announced as read-only', async () => {
    const { tools } = await client.listTools()
    const hints = Object.fromEntries(tools.map((each) => [each.name, each.annotations?.readOnlyHint]))
    assert.deepEqual(hints, { 'create-order': false, 'find-order': true, greet: false, 'remove-order': false })
    assert.ok(running.document.findings.some((each) => each.rule === 'hints' && each.message.includes('create-order')))
  })
  test('resources and prompts', async () => {
    const { resourceTemplates } = await client.listResourceTemplates()
    assert.equal(resourceTemplates[0]?.uriTemplate, 'orders://{id}')
    const { contents } = await client.readResource({ uri: 'orders://o1' })
    assert.equal((JSON.parse((contents[0] as { text: string }).text) as { id: string }).id, 'o1')
    await assert.rejects(client.readResource({ uri: 'other://o1' }), /no such resource/)
    upstream.answer = (_, response) => void response.writeHead(404, { 'content-type': 'application/json' }).end('{"message":"no order o9"}')
    await assert.rejects(client.readResource({ uri: 'orders://o9' }), (error: Error & { code?: number }) => error.code === -32_602 && error.message.includes('no order o9'))
    const { messages } = await client.getPrompt({ name: 'thank', arguments: { who: 'Ann' } })
    assert.deepEqual(messages[0]?.content, { type: 'text', text: 'Thank Ann for the order.' })
    await assert.rejects(client.getPrompt({ name: 'thank', arguments: {} }), /needs who/)
  })
})

/** A document of one operation, exposed at `/x` by GET. */
function one(operation: string, consume = '', inputs = '[]'): string {
  return `
naftiko: 1.0.0-alpha2
info: { label: One, description: One }
binds:
  - namespace: env
    keys: { USERNAME: API_USERNAME, PASSWORD: API_PASSWORD, CLIENT_ID: CLIENT_ID, CLIENT_SECRET: CLIENT_SECRET }
capability:
  consumes:
    - type: http
      namespace: api
      baseUri: http://api.invalid
      ${consume}
      resources:
        - name: x
          path: /x
          operations: [${operation}]
  exposes:
    - type: rest
      namespace: one
      port: 1
      resources:
        - path: /x
          operations:
            - { name: x, method: GET, call: api.x, inputParameters: ${inputs} }
`
}
const SKU = '[{ name: sku, in: query, type: string, description: What }, { name: tags, in: query, type: array, description: Tags }, { name: count, in: query, type: integer, description: Count }]'
const LOGIN = { API_USERNAME: 'some-user', API_PASSWORD: 'some-"password"', CLIENT_ID: 'client-id', CLIENT_SECRET: 'client-secret' }

async function runOne(document: string, path: string): Promise<Response> {
  await using own = await runDocument(document, upstream.url, { env: LOGIN })
  const answer = await own.get(path)
  await answer.clone().arrayBuffer()
  return answer
}

describe('bodies', () => {
  const bodies: readonly (readonly [string, string, string | RegExp, RegExp])[] = [
    ['a text of JSON', `'{"sku": "{{sku}}", "count": {{count}}, "none": {{none}}}'`, '{"sku":"a\\"<b>&","count":3,"none":null}', /json/],
    ['a form', `{ type: formUrlEncoded, data: { sku: '{{sku}}', tag: '{{tags}}' } }`, 'sku=a%22%3Cb%3E%26&tag=x&tag=y', /x-www-form-urlencoded/],
    ['a text of a form', `{ type: formUrlEncoded, data: 'sku={{sku}}' }`, 'sku=a%22%3Cb%3E%26', /x-www-form-urlencoded/],
    ['XML', `{ type: xml, data: '<o>{{sku}}</o>' }`, '<o>a&quot;&lt;b&gt;&amp;</o>', /xml/],
    ['text', `{ type: text, data: 'sku {{sku}}' }`, 'sku a"<b>&', /text\/plain/],
    ['SPARQL', `{ type: sparql, data: 'ASK { ?s ?p "{{sku}}" }' }`, 'ASK { ?s ?p "a\\"<b>&" }', /sparql-query/],
    ['parts', `{ type: multipartForm, data: [{ name: f, value: '{{sku}}', filename: a.txt, contentType: text/plain }] }`, /filename="a\.txt"\r\nContent-Type: text\/plain\r\n\r\na"<b>&\r\n/, /multipart\/form-data; boundary=/],
  ]
  for (const [what, body, wanted, type] of bodies) {
    test(`${what}: values are values, never markup`, async () => {
      await runOne(one(`{ name: x, method: POST, body: ${body} }`, '', SKU), '/x?sku=a%22%3Cb%3E%26&tags=x&tags=y&count=3')
      if (typeof wanted === 'string') assert.equal(asked().body, wanted)
      else assert.match(asked().body, wanted)
      assert.match(asked().headers['content-type'] ?? '', type)
    })
  }
  test('inputs in the body are its fields', async () => {
    await runOne(one('{ name: x, method: PATCH, inputParameters: [{ name: sku, in: body }, { name: count, in: body }] }', '', SKU), '/x?sku=a&count=3')
    assert.deepEqual(JSON.parse(asked().body), { sku: 'a', count: 3 })
  })
})

describe('formats', () => {
  const formats: readonly (readonly [string, string, unknown])[] = [
    ['csv', 'id,name\n1,"a,b"\n', [{ id: '1', name: 'a,b' }]],
    ['tsv', 'id\tname\n1\ta\n', [{ id: '1', name: 'a' }]],
    ['psv', 'id|name\n1|a\n', [{ id: '1', name: 'a' }]],
    ['yaml', 'a: [1, x]\n', { a: [1, 'x'] }],
    ['xml', '<o id="7"><n>1</n><n>2</n></o>', { o: { id: '7', n: ['1', '2'] } }],
    ['markdown', '---\nt: 1\n---\n# One\ntext\n## Two\nmore\n', { frontMatter: { t: 1 }, tables: [], sections: [{ level: 1, heading: 'One', content: 'text' }, { level: 2, heading: 'Two', content: 'more' }] }],
    ['markdown', '# T\n\n| a | b |\n|---|:-:|\n| 1 | x\\|y |\n', { tables: [[{ a: '1', b: 'x|y' }]], sections: [{ level: 1, heading: 'T', content: '| a | b |\n|---|:-:|\n| 1 | x\\|y |' }] }],
  ]
  for (const [format, body, wanted] of formats) {
    test(`${format} becomes JSON`, async () => {
      upstream.answer = (_, response) => void response.end(body)
      assert.deepEqual(await (await runOne(one(`{ name: x, method: GET, outputRawFormat: ${format} }`), '/x')).json(), wanted)
    })
  }
  test('avro and protobuf are read by the schema that the document names', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-capability-schema-'))
    try {
      writeFileSync(join(directory, 'o.avsc'), '{"type":"record","name":"O","fields":[{"name":"id","type":"string"},{"name":"n","type":"int"}]}')
      writeFileSync(join(directory, 'o.proto'), 'syntax = "proto3"; package p; message O { string order_id = 1; int32 n = 2; }')
      for (const [format, schema, body, wanted] of [
        // Avro: a length and the bytes, zigzag; Protocol Buffers: each field with its number and kind.
        ['avro', 'o.avsc', Buffer.from([4, 0x6f, 0x31, 14]), { id: 'o1', n: 7 }],
        ['protobuf', 'o.proto', Buffer.from([0x0a, 2, 0x6f, 0x31, 0x10, 7]), { order_id: 'o1', n: 7 }],
      ] as const) {
        upstream.answer = (_, response) => void response.end(body)
        const document = one(`{ name: x, method: GET, outputRawFormat: ${format}, outputSchema: ${join(directory, schema)} }`)
        assert.deepEqual(await (await runOne(document, '/x')).json(), wanted)
        upstream.answer = (_, response) => void response.end(Buffer.from([0x0a, 200]))
        assert.equal((await runOne(document, '/x')).status, 502)
      }
      await assert.rejects(runOne(one(`{ name: x, method: GET, outputRawFormat: avro, outputSchema: ${join(directory, 'none.avsc')} }`), '/x'), /is not there/)
      await assert.rejects(runOne(one('{ name: x, method: GET, outputRawFormat: avro }'), '/x'), /no outputSchema/)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
  test('html gives its tables, those of a selector alone', async () => {
    const table = (id: string, value: string): string => `<table id="${id}"><thead><tr><th>Name</th><th>Size</th></tr></thead><tbody><tr><td>${value} &amp; b</td><td>1</td></tr></tbody></table>`
    upstream.answer = (_, response) => void response.end(`<html><body>${table('one', 'a')}${table('two', 'c')}</body></html>`)
    assert.deepEqual(await (await runOne(one('{ name: x, method: GET, outputRawFormat: html }'), '/x')).json(), { tables: [[{ Name: 'a & b', Size: '1' }], [{ Name: 'c & b', Size: '1' }]] })
    assert.deepEqual(await (await runOne(one("{ name: x, method: GET, outputRawFormat: html, outputSchema: '#two' }"), '/x')).json(), { tables: [[{ Name: 'c & b', Size: '1' }]] })
  })
})

describe('authentication', () => {
  const login = { username: LOGIN.API_USERNAME, password: LOGIN.API_PASSWORD }
  const outgoing = async (authentication: string): Promise<Response> => runOne(one('{ name: x, method: GET }', `authentication: ${authentication}`), '/x?y=1')
  const plain = Buffer.from(`${login.username}:${login.password}`).toString('base64')

  test('basic', async () => {
    await outgoing(`{ type: basic, username: '{{USERNAME}}', password: '{{PASSWORD}}' }`)
    assert.equal(asked().headers.authorization, `Basic ${plain}`)
  })
  test('apikey in a header, in the query, and in the catalogue\'s spelling', async () => {
    await outgoing(`{ type: apikey, key: X-Key, value: '{{PASSWORD}}' }`)
    assert.equal(asked().headers['x-key'], login.password)
    await outgoing(`{ type: apikey, key: key, value: '{{PASSWORD}}', placement: query }`)
    assert.equal(asked().query.get('key'), login.password)
    await outgoing(`{ type: apikey, in: header, name: apikey, value: '{{PASSWORD}}' }`)
    assert.equal(asked().headers['apikey'], login.password)
  })
  for (const algorithm of ['MD5', 'SHA-256'] as const) {
    test(`digest by ${algorithm} answers its challenge`, async () => {
      const hash = (text: string): string => createHash(algorithm === 'MD5' ? 'md5' : 'sha256').update(text).digest('hex')
      upstream.answer = (request, response) => {
        const fields = readChallenge(request.headers.authorization ?? '')
        const a1 = hash(`${login.username}:r:${login.password}`)
        const wanted = hash(`${a1}:n1:${fields['nc'] ?? ''}:${fields['cnonce'] ?? ''}:auth:${hash('GET:/x')}`)
        if (fields['response'] === wanted) return void response.end('{"in":true}')
        return void response.writeHead(401, { 'www-authenticate': `Digest realm="r", nonce="n1", qop="auth", algorithm=${algorithm}` }).end()
      }
      assert.deepEqual(await (await outgoing(`{ type: digest, username: '{{USERNAME}}', password: '{{PASSWORD}}' }`)).json(), { in: true })
      assert.equal(upstream.requests.length, 2)
    })
  }
  test('oauth2 gets a token for the client, once', async () => {
    upstream.answer = (request, response) => {
      response.setHeader('content-type', 'application/json')
      if (request.path === '/token') return void response.end('{"access_token":"fresh-token","expires_in":3600}')
      return void response.end('{}')
    }
    const document = one('{ name: x, method: GET }', `authentication: { type: oauth2, authorizationServerUri: 'http://as.invalid', resource: 'http://api.invalid', scopes: [a, b], tokenEndpoint: '${upstream.url}/token' }`)
    await using own = await runDocument(document, upstream.url, { env: LOGIN })
    await own.get('/x')
    await own.get('/x')
    assert.deepEqual(upstream.requests.map((each) => each.path), ['/token', '/x', '/x'])
    assert.match(upstream.requests[0]?.body ?? '', /grant_type=client_credentials.*scope=a\+b/)
    assert.equal(asked().headers.authorization, 'Bearer fresh-token')
  })

  const guarded = (authentication: string): string =>
    one('{ name: x, method: GET }').replace("      namespace: one\n", `      namespace: one\n      authentication: ${authentication}\n`)
  const incoming: readonly (readonly [string, string, Record<string, string>])[] = [
    ['bearer', `{ type: bearer, token: '{{PASSWORD}}' }`, { authorization: `Bearer ${login.password}` }],
    ['basic', `{ type: basic, username: '{{USERNAME}}', password: '{{PASSWORD}}' }`, { authorization: `Basic ${plain}` }],
    ['apikey', `{ type: apikey, key: X-Key, value: '{{PASSWORD}}' }`, { 'x-key': login.password }],
  ]
  for (const [kind, authentication, headers] of incoming) {
    test(`callers need their ${kind}`, async () => {
      await using own = await runDocument(guarded(authentication), upstream.url, { env: LOGIN })
      for (const wrong of [{}, { authorization: 'Bearer wrong' }, { authorization: 'Basic eDp5' }, { 'x-key': 'wrong' }] as Record<string, string>[]) {
        const answer = await own.get('/x', { headers: wrong })
        assert.equal(answer.status, 401)
        if (kind !== 'apikey') assert.match(answer.headers.get('www-authenticate') ?? '', new RegExp(kind, 'i'))
      }
      assert.equal(upstream.requests.length, 0)
      assert.equal((await own.get('/x', { headers })).status, 200)
      // The caller's credential is ours to check, not to pass on.
      assert.equal(asked().headers.authorization, undefined)
    })
  }
  for (const kind of ['jwks', 'introspection'] as const) {
    test(`callers need a token of the authorization server (${kind})`, async () => {
      const { exportJWK, generateKeyPair, SignJWT } = await import('jose')
      const keys = await generateKeyPair('ES256')
      const jwk = { ...(await exportJWK(keys.publicKey)), alg: 'ES256', kid: 'k' }
      const sign = (claims: Record<string, unknown>, audience = 'http://one.test', end: string | number = '5m'): Promise<string> =>
        new SignJWT(claims).setProtectedHeader({ alg: 'ES256', kid: 'k' }).setIssuer(upstream.url).setAudience(audience).setExpirationTime(end).sign(keys.privateKey)
      upstream.answer = (request, response) => {
        const send = (body: unknown): void => void response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify(body))
        if (request.path.startsWith('/.well-known/')) return send({ jwks_uri: `${upstream.url}/keys`, introspection_endpoint: `${upstream.url}/introspect` })
        if (request.path === '/keys') return send({ keys: [jwk] })
        if (request.path !== '/introspect') return send({ ok: true })
        const [, body = ''] = (new URLSearchParams(request.body).get('token') ?? '').split('.')
        const claims = JSON.parse(Buffer.from(body, 'base64url').toString() || '{}') as { exp?: number }
        return send({ ...claims, active: (claims.exp ?? 0) * 1000 > Date.now() })
      }
      await using own = await runDocument(guarded(`{ type: oauth2, authorizationServerUri: '${upstream.url}', resource: 'http://one.test', scopes: [read], tokenValidation: ${kind} }`), upstream.url, { env: LOGIN })
      const status = async (token: string | null): Promise<number> => (await own.get('/x', { headers: token === null ? {} : { authorization: `Bearer ${token}` } })).status
      assert.equal(await status(null), 401)
      assert.equal(await status(await sign({ scope: 'read write' })), 200)
      assert.equal(await status(await sign({ scope: 'write' })), 403)
      assert.equal(await status(await sign({ scope: 'read' }, 'http://other.test')), 401)
      assert.equal(await status(await sign({ scope: 'read' }, 'http://one.test', 1)), 401)
    })
  }
  test('callers need their digest, which our own client answers', async () => {
    await using own = await runDocument(guarded(`{ type: digest, username: '{{USERNAME}}', password: '{{PASSWORD}}' }`), upstream.url, { env: LOGIN })
    const refused = await own.get('/x')
    assert.equal(refused.status, 401)
    const { answerDigest } = await import('../src/capability/credentials.ts')
    const line = { method: 'GET', url: new URL(`${own.rest}/x`) }
    const header = answerDigest(refused.headers.get('www-authenticate') ?? '', login.username, login.password, line)
    assert.equal((await own.get('/x', { headers: { authorization: header ?? '' } })).status, 200)
    const wrong = answerDigest(refused.headers.get('www-authenticate') ?? '', login.username, 'other', line)
    assert.equal((await own.get('/x', { headers: { authorization: wrong ?? '' } })).status, 401)
  })
})

describe('other documents', () => {
  for (const name of ['koyeb-instances.fixed.naftiko.yml', 'koyeb-instances.ikanos.yml']) {
    const path = referenceDocument(name)
    test(`${name} is clean and runs`, { skip: path === null ? 'the published document is not at hand' : false }, async () => {
      upstream.answer = null
      await using own = await runDocument(path ?? '', upstream.url)
      assert.deepEqual(own.document.findings, [])
      assert.equal(((await (await own.get('/v1/instances/i-1')).json()) as { instance: { id: string } }).instance.id, 'i-1')
      assert.equal((await own.get('/v1/instances?statuses=A&statuses=B')).status, 200)
      assert.deepEqual(asked().query.getAll('statuses'), ['A', 'B'])
      assert.equal(asked().headers.authorization, `Bearer ${SECRET}`)
    })
  }
  test('parts of other files are imported, variables read from a file', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-capability-'))
    try {
      writeFileSync(join(directory, 'shared.yml'), `
naftiko: 1.0.0-alpha2
consumes:
  - type: http
    namespace: shared
    baseUri: http://shared.invalid
    authentication: { type: bearer, token: '{{KEY}}' }
    resources: [{ name: x, path: /x, operations: [{ name: x, method: GET }] }]
`)
      writeFileSync(join(directory, 'keys.json'), '{"key": "from-the-file"}')
      const main = join(directory, 'main.yml')
      writeFileSync(main, `
ikanos: 1.0.0-beta4
info: { display: Main, description: Main }
binds: [{ namespace: file, location: 'file:///${directory.slice(1)}/keys.json', keys: { KEY: key } }]
capability:
  consumes: [{ from: ./shared.yml, import: shared, as: mine }]
  exposes:
    - type: rest
      namespace: main
      port: 1
      resources: { x: { path: /x, operations: { x: { method: GET, call: mine.x } } } }
`)
      await using own = await runDocument(main, upstream.url, { env: {} })
      assert.equal((await own.get('/x')).status, 200)
      assert.equal(asked().headers.authorization, 'Bearer from-the-file')
      const missing = join(directory, 'missing.yml')
      writeFileSync(missing, `ikanos: 1.0.0-beta4\ncapability:\n  consumes: [{ from: ./nowhere.yml, import: shared }]\n`)
      const { capability, findings } = await readDocument(missing)
      assert.equal(capability, null)
      assert.match(findings[0]?.message ?? '', /nowhere\.yml is not there/)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})
