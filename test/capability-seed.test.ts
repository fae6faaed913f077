/** The published Koyeb document, unchanged, against an upstream that writes down what it is asked: REST and MCP, all four operations. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client'
import { WebSocket } from 'ws'
import { referenceDocument, runDocument, SECRET } from './support/capability.ts'
import type { RunningTest } from './support/capability.ts'
import { startUpstream } from './support/recording-upstream.ts'
import type { RecordingUpstream } from './support/recording-upstream.ts'

const SEED = referenceDocument('koyeb-instances.naftiko.yml')

describe('the published document of Koyeb Instances', { skip: SEED === null ? 'the published document is not at hand' : false }, () => {
  let upstream: RecordingUpstream
  let running: RunningTest
  before(async () => {
    upstream = await startUpstream()
    running = await runDocument(SEED ?? '', upstream.url)
  })
  after(async () => {
    await running[Symbol.asyncDispose]()
    await upstream[Symbol.asyncDispose]()
  })

  for (const prefix of ['/v1/v1', '/v1']) {
    test(`lists events at ${prefix}/instance-events with repeated keys`, async () => {
      const answer = await running.get(`${prefix}/instance-events?instance_ids=A&instance_ids=B&types=T&limit=10&order=desc`)
      assert.equal(answer.status, 200)
      assert.equal(((await answer.json()) as { events: unknown[] }).events.length, 1)
      const asked = upstream.requests.at(-1)
      assert.equal(asked?.path, '/v1/instance_events')
      assert.equal(String(asked?.query), 'instance_ids=A&instance_ids=B&types=T&limit=10&order=desc')
      assert.equal(asked?.headers.authorization, `Bearer ${SECRET}`)
    })

    test(`lists instances at ${prefix}/instances, and sends nothing that was not given`, async () => {
      const answer = await running.get(`${prefix}/instances?statuses=HEALTHY&statuses=SLEEPING&app_id=a%2Cb`)
      assert.equal(answer.status, 200)
      assert.equal(((await answer.json()) as { count: number }).count, 1)
      assert.deepEqual([...(upstream.requests.at(-1)?.query ?? [])], [['app_id', 'a,b'], ['statuses', 'HEALTHY'], ['statuses', 'SLEEPING']])
    })

    test(`gets an instance at ${prefix}/instances/{id}, its id as one segment`, async () => {
      assert.equal((await running.get(`${prefix}/instances/i-1`)).status, 200)
      const answer = await running.get(`${prefix}/instances/x%3Fapp_id%3D1%2F..%2Fapps`)
      assert.equal(answer.status, 404)
      assert.equal(upstream.requests.at(-1)?.path, '/v1/instances/x%3Fapp_id%3D1%2F..%2Fapps')
    })

    test(`runs a command at ${prefix}/streams/instances/exec, by GET and by POST`, async () => {
      const path = `${prefix}/streams/instances/exec`
      for (const answer of [
        await running.get(`${path}?id=i-1&body.command=sh&body.command=-c&body.command=exit%203`),
        await running.get(path, { method: 'POST', body: JSON.stringify({ id: 'i-1', command: ['sh', '-c', 'exit 3'] }), headers: { 'content-type': 'application/json' } }),
      ]) {
        assert.equal(answer.status, 200)
        const { duration_ms: duration, ...rest } = (await answer.json()) as Record<string, unknown>
        assert.equal(typeof duration, 'number')
        assert.deepEqual(rest, { stdout: 'hello\n', stderr: 'oops\n', encoding: 'utf-8', exit_code: 3, signal: null, timed_out: false, truncated: { stdout: false, stderr: false }, instance_id: 'i-1' })
        const exec = upstream.execs.at(-1)
        assert.equal(exec?.path, '/v1/streams/instances/exec')
        assert.equal(exec?.query.get('id'), 'i-1')
        assert.equal(exec?.protocols, `Bearer,${SECRET}`)
        assert.deepEqual(exec?.frames, [
          { id: 'i-1', id_type: 'INSTANCE_ID', body: { command: ['sh', '-c', 'exit 3'], disableTty: true } },
          { body: { stdin: { close: true } } },
        ])
      }
    })
  }

  test('passes the exec stream through to whoever upgrades', async () => {
    const url = `${running.rest.replace('http', 'ws')}/v1/v1/streams/instances/exec?id=i-1`
    const socket = new WebSocket(url, ['Bearer', 'someone-elses'])
    const frames: unknown[] = []
    await new Promise<void>((resolve, reject) => {
      socket.on('error', reject)
      socket.on('open', () => {
        socket.send(JSON.stringify({ id: 'i-1', body: { command: ['ls'] } }))
        socket.send(JSON.stringify({ body: { stdin: { close: true } } }))
      })
      socket.on('message', (data) => frames.push(JSON.parse((data as Buffer).toString())))
      socket.on('close', () => resolve())
    })
    assert.equal(socket.protocol, 'Bearer')
    assert.equal(frames.length, 3)
    assert.equal(upstream.execs.at(-1)?.protocols, `Bearer,${SECRET}`)
  })

  for (const mode of ['2026-07-28', 'legacy'] as const) {
    test(`offers its four tools over MCP (${mode})`, async () => {
      const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: mode === 'legacy' ? 'legacy' : { pin: mode } } })
      await client.connect(new StreamableHTTPClientTransport(new URL(running.mcp)))
      try {
        const { tools } = await client.listTools()
        assert.deepEqual(tools.map((each) => each.name), ['exec-command', 'get-instance', 'list-instance-events', 'list-instances'])
        assert.deepEqual(tools[0]?.annotations, { readOnlyHint: false, destructiveHint: true, idempotentHint: false, openWorldHint: true })
        assert.equal(tools[1]?.annotations?.readOnlyHint, true)
        const call = (name: string, args: Record<string, unknown>) => client.callTool({ name, arguments: args })
        assert.equal(((await call('list-instance-events', { instance_ids: ['A', 'B'] })).structuredContent as { limit: number }).limit, 10)
        assert.equal(String(upstream.requests.at(-1)?.query), 'instance_ids=A&instance_ids=B')
        assert.equal(((await call('list-instances', { limit: '5' })).structuredContent as { count: number }).count, 1)
        assert.equal(((await call('get-instance', { id: 'i-1' })).structuredContent as { instance: { id: string } }).instance.id, 'i-1')
        for (const args of [{ command: ['ls'] }, { 'body.command': ['ls'] }, { body: { command: ['ls'] } }]) {
          const result = await call('exec-command', { id: 'i-1', ...args })
          assert.notEqual(result.isError, true, JSON.stringify(result.content))
          assert.equal((result.structuredContent as { exit_code: number }).exit_code, 3)
          assert.match((result.content as { text: string }[])[0]?.text ?? '', /^exit_code: 3\nstdout:\nhello\n\nstderr:\noops/)
        }
        const missing = await call('get-instance', { id: 'nobody' })
        assert.equal(missing.isError, true)
        assert.equal((missing.structuredContent as { error: { code: string } }).error.code, 'not_found')
      } finally {
        await client.close()
      }
    })
  }
})
