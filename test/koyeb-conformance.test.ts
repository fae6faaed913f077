/**
 * Rules of Koyeb's wire that no other test holds, on a simulated host; and that docs/koyeb-conformance.md, the list of all
 * rules, names only tests that there are.
 */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { request as ask } from 'node:http'
import type { IncomingMessage } from 'node:http'
import { after, before, describe, test } from 'node:test'
import { WebSocket } from 'ws'
import { checkedRules } from './support/conformance-page.ts'
import { judgedBodies, judgedCalls, loadKoyebContract, openSession, runSession } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const NOBODY = '11111111-1111-4111-8111-111111111111'
const contract = loadKoyebContract()
let server: TestServer
let id = ''
let service: Record<string, unknown> = {}
const call = judgedCalls(() => server, contract)
const ok = judgedBodies(call)
const options = () => ({ url: server.url, key: server.key, contract })

before(async () => {
  server = await startServer()
  const app = (await ok('POST', '/v1/apps', { name: 'rules' }))['app'] as { id: string }
  const definition = {
    name: 'web', type: 'WEB', docker: { image: 'localhost/busybox', command: 'serve' }, regions: ['fra'], instance_types: [{ type: 'nano' }],
    scalings: [{ min: 2, max: 2 }], env: [{ key: 'SANDBOX_SECRET', value: 'YWJjZA==' }],
  }
  service = (await ok('POST', '/v1/services', { app_id: app.id, definition }))['service'] as Record<string, unknown>
  id = await eventually('both run', async () => {
    const found = (await ok('GET', '/v1/instances?statuses=HEALTHY'))['instances'] as { id: string }[]
    return found.length === 2 ? (found[0]?.id ?? null) : null
  })
})
after(() => server.stop())

const instancesOf = async (query: string) => (await ok('GET', `/v1/instances?${query}`)) as { instances: Record<string, unknown>[]; count: number; limit: number; offset: number; order: string }

describe('requests', () => {
  test('a browser of another site may ask with the headers of the console', async () => {
    const preflight = await server.request('OPTIONS', '/v1/instances', { key: null, headers: { origin: 'https://app.example', 'access-control-request-headers': 'authorization,x-koyeb-project-id' } })
    assert.equal(preflight.status, 200)
    const allowed = (preflight.headers.get('access-control-allow-headers') ?? '').toLowerCase()
    for (const header of ['authorization', 'content-type', 'x-koyeb-project-id']) assert.ok(allowed.includes(header), header)
    const answer = await call('GET', '/v1/instances', { headers: { origin: 'https://app.example', 'x-koyeb-project-id': NOBODY } })
    assert.deepEqual([answer.status, answer.headers.get('access-control-allow-origin')], [200, '*'])
  })

  test('no Accept is refused, and every answer is JSON', async () => {
    for (const accept of ['*/*', 'text/html', 'application/xml', 'nonsense']) {
      for (const path of ['/v1/instances', `/v1/instances/${NOBODY}`]) assert.notEqual((await call('GET', path, { headers: { accept } })).status, 406)
    }
  })

  test('empty values are unset, and unknown parameters are nothing', async () => {
    const all = await instancesOf('')
    const same = await instancesOf('app_id=&service_id=&statuses=&limit=&offset=&order=&replica_index=&starting_time=&time_frame=5m&nope=1')
    assert.deepEqual(same, all)
  })

  test('the slot 0 is a slot and not unset, in whichever spelling', async () => {
    for (const [query, expected] of [['replica_index=0', [0]], ['replicaIndex=1', [1]], ['replica_index=2', []]] as const) {
      assert.deepEqual((await instancesOf(`service_id=${String(service['id'])}&${query}`)).instances.map(one => one['replica_index']), expected)
    }
  })

  test('pages are at most 1000 and never refused for their size, and the order is of any case', async () => {
    const table = [['limit=5000', 1000, 'asc'], ['limit=0', 100, 'asc'], ['limit=1&order=DESC', 1, 'desc'], ['order=Asc', 100, 'asc']] as const
    for (const [query, limit, order] of table) {
      const page = await instancesOf(query)
      assert.deepEqual([page.limit, page.order, page.count], [limit, order, 2], query)
    }
    assert.equal((await instancesOf('limit=1&order=desc')).instances[0]?.['id'], (await instancesOf('limit=1&offset=1')).instances[0]?.['id'])
  })

  test('an id travels percent-encoded, and one that is none is 400 with the field, or 404', async () => {
    assert.equal((await call('GET', `/v1/instances/${id.replaceAll('-', '%2D')}`)).status, 200)
    for (const wrong of ['a%2Fb%20c', 'x', id.toUpperCase()]) assert.ok([400, 404].includes((await call('GET', `/v1/instances/${wrong}`)).status), wrong)
  })
})

