/**
 * Whatever a client sends: bodies and queries of Koyeb's API with one part exchanged for anything at all. No answer is a
 * 500 or of a status that its clients can't read, every answer is one that the contract knows, and what was refused has
 * changed nothing.
 */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import * as fc from 'fast-check'
import { judgedCalls, loadKoyebContract } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { startServer } from './support/server.ts'

const RUNS = 200
const NOBODY = '11111111-1111-4111-8111-111111111111'
type Json = Readonly<Record<string, unknown>>

let server: TestServer
let app = ''
let service = ''
const call = judgedCalls(() => server, loadKoyebContract())

/** A service of nothing: what is sent to it makes no instances. */
const definition = (name: string): Json => ({
  name,
  type: 'WORKER',
  regions: ['fra'],
  instance_types: [{ type: 'nano', scopes: [] }],
  scalings: [{ min: 0, max: 0 }],
  env: [{ key: 'A', value: '1' }],
  ports: [{ port: 8000, protocol: 'http' }],
  routes: [{ port: 8000, path: '/' }],
  health_checks: [{ grace_period: 5, interval: 30, tcp: { port: 8000 } }],
  docker: { image: 'localhost/busybox', command: 'sleep', args: ['1000'], entrypoint: [] },
})

before(async () => {
  server = await startServer()
  app = ((await call('POST', '/v1/apps', { body: { name: 'random' } })).body as { app: { id: string } }).app.id
  service = ((await call('POST', '/v1/services', { body: { app_id: app, definition: definition('idle') } })).body as { service: { id: string } }).service.id
})
after(() => server.stop())

/** Every operation that takes a body, with one that would be right. */
const BODIES: readonly (readonly [method: string, path: () => string, body: () => Json])[] = [
  ['POST', () => '/v1/apps', () => ({ name: 'random', life_cycle: { delete_when_empty: false } })],
  ['PATCH', () => `/v1/apps/${app}`, () => ({ name: 'random', life_cycle: { delete_when_empty: false } })],
  ['POST', () => '/v1/services?dry_run=true', () => ({ app_id: app, definition: definition('other'), life_cycle: { delete_after_create: 0 } })],
  ['PUT', () => `/v1/services/${service}?dry_run=true`, () => ({ definition: definition('idle') })],
  ['PATCH', () => `/v1/services/${service}?dry_run=true`, () => ({ definition: definition('idle') })],
  ['PUT', () => `/v1/services/${NOBODY}/scale`, () => ({ scalings: [{ scopes: ['region:fra'], instances: 1 }] })],
  ['POST', () => `/v1/services/${NOBODY}/redeploy`, () => ({ deployment_group: '', sha: '' })],
  ['POST', () => `/v1/organizations/${NOBODY}/switch`, () => ({})],
]
const QUERIES = [
  ['/v1/instances', ['app_id', 'service_id', 'deployment_id', 'regional_deployment_id', 'allocation_id', 'replica_index', 'statuses', 'limit', 'offset', 'order', 'starting_time', 'ending_time', 'appId', 'unknown']],
  ['/v1/instance_events', ['instance_ids', 'types', 'limit', 'offset', 'order', 'instanceIds']],
  ['/v1/apps', ['name', 'limit', 'offset']],
  ['/v1/services', ['app_id', 'name', 'types', 'limit', 'offset']],
  ['/v1/deployments', ['app_id', 'service_id', 'statuses', 'limit', 'offset']],
  ['/v1/regional_deployments', ['deployment_id', 'limit', 'offset']],
  ['/v1/service_events', ['service_id', 'types', 'limit', 'offset', 'order']],
  ['/v1/streams/logs/query', ['type', 'app_id', 'service_id', 'deployment_id', 'instance_id', 'instance_ids', 'start', 'end', 'order', 'limit', 'regex', 'text', 'streams', 'regions']],
  ['/v1/streams/metrics', ['service_id', 'instance_id', 'name', 'start', 'end', 'step']],
  ['/v1/catalog/instances', ['id', 'limit', 'offset']],
  ['/v1/streams/instances/exec', ['id', 'id_type', 'body.command', 'body.tty_size.height', 'body.stdin.data', 'body.stdin.close', 'body.disableTty']],
] as const

/** Values that other fields of the wire would take, among anything at all. */
const value = fc.oneof(
  fc.constantFrom<unknown>(null, true, 0, -1, 1e308, '', ' ', '\0', 'HEALTHY', 'asc', NOBODY, '[HEALTHY, STARTING]', '2026-01-01T00:00:00.000000+0000', '9999-99-99T00:00:00Z', '18446744073709551616', [], {}, ['x'], [{}], [null], { min: -1 }, 'x'.repeat(3000)),
  fc.jsonValue(),
)

test('no body with a part exchanged for anything is more than refused', async () => {
  const changed = fc.constantFrom(...BODIES).chain(([method, path, body]) => {
    const whole = body()
    const inner = typeof whole['definition'] === 'object' ? Object.keys(whole['definition'] as Json).map(name => `definition.${name}`) : []
    const member = fc.constantFrom('', ...Object.keys(whole), ...inner)
    return fc.record({ method: fc.constant(method), path: fc.constant(path), body: fc.constant(body), member, value, isGone: fc.boolean() })
  })
  await fc.assert(
    fc.asyncProperty(changed, async ({ method, path, body, member, value: other, isGone }) => {
      await call(method, path(), { body: member === '' ? other : exchanged(body(), member.split('.'), isGone ? undefined : other) })
    }),
    { numRuns: RUNS },
  )
  const { count } = (await call('GET', '/v1/services')).body as { count: number }
  assert.equal(count, 1, 'a dry run and a refusal make nothing')
})

test('no query of anything is more than refused', async () => {
  const asked = fc
    .constantFrom(...QUERIES)
    .chain(([path, names]) => fc.record({ path: fc.constant(path), pairs: fc.array(fc.tuple(fc.constantFrom<string>(...names), value), { maxLength: 6 }) }))
  await fc.assert(
    fc.asyncProperty(asked, async ({ path, pairs }) => {
      const query = pairs.map(([name, each]) => `${encodeURIComponent(name)}=${encodeURIComponent(typeof each === 'string' ? each.toWellFormed() : (JSON.stringify(each) ?? '').toWellFormed())}`)
      await call('GET', `${path}${query.length === 0 ? '' : `?${query.join('&')}`}`)
    }),
    { numRuns: RUNS },
  )
})

test('no id in a path is more than not found', async () => {
  const paths = ['instances', 'apps', 'services', 'deployments', 'regional_deployments', 'organizations', 'projects', 'catalog/instances', 'catalog/regions']
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...paths), fc.oneof(fc.string({ minLength: 1, maxLength: 200 }), fc.constantFrom('..', '%', '\0', NOBODY.toUpperCase(), 'x'.repeat(900))), async (path, id) => {
      const { status } = await call('GET', `/v1/${path}/${encodeURIComponent(id.toWellFormed()).replace(/^\.+$/, '%2E')}`)
      assert.ok(status === 400 || status === 404, `${status}`)
    }),
    { numRuns: RUNS },
  )
})

/** The same with one member, or one of a member's, exchanged; undefined takes it away. */
function exchanged(body: Json, [name = '', ...deeper]: readonly string[], value: unknown): Json {
  const inner = deeper.length === 0 ? value : exchanged(body[name] as Json, deeper, value)
  return Object.fromEntries(Object.entries({ ...body, [name]: inner }).filter(([, each]) => each !== undefined))
}
