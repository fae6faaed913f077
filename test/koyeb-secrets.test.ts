/** Secrets of the Koyeb dialect on a simulated host: written, given to replicas by name, and never told again. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { cliFrames, judgedBodies, judgedCalls, loadKoyebContract, runSession } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const VALUE = 'correct-horse-battery'
const contract = loadKoyebContract()
let server: TestServer
const call = judgedCalls(() => server, contract)
const ok = judgedBodies(call)

interface Secret {
  readonly id: string
  readonly name: string
  readonly type: string
  readonly value: string
}
const make = async (name: string, value = VALUE) => (await ok('POST', '/v1/secrets', { name, type: 'SIMPLE', value }))['secret'] as Secret
const listed = async (query = '') => (await ok('GET', `/v1/secrets${query}`)) as { secrets: Secret[]; count: number }

before(async () => {
  server = await startServer()
})
after(() => server.stop())

test('a secret is made, listed, found by its id, changed and deleted, and its value is in no answer', async () => {
  const made = await make('db-pass')
  assert.match(made.id, /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  assert.deepEqual([made.name, made.type, made.value], ['db-pass', 'SIMPLE', ''])
  await make('other')
  assert.deepEqual((await listed()).secrets.map(({ name }) => name), ['db-pass', 'other'])
  assert.deepEqual((await listed('?limit=1&offset=1')).secrets.map(({ name }) => name), ['other'])
  assert.deepEqual([(await listed('?name=other')).count, (await listed('?types=REGISTRY')).count, (await listed('?types=SIMPLE&types=REGISTRY')).count], [1, 0, 2])
  for (const method of ['PUT', 'PATCH']) assert.deepEqual((await ok(method, `/v1/secrets/${made.id}`, { value: `${VALUE}-2` }))['secret'], { ...made, updated_at: ((await ok('GET', `/v1/secrets/${made.id}`))['secret'] as Record<string, unknown>)['updated_at'] })
  const reveal = await call('POST', `/v1/secrets/${made.id}/reveal`, { body: {} })
  assert.equal(reveal.status, 403)
  for (const answer of [reveal, await call('GET', '/v1/secrets'), await call('GET', `/v1/secrets/${made.id}`)]) assert.doesNotMatch(answer.text, /horse/)
  for (const { id } of (await listed()).secrets) await ok('DELETE', `/v1/secrets/${id}`)
  assert.deepEqual(await listed(), { secrets: [], limit: 100, offset: 0, count: 0 })
})

test('what is no secret is refused by its field, and changes nothing', async () => {
  const { id } = await make('taken')
  const cases: readonly (readonly [string, string, unknown, number, string?])[] = [
    ['POST', '/v1/secrets', { name: 'taken', value: 'x' }, 400, 'name'],
    ['POST', '/v1/secrets', { name: 'a b', value: 'x' }, 400, 'name'],
    ['POST', '/v1/secrets', { name: 'a' }, 400, 'value'],
    ['POST', '/v1/secrets', { name: 'a', value: 7 }, 400, 'value'],
    ['POST', '/v1/secrets', { value: 'x' }, 400, 'name'],
    ['POST', '/v1/secrets', { name: 'a', type: 'MANAGED', value: 'x' }, 400, 'type'],
    ['POST', '/v1/secrets', { name: 'a', type: 'REGISTRY', value: 'x' }, 400, 'type'],
    ['POST', '/v1/secrets', { name: 'a', type: 'SIMPLE', docker_hub_registry: { username: 'u', password: 'p' } }, 400, 'docker_hub_registry'],
    ['POST', '/v1/secrets', { name: 'a', value: 'x', docker_hub_registry: { username: 'u', password: 'p' } }, 400, 'value'],
    ['POST', '/v1/secrets', { name: 'a', docker_hub_registry: { username: 'u', password: 'p' }, github_registry: { username: 'u', password: 'p' } }, 400, 'github_registry'],
    ['POST', '/v1/secrets', { name: 'a', docker_hub_registry: { username: 'u' } }, 400, 'docker_hub_registry.password'],
    ['POST', '/v1/secrets', { name: 'a', docker_hub_registry: 'u:p' }, 400, 'docker_hub_registry'],
    ['POST', '/v1/secrets', { name: 'a', private_registry: { url: 'not a host', username: 'u', password: 'p' } }, 400, 'private_registry.url'],
    ['POST', '/v1/secrets', { name: 'a', azure_container_registry: { registry_name: 'a/b', username: 'u', password: 'p' } }, 400, 'azure_container_registry.registry_name'],
    ['PATCH', `/v1/secrets/${id}`, { docker_hub_registry: { username: 'u', password: 'p' } }, 400, 'type'],
    ['PATCH', `/v1/secrets/${id}`, { name: 'b', value: 'x' }, 400, 'name'],
    ['PATCH', `/v1/secrets/${id}`, {}, 400, 'value'],
    ['PATCH', '/v1/secrets/11111111-1111-4111-8111-111111111111', { value: 'x' }, 404],
    ['GET', '/v1/secrets/x', undefined, 404],
    ['DELETE', '/v1/secrets/11111111-1111-4111-8111-111111111111', undefined, 404],
    ['GET', '/v1/secrets?types=NOPE', undefined, 400, 'types'],
  ]
  for (const [method, path, body, status, field] of cases) {
    const answer = await call(method, path, body === undefined ? {} : { body })
    assert.equal(answer.status, status, `${method} ${path} ${JSON.stringify(body)}: ${answer.text}`)
    if (field !== undefined) assert.equal((answer.body as { fields: { field: string }[] }).fields[0]?.field, field, answer.text)
  }
  assert.deepEqual((await listed()).secrets.map(({ name }) => name), ['taken'])
  await ok('DELETE', `/v1/secrets/${id}`)
})

test('replicas have the values, definitions and instances only the names, and a secret stays while a service names it', async () => {
  const { id } = await make('db-pass')
  const app = (await ok('POST', '/v1/apps', { name: 'shop' }))['app'] as { id: string }
  const env = [{ key: 'PASSWORD', secret: 'db-pass' }, { key: 'URL', value: 'postgres://u:{{ secret.db-pass }}@db' }, { key: 'PLAIN', value: '{{ app }}' }]
  const definition = { name: 'web', type: 'WEB', docker: { image: 'localhost/busybox', command: 'serve' }, regions: ['fra'], instance_types: [{ type: 'nano' }], ports: [{ port: 9000, protocol: 'http' }, { port: 8080, protocol: 'http' }], scalings: [{ min: 1, max: 1 }], env }
  for (const [wrong, field] of [[{ key: 'A', secret: 'nobody' }, 'secret'], [{ key: 'A', value: 'x{{secret.nobody}}' }, 'value'], [{ key: 'A', secret: 'not a name' }, 'secret']] as const) {
    const answer = await call('POST', '/v1/services', { body: { app_id: app.id, definition: { ...definition, env: [wrong] } } })
    assert.deepEqual([answer.status, (answer.body as { fields: { field: string }[] }).fields[0]?.field], [400, `definition.env[0].${field}`], answer.text)
  }
  const service = (await ok('POST', '/v1/services', { app_id: app.id, definition }))['service'] as { id: string; latest_deployment_id: string }
  const instance = await eventually('it is healthy', async () => ((await ok('GET', `/v1/instances?service_id=${service.id}&statuses=HEALTHY`))['instances'] as { id: string }[])[0] ?? null)
  const { stdout } = await runSession({ url: server.url, key: server.key, contract }, ...cliFrames(instance.id, ['env']))
  const lines = stdout.split('\n')
  for (const line of [`PASSWORD=${VALUE}`, `URL=postgres://u:${VALUE}@db`, 'PLAIN={{ app }}', 'PORT=8080']) assert.ok(lines.includes(line), `${line} in\n${stdout}`)
  const shown = (await ok('GET', `/v1/deployments/${service.latest_deployment_id}`))['deployment'] as { definition: { env: unknown } }
  assert.deepEqual(shown.definition.env, env)
  for (const path of ['/v1/deployments', '/v1/instances', '/berth/v1/instances', '/berth/v1/audit']) assert.doesNotMatch((await server.request('GET', path)).text, new RegExp(VALUE), path)
  const refused = await call('DELETE', `/v1/secrets/${id}`)
  assert.deepEqual([refused.status, (refused.body as { code: string }).code], [400, 'failed_precondition'])
  const summary = (await ok('GET', `/v1/organizations/${(shown as unknown as { organization_id: string }).organization_id}/summary`))['summary'] as { secrets: unknown }
  assert.deepEqual(summary.secrets, { total: '1', by_type: { SIMPLE: '1' } })
  await ok('DELETE', `/v1/services/${service.id}`)
  await eventually('the secret can go', async () => ((await call('DELETE', `/v1/secrets/${id}`)).status === 200 ? true : null))
})

test('a login of a registry is shown without its password, stays a login, and is no variable', async () => {
  const account = { username: 'ada', password: VALUE }
  const logins = {
    docker_hub_registry: account, digital_ocean_registry: account, github_registry: account, gitlab_registry: account,
    private_registry: { url: 'https://registry.example:5000/v2/', ...account }, azure_container_registry: { registry_name: 'Shop', ...account },
    gcp_container_registry: { url: 'europe-docker.pkg.dev', keyfile_content: `{"private_key":"${VALUE}"}` },
  }
  for (const [key, login] of Object.entries(logins)) await ok('POST', '/v1/secrets', { name: key.replaceAll('_', '-'), type: 'REGISTRY', [key]: login })
  const { secrets } = (await ok('GET', '/v1/secrets?types=REGISTRY')) as { secrets: (Secret & Record<string, unknown>)[] }
  assert.equal(secrets.length, 7)
  const shown = (key: string) => secrets.find(({ name }) => name === key.replaceAll('_', '-'))?.[key]
  assert.deepEqual(shown('docker_hub_registry'), { username: 'ada', password: '' })
  assert.deepEqual(shown('private_registry'), { url: 'registry.example:5000', username: 'ada', password: '' })
  assert.deepEqual(shown('azure_container_registry'), { registry_name: 'shop', username: 'ada', password: '' })
  assert.deepEqual(shown('gcp_container_registry'), { url: 'europe-docker.pkg.dev', keyfile_content: '' })
  for (const path of ['/v1/secrets', '/berth/v1/secrets', '/berth/v1/audit']) assert.doesNotMatch((await server.request('GET', path)).text, new RegExp(VALUE), path)
  const id = secrets.find(({ name }) => name === 'docker-hub-registry')?.id ?? ''
  assert.equal((await call('PATCH', `/v1/secrets/${id}`, { body: { value: 'x' } })).status, 400)
  const native = await server.request('PUT', '/berth/v1/secrets/docker-hub-registry', { body: { value: 'x' } })
  assert.equal(native.status, 400, native.text)
  assert.match(native.text, /is the login of a registry, and stays so/)
  assert.deepEqual((await ok('PUT', `/v1/secrets/${id}`, { type: 'REGISTRY', docker_hub_registry: { username: 'bob', password: 'other' } }))['secret'], {
    ...((await ok('GET', `/v1/secrets/${id}`))['secret'] as object), docker_hub_registry: { username: 'bob', password: '' },
  })
  const app = (await ok('POST', '/v1/apps', { name: 'private' }))['app'] as { id: string }
  const definition = (docker: object, env: object[] = []) => ({ name: 'web', type: 'WORKER', docker: { image: 'localhost/busybox', ...docker }, regions: ['fra'], instance_types: [{ type: 'nano' }], env })
  const cases = [
    [definition({}, [{ key: 'A', secret: 'docker-hub-registry' }]), 'definition.env[0].secret'],
    [definition({ image_registry_secret: 'nobody' }), 'definition.docker.image_registry_secret'],
    [definition({ image: 'ghcr.io/shop/web', image_registry_secret: 'docker-hub-registry' }), 'definition.docker.image_registry_secret'],
  ] as const
  for (const [wrong, field] of cases) {
    const answer = await call('POST', '/v1/services', { body: { app_id: app.id, definition: wrong } })
    assert.deepEqual([answer.status, (answer.body as { fields: { field: string }[] }).fields[0]?.field], [400, field], answer.text)
  }
  for (const secret of secrets) await ok('DELETE', `/v1/secrets/${secret.id}`)
})
