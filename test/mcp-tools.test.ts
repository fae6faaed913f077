/** The official client of either era lists and calls every tool, over a real engine and a simulated host. */
import assert from 'node:assert/strict'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { after, before, describe, test } from 'node:test'
import type { Client } from '@modelcontextprotocol/client'
import { serveMcp } from '../src/server/mcp-server.ts'
import { makeLog } from '../src/server/logging.ts'
import type { InstanceId } from '../src/instance/model.ts'
import { EVERYTHING } from '../src/mcp/mode.ts'
import { eventually } from './engine-fixture.ts'
import { catalogue, connect, dataOf, ERAS, mcpFixture, textOf, TOOLS } from './support/mcp.ts'
import type { McpFixture } from './support/mcp.ts'

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
      assert.deepEqual(dataOf(await call('edit-file', { id, path: '/tmp/a/note', old_text: 'grü', new_text: 'kü' })), { path: '/tmp/a/note', replaced: 1, size: 6 })
      assert.match(textOf(await call('edit-file', { id, path: '/tmp/a/note', old_text: 'grü', new_text: '' })), /^invalid_request: old_text does not stand in/)
      assert.match(textOf(await call('edit-file', { id, path: '/tmp/a/none', old_text: 'x', new_text: '' })), /^guest_path: .*write-file makes one/)
      dataOf(await call('write-file', { id, path: '/tmp/a/note', content: 'x'.repeat(5000), overwrite: true }))
      assert.match(textOf(await call('edit-file', { id, path: '/tmp/a/note', old_text: 'x', new_text: 'y'.repeat(1_000_000), all: true })), /^limit_exceeded: .* larger than 4 MiB/)
      dataOf(await call('write-file', { id, path: '/tmp/a/note', content: 'grüße', overwrite: true }))
      assert.deepEqual(dataOf(await call('read-file', { id, path: '/tmp/a/note', offset: -3 })), { content: 'ße', encoding: 'utf-8', size: 7, truncated: false })
      assert.deepEqual(dataOf(await call('read-file', { id, path: '/tmp/a/note', offset: 1, max_bytes: 2 })), { content: 'r', encoding: 'utf-8', size: 7, truncated: true })
      const commandId = 'deadbeef'
      for (const [tool, args] of [['start-command', { command: ['sleep', '1'] }], ['get-command', { command_id: commandId }], ['stop-command', { command_id: commandId }]] as const) {
        // The simulated host has no shell.
        assert.match(textOf(await call(tool, { id, ...args })), /^command_not_found: The image has no \/bin\/sh, .*: use exec-command/)
      }
      const files = dataOf<{ entries: { path: string; size: number }[] }>(await call('list-files', { id, path: '/tmp/a' }))
      assert.deepEqual(files.entries.map(({ path, size }) => [path, size]), [['note', 7]])

      const logs = dataOf<{ lines: { message: string }[]; next_since: string | null }>(await call('get-instance-logs', { id }))
      assert.ok(logs.lines.length > 0)
      const metrics = dataOf<{ window_ms: number; memory: { host_bytes: number } }>(await call('get-instance-metrics', { id, window_ms: 100 }))
      assert.ok(metrics.window_ms > 0)

      assert.ok(dataOf<{ images: { name: string }[] }>(await call('list-images')).images.some(image => image.name === 'localhost/busybox:latest'))
      assert.equal(dataOf<{ count: number }>(await call('list-instance-types')).count, 11)
      assert.deepEqual(dataOf<{ regions: { id: string }[] }>(await call('list-regions')).regions.map(region => region.id), ['home', 'simulated'])

      const phase = async (tool: string, args: Record<string, unknown> = {}) => dataOf<{ instance: { phase: string } }>(await call(tool, { id, ...args })).instance.phase
      assert.equal(await phase('suspend-instance'), 'standby')
      assert.equal(await phase('suspend-instance'), 'standby')
      assert.equal(await phase('start-instance'), 'running')
      assert.equal(await phase('restart-instance'), 'running')
      assert.equal(await phase('stop-instance', { timeout_s: 1 }), 'stopped')
      assert.equal(await phase('start-instance', { wait: false }).then(() => phase('wait-for-instance', { status: 'HEALTHY' })), 'running')
      type Kept = { snapshot: { id: string; name: string | null; kind: string; instance_id: string } }
      const kept = dataOf<Kept>(await call('create-snapshot', { id, name: 'clean' })).snapshot
      assert.deepEqual([kept.name, kept.kind, kept.instance_id], ['clean', 'standby', id])
      assert.deepEqual(dataOf<{ snapshots: object[]; count: number }>(await call('list-snapshots', { id })), { snapshots: [kept], count: 1, limit: 20, offset: 0, has_next: false })
      await call('write-file', { id, path: '/tmp/a/note', content: 'changed', overwrite: true })
      // It runs: it is switched off, and goes on from where it was.
      assert.equal(await phase('restore-snapshot', { id: undefined, snapshot_id: 'clean' }), 'running')
      assert.equal(dataOf<{ content: string }>(await call('read-file', { id, path: '/tmp/a/note' })).content, 'grüße')
      const branch = dataOf<{ instance: { id: string; phase: string } }>(await call('fork-instance', { id, name: `${name}-branch` })).instance
      assert.equal(branch.phase, 'running')
      const asleep = dataOf<{ instance: { id: string; phase: string } }>(await call('fork-instance', { snapshot_id: kept.id, name: `${name}-asleep`, state: 'standby' })).instance
      assert.equal(asleep.phase, 'standby')
      assert.match(textOf(await call('fork-instance', { id, snapshot_id: kept.id, name: 'both' })), /^invalid_request: Give either id or snapshot_id/)
      assert.deepEqual(dataOf(await call('delete-snapshot', { snapshot_id: 'clean' })), { id: kept.id })
      assert.match(textOf(await call('restore-snapshot', { snapshot_id: kept.id })), /^not_found: There is no snapshot/)
      for (const { id: copy } of [branch, asleep]) await call('delete-instance', { id: copy })

      const updated = dataOf<{ instance: { tags: object; env_names: string[] } }>(await call('update-instance', { id, tags: { a: 'b' }, env: { ONE: '1' } }))
      assert.deepEqual([updated.instance.tags, updated.instance.env_names], [{ a: 'b' }, ['ONE']])
      assert.match(textOf(await call('update-instance', { id })), /^invalid_request: Say what shall change/)

      const port = { host_port: 18_080, guest_port: 80, protocol: 'tcp' }
      const renamed = dataOf<{ instance: { name: string; ports: object[] } }>(await call('update-instance', { id, name: `${name}-again`, ports: [port] }))
      assert.deepEqual([renamed.instance.name, renamed.instance.ports], [`${name}-again`, [port]])
      assert.match(textOf(await call('update-instance', { id, type: 'small' })), /^invalid_state: The size of an instance that is running can’t change: stop it first/)
      assert.equal(await phase('stop-instance', {}), 'stopped')
      assert.match(textOf(await call('update-instance', { id, type: 'no-such-type' })), /^invalid_request: There is no instance type/)
      const resized = dataOf<{ instance: { type: string; vcpus: number; memory_mib: number; ports: object[] } }>(await call('update-instance', { id, type: 'medium', ports: [] }))
      const { type, vcpus, memory_mib: memory, ports } = resized.instance
      const medium = catalogue.types.find((each) => each.id === 'medium')
      assert.deepEqual([type, vcpus, memory, ports], ['medium', medium?.vcpus, (medium?.memoryBytes ?? 0) / 2 ** 20, []])
      assert.equal(await phase('start-instance', {}), 'running')
      assert.equal(dataOf<{ phase: string }>(await call('delete-instance', { id })).phase, 'deleted')
      assert.match(textOf(await call('get-instance', { id })), /^not_found: There is no instance/)
      assert.equal(dataOf<{ reached: boolean }>(await call('wait-for-instance', { id, status: 'DELETED' })).reached, true)
    })
  })
}

