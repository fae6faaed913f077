/**
 * The calls of Koyeb's command line, in its order and with its queries, and what it makes of the answers: which fields it
 * reads without asking whether they are there, how it pages, how it writes times. For machines where the program itself
 * can't be had (test/koyeb-clients.test.ts runs it where it can). Simulated host.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { WebSocket } from 'ws'
import { judgedCalls, loadKoyebContract } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const LISTED = ['ALLOCATING', 'STARTING', 'HEALTHY', 'UNHEALTHY', 'STOPPING'].map(status => `statuses=${status}`).join('&')
/** The only ids that it takes for ids. */
const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
/** Its layout of log times; anything else prints the year 1. */
const LOG_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/

type Item = Readonly<Record<string, unknown>> & { readonly id: string }
const contract = loadKoyebContract()
let server: TestServer
let service: Item
let app: Item
const call = judgedCalls(() => server, contract)

async function ok(method: string, path: string, body?: unknown): Promise<Readonly<Record<string, unknown>>> {
  const answer = await call(method, path, body === undefined ? {} : { body })
  assert.equal(answer.status, 200, `${method} ${path}: ${answer.text}`)
  return answer.body as Record<string, unknown>
}

/** As it reads a list to its end: pages of 100, while the offset is below `count`. */
async function pages(path: string, key: string): Promise<readonly Item[]> {
  const all: Item[] = []
  for (let offset = 0, count = 1; offset < count; offset += 100) {
    assert.ok(offset < 10_000, 'it never ends')
    const reply = await ok('GET', `${path}${path.includes('?') ? '&' : '?'}limit=100&offset=${offset}`)
    count = reply['count'] as number
    assert.ok(Number.isInteger(count) && count >= 0)
    all.push(...(reply[key] as Item[]))
  }
  for (const { id } of all) assert.match(id, UUID_V4)
  return all
}

before(async () => {
  server = await startServer()
  app = (await ok('POST', '/v1/apps', { name: 'shop' }))['app'] as Item
  // As `koyeb services create` builds it: health checks with a port and a path, and nothing else of theirs.
  const definition = {
    name: 'web',
    type: 'WEB',
    docker: { image: 'localhost/busybox', command: 'serve', args: [], entrypoint: [] },
    regions: ['fra'],
    instance_types: [{ type: 'nano', scopes: ['region:fra'] }],
    scalings: [{ min: 1, max: 1, scopes: ['region:fra'], targets: [] }],
    env: [{ key: 'A', value: 'b', scopes: ['region:fra'] }],
    ports: [{ port: 8000, protocol: 'http' }],
    routes: [{ path: '/', port: 8000 }],
    health_checks: [{ http: { port: 8000, path: '/' } }],
    strategy: { type: 'DEPLOYMENT_STRATEGY_TYPE_ROLLING' },
    skip_cache: false,
  }
  service = (await ok('POST', '/v1/services', { app_id: app.id, definition }))['service'] as Item
  await eventually('it is healthy', async () => (((await ok('GET', `/v1/services/${service.id}`))['service'] as Item)['status'] === 'HEALTHY' ? true : null))
})
after(() => server.stop())

async function replica(): Promise<Item> {
  const [one] = await pages(`/v1/instances?${LISTED}&service_id=${service.id}`, 'instances')
  assert.ok(one)
  return one
}

