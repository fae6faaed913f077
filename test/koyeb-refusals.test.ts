/**
 * Bad input, on every route of the Koyeb dialect: a wrong token, another project's id, broken and empty bodies, numbers
 * below 0, unknown words, unknown routes. Each is refused in the dialect's own shape, never as HTML, never as a 500, and
 * nothing is another thing afterwards.
 */
import assert from 'node:assert/strict'
import { after, afterEach, before, describe, test } from 'node:test'
import { judgedCalls, loadKoyebContract } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const NOBODY = '11111111-1111-4111-8111-111111111111'
const METHODS = ['GET', 'POST', 'PUT', 'PATCH', 'DELETE'] as const

const contract = loadKoyebContract()
let server: TestServer
/** A key of another project, with all scopes. */
let stranger = ''
const ids: Record<string, string> = {}
const call = judgedCalls(() => server, contract)
let untouched = ''

const definition = (name: string) => ({ name, type: 'WORKER', docker: { image: IMAGE, command: 'sleep', args: ['100000'] }, instance_types: [{ type: 'nano' }] })
const bodyOf = async (method: string, path: string, body?: unknown) => {
  const answer = await call(method, path, body === undefined ? {} : { body })
  assert.equal(answer.status, 200, answer.text)
  return answer.body as Record<string, { id: string; latest_deployment_id?: string }>
}

before(async () => {
  server = await startServer()
  const other = (await server.request('POST', '/berth/v1/projects', { body: { name: 'stranger' } })).body as { id: string }
  const made = await server.request('POST', '/berth/v1/keys', { body: { name: 'stranger', scopes: ['read', 'write', 'exec'], projectId: other.id } })
  stranger = (made.body as { secret: string }).secret
  ids['organization'] = (await bodyOf('GET', '/v1/account/organization'))['organization']?.id ?? ''
  ids['app'] = (await bodyOf('POST', '/v1/apps', { name: 'mine' }))['app']?.id ?? ''
  const service = (await bodyOf('POST', '/v1/services', { app_id: ids['app'], definition: definition('mine') }))['service']
  ids['service'] = service?.id ?? ''
  ids['deployment'] = service?.latest_deployment_id ?? ''
  const replica = await eventually('the replica is healthy', async () => {
    const { instances } = (await call('GET', `/v1/instances?service_id=${ids['service']}&statuses=HEALTHY`)).body as { instances: { id: string; regional_deployment_id: string }[] }
    return instances[0] ?? null
  })
  ids['instance'] = replica.id
  ids['set'] = replica.regional_deployment_id
  await eventually('the deployment serves', async () => ((await call('GET', `/v1/services/${ids['service']}`)).text.includes(`"active_deployment_id":"${ids['deployment']}"`) ? true : null))
  untouched = await everything()
})
after(() => server.stop())

/** What there is, of which nothing may change. */
async function everything(): Promise<string> {
  const paths = ['/v1/apps', '/v1/services', '/v1/deployments', '/v1/instances', '/v1/instance_events', '/v1/service_events', '/v1/deployment_events', '/v1/organizations/' + ids['organization']]
  const texts: string[] = []
  for (const path of paths) texts.push((await server.request('GET', path)).text)
  return texts.join('\n')
}
afterEach(async () => assert.equal(await everything(), untouched))

