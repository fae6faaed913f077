/**
 * The Hypeman surface over HTTP on a simulated host: what reaches into a guest, what the server tells of itself, and
 * the walls between projects.
 */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import { cpFromInstance, cpToInstance } from '@onkernel/hypeman/lib/cp'
import { exec, openExec, openSocket, UpgradeRefused } from './support/exec-socket.ts'
import { hypemanSuite, IMAGE, refuses } from './support/hypeman.ts'

const suite = hypemanSuite([
  'GET /resources 200',
  'GET /devices 200',
  'GET /devices/available 200',
  'GET /instances/{id}/stat 200',
])
const { call, create, createVolume, get, unique } = suite

// --- the server ------------------------------------------------------------------------------------------------

test('resources add up: what instances hold is allocated', async () => {
  const { id } = await create({ vcpus: 2, size: '256MB' })
  const { body } = await call('GET', '/resources')
  const resources = body as { cpu: { allocated: number }; memory: { type: string }; allocations: { instance_id: string; cpu: number; memory_bytes: number }[] }
  const mine = resources.allocations.find(allocation => allocation.instance_id === id)
  assert.equal(mine?.cpu, 2)
  assert.equal(mine?.memory_bytes, 256 * 2 ** 20)
  assert.ok(resources.cpu.allocated >= 2)
  assert.equal(resources.memory.type, 'memory')
})

test('capabilities name the runtime and the platform', async () => {
  const { body } = await call('GET', '/capabilities')
  const { default_runtime: runtime } = body as { default_runtime: unknown }
  assert.deepEqual(runtime, { name: 'qemu', available: true })
})

test('devices are listed, and one that is not there can’t be registered', async () => {
  assert.equal((await call('GET', '/devices')).status, 200)
  assert.equal((await call('GET', '/devices/available')).status, 200)
  refuses(await call('POST', '/devices', { body: { pci_address: 'a2:00' } }), 400, 'invalid_pci_address')
  refuses(await call('POST', '/devices', { body: { pci_address: 'ffff:ff:1f.7' } }), 404, 'device_not_found')
  refuses(await call('POST', '/devices', { body: { pci_address: 'ffff:ff:1f.7', name: '-' } }), 400, 'invalid_name')
})

test('stats and stat tell about a running instance', async () => {
  const { id, name } = await create()
  const stats = (await call('GET', `/instances/${id}/stats`)).body as Record<string, unknown>
  assert.equal(stats['instance_id'], id)
  assert.equal(stats['instance_name'], name)
  assert.equal(stats['allocated_vcpus'], 1)
  const stat = (await call('GET', `/instances/${id}/stat?path=/no/such/file`)).body as Record<string, unknown>
  assert.equal(stat['exists'], false)
  assert.deepEqual(Object.keys(stat).toSorted(), ['error', 'exists', 'is_dir', 'is_file', 'is_symlink', 'link_target', 'mode', 'size'])
  refuses(await call('GET', `/instances/${id}/stat`), 400, 'Bad Request')
  refuses(await call('GET', `/instances/${id}/stat?path=/&follow_links=maybe`), 400, 'Bad Request')
})

test('logs are server-sent events of JSON strings', async () => {
  const { id } = await create()
  for (let more = 0; more < 3; more++) {
    await call('POST', `/instances/${id}/stop`)
    await call('POST', `/instances/${id}/start`)
  }
  const answer = await suite.server.request('GET', `/instances/${id}/logs?tail=2`)
  assert.equal(answer.status, 200, answer.text)
  assert.equal(answer.headers.get('content-type'), 'text/event-stream')
  assert.equal(answer.headers.get('cache-control'), 'no-cache')
  assert.equal(answer.headers.get('content-encoding'), null)
  const events = answer.text.split('\n\n').filter(event => event !== '')
  assert.equal(events.length, 2)
  for (const event of events) assert.equal(typeof JSON.parse(event.replace(/^data: /, '')), 'string')
  refuses(await call('GET', `/instances/${id}/logs?tail=abc`), 400, 'Bad Request')
  refuses(await call('GET', `/instances/${id}/logs?source=kernel`), 400, 'Bad Request')
  refuses(await call('GET', `/instances/${id}/logs?follow=perhaps`), 400, 'Bad Request')
})