describe('instances', () => {
  test('list, with names of services and apps beside', async () => {
    const listed = await pages(`/v1/instances?${LISTED}`, 'instances')
    const services = await pages('/v1/services', 'services')
    const apps = await pages('/v1/apps', 'apps')
    for (const one of listed) {
      const its = services.find(({ id }) => id === one['service_id'])
      // It cuts the first eight characters off, whatever is there.
      assert.ok(its !== undefined && typeof its['app_id'] === 'string' && its['app_id'].length >= 8)
      assert.ok(apps.some(({ id }) => id === its['app_id']))
      assert.equal(typeof one['region'], 'string')
    }
  })

  test('get and describe by the first eight characters of the id', async () => {
    const { id } = await replica()
    // All instances ever, without a status.
    const all = await pages('/v1/instances', 'instances')
    assert.deepEqual(all.filter(one => one.id.replaceAll('-', '').startsWith(id.slice(0, 8))).map(one => one.id), [id])
    const { instance } = (await ok('GET', `/v1/instances/${id}`)) as { instance: Item }
    for (const field of ['id', 'status', 'region', 'datacenter', 'messages', 'created_at', 'updated_at']) assert.ok(instance[field] !== undefined && instance[field] !== null, field)
  })

  test('logs: pages that end although it writes times in whole seconds, and a tail that goes on from the last line', async () => {
    const { id } = await replica()
    const inSeconds = (time: string) => `${time.slice(0, 19)}Z`
    let [start, end] = [inSeconds(new Date(Date.now() - 300_000).toISOString()), inSeconds(new Date(Date.now() + 2000).toISOString())]
    const read: { readonly msg: string; readonly created_at: string; readonly labels: Readonly<Record<string, string>> }[] = []
    for (let more = true, turn = 0; more; turn++) {
      assert.ok(turn < 50, 'it never ends')
      const query = `deployment_id=&end=${end}&instance_id=${id}&limit=100&order=asc&regex=&service_id=&start=${start}&text=&type=`
      const { data, pagination } = (await ok('GET', `/v1/streams/logs/query?${query}`)) as unknown as {
        data: typeof read
        pagination: { has_more: boolean; next_start: string | null; next_end: string | null }
      }
      read.push(...data)
      more = pagination.has_more
      if (!more) break
      assert.ok(pagination.next_start !== null && pagination.next_end !== null)
      ;[start, end] = [inSeconds(pagination.next_start), inSeconds(pagination.next_end)]
    }
    const last = read.at(-1)
    assert.ok(last)
    for (const line of read) {
      assert.match(line.created_at, LOG_TIME)
      assert.equal(line.labels['instance_id'], id)
      assert.equal(typeof line.labels['stream'], 'string')
    }
    // After a connection that broke it starts at the last line that it saw.
    const tail = new WebSocket(`${server.url.replace(/^http/, 'ws')}/v1/streams/logs/tail?instance_id=${id}&start=${encodeURIComponent(last.created_at)}`, ['Bearer', server.key])
    const frame = await new Promise<{ result: { created_at: string; msg: string } }>((resolve, reject) => {
      tail.on('message', (data: Buffer) => resolve(JSON.parse(data.toString()) as never))
      tail.on('close', () => reject(new Error('it closed')))
      tail.on('open', () => tail.ping(new Date().toString()))
    })
    assert.deepEqual([frame.result.created_at, frame.result.msg], [last.created_at, last.msg])
    tail.terminate()
  })

  test('metrics get, of an instance and of its service', async () => {
    const { id } = await replica()
    for (const query of [`instance_id=${id}`, `service_id=${service.id}`]) {
      for (const name of ['CPU_TOTAL_PERCENT', 'MEM_RSS']) {
        const { metrics } = (await ok('GET', `/v1/streams/metrics?${query}&name=${name}`)) as { metrics: { labels: object; samples: { timestamp: string; value: number }[] }[] }
        assert.ok(metrics.length >= 1 && metrics.every(metric => metric.samples.length >= 1), `${query} ${name}`)
      }
    }
  })
})

