/** Hypeman's `auto_standby`: an instance nobody is connected to goes to standby, and is woken by a restore alone. Simulated host. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'ha-'))
let server: TestServer

before(async () => {
  server = await startServer({ dataDir })
})
after(async () => {
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
})

interface Shown {
  readonly id: string
  readonly state: string
  readonly network: { readonly ip: string }
  readonly auto_standby?: Readonly<Record<string, unknown>>
}
interface Status {
  readonly status: string
  readonly reason: string
  readonly active_inbound_connections: number
  readonly configured: boolean
  readonly enabled: boolean
  readonly supported: boolean
  readonly idle_timeout?: string
  readonly hold_until?: string
  readonly next_standby_at?: string
  readonly countdown_remaining?: string
}

async function ok<T>(method: string, path: string, body?: unknown, status = 200): Promise<T> {
  const answer = await server.request(method, path, body === undefined ? {} : { body })
  assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`)
  return answer.body as T
}
const create = (name: string, policy: object | undefined, more: object = {}) =>
  ok<Shown>('POST', '/instances', { name, image: 'localhost/busybox', entrypoint: ['serve'], size: '256MB', ...(policy === undefined ? {} : { auto_standby: policy }), ...more }, 201)
const status = (id: string) => ok<Status>('GET', `/instances/${id}/auto-standby/status`)
const stateIs = (id: string, state: string) => eventually(`${id} is ${state}`, async () => ((await ok<Shown>('GET', `/instances/${id}`)).state === state ? true : null))
const statusIs = (id: string, word: string) => eventually(`it is ${word}`, async () => {
  const now = await status(id)
  return now.status === word ? now : null
})

/** Who is connected to the pretended guest from now on. */
async function connect(name: string, lines: string): Promise<void> {
  const headers = { authorization: `Bearer ${server.key}`, 'content-type': 'application/octet-stream' }
  const answer = await fetch(`${server.url}/berth/v1/instances/${name}/files?path=/tmp/connections`, { method: 'PUT', headers, body: lines })
  assert.ok(answer.ok, await answer.text())
}

test('a policy is told with its defaults, and its absence too', async () => {
  const { id, auto_standby: policy } = await create('told', { enabled: true })
  assert.deepEqual(policy, { enabled: true, idle_timeout: '5m0s', ignore_source_cidrs: [], ignore_destination_ports: [] })
  const counting = await statusIs(id, 'idle_countdown')
  assert.deepEqual([counting.reason, counting.configured, counting.enabled, counting.supported, counting.idle_timeout, counting.active_inbound_connections], ['idle_timeout_not_elapsed', true, true, true, '5m0s', 0])
  assert.ok(counting.next_standby_at !== undefined && counting.countdown_remaining !== undefined)
  const plain = await create('plain', undefined)
  assert.equal('auto_standby' in plain, false)
  const none = await status(plain.id)
  assert.deepEqual([none.status, none.reason, none.configured, none.enabled], ['disabled', 'policy_missing', false, false])
  const off = await create('off', { enabled: false, idle_timeout: '1s' })
  assert.deepEqual([(await status(off.id)).status, (await status(off.id)).reason], ['disabled', 'policy_disabled'])
  const unplugged = await create('unplugged', { enabled: true }, { network: { enabled: false } })
  assert.deepEqual([(await status(unplugged.id)).status, (await status(unplugged.id)).reason], ['ineligible', 'network_disabled'])
})