/** Every route with what stands for the ids of its path; `body` is one that would do something. */
const ROUTES: readonly (readonly [method: string, path: string, body?: unknown])[] = [
  ['GET', '/v1/instances'],
  ['GET', '/v1/instances/{instance}'],
  ['GET', '/v1/instance_events'],
  ['GET', '/v1/streams/instances/exec?id={instance}&body.command=true'],
  ['GET', '/v1/streams/logs/query?instance_id={instance}'],
  ['GET', '/v1/streams/logs/tail?instance_id={instance}'],
  ['GET', '/v1/streams/metrics?instance_id={instance}&name=MEM_RSS'],
  ['GET', '/v1/apps'],
  ['POST', '/v1/apps', { name: 'theirs' }],
  ['GET', '/v1/apps/{app}'],
  ['PUT', '/v1/apps/{app}', { name: 'taken' }],
  ['PATCH', '/v1/apps/{app}', { name: 'taken' }],
  ['DELETE', '/v1/apps/{app}'],
  ['POST', '/v1/apps/{app}/pause'],
  ['POST', '/v1/apps/{app}/resume'],
  ['GET', '/v1/services'],
  ['POST', '/v1/services', { app_id: '{app}', definition: definition('theirs') }],
  ['GET', '/v1/services/{service}'],
  ['PUT', '/v1/services/{service}', { definition: definition('mine') }],
  ['PATCH', '/v1/services/{service}', { definition: { env: [] } }],
  ['DELETE', '/v1/services/{service}'],
  ['POST', '/v1/services/{service}/pause'],
  ['POST', '/v1/services/{service}/resume'],
  ['POST', '/v1/services/{service}/redeploy'],
  ['GET', '/v1/services/{service}/scale'],
  ['PUT', '/v1/services/{service}/scale', { scalings: [{ instances: 2 }] }],
  ['DELETE', '/v1/services/{service}/scale'],
  ['GET', '/v1/deployments'],
  ['GET', '/v1/deployments/{deployment}'],
  ['POST', '/v1/deployments/{deployment}/cancel'],
  ['GET', '/v1/deployment/{deployment}/scaling'],
  ['GET', '/v1/regional_deployments'],
  ['GET', '/v1/regional_deployments/{set}'],
  ['GET', '/v1/app_events'],
  ['GET', '/v1/service_events'],
  ['GET', '/v1/deployment_events'],
  ['GET', '/v1/regional_deployment_events'],
  ['GET', '/v1/account/profile'],
  ['GET', '/v1/account/organization'],
  ['GET', '/v1/account/organizations'],
  ['GET', '/v1/organization_members'],
  ['GET', '/v1/organizations/{organization}'],
  ['POST', '/v1/organizations/{organization}/switch', {}],
  ['GET', '/v1/organizations/{organization}/quotas'],
  ['GET', '/v1/organizations/{organization}/summary'],
  ['GET', '/v1/projects'],
  ['GET', '/v1/projects/{organization}'],
  ['GET', '/v1/catalog/instances'],
  ['GET', '/v1/catalog/instances/nano'],
  ['GET', '/v1/catalog/regions'],
  ['GET', '/v1/catalog/regions/fra'],
  ['GET', '/v1/catalog/datacenters'],
  ['GET', '/v1/catalog/usage'],
]
const filled = (text: string) => text.replace(/\{(\w+)\}/g, (_, name: string) => ids[name] ?? '')
const filledBody = (body: unknown) => (body === undefined ? {} : { body: JSON.parse(filled(JSON.stringify(body))) as unknown })
const named = (path: string) => /\{\w+\}/.test(path)
const LISTS = ROUTES.filter(([method, path]) => method === 'GET' && /^\/v1\/(instances|instance_events|apps|services|deployments|regional_deployments|\w+_events|account\/organizations|organization_members|projects|catalog\/(instances|regions))$/.test(path))

describe('tokens', () => {
  test('every route wants one, and takes no wrong one', async () => {
    for (const [method, path, body] of ROUTES) {
      for (const key of [null, 'x'.repeat(64), `${server.key}x`]) {
        const answer = await call(method, filled(path), { key, ...filledBody(body) })
        assert.equal(answer.status, 401, `${method} ${path}: ${answer.text}`)
        assert.equal((answer.body as { code: string }).code, 'unauthorized')
      }
    }
  })

  test('a key that may only read changes nothing', async () => {
    const made = await server.request('POST', '/berth/v1/keys', { body: { name: 'reader', scopes: ['read'] } })
    const { secret: key } = made.body as { secret: string }
    for (const [method, path, body] of ROUTES) {
      if (method === 'GET' || path.endsWith('/switch')) continue
      const answer = await call(method, filled(path), { key, ...filledBody(body) })
      assert.equal(answer.status, 403, `${method} ${path}: ${answer.text}`)
    }
    assert.equal((await call('GET', filled('/v1/streams/instances/exec?id={instance}&body.command=true'), { key })).status, 403)
  })
})

