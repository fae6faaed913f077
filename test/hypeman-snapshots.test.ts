/**
 * Forks and snapshots through the vendor's unmodified TypeScript client, on real VMs: a program's memory goes on in
 * the copy, and the copy is somebody else.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import Hypeman from '@onkernel/hypeman'
import { exec } from './support/exec-socket.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
/** A word that is nowhere but in the memory of this process. */
const APP = ['sh', '-c', 'w=$(head -c 9 /dev/urandom | base64); while true; do echo "$w $(hostname)" > /tmp/said.new; mv /tmp/said.new /tmp/said; sleep 0.1; done']
const CLIENT_TIMEOUT_MS = 300_000

let server: TestServer
let client: Hypeman
let requests = 0
let source: Hypeman.Instance

before(async () => {
  server = await startServer({ host: 'qemu' })
  client = new Hypeman({
    baseURL: server.url,
    apiKey: server.key,
    timeout: CLIENT_TIMEOUT_MS,
    fetch: (input, init) => {
      requests += 1
      return fetch(input, init)
    },
  })
  await eventually('the image is ready', async () => ((await client.images.create({ name: IMAGE })).status === 'ready' ? true : null), CLIENT_TIMEOUT_MS)
  source = await client.instances.create({ name: 'source', image: IMAGE, size: '256MB', vcpus: 1, cmd: APP, tags: { role: 'source' } })
})
after(() => server.stop())

async function output(id: string, command: readonly string[]): Promise<string> {
  const outcome = await exec(server.url, server.key, id, { command })
  assert.equal(outcome.exitCode, 0, outcome.output)
  return outcome.output.trim()
}

/** What the application says, once it says it under this host name. */
function said(id: string, hostname: string): Promise<string> {
  return eventually(`${hostname} speaks`, async () => {
    const outcome = await exec(server.url, server.key, id, { command: ['cat', '/tmp/said'] })
    const [word = '', name] = outcome.output.trim().split(' ')
    return outcome.exitCode === 0 && name === hostname ? word : null
  }, CLIENT_TIMEOUT_MS)
}

async function refused(status: number, code: string, ask: () => Promise<unknown>): Promise<void> {
  const earlier = requests
  await assert.rejects(ask(), (error: unknown) => {
    assert.ok(error instanceof Hypeman.APIError, String(error))
    assert.deepEqual([error.status, (error.error as { code: string }).code], [status, code], error.message)
    return true
  })
  assert.equal(requests - earlier, 1, 'the client does not send it again')
}

test('instances.fork of a running instance: its memory goes on under another identity, and it runs on', async () => {
  const word = await said(source.id, 'source')
  await refused(409, 'invalid_state', () => client.instances.fork(source.id, { name: 'fork' }))
  const fork = await client.instances.fork('source', { name: 'fork', from_running: true })
  assert.equal(fork.state, 'Running')
  assert.equal(fork.name, 'fork')
  assert.notEqual(fork.id, source.id)
  assert.equal(fork.expires_at, null)
  assert.deepEqual(fork.tags, { role: 'source' })
  assert.equal(await said(fork.id, 'fork'), word)
  assert.equal(await said(source.id, 'source'), word)
  for (const instance of [source, fork]) {
    assert.equal(await output(instance.id, ['cat', '/sys/class/net/eth0/address']), instance.network?.mac)
    assert.match(await output(instance.id, ['ip', '-4', '-o', 'addr', 'show', 'eth0']), new RegExp(`inet ${instance.network?.ip?.replaceAll('.', '\\.')}/`))
  }
  const random = await Promise.all([source, fork].map(({ id }) => output(id, ['cat', '/proc/sys/kernel/random/uuid'])))
  assert.notEqual(random[0], random[1])
  await refused(409, 'name_conflict', () => client.instances.fork(source.id, { name: 'fork', from_running: true }))
  await refused(404, 'not_found', () => client.instances.fork('nobody', { name: 'x' }))
  await refused(400, 'Bad Request', () => client.instances.fork(source.id, { name: 'Not A Name' }))
  await client.instances.delete(fork.id)
})

