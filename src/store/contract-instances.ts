/** The contract of a store about instances, their events, and what is reserved for them. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Reservation, Store } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { HostId, Instance, InstanceEvent, InstanceId } from '../instance/model.ts'
import { type StoreBench, anId, HOST, anInstance, anEvent, aReservation, refused } from './contract-fixture.ts'

export function describeInstances(bench: StoreBench): void {
  describe('instances', () => {
    test('a living name is unique in its project, and free again once its owner is deleted', async () => {
      const first = anInstance({}, { name: 'web' })
      const second = anInstance({ projectId: first.projectId }, { name: 'web' })
      await bench.insert(first, anInstance({}, { name: 'web' }))
      const error = await refused('name_conflict', bench.insert(second))
      assert.match(error.message, /web/)
      await bench.store.transaction((tx) => tx.updateInstance({ ...first, phase: 'deleted', desired: 'deleted', deletedAt: 5 }))
      await bench.insert(second)
      const living = await bench.store.read.instances({ projectId: first.projectId, name: 'web' })
      assert.deepEqual(living.map((instance) => instance.id), [second.id])
      const all = await bench.store.read.instances({ projectId: first.projectId, name: 'web', includeDeleted: true })
      assert.equal(all.length, 2)
    })

    test('a rename into a taken name is refused', async () => {
      const first = anInstance()
      const second = anInstance({ projectId: first.projectId })
      await bench.insert(first, second)
      const renamed = { ...second, spec: { ...second.spec, name: first.spec.name } }
      await refused('name_conflict', bench.store.transaction((tx) => tx.updateInstance(renamed)))
    })

    test('the same id twice is already_exists, an update of nothing is not_found', async () => {
      const instance = anInstance()
      await bench.insert(instance)
      await refused('already_exists', bench.insert({ ...anInstance(), id: instance.id }))
      await refused('not_found', bench.store.transaction((tx) => tx.updateInstance(anInstance())))
      assert.equal(await bench.store.read.instance(anId('instance')), null)
    })

    test('an update replaces the whole record', async () => {
      const instance = anInstance()
      await bench.insert(instance)
      const changed = { ...anInstance(), id: instance.id, phase: 'standby' as const, annotations: { x: 'y' } }
      await bench.store.transaction((tx) => tx.updateInstance(changed))
      assert.deepEqual(await bench.store.read.instance(instance.id), changed)
    })

    test('every filter narrows, alone and together, and counts agree', async () => {
      const projectId = anId('project')
      const a = anInstance({ projectId, phase: 'running', createdAt: 1, annotations: { svc: 'x', app: '1' } }, { name: 'a', tags: { env: 'prod', t: '1' } })
      const b = anInstance({ projectId, phase: 'standby', createdAt: 2, hostId: null, annotations: { svc: 'x' } }, { name: 'b', tags: { env: 'prod' } })
      const c = anInstance({ projectId, phase: 'deleted', createdAt: 3, annotations: {} }, { name: 'c', tags: { env: 'dev', "o'brien \"": '%_' } })
      const other = anInstance({ createdAt: 4 }, { name: 'a', tags: { env: 'prod' } })
      await bench.insert(a, b, c, other)
      const table: readonly (readonly [Parameters<Store['read']['instances']>[0], readonly Instance[]])[] = [
        [{ projectId }, [b, a]],
        [{ projectId: null }, [other, b, a]],
        [{ projectId, includeDeleted: true }, [c, b, a]],
        [{ projectId, order: 'oldest-first' }, [a, b]],
        [{ projectId, phases: ['running', 'standby'] }, [b, a]],
        [{ projectId, phases: ['standby'] }, [b]],
        [{ projectId, phases: [] }, []],
        [{ projectId, phases: ['deleted'] }, []],
        [{ projectId, phases: ['deleted'], includeDeleted: true }, [c]],
        [{ projectId: null, name: 'a' }, [other, a]],
        [{ projectId, name: 'A' }, []],
        [{ projectId, tags: { env: 'prod' } }, [b, a]],
        [{ projectId, tags: { env: 'prod', t: '1' } }, [a]],
        [{ projectId, tags: {} }, [b, a]],
        [{ projectId, tags: { env: 'pro' } }, []],
        [{ projectId, tags: { "o'brien \"": '%_' }, includeDeleted: true }, [c]],
        [{ projectId, annotations: { svc: 'x' } }, [b, a]],
        [{ projectId, annotations: { svc: 'x', app: '1' } }, [a]],
        [{ projectId, ids: [a.id, other.id, anId('instance')] }, [a]],
        [{ projectId, ids: [] }, []],
        [{ projectId: null, hostId: HOST }, [other, a]],
        [{ projectId, ids: [a.id, b.id], phases: ['running'], tags: { env: 'prod' }, name: 'a', hostId: HOST }, [a]],
      ]
      for (const [query, expected] of table) {
        const found = await bench.store.read.instances(query)
        assert.deepEqual(found.map((one) => one.spec.name), expected.map((one) => one.spec.name), JSON.stringify(query))
        assert.equal(await bench.store.read.countInstances(query), expected.length, JSON.stringify(query))
      }
    })

    test('10,000 instances, many made in the same millisecond, page without gap or repeat in either order', async () => {
      const projectId = anId('project')
      const instances = Array.from({ length: 10_000 }, (_, i) => anInstance({ projectId, createdAt: Math.floor(i / 50) }))
      await bench.insert(...instances)
      for (const order of ['newest-first', 'oldest-first'] as const) {
        const seen: Instance[] = []
        for (let offset = 0; ; offset += 999) {
          const page = await bench.store.read.instances({ projectId, order, limit: 999, offset })
          seen.push(...page)
          if (page.length < 999) break
        }
        assert.equal(new Set(seen.map((one) => one.id)).size, 10_000)
        const times = seen.map((one) => one.createdAt)
        const sorted = times.toSorted((a, b) => (order === 'newest-first' ? b - a : a - b))
        assert.deepEqual(times, sorted)
      }
      assert.equal((await bench.store.read.instances({ projectId, offset: 9_990 })).length, 10)
      assert.equal(await bench.store.read.countInstances({ projectId, limit: 3 }), 10_000)
    })
  })

  describe('events', () => {
    test('seq grows by one with each event of the installation, and never goes back', async () => {
      const one = anInstance()
      const two = anInstance()
      const first = await bench.append(anEvent(one), anEvent(two), anEvent(one, 'allocated', { from: 'pending', reason: 'r' }))
      assert.deepEqual(first.map((event) => event.seq), [1, 2, 3])
      await assert.rejects(
        bench.store.transaction(async (tx) => {
          await tx.appendEvent(anEvent(one))
          throw new Error('undone')
        }),
      )
      bench.store = await bench.reopen()
      const next = await bench.append(anEvent(two))
      assert.equal(next[0]?.seq, 4)
      assert.deepEqual(await bench.store.read.events({ projectId: null, limit: 3 }), first)
    })

    test('a cursor walks the list without gap or repeat, in either order, for one, several or all', async () => {
      const projectId = anId('project')
      const instances = Array.from({ length: 5 }, () => anInstance({ projectId }))
      const stranger = anInstance()
      const events: Omit<InstanceEvent, 'seq'>[] = []
      for (let i = 0; i < 500; i++) {
        const instance = i % 7 === 0 ? stranger : instances[i % 5]
        if (instance !== undefined) events.push(anEvent(instance, 'running', { at: i, kind: i % 4 === 0 ? 'note' : 'phase' }))
      }
      const all = await bench.append(...events)
      const chosen = instances.slice(1, 3).map((instance) => instance.id)
      const queries: readonly Parameters<Store['read']['events']>[0][] = [
        { projectId: null },
        { projectId },
        { projectId, instanceIds: chosen },
        { projectId, instanceIds: chosen.slice(0, 1) },
        { projectId: null, instanceIds: chosen, kinds: ['phase'] },
        { projectId, kinds: ['note'] },
        { projectId, instanceIds: [] },
        { projectId, instanceIds: [stranger.id] },
      ]
      for (const query of queries) {
        const expected = all.filter(
          (event) =>
            (query.projectId === null || event.projectId === query.projectId) &&
            (query.instanceIds?.includes(event.instanceId) ?? true) &&
            (query.kinds?.includes(event.kind) ?? true),
        )
        const walked: InstanceEvent[] = []
        for (let afterSeq = 0; ; afterSeq = walked.at(-1)?.seq ?? 0) {
          const page = await bench.store.read.events({ ...query, afterSeq, limit: 13 })
          walked.push(...page)
          if (page.length < 13) break
        }
        assert.deepEqual(walked, expected)
        assert.deepEqual(await bench.store.read.events({ ...query, order: 'newest-first' }), expected.toReversed())
        assert.deepEqual(await bench.store.read.events({ ...query, offset: 5, limit: 4 }), expected.slice(5, 9))
        assert.equal(await bench.store.read.countEvents(query), expected.length)
      }
    })
  })

  describe('reservations', () => {
    test('a reservation is replaced by put, ports and all, and gone after delete', async () => {
      const id = anId('instance')
      const full = aReservation(id, { ip: '10.9.0.2', ports: ['tcp/80', 'udp/53'] })
      await bench.store.transaction((tx) => tx.putReservation(full))
      assert.deepEqual(await bench.store.read.reservations(HOST), [full])
      const less = aReservation(id, { vcpus: 0, memoryBytes: 0, ip: '10.9.0.2', ports: ['tcp/81'] })
      await bench.store.transaction((tx) => tx.putReservation(less))
      assert.deepEqual(await bench.store.read.reservations(HOST), [less])
      await bench.store.transaction((tx) => tx.putReservation(aReservation(anId('instance'), { ports: ['tcp/80', 'udp/53'] })))
      assert.deepEqual(await bench.store.read.reservations('host-2' as HostId), [])
      await bench.store.transaction(async (tx) => {
        await tx.deleteReservation(id)
        await tx.putReservation(aReservation(anId('instance'), { ip: '10.9.0.2', ports: ['tcp/81'] }))
      })
      assert.equal((await bench.store.read.reservations(HOST)).length, 2)
    })

    test('what a host has given is summed without one instance, with all volumes, and its addresses are told', async () => {
      const [one, two] = [anId('instance'), anId('instance')]
      assert.deepEqual(await bench.store.read.usage(HOST, null), { vcpus: 0, memoryBytes: 0, diskBytes: 0, volumeBytes: 0, snapshotBytes: 0 })
      await bench.store.transaction(async (tx) => {
        await tx.putReservation(aReservation(one, { vcpus: 2, memoryBytes: 2 ** 40, diskBytes: 5, ip: '10.9.0.2' }))
        await tx.putReservation(aReservation(two, { vcpus: 3, memoryBytes: 2 ** 41, diskBytes: 7 }))
        await tx.putReservation(aReservation(anId('instance'), { hostId: 'host-2' as HostId, vcpus: 100, ip: '10.9.0.9' }))
      })
      assert.deepEqual(await bench.store.read.usage(HOST, null), { vcpus: 5, memoryBytes: 3 * 2 ** 40, diskBytes: 12, volumeBytes: 0, snapshotBytes: 0 })
      assert.deepEqual(await bench.store.read.usage(HOST, one), { vcpus: 3, memoryBytes: 2 ** 41, diskBytes: 7, volumeBytes: 0, snapshotBytes: 0 })
      assert.deepEqual(await bench.store.read.addresses(HOST), ['10.9.0.2'])
      assert.equal((await bench.store.read.reservation(one))?.ip, '10.9.0.2')
      assert.equal(await bench.store.read.reservation(anId('instance')), null)
    })

    test('slots are counted by region and type while they are held, without one instance', async () => {
      const inRegion = (type: string) => ({ slot: { region: 'far', type } })
      const [a, b, asleep] = [anId('instance'), anId('instance'), anId('instance')]
      await bench.store.transaction(async (tx) => {
        await tx.putReservation(aReservation(a, inRegion('small')))
        await tx.putReservation(aReservation(b, inRegion('small')))
        await tx.putReservation(aReservation(asleep, { ...inRegion('small'), vcpus: 0, memoryBytes: 0 }))
        await tx.putReservation(aReservation(anId('instance'), inRegion('large')))
        await tx.putReservation(aReservation(anId('instance')))
      })
      const use = async (except: InstanceId | null) => (await bench.store.read.slotUse(except)).toSorted((one, other) => (one.type < other.type ? -1 : 1))
      assert.deepEqual(await use(null), [{ region: 'far', type: 'large', used: 1 }, { region: 'far', type: 'small', used: 2 }])
      assert.deepEqual(await use(a), [{ region: 'far', type: 'large', used: 1 }, { region: 'far', type: 'small', used: 1 }])
      assert.deepEqual((await bench.store.read.reservation(asleep))?.slot, { region: 'far', type: 'small' })
    })

    test('of many that want the same port at once exactly one gets it, and the others are told which', async () => {
      const results = await Promise.allSettled(
        Array.from({ length: 20 }, () =>
          bench.store.transaction((tx) => tx.putReservation(aReservation(anId('instance'), { ports: ['tcp/9000', 'tcp/8080'] }))),
        ),
      )
      const failed = results.filter((result) => result.status === 'rejected')
      assert.equal(failed.length, 19)
      for (const { reason } of failed) {
        assert.ok(reason instanceof BerthError && reason.code === 'port_in_use')
        assert.match(reason.message, /tcp\/(9000|8080)/)
      }
      assert.equal((await bench.store.read.reservations(HOST)).length, 1)
      await bench.store.transaction(async (tx) => {
        await tx.putReservation(aReservation(anId('instance'), { hostId: 'host-2' as HostId, ports: ['tcp/8080'] }))
        await tx.putReservation(aReservation(anId('instance'), { ports: ['udp/8080'] }))
      })
    })

    test('an address is held by one instance of a host; having none is no conflict', async () => {
      const put = (change: Partial<Reservation>) => bench.store.transaction((tx) => tx.putReservation(aReservation(anId('instance'), change)))
      await put({ ip: '10.9.0.2' })
      await put({})
      await put({})
      await put({ ip: '10.9.0.2', hostId: 'host-2' as HostId })
      await refused('already_exists', put({ ip: '10.9.0.2' }))
      assert.equal((await bench.store.read.reservations(HOST)).length, 3)
    })
  })
}