describe('replies', () => {
  test('keys are there even when there is nothing in them: texts, numbers, lists and nulls', async () => {
    const { instance } = (await ok('GET', `/v1/instances/${id}`)) as { instance: Record<string, unknown> }
    assert.deepEqual(Object.keys(instance).toSorted(), ['allocation_id', 'app_id', 'created_at', 'datacenter', 'hypervisor', 'id', 'messages', 'organization_id', 'region', 'regional_deployment_id', 'replica_index', 'service_id', 'started_at', 'status', 'succeeded_at', 'terminated_at', 'type', 'updated_at', 'xyz_deployment_id'])
    const item = (await instancesOf('limit=1')).instances[0] ?? {}
    assert.deepEqual(Object.keys(instance).filter(key => !Object.hasOwn(item, key)).toSorted(), ['hypervisor', 'started_at', 'succeeded_at', 'terminated_at'])
    assert.equal(instance['terminated_at'], null)
    assert.ok(Array.isArray(instance['messages']))
  })

  test('events have has_next and no count, and metadata is an object of texts', async () => {
    const reply = await ok('GET', `/v1/instance_events?instance_ids=${id}&limit=1`)
    assert.deepEqual(Object.keys(reply).toSorted(), ['events', 'has_next', 'limit', 'offset', 'order'])
    assert.equal(reply['has_next'], true)
    for (const { metadata } of (await ok('GET', '/v1/instance_events'))['events'] as { metadata: Record<string, unknown> }[]) {
      for (const value of Object.values(metadata)) assert.equal(typeof value, 'string')
    }
  })

  test('versions and quotas are texts, counts and indexes are numbers', async () => {
    assert.equal(typeof service['version'], 'string')
    assert.ok(String(service['app_id']).length === 36)
    const organization = String(service['organization_id'])
    const { quotas } = (await ok('GET', `/v1/organizations/${organization}/quotas`)) as { quotas: Record<string, unknown> }
    assert.equal(typeof quotas['services'], 'string')
    assert.equal(typeof (await instancesOf('')).count, 'number')
  })

  test('variables come back as they were given, whatever they look like', async () => {
    const { deployment } = (await ok('GET', `/v1/deployments/${String(service['latest_deployment_id'])}`)) as { deployment: { definition: { env: { key: string; value: string }[] } } }
    assert.deepEqual(deployment.definition.env.map(({ key, value }) => [key, value]), [['SANDBOX_SECRET', 'YWJjZA==']])
  })

  test('deployments and regional deployments are found by app and service, without a limit', async () => {
    const [app, own] = [String(service['app_id']), String(service['id'])]
    for (const path of ['deployments', 'regional_deployments']) {
      for (const query of [`app_id=${app}`, `service_id=${own}`, `appId=${app}&serviceId=${own}`]) {
        assert.equal(((await ok('GET', `/v1/${path}?${query}`))[path] as unknown[]).length, 1, `${path}?${query}`)
      }
      assert.deepEqual((await ok('GET', `/v1/${path}?app_id=${NOBODY}`))[path], [])
    }
    const latest = String(service['latest_deployment_id'])
    const { regional_deployments: [one] } = (await ok('GET', `/v1/regional_deployments?deployment_id=${latest}`)) as { regional_deployments: { id: string; region: string }[] }
    const { regional_deployment } = (await ok('GET', `/v1/regional_deployments/${one?.id}`)) as { regional_deployment: { deployment_id: string } }
    assert.deepEqual([one?.region, regional_deployment.deployment_id], ['fra', latest])
    const { replicas } = (await ok('GET', `/v1/deployment/${latest}/scaling`)) as { replicas: { replica_index: number; instances: unknown[] }[] }
    assert.deepEqual(replicas.map(({ replica_index, instances }) => [replica_index, instances.length]), [[0, 1], [1, 1]])
  })

  test('the token of an administrator is one that koyeb login takes and a WebSocket can send', () => {
    assert.match(server.key, /^[A-Za-z0-9]{64}$/)
  })
})

