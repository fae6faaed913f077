/** What documents, callers and upstreams may do to a runner on purpose: each ends in one sentence, and nothing is let through. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, afterEach, before, describe, test } from 'node:test'
import { connect } from 'node:net'
import { gzipSync } from 'node:zlib'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { parseCapability, readDocument } from '../src/capability/document.ts'
import { serveCapability } from '../src/capability/serve.ts'
import { runDocument } from './support/capability.ts'
import type { RunningTest } from './support/capability.ts'
import { startUpstream } from './support/recording-upstream.ts'
import type { RecordingUpstream } from './support/recording-upstream.ts'

/** Characters that every encoding changes. */
const SECRET = 'p@ss word/+="ü"&%-of-ours'
const FORMATS = ['json', 'yaml', 'xml', 'csv', 'html', 'markdown'] as const

const ONE = `
naftiko: 1.0.0-alpha2
info: { label: One, description: One }
binds: [{ namespace: env, keys: { SECRET: SECRET } }]
capability:
  consumes:
    - type: http
      namespace: api
      baseUri: http://api.invalid
      authentication: { type: basic, username: user, password: '{{SECRET}}' }
      resources:
        - name: x
          path: /x
          operations:
            - { name: get, method: GET, inputParameters: [{ name: X-Note, in: header }, { name: q, in: query }, { name: Transfer-Encoding, in: header }] }
            - { name: put, method: POST, inputParameters: [{ name: data, in: body }] }
${FORMATS.map((format) => `            - { name: get-${format}, method: GET, outputRawFormat: ${format} }`).join('\n')}
        - name: loose
          path: '{host}/z'
          operations: [{ name: loose, method: GET }]
    - type: http
      namespace: open
      baseUri: http://open.invalid
      resources: [{ name: y, path: /y, operations: [{ name: y, method: GET, inputParameters: [{ name: Authorization, in: header }] }] }]
  exposes:
    - type: rest
      namespace: rest-one
      port: 18100
      resources:
        - path: /x
          operations:
            - { name: get, method: GET, call: api.get, inputParameters: [{ name: X-Note, in: query, type: string, description: Note }, { name: Transfer-Encoding, in: query, type: string, description: Odd }, { name: q, in: query, type: string, description: Q }] }
            - { name: put, method: POST, call: api.put, inputParameters: [{ name: data, in: body, type: array, description: Data }] }
${FORMATS.map((format) => `        - { path: /${format}, operations: [{ name: get-${format}, method: GET, call: api.get-${format} }] }`).join('\n')}
        - { path: '/loose/{host}', operations: [{ name: loose, method: GET, call: api.loose }] }
        - { path: /open, operations: [{ name: open, method: GET, call: open.y, inputParameters: [{ name: Authorization, in: header, type: string, description: The caller's own }] }] }
        - { path: '/raw/{{path}}', forward: { targetNamespace: api, trustedHeaders: [X-Trusted] } }
    - type: mcp
      namespace: mcp-one
      port: 18101
      tools:
        - { name: get, description: Gets, call: api.get, inputParameters: [{ name: q, type: string, description: Q, required: false }] }
        - { name: put, description: Puts, call: api.put, inputParameters: [{ name: data, type: array, description: Data }] }
`

let upstream: RecordingUpstream
let running: RunningTest
let client: Client
before(async () => {
  upstream = await startUpstream()
  running = await runDocument(ONE, upstream.url, { env: { SECRET }, timeouts: { connectMs: 5_000, totalMs: 20_000 } })
  client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: 'auto' } })
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
  upstream.answer = (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{}')
}

interface Told {
  readonly status: number
  readonly code: string
  readonly message: string
}
async function told(path: string, init?: RequestInit): Promise<Told> {
  const answer = await running.get(path, init)
  const body = (await answer.json()) as { code: string; message: string }
  return { status: answer.status, code: body.code, message: body.message }
}

