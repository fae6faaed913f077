/** The rules S1 to S9 and S14: what a capability document means, each against an upstream that writes down what it is asked. */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { parseCapability } from '../src/capability/document.ts'
import { serveCapability } from '../src/capability/serve.ts'
import { runDocument } from './support/capability.ts'
import { CATALOGUE, errorOf, startCatalogue, TOKEN } from './support/catalogue-capability.ts'
import type { CatalogueLab } from './support/catalogue-capability.ts'
import { freePort } from './support/free-port.ts'
import { base64 } from './support/recording-upstream.ts'

let lab: CatalogueLab
before(async () => {
  lab = await startCatalogue()
})
after(() => lab[Symbol.asyncDispose]())
afterEach(() => lab.reset())

describe('S1: references of with', () => {
  test('rest., tools. and the namespace mean inputs, numbers are themselves, anything else is literal, what is absent is left out', async () => {
    await lab.running.get('/v1/v1/things?kinds=a&body.size=3&open=true')
    assert.equal(String(lab.asked().query), 'kinds=a&body.size=3&open=true&limit=7')
    await lab.running.get('/v1/v1/things')
    assert.equal(String(lab.asked().query), 'limit=7')
    await lab.call('list-things', { kinds: ['a'] })
    assert.equal(String(lab.asked().query), 'kinds=a&limit=literal')
  })
  test('a dotted name is a key first and a walk second', async () => {
    await lab.call('list-things', { 'body.size': 4 })
    assert.equal(lab.asked().query.get('body.size'), '4')
    await lab.call('exec', { id: 'i', body: { command: ['ls'] } })
    const [first] = lab.upstream.execs[0]?.frames ?? []
    assert.deepEqual((first as { body: { command: unknown } }).body.command, ['ls'])
  })
})

test('S2: units without inputs take those of what they call, with name, type, description and requiredness', async () => {
  const { tools } = await lab.client.listTools()
  assert.deepEqual(tools.find((each) => each.name === 'get-thing')?.inputSchema, {
    type: 'object',
    properties: { id: { type: 'string', description: 'The id' } },
    required: ['id'],
    additionalProperties: false,
  })
  const schema = tools.find((each) => each.name === 'list-things')?.inputSchema
  assert.deepEqual(schema?.properties, { kinds: { type: 'array', description: 'Kinds', items: {} }, 'body.size': { type: 'integer', description: 'Size' }, open: { type: 'boolean' } })
  assert.equal((await lab.running.get('/v1/v1/things/t-1')).status, 200)
  assert.equal(lab.asked().path, '/things/t-1')
})

describe('S3: templates of paths', () => {
  test('both forms are filled in, one percent-encoded segment each', async () => {
    await lab.running.get('/v1/v1/things/a%20b%3Fx%3D1/parts/..%2F..%2Fadmin')
    assert.equal(lab.asked().path, '/things/a%20b%3Fx%3D1/parts/..%2F..%2Fadmin')
    assert.equal(String(lab.asked().query), '')
  })
  for (const id of ['', '.', '..']) {
    test(`the id "${id}" is refused`, async () => {
      const result = await lab.call('get-thing', { id })
      assert.equal(result.isError, true)
      assert.equal(errorOf(result).code, 'invalid_argument')
      assert.equal(lab.upstream.requests.length, 0)
    })
  }
})

test('S4: lists repeat their key, inbound and outbound, and a comma is a comma', async () => {
  await lab.running.get('/v1/v1/things?kinds=a&kinds=b%2Cc')
  assert.deepEqual(lab.asked().query.getAll('kinds'), ['a', 'b,c'])
  await lab.call('list-things', { kinds: ['x', 'y,z'] })
  assert.deepEqual(lab.asked().query.getAll('kinds'), ['x', 'y,z'])
})

describe('S5: types', () => {
  test('REST makes texts into their types, or answers 400', async () => {
    for (const query of ['body.size=many', 'body.size=1.5', 'open=yes']) {
      const answer = await lab.running.get(`/v1/v1/things?${query}`)
      assert.equal(answer.status, 400, query)
      assert.deepEqual(((await answer.json()) as { fields: { field: string }[] }).fields.map((each) => each.field), [query.split('=')[0]])
    }
    assert.equal(lab.upstream.requests.length, 0)
  })
  test('MCP answers wrong types as a result with isError', async () => {
    const result = await lab.call('list-things', { kinds: 'a', open: 'true' })
    assert.equal(result.isError, true)
    assert.match(JSON.stringify(result.content), /kinds: must be a list\. open: must be true or false\./)
    assert.equal(lab.upstream.requests.length, 0)
  })
})