describe('ids', () => {
  test('what belongs to another project is not found, on every route that names one', async () => {
    for (const [method, path, body] of ROUTES) {
      if (!named(path) && !named(JSON.stringify(body ?? ''))) continue
      // Logs are of whatever the filters leave, which is nothing; the tail would wait for it.
      if (path.includes('/logs/tail')) continue
      const answer = await call(method, filled(path), { key: stranger, ...filledBody(body) })
      if (path.includes('/logs/query')) assert.deepEqual((answer.body as { data: unknown[] }).data, [])
      else assert.equal(answer.status, 404, `${method} ${path}: ${answer.text}`)
    }
  })

  test('lists of another project hold nothing of this one', async () => {
    for (const [method, path] of LISTS) {
      const { text } = await call(method, path, { key: stranger })
      for (const id of Object.values(ids)) assert.ok(!text.includes(id), `${path} tells ${id}`)
    }
    for (const filter of ['app_id={app}', 'service_id={service}', 'deployment_id={deployment}', 'regional_deployment_id={set}']) {
      assert.equal(((await call('GET', `/v1/instances?${filled(filter)}`, { key: stranger })).body as { count: number }).count, 0, filter)
    }
    assert.deepEqual(((await call('GET', `/v1/instance_events?instance_ids=${ids['instance']}`, { key: stranger })).body as { events: unknown[] }).events, [])
  })

  test('what nobody has, and what is no id, is refused on every route', async () => {
    for (const wrong of [NOBODY, 'nonsense', '%00', '..%2f..%2fetc', 'x'.repeat(2000), '%F0%9F%92%A9', ids['instance']?.toUpperCase() ?? '']) {
      for (const [method, path, body] of ROUTES) {
        if (!named(path) || path.includes('/logs/')) continue
        const answer = await call(method, path.replace(/\{\w+\}/g, wrong), filledBody(body))
        assert.ok(answer.status === 404 || answer.status === 400, `${method} ${path} with ${wrong.slice(0, 20)}: ${answer.status} ${answer.text}`)
      }
    }
  })
})