test('a log that is followed begins at once and goes on until the reader leaves', async () => {
  const { id } = await create()
  const gone = new AbortController()
  const response = await fetch(new URL(`/instances/${id}/logs?follow=true&tail=0`, suite.server.url), {
    headers: { authorization: `Bearer ${suite.server.key}` },
    signal: gone.signal,
  })
  assert.equal(response.status, 200)
  const reader = response.body?.getReader()
  await call('POST', `/instances/${id}/stop`)
  await call('POST', `/instances/${id}/start`)
  const chunk = await reader?.read()
  assert.match(Buffer.from(chunk?.value ?? []).toString(), /^data: "/)
  gone.abort()
})

// --- exec and cp -----------------------------------------------------------------------------------------------

test('exec sends output in binary frames and the exit code in a text frame, last', async () => {
  const { id, name } = await create()
  const done = await exec(suite.server.url, suite.server.key, id, { command: ['echo', 'hi'], wait_for_agent: 1 })
  assert.deepEqual([done.output, done.exitCode, done.texts], ['hi\n', 0, []])
  assert.equal((await exec(suite.server.url, suite.server.key, name, { command: ['false'] })).exitCode, 1)
  const absent = await exec(suite.server.url, suite.server.key, id, { command: ['no-such-program'] })
  assert.match(absent.output, /^Error: .*executable file not found.*\r\n$/)
  assert.equal(absent.exitCode, 127)
  assert.equal((await exec(suite.server.url, suite.server.key, id, { command: ['sleep', '100'], timeout: 1 })).exitCode, 124)
})

test('exec takes stdin as binary and as text, and a client that leaves ends its command', async () => {
  const { id } = await create()
  const session = await openExec(suite.server.url, suite.server.key, id, { command: ['cat'] })
  session.socket.send(Buffer.from('binary '))
  session.socket.send('text ')
  session.socket.send('{"resize":{"rows":1,"cols":1}}')
  await session.until('binary text {"resize"')
  session.socket.close()
  assert.equal((await session.outcome).exitCode, null)
})

test('exec refuses what it can before the upgrade', async () => {
  const { id } = await create()
  await call('POST', `/instances/${id}/stop`)
  const refusal = (path: string, key: string | null) =>
    openSocket(suite.server.url, key, path).then(
      () => assert.fail('it was upgraded'),
      (error: unknown) => {
        assert.ok(error instanceof UpgradeRefused)
        return [error.status, JSON.parse(error.body) as unknown]
      },
    )
  const stopped = { code: 'invalid_state', message: 'instance must be running (current state: Stopped)' }
  for (const route of ['exec', 'cp']) {
    assert.deepEqual(await refusal(`/instances/${id}/${route}`, null), [401, { code: 'Unauthorized', message: 'authorization header required' }])
    assert.deepEqual(await refusal(`/instances/nothing/${route}`, suite.server.key), [404, { code: 'not_found', message: 'resource not found' }])
    assert.deepEqual(await refusal(`/instances/${id}/${route}`, suite.server.key), [409, stopped])
    assert.equal((await suite.server.request('GET', `/instances/${id}/${route}`)).status, 409)
  }
})

test('a first message that is no request is told as an error', async () => {
  const { id } = await create()
  assert.deepEqual((await exec(suite.server.url, suite.server.key, id, Buffer.from('{}'))).texts, ['{"error":"first message must be JSON text"}'])
  assert.match((await exec(suite.server.url, suite.server.key, id, '{broken')).texts[0] ?? '', /^\{"error":"invalid JSON: /)
  assert.match((await exec(suite.server.url, suite.server.key, id, { command: 'ls' })).texts[0] ?? '', /^\{"error":"invalid JSON: .*command/)
})

test('the vendor’s copy helpers carry files unchanged, even those that look like messages', async () => {
  const { id } = await create()
  const scratch = mkdtempSync(join(tmpdir(), 'hs-'))
  const config = { baseURL: suite.server.url, apiKey: suite.server.key }
  try {
    for (const [name, bytes] of Object.entries({ json: Buffer.from('{"type":"end","final":true}'), binary: randomBytes(100_000), empty: Buffer.alloc(0) })) {
      writeFileSync(join(scratch, name), bytes)
      await cpToInstance(config, { instanceId: id, srcPath: join(scratch, name), dstPath: `/copied/${name}` })
      await cpFromInstance(config, { instanceId: id, srcPath: `/copied/${name}`, dstPath: join(scratch, 'back') })
      assert.deepEqual(readFileSync(join(scratch, 'back', name)), bytes, name)
    }
    await assert.rejects(cpFromInstance(config, { instanceId: id, srcPath: '/nothing', dstPath: scratch }), /stat: lstat \/nothing: no such file or directory/)
    await assert.rejects(cpToInstance(config, { instanceId: id, srcPath: scratch, dstPath: '/copied/json' }), /cannot create directory: \/copied\/json is a file/)
  } finally {
    rmSync(scratch, { recursive: true })
  }
})

test('a copy whose direction is none is told as an error', async () => {
  const { id } = await create()
  const socket = await openSocket(suite.server.url, suite.server.key, `/instances/${id}/cp`)
  socket.send(JSON.stringify({ direction: 'sideways', guest_path: '/x' }))
  const [message] = (await once(socket, 'message')) as [Buffer]
  assert.deepEqual(JSON.parse(message.toString()), { type: 'error', message: "invalid direction: sideways (must be 'to' or 'from')" })
})

// --- projects --------------------------------------------------------------------------------------------------

test('what belongs to another project is not found, whatever is asked of it', async () => {
  const project = (await suite.server.request('POST', '/berth/v1/projects', { body: { name: unique('project') } })).body as { id: string }
  const made = await suite.server.request('POST', '/berth/v1/keys', { body: { name: 'other', projectId: project.id, scopes: ['read', 'write', 'exec'] } })
  const { secret: key } = made.body as { secret: string }
  const { id, name } = await create()
  const volume = await createVolume()
  assert.deepEqual((await call('GET', '/instances', { key })).body, [])
  assert.deepEqual((await call('GET', '/volumes', { key })).body, [])
  const asked: readonly [string, string, unknown?][] = [
    ['GET', `/instances/${id}`],
    ['GET', `/instances/${name}`],
    ['GET', `/instances/${id.slice(0, 12)}`],
    ['PATCH', `/instances/${id}`, { ttl: '1h' }],
    ['DELETE', `/instances/${id}`],
    ['POST', `/instances/${id}/stop`],
    ['POST', `/instances/${id}/standby`, {}],
    ['GET', `/instances/${id}/logs`],
    ['GET', `/instances/${id}/stats`],
    ['GET', `/instances/${id}/stat?path=/`],
    ['GET', `/instances/${id}/wait?state=Running`],
    ['GET', `/instances/${id}/exec`],
    ['GET', `/volumes/${volume.id}`],
    ['DELETE', `/volumes/${volume.id}`],
    ['POST', `/instances/${id}/volumes/${volume.id}`, { mount_path: '/data' }],
  ]
  for (const [method, path, body] of asked) {
    refuses(await call(method, path, body === undefined ? { key } : { key, body }), 404, 'not_found')
  }
  assert.equal((await get(id)).state, 'Running')
  const theirs = await call('POST', '/instances', { key, body: { name, image: IMAGE, size: '128MB' } })
  assert.equal(theirs.status, 201, 'the same name is free in another project')
  assert.equal((await call('DELETE', `/instances/${name}`, { key })).status, 204)
})

test('a key that may only read is told so', async () => {
  const made = await suite.server.request('POST', '/berth/v1/keys', { body: { name: 'reader', scopes: ['read'] } })
  const { secret: key } = made.body as { secret: string }
  assert.equal((await call('GET', '/instances', { key })).status, 200)
  refuses(await call('POST', '/instances', { key, body: { name: unique(), image: IMAGE } }), 403, 'Forbidden')
})

test('health and metrics are told without a key', async () => {
  assert.deepEqual((await suite.server.request('GET', '/healthz', { key: null })).body, { status: 'ok' })
  const { text } = await suite.server.request('GET', '/metrics', { key: null })
  assert.match(text, /berth_instances\{phase="running"\} [1-9]/)
  assert.match(text, /berth_http_request_duration_seconds_count\{method="POST",route="\/instances",status="201"\}/)
})

test('nothing secret is in the log', async () => {
  await call('GET', '/instances')
  assert.ok(!suite.server.output().includes(`Bearer ${suite.server.key}`))
})
