/**
 * Services of the Koyeb dialect on a simulated host: a docker definition becomes replicas that are instances, and
 * whatever is done to the service, to an instance or to the server, the replicas come back to what was asked for.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { cliFrames, judgedBodies, judgedCalls, loadKoyebContract, runSession } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'

interface Instance {
  readonly id: string
  readonly status: string
  readonly replica_index: number
  readonly app_id: string
  readonly service_id: string
  readonly xyz_deployment_id: string
  readonly regional_deployment_id: string
  readonly region: string
  readonly type: string
}
interface Service {
  readonly id: string
  readonly status: string
  readonly active_deployment_id: string
  readonly latest_deployment_id: string
  readonly version: string
  readonly messages: readonly string[]
}

const contract = loadKoyebContract()
const dataDir = mkdtempSync(join(tmpdir(), 'bk-'))
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

function definition(name: string, more: Record<string, unknown> = {}): Record<string, unknown> {
  return {
    name,
    type: 'WORKER',
    docker: { image: IMAGE, command: 'sleep', args: ['infinity'] },
    regions: ['fra'],
    instance_types: [{ type: 'nano' }],
    scalings: [{ min: 1, max: 1 }],
    env: [{ key: 'GREETING', value: 'hello' }],
    ...more,
  }
}

async function makeApp(): Promise<string> {
  const { app } = await ok('POST', '/v1/apps', { name: `app-${++count}` })
  return (app as { id: string }).id
}

async function makeService(more: Record<string, unknown> = {}): Promise<Service> {
  const app_id = await makeApp()
  const { service } = await ok('POST', '/v1/services', { app_id, definition: definition(`svc-${count}`, more) })
  return service as Service
}

async function serviceOf(id: string): Promise<Service> {
  return (await ok('GET', `/v1/services/${id}`))['service'] as Service
}

async function replicas(id: string, statuses = ''): Promise<readonly Instance[]> {
  return (await ok('GET', `/v1/instances?service_id=${id}${statuses}`))['instances'] as Instance[]
}

const ALIVE = '&statuses=ALLOCATING&statuses=STARTING&statuses=HEALTHY&statuses=UNHEALTHY&statuses=SLEEPING'

/** Waits until the living replicas are all healthy and have these indexes. */
function untilHealthy(id: string, indexes: readonly number[]): Promise<readonly Instance[]> {
  return eventually(`service ${id} has healthy replicas ${indexes.join()}`, async () => {
    const alive = await replicas(id, ALIVE)
    const fits = alive.length === indexes.length && alive.every(one => one.status === 'HEALTHY')
    return fits && indexes.every(index => alive.some(one => one.replica_index === index)) ? alive : null
  })
}

function untilStatus(id: string, status: string): Promise<Service> {
  return eventually(`service ${id} is ${status}`, async () => {
    const service = await serviceOf(id)
    return service.status === status ? service : null
  })
}