describe('a document', () => {
  const deep = `${'['.repeat(50_000)}${']'.repeat(50_000)}`
  const bomb = ['a: &a [x, x, x, x, x, x, x, x, x, x]', ...'bcdefghi'.split('').map((name, at) => `${name}: &${name} [${Array.from({ length: 10 }, () => `*${'abcdefgh'[at] ?? ''}`).join(', ')}]`)].join('\n')
  const cases: readonly (readonly [string, string, RegExp])[] = [
    ['of aliases that multiply', `${bomb}\n${ONE}`, /Excessive alias count/],
    ['with an alias of nothing', 'naftiko: *nowhere', /is not YAML|Unresolved alias/],
    ['with a key twice', `${ONE}\nnaftiko: 1.0.0-alpha3\n`, /is not YAML: Map keys must be unique/],
    ['indented by tabs', 'naftiko: 1.0.0-alpha2\ninfo:\n\tlabel: x\n', /is not YAML/],
    ['nested past all sense', `naftiko: 1.0.0-alpha2\ninfo: ${deep}`, /nested too deeply|is not YAML/],
    ['of two documents', `${ONE}\n---\n${ONE}`, /is not YAML/],
    ['that is empty', '\n', /is no capability document/],
    ['that is a list', '- a\n- b\n', /is no capability document/],
    ['that is a number', '7\n', /is no capability document/],
    ['of bytes', '\0\u0001\u0002\n', /is not YAML|is no capability document/],
    ['with an unknown key at its root', `${ONE}\nextra: 1\n`, /extra is not a field|is not a field/],
    ['with __proto__ among its fields', ONE.replace('info: {', 'info: { __proto__: { a: 1 },'), /is not a field/],
    ['whose step looks ahead', ONE.replace('call: api.get-json }', 'steps: [{ type: lookup, name: a, index: b, match: id, lookupValue: x, outputParameters: [id] }, { type: call, name: b, call: api.get }] }'), /whose lookup into "b" leads nowhere/],
    ['whose step looks into itself', ONE.replace('call: api.get-json }', 'steps: [{ type: lookup, name: a, index: a, match: id, lookupValue: x, outputParameters: [id] }] }'), /leads nowhere/],
    ['with two steps of one name', ONE.replace('call: api.get-json }', 'steps: [{ type: call, name: a, call: api.get }, { type: call, name: a, call: api.get }] }'), /two steps "a"/],
    ['with two adapters on one port', ONE.replace('18101', '18100'), /use the port 18100 of 127\.0\.0\.1 twice/],
    ['with two adapters over stdio', `${ONE}${[1, 2].map((each) => `    - { type: mcp, transport: stdio, namespace: s${each}, tools: [{ name: t, description: T, call: api.get }] }\n`).join('')}`, /there is one stdin/],
    ['with a header that is no header', ONE.replace("{ type: basic, username: user, password: '{{SECRET}}' }", "{ type: apikey, key: 'X Key', value: '{{SECRET}}' }"), /no name of a header/],
    ['that forwards to nowhere', ONE.replace('targetNamespace: api', 'targetNamespace: gone'), /forwards to "gone"/],
    ['with a pattern that is none', ONE.replace('type: string, description: Note', "type: string, description: Note, pattern: '('"), /not a regular expression/],
  ]
  for (const [what, text, message] of cases) {
    test(`${what} is told and not run`, async () => {
      const { capability, findings } = await parseCapability(text, '.')
      assert.equal(capability, null)
      const errors = findings.filter((each) => each.severity === 'error')
      assert.ok(errors.some((each) => message.test(`${each.path.at(-1) ?? ''} ${each.message}`)), JSON.stringify(errors.slice(0, 3)))
    })
  }
  test('that is misunderstood easily is warned of', async () => {
    const { findings } = await parseCapability(ONE.replace('call: api.get-json }', "steps: [{ type: call, name: a, call: api.get, with: { q: $.b.id } }] }"), '.')
    for (const message of [/"\$\.b\.id": no step before it/, /header Transfer-Encoding, which belongs to the connection/, /put behind a slash/]) {
      assert.ok(findings.some((each) => each.severity === 'warning' && message.test(each.message)), JSON.stringify(findings))
    }
  })
  for (const [what, text, message] of [
    ['whose with names no input', ONE.replace('call: api.put, inputParameters: [{ name: data, type', 'call: api.put, with: { data: tools.dat }, inputParameters: [{ name: data, type'), /"with" names an input "dat" that it does not declare/],
    ['whose mapping names no step', ONE.replace('call: api.get-json }', "steps: [{ type: call, name: a, call: api.get }], mappings: [{ targetName: x, value: $.b.id }] }"), /mapping of "x" is "\$\.b\.id": no step has that name/],
    ['whose path has no place for an input', ONE.replace('name: q, in: query, type: string, description: Q', 'name: q, in: path, type: string, description: Q'), /path input "q" that its path \/x has no place for/],
    ['whose prompt names no argument', `${ONE}      prompts: [{ name: p, label: P, description: P, arguments: [{ name: who, description: W }], template: [{ role: user, content: 'Hi {{whom}}' }] }]\n`, /prompt "p" that names \{\{whom\}\}/],
  ] as const) {
    test(`${what} is warned of, and one that does is not`, async () => {
      const told = async (document: string) => (await parseCapability(document, '.')).findings.filter((each) => message.test(each.message)).map((each) => each.severity)
      assert.deepEqual([await told(text), await told(ONE)], [['warning'], []])
    })
  }
  test('that has no end, is a directory, or is too large is not read to its end', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-abuse-'))
    try {
      writeFileSync(join(directory, 'large.yml'), Buffer.alloc(8 * 1024 * 1024 + 1, 0x20))
      await assert.rejects(readDocument('/dev/zero'), /larger than 8 MiB/)
      await assert.rejects(readDocument(directory), /can't be read \(EISDIR\)/)
      await assert.rejects(readDocument(join(directory, 'large.yml')), /larger than 8 MiB/)
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
  test('that imports in a circle, or without end, is told', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'berth-abuse-'))
    const head = 'ikanos: 1.0.0-beta4\n'
    const part = (name: string, from: string): string => `  - { from: ./${from}, import: ${name} }\n`
    try {
      const a = join(directory, 'a.yml')
      writeFileSync(a, `${head}capability:\n  consumes:\n  ${part('x', 'b.yml')}`)
      writeFileSync(join(directory, 'b.yml'), `${head}consumes:\n${part('x', 'c.yml')}`)
      writeFileSync(join(directory, 'c.yml'), `${head}consumes:\n${part('x', 'b.yml')}`)
      assert.ok((await readDocument(a)).findings.some((each) => /go in a circle/.test(each.message)))
      const files = [1, 2, 3, 4, 5, 6].map((each) => `f${each}.yml`)
      files.forEach((file, at) => writeFileSync(join(directory, file), `${head}consumes:\n${Array.from({ length: 20 }, () => part('x', files[at + 1] ?? 'leaf.yml')).join('')}`))
      writeFileSync(join(directory, 'leaf.yml'), `${head}consumes:\n  - { namespace: x, type: http, baseUri: http://x.invalid }\n`)
      writeFileSync(a, `${head}capability:\n  consumes:\n  ${part('x', 'f1.yml')}`)
      const { capability, findings } = await readDocument(a)
      assert.equal(capability, null)
      assert.ok(findings.some((each) => /past the 256 imports/.test(each.message)), JSON.stringify(findings.slice(0, 3)))
    } finally {
      rmSync(directory, { recursive: true })
    }
  })
})

