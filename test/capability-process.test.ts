/** `berth capability` as people start it: run, lint, what is missing, and MCP over stdio. */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client } from '@modelcontextprotocol/client'
import { StdioClientTransport } from '@modelcontextprotocol/client/stdio'
import { Ajv2020 } from 'ajv/dist/2020.js'
import { parse } from 'yaml'
import { parseCapability } from '../src/capability/document.ts'
import { contractDocument, referenceDocument } from './support/capability.ts'
import { startUpstream } from './support/recording-upstream.ts'

const MAIN = fileURLToPath(new URL('../src/cli/main.ts', import.meta.url))
const ORDERS = fileURLToPath(new URL('fixtures/capability/orders.yml', import.meta.url))
const PHOTOS = fileURLToPath(new URL('fixtures/capability/photos.yml', import.meta.url))
const ADAPTERS = fileURLToPath(new URL('fixtures/capability/adapters.yml', import.meta.url))
const EXAMPLE = fileURLToPath(new URL('../docs/examples/koyeb-instances.yml', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'berth-capability-process-'))
after(() => rmSync(directory, { recursive: true }))

interface Ended {
  readonly status: number | null
  readonly out: string
  readonly err: string
}

async function berth(args: readonly string[], env: Record<string, string> = {}): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, 'capability', ...args], { env: { PATH: process.env['PATH'] ?? '', ...env } })
  let [out, err] = ['', '']
  child.stdout.on('data', (chunk: Buffer) => (out += chunk.toString()))
  child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
  const [status] = (await once(child, 'close')) as [number | null]
  return { status, out, err }
}