describe('a service', () => {
  test('becomes replicas that every list finds by every id above them', async () => {
    const service = await makeService({ scalings: [{ min: 3, max: 3 }] })
    const alive = await untilHealthy(service.id, [0, 1, 2])
    const shown = await untilStatus(service.id, 'HEALTHY')
    for (const one of alive) {
      assert.equal(one.service_id, service.id)
      assert.equal(one.xyz_deployment_id, shown.latest_deployment_id)
      assert.deepEqual([one.region, one.type], ['fra', 'nano'])
    }
    const [first] = alive
    assert.ok(first)
    for (const query of [`app_id=${first.app_id}`, `deployment_id=${first.xyz_deployment_id}`, `regional_deployment_id=${first.regional_deployment_id}`]) {
      assert.equal((await ok('GET', `/v1/instances?${query}`))['count'], 3, query)
    }
    assert.equal((await ok('GET', `/v1/instances?service_id=${service.id}&replica_index=2`))['count'], 1)
    const { deployment } = await ok('GET', `/v1/deployments/${shown.latest_deployment_id}`)
    assert.equal((deployment as { status: string }).status, 'HEALTHY')
    const { replicas: scaling } = await ok('GET', `/v1/deployment/${shown.latest_deployment_id}/scaling`)
    assert.deepEqual((scaling as { replica_index: number }[]).map(one => one.replica_index), [0, 1, 2])
    const { regional_deployments } = await ok('GET', `/v1/regional_deployments?deployment_id=${shown.latest_deployment_id}`)
    assert.deepEqual((regional_deployments as { id: string }[]).map(one => one.id), [first.regional_deployment_id])
    await ok('GET', `/v1/regional_deployments/${first.regional_deployment_id}`)
    const outcome = await runSession({ url: server.url, key: server.key, contract }, ...cliFrames(service.id, ['env'], [], 'SERVICE_ID'))
    assert.match(outcome.stdout, /GREETING=hello/)
  })

  test('gets another instance in the place of one that was killed, stopped or deleted', async () => {
    const service = await makeService({ scalings: [{ min: 2, max: 2 }] })
    for (const how of ['DELETE', 'stop'] as const) {
      const [victim] = (await untilHealthy(service.id, [0, 1])).filter(one => one.replica_index === 1)
      assert.ok(victim)
      const path = `/berth/v1/instances/${victim.id}`
      const answer = how === 'DELETE' ? await server.request('DELETE', path) : await server.request('POST', `${path}/stop`, { body: {} })
      assert.ok(answer.status < 300, answer.text)
      const next = await eventually('another takes its place', async () => {
        const now = (await replicas(service.id, '&statuses=HEALTHY')).filter(one => one.replica_index === 1)
        return now.length === 1 && now[0]?.id !== victim.id ? now[0] : null
      })
      assert.equal(next?.replica_index, 1)
    }
    // All incarnations stay in the list, oldest first.
    assert.equal((await ok('GET', `/v1/instances?service_id=${service.id}&replica_index=1`))['count'], 3)
  })

  test('scales by hand, and back', async () => {
    const service = await makeService()
    await untilHealthy(service.id, [0])
    await ok('PUT', `/v1/services/${service.id}/scale`, { scalings: [{ scopes: ['region:fra'], instances: 3 }] })
    await untilHealthy(service.id, [0, 1, 2])
    assert.deepEqual((await ok('GET', `/v1/services/${service.id}/scale`))['scalings'], [{ scopes: ['region:fra'], instances: 3 }])
    await ok('DELETE', `/v1/services/${service.id}/scale`)
    await untilHealthy(service.id, [0])
  })

  test('pauses, resumes with new instances, and is deleted with all it has', async () => {
    const service = await makeService()
    const [before_] = await untilHealthy(service.id, [0])
    await ok('POST', `/v1/services/${service.id}/pause`)
    await untilStatus(service.id, 'PAUSED')
    assert.deepEqual(await replicas(service.id, ALIVE), [])
    await ok('POST', `/v1/services/${service.id}/resume`)
    const [after_] = await untilHealthy(service.id, [0])
    assert.notEqual(after_?.id, before_?.id)
    await ok('DELETE', `/v1/services/${service.id}`)
    await untilStatus(service.id, 'DELETED')
    assert.deepEqual(await replicas(service.id, ALIVE), [])
    const events = (await ok('GET', `/v1/service_events?service_id=${service.id}`))['events'] as { type: string }[]
    assert.deepEqual(events.map(event => event.type).filter(type => type !== 'DEPLOYED'), ['CREATED', 'PAUSED', 'RESUMED', 'DELETING', 'DELETED'])
  })

  test('is deployed anew beside what serves, which ends when the new one serves', async () => {
    const service = await makeService()
    const [old] = await untilHealthy(service.id, [0])
    const { deployment } = await ok('POST', `/v1/services/${service.id}/redeploy`, {})
    const { id } = deployment as { id: string }
    const moved = await eventually('the new deployment serves', async () => {
      const now = await serviceOf(service.id)
      return now.active_deployment_id === id ? now : null
    })
    assert.equal(Number(moved.version) > Number(service.version), true)
    const [young] = await untilHealthy(service.id, [0])
    assert.notEqual(young?.id, old?.id)
    assert.equal(young?.xyz_deployment_id, id)
    const { service: patched } = await ok('PATCH', `/v1/services/${service.id}`, { definition: { env: [{ key: 'GREETING', value: 'bye' }] } })
    const latest = (patched as Service).latest_deployment_id
    await eventually('the patched one serves', async () => ((await serviceOf(service.id)).active_deployment_id === latest ? true : null))
    const outcome = await runSession({ url: server.url, key: server.key, contract }, ...cliFrames(service.id, ['env'], [], 'SERVICE_ID'))
    assert.match(outcome.stdout, /GREETING=bye/)
    assert.ok(((await ok('GET', `/v1/deployments?service_id=${service.id}`))['count'] as number) >= 3)
  })

  test('whose replicas keep dying ends in ERROR, and leaves what served before', async () => {
    const broken = await makeService({ docker: { image: IMAGE, command: 'false' } })
    const failed = await eventually('the deployment fails', async () => {
      const { deployment } = await ok('GET', `/v1/deployments/${broken.latest_deployment_id}`)
      return (deployment as { status: string }).status === 'ERROR' ? (deployment as { messages: string[] }) : null
    })
    assert.match(failed.messages.join(), /exit code 1/)
    const good = await makeService()
    const [serving] = await untilHealthy(good.id, [0])
    await ok('PATCH', `/v1/services/${good.id}`, { definition: { docker: { image: IMAGE, command: 'false' } } })
    await eventually('the new deployment fails', async () => {
      const { deployments } = await ok('GET', `/v1/deployments?service_id=${good.id}&statuses=ERROR`)
      return (deployments as unknown[]).length === 1 ? true : null
    })
    assert.equal((await untilHealthy(good.id, [0]))[0]?.id, serving?.id)
  })

  test('scales to zero when nobody uses it, and wakes for a command', async () => {
    const service = await makeService({ scalings: [{ min: 0, max: 1, targets: [{ sleep_idle_delay: { light_sleep_value: 1 } }] }] })
    const asleep = () =>
      eventually('it sleeps', async () => {
        const [one] = await replicas(service.id, '&statuses=SLEEPING')
        return one ?? null
      })
    const first = await asleep()
    await eventually('the deployment sleeps', async () => {
      const { deployment } = await ok('GET', `/v1/deployments/${service.latest_deployment_id}`)
      return (deployment as { status: string }).status === 'SLEEPING' ? true : null
    })
    const outcome = await runSession({ url: server.url, key: server.key, contract }, ...cliFrames(service.id, ['echo', 'awake'], [], 'SERVICE_ID'))
    assert.deepEqual([outcome.stdout, outcome.exitCode], ['awake\n', 0])
    assert.equal((await asleep()).id, first.id)
    const types = ((await ok('GET', `/v1/instance_events?instance_ids=${first.id}`))['events'] as { type: string }[]).map(event => event.type)
    assert.ok(types.indexOf('WAKING') > types.indexOf('SLEEPING'), types.join())
  })

  test('survives a crash of the server in the middle of it', async () => {
    const service = await makeService({ scalings: [{ min: 4, max: 4 }] })
    await server.kill()
    server = await startServer({ dataDir })
    await untilHealthy(service.id, [0, 1, 2, 3])
    assert.equal((await replicas(service.id, ALIVE)).length, 4)
  })

  test('dies with its app, if the app says so', async () => {
    const { app } = await ok('POST', '/v1/apps', { name: `app-${++count}`, lifeCycle: { deleteWhenEmpty: true } })
    const { id } = app as { id: string }
    const { service } = await ok('POST', '/v1/services', { appId: id, definition: definition('only') })
    await untilHealthy((service as Service).id, [0])
    await ok('DELETE', `/v1/services/${(service as Service).id}`)
    await eventually('the app goes with it', async () => {
      const { app: shown } = await ok('GET', `/v1/apps/${id}`)
      return (shown as { status: string }).status === 'DELETED' ? true : null
    })
    assert.ok(!((await ok('GET', '/v1/apps'))['apps'] as { id: string }[]).some(one => one.id === id))
  })
})

