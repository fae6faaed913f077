/** Idle policies of instances: what nobody uses goes to standby, and comes back for who does. On a simulated host. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { InstanceBody } from '../src/dialects/native/schema/instances.ts'
import { commandEnv, startBerth } from './support/berth-command.ts'
import { makeNativeClient } from './support/native-client.ts'
import type { NativeClient } from './support/native-client.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'bi-'))
let server: TestServer
let native: NativeClient

before(async () => {
  server = await startServer({ dataDir })
  native = await makeNativeClient(server)
})
after(async () => {
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
})

const launch = (name: string, more: object) => native.ok<InstanceBody>(201, 'POST', '/instances?wait=running', { body: { image: 'localhost/busybox', name, ...more } })
const shown = (id: string) => native.ok<InstanceBody>(200, 'GET', `/instances/${id}`)
const phaseIs = (id: string, phase: string) => eventually(`${id} is ${phase}`, async () => ((await shown(id)).phase === phase ? true : null))
const change = (id: string, body: object) => native.ok<InstanceBody>(200, 'PATCH', `/instances/${id}`, { body })
const berth = (...args: readonly string[]) => startBerth(commandEnv(server), args).done

test('an idle instance goes to standby, again and again, and a command wakes it', async () => {
  const { id, idleAfterMs } = await launch('sleeper', { idleAfterMs: 1000 })
  assert.equal(idleAfterMs, 1000)
  for (let turn = 0; turn < 2; turn++) {
    await phaseIs(id, 'standby')
    const { stdout } = await native.exec(id, { command: ['echo', 'awake'], wake: true })
    assert.equal(stdout.toString(), 'awake\n')
  }
  await phaseIs(id, 'standby')
})

test('one that is used stays awake until that ends, and one without a policy stays', async () => {
  const [used, plain] = [await launch('used', { idleAfterMs: 1000 }), await launch('plain', {})]
  const running = native.exec(used.id, { command: ['sleep', '3'] })
  const other = await launch('measure', { idleAfterMs: 1000 })
  await phaseIs(other.id, 'standby')
  assert.equal((await shown(used.id)).phase, 'running')
  await running
  await phaseIs(used.id, 'standby')
  assert.equal((await shown(plain.id)).phase, 'running')
})

test('the policy outlives the server', async () => {
  const { id } = await launch('survivor', { idleAfterMs: 3000 })
  await server.kill()
  server = await startServer({ dataDir })
  native = await makeNativeClient(server)
  await phaseIs(id, 'standby')
})

test('a time that is none, and ports behind a firewall, are refused and make nothing', async () => {
  for (const idleAfterMs of [0, -1, 999, 1e12, 'soon']) {
    await native.refused(400, 'invalid_request', 'POST', '/instances', { body: { image: 'localhost/busybox', name: 'no', idleAfterMs } })
  }
  const network = { ports: [{ hostPort: 18_080, guestPort: 80 }] }
  await native.refused(422, 'not_supported', 'POST', '/instances', { body: { image: 'localhost/busybox', name: 'no', idleAfterMs: 1000, network, firewalls: [] } })
  assert.deepEqual((await native.ok<{ items: unknown[] }>(200, 'GET', '/instances?name=no')).items, [])
})

test('the idle time changes while it runs: shorter, never, and again', async () => {
  const { id } = await launch('changing', { idleAfterMs: 3_600_000 })
  assert.equal((await change(id, { idleAfterMs: 1000 })).idleAfterMs, 1000)
  await phaseIs(id, 'standby')
  assert.equal((await change(id, { idleAfterMs: null })).idleAfterMs, null)
  await native.ok(200, 'POST', `/instances/${id}/restore?wait=true`)
  const other = await launch('changing-measure', { idleAfterMs: 1000 })
  await phaseIs(other.id, 'standby')
  assert.equal((await shown(id)).phase, 'running')
  await native.refused(400, 'invalid_request', 'PATCH', `/instances/${id}`, { body: { idleAfterMs: 1 } })
})

test('published ports change hands with the first and the last idle time, so only while it is stopped', async () => {
  const { id } = await launch('published', { network: { ports: [{ hostPort: 18_081, guestPort: 80 }] } })
  await native.refused(409, 'invalid_state', 'PATCH', `/instances/${id}`, { body: { idleAfterMs: 5000 } })
  assert.equal((await shown(id)).idleAfterMs, null)
  await native.ok(200, 'POST', `/instances/${id}/stop?wait=true`)
  assert.equal((await change(id, { idleAfterMs: 5000 })).idleAfterMs, 5000)
  await native.ok(200, 'POST', `/instances/${id}/start?wait=true`)
  assert.equal((await change(id, { idleAfterMs: 6000 })).idleAfterMs, 6000)
  await native.ok(200, 'DELETE', `/instances/${id}?wait=true`)
})

test('automatic standby is made, told, changed and taken away', async () => {
  const { id, autoStandby } = await launch('standing', { autoStandby: { idleAfterMs: 3_600_000 } })
  assert.deepEqual(autoStandby, { enabled: true, idleAfterMs: 3_600_000, ignoreSources: [], ignorePorts: [] })
  const policy = { enabled: false, idleAfterMs: 1000, ignoreSources: ['10.0.0.0/8'], ignorePorts: [22] }
  assert.deepEqual((await change(id, { autoStandby: policy })).autoStandby, policy)
  await change(id, { autoStandby: { ...policy, enabled: true } })
  await phaseIs(id, 'standby')
  assert.equal((await change(id, { autoStandby: null })).autoStandby, null)
  for (const wrong of [{}, { idleAfterMs: 999 }, { idleAfterMs: 1000, ignorePorts: [0] }, { idleAfterMs: 1000, ignoreSources: ['everyone'] }, { idleAfterMs: 1000, often: true }, 5000]) {
    await native.refused(400, 'invalid_request', 'PATCH', `/instances/${id}`, { body: { autoStandby: wrong } })
    await native.refused(400, 'invalid_request', 'POST', '/instances', { body: { image: 'localhost/busybox', name: 'no', autoStandby: wrong } })
  }
})

test('the command line says both, changes them, and takes them away', async () => {
  const made = await berth('run', '-d', '--name', 'cli', '--idle-after', '1h', '--auto-standby', '2h', '--auto-standby-ignore', '22', '--auto-standby-ignore', '10.0.0.0/8', 'localhost/busybox', 'serve')
  assert.equal(made.status, 0, made.stderr)
  const { idleAfterMs, autoStandby } = await shown('cli')
  assert.deepEqual([idleAfterMs, autoStandby], [3_600_000, { enabled: true, idleAfterMs: 7_200_000, ignoreSources: ['10.0.0.0/8'], ignorePorts: [22] }])
  assert.equal((await berth('update', 'cli', '--idle-after', 'off', '--auto-standby', '3h')).status, 0)
  const changed = await shown('cli')
  assert.deepEqual([changed.idleAfterMs, changed.autoStandby?.idleAfterMs, changed.autoStandby?.ignorePorts], [null, 10_800_000, []])
  const told = JSON.parse((await berth('inspect', 'cli')).stdout) as InstanceBody[]
  assert.equal(told[0]?.autoStandby?.idleAfterMs, 10_800_000)
  assert.equal((await berth('update', 'cli', '--auto-standby', 'off')).status, 0)
  assert.equal((await shown('cli')).autoStandby, null)
  for (const args of [['--auto-standby', 'soon'], ['--idle-after', '-1s'], ['--auto-standby-ignore', '22'], ['--auto-standby', '1m', '--auto-standby-ignore', '70000']]) {
    const { status, stderr } = await berth('update', 'cli', ...args)
    assert.equal(status, 2, stderr)
  }
})