describe('exec', () => {
  test('the upgrade answers Bearer and never the token, and offers no compression', async () => {
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/v1/streams/instances/exec`, ['Bearer', server.key], { perMessageDeflate: true })
    const [response] = (await Promise.all([once(socket, 'upgrade'), once(socket, 'open')]))[0] as [IncomingMessage]
    assert.equal(socket.protocol, 'Bearer')
    assert.equal(response.headers['sec-websocket-extensions'], undefined)
    socket.terminate()
  })

  test('a cookie is no token', async () => {
    const status = await new Promise(resolve => {
      const sent = ask(`${server.url}/v1/instances`, { headers: { cookie: `token=${server.key}` } }, answer => (answer.resume(), resolve(answer.statusCode)))
      sent.end()
    })
    assert.equal(status, 401)
  })

  test('null is absent, unknown keys are nothing, and both spellings count', async () => {
    const frames = [
      { id, id_type: null, nope: 1, body: { command: ['cat'], disable_tty: true, tty_size: null, stdin: null } },
      { body: { command: null, stdin: { data: Buffer.from('x').toString('base64'), close: false } } },
      { body: { stdin: { close: true } } },
    ]
    const outcome = await runSession(options(), ...frames)
    assert.deepEqual([outcome.stdout, outcome.exitCode, outcome.closeCode], ['x', 0, 1000])
  })

  test('the frame’s id and kind count before those of the URL', async () => {
    const query = `?id=${NOBODY}&id_type=SERVICE_ID`
    const outcome = await runSession({ ...options(), query }, { id, id_type: 'INSTANCE_ID', body: { command: ['echo', 'here'], disableTty: true } })
    assert.deepEqual([outcome.stdout, outcome.exitCode], ['here\n', 0])
    const other = await runSession({ ...options(), query: `?id=${String(service['id'])}&id_type=SERVICE_ID` }, { body: { command: ['echo', 'there'], disableTty: true } })
    assert.equal(other.stdout, 'there\n')
  })

  test('what is typed after the end is nothing', async () => {
    const session = await openSession(options())
    session.send({ id, body: { command: ['true'], disableTty: true } })
    for (let count = 0; count < 20; count++) session.send({ id, body: { command: ['true'], stdin: { data: Buffer.alloc(4096).toString('base64') } } })
    session.send({ body: { stdin: { close: true } } })
    const outcome = await session.outcome
    assert.deepEqual([outcome.exitCode, outcome.closeCode, outcome.error], [0, 1000, null])
  })

  test('a close of the client is answered', async () => {
    const session = await openSession(options())
    session.send({ id, body: { command: ['sleep', '1000'], disableTty: true } })
    session.socket.close(1000, 'close from client')
    assert.equal((await session.outcome).closeCode, 1000)
  })

  test('over HTTP answers are never kept, and commas and brackets are data', async () => {
    const answer = await call('GET', `/v1/streams/instances/exec?id=${id}&body.command=echo&body.command=${encodeURIComponent('[a, b],c')}`)
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    const { result } = answer.body as { result: { stdout: { data: string; close: boolean }; exited: boolean } }
    assert.deepEqual([Buffer.from(result.stdout.data, 'base64').toString(), result.exited], ['[a, b],c\n', true])
  })
})

describe('docs/koyeb-conformance.md', () => {
  test('names tests that there are, one for each rule', () => {
    const rules = checkedRules('koyeb-conformance.md')
    assert.ok(rules.length > 80, `${rules.length} rules`)
  })
})
