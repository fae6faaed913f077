/** The official client of either era lists and calls every tool, over a real engine and a simulated host. */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import type { Client } from '@modelcontextprotocol/client'
import { connect, dataOf, ERAS, mcpFixture, textOf } from './support/mcp.ts'
import type { McpFixture } from './support/mcp.ts'

const TOOLS = [
  'create-instance',
  'delete-instance',
  'exec-command',
  'get-instance',
  'get-instance-logs',
  'get-instance-metrics',
  'list-files',
  'list-images',
  'list-instance-events',
  'list-instance-types',
  'list-instances',
  'list-regions',
  'read-file',
  'restart-instance',
  'start-instance',
  'stop-instance',
  'suspend-instance',
  'update-instance',
  'wait-for-instance',
  'write-file',
]

let mcp: McpFixture
before(async () => {
  mcp = await mcpFixture()
})
after(() => mcp.close())

for (const era of ERAS) {
  describe(`a client of ${era}`, () => {
    let client: Client
    before(async () => {
      client = await connect(mcp.url, era, mcp.key)
    })
    after(() => client.close())

    const call = (name: string, args: Record<string, unknown> = {}) => client.callTool({ name, arguments: args })

    test('sees every tool, in order, with closed schemas and honest hints', async () => {
      const { tools } = await client.listTools()
      assert.deepEqual(tools.map(({ name }) => name), TOOLS)
      for (const { name, inputSchema, outputSchema, annotations, description } of tools) {
        assert.equal(inputSchema['additionalProperties'], false, name)
        assert.equal(outputSchema?.['additionalProperties'], false, name)
        assert.ok(description !== undefined && description.length > 20, name)
        assert.equal(typeof annotations?.readOnlyHint, 'boolean', name)
        assert.equal(typeof annotations?.destructiveHint, 'boolean', name)
      }
      const exec = tools.find(({ name }) => name === 'exec-command')?.annotations
      assert.deepEqual([exec?.readOnlyHint, exec?.destructiveHint, exec?.idempotentHint, exec?.openWorldHint], [false, true, false, true])
    })

    test('calls every one of them, and a computer takes two calls', async () => {
      const name = `box-${era}`
      const created = dataOf<{ instance: { id: string; status: string; phase: string }; timed_out: boolean }>(
        await call('create-instance', { image: 'localhost/busybox', name, type: 'nano', env: { SECRET: 'hunter2' }, tags: { by: 'test' } }),
      )
      assert.deepEqual([created.instance.status, created.instance.phase, created.timed_out], ['HEALTHY', 'running', false])
      const { id } = created.instance
      const said = dataOf(await call('exec-command', { id, command: ['echo', 'hello'] }))
      assert.deepEqual(
        { ...said, duration_ms: 0 },
        {
          stdout: 'hello\n',
          stderr: '',
          encoding: 'utf-8',
          exit_code: 0,
          signal: null,
          timed_out: false,
          truncated: { stdout: false, stderr: false },
          output_bytes: { stdout: 6, stderr: 0 },
          duration_ms: 0,
          instance_id: id,
        },
      )

      const shown = await call('get-instance', { id: name })
      assert.equal(dataOf<{ instance: { id: string } }>(shown).instance.id, id)
      assert.ok(!JSON.stringify(shown).includes('hunter2'), 'values of variables are told')
      const listed = dataOf<{ instances: { id: string }[] }>(await call('list-instances', { statuses: ['HEALTHY'], limit: 100 }))
      assert.ok(listed.instances.some(each => each.id === id))
      const events = dataOf<{ events: { type: string }[] }>(await call('list-instance-events', { instance_ids: [id], order: 'asc' }))
      assert.equal(events.events.at(-1)?.type, 'HEALTHY')
      const few = dataOf<{ events: { type: string }[]; has_next: boolean }>(await call('list-instance-events', { instance_ids: [id], types: ['STARTING'], limit: 1 }))
      assert.deepEqual(few.events.map(({ type }) => type), ['STARTING'])

      assert.deepEqual(dataOf(await call('write-file', { id, path: '/tmp/a/note', content: 'grüße' })), { path: '/tmp/a/note', size: 7 })
      assert.deepEqual(dataOf(await call('read-file', { id, path: '/tmp/a/note' })), { content: 'grüße', encoding: 'utf-8', size: 7, truncated: false })
      assert.match(textOf(await call('write-file', { id, path: '/tmp/a/note', content: 'x' })), /^already_exists: /)
      const files = dataOf<{ entries: { path: string; size: number }[] }>(await call('list-files', { id, path: '/tmp/a' }))
      assert.deepEqual(files.entries.map(({ path, size }) => [path, size]), [['note', 7]])

      const logs = dataOf<{ lines: { message: string }[]; next_since: string | null }>(await call('get-instance-logs', { id }))
      assert.ok(logs.lines.length > 0)
      const metrics = dataOf<{ window_ms: number; memory: { host_bytes: number } }>(await call('get-instance-metrics', { id, window_ms: 100 }))
      assert.ok(metrics.window_ms > 0)

      assert.ok(dataOf<{ images: { name: string }[] }>(await call('list-images')).images.some(image => image.name === 'localhost/busybox:latest'))
      assert.equal(dataOf<{ count: number }>(await call('list-instance-types')).count, 10)
      assert.deepEqual(dataOf<{ regions: { id: string }[] }>(await call('list-regions')).regions.map(region => region.id), ['home', 'simulated'])

      const phase = async (tool: string, args: Record<string, unknown> = {}) => dataOf<{ instance: { phase: string } }>(await call(tool, { id, ...args })).instance.phase
      assert.equal(await phase('suspend-instance'), 'standby')
      assert.equal(await phase('suspend-instance'), 'standby')
      assert.equal(await phase('start-instance'), 'running')
      assert.equal(await phase('restart-instance'), 'running')
      assert.equal(await phase('stop-instance', { timeout_s: 1 }), 'stopped')
      assert.equal(await phase('start-instance', { wait: false }).then(() => phase('wait-for-instance', { status: 'HEALTHY' })), 'running')
      const updated = dataOf<{ instance: { tags: object; env_names: string[] } }>(await call('update-instance', { id, tags: { a: 'b' }, env: { ONE: '1' } }))
      assert.deepEqual([updated.instance.tags, updated.instance.env_names], [{ a: 'b' }, ['ONE']])
      assert.equal(dataOf<{ phase: string }>(await call('delete-instance', { id })).phase, 'deleted')
      assert.match(textOf(await call('get-instance', { id })), /^not_found: There is no instance/)
      assert.equal(dataOf<{ reached: boolean }>(await call('wait-for-instance', { id, status: 'DELETED' })).reached, true)
    })
  })
}
