/**
 * Health checks and both sleeps of Koyeb's services on a simulated host: what is STARTING, HEALTHY and UNHEALTHY, who is
 * replaced, and that a service in deep sleep has no instance and wakes as a new one.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { cliFrames, judgedBodies, judgedCalls, loadKoyebContract, runSession } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

interface Item {
  readonly id: string
  readonly status: string
  readonly messages: readonly string[]
  readonly succeeded_at?: string | null
}

const contract = loadKoyebContract()
const dataDir = mkdtempSync(join(tmpdir(), 'bh-'))
let server: TestServer
const call = judgedCalls(() => server, contract)
const ok = judgedBodies(call)
let count = 0

before(async () => {
  server = await startServer({ dataDir })
})
after(async () => {
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
})

function definition(more: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return {
    name: `svc-${++count}`,
    type: 'WEB',
    docker: { image: 'localhost/busybox', command: 'serve' },
    regions: ['fra'],
    instance_types: [{ type: 'nano' }],
    ports: [{ port: 8000, protocol: 'http' }],
    scalings: [{ min: 1, max: 1 }],
    ...more,
  }
}

async function makeService(more: Readonly<Record<string, unknown>> = {}): Promise<{ readonly id: string; readonly latest_deployment_id: string }> {
  const { app } = await ok('POST', '/v1/apps', { name: `app-${++count}` })
  const { service } = await ok('POST', '/v1/services', { app_id: (app as Item).id, definition: definition(more) })
  return service as { id: string; latest_deployment_id: string }
}

async function listed(serviceId: string, ...statuses: readonly string[]): Promise<readonly Item[]> {
  return (await ok('GET', `/v1/instances?service_id=${serviceId}${statuses.map(status => `&statuses=${status}`).join('')}`))['instances'] as Item[]
}

const until = (serviceId: string, status: string, other?: string) =>
  eventually(`an instance is ${status}`, async () => (await listed(serviceId, status)).find(one => one.id !== other) ?? null)
const deploymentIs = (id: string, status: string) =>
  eventually(`the deployment is ${status}`, async () => {
    const { deployment } = (await ok('GET', `/v1/deployments/${id}`)) as { deployment: Item }
    return deployment.status === status ? deployment : null
  })
const eventsOf = async (id: string, query = '') => (await ok('GET', `/v1/instance_events?instance_ids=${id}${query}`))['events'] as { type: string; message: string }[]
const quick = (more: Readonly<Record<string, unknown>> = {}) => [{ tcp: { port: 8000 }, grace_period: 1, interval: 1, timeout: 1, ...more }]

/** From then on no check of the pretended guest passes. */
const deafen = (id: string) => writeDeaf(id, 'x')

async function writeDeaf(id: string, text: string): Promise<void> {
  const headers = { authorization: `Bearer ${server.key}`, 'content-type': 'application/octet-stream' }
  const answer = await fetch(`${server.url}/berth/v1/instances/${id}/files?path=/tmp/deaf`, { method: 'PUT', headers, body: text })
  assert.ok(answer.ok, await answer.text())
}