test('health checks, secrets within values, standby and restarts are taken, told and changed, and wrong ones refused with what to give', async () => {
  const client = await connect(mcp.url, '2026-07-28', mcp.key)
  const call = (name: string, args: Record<string, unknown>) => client.callTool({ name, arguments: args })
  type Told = { instance: { id: string; health: { status: string } | null; secret_env: object; sleeps_after_s: number | null; restart: string; ports: readonly { host_port: number; guest_port: number }[] } }
  const image = 'localhost/busybox'
  try {
    await mcp.fixture.engine.secrets.set(mcp.fixture.caller, 'TOKEN', 'correct-horse')
    const secretEnv = { URL: 'https://bot:{{ secret.TOKEN }}@host' }
    const given = { image, name: 'checked', wait: false, secret_env: secretEnv, restart: 'on-failure', sleeps_after_s: 600, ports: [{ guest_port: 80 }, { guest_port: 81 }], health_checks: [{ port: 80 }, { port: 80, path: '/up', failures: 2 }, { command: ['true'] }] }
    dataOf(await call('create-instance', given))
    const shown = await call('get-instance', { id: 'checked' })
    assert.doesNotMatch(JSON.stringify(shown), /correct-horse/)
    const { instance } = dataOf<Told>(shown)
    assert.deepEqual([instance.secret_env, instance.restart, instance.sleeps_after_s], [secretEnv, 'on-failure', 600])
    const [one, two] = instance.ports
    assert.ok(one !== undefined && two !== undefined && one.host_port !== two.host_port && one.host_port >= 20_000, JSON.stringify(instance.ports))
    const kept = dataOf<Told>(await call('update-instance', { id: 'checked', ports: [{ guest_port: 81 }], health_checks: [], restart: 'never' })).instance
    assert.deepEqual([kept.ports, kept.restart, kept.health], [[two], 'never', null])
    for (const [args, message] of [
      [{ health_checks: [{}] }, /give port, port and path, or command/],
      [{ health_checks: [{ port: 80, command: ['true'] }] }, /give port, port and path, or command/],
      [{ secret_env: { A: '{{ secret.NOBODY }}' } }, /NOBODY/],
      [{ auto_standby: { idle_after_s: 60, ignore_sources: ['everywhere'] } }, /no IPv4 network/],
    ] as const) {
      const refused = await call('create-instance', { image, wait: false, ...args })
      assert.equal(refused.isError, true, JSON.stringify(args))
      assert.match(textOf(refused), message)
    }
    dataOf(await call('delete-instance', { id: 'checked' }))
  } finally {
    await client.close()
  }
})