describe('services and deployments', () => {
  test('describe: the service, its living instances, its deployments, without any limit', async () => {
    const { service: shown } = (await ok('GET', `/v1/services/${service.id}`)) as { service: Item }
    const { instances } = (await ok('GET', `/v1/instances?${LISTED}&service_id=${shown.id}`)) as { instances: Item[] }
    const { deployments } = (await ok('GET', `/v1/deployments?service_id=${shown.id}`)) as { deployments: Item[] }
    assert.deepEqual([instances.length, deployments.length], [1, 1])
    const { deployment } = (await ok('GET', `/v1/deployments/${deployments[0]?.id}`)) as { deployment: Item & { definition: { regions: string[] } } }
    assert.deepEqual(deployment.definition.regions, ['fra'])
    assert.equal((await pages('/v1/deployments', 'deployments')).length >= 1, true)
    const regional = await pages(`/v1/regional_deployments?deployment_id=${deployment.id}`, 'regional_deployments')
    assert.equal(regional.length, 1)
  })

  test('update: the definition that is shown goes back whole, with what changes', async () => {
    const { service: now } = (await ok('GET', `/v1/services/${service.id}`)) as { service: Item }
    const { deployment } = (await ok('GET', `/v1/deployments/${String(now['latest_deployment_id'])}`)) as { deployment: { definition: Record<string, unknown> & { health_checks: { http?: { port: number }; tcp?: { port: number } }[] } } }
    const { definition } = deployment
    // It panics at a check that has neither, or no port.
    for (const check of definition.health_checks) assert.equal(typeof (check.http ?? check.tcp)?.port, 'number')
    const targets = [{ sleep_idle_delay: { light_sleep_value: 300, deep_sleep_value: 3900 } }]
    const changed = { ...definition, scalings: [{ min: 0, max: 1, scopes: ['region:fra'], targets }] }
    const { service: updated } = (await ok('PUT', `/v1/services/${service.id}?dry_run=false`, { definition: changed, skip_build: false })) as { service: Item }
    const { deployment: next } = (await ok('GET', `/v1/deployments/${String(updated['latest_deployment_id'])}`)) as { deployment: { definition: typeof changed } }
    assert.deepEqual(next.definition, changed)
    await eventually('the new deployment serves', async () => (((await ok('GET', `/v1/services/${service.id}`))['service'] as Item)['active_deployment_id'] === updated['latest_deployment_id'] ? true : null))
  })

  test('a definition in other types than its own is shown in its own, since one of them would break every list', async () => {
    const odd = {
      name: 'odd', type: 'WORKER', docker: { image: 'localhost/busybox', command: 'serve', unknown: [1] },
      scalings: [{ min: '1', max: '1', scopes: null }], instanceTypes: [{ type: 'nano' }], ports: [{ port: '9000' }], strategy: { type: '' }, mesh: '', unknown: { a: 1 },
    }
    const { service: made } = (await ok('POST', '/v1/services', { app_id: app.id, definition: odd })) as { service: Item }
    // Judged by the contract: integers are numbers, and every word is of its enum.
    const { deployments } = (await ok('GET', '/v1/deployments')) as { deployments: { service_id: string; definition: Record<string, unknown> }[] }
    const shown = deployments.find(one => one.service_id === made.id)?.definition
    assert.deepEqual([shown?.['scalings'], shown?.['ports'], shown?.['unknown']], [[{ min: 1, max: 1 }], [{ port: 9000 }], undefined])
    await ok('DELETE', `/v1/services/${made.id}`)
  })
})

describe('who asks', () => {
  test('whoami, and a token of an organization beside', async () => {
    await ok('GET', '/v1/account/profile')
    const { organization } = (await ok('GET', '/v1/account/organization')) as { organization: Item }
    await ok('GET', `/v1/organizations/${organization.id}`)
    await ok('GET', '/v1/apps?limit=1')
    const { token } = (await ok('POST', `/v1/organizations/${organization.id}/switch`, {})) as { token: { id: string } }
    assert.match(token.id, /^[A-Za-z0-9]{64}$/)
    assert.equal((await call('GET', '/v1/apps', { key: token.id })).status, 200)
  })

  test('an error has a number as status and a text as message, which it reads without asking', async () => {
    for (const path of ['/v1/instances?limit=abc', `/v1/instances/11111111-1111-4111-8111-111111111111`]) {
      const { body } = await call('GET', path)
      const { status, message } = body as { status: unknown; message: unknown }
      assert.equal(typeof status, 'number')
      assert.equal(typeof message, 'string')
    }
  })
})
