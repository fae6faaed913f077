/** Adapters of type skill: the catalogue, what each skill is made of, and its files and nothing else of the machine. */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { parseCapability } from '../src/capability/document.ts'
import { runDocument } from './support/capability.ts'
import { freePort } from './support/free-port.ts'

let directory: string
before(() => {
  directory = mkdtempSync(join(tmpdir(), 'berth-skills-'))
  const skill = join(directory, 'orders')
  mkdirSync(join(skill, 'examples'), { recursive: true })
  writeFileSync(join(skill, 'SKILL.md'), '# Orders\n')
  writeFileSync(join(skill, 'examples', 'grüße.txt'), 'hello')
  writeFileSync(join(directory, 'secret.txt'), 'secret')
  symlinkSync(join(directory, 'secret.txt'), join(skill, 'out.txt'))
  symlinkSync(directory, join(skill, 'up'))
})
after(() => rmSync(directory, { recursive: true }))

const REST = `    - { type: rest, port: 1, namespace: shop-rest, resources: RESOURCES }`
const listed = (port: number) => `
naftiko: 1.0.0-alpha2
info: { label: Shop, description: Shop }
capability:
  consumes: [{ type: http, namespace: shop, baseUri: http://shop.invalid, resources: [{ name: orders, path: /orders, operations: [{ name: list, method: GET }] }] }]
  exposes:
${REST.replace('RESOURCES', '[{ path: /orders, operations: [{ name: list-orders, method: GET, call: shop.list }] }]')}
    - type: skill
      port: ${port}
      namespace: shop-skills
      skills:
        - name: orders
          description: How to handle orders
          license: MIT
          allowed-tools: list-orders
          user-invocable: false
          metadata: { team: shop }
          location: '${pathToFileURL(join(directory, 'orders')).href}'
          tools:
            - { name: list-orders, description: Lists them, from: { sourceNamespace: shop-rest, action: list-orders } }
            - { name: guide, description: How to, instruction: SKILL.md }
        - { name: bare, description: Nothing }
`
const keyed = (port: number) => `
ikanos: 1.0.0-beta4
info: { display: Shop, description: Shop }
capability:
  consumes: [{ type: http, namespace: shop, baseUri: http://shop.invalid, resources: { orders: { path: /orders, operations: { list: { method: GET } } } } }]
  exposes:
${REST.replace('RESOURCES', '{ orders: { path: /orders, operations: { list-orders: { method: GET, call: shop.list } } } }')}
    - type: skill
      port: ${port}
      namespace: shop-skills
      authentication: { type: bearer, token: letmein }
      skills:
        orders:
          description: How to handle orders
          tools: { list-orders: { description: Lists them, from: { sourceNamespace: shop-rest, action: list-orders } } }
`

