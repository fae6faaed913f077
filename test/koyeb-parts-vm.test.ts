/** Parts of a Koyeb service that only a real VM and a real registry prove: images behind a login, and volumes. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { after, before, test } from 'node:test'
import type { Registry } from './registry-fixture.ts'
import { push, startRegistry, tar, temporaryDirectory } from './registry-fixture.ts'
import { cliFrames, judgedBodies, judgedCalls, loadKoyebContract, runSession } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const WAIT_MS = 300_000
const PASSWORD = 'correct horse'
const contract = loadKoyebContract()
let server: TestServer
let registry: Registry
let scratch = ''
/** What has been started, also where a later start failed. */
const ends: (() => Promise<void>)[] = []
let appId = ''
const call = judgedCalls(() => server, contract)
const ok = judgedBodies(call)

interface Item {
  readonly id: string
  readonly status: string
}

before(async () => {
  scratch = await temporaryDirectory()
  registry = await startRegistry(scratch, { kind: 'password', username: 'ada', password: PASSWORD })
  ends.push(() => registry.kill())
  server = await startServer({ host: 'qemu' })
  ends.push(() => server.stop())
  appId = ((await ok('POST', '/v1/apps', { name: 'parts' }))['app'] as { id: string }).id
})
after(async () => {
  for (const end of ends.toReversed()) await end()
  rmSync(scratch, { recursive: true, force: true })
})

const definitionOf = (name: string, more: object) => ({ name, type: 'WORKER', docker: { image: 'localhost/busybox', command: 'sleep', args: ['100000'] }, regions: ['fra'], instance_types: [{ type: 'nano' }], scalings: [{ min: 1, max: 1 }], ...more })
const deploy = async (name: string, more: object) => (await ok('POST', '/v1/services', { app_id: appId, definition: definitionOf(name, more) }))['service'] as { id: string; latest_deployment_id: string }
const replica = (serviceId: string, not = '') => eventually('a replica is healthy', async () => {
  const { instances } = (await ok('GET', `/v1/instances?service_id=${serviceId}&statuses=HEALTHY`)) as { instances: Item[] }
  return instances.find(({ id }) => id !== not) ?? null
}, WAIT_MS)
const run = (id: string, ...command: readonly string[]) => runSession({ url: server.url, key: server.key, contract }, ...cliFrames(id, command))
const statusOf = async (deploymentId: string) => ((await ok('GET', `/v1/deployments/${deploymentId}`))['deployment'] as { status: string; messages: string[] })

test('an image behind a login is pulled with the secret of its registry, and not without', async () => {
  const files = [{ name: 'bin', type: 'dir' as const, mode: 0o755 }, { name: 'bin/busybox', data: readFileSync('/bin/busybox'), mode: 0o755 }, { name: 'bin/sleep', type: 'symlink' as const, link: 'busybox' }]
  await push(registry.host, 'team/private:1', { layers: [tar([...files, { name: 'mine', data: 'from behind the login' }])], config: { Cmd: ['/bin/sleep', '100000'] } }, { creds: `ada:${PASSWORD}` })
  const image = `${registry.host}/team/private:1`
  const closed = await deploy('closed', { docker: { image } })
  const failed = await eventually('it is told that it is closed', async () => {
    const now = await statusOf(closed.latest_deployment_id)
    return now.messages.length > 0 ? now : null
  }, WAIT_MS)
  assert.match(failed.messages.join(' '), /credentials|login|denied/i)
  await ok('DELETE', `/v1/services/${closed.id}`)

  const login = (password: string) => ({ private_registry: { url: registry.host, username: 'ada', password } })
  const { id: secretId } = (await ok('POST', '/v1/secrets', { name: 'team', type: 'REGISTRY', ...login('wrong') }))['secret'] as { id: string }
  const service = await deploy('private', { docker: { image, image_registry_secret: 'team' } })
  await eventually('the wrong password is told', async () => ((await statusOf(service.latest_deployment_id)).messages.length > 0 ? true : null), WAIT_MS)
  await ok('PATCH', `/v1/secrets/${secretId}`, login(PASSWORD))
  await ok('POST', `/v1/services/${service.id}/redeploy`, {})
  const { id } = await replica(service.id)
  assert.equal((await run(id, '/bin/busybox', 'cat', '/mine')).stdout, 'from behind the login')
  const refused = await call('DELETE', `/v1/secrets/${secretId}`)
  assert.deepEqual([refused.status, (refused.body as { code: string }).code], [400, 'failed_precondition'], refused.text)
  await ok('DELETE', `/v1/services/${service.id}`)
})