test('one without connections goes to standby, again after a restore; one with a connection stays until that ends', async () => {
  const alone = await create('alone', { enabled: true, idle_timeout: '1s' })
  const used = await create('used', undefined)
  await connect('used', `${used.network.ip} 80 203.0.113.9\n`)
  await ok('PATCH', `/instances/${used.id}`, { auto_standby: { enabled: true, idle_timeout: '1s', ignore_source_cidrs: ['198.51.100.0/24'], ignore_destination_ports: [9000] } })
  const { reason } = await eventually('its connection is seen', async () => {
    const now = await status(used.id)
    return now.active_inbound_connections === 1 ? now : null
  })
  assert.equal(reason, 'active_inbound_connections')
  await stateIs(alone.id, 'Standby')
  assert.deepEqual([(await status(alone.id)).status, (await status(alone.id)).reason], ['ineligible', 'instance_not_running'])
  await ok('POST', `/instances/${alone.id}/restore`)
  await stateIs(alone.id, 'Standby')
  assert.equal((await ok<Shown>('GET', `/instances/${used.id}`)).state, 'Running')
  await connect('used', `${used.network.ip} 80 198.51.100.7\n${used.network.ip} 9000 203.0.113.9\n192.0.2.1 80 203.0.113.9\n`)
  await stateIs(used.id, 'Standby')
})

test('a hold puts it off, and in standby there is nothing to hold', async () => {
  const held = await create('held', { enabled: true, idle_timeout: '1h' })
  const { hold_until: until } = await ok<Status>('POST', `/instances/${held.id}/auto-standby/hold`)
  assert.ok(until !== undefined && Date.parse(until) > Date.now() + 3_000_000)
  await ok('PATCH', `/instances/${held.id}`, { auto_standby: { enabled: true, idle_timeout: '1s' } })
  const other = await create('other', { enabled: true, idle_timeout: '1s' })
  await stateIs(other.id, 'Standby')
  assert.equal((await ok<Shown>('GET', `/instances/${held.id}`)).state, 'Running')
  const refused = await server.request('POST', `/instances/${other.id}/auto-standby/hold`)
  assert.deepEqual([refused.status, (refused.body as { code: string }).code], [409, 'instance_in_standby'])
  const plain = await ok<Status>('POST', `/instances/${(await create('none', undefined)).id}/auto-standby/hold`)
  assert.equal(plain.status, 'disabled')
})

test('the policy changes while it runs, and outlives the server', async () => {
  const { id } = await create('changing', { enabled: false })
  const changed = await ok<Shown>('PATCH', `/instances/${id}`, { auto_standby: { enabled: true, idle_timeout: '3s' } })
  assert.deepEqual([changed.auto_standby?.['enabled'], changed.auto_standby?.['idle_timeout']], [true, '3s'])
  await server.kill()
  server = await startServer({ dataDir })
  await stateIs(id, 'Standby')
})

test('a command that runs keeps it awake', async () => {
  const { id } = await create('busy', { enabled: true, idle_timeout: '1s' })
  const call = server.request('POST', '/v1/streams/instances/exec', { body: { id: (await ok<{ id: string }>('GET', '/berth/v1/instances/busy')).id, command: ['sleep', '4'] } })
  const other = await create('measure', { enabled: true, idle_timeout: '1s' })
  await stateIs(other.id, 'Standby')
  assert.equal((await ok<Shown>('GET', `/instances/${id}`)).state, 'Running')
  assert.equal((await call).status, 200)
  await stateIs(id, 'Standby')
})

test('policies that are none are refused', async () => {
  for (const policy of [{ enabled: true, idle_timeout: 'soon' }, { idle_timeout: '0s' }, { idle_timeout: '-1s' }, { ignore_source_cidrs: ['everyone'] }, { ignore_source_cidrs: ['10.0.0.0/33'] }, { ignore_destination_ports: [0] }, { ignore_destination_ports: [65_536] }]) {
    const answer = await server.request('POST', '/instances', { body: { name: 'no', image: 'localhost/busybox', auto_standby: policy } })
    assert.deepEqual([answer.status, (answer.body as { code: string }).code], [400, 'invalid_auto_standby'], answer.text)
  }
  for (const policy of [{ enabled: 'yes' }, { ignore_destination_ports: ['http'] }]) {
    assert.equal((await server.request('POST', '/instances', { body: { name: 'no', image: 'localhost/busybox', auto_standby: policy } })).status, 400)
  }
  assert.equal((await server.request('GET', '/instances/no/auto-standby/status')).status, 404)
})