test('S6: what is required and missing is a 400 with its field, or isError, and no call goes upstream', async () => {
  const answer = await lab.running.get('/v1/v1/exec')
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
  assert.equal((await lab.call('get-thing', {})).isError, true)
  assert.equal(lab.upstream.requests.length + lab.upstream.execs.length, 0)
})

test('S7: unknown keys of a query are ignored, unknown arguments of a tool are an error', async () => {
  assert.equal((await lab.running.get('/v1/v1/things?nonsense=1')).status, 200)
  assert.equal(lab.asked().query.has('nonsense'), false)
  lab.upstream.requests.length = 0
  const result = await lab.call('list-things', { nonsense: 1 })
  assert.equal(result.isError, true)
  assert.match(JSON.stringify(result.content), /nonsense: is not an argument/)
  assert.equal(lab.upstream.requests.length, 0)
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
    await lab.running.get('/v1/v1/things')
    assert.equal(lab.asked().headers.authorization, `Bearer ${TOKEN}`)
    assert.match(lab.running.document.findings.find((each) => each.rule === 'unused-bind')?.message ?? '', /THINGS_KEY.*bearer token/)
  })
  test('its value is in no log, error or answer, even where the upstream repeats it', async () => {
    lab.replyWith(500, JSON.stringify({ message: `bad token ${TOKEN}` }))
    const rest = await (await lab.running.get(`/v1/v1/things?limit=${TOKEN}`)).text()
    const tool = JSON.stringify(await lab.call('get-thing', { id: 'x' }))
    lab.replyWith(200, JSON.stringify({ echo: { [TOKEN]: `Bearer ${TOKEN}`, b64: base64(`user:${TOKEN}`) } }))
    const echoed = await (await lab.running.get('/v1/v1/things')).text()
    lab.upstream.exec = () => [{ error: { code: 13, message: `no ${TOKEN}` } }]
    const exec = await (await lab.running.get('/v1/v1/exec?id=i&body.command=env')).text()
    for (const text of [rest, tool, echoed, exec, ...lab.running.log]) assert.ok(!text.includes(TOKEN), text)
    assert.match(rest, /bad token \*\*\*/)
    assert.match(exec, /no \*\*\*/)
    assert.ok(!echoed.includes(base64(TOKEN).slice(4, 20)))
  })
})

test('S8: a short value is in no error and no log, and stays in data', async () => {
  await using own = await runDocument(CATALOGUE, lab.upstream.url, { env: { THINGS_KEY: 'k3y' } })
  lab.replyWith(404, '{"code":"not_found","message":"nothing for k3y"}')
  assert.deepEqual(await (await own.get('/v1/v1/things')).json(), { code: 'not_found', message: 'nothing for ***' })
  assert.match(await (await own.get('/v1/k3y')).text(), /There is nothing at \/v1\/\*\*\*/)
  lab.upstream.exec = () => [{ error: { code: 13, message: 'no k3y' } }]
  assert.match(await (await own.get('/v1/v1/exec?id=k3y&body.command=ls')).text(), /no \*\*\*/)
  assert.ok(!own.log.some((line) => line.includes('k3y')), own.log.join(''))
  lab.replyWith(200, '{"monk3ys":"k3y"}')
  assert.deepEqual(await (await own.get('/v1/v1/things')).json(), { monk3ys: 'k3y' })
})

test('S9: an object mapped from $. is the whole document', async () => {
  assert.deepEqual(await (await lab.running.get('/v1/v1/things')).json(), { ok: true, deep: { list: [1, 2] } })
})

describe('S14: what of a document is tolerated', () => {
  test('the classes of the catalogue are warnings', () => {
    const rules = new Set(lab.running.document.findings.map((each) => each.rule))
    for (const rule of ['unknown-field', 'identifier', 'object-without-properties', 'unused-bind', 'hints', 'derived-inputs']) assert.ok(rules.has(rule), rule)
    assert.ok(lab.running.document.findings.every((each) => each.severity === 'warning' && each.line !== undefined))
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
  const { tools } = await lab.client.listTools()
  assert.deepEqual(tools.find((each) => each.name === 'exec')?.annotations, { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true })
})