describe('bodies', () => {
  const BROKEN = ['{', '[', 'null,', '[]', '"text"', '7', 'true', '{"name":', '\u0000', '<html></html>', Buffer.from([0xff, 0xfe, 0x7b])]

  test('what is no JSON, or no object, is refused wherever a body is read', async () => {
    for (const [method, path, body] of ROUTES) {
      if (body === undefined || path.endsWith('/switch')) continue
      for (const text of BROKEN) {
        const answer = await call(method, filled(path), { body: text, headers: { 'content-type': 'application/json' } })
        assert.equal(answer.status, 400, `${method} ${path} of ${String(text)}: ${answer.text}`)
        assert.deepEqual((answer.body as { fields: { field: string }[] }).fields.map(one => one.field), ['body'], answer.text)
      }
    }
  })

  test('one that is empty, or says nothing, lacks what is required', async () => {
    for (const [method, path, field] of [
      ['POST', '/v1/apps', 'name'],
      ['POST', '/v1/services', 'definition'],
      ['PUT', '/v1/services/{service}', 'definition'],
      ['PUT', '/v1/services/{service}/scale', 'scalings'],
    ] as const) {
      for (const body of ['', '{}', 'null']) {
        const answer = await call(method, filled(path), { body, headers: { 'content-type': 'application/json' } })
        assert.equal(answer.status, 400, `${method} ${path} of ${body}: ${answer.text}`)
        assert.equal((answer.body as { fields: { field: string }[] }).fields[0]?.field, field)
      }
    }
  })

  test('names that are too long, wrong types and numbers below 0 are refused by the field', async () => {
    const app_id = ids['app']
    const table: readonly (readonly [string, string, unknown, string])[] = [
      ['POST', '/v1/apps', { name: 'x'.repeat(64) }, 'name'],
      ['POST', '/v1/apps', { name: 'x'.repeat(100_000) }, 'name'],
      ['POST', '/v1/apps', { name: 'Über' }, 'name'],
      ['POST', '/v1/apps', { name: ['a'] }, 'name'],
      ['POST', '/v1/apps', { name: 'ok', life_cycle: { delete_when_empty: 'yes' } }, 'life_cycle.delete_when_empty'],
      ['PATCH', '/v1/apps/{app}', { name: 'x'.repeat(64) }, 'name'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('x'.repeat(64)) } }, 'definition.name'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('neg'), scalings: [{ min: -1, max: -1 }] } }, 'definition.scalings'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('neg'), scalings: [{ min: 0.5, max: 1 }] } }, 'definition.scalings[0].min'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('neg'), scalings: [{ min: 1, max: 2_000 }, 7] } }, 'definition.scalings[1]'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('neg'), scalings: [{ min: 0, max: 1, targets: [{ sleep_idle_delay: { light_sleep_value: -5 } }] }] } }, 'definition.scalings.targets.sleep_idle_delay.light_sleep_value'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('neg'), scalings: [{ min: 0, max: 1, targets: [{ sleep_idle_delay: { deep_sleep_value: 1e9 } }] }] } }, 'definition.scalings.targets.sleep_idle_delay.deep_sleep_value'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('neg'), ports: [{ port: -1 }] } }, 'definition.ports[0].port'],
      ['POST', '/v1/services', { app_id, definition: definition('neg'), life_cycle: { delete_after_sleep: -1 } }, 'life_cycle.delete_after_sleep'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('enum'), strategy: { type: 'NOPE' } } }, 'definition.strategy.type'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('enum'), mesh: 'NOPE' } }, 'definition.mesh'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('enum'), proxy_ports: [{ port: 1, protocol: 'udp' }] } }, 'definition.proxy_ports[0].protocol'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('type'), routes: [{ path: 7 }] } }, 'definition.routes[0].path'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('type'), skip_cache: 'yes' } }, 'definition.skip_cache'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('wall'), network_policy: { egress: { mode: 'EGRESS_POLICY_MODE_DENY_ALL' } } } }, 'definition.network_policy'],
      ['POST', '/v1/services', { app_id, definition: { ...definition('wall'), routes: [{ path: '/', port: 1, security_policies: { api_keys: ['k'] } }] } }, 'definition.routes[0].security_policies'],
      ['POST', '/v1/services', { app_id: 7, definition: definition('neg') }, 'app_id'],
      ['PUT', '/v1/services/{service}/scale', { scalings: [{ instances: -1 }] }, 'scalings[0].instances'],
      ['PUT', '/v1/services/{service}/scale', { scalings: [{ instances: 'many' }] }, 'scalings[0].instances'],
      ['PUT', '/v1/services/{service}/scale', { scalings: [] }, 'scalings'],
      ['PUT', '/v1/services/{service}', { definition: definition('another') }, 'definition.name'],
    ]
    for (const [method, path, body, field] of table) {
      const answer = await call(method, filled(path), { body })
      assert.equal(answer.status, 400, `${method} ${path} ${JSON.stringify(body).slice(0, 200)}: ${answer.text}`)
      assert.equal((answer.body as { fields: { field: string }[] }).fields[0]?.field, field, answer.text)
      assert.ok(answer.text.length < 2000, 'what was sent does not come back whole')
    }
  })

  test('a body that is too large, or too deep, is refused', async () => {
    const deep = `{"name":"x","a":${'['.repeat(1000)}${']'.repeat(1000)}}`
    for (const body of [deep, JSON.stringify({ name: 'x'.repeat(2 * 2 ** 20) })]) {
      assert.equal((await call('POST', '/v1/apps', { body, headers: { 'content-type': 'application/json' } })).status, 400)
    }
  })
})

