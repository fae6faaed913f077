/** The cache over a real database: what it returns is always what the last commit left. */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { after, before, test } from 'node:test'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Store } from '../engine/store-port.ts'
import type { Instance, InstanceId } from '../instance/model.ts'
import { anInstance } from './contract-fixture.ts'
import { openStore } from './open.ts'

const dir = mkdtempSync(join(tmpdir(), 'berth-cache-'))
const path = join(dir, 'berth.db')
let store: Store
const all: Instance[] = []

before(async () => {
  store = await openStore({ path })
  await store.transaction(async (tx) => {
    for (let at = 0; at < 5; at++) {
      const instance = anInstance({ projectId: 'p' as Instance['projectId'], createdAt: at })
      all.push(instance)
      await tx.insertInstance(instance)
    }
  })
})
after(async () => {
  await store.close()
  rmSync(dir, { recursive: true, force: true })
})

const PAGE = { projectId: 'p' as Instance['projectId'], order: 'oldest-first', limit: 3 } as const
const first = (): Instance => all[0] ?? assert.fail()

test('two reads without a commit in between give the same object, alone and in lists', async () => {
  const one = await store.read.instance(first().id)
  assert.deepEqual(one, first())
  assert.equal(await store.read.instance(first().id), one)
  const page = await store.read.instances(PAGE)
  assert.equal(page[0], one)
  assert.deepEqual(page, all.slice(0, 3))
  assert.deepEqual(await store.read.instances({ ...PAGE, offset: 3 }), all.slice(3))
  assert.equal(await store.read.instance('nobody' as InstanceId), null)
})

test('after a commit the new record is read, whoever made it', async () => {
  await store.read.instance(first().id)
  await store.transaction((tx) => tx.updateInstance({ ...first(), reason: 'changed here' }))
  assert.equal((await store.read.instance(first().id))?.reason, 'changed here')
  assert.equal((await store.read.instances(PAGE))[0]?.reason, 'changed here')
  const other = new DatabaseSync(path)
  other.exec(`update instances set reason = 'changed elsewhere' where id = '${first().id}'`)
  other.close()
  // What another process writes is seen in the next turn of the event loop.
  await nextTurn()
  assert.equal((await store.read.instance(first().id))?.reason, 'changed elsewhere')
  assert.equal((await store.read.instances(PAGE))[0]?.reason, 'changed elsewhere')
})

test('reads that commits overtake never leave an older record behind', async () => {
  for (let round = 0; round < 200; round++) {
    const reason = `round ${round}`
    const reads = [store.read.instance(first().id), store.read.instances(PAGE)]
    const written = store.transaction((tx) => tx.updateInstance({ ...first(), reason }))
    reads.push(store.read.instance(first().id), store.read.instances(PAGE))
    await Promise.all([written, ...reads])
    assert.equal((await store.read.instance(first().id))?.reason, reason)
    assert.equal((await store.read.instances(PAGE))[0]?.reason, reason)
  }
})

test('a list that was read before has who came and lacks who went', async () => {
  const wish = { ...PAGE, order: 'newest-first', limit: 2 } as const
  await store.read.instances(wish)
  const late = anInstance({ projectId: 'p' as Instance['projectId'], createdAt: 99 })
  await store.transaction((tx) => tx.insertInstance(late))
  assert.equal((await store.read.instances(wish))[0]?.id, late.id)
  await store.transaction((tx) => tx.updateInstance({ ...late, phase: 'deleted', deletedAt: 100 }))
  assert.deepEqual((await store.read.instances(wish)).map(({ id }) => id), [all[4]?.id, all[3]?.id])
})
