/** Parts of a service's definition on a simulated host: Koyeb's own variables, names in values, and config files. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { cliFrames, judgedBodies, judgedCalls, loadKoyebContract, runSession } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const contract = loadKoyebContract()
let server: TestServer
let appId = ''
const call = judgedCalls(() => server, contract)
const ok = judgedBodies(call)

interface Item {
  readonly id: string
  readonly replica_index: number
  readonly regional_deployment_id: string
  readonly organization_id: string
}
const BASE = { type: 'WEB', docker: { image: 'localhost/busybox', command: 'serve' }, regions: ['fra'], instance_types: [{ type: 'nano' }], scalings: [{ min: 1, max: 1 }] }

before(async () => {
  server = await startServer()
  appId = ((await ok('POST', '/v1/apps', { name: 'parts' }))['app'] as { id: string }).id
})
after(() => server.stop())

async function deploy(name: string, more: object): Promise<{ readonly serviceId: string; readonly deploymentId: string }> {
  const { id, latest_deployment_id } = (await ok('POST', '/v1/services', { app_id: appId, definition: { ...BASE, name, ...more } }))['service'] as { id: string; latest_deployment_id: string }
  return { serviceId: id, deploymentId: latest_deployment_id }
}
const replicas = (serviceId: string, count: number) => eventually(`${count} are healthy`, async () => {
  const { instances } = (await ok('GET', `/v1/instances?service_id=${serviceId}&statuses=HEALTHY`)) as { instances: Item[] }
  return instances.length === count ? instances.toSorted((a, b) => a.replica_index - b.replica_index) : null
})
const run = (id: string, ...command: readonly string[]) => runSession({ url: server.url, key: server.key, contract }, ...cliFrames(id, command))
const variablesOf = async (id: string): Promise<Readonly<Record<string, string>>> =>
  Object.fromEntries((await run(id, 'env')).stdout.trim().split('\n').map(line => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]))

async function fileOf(id: string, path: string): Promise<string> {
  const answer = await fetch(`${server.url}/berth/v1/instances/${id}/files?path=${encodeURIComponent(path)}`, { headers: { authorization: `Bearer ${server.key}` } })
  assert.equal(answer.status, 200, path)
  return answer.text()
}

test('each replica is told what it is, in Koyeb’s variables, and what the definition sets counts before them', async () => {
  const env = [{ key: 'KOYEB_DC', value: 'mine' }, { key: 'WHERE', value: '{{ KOYEB_REGION }}/{{ KOYEB_REPLICA_INDEX }}/{{ NOBODY }}' }]
  const { serviceId } = await deploy('told', { scalings: [{ min: 2, max: 2 }], ports: [{ port: 9000, protocol: 'tcp' }, { port: 8080, protocol: 'http' }], env })
  const organization = ((await ok('GET', '/v1/account/organization'))['organization'] as { id: string; name: string })
  for (const [index, instance] of (await replicas(serviceId, 2)).entries()) {
    const variables = await variablesOf(instance.id)
    const { hypervisor } = (await ok('GET', `/v1/instances/${instance.id}`))['instance'] as { hypervisor: string }
    const expected = {
      KOYEB_APP_ID: appId, KOYEB_APP_NAME: 'parts', KOYEB_SERVICE_ID: serviceId, KOYEB_SERVICE_NAME: 'told',
      KOYEB_ORGANIZATION_ID: organization.id, KOYEB_ORGANIZATION_NAME: organization.name,
      KOYEB_INSTANCE_ID: instance.id, KOYEB_REPLICA_INDEX: String(index), KOYEB_REGIONAL_DEPLOYMENT_ID: instance.regional_deployment_id, KOYEB_HYPERVISOR_ID: hypervisor,
      KOYEB_REGION: 'fra', KOYEB_DC: 'mine', KOYEB_INSTANCE_TYPE: 'nano', KOYEB_INSTANCE_MEMORY_MB: '256', KOYEB_PRIVILEGED: 'false', KOYEB_DOCKER_REF: 'localhost/busybox',
      KOYEB_PORT_9000_PROTOCOL: 'tcp', KOYEB_PORT_8080_PROTOCOL: 'http', PORT: '8080', WHERE: `fra/${index}/{{ NOBODY }}`,
    }
    assert.deepEqual(Object.fromEntries(Object.keys(expected).map(name => [name, variables[name]])), expected)
  }
})

test('config files are in the file system, with their permissions, and names in them stand for variables and secrets', async () => {
  await ok('POST', '/v1/secrets', { name: 'config-pass', type: 'SIMPLE', value: 'hush' })
  const config_files = [
    { path: '/etc/shop/app.conf', permissions: '0640', content: 'region={{ KOYEB_REGION }}\npass={{ secret.config-pass }}\nid={{ KOYEB_INSTANCE_ID }}\nown={{ OWN }} {{ .Template }}\n' },
    { path: '/srv/plain.txt', content: 'Grüße\n' },
  ]
  const env = [{ key: 'OWN', value: 'mine' }]
  const { serviceId, deploymentId } = await deploy('files', { config_files, env })
  const [instance] = await replicas(serviceId, 1)
  assert.ok(instance !== undefined)
  assert.equal(await fileOf(instance.id, '/etc/shop/app.conf'), `region=fra\npass=hush\nid=${instance.id}\nown=mine {{ .Template }}\n`)
  assert.equal(await fileOf(instance.id, '/srv/plain.txt'), 'Grüße\n')
  const modes = await Promise.all(config_files.map(async ({ path }) => ((await server.request('GET', `/berth/v1/instances/${instance.id}/stat?path=${path}`)).body as { mode: number }).mode & 0o7777))
  assert.deepEqual(modes, [0o640, 0o644])
  const { definition } = (await ok('GET', `/v1/deployments/${deploymentId}`))['deployment'] as { definition: { config_files: unknown } }
  assert.deepEqual(definition.config_files, config_files)
  for (const path of ['/v1/deployments', '/berth/v1/instances', `/v1/instances/${instance.id}`]) assert.doesNotMatch((await server.request('GET', path)).text, /hush/, path)
  const { secrets } = (await ok('GET', '/v1/secrets?name=config-pass')) as { secrets: { id: string }[] }
  assert.equal((await call('DELETE', `/v1/secrets/${secrets[0]?.id}`)).status, 400, 'a file names it')
  // Another deployment, another file.
  await ok('PATCH', `/v1/services/${serviceId}`, { definition: { config_files: [{ path: '/srv/plain.txt', content: 'other' }] } })
  const next = await eventually('another replica', async () => (await replicas(serviceId, 1)).find(({ id }) => id !== instance.id) ?? null)
  assert.equal(await fileOf(next.id, '/srv/plain.txt'), 'other')
})

test('files that are none are refused by their field, and make nothing', async () => {
  const long = 'x'.repeat(256 * 1024 + 1)
  const cases: readonly (readonly [unknown, string])[] = [
    [[{ path: 'etc/x', content: '' }], '[0].path'],
    [[{ path: '/etc/../x', content: '' }], '[0].path'],
    [[{ path: '/etc/x/', content: '' }], '[0].path'],
    [[{ path: '/proc/x', content: '' }], '[0].path'],
    [[{ path: `/${'n'.repeat(256)}`, content: '' }], '[0].path'],
    [[{ content: 'x' }], '[0].path'],
    [[{ path: '/a', content: 'x' }, { path: '/a', content: 'y' }], '[1].path'],
    [[{ path: '/a', permissions: '999', content: 'x' }], '[0].permissions'],
    [[{ path: '/a', permissions: 'rw', content: 'x' }], '[0].permissions'],
    [[{ path: '/a', content: 7 }], '[0].content'],
    [[{ path: '/a', content: long }], '[0].content'],
    [[{ path: '/a', content: '{{ secret.nobody }}' }], '[0].content'],
    [Array.from({ length: 3 }, (_, at) => ({ path: `/${at}`, content: long.slice(1) })), ''],
    [Array.from({ length: 65 }, (_, at) => ({ path: `/${at}`, content: '' })), ''],
    ['files', ''],
  ]
  for (const [config_files, where] of cases) {
    const answer = await call('POST', '/v1/services', { body: { app_id: appId, definition: { ...BASE, name: 'no', config_files } } })
    assert.deepEqual([answer.status, (answer.body as { fields: { field: string }[] }).fields[0]?.field], [400, `definition.config_files${where}`], JSON.stringify(config_files).slice(0, 100))
  }
  assert.equal(((await ok('GET', '/v1/services?name=no')) as { count: number }).count, 0)
})

test('volumes are made, listed, renamed and deleted, and those of other surfaces are among them', async () => {
  const { volume } = (await ok('POST', '/v1/volumes', { name: 'data', max_size: 2, read_only: false })) as { volume: Record<string, unknown> }
  assert.deepEqual([volume['name'], volume['max_size'], volume['region'], volume['status'], volume['service_id']], ['data', 2, 'fra', 'PERSISTENT_VOLUME_STATUS_DETACHED', ''])
  const native = await server.request('POST', '/berth/v1/volumes', { body: { name: 'other', sizeBytes: 64 * 2 ** 20, id: 'by-name' } })
  assert.equal(native.status, 201, native.text)
  const listed = async (query = '') => (await ok('GET', `/v1/volumes${query}`)) as { volumes: { id: string; name: string }[]; has_next: boolean }
  const all = await listed()
  assert.deepEqual([all.volumes.map(({ name }) => name).toSorted(), all.has_next], [['data', 'other'], false])
  for (const { id } of all.volumes) assert.match(id, /^[0-9a-f]{8}-[0-9a-f]{4}-4/)
  assert.deepEqual([(await listed('?name=data')).volumes.length, (await listed('?region=was')).volumes.length, (await listed('?limit=1')).has_next], [1, 0, true])
  assert.equal(((await ok('POST', `/v1/volumes/${String(volume['id'])}`, { name: 'renamed', max_size: 2 }))['volume'] as { name: string }).name, 'renamed')
  const cases = [
    ['POST', '/v1/volumes', { name: 'No Name' }, 400, 'name'],
    ['POST', '/v1/volumes', { name: 'a', max_size: -1 }, 400, 'max_size'],
    ['POST', '/v1/volumes', { name: 'a', max_size: 'big' }, 400, 'max_size'],
    ['POST', '/v1/volumes', { name: 'a', region: 'mars' }, 400, 'region'],
    ['POST', '/v1/volumes', { name: 'a', volume_type: 'TAPE' }, 400, 'volume_type'],
    ['POST', '/v1/volumes', { name: 'a', snapshot_id: 'x' }, 400, 'snapshot_id'],
    ['POST', `/v1/volumes/${String(volume['id'])}`, { max_size: 3 }, 400, 'max_size'],
    ['GET', '/v1/volumes/nobody', undefined, 404],
    ['DELETE', '/v1/volumes/11111111-1111-4111-8111-111111111111', undefined, 404],
  ] as const
  for (const [method, path, body, status, field] of cases) {
    const answer = await call(method, path, body === undefined ? {} : { body })
    assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`)
    if (field !== undefined) assert.equal((answer.body as { fields: { field: string }[] }).fields[0]?.field, field, answer.text)
  }
  const mount = { id: String(volume['id']), path: '/data' }
  const wrong = [
    [{ volumes: [{ ...mount, id: 'nobody' }] }, 'definition.volumes[0].id'],
    [{ volumes: [{ ...mount, replica_index: -1 }] }, 'definition.volumes[0].replica_index'],
    [{ volumes: [mount], regions: ['was'] }, 'definition.volumes[0].id'],
    [{ volumes: [mount], regions: ['fra', 'was'] }, 'definition.volumes[0].scopes'],
  ] as const
  for (const [more, field] of wrong) {
    const answer = await call('POST', '/v1/services', { body: { app_id: appId, definition: { ...BASE, name: 'no', ...more } } })
    assert.deepEqual([answer.status, (answer.body as { fields: { field: string }[] }).fields[0]?.field], [400, field], answer.text)
  }
  for (const path of ['data', '/', '/etc', '/proc/x']) {
    assert.equal((await call('POST', '/v1/services', { body: { app_id: appId, definition: { ...BASE, name: 'no', volumes: [{ ...mount, path }] } } })).status, 400, path)
  }
  for (const { id } of (await listed()).volumes) assert.equal(((await ok('DELETE', `/v1/volumes/${id}`))['volume'] as { status: string }).status, 'PERSISTENT_VOLUME_STATUS_DELETED')
})

test('autoscaling is shown as it is done, and targets that are none are refused', async () => {
  const targets = [{ average_cpu: { value: 70 } }, { average_mem: { value: 80 } }, { concurrent_requests: { value: 25 } }, { requests_per_second: { value: 5 } }]
  const { serviceId, deploymentId } = await deploy('scaling', { scalings: [{ min: 1, max: 3, targets }] })
  const { regional_deployments: [regional] } = (await ok('GET', `/v1/regional_deployments?deployment_id=${deploymentId}`)) as { regional_deployments: { definition: { scaling: unknown } }[] }
  assert.deepEqual(regional?.definition.scaling, { min: 1, max: 3, targets: targets.slice(0, 3) })
  await replicas(serviceId, 1)
  for (const [name, value] of [['average_cpu', 101], ['average_mem', -1], ['concurrent_requests', -5], ['average_cpu', 'half']] as const) {
    const answer = await call('POST', '/v1/services', { body: { app_id: appId, definition: { ...BASE, name: 'no', scalings: [{ min: 1, max: 2, targets: [{ [name]: { value } }] }] } } })
    assert.equal(answer.status, 400, answer.text)
    assert.match((answer.body as { fields: { field: string }[] }).fields[0]?.field ?? '', new RegExp(`^definition.scalings.*targets.*${name}.value$`))
  }
})

test('snapshots of instances are taken, listed and deleted, and are those of every surface', async () => {
  const made = await server.request('POST', '/berth/v1/instances?wait=running', { body: { image: 'localhost/busybox', name: 'source' } })
  assert.equal(made.status, 201, made.text)
  const { id } = made.body as { id: string }
  const take = async (name: string, type: string) => (await ok('POST', '/v1/instance_snapshots', { instance_id: id, name, type: `INSTANCE_SNAPSHOT_TYPE_${type}` }))['instance_snapshot'] as Record<string, unknown>
  const full = await take('full', 'FULL')
  assert.deepEqual([full['name'], full['instance_id'], full['status'], full['type']], ['full', id, 'INSTANCE_SNAPSHOT_STATUS_AVAILABLE', 'INSTANCE_SNAPSHOT_TYPE_FULL'])
  const running = await call('POST', '/v1/instance_snapshots', { body: { instance_id: id, name: 'disks', type: 'INSTANCE_SNAPSHOT_TYPE_FILESYSTEM' } })
  assert.deepEqual([running.status, (running.body as { code: string }).code], [400, 'failed_precondition'], running.text)
  assert.equal((await server.request('POST', `/berth/v1/instances/${id}/stop?wait=true`)).status, 200)
  assert.equal((await take('disks', 'FILESYSTEM'))['type'], 'INSTANCE_SNAPSHOT_TYPE_FILESYSTEM')
  const listed = async (query = '') => (await ok('GET', `/v1/instance_snapshots${query}`)) as { instance_snapshots: { id: string; name: string }[]; count: number }
  assert.deepEqual([(await listed()).count, (await listed('?name=full')).count, (await listed('?type=INSTANCE_SNAPSHOT_TYPE_FULL&statuses=INSTANCE_SNAPSHOT_STATUS_AVAILABLE')).count, (await listed('?limit=1')).instance_snapshots.length], [2, 1, 1, 1])
  const native = (await server.request('GET', '/berth/v1/snapshots')).body as { items: { id: string }[] }
  assert.ok(native.items.some(one => one.id === full['id']))
  for (const [body, status] of [[{}, 400], [{ instance_id: 'x' }, 400], [{ instance_id: '11111111-1111-4111-8111-111111111111' }, 404], [{ instance_id: id, type: 'PHOTO' }, 400]] as const) {
    assert.equal((await call('POST', '/v1/instance_snapshots', { body })).status, status, JSON.stringify(body))
  }
  for (const query of ['?type=NOPE', '?statuses=NOPE']) assert.equal((await call('GET', `/v1/instance_snapshots${query}`)).status, 400)
  assert.equal((await call('GET', '/v1/instance_snapshots/nobody')).status, 404)
  await server.request('DELETE', `/berth/v1/instances/${id}?wait=true`)
  for (const one of (await listed()).instance_snapshots) assert.equal(((await ok('DELETE', `/v1/instance_snapshots/${one.id}`))['instance_snapshot'] as { status: string }).status, 'INSTANCE_SNAPSHOT_STATUS_DELETED')
  assert.equal((await listed()).count, 0)
})
