/**
 * Lists stay flat however many instances and events there are: every read behind them is answered from an index, in the
 * order of the list. The plans of the very statements that the store runs prove it; `npm run bench -- --only api` measures
 * it with a hundred thousand instances and a million events.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Store } from '../src/engine/store-port.ts'
import type { InstanceId, ProjectId } from '../src/instance/model.ts'
import { readEvents } from '../src/store/events.ts'
import { readInstances } from '../src/store/instances.ts'
import { openStore } from '../src/store/open.ts'
import { connectSqlite } from '../src/store/sqlite.ts'
import type { SqliteConnection } from '../src/store/sqlite.ts'
import { fillWithMany } from './support/many-instances.ts'

const COUNT = 1000
const PROJECT = '5f0e7e5e-3b1c-4a55-8f4b-6f7a4c3f9b10' as ProjectId
const SERVICE = '9a1c7e5e-3b1c-4a55-8f4b-6f7a4c3f9b10'
/** Tables that grow with the installation: no statement may go through all of one. */
const LARGE = ['instances', 'events']

type Reader = ReturnType<typeof readInstances> & ReturnType<typeof readEvents>

const dir = mkdtempSync(join(tmpdir(), 'ks-'))
const path = join(dir, 'berth.db')
let store: Store
let connection: SqliteConnection
let reader: Reader
/** What the reader had prepared since it was last looked at. */
let prepared: string[] = []

before(async () => {
  await fillWithMany(path, { projectId: PROJECT, serviceId: SERVICE, count: COUNT, phase: 'running' })
  store = await openStore({ path })
  connection = connectSqlite(path, 'read')
  const { raw } = connection
  const prepare = raw.prepare.bind(raw)
  raw.prepare = sql => {
    prepared.push(sql)
    return prepare(sql)
  }
  reader = { ...readInstances(connection.db), ...readEvents(connection.db) }
})
after(async () => {
  connection.raw.close()
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

const page = { projectId: PROJECT, order: 'oldest-first', limit: 100 } as const
const one = '00000007-0000-4000-8000-000000000000' as InstanceId
const READS: readonly (readonly [string, (read: Reader) => Promise<unknown>])[] = [
  ['a page of all instances', read => read.instances({ ...page, includeDeleted: true })],
  ['the newest page', read => read.instances({ ...page, order: 'newest-first', includeDeleted: true })],
  ['a page of the living', read => read.instances({ ...page, phases: ['running', 'unhealthy'] })],
  ['how many there are', read => read.countInstances({ projectId: PROJECT, includeDeleted: true })],
  ['how many run', read => read.countInstances({ projectId: PROJECT, phases: ['running'] })],
  ['a page of a service', read => read.instances({ ...page, includeDeleted: true, annotations: { service_id: SERVICE } })],
  ['how many a service has', read => read.countInstances({ projectId: PROJECT, includeDeleted: true, annotations: { service_id: SERVICE } })],
  ['a page of what no service made', read => read.instances({ ...page, includeDeleted: true, lacksAnnotation: 'service_id' })],
  ['one instance', read => read.instance(one)],
  ['the ids of a page', read => read.instanceIds({ ...page, includeDeleted: true })],
  ['a page of events', read => read.events({ projectId: PROJECT, limit: 101 })],
  ['the newest events', read => read.events({ projectId: PROJECT, order: 'newest-first', limit: 101 })],
  ['the events of one instance', read => read.events({ projectId: PROJECT, instanceIds: [one], limit: 101 })],
]

for (const [what, read] of READS) {
  test(`${what}: found through an index, in order`, async () => {
    prepared = []
    await read(reader)
    const statements = [...prepared]
    assert.ok(statements.length > 0, 'each read is a statement of its own')
    for (const sql of statements) {
      const steps = connection.raw.prepare(`explain query plan ${sql}`).all().map(row => String(row['detail']))
      for (const step of steps) {
        assert.ok(!LARGE.some(table => new RegExp(`^SCAN ${table}\\b`).test(step)), `${step} in ${sql}`)
        assert.doesNotMatch(step, /TEMP B-TREE/, sql)
      }
      assert.ok(steps.some(step => /^SEARCH \w+ USING/.test(step)), steps.join('; '))
    }
  })
}

test('counts are right after every kind of change', async () => {
  const living = await store.read.countInstances({ projectId: PROJECT })
  assert.equal(living, COUNT / 2)
  await store.transaction(async tx => {
    const instance = await tx.instance('00000000-0000-4000-8000-000000000000' as InstanceId)
    assert.ok(instance)
    await tx.updateInstance({ ...instance, phase: 'stopped' })
  })
  assert.equal(await store.read.countInstances({ projectId: PROJECT, phases: ['stopped'] }), 1)
  assert.equal(await store.read.countInstances({ projectId: PROJECT }), living)
  assert.equal(await store.read.countInstances({ projectId: PROJECT, includeDeleted: true }), COUNT)
})