describe('create-instance', () => {
  let client: Client
  before(async () => {
    client = await connect(mcp.url, '2026-07-28', mcp.key)
  })
  after(() => client.close())
  const create = (args: Record<string, unknown>) => client.callTool({ name: 'create-instance', arguments: args })
  type Created = { instance: { id: string; phase: string; image: string; type: string | null; region: string | null; vcpus: number; memory_mib: number }; idles: boolean; timed_out: boolean }

  test('gives it keys, user data, shared files, a firewall and a time to sleep, by name', async () => {
    const { engine, caller } = mcp.fixture
    const key = await engine.sshKeys.create(caller, { name: 'laptop' })
    const files = await engine.fileSystems.create(caller, { name: 'shared', region: 'home', sizeBytes: 64 * 2 ** 20 })
    const rules = await engine.firewalls.create(caller, { name: 'web', region: 'home', rules: [] })
    const made = dataOf<Created>(
      await create({ image: 'localhost/busybox', ssh_keys: ['laptop'], user_data: '#!/bin/sh\ntrue', file_systems: [{ file_system: 'shared', path: '/srv' }], firewalls: ['web'], sleeps_after_s: 3600 }),
    )
    const { spec } = await engine.instances.get(caller, made.instance.id as InstanceId)
    assert.deepEqual(
      [spec.sshKeys, spec.fileSystems, spec.firewallRulesets, spec.idleAfterMs],
      [[key.key.publicKey], [{ fileSystemId: files.id, path: '/srv' }], [rules.id], 3_600_000],
    )
    assert.doesNotMatch(JSON.stringify(made), /bin\/sh/)
    for (const [args, says] of [
      [{ ssh_keys: ['nobody'] }, /^invalid_request: There is no SSH key "nobody"/],
      [{ file_systems: [{ file_system: 'nothing', path: '/srv' }] }, /^not_found: There is no file system "nothing"/],
      [{ firewalls: ['none'] }, /^not_found: There is no firewall ruleset "none"/],
      [{ ssh_keys: ['-----BEGIN OPENSSH PRIVATE KEY-----'] }, /^invalid_request: .*private key/],
    ] as const) assert.match(textOf(await create({ image: 'localhost/busybox', ...args })), says)
    await client.callTool({ name: 'delete-instance', arguments: { id: made.instance.id } })
    await engine.fileSystems.delete(caller, files.id)
    await engine.firewalls.delete(caller, rules.id)
  })

  test('pulls an image that is not here', async () => {
    const made = dataOf<Created>(await create({ image: 'registry.example/org/app:1', type: 'medium', region: 'home', memory_mib: 300 }))
    assert.equal(made.instance.phase, 'running')
    assert.deepEqual([made.instance.type, made.instance.region, made.instance.vcpus, made.instance.memory_mib], ['medium', 'home', 2, 300])
  })

  test('says what the registry said', async () => {
    assert.match(textOf(await create({ image: 'registry.example/org/missing:1' })), /^image_failed: .*is not in its registry/)
    assert.match(textOf(await create({ image: 'registry.example/org/denied:1' })), /^image_failed: .*needs credentials/)
    assert.equal(dataOf<{ count: number }>(await client.callTool({ name: 'list-instances', arguments: { statuses: ['ERROR'] } })).count, 0)
  })

  test('makes one instance of one idempotency key, and refuses the key for another request', async () => {
    const args = { image: 'localhost/busybox', expires_in_s: 3600, idempotency_key: 'once' }
    const [first, second] = [dataOf<Created>(await create(args)), dataOf<Created>(await create(args))]
    assert.equal(first.instance.id, second.instance.id)
    assert.match(textOf(await create({ ...args, expires_in_s: 60 })), /^idempotency_conflict: /)
  })

  test('answers at once where it is told not to wait', async () => {
    const made = dataOf<Created>(await create({ image: 'registry.example/org/later:1', wait: false }))
    assert.notEqual(made.instance.phase, 'failed')
    const waited = await client.callTool({ name: 'wait-for-instance', arguments: { id: made.instance.id, status: 'HEALTHY' } })
    assert.equal(dataOf<{ reached: boolean }>(waited).reached, true)
  })

  test('says of an application that ends at once that it has ended', async () => {
    const made = await create({ image: 'localhost/busybox', command: ['true'] })
    assert.equal(dataOf<Created>(made).instance.id.length, 36)
    const { id } = dataOf<Created>(made).instance
    const waited = await client.callTool({ name: 'wait-for-instance', arguments: { id, status: 'STOPPED' } })
    assert.equal(dataOf<{ reached: boolean; instance: { exit: { code: number } } }>(waited).instance.exit.code, 0)
  })

  test('an instance that never gets the status is an answer, too', async () => {
    const made = dataOf<Created>(await create({ image: 'localhost/busybox' }))
    const waited = await client.callTool({ name: 'wait-for-instance', arguments: { id: made.instance.id, status: 'SLEEPING', timeout_ms: 100 } })
    assert.equal(dataOf<{ reached: boolean }>(waited).reached, false)
  })

  test('deletes the volumes that an instance alone wrote to, if it is told to', async () => {
    const { engine, caller } = mcp.fixture
    const volume = await engine.volumes.create(caller, { name: 'data', sizeBytes: 2 ** 24 })
    const made = dataOf<Created>(await create({ image: 'localhost/busybox', volumes: [{ volume: 'data', path: '/data' }] }))
    const gone = await client.callTool({ name: 'delete-instance', arguments: { id: made.instance.id, delete_volumes: true } })
    assert.deepEqual(dataOf<{ deleted_volumes: string[] }>(gone).deleted_volumes, [volume.id])
    assert.deepEqual(await engine.volumes.list(caller), [])
  })
})

