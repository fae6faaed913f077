/** Hypeman's `health_check` on a simulated host: what it says, what a restart policy makes of it, and that it can change. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'hh-'))
let server: TestServer

before(async () => {
  server = await startServer({ dataDir })
})
after(async () => {
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
})

interface Shown {
  readonly id: string
  readonly state: string
  readonly health_check?: Readonly<Record<string, unknown>>
  readonly health_status?: { readonly status: string; readonly last_error?: string }
  readonly restart_status?: { readonly attempts: number }
}

async function create(name: string, more: object): Promise<Shown> {
  const answer = await server.request('POST', '/instances', { body: { name, image: 'localhost/busybox', entrypoint: ['serve'], size: '256MB', ...more } })
  assert.equal(answer.status, 201, answer.text)
  return answer.body as Shown
}
const shown = async (id: string) => (await server.request('GET', `/instances/${id}`)).body as Shown
const until = (id: string, what: string, fits: (instance: Shown) => boolean) =>
  eventually(what, async () => {
    const now = await shown(id)
    return fits(now) ? now : null
  })
const quick = { interval: '200ms', timeout: '1s', start_period: '100ms', failure_threshold: 2 }

test('a check that passes is healthy, and is told with its defaults', async () => {
  const { id } = await create('well', { health_check: { type: 'http', http: { port: 8080, path: '/up' } } })
  const { health_check: check } = await until(id, 'it is healthy', one => one.health_status?.status === 'healthy')
  assert.deepEqual(check, {
    interval: '10s', timeout: '2s', start_period: '30s', failure_threshold: 3, success_threshold: 1, type: 'http',
    http: { port: 8080, path: '/up', scheme: 'http', expected_status: 200 },
  })
  const plain = await create('plain', {})
  assert.equal('health_status' in plain || 'health_check' in plain, false)
})

test('a command is a check; one that fails leaves the instance Running and says why, and PATCH takes it away', async () => {
  const { id } = await create('ill', { health_check: { type: 'exec', exec: { command: ['exit', '3'] }, ...quick } })
  const ill = await until(id, 'it is unhealthy', one => one.health_status?.status === 'unhealthy')
  assert.equal(ill.state, 'Running')
  assert.match(ill.health_status?.last_error ?? '', /exit code 3/)
  const well = await server.request('PATCH', `/instances/${id}`, { body: { health_check: { type: 'exec', exec: { command: ['true'] }, ...quick } } })
  assert.equal(well.status, 200, well.text)
  await until(id, 'it is healthy', one => one.health_status?.status === 'healthy')
  const none = await server.request('PATCH', `/instances/${id}`, { body: { health_check: { type: 'none' } } })
  assert.equal('health_check' in (none.body as Shown), false, none.text)
})

test('with a restart policy it is started again, as often as the policy says', async () => {
  const { id } = await create('again', {
    entrypoint: ['deaf'],
    health_check: { type: 'tcp', tcp: { port: 80 }, ...quick },
    restart_policy: { policy: 'on_failure', backoff: '100ms', max_attempts: 2 },
  })
  await until(id, 'it was started again twice', one => one.restart_status?.attempts === 2 && one.health_status?.status === 'unhealthy')
  assert.equal((await shown(id)).state, 'Running')
})