describe('health checks', () => {
  test('an instance is STARTING until they pass, and every list and the deployment agree', async () => {
    const service = await makeService({ docker: { image: 'localhost/busybox', command: 'deaf' }, health_checks: quick({ grace_period: 300 }) })
    const one = await until(service.id, 'STARTING')
    await eventually('it runs', async () => ((await eventsOf(one.id)).some(event => event.type === 'STARTED') ? true : null))
    assert.deepEqual([(await listed(service.id, 'HEALTHY')).length, (await listed(service.id, 'STARTING')).length, (await listed(service.id, 'HEALTHY', 'STARTING')).length], [0, 1, 1])
    assert.equal((await ok('GET', `/v1/instances?service_id=${service.id}&statuses=HEALTHY`))['count'], 0)
    assert.ok(((await ok('GET', '/v1/instances?statuses=STARTING'))['instances'] as Item[]).some(({ id }) => id === one.id))
    assert.equal((await ok('GET', '/v1/instances?statuses=STARTING'))['count'], 1)
    const { instance } = (await ok('GET', `/v1/instances/${one.id}`)) as { instance: Item }
    assert.deepEqual([instance.status, instance.succeeded_at], ['STARTING', null])
    assert.deepEqual((await eventsOf(one.id, '&types=HEALTHY')).map(event => event.type), [])
    await deploymentIs(service.latest_deployment_id, 'STARTING')
    // A command runs in it all the same.
    const outcome = await runSession({ url: server.url, key: server.key, contract }, ...cliFrames(one.id, ['echo', 'here']))
    assert.equal(outcome.stdout, 'here\n')
    await ok('DELETE', `/v1/services/${service.id}`)
  })

  test('without any, the ports of the definition are asked', async () => {
    const service = await makeService()
    const one = await until(service.id, 'HEALTHY')
    await deploymentIs(service.latest_deployment_id, 'HEALTHY')
    assert.deepEqual((await eventsOf(one.id, '&types=STARTED&types=HEALTHY')).map(event => event.type), ['STARTED', 'HEALTHY'])
    const { instance } = (await ok('GET', `/v1/instances/${one.id}`)) as { instance: Item }
    assert.ok(instance.succeeded_at)
  })

  test('one that fails is UNHEALTHY and says why, and is replaced after its restart limit', async () => {
    const service = await makeService({ health_checks: quick({ restart_limit: 2 }) })
    const first = await until(service.id, 'HEALTHY')
    await deafen(first.id)
    const ill = await until(service.id, 'UNHEALTHY')
    assert.match(ill.messages.join(), /TCP check of port 8000 failed: nothing answers/)
    const next = await until(service.id, 'HEALTHY', first.id)
    assert.notEqual(next.id, first.id)
    const types = (await eventsOf(first.id)).map(event => event.type)
    assert.ok(types.indexOf('UNHEALTHY') > 0 && types.indexOf('STOPPING') > types.indexOf('UNHEALTHY'), types.join())
  })

  test('one that recovers is HEALTHY again, whichever server asks', async () => {
    const service = await makeService({ health_checks: [{ http: { port: 8000, path: '/up', headers: [{ key: 'x-check', value: '1' }] }, grace_period: 1, interval: 1, restart_limit: 100 }] })
    const { id } = await until(service.id, 'HEALTHY')
    await deafen(id)
    await until(service.id, 'UNHEALTHY')
    await server.kill()
    server = await startServer({ dataDir })
    assert.equal((await until(service.id, 'UNHEALTHY')).id, id)
    await writeDeaf(id, '')
    assert.equal((await until(service.id, 'HEALTHY')).id, id)
    await deploymentIs(service.latest_deployment_id, 'HEALTHY')
  })

  test('a deployment whose replicas never pass ends in ERROR', async () => {
    const service = await makeService({ docker: { image: 'localhost/busybox', command: 'deaf' }, health_checks: quick({ restart_limit: 1 }) })
    const { messages } = await deploymentIs(service.latest_deployment_id, 'ERROR')
    assert.match(messages.join(), /was ended\. The TCP check of port 8000 failed/)
  })
})