describe('skills', () => {
  let running: Awaited<ReturnType<typeof runDocument>>
  let url: string
  before(async () => {
    const port = await freePort()
    url = `http://127.0.0.1:${port}`
    running = await runDocument(listed(port), 'http://127.0.0.1:1')
  })
  after(() => running[Symbol.asyncDispose]())
  const get = async (path: string) => (await fetch(url + path)).json()

  test('are listed, and each tells what it is made of and where its tools are called', async () => {
    assert.deepEqual(await get('/skills'), {
      count: 2,
      skills: [
        { name: 'orders', description: 'How to handle orders', license: 'MIT', tools: ['list-orders', 'guide'] },
        { name: 'bare', description: 'Nothing', tools: [] },
      ],
    })
    assert.deepEqual(await get('/skills/orders'), {
      name: 'orders',
      description: 'How to handle orders',
      license: 'MIT',
      'allowed-tools': 'list-orders',
      'user-invocable': false,
      metadata: { team: 'shop' },
      tools: [
        { name: 'list-orders', description: 'Lists them', type: 'derived', invocationRef: { targetNamespace: 'shop-rest', action: 'list-orders', mode: 'rest' } },
        { name: 'guide', description: 'How to', type: 'instruction', instruction: 'SKILL.md' },
      ],
    })
  })

  test('give their files, one by one and as an archive', async () => {
    assert.deepEqual(await get('/skills/orders/contents'), {
      name: 'orders',
      files: [
        { path: 'SKILL.md', size: 9, type: 'text/markdown' },
        { path: 'examples/grüße.txt', size: 5, type: 'text/plain' },
      ],
    })
    const file = await fetch(`${url}/skills/orders/contents/examples/gr%C3%BC%C3%9Fe.txt`)
    assert.deepEqual([file.status, file.headers.get('content-type'), file.headers.get('cache-control'), await file.text()], [200, 'text/plain', 'no-store', 'hello'])
    const archive = join(directory, 'orders.zip')
    writeFileSync(archive, Buffer.from(await (await fetch(`${url}/skills/orders/download`)).arrayBuffer()))
    const script = 'import sys, zipfile, json\nz = zipfile.ZipFile(sys.argv[1])\nassert z.testzip() is None\nprint(json.dumps({n: z.read(n).decode() for n in z.namelist()}))'
    const { stdout } = await promisify(execFile)('python3', ['-c', script, archive])
    assert.deepEqual(JSON.parse(stdout), { 'SKILL.md': '# Orders\n', 'examples/grüße.txt': 'hello' })
  })

  for (const [path, status] of [
    ['/skills/orders/contents/out.txt', 404],
    ['/skills/orders/contents/up/secret.txt', 404],
    ['/skills/orders/contents/..%2Fsecret.txt', 400],
    ['/skills/orders/contents/%2e%2e%2fsecret.txt', 400],
    ['/skills/orders/contents/a%00b', 400],
    ['/skills/orders/contents/examples', 404],
    ['/skills/orders/contents/none.md', 404],
    ['/skills/bare/contents', 404],
    ['/skills/bare/download', 404],
    ['/skills/none', 404],
    ['/skills/%E0%A4', 400],
    ['/', 404],
  ] as const) {
    test(`${path} is a ${status}`, async () => {
      const answer = await sent(path)
      assert.equal(answer.status, status)
      assert.ok(!answer.text.includes('secret\n') && answer.text.includes('"code"'), answer.text)
    })
  }

  test('are only read, and only by names of this machine', async () => {
    const put = await fetch(`${url}/skills`, { method: 'POST' })
    assert.deepEqual([put.status, put.headers.get('allow')], [405, 'GET, HEAD'])
    assert.equal((await sent('/skills', { host: 'evil.example' })).status, 403)
  })

  /** As it is written: fetch would take steps out of a path. */
  function sent(path: string, headers: Record<string, string> = {}): Promise<{ status: number; text: string }> {
    return new Promise((resolve, reject) => {
      const { port } = new URL(url)
      const asked = request({ host: '127.0.0.1', port, path, headers }, response => {
        let text = ''
        response.setEncoding('utf8').on('data', (chunk: string) => (text += chunk)).on('end', () => resolve({ status: response.statusCode ?? 0, text }))
      })
      asked.on('error', reject).end()
    })
  }
})

test('the later spelling is served alike, behind its authentication', async () => {
  const port = await freePort()
  await using _running = await runDocument(keyed(port), 'http://127.0.0.1:1')
  const address = `http://127.0.0.1:${port}/skills/orders`
  const refused = await fetch(address)
  assert.deepEqual([refused.status, refused.headers.get('www-authenticate')], [401, 'Bearer'])
  const told = (await (await fetch(address, { headers: { authorization: 'Bearer letmein' } })).json()) as { tools: { name: string }[] }
  assert.deepEqual(told.tools.map(({ name }) => name), ['list-orders'])
})

test('a tool that comes from nowhere is an error, one whose action is not there a warning', async () => {
  const findings = async (text: string) => (await parseCapability(text, '.')).findings.filter(({ rule }) => rule === 'reference').map(({ severity, message }) => `${severity}: ${message}`)
  assert.match((await findings(listed(2).replace('sourceNamespace: shop-rest', 'sourceNamespace: nowhere'))).join(), /error: .*from "nowhere", which is no adapter/)
  assert.match((await findings(listed(2).replace('action: list-orders', 'action: gone'))).join(), /warning: .*"gone" leads nowhere/)
  assert.match((await findings(listed(2).replace(/location: '[^']*'/, ''))).join(), /error: .*is an instruction, and no location/)
})
