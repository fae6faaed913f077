/**
 * The region that only pretends, beside a home: GPU launches of every dialect are admitted by slots, run there as
 * simulated instances, say that they are, and are refused in the dialect's own words once the slots are out.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { makeNativeClient } from './support/native-client.ts'
import type { NativeClient } from './support/native-client.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const SLOTS = 2
const CATALOGUE = new URL('../config/catalogue.json', import.meta.url)

interface Native {
  readonly id: string
  readonly phase: string
  readonly region: string | null
  readonly type: string | null
  readonly simulated: boolean
  readonly hostId: string | null
  readonly vcpus: number
}

let dataDir: string
let server: TestServer
let api: NativeClient

/** A home of the ordinary kind, and a region with two slots of each type. */
before(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'berth-region-'))
  const catalogue = JSON.parse(readFileSync(CATALOGUE, 'utf8')) as { regions: { simulated?: object }[] }
  for (const region of catalogue.regions) if (region.simulated !== undefined) region.simulated = { slotsPerType: SLOTS }
  writeFileSync(join(dataDir, 'catalogue.json'), JSON.stringify(catalogue))
  await begin()
})
after(async () => {
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
})

async function begin(env: Record<string, string> = {}): Promise<void> {
  server = await startServer({ dataDir, env })
  api = await makeNativeClient(server)
  await api.ok(200, 'GET', `/images/${encodeURIComponent(`${IMAGE}:latest`)}/wait?timeoutMs=60000`)
}

const launch = (body: object) => ({ body: { image: IMAGE, cmd: ['sleep', '100000'], ...body } })
const freeOf = async (type: string, region: string) =>
  (await api.ok<{ items: { type: string; region: string; free: number; used: number }[] }>(200, 'GET', '/capacity')).items.find((line) => line.type === type && line.region === region)
const untilGone = (id: string) => eventually('it is gone', async () => ((await api.ok<Native>(200, 'GET', `/instances/${id}`)).phase === 'deleted' ? true : null))

test('a GPU instance is admitted where there are slots, runs there, takes part in life like any other, and says that it is simulated', async () => {
  const made = await api.ok<Native>(201, 'POST', '/instances?wait=running', launch({ type: 'h100-8', region: 'simulated', name: 'gpu' }))
  assert.deepEqual([made.phase, made.region, made.type, made.simulated, made.hostId, made.vcpus], ['running', 'simulated', 'h100-8', true, 'region-simulated', 208])
  assert.deepEqual(await freeOf('h100-8', 'simulated'), { ...(await freeOf('h100-8', 'simulated')), used: 1, free: SLOTS - 1 })
  const { body } = await server.request('GET', `/v1/instances/${made.id}`)
  const { instance } = body as { instance: { type: string; region: string; messages: string[]; hypervisor: string } }
  assert.deepEqual([instance.type, instance.region, instance.hypervisor], ['8x-gpu-nvidia-h100', 'was', 'region-simulated'])
  assert.match(instance.messages.join(' '), /simulated/)
  await api.ok(200, 'POST', `/instances/${made.id}/standby?wait=true`)
  assert.equal((await freeOf('h100-8', 'simulated'))?.free, SLOTS, 'one that sleeps gives its slot back')
  await api.ok(200, 'POST', `/instances/${made.id}/restore?wait=true`)
  await api.ok(200, 'DELETE', `/instances/${made.id}?wait=true`)
  assert.equal((await freeOf('h100-8', 'simulated'))?.free, SLOTS)
})

test('instances of home stay at home, whatever the region has', async () => {
  const plain = await api.ok<Native>(201, 'POST', '/instances?wait=running', launch({ name: 'plain' }))
  assert.deepEqual([plain.region, plain.type, plain.simulated], [null, null, false])
  const typed = await api.ok<Native>(201, 'POST', '/instances?wait=running', launch({ name: 'typed', type: 'nano' }))
  assert.deepEqual([typed.region, typed.type, typed.simulated, typed.hostId], ['home', 'nano', false, plain.hostId])
  assert.equal((await freeOf('nano', 'home'))?.used, 1)
  for (const { id } of [plain, typed]) await api.ok(200, 'DELETE', `/instances/${id}?wait=true`)
})

