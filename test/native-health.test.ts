/** Health checks over the native API and the command line: what is asked, what is told, and when it is told no more. Simulated host. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { InstanceBody } from '../src/dialects/native/schema/instances.ts'
import { commandEnv, startBerth } from './support/berth-command.ts'
import { makeNativeClient } from './support/native-client.ts'
import type { NativeClient } from './support/native-client.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
let server: TestServer
let api: NativeClient

before(async () => {
  server = await startServer()
  api = await makeNativeClient(server)
  await api.ok(200, 'GET', `/images/${encodeURIComponent(`${IMAGE}:latest`)}/wait?timeoutMs=60000`)
})
after(() => server.stop())

const launch = (name: string, more: object) => api.ok<InstanceBody>(201, 'POST', '/instances?wait=running', { body: { image: IMAGE, name, ...more } })
const shown = (name: string) => api.ok<InstanceBody>(200, 'GET', `/instances/${name}`)
const healthIs = (name: string, status: string) => eventually(`${name} is ${status}`, async () => {
  const instance = await shown(name)
  return instance.health?.status === status ? instance : null
})
const berth = (...args: readonly string[]) => startBerth(commandEnv(server), args).done
const QUICK = { intervalMs: 100, timeoutMs: 1000, graceMs: 0 }

/** From then on no check of a port of the pretended guest passes. */
async function deafen(name: string, text = 'x'): Promise<void> {
  const headers = { authorization: `Bearer ${server.key}`, 'content-type': 'application/octet-stream' }
  const answer = await fetch(`${server.url}/berth/v1/instances/${name}/files?path=/tmp/deaf`, { method: 'PUT', headers, body: text })
  assert.ok(answer.ok, await answer.text())
}

test('checks are told with every number, whichever was given', async () => {
  const { healthChecks } = await launch('told', { healthChecks: [{ tcp: { port: 8000 } }, { http: { port: 80 }, unhealthyAfter: 5, restartAfter: null }, { exec: { command: ['true'] }, ...QUICK }] })
  const numbers = { intervalMs: 10_000, timeoutMs: 2000, graceMs: 30_000, unhealthyAfter: 3, healthyAfter: 1, restartAfter: 3 }
  assert.deepEqual(healthChecks, [
    { tcp: { port: 8000 }, http: null, exec: null, ...numbers },
    { tcp: null, http: { port: 80, path: '/', scheme: 'http', method: 'GET', headers: {}, expectedStatus: null }, exec: null, ...numbers, unhealthyAfter: 5, restartAfter: null },
    { tcp: null, http: null, exec: { command: ['true'], workingDir: null }, ...numbers, ...QUICK },
  ])
})

test('an instance is healthy while they pass, unhealthy after the failures that were said, and healthy again', async () => {
  await launch('sick', { healthChecks: [{ tcp: { port: 8000 }, ...QUICK, unhealthyAfter: 2 }] })
  await healthIs('sick', 'healthy')
  await deafen('sick')
  const ill = await healthIs('sick', 'unhealthy')
  assert.equal(ill.phase, 'unhealthy')
  assert.match(ill.health?.message ?? '', /TCP check of port 8000/)
  await deafen('sick', '')
  assert.equal((await healthIs('sick', 'healthy')).phase, 'running')
})

test('a restart policy restarts it, and without one it stays unhealthy', async () => {
  const { generation } = await launch('again', { restart: { policy: 'always', backoffMs: 0 }, healthChecks: [{ exec: { command: ['false'] }, ...QUICK, unhealthyAfter: 2 }] })
  await eventually('it has a second life', async () => ((await shown('again')).generation > generation ? true : null))
})

test('a check may take as long as its number says, up to the largest', async () => {
  const longest = 30 * 86_400_000
  await launch('patient', { healthChecks: [{ exec: { command: ['sleep', '0.05'] }, intervalMs: longest, timeoutMs: longest, graceMs: 0 }] })
  assert.equal((await healthIs('patient', 'healthy')).healthChecks[0]?.timeoutMs, longest)
})

