/** Script steps: what they see and give, what ends them, and that nothing of the machine is in their reach. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { parseCapability } from '../src/capability/document.ts'
import { ScriptPool } from '../src/capability/script/pool.ts'
import { runDocument, scriptDocument } from './support/capability.ts'
import { startUpstream } from './support/recording-upstream.ts'
import type { RecordingUpstream } from './support/recording-upstream.ts'

const KEY = 'a-key-that-scripts-may-be-given'
let upstream: RecordingUpstream
let directory: string

before(async () => {
  upstream = await startUpstream()
  upstream.answer = (_, response) => void response.writeHead(200, { 'content-type': 'application/json' }).end('{"items":[{"n":3,"on":true},{"n":5,"on":false},{"n":4,"on":true}]}')
  directory = mkdtempSync(join(tmpdir(), 'berth-scripts-'))
})
after(async () => {
  await upstream[Symbol.asyncDispose]()
  rmSync(directory, { recursive: true })
})

function write(name: string, text: string): string {
  const path = join(directory, name)
  mkdirSync(dirname(path), { recursive: true })
  writeFileSync(path, text)
  return name
}

interface Given {
  readonly step?: string
  readonly control?: string
  readonly mappings?: string
}

/** A document whose one unit calls, then runs `main.js`. */
function document({ step = '', control = '', mappings = '[]' }: Given = {}): string {
  return scriptDocument(`language: javascript, location: '${pathToFileURL(directory).href}', file: main.js, ${step}`, mappings, control)
}

async function run(script: string, path = '/x', given: Given = {}): Promise<{ status: number; body: unknown; log: string }> {
  write('main.js', script)
  await using own = await runDocument(document(given), upstream.url, { env: { KEY } })
  const answer = await own.get(path)
  return { status: answer.status, body: await answer.json(), log: own.log.join('') }
}

const control = (scripting: string): string => `    - { type: control, port: 2, management: { scripting: ${scripting} } }`

describe('a script', () => {
  test('sees the steps before it, its inputs and what with gives it, and gives result', async () => {
    const script = 'var data = context["fetch-data"]; result = { same: data.items.length === fetchData.items.length, least, word, number, absent, kept: data.items.filter((each) => each.n >= least) }'
    const { status, body } = await run(script, '/x?least=4', { step: 'with: { word: hello, number: 7, absent: "{{nothing}}" }' })
    assert.equal(status, 200)
    assert.deepEqual(body, { same: true, least: 4, word: 'hello', number: 7, absent: null, kept: [{ n: 5, on: false }, { n: 4, on: true }] })
  })
  test('is mapped from like any step, and may declare its result with let', async () => {
    const { body } = await run('let result = { total: fetchData.items.reduce((sum, each) => sum + each.n, 0) }', '/x', { mappings: '[{ targetName: sum.all, value: $.shaped.total }]' })
    assert.deepEqual(body, { sum: { all: 12 } })
  })
  test('uses what its dependencies define, in their order', async () => {
    write('lib/a.js', 'var base = 1')
    write('lib/b.js', 'function plus(n) { return n + base }')
    assert.deepEqual((await run('result = plus(1)', '/x', { step: 'dependencies: [lib/a.js, lib/b.js]' })).body, 2)
  })
  for (const [what, script] of [
    ['nothing', '1 + 1'],
    ['a function', 'result = () => 1'],
    ['undefined', 'result = undefined'],
  ] as const) {
    test(`that gives ${what} gives null`, async () => assert.deepEqual((await run(script)).body, null))
  }
  test('may use promises', async () => {
    assert.deepEqual((await run('(async () => { await null; globalThis.result = 5 })()')).body, 5)
  })
  test('leaves nothing to the next: each has a language of its own', async () => {
    write('main.js', 'result = typeof left; globalThis.left = 1; Array.prototype.push = 1')
    await using own = await runDocument(document(), upstream.url, { env: { KEY } })
    for (let count = 0; count < 3; count += 1) assert.equal(await (await own.get('/x')).json(), 'undefined')
  })
  test('runs beside others', async () => {
    write('main.js', 'result = least * 2')
    await using own = await runDocument(document(), upstream.url, { env: { KEY } })
    const numbers = [1, 2, 3, 4, 5, 6, 7, 8]
    const answers = await Promise.all(numbers.map(async (each) => (await own.get(`/x?least=${each}`)).json()))
    assert.deepEqual(answers, numbers.map((each) => each * 2))
  })
})

describe('a script has no way to the machine', () => {
  for (const name of ['process', 'require', 'fetch', 'setTimeout', 'WebAssembly', 'Worker', 'XMLHttpRequest', 'console', 'Deno', 'Java', 'std', 'os', 'bjson', 'KEY', '__dirname']) {
    test(`there is no ${name}`, async () => assert.equal((await run(`result = typeof ${name}`)).body, 'undefined'))
  }
  for (const [what, script] of [
    ['import', 'import("node:fs").then((fs) => { globalThis.result = "in" }, () => { globalThis.result = "out" })'],
    ['the constructor of functions', 'try { result = Function("return process")() } catch { result = "out" }'],
    ['the constructor of what it was given', 'try { result = context.constructor.constructor("return process.env")() } catch { result = "out" }'],
  ] as const) {
    test(`not by ${what}`, async () => assert.equal((await run(script)).body, 'out'))
  }
  test('a static import is an error of the script', async () => {
    const { status, body } = await run('import fs from "node:fs"')
    assert.equal(status, 502)
    assert.equal((body as { code: string }).code, 'script_failed')
  })
  test('a credential that the document hands it is struck out of what it gives', async () => {
    const { body, log } = await run('result = { key, reversed: key.length }', '/x', { step: "with: { key: '{{KEY}}' }" })
    assert.deepEqual(body, { key: '***', reversed: KEY.length })
    assert.ok(!log.includes(KEY))
    const thrown = await run('throw new Error("it is " + key)', '/x', { step: "with: { key: '{{KEY}}' }" })
    assert.ok(!JSON.stringify(thrown).includes(KEY))
  })
})

