/** Secrets over the native API: written, handed to instances, and told by no surface. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { InstanceBody } from '../src/dialects/native/schema/instances.ts'
import type { SecretBody } from '../src/dialects/native/schema/secrets.ts'
import { makeNativeClient } from './support/native-client.ts'
import type { NativeClient } from './support/native-client.ts'
import { startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const VALUE = 'correct-horse-battery'
let server: TestServer
let api: NativeClient

before(async () => {
  server = await startServer()
  api = await makeNativeClient(server)
  await api.ok(200, 'GET', `/images/${encodeURIComponent(`${IMAGE}:latest`)}/wait?timeoutMs=60000`)
})
after(() => server.stop())

const names = async () => (await api.ok<{ items: SecretBody[] }>(200, 'GET', '/secrets')).items.map(({ name }) => name)

test('a secret is set and set again, listed without its value, and deleted', async () => {
  const made = await api.ok<SecretBody>(200, 'PUT', '/secrets/TOKEN', { body: { value: VALUE } })
  assert.deepEqual(Object.keys(made).sort(), ['createdAt', 'name', 'updatedAt'])
  const again = await api.ok<SecretBody>(200, 'PUT', '/secrets/TOKEN', { body: { value: `${VALUE}-2` } })
  assert.equal(again.createdAt, made.createdAt)
  assert.deepEqual(await names(), ['TOKEN'])
  await api.ok(204, 'DELETE', '/secrets/TOKEN')
  await api.refused(404, 'not_found', 'DELETE', '/secrets/TOKEN')
  assert.deepEqual(await names(), [])
})

test('names that are none and values that no variable holds are refused, and no refusal repeats them', async () => {
  for (const name of ['-TOKEN', 'A%2FB', 'correct%20horse', 'X'.repeat(129)]) await api.refused(400, 'invalid_request', 'PUT', `/secrets/${name}`, { body: { value: VALUE } })
  for (const body of [{ value: `${VALUE}\0` }, {}, { value: 1 }]) {
    const { message } = await api.refused(400, 'invalid_request', 'PUT', '/secrets/TOKEN', { body })
    assert.doesNotMatch(message, /horse/)
  }
})

test('an instance has it as a variable; no read of any surface shows it, and it stays while it is named', async () => {
  await api.ok(200, 'PUT', '/secrets/TOKEN', { body: { value: VALUE } })
  const wish = { image: IMAGE, name: 'keeper', secrets: ['TOKEN'], cmd: ['sh', '-c', 'echo "has ${#TOKEN} characters"; sleep 100000'] }
  await api.refused(400, 'invalid_request', 'POST', '/instances', { body: { ...wish, secrets: ['NOBODY'] } })
  const made = await api.ok<InstanceBody>(201, 'POST', '/instances?wait=running', { body: wish })
  assert.deepEqual(made.secrets, ['TOKEN'])
  const { ids } = made
  const reads = [
    '/berth/v1/secrets', '/berth/v1/instances', '/berth/v1/instances/keeper', '/berth/v1/audit', '/berth/v1/events?follow=false',
    '/instances', `/instances/${ids.hypeman}`, '/v1/instances', `/v1/instances/${ids.koyeb}`, '/api/v1/instances', `/api/v1/instances/${ids.lambda}`, '/v2/instances',
  ]
  for (const path of reads) {
    const answer = await fetch(new URL(path, server.url), { headers: { authorization: `Bearer ${server.key}` }, signal: AbortSignal.timeout(20_000) })
    assert.doesNotMatch(await answer.text(), new RegExp(VALUE), path)
  }
  await api.refused(409, 'volume_in_use', 'DELETE', '/secrets/TOKEN')
  await api.ok(200, 'PUT', '/secrets/api-key', { body: { value: `${VALUE}-key` } })
  await api.refused(400, 'invalid_request', 'POST', '/instances', { body: { ...wish, name: 'odd', secrets: ['api-key'] } })
  const other = await api.ok<InstanceBody>(201, 'POST', '/instances?wait=running', { body: { ...wish, name: 'other', secrets: [], secretEnv: { URL: 'http://u:{{ secret.api-key }}@h', PLAIN: '{{ secret. }}' } } })
  assert.deepEqual([other.secrets, other.secretEnv['URL']], [[], 'http://u:{{ secret.api-key }}@h'])
  const { stdout } = await api.exec('other', { command: ['env'] })
  assert.match(stdout.toString(), new RegExp(`^URL=http://u:${VALUE}-key@h$`, 'm'))
  await api.refused(409, 'volume_in_use', 'DELETE', '/secrets/api-key')
  await api.ok(200, 'DELETE', '/instances/other?wait=true')
  await api.ok(204, 'DELETE', '/secrets/api-key')
  assert.deepEqual((await api.ok<InstanceBody>(200, 'PATCH', '/instances/keeper', { body: { secrets: [] } })).secrets, [])
  await api.ok(204, 'DELETE', '/secrets/TOKEN')
  await api.ok(200, 'DELETE', '/instances/keeper?wait=true')
})