describe('pages', () => {
  test('lists are told in pages that meet without a gap', async () => {
    const own = await mcpFixture()
    try {
      const { engine, caller } = own.fixture
      const names = ['one', 'two', 'three', 'four', 'five']
      for (const name of names) await engine.instances.create(caller, { image: 'localhost/busybox', name })
      const client = await connect(own.url, '2025', own.key)
      type Page = { instances: { name: string; created_at: string }[]; count: number; has_next: boolean }
      const page = async (args: object) => dataOf<Page>(await client.callTool({ name: 'list-instances', arguments: { order: 'asc', limit: 2, ...args } }))
      const seen = [await page({}), await page({ offset: 2 }), await page({ offset: 4 })]
      assert.deepEqual(seen.flatMap(({ instances }) => instances.map(({ name }) => name)), names)
      assert.deepEqual(seen.map(({ has_next, count }) => [has_next, count]), [[true, 5], [true, 5], [false, 5]])
      const after = seen[1]?.instances[0]?.created_at ?? ''
      assert.deepEqual((await page({ starting_time: after, limit: 100 })).instances.map(({ name }) => name).slice(-3), ['three', 'four', 'five'])
      assert.equal((await page({ app_id: 'none' })).count, 0)
      assert.equal((await page({ allocation_id: 'not-an-id' })).count, 0)
      await client.close()
    } finally {
      await own.close()
    }
  })
})