test('Lambda launches GPUs in the region that has them, says so in its types, and refuses the third in its own words', async () => {
  const call = (method: string, path: string, body?: object) => server.request(method, `/api/v1${path}`, body === undefined ? {} : { body })
  await call('POST', '/ssh-keys', { name: 'laptop' })
  const wish = { region_name: 'us-east-1', instance_type_name: 'gpu_8x_h100_sxm5', ssh_key_names: ['laptop'] }
  const regionsNow = async () => {
    const { data } = (await call('GET', '/instance-types')).body as { data: Record<string, { regions_with_capacity_available: { name: string }[] }> }
    return data['gpu_8x_h100_sxm5']?.regions_with_capacity_available.map(({ name }) => name)
  }
  assert.deepEqual(await regionsNow(), ['us-east-1'])
  const ids: string[] = []
  for (let slot = 0; slot < SLOTS; slot++) {
    const { status, body } = await call('POST', '/instance-operations/launch', wish)
    assert.equal(status, 200)
    ids.push(...(body as { data: { instance_ids: string[] } }).data.instance_ids)
  }
  for (const id of ids) {
    await eventually('it is active', async () => {
      const { data } = (await call('GET', `/instances/${id}`)).body as { data: { status: string; region: { name: string }; instance_type: { name: string } } }
      return data.status === 'active' && data.region.name === 'us-east-1' && data.instance_type.name === 'gpu_8x_h100_sxm5' ? true : null
    })
  }
  assert.deepEqual(await regionsNow(), [])
  const refused = await call('POST', '/instance-operations/launch', wish)
  assert.equal(refused.status, 400)
  assert.equal((refused.body as { error: { code: string } }).error.code, 'instance-operations/launch/insufficient-capacity')
  const atHome = await call('POST', '/instance-operations/launch', { ...wish, region_name: 'us-west-1' })
  assert.equal((atHome.body as { error: { code: string } }).error.code, 'instance-operations/launch/insufficient-capacity')
  await call('POST', '/instance-operations/terminate', { instance_ids: ids })
  for (const id of ids) await untilGone(id)
  assert.deepEqual(await regionsNow(), ['us-east-1'])
})

test('a Koyeb service runs its GPU replicas in the region, and one that wants more than there are is 503', async () => {
  const call = (method: string, path: string, body?: object) => server.request(method, `/v1${path}`, body === undefined ? {} : { body })
  const { app } = (await call('POST', '/apps', { name: 'gpus' })).body as { app: { id: string } }
  const definition = (name: string, replicas: number) => ({
    name,
    docker: { image: IMAGE, command: 'sleep', args: ['100000'] },
    regions: ['was'],
    instance_types: [{ type: 'gpu-nvidia-h100' }],
    scalings: [{ min: replicas, max: replicas }],
  })
  const { service } = (await call('POST', '/services', { app_id: app.id, definition: definition('full', SLOTS) })).body as { service: { id: string } }
  await eventually('both replicas are healthy', async () => {
    const { instances } = (await call('GET', `/instances?service_id=${service.id}&statuses=HEALTHY`)).body as { instances: { region: string }[] }
    return instances.length === SLOTS && instances.every(({ region }) => region === 'was') ? true : null
  })
  const refused = await call('POST', '/services', { app_id: app.id, definition: definition('more', 1) })
  assert.deepEqual([refused.status, (refused.body as { code: string }).code], [503, 'service_unavailable'])
  assert.match((refused.body as { message: string }).message, /was has 0 of gpu-nvidia-h100 free/)
  await call('DELETE', `/apps/${app.id}`)
  await eventually('the slots are free again', async () => ((await freeOf('h100-1', 'simulated'))?.free === SLOTS ? true : null))
})

test('what the region can’t give is refused in one sentence, and nothing is left of it', async () => {
  await api.refused(400, 'invalid_request', 'POST', '/instances', launch({ region: 'simulated' }))
  await api.refused(400, 'invalid_request', 'POST', '/instances', launch({ region: 'nowhere', type: 'nano' }))
  await api.refused(400, 'invalid_request', 'POST', '/instances', launch({ type: 'toaster' }))
  const volume = await api.ok<{ id: string }>(201, 'POST', '/volumes', { body: { name: 'disk', sizeBytes: 2 ** 26 } })
  const mounted = await server.request('POST', '/berth/v1/instances', launch({ type: 'nano', region: 'simulated', volumes: [{ volume: volume.id, path: '/data' }] }))
  assert.equal((mounted.body as { error: { code: string } }).error.code, 'not_supported')
  assert.equal((await freeOf('nano', 'simulated'))?.used, 0)
})

test('instances of the region outlive the server, and one setting takes its capacity away', async () => {
  const kept = await api.ok<Native>(201, 'POST', '/instances?wait=running', launch({ type: 'a100-1', region: 'simulated', name: 'kept' }))
  await server.stop({ keepInstances: true })
  await begin({ BERTH_SIMULATED_REGIONS: 'no' })
  assert.equal((await api.ok<Native>(200, 'GET', `/instances/${kept.id}`)).phase, 'running')
  assert.equal((await freeOf('a100-1', 'simulated'))?.free, 0)
  const { status, body } = await server.request('POST', '/berth/v1/instances', launch({ type: 'h100-8', region: 'simulated' }))
  assert.deepEqual([status, (body as { error: { code: string } }).error.code], [409, 'insufficient_resources'])
  await api.ok(200, 'DELETE', '/instances/kept?wait=true')
})