describe('queries', () => {
  test('numbers that are none or below 0, and orders that are none, are refused by every list', async () => {
    assert.ok(LISTS.length >= 13, LISTS.map(([, path]) => path).join())
    for (const [method, path] of LISTS) {
      for (const [name, value] of [['limit', '-1'], ['limit', 'abc'], ['limit', '1e3'], ['limit', '1.5'], ['offset', '-1'], ['offset', '99999999999999999999'], ['order', 'sideways']] as const) {
        const answer = await call(method, `${path}?${name}=${value}`)
        assert.equal(answer.status, 400, `${path}?${name}=${value}: ${answer.text}`)
        assert.equal((answer.body as { fields: { field: string }[] }).fields[0]?.field, name)
      }
      assert.equal((await call(method, `${path}?limit=&offset=&order=&unknown=1&time_frame=5m`)).status, 200, path)
    }
  })

  test('words outside of a closed set, and times that are none, are refused by the parameter', async () => {
    const instance = ids['instance']
    for (const [path, field] of [
      ['/v1/instances?statuses=NOPE', 'statuses'],
      ['/v1/instances?statuses=HEALTHY&statuses=healthy', 'statuses'],
      ['/v1/instances?replica_index=-1', 'replica_index'],
      ['/v1/instances?starting_time=then', 'starting_time'],
      ['/v1/instances?ending_time=2026-13-01T00:00:00Z', 'ending_time'],
      ['/v1/services?types=POD', 'types'],
      ['/v1/services?statuses=NOPE', 'statuses'],
      ['/v1/deployments?statuses=NOPE', 'statuses'],
      [`/v1/streams/logs/query?instance_id=${instance}&type=nope`, 'type'],
      [`/v1/streams/logs/query?instance_id=${instance}&limit=-1`, 'limit'],
      [`/v1/streams/logs/query?instance_id=${instance}&start=then`, 'start'],
      [`/v1/streams/metrics?instance_id=${instance}&name=NOPE`, 'name'],
      [`/v1/streams/metrics?instance_id=${instance}&name=MEM_RSS&step=often`, 'step'],
      [`/v1/streams/instances/exec?id=${instance}&body.command=true&id_type=NOPE`, 'id_type'],
      [`/v1/streams/instances/exec?id=${instance}&body.command=true&body.tty_size.height=-1&body.tty_size.width=80`, 'body.tty_size.height'],
      [`/v1/streams/instances/exec?id=${instance}&body.command=true&body.stdin.data=%25%25`, 'body.stdin.data'],
      [`/v1/streams/instances/exec?id=${instance}`, 'body.command'],
      ['/v1/streams/instances/exec?body.command=true', 'id'],
    ] as const) {
      const answer = await call('GET', path)
      assert.equal(answer.status, 400, `${path}: ${answer.text}`)
      assert.equal((answer.body as { fields: { field: string }[] }).fields[0]?.field, field, answer.text)
    }
  })
})

describe('routes', () => {
  test('what is none, and a method that a route does not have, is not found', async () => {
    const paths = ['/v1', '/v1/', '/v1/nope', '/v1/instances/', `/v1/instances/${ids['instance']}/exec`, '/v1/snapshots', '/v1/domains', '/v1/v1/nope', '/v1/streams', '/v1/%00', `/v1/${'x'.repeat(3000)}`]
    for (const path of paths) {
      for (const method of METHODS) {
        const { status } = await call(method, path, method === 'GET' ? {} : { body: {} })
        assert.ok(status === 404 || status === 400, `${method} ${path.slice(0, 40)}: ${status}`)
      }
    }
    const known = new Set(ROUTES.map(([method, path]) => `${method} ${path.split('?')[0] ?? ''}`))
    for (const path of new Set(ROUTES.map(([, path]) => path.split('?')[0] ?? ''))) {
      for (const method of METHODS) {
        // exec is run by POST as well; Berth's own.
        if (known.has(`${method} ${path}`) || path.endsWith('/exec') || path.startsWith('/v1/catalog/')) continue
        assert.equal((await call(method, filled(path), method === 'GET' ? {} : { body: {} })).status, 404, `${method} ${path}`)
      }
    }
  })
})
