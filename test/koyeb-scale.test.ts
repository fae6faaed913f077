/**
 * Lists stay flat: with a hundred thousand instances and a million events, a page costs what it costs with a
 * thousand. Both are measured in one run, one after the other, so that a slow machine slows both; a list that looks at
 * all rows would be a hundred times slower, and eight times is already a failure.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, test } from 'node:test'
import type { Store } from '../src/engine/store-port.ts'
import type { InstanceId, ProjectId } from '../src/instance/model.ts'
import { openStore } from '../src/store/open.ts'

const FEW = 1000
const MANY = 100_000
const EVENTS_EACH = 10
const PROJECT = '5f0e7e5e-3b1c-4a55-8f4b-6f7a4c3f9b10' as ProjectId
const SERVICE = '9a1c7e5e-3b1c-4a55-8f4b-6f7a4c3f9b10'
/** Of the medians of many runs. */
const SLACK = 8
const RUNS = 31

const dir = mkdtempSync(join(tmpdir(), 'ks-'))
let few: Store
let many: Store

before(async () => {
  few = await filled(join(dir, 'few.db'), FEW)
  many = await filled(join(dir, 'many.db'), MANY)
})
after(async () => {
  await Promise.all([few.close(), many.close()])
  rmSync(dir, { recursive: true, force: true })
})

/** A store with that many instances, one in ten of them in a service, each with its events. */
async function filled(path: string, count: number): Promise<Store> {
  await (await openStore({ path })).close()
  const raw = new DatabaseSync(path)
  raw.exec('PRAGMA synchronous=OFF')
  const numbers = `with recursive numbers(n) as (select 0 union all select n + 1 from numbers where n + 1 < ${count})`
  raw.exec(`${numbers} insert into instances
    (id, project_id, name, tags, spec, image_digest, desired, phase, phase_since, reason, error_code, host_id, address, generation, exit,
     restart_attempts, created_at, started_at, stopped_at, deleted_at, origin, annotations)
    select printf('%08x-0000-4000-8000-000000000000', n), '${PROJECT}', 'name-' || n, '{}', '{"name":"x"}', null, 'running',
     case when n % 2 = 0 then 'running' else 'deleted' end, n, null, null, null, null, 1, null, 0, n, n, null, null, 'test',
     case when n < 500 then '{"service_id":"${SERVICE}","replica_index":"0"}' else '{}' end
    from numbers`)
  raw.exec(`with recursive numbers(n) as (select 0 union all select n + 1 from numbers where n + 1 < ${count * EVENTS_EACH}) insert into events
    (instance_id, project_id, at, kind, from_phase, to_phase, reason)
    select printf('%08x-0000-4000-8000-000000000000', n / ${EVENTS_EACH}), '${PROJECT}', n, 'phase', null, 'running', null from numbers`)
  raw.close()
  return openStore({ path })
}

const page = { projectId: PROJECT, order: 'oldest-first', limit: 100 } as const
const one = '00000007-0000-4000-8000-000000000000' as InstanceId
const READS: readonly (readonly [string, (store: Store) => Promise<unknown>])[] = [
  ['a page of all instances', store => store.read.instances({ ...page, includeDeleted: true })],
  ['the newest page', store => store.read.instances({ ...page, order: 'newest-first', includeDeleted: true })],
  ['a page of the living', store => store.read.instances({ ...page, phases: ['running', 'unhealthy'] })],
  ['how many there are', store => store.read.countInstances({ projectId: PROJECT, includeDeleted: true })],
  ['how many run', store => store.read.countInstances({ projectId: PROJECT, phases: ['running'] })],
  ['a page of a service', store => store.read.instances({ ...page, includeDeleted: true, annotations: { service_id: SERVICE } })],
  ['how many a service has', store => store.read.countInstances({ projectId: PROJECT, includeDeleted: true, annotations: { service_id: SERVICE } })],
  ['a page of what no service made', store => store.read.instances({ ...page, includeDeleted: true, lacksAnnotation: 'service_id' })],
  ['a page of events', store => store.read.events({ projectId: PROJECT, limit: 101 })],
  ['the newest events', store => store.read.events({ projectId: PROJECT, order: 'newest-first', limit: 101 })],
  ['the events of one instance', store => store.read.events({ projectId: PROJECT, instanceIds: [one], limit: 101 })],
]

for (const [what, read] of READS) {
  test(`${what} costs the same with ${MANY} instances as with ${FEW}`, async t => {
    const [small, large] = [await medianMs(few, read), await medianMs(many, read)]
    t.diagnostic(`${FEW}: ${small.toFixed(3)} ms, ${MANY}: ${large.toFixed(3)} ms`)
    assert.ok(large <= Math.max(small, 0.2) * SLACK, `${small} ms became ${large} ms`)
  })
}

test('counts are right after every kind of change', async () => {
  const living = await many.read.countInstances({ projectId: PROJECT })
  assert.equal(living, MANY / 2)
  await many.transaction(async tx => {
    const instance = await tx.instance('00000000-0000-4000-8000-000000000000' as InstanceId)
    assert.ok(instance)
    await tx.updateInstance({ ...instance, phase: 'stopped' })
  })
  assert.equal(await many.read.countInstances({ projectId: PROJECT, phases: ['stopped'] }), 1)
  assert.equal(await many.read.countInstances({ projectId: PROJECT }), living)
  assert.equal(await many.read.countInstances({ projectId: PROJECT, includeDeleted: true }), MANY)
})

async function medianMs(store: Store, read: (store: Store) => Promise<unknown>): Promise<number> {
  const times: number[] = []
  for (let run = 0; run < RUNS; run++) {
    const started = performance.now()
    await read(store)
    times.push(performance.now() - started)
  }
  return times.toSorted((a, b) => a - b)[RUNS >> 1] ?? 0
}
