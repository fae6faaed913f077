/** Keys and user data on their way to an instance's first start, over a real store and a simulated host. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, test } from 'node:test'
import type { Fixture } from '../../test/engine-fixture.ts'
import { engineFixture, settle, SMALL } from '../../test/engine-fixture.ts'
import { BerthError } from '../instance/errors.ts'
import type { Instance } from '../instance/model.ts'
import type { Phase } from '../instance/phase.ts'
import type { CreateInstance } from './api.ts'
import { SSH_KEYS_PER_INSTANCE_LIMIT } from './limits.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDi7D7HC1W5pI/PFJoRow3cxkceLeJsWSKnGgHco6OeT me'
const USER_DATA = '#cloud-config\nwrite_files: [{path: /etc/from-user-data, content: secret}]\n'
const KEYS_FILE = '/root/.ssh/authorized_keys'

let fixture: Fixture

beforeEach(async () => {
  fixture = await engineFixture()
})
afterEach(() => fixture.close())

async function create(request: Partial<CreateInstance>, until: Phase = 'running'): Promise<Instance> {
  const created = await fixture.engine.instances.create(fixture.caller, { ...SMALL, name: 'first', ...request })
  return reach(created, until)
}

async function reach(since: Instance, until: Phase): Promise<Instance> {
  const { instance } = await fixture.engine.instances.wait(fixture.caller, since.id, { until: [until], timeoutMs: 10_000, since })
  assert.equal(instance.phase, until)
  return instance
}

const kept = (instance: Instance) => fixture.store.read.firstBoot(instance.id)
const filesOf = (instance: Instance) => Object.keys(fixture.host.vms().find(vm => vm.instanceId === instance.id)?.files ?? {})

test('user data reaches the first start, is forgotten then, and does not come again', async () => {
  const made = await create({ sshKeys: [KEY], userData: USER_DATA })
  assert.ok(filesOf(made).includes('/etc/from-user-data') && filesOf(made).includes(KEYS_FILE))
  assert.equal(await kept(made), null)
  assert.deepEqual(made.spec.sshKeys, [KEY])
  assert.ok(!JSON.stringify(made).includes('secret'))
  const vm = fixture.host.vms().find(one => one.instanceId === made.id)
  if (vm !== undefined) for (const file of Object.keys(vm.files)) delete vm.files[file]
  await reach(await fixture.engine.instances.restart(fixture.caller, made.id), 'running')
  assert.deepEqual(filesOf(made), [])
})

test('a start that fails keeps it for the next one', async () => {
  fixture.host.setFaults(({ call }) => (call === 'start' ? { kind: 'before', code: 'disk_full', message: 'no room' } : null))
  const created = await fixture.engine.instances.create(fixture.caller, { ...SMALL, name: 'late', userData: USER_DATA })
  await settle(fixture)
  assert.deepEqual(await kept(created), { userData: USER_DATA, files: [] })
  fixture.host.setFaults(() => null)
  const started = await reach(await fixture.engine.instances.start(fixture.caller, created.id), 'running')
  assert.ok(filesOf(started).includes('/etc/from-user-data'))
  assert.equal(await kept(started), null)
})

test('a server that dies before the first start goes on with it', async () => {
  fixture.host.setFaults(({ call }) => (call === 'start' ? { kind: 'before', code: 'host_unavailable', message: 'away' } : null))
  const created = await fixture.engine.instances.create(fixture.caller, { ...SMALL, name: 'crashed', sshKeys: [KEY], userData: USER_DATA })
  await fixture.reopen()
  const { instance } = await fixture.engine.instances.wait(fixture.caller, created.id, { until: ['running'], timeoutMs: 10_000 })
  assert.equal(instance.phase, 'running')
  assert.ok(filesOf(instance).includes('/etc/from-user-data'))
})

test('a delete takes it along', async () => {
  fixture.host.setFaults(({ call }) => (call === 'start' ? { kind: 'before', code: 'disk_full', message: 'no room' } : null))
  const created = await fixture.engine.instances.create(fixture.caller, { ...SMALL, name: 'deleted', userData: USER_DATA })
  await settle(fixture)
  await reach(await fixture.engine.instances.delete(fixture.caller, created.id), 'deleted')
  assert.equal(await kept(created), null)
})

test('what can’t be a key, too many of them, and what can’t be user data are refused before anything is made', async () => {
  for (const [request, code] of [
    [{ sshKeys: ['a key'] }, 'invalid_request'],
    [{ sshKeys: [` ${KEY}`] }, 'invalid_request'],
    [{ sshKeys: Array.from({ length: SSH_KEYS_PER_INSTANCE_LIMIT + 1 }, () => KEY) }, 'limit_exceeded'],
    [{ userData: 'echo hello' }, 'invalid_request'],
  ] as const) {
    await assert.rejects(create(request), error => error instanceof BerthError && error.code === code)
  }
  assert.deepEqual(await fixture.engine.instances.list(fixture.caller), [])
  const [longest] = [await create({ sshKeys: Array.from({ length: SSH_KEYS_PER_INSTANCE_LIMIT }, () => KEY) })]
  assert.equal(longest.spec.sshKeys.length, SSH_KEYS_PER_INSTANCE_LIMIT)
})