describe('bad input', () => {
  test('is refused with the field, and makes nothing', async () => {
    const app_id = await makeApp()
    const good = definition('good')
    const table: readonly (readonly [unknown, number, string])[] = [
      ['{', 400, 'body'],
      [[], 400, 'body'],
      [{}, 400, 'definition'],
      [{ definition: good }, 400, 'app_id'],
      [{ app_id, definition: { ...good, name: undefined } }, 400, 'definition.name'],
      [{ app_id, definition: { ...good, name: 'Not A Name' } }, 400, 'definition.name'],
      [{ app_id, definition: { ...good, name: 'x'.repeat(64) } }, 400, 'definition.name'],
      [{ app_id, definition: { ...good, name: 7 } }, 400, 'definition.name'],
      [{ app_id, definition: { ...good, type: 'POD' } }, 400, 'definition.type'],
      [{ app_id, definition: { ...good, docker: undefined } }, 400, 'definition.docker.image'],
      [{ app_id, definition: { ...good, docker: { image: '' } } }, 400, 'definition.docker.image'],
      [{ app_id, definition: { ...good, git: { repository: 'x' } } }, 400, 'definition.git'],
      [{ app_id, definition: { ...good, regions: ['mars'] } }, 400, 'definition.regions'],
      [{ app_id, definition: { ...good, regions: 'fra' } }, 400, 'definition.regions'],
      [{ app_id, definition: { ...good, regions: ['was'], scalings: [{ min: 9, max: 9 }] } }, 503, ''],
      [{ app_id, definition: { ...good, instance_types: [{ type: 'huge' }] } }, 400, 'definition.instance_types'],
      [{ app_id, definition: { ...good, instance_types: [{ type: 'gpu-nvidia-h100' }] } }, 503, ''],
      [{ app_id, definition: { ...good, scalings: [{ min: -1, max: 1 }] } }, 400, 'definition.scalings'],
      [{ app_id, definition: { ...good, scalings: [{ min: 2, max: 1 }] } }, 400, 'definition.scalings'],
      [{ app_id, definition: { ...good, env: [{ key: 'A', secret: 's' }] } }, 400, 'definition.env[0].secret'],
      [{ app_id, definition: { ...good, env: [{ value: 'x' }] } }, 400, 'definition.env[0].key'],
      [{ app_id, definition: { ...good, ports: [{ port: 70_000 }] } }, 400, 'definition.ports[0].port'],
      [{ app_id: '11111111-1111-4111-8111-111111111111', definition: good }, 404, ''],
    ]
    for (const [body, status, field] of table) {
      const answer = await call('POST', '/v1/services', { body })
      assert.equal(answer.status, status, `${JSON.stringify(body)}: ${answer.text}`)
      if (field !== '') assert.ok((answer.body as { fields: { field: string }[] }).fields.some(one => one.field === field), `${field}: ${answer.text}`)
    }
    const { services } = await ok('GET', `/v1/services?app_id=${app_id}`)
    assert.deepEqual(services, [])
    await ok('POST', '/v1/services', { app_id, definition: good })
    assert.equal((await call('POST', '/v1/services', { body: { app_id, definition: good } })).status, 400)
  })

  test('a dry run with the id of nobody’s app is a success that makes nothing', async () => {
    const before_ = (await ok('GET', '/v1/services'))['count']
    const body = { app_id: '74140198-4d29-4a1e-bdc9-5cc2b355ccd0', definition: definition('dry') }
    await ok('POST', '/v1/services?dry_run=true', body)
    assert.equal((await ok('GET', '/v1/services'))['count'], before_)
  })

  test('what belongs to nobody is not found, and what can not change says so', async () => {
    const nobody = '11111111-1111-4111-8111-111111111111'
    for (const [method, path] of [
      ['GET', `/v1/apps/${nobody}`],
      ['DELETE', `/v1/apps/${nobody}`],
      ['GET', `/v1/services/${nobody}`],
      ['POST', `/v1/services/${nobody}/pause`],
      ['POST', `/v1/services/${nobody}/redeploy`],
      ['DELETE', `/v1/services/nonsense`],
      ['GET', `/v1/deployments/${nobody}`],
      ['GET', `/v1/regional_deployments/${nobody}`],
    ] as const) {
      assert.equal((await call(method, path)).status, 404, `${method} ${path}`)
    }
    assert.equal((await call('PUT', `/v1/services/${nobody}/scale`, { body: { scalings: [{ instances: 1 }] } })).status, 404)
    assert.equal((await call('POST', '/v1/apps', { body: { name: '' } })).status, 400)
    assert.equal((await call('POST', '/v1/apps', { body: {} })).status, 400)
    assert.equal((await call('GET', '/v1/services?statuses=NOPE')).status, 400)
    assert.equal((await call('GET', '/v1/deployments?statuses=NOPE')).status, 400)
  })
})
