/** The contract of a store about transactions: all or nothing, one after the other, and the same request once. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { BerthError } from '../instance/errors.ts'
import type { ProjectId } from '../instance/model.ts'
import { type StoreBench, anId, HOST, anInstance, anEvent, aReservation, aVolume, refused } from './contract-fixture.ts'

export function describeTransactions(bench: StoreBench): void {
  describe('transactions', () => {
    test('what commits is there after a reopen, to the last digit', async () => {
      const instance = anInstance()
      const bare = anInstance({
        imageDigest: null,
        reason: null,
        hostId: null,
        address: null,
        exit: null,
        startedAt: null,
        annotations: {},
      })
      await bench.insert(instance, bare)
      const again = await bench.reopen()
      assert.deepEqual(await again.read.instance(instance.id), instance)
      assert.deepEqual(await again.read.instance(bare.id), bare)
    })

    test('a throw in the middle leaves nothing of any kind', async () => {
      const instance = anInstance()
      const volume = aVolume({ projectId: instance.projectId })
      const work = bench.store.transaction(async (tx) => {
        await tx.insertInstance(instance)
        await tx.appendEvent(anEvent(instance))
        await tx.putVolume(volume)
        await tx.putAttachment(volume.id, { instanceId: instance.id, path: '/d', mode: 'rw' })
        await tx.putReservation(aReservation(instance.id, { ports: ['tcp/80'] }))
        await tx.putIdempotent({ projectId: instance.projectId, key: 'k', requestHash: 'h', instanceId: instance.id, createdAt: 1 })
        assert.equal((await tx.reservations(HOST)).length, 1)
        throw new Error('on purpose')
      })
      await assert.rejects(work, /on purpose/)
      const { read } = await bench.reopen()
      assert.equal(await read.instance(instance.id), null)
      assert.equal(await read.countEvents({ projectId: null }), 0)
      assert.equal(await read.volume(volume.id), null)
      assert.deepEqual(await read.reservations(HOST), [])
    })

    test('one that throws among many at once takes no other with it', async () => {
      const instances = Array.from({ length: 60 }, () => anInstance())
      const results = await Promise.allSettled(
        instances.map((instance, index) =>
          bench.store.transaction(async (tx) => {
            await tx.insertInstance(instance)
            if (index % 3 === 0) throw new Error(`no ${index}`)
            await tx.appendEvent(anEvent(instance))
            return index
          }),
        ),
      )
      for (const [index, instance] of instances.entries()) {
        const result = results[index]
        const kept = await bench.store.read.instance(instance.id)
        if (index % 3 === 0) assert.deepEqual([result?.status, kept], ['rejected', null])
        else assert.deepEqual([result, kept], [{ status: 'fulfilled', value: index }, instance])
      }
      assert.equal(await bench.store.read.countEvents({ projectId: null }), 40)
    })

    test('reads outside see the last commit and nothing before it; reads inside see their own writes', async () => {
      const instance = anInstance()
      await bench.store.transaction(async (tx) => {
        await tx.insertInstance(instance)
        assert.equal(await bench.store.read.instance(instance.id), null)
        assert.deepEqual(await tx.instance(instance.id), instance)
      })
      assert.deepEqual(await bench.store.read.instance(instance.id), instance)
    })

    test('read-modify-writes at once all count: none reads what another is about to change', async () => {
      const instance = anInstance({ generation: 0 })
      await bench.insert(instance)
      const bump = () =>
        bench.store.transaction(async (tx) => {
          const now = await tx.instance(instance.id)
          assert.ok(now !== null)
          await new Promise((resolve) => setImmediate(resolve))
          await tx.updateInstance({ ...now, generation: now.generation + 1 })
        })
      await Promise.all(Array.from({ length: 100 }, bump))
      assert.equal((await bench.store.read.instance(instance.id))?.generation, 100)
    })

    test('a refusal that the work catches undoes only the refused write', async () => {
      const first = anInstance()
      const second = anInstance({ projectId: first.projectId }, { name: first.spec.name })
      await bench.store.transaction(async (tx) => {
        await tx.insertInstance(first)
        await refused('name_conflict', tx.insertInstance(second))
        await tx.insertInstance({ ...second, spec: { ...second.spec, name: 'other' } })
      })
      assert.equal(await bench.store.read.countInstances({ projectId: first.projectId }), 2)
    })

    test('a tx that is kept past its end is refused', async () => {
      const instance = anInstance()
      const late = await bench.store.transaction(async (tx) => () => tx.insertInstance(instance))
      assert.throws(late, (error: unknown) => error instanceof BerthError && /too late/.test(error.message))
    })

    test('a closed store refuses with shutting_down, after it finished what it had taken', async () => {
      const instance = anInstance()
      const taken = bench.insert(instance)
      await bench.store.close()
      await taken
      await refused('shutting_down', bench.insert(anInstance()))
      await refused('shutting_down', bench.store.read.instance(instance.id))
      const again = await bench.reopen()
      assert.deepEqual(await again.read.instance(instance.id), instance)
    })
  })

  describe('idempotency', () => {
    test('an answer is remembered by project and key until it is old', async () => {
      const record = { projectId: anId('project'), key: 'k', requestHash: 'h', instanceId: anId('instance'), createdAt: 1000 }
      const recall = (projectId: ProjectId, key: string) => bench.store.transaction((tx) => tx.idempotent(projectId, key))
      await bench.store.transaction((tx) => tx.putIdempotent(record))
      assert.deepEqual(await recall(record.projectId, 'k'), record)
      assert.equal(await recall(record.projectId, 'K'), null)
      assert.equal(await recall(anId('project'), 'k'), null)
      const yearLater = record.createdAt + 365 * 24 * 3_600_000
      await bench.store.transaction((tx) => tx.putIdempotent({ ...record, key: 'new', createdAt: yearLater }))
      assert.equal(await recall(record.projectId, 'k'), null)
      assert.equal((await recall(record.projectId, 'new'))?.createdAt, yearLater)
    })
  })
}