describe('berth capability run', () => {
  test('a missing variable ends it with status 1, its name, and nothing that listened', async () => {
    const { status, err } = await berth(['run', ORDERS, '--rest-port', '0', '--mcp-port', '0', '--bind', 'ORDERS_TOKEN=a-secret-value'])
    assert.equal(status, 1)
    assert.match(err, /The variable TENANT \(the variable ORDERS_TENANT\) is not set/)
    assert.ok(!err.includes('a-secret-value') && !err.includes('127.0.0.1'), err)
  })
  test('a document with errors, one that is not there, a wrong port and a wrong address are one sentence each', async () => {
    const broken = join(directory, 'broken.yml')
    writeFileSync(broken, readFileSync(ORDERS, 'utf8').replace('type: http', 'type: gopher'))
    const env = { ORDERS_TOKEN: 'x', ORDERS_TENANT: 'y' }
    for (const [args, status, sentence] of [
      [[broken], 1, /has errors and is not run/],
      [[join(directory, 'none.yml')], 1, /is not there/],
      [[ORDERS, '--rest-port', '70000'], 2, /not a port/],
      [[ORDERS, '--base-uri', 'ftp://x'], 1, /not an http or https address/],
      [[ORDERS, '--bind', 'nonsense'], 2, /not KEY=VALUE/],
    ] as const) {
      const ended = await berth(['run', ...args], env)
      assert.equal(ended.status, status, ended.err)
      assert.match(ended.err, sentence)
    }
  })
  test('it listens until a signal, calls the upstream of --base-uri, and logs without queries or secrets', async () => {
    await using upstream = await startUpstream()
    const secret = 'koyeb-secret-key'
    const child = spawn(process.execPath, [MAIN, 'capability', 'run', EXAMPLE, '--rest-port', '0', '--mcp-port', '0', '--base-uri', upstream.url, '--bind', `KOYEB_API_KEY=${secret}`], { env: { PATH: process.env['PATH'] ?? '' } })
    let err = ''
    child.stderr.on('data', (chunk: Buffer) => (err += chunk.toString()))
    try {
      const deadline = Date.now() + 60_000
      while (!/MCP on http/.test(err)) {
        assert.ok(Date.now() < deadline && child.exitCode === null, err)
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      const rest = /REST on (\S+)/.exec(err)?.[1] ?? ''
      assert.equal((await fetch(`${rest}/v1/instances?app_id=hidden-query`)).status, 200)
      const exec = await fetch(`${rest}/v1/instances/i-1/exec`, { method: 'POST', body: JSON.stringify({ command: ['ls'] }) })
      assert.equal(((await exec.json()) as { exit_code: number }).exit_code, 3)
      child.kill('SIGTERM')
      const [status] = (await once(child, 'close')) as [number | null]
      assert.equal(status, 0)
      assert.match(err, /"path":"\/v1\/instances","status":200/)
      assert.ok(!err.includes(secret) && !err.includes('hidden-query'), err)
    } finally {
      child.kill('SIGKILL')
    }
  })
  test('over stdio the protocol is on stdout alone', async () => {
    const file = join(directory, 'stdio.yml')
    writeFileSync(
      file,
      `
naftiko: 1.0.0-alpha2
info: { label: Stdio, description: Stdio }
capability:
  exposes:
    - type: mcp
      transport: stdio
      namespace: stdio
      tools: [{ name: greet, description: Says hello, outputParameters: [{ name: greeting, type: string, value: hello }] }]
`,
    )
    const client = new Client({ name: 'test', version: '1' })
    await client.connect(new StdioClientTransport({ command: process.execPath, args: [MAIN, 'capability', 'run', file], stderr: 'ignore' }))
    try {
      assert.deepEqual((await client.callTool({ name: 'greet', arguments: {} })).structuredContent, { greeting: 'hello' })
    } finally {
      await client.close()
    }
  })
})

describe('berth capability lint', () => {
  test('tells place, rule and sentence; warnings leave the status 0, errors make it 1', async () => {
    const fine = await berth(['lint', ORDERS])
    assert.equal(fine.status, 0)
    assert.match(fine.out, /orders\.yml:\d+:\d+: warning: capability\.exposes\[1\]\.tools\[0\]\.hints of "create-order" say readOnly, and it calls POST \/orders; .* \[hints\]/)
    assert.match(fine.err, /0 errors, \d+ warnings?; it can be run/)
    const broken = join(directory, 'lint.yml')
    writeFileSync(broken, 'naftiko: 1.0.0-alpha2\ncapability:\n  consumes:\n    - type: http\n      namespace: a b\n      baseUri: nowhere\n')
    const bad = await berth(['lint', broken])
    assert.equal(bad.status, 1)
    assert.match(bad.out, /lint\.yml:5:18: error: capability\.consumes\[0\]\.namespace "a b" is not a name/)
    const json = await berth(['lint', '--json', broken])
    assert.equal(json.status, 1)
    assert.deepEqual((JSON.parse(json.out) as { line: number; rule: string }[]).map((each) => [each.line, each.rule]), [[5, 'identifier'], [6, 'identifier']])
  })
})

describe('our grammar beside the published schemas', () => {
  const cases = [
    ['naftiko-alpha2.schema.json', ORDERS],
    ['naftiko-alpha2.schema.json', EXAMPLE],
    ['ikanos-beta4.schema.json', PHOTOS],
    ['naftiko-alpha2.schema.json', ADAPTERS],
  ] as const
  for (const [schema, file] of cases) {
    const path = contractDocument(schema)
    test(`${file.split('/').at(-1) ?? ''} is valid by ${schema}, and by ours without a warning about its grammar`, { skip: path === null ? 'the published schema is not at hand' : false }, async () => {
      const validate = new Ajv2020({ strict: false, allErrors: true, validateFormats: false }).compile(JSON.parse(readFileSync(path ?? '', 'utf8')) as object)
      const text = readFileSync(file, 'utf8')
      assert.ok(validate(parse(text)), JSON.stringify(validate.errors?.slice(0, 5)))
      const { findings } = await parseCapability(text, '.')
      assert.deepEqual(findings.filter((each) => ['unknown-field', 'identifier', 'type', 'required', 'choice', 'mode', 'empty'].includes(each.rule)), [])
    })
  }
  const IKANOS = referenceDocument('koyeb-instances.ikanos.yml')
  for (const [schema, file] of [
    ['naftiko-alpha2.schema.json', EXAMPLE],
    ['ikanos-beta4.schema.json', IKANOS],
    ['ikanos-beta4.schema.json', PHOTOS],
    ['naftiko-alpha2.schema.json', ADAPTERS],
  ] as const) {
    const path = contractDocument(schema)
    const isThere = path !== null && file !== null
    test(`what ${schema} refuses of ${file?.split('/').at(-1) ?? 'a document'}, ours refuses too`, { skip: isThere ? false : 'the published schema is not at hand' }, async () => {
      const validate = new Ajv2020({ strict: false, validateFormats: false }).compile(JSON.parse(readFileSync(path ?? '', 'utf8')) as object)
      // Each part in turn becomes what it can't be, goes, or gets a neighbour of no grammar.
      const document = parse(readFileSync(file ?? '', 'utf8')) as unknown
      assert.ok(validate(document))
      let compared = 0
      for (const change of mutations(document)) {
        const theirs = validate(change.document)
        compared += 1
        if (theirs) continue
        const { findings } = await parseCapability(JSON.stringify(change.document), '.')
        const isTold = findings.some((each) => each.severity === 'error' || ['unknown-field', 'identifier', 'object-without-properties', 'array-without-items'].includes(each.rule))
        assert.ok(isTold, `the schema refuses a change at ${change.path}, ours does not`)
      }
      assert.ok(compared > 200, String(compared))
    })
  }
})

function* mutations(document: unknown): Generator<{ path: string; document: unknown }> {
  const copy = (): unknown => JSON.parse(JSON.stringify(document)) as unknown
  const paths: (string | number)[][] = []
  const walk = (value: unknown, path: (string | number)[]): void => {
    if (path.length > 0) paths.push(path)
    if (typeof value === 'object' && value !== null) for (const [key, each] of Object.entries(value)) walk(each, [...path, Array.isArray(value) ? Number(key) : key])
  }
  walk(document, [])
  const at = (root: unknown, path: readonly (string | number)[]): Record<string | number, unknown> => path.reduce<unknown>((each, key) => (each as Record<string | number, unknown>)[key], root) as Record<string | number, unknown>
  for (const path of paths) {
    const last = path.at(-1) ?? ''
    for (const value of [{ odd: true }, 7]) {
      const changed = copy()
      at(changed, path.slice(0, -1))[last] = value
      yield { path: `${path.join('.')} = ${JSON.stringify(value)}`, document: changed }
    }
    const gone = copy()
    const holder = at(gone, path.slice(0, -1))
    if (!Array.isArray(holder)) {
      delete holder[last]
      yield { path: `without ${path.join('.')}`, document: gone }
    }
    const extended = copy()
    const target = at(extended, path)
    if (typeof target === 'object' && target !== null && !Array.isArray(target)) {
      target['odd'] = 'x'
      yield { path: `${path.join('.')}.odd`, document: extended }
    }
  }
}