test('a volume goes with its replica: through a death and a new deployment its files are there, and nobody else has it', async () => {
  const { volume } = (await ok('POST', '/v1/volumes', { name: 'data', region: 'fra', max_size: 1, volume_type: 'PERSISTENT_VOLUME_BACKING_STORE_LOCAL_BLK' })) as { volume: { id: string; status: string } }
  assert.equal(volume.status, 'PERSISTENT_VOLUME_STATUS_DETACHED')
  const volumes = [{ id: volume.id, path: '/data' }]
  const service = await deploy('store', { volumes })
  const first = await replica(service.id)
  assert.equal((await run(first.id, 'sh', '-c', 'echo kept > /data/note && sync')).exitCode, 0)
  const shown = async () => (await ok('GET', `/v1/volumes/${volume.id}`))['volume'] as { status: string; service_id: string }
  assert.deepEqual([(await shown()).status, (await shown()).service_id], ['PERSISTENT_VOLUME_STATUS_ATTACHED', service.id])
  const refusals = [await call('DELETE', `/v1/volumes/${volume.id}`), await call('POST', '/v1/services', { body: { app_id: appId, definition: definitionOf('thief', { volumes }) } })]
  assert.deepEqual(refusals.map(({ status }) => status), [400, 400], JSON.stringify(refusals.map(({ body }) => body)))

  await server.request('DELETE', `/berth/v1/instances/${first.id}`)
  const second = await replica(service.id, first.id)
  assert.equal((await run(second.id, 'cat', '/data/note')).stdout, 'kept\n')
  await ok('POST', `/v1/services/${service.id}/redeploy`, {})
  const third = await replica(service.id, second.id)
  assert.equal((await run(third.id, 'cat', '/data/note')).stdout, 'kept\n')
  await ok('DELETE', `/v1/services/${service.id}`)
  await eventually('the volume can go', async () => ((await call('DELETE', `/v1/volumes/${volume.id}`)).status === 200 ? true : null), WAIT_MS)
  assert.equal((await call('GET', `/v1/volumes/${volume.id}`)).status, 404)
})

test('replicas follow what they use: their CPUs, and the connections to their ports', async t => {
  const { network } = (await server.request('GET', '/berth/v1/host')).body as { network: { mode: string } }
  if (network.mode !== 'bridge') return t.skip('without a bridge the server does not reach the ports of guests')
  const scalings = (target: object) => [{ min: 1, max: 2, targets: [target] }]
  const work = 'while :; do i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; sleep 0.2; done'
  const busy = await deploy('busy', { docker: { image: 'localhost/busybox', command: 'sh', args: ['-c', work] }, scalings: scalings({ average_cpu: { value: 3 } }) })
  const web = await deploy('web', {
    type: 'WEB', ports: [{ port: 8000, protocol: 'http' }], scalings: scalings({ concurrent_requests: { value: 2 } }),
    docker: { image: 'localhost/busybox', command: 'sh', args: ['-c', 'exec nc -ll -p 8000 -e sleep 1000'] },
  })
  await Promise.all([replica(busy.id), replica(web.id)])
  const port = await eventually('its public port', async () => {
    const { deployment } = (await ok('GET', `/v1/deployments/${web.latest_deployment_id}`)) as { deployment: { metadata: { proxy_ports: { public_port: number }[] } } }
    return deployment.metadata.proxy_ports[0]?.public_port ?? null
  }, WAIT_MS)
  const held = Array.from({ length: 4 }, () => connect(port, '127.0.0.1'))
  try {
    await Promise.all(held.map(socket => once(socket, 'connect')))
    for (const { id } of [busy, web]) {
      await eventually('there are two', async () => {
        const { instances } = (await ok('GET', `/v1/instances?service_id=${id}&statuses=HEALTHY`)) as { instances: Item[] }
        return instances.length === 2 ? true : null
      }, WAIT_MS)
      const { events } = (await ok('GET', `/v1/service_events?service_id=${id}&types=AUTOSCALED`)) as { events: { message: string }[] }
      assert.match(events[0]?.message ?? '', /^fra has 2 instances from now on: \d+ (% of CPU, where 3 %|connections each, where 2) are wanted$/)
    }
  } finally {
    for (const socket of held) socket.destroy()
  }
  for (const { id } of [busy, web]) await ok('DELETE', `/v1/services/${id}`)
})