describe('a start that fails', () => {
  test('because its second port is taken listens nowhere, and says what to do', async () => {
    const taken = createServer().listen(0, '127.0.0.1')
    const free = createServer().listen(0, '127.0.0.1')
    await Promise.all([taken, free].map((each) => (each.listening ? Promise.resolve() : new Promise((resolve) => each.once('listening', resolve)))))
    const [mcpPort, restPort] = [taken, free].map((each) => (each.address() as AddressInfo).port)
    await new Promise((resolve) => free.close(resolve))
    try {
      const { capability } = await parseCapability(ONE, '.')
      assert.ok(capability !== null)
      const start = serveCapability(capability, { directory: '.', env: { SECRET }, binds: {}, baseUri: null, restPort: restPort ?? 0, mcpPort: mcpPort ?? 0, writeLog: () => undefined })
      await assert.rejects(start, new RegExp(`Port ${mcpPort} of 127\\.0\\.0\\.1 can't be listened on: something else listens there; choose another with --rest-port or --mcp-port`))
      await assert.rejects(fetch(`http://127.0.0.1:${restPort}/x`), /fetch failed/)
    } finally {
      await new Promise((resolve) => taken.close(resolve))
    }
  })
})

describe('a caller', () => {
  for (const note of ['a\r\nX-Evil: 1', 'a\nb', 'a\0b', 'a\u0001b', 'a\u007fb']) {
    test(`can't break a header with ${JSON.stringify(note)}`, async () => {
      const { status, message } = await told(`/x?X-Note=${encodeURIComponent(note)}`)
      assert.deepEqual([status, message], [400, 'X-Note: must be one line without control characters.'])
      assert.equal(upstream.requests.length, 0)
    })
  }
  test('sends any other text in a header as it is', async () => {
    await running.get(`/x?X-Note=${encodeURIComponent('tab\tümläut 界')}`)
    assert.equal(Buffer.from(String(upstream.requests[0]?.headers['x-note']), 'latin1').toString(), 'tab\tümläut 界')
  })
  test('can\'t name a header of the connection', async () => {
    await running.get('/x?Transfer-Encoding=chunked')
    assert.equal(upstream.requests[0]?.headers['transfer-encoding'], undefined)
  })
  for (const host of ['.evil.example', '@evil.example', ':1', '..%2f..', 'evil.example%2f']) {
    test(`can't move the host with ${host}`, async () => {
      const answer = await running.get(`/loose/${host}`)
      assert.ok(answer.status === 200 || answer.status === 400, String(answer.status))
      if (answer.status === 200) assert.match(upstream.requests[0]?.path ?? '', /^\/[^/]+\/z$/)
    })
  }
  for (const path of ['/../secret', '/%2e%2e/secret', '/a/%2e%2e%2fsecret', '/..%2fsecret', '/..%5csecret', '/a/..%2F..%2Fsecret']) {
    test(`can't leave a forward by ${path}`, async () => {
      const { port } = new URL(running.rest)
      const answer = await raw(Number(port), `GET /raw${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
      assert.match(answer, /^HTTP\/1\.1 40[04] /)
      assert.equal(upstream.requests.length, 0)
    })
  }
  for (const target of ['//', '//[', '/%', '/%zz', '/x?%', 'http://[', '*', '/\\\\..', `/${'a/'.repeat(3000)}`]) {
    test(`gets no 500 for ${target.slice(0, 20)}`, async () => {
      const { port } = new URL(running.rest)
      const answer = await raw(Number(port), `GET ${target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`)
      assert.match(answer, /^HTTP\/1\.1 [24]\d\d /)
    })
  }
  test('can\'t nest what it sends past all sense, and may nest it far', async () => {
    const nested = (depth: number): string => `{"data":${'['.repeat(depth - 1)}${']'.repeat(depth - 1)}}`
    assert.equal((await running.get('/x', { method: 'POST', body: nested(200) })).status, 200)
    const { status, message } = await told('/x', { method: 'POST', body: nested(201) })
    assert.deepEqual([status, message], [400, 'body: must be nested at most 200 deep.'])
    assert.equal((await told('/x', { method: 'POST', body: nested(1_000_000) })).status, 400)
    let data: unknown[] = []
    for (let depth = 0; depth < 300; depth += 1) data = [data]
    const { isError } = await client.callTool({ name: 'put', arguments: { data } })
    assert.equal(isError, true)
  })
  test('that brings its own credential is told what the upstream says to it', async () => {
    upstream.answer = (_, response) => void response.writeHead(403, { 'content-type': 'application/json' }).end('{"code":"yours"}')
    const own = await told('/open', { headers: { authorization: 'Bearer of-the-caller' } })
    assert.deepEqual([own.status, own.code], [403, 'yours'])
    assert.equal((await told('/open')).code, 'upstream_auth')
  })
})

describe('an upstream', () => {
  for (const [what, type, body, wanted] of [
    ['lines of JSON', 'application/x-ndjson', '{"a":1}\n\n{"a":2}\r\n', [{ a: 1 }, { a: 2 }]],
    ['records of JSON', 'application/json-seq', '\u001e{"a":1}\n\u001e[2]\n', [{ a: 1 }, [2]]],
    ['no lines', 'application/jsonl; charset=utf-8', '\n', []],
    [
      'events',
      'text/event-stream; charset=utf-8',
      ': hello\n\ndata: {"a":1}\n\nid: 7\nevent: end\ndata: two\ndata:  lines\n\nevent: nothing\n\ndata\r\n\r\ndata: cut off',
      [{ event: 'message', data: { a: 1 } }, { event: 'end', id: '7', data: 'two\n lines' }, { event: 'message', id: '7', data: '' }],
    ],
  ] as const) {
    test(`of ${what} is a list of them`, async () => {
      upstream.answer = (_, response) => void response.writeHead(200, { 'content-type': type }).end(body)
      const answer = await running.get('/x')
      assert.equal(answer.status, 200)
      assert.deepEqual(await answer.json(), wanted)
    })
  }
  test('of lines that are no JSON, or of documents that say they are one, is a 502', async () => {
    for (const [type, body] of [['application/x-ndjson', '{"a":1}\n{"a":\n'], ['application/json', '{"a":1}\n{"a":2}\n']] as const) {
      upstream.answer = (_, response) => void response.writeHead(200, { 'content-type': type }).end(body)
      const { status, code, message } = await told('/x')
      assert.deepEqual([status, code, message], [502, 'upstream_error', 'The upstream\'s answer is not json, which "get" promises.'])
    }
  })
  test('of events without end is a timeout', async () => {
    await using own = await runDocument(ONE, upstream.url, { env: { SECRET }, timeouts: { connectMs: 5_000, totalMs: 300 } })
    upstream.answer = (_, response) => void response.writeHead(200, { 'content-type': 'text/event-stream' }).write('data: 1\n\n')
    const answer = await own.get('/x')
    assert.equal(answer.status, 504)
    assert.equal(((await answer.json()) as { code: string }).code, 'upstream_timeout')
  })
  test('that compresses is read, and what multiplies without end is not', async () => {
    upstream.answer = (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(gzipSync('{"a":1}'))
    assert.deepEqual(await (await running.get('/x')).json(), { a: 1 })
    const bomb = gzipSync(Buffer.alloc(200 * 1024 * 1024))
    upstream.answer = (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end(bomb)
    assert.equal((await told('/x')).code, 'upstream_too_large')
    upstream.answer = (_, response) => void response.writeHead(200, { 'content-encoding': 'gzip' }).end('not gzip')
    assert.match((await told('/x')).message, /can't be decompressed/)
  })
  test('that redirects to another host gets no credential there', async () => {
    await using other = await startUpstream()
    other.answer = (_, response) => void response.end('{}')
    for (const status of [301, 302, 303, 307, 308]) {
      upstream.answer = (_, response) => void response.writeHead(status, { location: `${other.url}/x` }).end()
      assert.equal((await told('/x')).code, 'upstream_error')
      assert.equal((await told('/raw/x')).code, 'upstream_error')
    }
    assert.equal(other.requests.length, 0)
  })
  const entities = `<!DOCTYPE a [<!ENTITY a "${'x'.repeat(100)}">${'bcdefgh'.split('').map((name, at) => `<!ENTITY ${name} "${`&${'abcdefg'[at] ?? ''};`.repeat(10)}">`).join('')}]><a>&h;</a>`
  const hostile: readonly (readonly [string, (typeof FORMATS)[number], string])[] = [
    ['JSON past all depth', 'json', `${'['.repeat(1_000_000)}${']'.repeat(1_000_000)}`],
    ['YAML past all depth', 'yaml', '['.repeat(100_000)],
    ['YAML of aliases that multiply', 'yaml', `a: &a [${'x,'.repeat(200)}]\nb: &b [${'*a,'.repeat(50)}]\nc: [${'*b,'.repeat(60)}]`],
    ['XML past all depth', 'xml', '<a>'.repeat(100_000)],
    ['XML of entities that multiply', 'xml', entities],
    ['CSV of one endless quote', 'csv', `"${'a'.repeat(1_000_000)}`],
    ['Markdown of one endless line', 'markdown', `|\n${' '.repeat(200_000)}x|\n# ${' '.repeat(200_000)}x`],
    ['Markdown of one endless rule', 'markdown', `|a\n|${'-'.repeat(200_000)}x|`],
    ['HTML of tags that never end', 'html', '<table>'.repeat(5_000)],
  ]
  for (const [what, format, body] of hostile) {
    test(`of ${what} is a document or one sentence, soon`, async () => {
      upstream.answer = (_, response) => void response.writeHead(200).end(body)
      const answer = await running.get(`/${format}`)
      assert.ok(answer.status === 200 || answer.status === 502, String(answer.status))
      const text = await answer.text()
      assert.ok(text.length <= 2 * body.length + 10_000, String(text.length))
    })
  }
  test('whose error is a page of brackets is told soon', async () => {
    upstream.answer = (_, response) => void response.writeHead(500).end('<'.repeat(5 * 1024 * 1024))
    assert.deepEqual((await told('/x')).code, 'upstream_error')
  })
})

describe('whoever cancels ends the request upstream', { timeout: 60_000 }, () => {
  const gone = (): Promise<void> =>
    new Promise((resolve) => {
      upstream.answer = (_, response) => void response.on('close', resolve)
    })
  const asked = async (): Promise<void> => {
    while (upstream.requests.length === 0) await new Promise((resolve) => setImmediate(resolve))
  }
  test('over MCP', async () => {
    const ended = gone()
    const cancel = new AbortController()
    const call = client.callTool({ name: 'get', arguments: {} }, { signal: cancel.signal })
    await asked()
    cancel.abort()
    await assert.rejects(call)
    await ended
  })
  test('over REST', async () => {
    const ended = gone()
    const cancel = new AbortController()
    const call = running.get('/x', { signal: cancel.signal })
    await asked()
    cancel.abort()
    await assert.rejects(call)
    await ended
  })
})

test('a secret is in nothing that leaves, in any of its forms', async () => {
  const basic = Buffer.from(`user:${SECRET}`).toString('base64')
  const forms = [SECRET, encodeURIComponent(SECRET), new URLSearchParams({ s: SECRET }).toString().slice(2), JSON.stringify(SECRET).slice(1, -1), Buffer.from(SECRET).toString('base64'), Buffer.from(SECRET).toString('base64url'), basic]
  const seen: string[] = []
  for (const status of [200, 400, 500]) {
    for (const body of [JSON.stringify({ message: forms.join(' | '), [SECRET]: forms, nested: { again: JSON.stringify({ SECRET }) } }), `<p>${forms.join('</p><p>')}</p>`]) {
      upstream.answer = (_, response) => void response.writeHead(status, { 'content-type': 'application/json', 'x-echo': encodeURIComponent(SECRET) }).end(body)
      seen.push(await (await running.get(`/x?q=${encodeURIComponent(SECRET)}`)).text())
      seen.push(JSON.stringify(await client.callTool({ name: 'get', arguments: { q: SECRET } })))
      seen.push(await (await running.get('/yaml')).text())
    }
  }
  seen.push(await (await running.get(`/${encodeURIComponent(SECRET)}`)).text())
  seen.push(await (await running.get('/x', { method: 'POST', body: `{"data": "${SECRET}` })).text())
  seen.push(JSON.stringify(await client.callTool({ name: 'get', arguments: { [SECRET]: 1 } })))
  seen.push(...running.log)
  const inner = Buffer.from(SECRET).toString('base64').slice(0, 24)
  for (const text of seen) for (const form of [...forms, inner]) assert.ok(!text.includes(form), `${form} is in ${text.slice(0, 300)}`)
})

test('a token that was fetched is struck out like a bound secret', async () => {
  const document = ONE.replace("{ type: basic, username: user, password: '{{SECRET}}' }", `{ type: oauth2, authorizationServerUri: 'http://as.invalid', resource: 'http://api.invalid', tokenEndpoint: '${upstream.url}/token' }`).replace('{ SECRET: SECRET }', '{ CLIENT_ID: SECRET, CLIENT_SECRET: SECRET }')
  await using own = await runDocument(document, upstream.url, { env: { SECRET } })
  upstream.answer = (request, response) => {
    if (request.path === '/token') return void response.end('{"access_token":"a-token-of-the-hour","expires_in":3600}')
    return void response.writeHead(200).end(JSON.stringify({ echo: request.headers.authorization }))
  }
  assert.deepEqual(await (await own.get('/x')).json(), { echo: 'Bearer ***' })
})

test('a credential that no request can carry is told as that', async () => {
  await using own = await runDocument(ONE.replace("{ type: basic, username: user, password: '{{SECRET}}' }", "{ type: bearer, token: '{{SECRET}}' }"), upstream.url, { env: { SECRET: 'with-a-break\n' } })
  const answer = await own.get('/x')
  const text = await answer.text()
  assert.match(text, /a line break or a control character in it, which no request can carry; see SECRET/)
  assert.ok(!text.includes('with-a-break'))
})

function raw(port: number, request: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, '127.0.0.1', () => socket.write(request))
    let text = ''
    socket.on('data', (chunk: Buffer) => (text += chunk.toString()))
    socket.on('close', () => resolve(text))
    socket.on('error', reject)
  })
}