describe('a script that goes wrong', () => {
  const cases: readonly (readonly [string, string, string, number, string, RegExp])[] = [
    ['throws', 'var a = 1\nthrow new Error("no such thing")', '', 502, 'script_failed', /"shaped" failed: no such thing \(line 2\)/],
    ['is no JavaScript', 'let x = ;', '', 502, 'script_failed', /failed: unexpected token/],
    ['never ends', 'for (;;) {}', '{ statementLimit: 9007199254740991, timeout: 200 }', 504, 'script_timeout', /longer than 200 ms/],
    ['never ends in an expression', '/(a+)+$/.test("a".repeat(60) + "b")', '{ statementLimit: 9007199254740991, timeout: 200 }', 504, 'script_timeout', /longer than 200 ms/],
    ['runs too many statements', 'for (;;) {}', '', 502, 'script_failed', /more than 100000 statements/],
    ['catches what ends it', 'for (;;) { try { for (;;) {} } catch {} }', '', 502, 'script_failed', /more than 100000 statements/],
    ['takes too much memory', 'var all = []; for (;;) all.push(new Uint8Array(1 << 20))', '', 502, 'script_failed', /more than 64 MiB/],
    ['calls itself for ever', 'function f() { return f() + 1 } f()', '', 502, 'script_failed', /failed: .*stack/i],
    ['gives too much', 'result = "x".repeat(11 * 1024 * 1024)', '', 502, 'script_failed', /more than 10 MiB/],
    ['gives a circle', 'result = {}; result.self = result', '', 502, 'script_failed', /failed: .*circular/i],
    ['breaks JSON', 'JSON.stringify = () => "{"', '', 502, 'script_failed', /no JSON/],
  ]
  for (const [what, script, scripting, status, code, message] of cases) {
    test(`because it ${what} is a ${status} ${code}`, async () => {
      const { status: given, body } = await run(script, '/x', scripting === '' ? {} : { control: control(scripting) })
      assert.equal(given, status, JSON.stringify(body))
      const failure = body as { code: string; message: string }
      assert.equal(failure.code, code)
      assert.match(failure.message, message)
    })
  }
  test('whose caller goes away is ended', async () => {
    const pool = new ScriptPool()
    try {
      const cancel = new AbortController()
      const job = { language: 'javascript' as const, sources: [{ name: 'x', text: 'for (;;) {}' }], bindings: '{"context":{},"names":{}}', timeoutMs: 600_000, statementLimit: Number.MAX_SAFE_INTEGER }
      const under = pool.run('x', job, cancel.signal)
      cancel.abort()
      await assert.rejects(under, /cancelled/)
      assert.equal(await pool.run('y', { ...job, sources: [{ name: 'y', text: 'result = 1' }] }, null), 1)
    } finally {
      await pool.close()
    }
  })
})

describe('scripts that are refused before anything listens', () => {
  before(() => {
    write('main.js', 'result = 1')
    write('real/main.js', 'result = 1')
    symlinkSync('/etc/hostname', join(directory, 'link.js'))
    symlinkSync(join(directory, 'real'), join(directory, 'linked'))
  })
  const cases: readonly (readonly [string, (text: string) => string, RegExp])[] = [
    ['Groovy', (text) => text.replace('language: javascript', 'language: groovy'), /a script in groovy; only javascript and python have a sandbox here/],
    ['no language', (text) => text.replace('language: javascript, ', ''), /says not in which language/],
    ['no location', (text) => text.replace(/location: '[^']*', /, ''), /says not where it lies/],
    ['a file that is not there', (text) => text.replace('main.js', 'none.js'), /none\.js is not in /],
    ['a location that is not there', (text) => text.replace("', file", "/nowhere', file"), /which is not there/],
    ['a dependency that is not there', (text) => text.replace('file: main.js,', 'file: main.js, dependencies: [none.js]'), /none\.js is not in /],
    ['a path that leaves', (text) => text.replace('main.js', '../main.js'), /"\.\.\/main\.js", which is no path below/],
    ['an absolute path', (text) => text.replace('main.js', '/etc/hostname'), /which is no path below/],
    ['a link', (text) => text.replace('main.js', 'link.js'), /is a link/],
    ['a linked directory', (text) => text.replace('main.js', 'linked/main.js'), /is a link/],
    ['a language that is not allowed', (text) => text + control('{ allowedLanguages: [python] }'), /doesn't allow/],
    ['scripts turned off', (text) => text + control('{ enabled: false }'), /turns off/],
    ['a control adapter of no grammar', (text) => text + control('{ timeout: 0 }'), /whole number from 1/],
  ]
  for (const [what, change, message] of cases) {
    test(what, async () => {
      const { capability, findings } = await parseCapability(change(document()), directory)
      assert.equal(capability, null)
      assert.ok(findings.some((each) => each.severity === 'error' && message.test(each.message)), JSON.stringify(findings))
    })
  }
  test('language and location may come from the control adapter', async () => {
    const bare = document({ control: control(`{ defaultLanguage: javascript, defaultLocation: '${pathToFileURL(directory).href}' }`) }).replace(/language: javascript, location: '[^']*', /, '')
    await using own = await runDocument(bare, upstream.url, { env: { KEY } })
    assert.equal(await (await own.get('/x')).json(), 1)
  })
})