test('they change while it runs, and none are none', async () => {
  await launch('changing', { healthChecks: [{ exec: { command: ['false'] }, ...QUICK, unhealthyAfter: 1 }] })
  await healthIs('changing', 'unhealthy')
  const changed = await api.ok<InstanceBody>(200, 'PATCH', '/instances/changing', { body: { healthChecks: [{ exec: { command: ['true'] }, ...QUICK }] } })
  assert.deepEqual(changed.healthChecks[0]?.exec?.command, ['true'])
  await healthIs('changing', 'healthy')
  const none = await api.ok<InstanceBody>(200, 'PATCH', '/instances/changing', { body: { healthChecks: [] } })
  assert.deepEqual([none.healthChecks, none.health, none.phase], [[], null, 'running'])
})

test('one that stopped shows its last health no more, on any surface, and one that sleeps does', async () => {
  const { ids } = await launch('ended', { healthChecks: [{ tcp: { port: 8000 }, ...QUICK }] })
  const hypeman = async () => ((await server.request('GET', `/instances/${ids.hypeman}`)).body as { health_status?: { status: string } }).health_status
  await healthIs('ended', 'healthy')
  assert.equal((await hypeman())?.status, 'healthy')
  await api.ok(200, 'POST', '/instances/ended/standby?wait=true')
  assert.equal((await shown('ended')).health?.status, 'healthy')
  await api.ok(200, 'POST', '/instances/ended/restore?wait=true')
  await api.ok(200, 'POST', '/instances/ended/stop?wait=true')
  assert.equal((await shown('ended')).health, null)
  assert.deepEqual(await hypeman(), { status: 'unknown' })
  await api.ok(200, 'POST', '/instances/ended/start?wait=true')
  await healthIs('ended', 'healthy')
})

test('checks that are none are refused and make nothing', async () => {
  const checks = [
    {}, { tcp: { port: 0 } }, { tcp: { port: 80 }, http: { port: 80 } }, { http: { port: 80, path: 'x' } }, { http: { port: 80, method: 'BREW' } },
    { http: { port: 80, headers: { 'a b': 'c' } } }, { http: { port: 80, headers: { a: 'c\r\nd: e' } } }, { exec: { command: [] } }, { exec: { command: ['a\0'] } },
    { tcp: { port: 80 }, intervalMs: 1 }, { tcp: { port: 80 }, unhealthyAfter: 0 }, { tcp: { port: 80 }, often: true },
  ]
  for (const check of checks) await api.refused(400, 'invalid_request', 'POST', '/instances', { body: { image: IMAGE, name: 'no', healthChecks: [check] } })
  await api.refused(400, 'invalid_request', 'POST', '/instances', { body: { image: IMAGE, name: 'no', healthChecks: Array.from({ length: 17 }, () => ({ tcp: { port: 80 } })) } })
  assert.deepEqual((await api.ok<{ items: unknown[] }>(200, 'GET', '/instances?name=no')).items, [])
})

test('the command line starts with checks, shows health, and changes them', async () => {
  const flags = ['--health-check', 'tcp:8000', '--health-check', 'http:8001', '--health-interval', '1s', '--health-timeout', '1s', '--health-start-period', '0s', '--health-retries', '2']
  const made = await berth('run', '-d', '--name', 'cli', ...flags, IMAGE, 'serve')
  assert.equal(made.status, 0, made.stderr)
  const { healthChecks } = await healthIs('cli', 'healthy')
  assert.deepEqual(healthChecks.map(({ tcp, http, graceMs, unhealthyAfter }) => [tcp?.port ?? http?.port, graceMs, unhealthyAfter]), [[8000, 0, 2], [8001, 0, 2]])
  assert.match((await berth('ps')).stdout, /cli .*running \(healthy\)/)
  const changed = await berth('update', 'cli', '--health-check', 'https:8443/up', '--health-check', 'exec:curl -f localhost || exit 1')
  assert.equal(changed.status, 0, changed.stderr)
  assert.deepEqual((await shown('cli')).healthChecks.map(({ http, exec }) => http === null ? exec?.command : [http.scheme, http.port, http.path]), [['https', 8443, '/up'], ['sh', '-c', 'curl -f localhost || exit 1']])
  assert.equal((await berth('update', 'cli', '--no-health-checks')).status, 0)
  assert.deepEqual((await shown('cli')).healthChecks, [])
  for (const args of [['--health-check', '8000'], ['--health-check', 'tcp:80/x'], ['--health-interval', '1s'], ['--health-check', 'tcp:80', '--no-health-checks']]) {
    const { status, stderr } = await berth('update', 'cli', ...args)
    assert.equal(status, 2, stderr)
    assert.match(stderr, /--health/)
  }
})
