/** The published Koyeb document, unchanged, against Berth's own Koyeb API and a real VM: REST and MCP, all four operations. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { fileURLToPath } from 'node:url'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { referenceDocument, runDocument } from './support/capability.ts'
import type { RunningTest } from './support/capability.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

/** Emulated CPUs on a busy machine are slow. */
const WAIT_MS = 300_000
const IMAGE = 'localhost/busybox'
const SEED = referenceDocument('koyeb-instances.naftiko.yml')
const EXAMPLE = fileURLToPath(new URL('../docs/examples/koyeb-instances.yml', import.meta.url))

let server: TestServer
let id = ''

before(async () => {
  server = await startServer({ host: 'qemu' })
  await eventually('the built-in image is ready', async () => {
    const { status, body } = await server.request('GET', `/images/${encodeURIComponent(IMAGE)}`)
    if (status === 404) await server.request('POST', '/images', { body: { name: IMAGE } })
    return status === 200 && (body as { status: string }).status === 'ready' ? true : null
  }, WAIT_MS)
  const { body, status, text } = await server.request('POST', '/berth/v1/instances', { body: { name: 'web', image: IMAGE, cmd: ['sleep', 'infinity'] } })
  assert.ok(status < 300, text)
  const made = (body as { id: string }).id
  await eventually('it is healthy', async () => {
    const item = (await server.request('GET', `/v1/instances/${made}`)).body as { instance?: { id: string; status: string } }
    id = item.instance?.id ?? ''
    return item.instance?.status === 'HEALTHY' ? true : null
  }, WAIT_MS)
})
after(() => server.stop())

describe('the published document', { skip: SEED === null ? 'the published document is not at hand' : false }, () => {
  let running: RunningTest
  before(async () => {
    running = await runDocument(SEED ?? '', server.url, { env: { KOYEB_API_KEY: server.key } })
  })
  after(() => running[Symbol.asyncDispose]())

  test('its four paths work against Berth', async () => {
    const list = (await (await running.get('/v1/v1/instances?statuses=HEALTHY&statuses=SLEEPING&limit=5')).json()) as { instances: { id: string }[]; limit: number }
    assert.deepEqual(list.instances.map((each) => each.id), [id])
    assert.equal(list.limit, 5)
    assert.equal(((await (await running.get(`/v1/v1/instances/${id}`)).json()) as { instance: { id: string } }).instance.id, id)
    const { events } = (await (await running.get(`/v1/v1/instance-events?instance_ids=${id}&order=asc`)).json()) as { events: { instance_id: string }[] }
    assert.ok(events.length > 0 && events.every((each) => each.instance_id === id))
    const exec = await running.get(`/v1/v1/streams/instances/exec?id=${id}&body.command=echo&body.command=hello`)
    const result = (await exec.json()) as { stdout: string; exit_code: number; timed_out: boolean }
    assert.equal(exec.status, 200, JSON.stringify(result))
    assert.deepEqual([result.stdout, result.exit_code, result.timed_out], ['hello\n', 0, false])
    const nobody = '11111111-1111-4111-8111-111111111111'
    assert.equal((await running.get(`/v1/v1/instances/${nobody}`)).status, 404)
    assert.equal((await running.get(`/v1/v1/streams/instances/exec?id=${nobody}&body.command=ls`)).status, 404)
  })

  test('its four tools work against Berth', async () => {
    const client = new Client({ name: 'test', version: '1' })
    await client.connect(new StreamableHTTPClientTransport(new URL(running.mcp)))
    try {
      const call = async (name: string, args: Record<string, unknown>) => {
        const result = await client.callTool({ name, arguments: args })
        assert.notEqual(result.isError, true, JSON.stringify(result.content))
        return result.structuredContent as Record<string, unknown>
      }
      assert.equal((await call('list-instances', { statuses: ['HEALTHY'] }))['count'], 1)
      assert.equal(((await call('get-instance', { id }))['instance'] as { id: string }).id, id)
      assert.ok(((await call('list-instance-events', { instance_ids: [id] }))['events'] as unknown[]).length > 0)
      const piped = await call('exec-command', { id, command: ['cat'], stdin: 'from stdin' })
      assert.deepEqual([piped['stdout'], piped['exit_code']], ['from stdin', 0])
    } finally {
      await client.close()
    }
  })

  test('a wrong key is the runner\'s fault, not the caller\'s', async () => {
    await using wrong = await runDocument(SEED ?? '', server.url, { env: { KOYEB_API_KEY: 'a-key-that-is-wrong' } })
    for (const path of ['/v1/v1/instances', `/v1/v1/streams/instances/exec?id=${id}&body.command=ls`]) {
      const answer = await wrong.get(path)
      assert.equal(answer.status, 502)
      assert.equal(((await answer.json()) as { code: string }).code, 'upstream_auth')
    }
  })
})

test('the example of the documentation works against Berth', async () => {
  await using running = await runDocument(EXAMPLE, server.url, { env: { KOYEB_API_KEY: server.key } })
  assert.deepEqual(running.document.findings.filter((each) => !['exec', 'derived-inputs'].includes(each.rule)), [])
  const story = (await (await running.get(`/v1/instances/${id}/story`)).json()) as { id: string; status: string; events: unknown[] }
  assert.deepEqual([story.id, story.status], [id, 'HEALTHY'])
  assert.ok(story.events.length > 0)
  const exec = await running.get(`/v1/instances/${id}/exec`, { method: 'POST', body: JSON.stringify({ command: ['echo', 'hi'] }) })
  assert.equal(((await exec.json()) as { stdout: string }).stdout, 'hi\n')
})