test('instances.snapshots.create and restore, snapshots.list, get, fork and delete', async () => {
  const word = await said(source.id, 'source')
  await output(source.id, ['sh', '-c', 'echo then > /root/note; sync'])
  await refused(409, 'invalid_state', () => client.instances.snapshots.create(source.id, { kind: 'Stopped' }))
  const taken = await client.instances.snapshots.create(source.id, { kind: 'Standby', name: 'one', tags: { made: 'here' } })
  assert.equal(taken.kind, 'Standby')
  assert.equal(taken.source_instance_id, source.id)
  assert.equal(taken.source_instance_name, 'source')
  assert.equal(taken.source_hypervisor, 'qemu')
  assert.equal(taken.name, 'one')
  assert.ok(taken.size_bytes > 0)
  assert.equal((await client.instances.get(source.id)).state, 'Running')
  await refused(409, 'name_conflict', () => client.instances.snapshots.create(source.id, { kind: 'Standby', name: 'one' }))
  assert.deepEqual(await client.snapshots.get(taken.id), taken)
  assert.deepEqual(await client.snapshots.list(), [taken])
  assert.deepEqual(await client.snapshots.list({ source_instance_id: source.id, kind: 'Standby', name: 'one', tags: { made: 'here' } }), [taken])
  assert.deepEqual(await client.snapshots.list({ kind: 'Stopped' }), [])
  assert.deepEqual(await client.snapshots.list({ source_instance_id: 'nobody' }), [])

  // Forward, and back again in place: memory and disk as they were.
  await output(source.id, ['sh', '-c', 'echo now > /root/note; sync'])
  await refused(409, 'invalid_state', () => client.instances.snapshots.restore(taken.id, { id: source.id }))
  await client.instances.stop(source.id)
  const back = await client.instances.snapshots.restore(taken.id, { id: source.id })
  assert.equal(back.state, 'Running')
  assert.deepEqual([back.network?.ip, back.network?.mac], [source.network?.ip, source.network?.mac])
  assert.equal(await said(source.id, 'source'), word)
  assert.equal(await output(source.id, ['cat', '/root/note']), 'then')

  // A copy in standby, which wakes later.
  const asleep = await client.snapshots.fork(taken.id, { name: 'asleep', target_state: 'Standby' })
  assert.equal(asleep.state, 'Standby')
  assert.equal((await client.instances.restore(asleep.id)).state, 'Running')
  assert.equal(await said(asleep.id, 'asleep'), word)
  await refused(501, 'not_supported', () => client.snapshots.fork(taken.id, { name: 'other', target_hypervisor: 'firecracker' }))

  // Disks alone, of the copy when it is stopped.
  await output(asleep.id, ['sh', '-c', 'echo copy > /root/note; sync'])
  await client.instances.stop(asleep.id)
  const disks = await client.instances.snapshots.create(asleep.id, { kind: 'Stopped' })
  const resting = await client.snapshots.fork(disks.id, { name: 'resting', target_hypervisor: 'qemu-microvm' })
  assert.equal(resting.state, 'Stopped')
  assert.equal((await client.instances.start(resting.id, {})).state, 'Running')
  assert.notEqual(await said(resting.id, 'resting'), word)
  assert.equal(await output(resting.id, ['cat', '/root/note']), 'copy')

  await client.instances.delete(source.id)
  const orphan = await client.snapshots.fork(taken.id, { name: 'orphan' })
  assert.equal(await said(orphan.id, 'orphan'), word)
  for (const { id } of [taken, disks]) await client.snapshots.delete(id)
  await refused(404, 'not_found', () => client.snapshots.get(taken.id))
  await refused(404, 'not_found', () => client.snapshots.delete('nobody'))
  assert.deepEqual(await client.snapshots.list(), [])
  for (const { id } of [asleep, resting, orphan]) await client.instances.delete(id)
})