describe('the server’s own MCP', () => {
  const options = () => ({
    engine: mcp.fixture.engine,
    catalogue,
    authenticate: async () => null,
    version: '0',
    stopping: new AbortController().signal,
    now: Date.now,
    log: makeLog('silent'),
    jwtSecret: null,
    project: mcp.fixture.caller.projectId,
  })
  const config = { hostnames: [], mode: EVERYTHING, resource: null, authorizationServers: [], projectClaim: null }

  test('a port that something else has is a warning where nobody asked for it, and a failure where somebody did', async () => {
    const other = createServer().listen(0, '127.0.0.1')
    await new Promise(resolve => other.once('listening', resolve))
    const listen = { host: '127.0.0.1', port: (other.address() as AddressInfo).port }
    try {
      const served = await serveMcp({ ...options(), config: { ...config, listen, isRequired: false } })
      assert.equal(served.url, null)
      assert.match(served.warnings.join(), /MCP can't be served on 127\.0\.0\.1:\d+: something else listens there; .*--mcp-listen/)
      await assert.rejects(serveMcp({ ...options(), config: { ...config, listen, isRequired: true } }), { code: 'port_in_use' })
    } finally {
      other.close()
    }
  })

  test('an empty address serves none', async () => {
    const served = await serveMcp({ ...options(), config: { ...config, listen: null, isRequired: true } })
    assert.deepEqual([served.url, served.warnings], [null, []])
  })
})

describe('toolsets', () => {
  const shown = async (toolsets: string | null) => {
    const client = await connect(mcp.url, '2026-07-28', mcp.key, toolsets === null ? {} : { headers: { 'berth-mcp-toolsets': toolsets } })
    const { tools } = await client.listTools()
    await client.close()
    return tools
  }

  test('core is half of the tools, the market is shown on request, and all is both', async () => {
    const core = (await shown('core')).map(({ name }) => name)
    assert.equal(core.length, 16)
    assert.ok(core.includes('create-instance') && core.includes('exec-command'))
    assert.ok(core.every(name => TOOLS.includes(name)))
    const all = (await shown('all')).map(({ name }) => name)
    const market = (await shown('market')).map(({ name }) => name)
    assert.deepEqual(all, [...TOOLS, ...market].toSorted())
    assert.ok(market.includes('place-bid') && !TOOLS.includes('place-bid'))
  })

  test('what a list costs a model keeps within its budget', async () => {
    const size = (tools: Awaited<ReturnType<typeof shown>>) => JSON.stringify(tools).length
    assert.ok(size(await shown(null)) <= 76_000)
    assert.ok(size(await shown('core')) <= 42_000)
  })
})

describe('the market', () => {
  type Order = { order: { id: string; kind: string; status: string; limit_usd_per_hour: number | null; total_usd: number | null; instance_ids: string[]; end_at: string | null } }
  let client: Client
  before(async () => {
    client = await connect(mcp.url, '2026-07-28', mcp.key, { headers: { 'berth-mcp-toolsets': 'all' } })
  })
  after(() => client.close())
  const call = (name: string, args: Record<string, unknown> = {}) => client.callTool({ name, arguments: args })
  const where = { type: 'nano', region: 'home' }
  const box = { image: 'localhost/busybox', command: ['sleep', '100000'] }

  test('tells prices, and a bid gets instances, is changed, and ends with them', async () => {
    const { markets } = dataOf<{ markets: { floor_usd_per_hour: number; total: number }[] }>(await call('list-market', where))
    assert.equal(markets.length, 1)
    const floor = markets[0]?.floor_usd_per_hour ?? 0
    assert.ok(floor > 0)
    assert.match(textOf(await call('place-bid', { name: 'low', ...where, ...box, limit_usd_per_hour: 0 })), /^invalid_request: /)
    const placed = dataOf<Order>(await call('place-bid', { name: 'train', ...where, ...box, limit_usd_per_hour: floor + 0.01 })).order
    assert.deepEqual([placed.kind, placed.limit_usd_per_hour], ['bid', floor + 0.01])
    const mine = async () => dataOf<{ orders: Order['order'][] }>(await call('list-orders')).orders.find(({ id }) => id === placed.id)
    await eventually(async () => (await mine())?.instance_ids.length === 1, 'the bid has an instance')
    assert.equal(dataOf<Order>(await call('update-bid', { id: 'train', limit_usd_per_hour: floor })).order.limit_usd_per_hour, floor)
    assert.match(textOf(await call('update-bid', { id: 'train' })), /^invalid_request: Say what shall change/)
    assert.equal(dataOf<Order>(await call('update-bid', { id: placed.id, paused: true })).order.status, 'paused')
    assert.equal(dataOf<Order>(await call('end-bid', { id: placed.id })).order.status, 'terminated')
    assert.equal(await mine(), undefined)
    assert.match(textOf(await call('end-bid', { id: 'train' })), /^not_found: There is no bid/)
  })

  test('quotes, reserves, extends and cancels, and tells what was spent', async () => {
    const at = (hours: number) => new Date(Math.ceil(Date.now() / 3_600_000) * 3_600_000 + hours * 3_600_000).toISOString()
    const span = { start_at: at(24), end_at: at(48) }
    const quote = dataOf<{ available: boolean; total_usd: number }>(await call('quote-reservation', { ...where, ...span }))
    assert.ok(quote.available)
    const placed = dataOf<Order>(await call('place-reservation', { name: 'later', ...where, ...box, ...span })).order
    assert.deepEqual([placed.kind, placed.status, placed.total_usd], ['reservation', 'pending', quote.total_usd])
    assert.match(textOf(await call('place-reservation', { name: 'dear', ...where, ...box, ...span, max_unit_usd_per_hour: 0 })), /^limit_exceeded: /)
    assert.match(textOf(await call('update-reservation', { id: 'later' })), /^invalid_request: Say what shall change/)
    assert.equal(dataOf<Order>(await call('update-reservation', { id: 'later', end_at: at(72) })).order.end_at, at(72))
    assert.equal(dataOf<Order>(await call('cancel-reservation', { id: 'later' })).order.status, 'canceled')
    const usage = dataOf<{ net_usd: number; cost_usd: number; credit_usd: number }>(await call('get-usage'))
    assert.ok(Math.abs(usage.cost_usd - usage.credit_usd - usage.net_usd) < 1e-9)
  })
})
