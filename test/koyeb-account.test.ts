/**
 * What Koyeb's clients call on their way to instances: who asks, what there is to choose from, logs and metrics; on a
 * simulated host, every answer judged by the published contract.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { WebSocket } from 'ws'
import { judgedCalls, loadKoyebContract } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const contract = loadKoyebContract()
let server: TestServer
let instance = ''
const call = judgedCalls(() => server, contract)

interface Entry {
  readonly msg: string
  readonly created_at: string
  readonly labels: Readonly<Record<string, string>>
}
interface Page {
  readonly data: readonly Entry[]
  readonly pagination: { readonly has_more: boolean; readonly next_start: string | null; readonly next_end: string | null }
}

before(async () => {
  server = await startServer()
  await eventually('the built-in image is ready', async () => {
    const { status, body } = await server.request('GET', `/images/${encodeURIComponent(IMAGE)}`)
    if (status === 404) await server.request('POST', '/images', { body: { name: IMAGE } })
    return status === 200 && (body as { status: string }).status === 'ready' ? true : null
  })
  const { body } = await server.request('POST', '/berth/v1/instances', { body: { name: 'talker', image: IMAGE, cmd: ['httpd', '-f'] } })
  instance = (body as { id: string }).id
  await eventually('it runs', async () => {
    const shown = (await ok(`/v1/instances/${instance}`))['instance'] as { status: string }
    return shown.status === 'HEALTHY' ? true : null
  })
})
after(() => server.stop())

async function ok(path: string, method = 'GET', body?: unknown): Promise<Record<string, unknown>> {
  const answer = await call(method, path, body === undefined ? {} : { body })
  assert.equal(answer.status, 200, `${method} ${path}: ${answer.text}`)
  return answer.body as Record<string, unknown>
}

describe('who asks', () => {
  test('an administrator has a profile, an organization, a project, quotas and a summary', async () => {
    await ok('/v1/account/profile')
    const organization = (await ok('/v1/account/organization'))['organization'] as { id: string; default_project_id: string }
    assert.deepEqual((await ok(`/v1/organizations/${organization.id}`))['organization'], organization)
    await ok('/v1/account/organizations')
    await ok('/v1/organization_members')
    await ok(`/v1/projects/${organization.default_project_id}`)
    assert.equal(((await ok('/v1/projects?limit=10'))['projects'] as unknown[]).length, 1)
    const quotas = (await ok(`/v1/organizations/${organization.id}/quotas`))['quotas'] as { apps: unknown; logs_retention: unknown }
    assert.deepEqual([typeof quotas.apps, typeof quotas.logs_retention], ['string', 'number'])
    const summary = (await ok(`/v1/organizations/${organization.id}/summary`))['summary'] as { instances: { total: string }; neon_postgres: { by_instance_type: object } }
    assert.equal(summary.instances.total, '1')
    assert.deepEqual(summary.neon_postgres.by_instance_type, {})
  })

  test('the token of an organization has no profile, and switches to its own only', async () => {
    const made = await server.request('POST', '/berth/v1/keys', { body: { name: 'org', scopes: ['read', 'write', 'exec'] } })
    const { secret: key } = made.body as { secret: string }
    assert.equal((await call('GET', '/v1/account/profile', { key })).status, 403)
    const { organization } = (await call('GET', '/v1/account/organization', { key })).body as { organization: { id: string } }
    const own = await call('POST', `/v1/organizations/${organization.id}/switch`, { key, body: {} })
    assert.equal((own.body as { token: { id: string } }).token.id, key)
    assert.equal((await call('POST', '/v1/organizations/11111111-1111-4111-8111-111111111111/switch', { key, body: {} })).status, 404)
  })

  test('an administrator switches to another organization with a token that works there, the same for a while', async () => {
    const project = (await server.request('POST', '/berth/v1/projects', { body: { name: 'second' } })).body as { id: string }
    const token = async () => ((await ok(`/v1/organizations/${project.id}/switch`, 'POST', {}))['token'] as { id: string }).id
    const key = await token()
    assert.match(key, /^[A-Za-z0-9]{64}$/)
    assert.equal(await token(), key)
    const { organization } = (await call('GET', '/v1/account/organization', { key })).body as { organization: { id: string } }
    assert.equal(organization.id, project.id)
  })
})

describe('what there is', () => {
  test('types, regions and datacenters come from the catalogue', async () => {
    const { instances } = (await ok('/v1/catalog/instances')) as { instances: { id: string; memory: string; vcpu_shares: number; gpu: unknown; regions: string[] }[] }
    const nano = instances.find(type => type.id === 'nano')
    assert.deepEqual([nano?.memory, nano?.vcpu_shares, nano?.gpu, nano?.regions], ['256MB', 0.25, null, ['fra', 'was']])
    assert.deepEqual(instances.find(type => type.gpu !== null)?.regions, ['was'])
    await ok('/v1/catalog/instances/nano')
    const { regions } = (await ok('/v1/catalog/regions')) as { regions: { id: string; status: string; datacenters: string[] }[] }
    assert.deepEqual(regions.map(region => [region.id, region.status]), [['fra', 'AVAILABLE'], ['was', 'AVAILABLE']])
    await ok('/v1/catalog/regions/fra')
    await ok('/v1/catalog/datacenters')
    await ok('/v1/catalog/usage')
    assert.equal((await call('GET', '/v1/catalog/instances/nope')).status, 404)
    assert.equal((await call('GET', '/v1/catalog/regions/nope')).status, 404)
  })

  test('the instances that no service made stand below a default app and service, which can not change', async () => {
    const { instances } = (await ok('/v1/instances')) as { instances: { app_id: string; service_id: string; xyz_deployment_id: string; regional_deployment_id: string }[] }
    const [one] = instances
    assert.ok(one)
    const { apps } = (await ok('/v1/apps')) as { apps: { id: string; name: string }[] }
    assert.deepEqual(apps.map(app => [app.id, app.name]), [[one.app_id, 'default']])
    const { services } = (await ok('/v1/services')) as { services: { id: string; app_id: string }[] }
    assert.deepEqual(services.map(service => [service.id, service.app_id]), [[one.service_id, one.app_id]])
    await ok(`/v1/apps/${one.app_id}`)
    await ok(`/v1/services/${one.service_id}`)
    await ok(`/v1/deployments/${one.xyz_deployment_id}`)
    await ok(`/v1/regional_deployments/${one.regional_deployment_id}`)
    for (const [method, path] of [
      ['DELETE', `/v1/apps/${one.app_id}`],
      ['DELETE', `/v1/services/${one.service_id}`],
      ['POST', `/v1/services/${one.service_id}/redeploy`],
      ['PUT', `/v1/services/${one.service_id}/scale`],
    ] as const) {
      assert.equal((await call(method, path, { body: { scalings: [{ instances: 1 }] } })).status, 400, `${method} ${path}`)
    }
    const statusIs = (status: string) =>
      eventually(`the service is ${status}`, async () => {
        const { service } = (await ok(`/v1/services/${one.service_id}`)) as { service: { status: string } }
        return service.status === status ? true : null
      })
    await ok(`/v1/services/${one.service_id}/pause`, 'POST')
    await statusIs('PAUSED')
    assert.equal(((await ok('/v1/instances?statuses=SLEEPING'))['instances'] as unknown[]).length, 1)
    await ok(`/v1/services/${one.service_id}/resume`, 'POST')
    await statusIs('HEALTHY')
  })
})

describe('logs', () => {
  const page = async (query: string) => (await ok(`/v1/streams/logs/query?instance_id=${instance}&${query}`)) as unknown as Page

  test('a query as the CLI sends it shows lines with all labels, and says that there are no more', async () => {
    const { data, pagination } = await page('type=&service_id=&deployment_id=&regex=&text=&limit=100&order=asc')
    assert.deepEqual(pagination, { has_more: false, next_start: null, next_end: null })
    const line = data.find(entry => entry.msg.includes('is ready'))
    assert.ok(line, JSON.stringify(data))
    assert.match(line.created_at, /Z$/)
    for (const label of ['type', 'stream', 'organization_id', 'app_id', 'service_id', 'instance_id']) assert.notEqual(line.labels[label] ?? '', '', label)
  })

  test('filters narrow, and pages follow one another without a gap', async () => {
    assert.equal((await page('text=is+ready')).data.length, 1)
    assert.equal((await page('regex=is+read%5By%5D%24')).data.length, 1)
    assert.deepEqual((await page('text=never-said')).data, [])
    assert.deepEqual((await page('type=build')).data, [])
    assert.deepEqual((await page('streams=none')).data, [])
    assert.deepEqual((await page('regions=none')).data, [])
    assert.deepEqual((await page('end=2020-01-01T00:00:00Z&start=2019-01-01T00:00:00Z')).data, [])
    const all = (await page('order=asc&streams=stdout&streams=koyeb')).data.map(entry => entry.msg)
    const paged: string[] = []
    let query = ''
    for (let turn = 0; turn < 20; turn++) {
      const next = await page(`order=asc&streams=stdout&streams=koyeb&limit=1${query}`)
      paged.push(...next.data.map(entry => entry.msg))
      if (!next.pagination.has_more) break
      query = `&start=${next.pagination.next_start}&end=${next.pagination.next_end}`
    }
    assert.deepEqual(paged, all)
  })

  test('what is wrong is told, and an expression that takes for ever ends', async () => {
    for (const query of ['regex=%5B', 'regex=a&text=b', 'type=nope', 'order=x', 'start=then', `regex=${'a'.repeat(300)}`]) {
      assert.equal((await call('GET', `/v1/streams/logs/query?instance_id=${instance}&${query}`)).status, 400, query)
    }
    assert.equal((await call('GET', '/v1/streams/logs/query')).status, 400)
  })

  test('the tail is a WebSocket that brings what was said and what is said', async () => {
    const socket = new WebSocket(`${server.url.replace(/^http/, 'ws')}/v1/streams/logs/tail?instance_id=${instance}`, ['Bearer', server.key])
    const first = Promise.withResolvers<unknown>()
    socket.on('message', (data: Buffer) => first.resolve(JSON.parse(data.toString())))
    socket.on('error', first.reject)
    socket.on('close', () => first.reject(new Error('it closed without a line')))
    const frame = (await first.promise) as { result: Entry }
    contract?.checkSchema('Stream_result_of_LogEntry', frame)
    assert.equal(frame.result.labels['instance_id'], instance)
    socket.terminate()
    const stop = new AbortController()
    const answer = await fetch(`${server.url}/v1/streams/logs/tail?instance_ids=${instance}`, { headers: { authorization: `Bearer ${server.key}` }, signal: stop.signal })
    const reader = answer.body?.getReader()
    const { value } = (await reader?.read()) ?? {}
    assert.match(Buffer.from(value ?? []).toString(), /^\{"result":\{"msg"/)
    stop.abort()
  })

  test('a tail of nothing says what is missing', async () => {
    const socket = new WebSocket(`${server.url.replace(/^http/, 'ws')}/v1/streams/logs/tail`, ['Bearer', server.key])
    const message = Promise.withResolvers<string>()
    const closed = Promise.withResolvers<number>()
    socket.on('message', (data: Buffer) => message.resolve(data.toString()))
    socket.on('close', code => closed.resolve(code))
    assert.match(await message.promise, /invalid_argument/)
    assert.equal(await closed.promise, 1008)
  })
})

describe('metrics', () => {
  test('memory and CPU of an instance are numbers of its VM', async () => {
    for (const name of ['MEM_RSS', 'CPU_TOTAL_PERCENT']) {
      const { metrics } = (await ok(`/v1/streams/metrics?instance_id=${instance}&name=${name}&time_frame=5m`)) as {
        metrics: { labels: { instance_id: string }; samples: { timestamp: string; value: number }[] }[]
      }
      assert.equal(metrics[0]?.labels.instance_id, instance)
      assert.ok((metrics[0]?.samples.length ?? 0) >= 1, name)
      assert.ok(metrics[0]?.samples.every(sample => sample.value >= 0), name)
    }
    assert.deepEqual((await ok(`/v1/streams/metrics?instance_id=${instance}&name=HTTP_THROUGHPUT`))['metrics'], [])
  })

  test('what is wrong is told', async () => {
    assert.equal((await call('GET', '/v1/streams/metrics?name=MEM_RSS')).status, 400)
    assert.equal((await call('GET', `/v1/streams/metrics?instance_id=${instance}&name=NOPE`)).status, 400)
    assert.equal((await call('GET', `/v1/streams/metrics?instance_id=${instance}&step=often`)).status, 400)
    assert.equal((await call('GET', '/v1/streams/metrics?instance_id=nonsense')).status, 400)
    assert.equal((await call('GET', '/v1/streams/metrics?instance_id=11111111-1111-4111-8111-111111111111')).status, 404)
  })
})
