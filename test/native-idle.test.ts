/** Idle policies of instances: what nobody uses goes to standby, and comes back for who does. On a simulated host. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
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

interface Shown {
  readonly id: string
  readonly phase: string
  readonly idleAfterMs: number | null
}
const launch = (name: string, more: object) => native.ok<Shown>(201, 'POST', '/instances?wait=running', { body: { image: 'localhost/busybox', name, ...more } })
const phaseIs = (id: string, phase: string) => eventually(`${id} is ${phase}`, async () => ((await native.ok<Shown>(200, 'GET', `/instances/${id}`)).phase === phase ? true : null))

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
  assert.equal((await native.ok<Shown>(200, 'GET', `/instances/${used.id}`)).phase, 'running')
  await running
  await phaseIs(used.id, 'standby')
  assert.equal((await native.ok<Shown>(200, 'GET', `/instances/${plain.id}`)).phase, 'running')
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