describe('sleep', () => {
  const targets = (delay: Readonly<Record<string, number>>) => ({ scalings: [{ min: 0, max: 1, targets: [{ sleep_idle_delay: delay }] }] })

  test('light comes first and keeps the instance, deep ends it, and a command wakes the service as a new one', async () => {
    const service = await makeService(targets({ light_sleep_value: 1, deep_sleep_value: 3 }))
    const asleep = await until(service.id, 'SLEEPING')
    await deploymentIs(service.latest_deployment_id, 'SLEEPING')
    const ended = await until(service.id, 'STOPPED')
    assert.equal(ended.id, asleep.id)
    await deploymentIs(service.latest_deployment_id, 'SLEEPING')
    assert.deepEqual(await listed(service.id, 'ALLOCATING', 'STARTING', 'HEALTHY', 'SLEEPING'), [])
    const outcome = await runSession({ url: server.url, key: server.key, contract }, ...cliFrames(service.id, ['echo', 'awake'], [], 'SERVICE_ID'))
    assert.deepEqual([outcome.stdout, outcome.exitCode], ['awake\n', 0])
    const all = await listed(service.id)
    assert.ok(all.length >= 2 && all.at(-1)?.id !== asleep.id)
    const types = ((await ok('GET', `/v1/deployment_events?deployment_id=${service.latest_deployment_id}`))['events'] as { type: string }[]).map(event => event.type)
    assert.ok(types.indexOf('WAKING') > types.indexOf('SLEEPING'), types.join())
  })

  test('deep alone is no standby, survives a crash of the server, and ends with a resume', async () => {
    const service = await makeService(targets({ deep_sleep_value: 1 }))
    const { id } = await until(service.id, 'STOPPED')
    await deploymentIs(service.latest_deployment_id, 'SLEEPING')
    assert.ok(!(await eventsOf(id)).some(event => event.type === 'SLEEPING'))
    await server.kill()
    server = await startServer({ dataDir })
    await deploymentIs(service.latest_deployment_id, 'SLEEPING')
    assert.deepEqual(await listed(service.id, 'ALLOCATING', 'STARTING', 'HEALTHY'), [])
    await ok('POST', `/v1/services/${service.id}/pause`)
    await ok('POST', `/v1/services/${service.id}/resume`)
    await until(service.id, 'HEALTHY', id)
  })
})

describe('bad input', () => {
  test('is refused with the field, and makes nothing', async () => {
    const { app } = await ok('POST', '/v1/apps', { name: `app-${++count}` })
    const app_id = (app as Item).id
    const table: readonly (readonly [unknown, string])[] = [
      ['often', 'definition.health_checks'],
      [[{}], 'definition.health_checks[0]'],
      [[7], 'definition.health_checks[0]'],
      [[{ tcp: {} }], 'definition.health_checks[0].tcp.port'],
      [[{ tcp: { port: 70_000 } }], 'definition.health_checks[0].tcp.port'],
      [[{ tcp: { port: 1 }, http: { port: 1 } }], 'definition.health_checks[0]'],
      [[{ tcp: { port: 1 }, interval: -1 }], 'definition.health_checks[0].interval'],
      [[{ tcp: { port: 1 }, interval: 301 }], 'definition.health_checks[0].interval'],
      [[{ tcp: { port: 1 }, grace_period: 'soon' }], 'definition.health_checks[0].grace_period'],
      [[{ tcp: { port: 1 }, restart_limit: 1e9 }], 'definition.health_checks[0].restart_limit'],
      [[{ http: { port: 80, path: 'up' } }], 'definition.health_checks[0].http.path'],
      [[{ http: { port: 80, path: '/a b\r\nx: y' } }], 'definition.health_checks[0].http.path'],
      [[{ http: { port: 80, method: 'LOOK' } }], 'definition.health_checks[0].http.method'],
      [[{ http: { port: 80, headers: [{ key: 'a b', value: '' }] } }], 'definition.health_checks[0].http.headers[0].key'],
      [[{ http: { port: 80, headers: [{ key: 'a', value: 'x\r\ny: z' }] } }], 'definition.health_checks[0].http.headers[0].value'],
      [Array.from({ length: 17 }, () => ({ tcp: { port: 1 } })), 'definition.health_checks'],
    ]
    for (const [health_checks, field] of table) {
      const answer = await call('POST', '/v1/services', { body: { app_id, definition: definition({ health_checks }) } })
      assert.equal(answer.status, 400, `${JSON.stringify(health_checks)}: ${answer.text}`)
      assert.equal((answer.body as { fields: { field: string }[] }).fields[0]?.field, field)
    }
    assert.deepEqual((await ok('GET', `/v1/services?app_id=${app_id}`))['services'], [])
  })
})
