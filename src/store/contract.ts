/** What every Store must do, as a suite of tests: `describeStore('on SQLite', makeStore)`. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import type { Reservation, Store } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { ErrorCode } from '../instance/errors.ts'
import { ID_BYTES, newId } from '../instance/ids.ts'
import type { IdKind } from '../instance/ids.ts'
import type { ApiKey, HostId, Image, ImageDigest, Instance, InstanceEvent, InstanceId, ProjectId, Volume, VolumeId } from '../instance/model.ts'
import type { Phase } from '../instance/phase.ts'

export interface StoreUnderTest {
  readonly store: Store
  /** Closes the store and opens another over the same data. */
  reopen(): Promise<Store>
  /** Closes and removes all. */
  dispose(): Promise<void>
}

export function anId<K extends IdKind>(kind: K) {
  return newId(kind, crypto.getRandomValues(new Uint8Array(ID_BYTES)))
}

export const HOST = 'host-1' as HostId

/** An instance with something in every field. */
export function anInstance(change: Partial<Instance> = {}, spec: Partial<Instance['spec']> = {}): Instance {
  return {
    id: anId('instance'),
    projectId: anId('project'),
    spec: {
      name: `i-${crypto.randomUUID()}`,
      image: 'alpine',
      vcpus: 2,
      memoryBytes: 2 ** 30,
      hotplugBytes: 0,
      overlayBytes: 10 * 2 ** 30,
      diskIoBytesPerSecond: null,
      env: { GREETING: 'héllo "wörld"\n\u0001' },
      entrypoint: null,
      cmd: ['sh', '-c', 'true'],
      user: null,
      workingDir: '/srv',
      hostname: null,
      network: {
        enabled: true,
        downloadBytesPerSecond: 125_000_000,
        uploadBytesPerSecond: null,
        ports: [{ hostPort: 8080, guestPort: 80, protocol: 'tcp' }],
      },
      volumes: [{ volumeId: anId('volume'), path: '/data', mode: 'overlay', overlayBytes: 2 ** 20 }],
      fileSystems: [{ fileSystemId: anId('fileSystem'), path: '/shared' }],
      firewallRulesets: [anId('firewallRuleset')],
      restart: { kind: 'on-failure', backoffMs: 5000, maxAttempts: 0, stableAfterMs: 600_000 },
      afterHostRestart: 'restart',
      tags: { team: 'blue', 'a "quoted" key': "it's" },
      sshKeys: [],
      stopGraceMs: 10_000,
      removeWhenStopped: false,
      expiresAt: 1_900_000_000_000.25,
      ...spec,
    },
    imageDigest: `sha256:${'a'.repeat(64)}` as ImageDigest,
    desired: 'running',
    phase: 'running',
    phaseSince: 1_800_000_000_000.125,
    reason: 'because',
    errorCode: null,
    hostId: HOST,
    address: { ip: '10.9.0.2', mac: '02:00:00:00:00:01', network: 'default' },
    basis: anId('snapshot'),
    generation: 3,
    exit: { code: 137, signal: 9, message: 'out of memory' },
    restartAttempts: 2,
    createdAt: 1_800_000_000_000,
    startedAt: 1_800_000_000_001.5,
    stoppedAt: null,
    deletedAt: null,
    origin: 'hypeman',
    annotations: { service: 'web' },
    ...change,
  }
}

export function anEvent(instance: Instance, to: Phase = 'pending', change: Partial<InstanceEvent> = {}): Omit<InstanceEvent, 'seq'> {
  return { instanceId: instance.id, projectId: instance.projectId, at: 1.5, kind: 'phase', from: null, to, reason: null, ...change }
}

export function aReservation(instanceId: InstanceId, change: Partial<Reservation> = {}): Reservation {
  return { instanceId, hostId: HOST, vcpus: 2, memoryBytes: 2 ** 31, diskBytes: 2 ** 33, ip: null, ports: [], slot: null, ...change }
}

export function aVolume(change: Partial<Volume> = {}): Volume {
  return {
    id: anId('volume'),
    projectId: anId('project'),
    name: 'data',
    sizeBytes: 2 ** 40,
    tags: { k: 'v' },
    status: 'ready',
    error: null,
    createdAt: 1.5,
    attachments: [],
    ...change,
  }
}

async function refused(code: ErrorCode, work: Promise<unknown>): Promise<BerthError> {
  const error: unknown = await work.then(
    () => assert.fail(`expected ${code}`),
    (reason: unknown) => reason,
  )
  assert.ok(error instanceof BerthError, String(error))
  assert.equal(error.code, code, error.message)
  return error
}

/** Runs the suite over stores that `make` opens, each empty. */
export function describeStore(name: string, make: () => Promise<StoreUnderTest>): void {
  describe(`a store ${name}`, () => {
    let under: StoreUnderTest
    let store: Store
    beforeEach(async () => {
      under = await make()
      store = under.store
    })
    afterEach(() => under.dispose())

    const insert = (...instances: readonly Instance[]) =>
      store.transaction(async (tx) => {
        for (const instance of instances) await tx.insertInstance(instance)
      })
    const append = (...events: readonly Omit<InstanceEvent, 'seq'>[]) =>
      store.transaction(async (tx) => {
        const appended: InstanceEvent[] = []
        for (const event of events) appended.push(await tx.appendEvent(event))
        return appended
      })

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
        await insert(instance, bare)
        const again = await under.reopen()
        assert.deepEqual(await again.read.instance(instance.id), instance)
        assert.deepEqual(await again.read.instance(bare.id), bare)
      })

      test('a throw in the middle leaves nothing of any kind', async () => {
        const instance = anInstance()
        const volume = aVolume({ projectId: instance.projectId })
        const work = store.transaction(async (tx) => {
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
        const { read } = await under.reopen()
        assert.equal(await read.instance(instance.id), null)
        assert.equal(await read.countEvents({ projectId: null }), 0)
        assert.equal(await read.volume(volume.id), null)
        assert.deepEqual(await read.reservations(HOST), [])
      })

      test('one that throws among many at once takes no other with it', async () => {
        const instances = Array.from({ length: 60 }, () => anInstance())
        const results = await Promise.allSettled(
          instances.map((instance, index) =>
            store.transaction(async (tx) => {
              await tx.insertInstance(instance)
              if (index % 3 === 0) throw new Error(`no ${index}`)
              await tx.appendEvent(anEvent(instance))
              return index
            }),
          ),
        )
        for (const [index, instance] of instances.entries()) {
          const result = results[index]
          const kept = await store.read.instance(instance.id)
          if (index % 3 === 0) assert.deepEqual([result?.status, kept], ['rejected', null])
          else assert.deepEqual([result, kept], [{ status: 'fulfilled', value: index }, instance])
        }
        assert.equal(await store.read.countEvents({ projectId: null }), 40)
      })

      test('reads outside see the last commit and nothing before it; reads inside see their own writes', async () => {
        const instance = anInstance()
        await store.transaction(async (tx) => {
          await tx.insertInstance(instance)
          assert.equal(await store.read.instance(instance.id), null)
          assert.deepEqual(await tx.instance(instance.id), instance)
        })
        assert.deepEqual(await store.read.instance(instance.id), instance)
      })

      test('read-modify-writes at once all count: none reads what another is about to change', async () => {
        const instance = anInstance({ generation: 0 })
        await insert(instance)
        const bump = () =>
          store.transaction(async (tx) => {
            const now = await tx.instance(instance.id)
            assert.ok(now !== null)
            await new Promise((resolve) => setImmediate(resolve))
            await tx.updateInstance({ ...now, generation: now.generation + 1 })
          })
        await Promise.all(Array.from({ length: 100 }, bump))
        assert.equal((await store.read.instance(instance.id))?.generation, 100)
      })

      test('a refusal that the work catches undoes only the refused write', async () => {
        const first = anInstance()
        const second = anInstance({ projectId: first.projectId }, { name: first.spec.name })
        await store.transaction(async (tx) => {
          await tx.insertInstance(first)
          await refused('name_conflict', tx.insertInstance(second))
          await tx.insertInstance({ ...second, spec: { ...second.spec, name: 'other' } })
        })
        assert.equal(await store.read.countInstances({ projectId: first.projectId }), 2)
      })

      test('a tx that is kept past its end is refused', async () => {
        const instance = anInstance()
        const late = await store.transaction(async (tx) => () => tx.insertInstance(instance))
        assert.throws(late, (error: unknown) => error instanceof BerthError && /too late/.test(error.message))
      })

      test('a closed store refuses with shutting_down, after it finished what it had taken', async () => {
        const instance = anInstance()
        const taken = insert(instance)
        await store.close()
        await taken
        await refused('shutting_down', insert(anInstance()))
        await refused('shutting_down', store.read.instance(instance.id))
        const again = await under.reopen()
        assert.deepEqual(await again.read.instance(instance.id), instance)
      })
    })

    describe('instances', () => {
      test('a living name is unique in its project, and free again once its owner is deleted', async () => {
        const first = anInstance({}, { name: 'web' })
        const second = anInstance({ projectId: first.projectId }, { name: 'web' })
        await insert(first, anInstance({}, { name: 'web' }))
        const error = await refused('name_conflict', insert(second))
        assert.match(error.message, /web/)
        await store.transaction((tx) => tx.updateInstance({ ...first, phase: 'deleted', desired: 'deleted', deletedAt: 5 }))
        await insert(second)
        const living = await store.read.instances({ projectId: first.projectId, name: 'web' })
        assert.deepEqual(living.map((instance) => instance.id), [second.id])
        const all = await store.read.instances({ projectId: first.projectId, name: 'web', includeDeleted: true })
        assert.equal(all.length, 2)
      })

      test('a rename into a taken name is refused', async () => {
        const first = anInstance()
        const second = anInstance({ projectId: first.projectId })
        await insert(first, second)
        const renamed = { ...second, spec: { ...second.spec, name: first.spec.name } }
        await refused('name_conflict', store.transaction((tx) => tx.updateInstance(renamed)))
      })

      test('the same id twice is already_exists, an update of nothing is not_found', async () => {
        const instance = anInstance()
        await insert(instance)
        await refused('already_exists', insert({ ...anInstance(), id: instance.id }))
        await refused('not_found', store.transaction((tx) => tx.updateInstance(anInstance())))
        assert.equal(await store.read.instance(anId('instance')), null)
      })

      test('an update replaces the whole record', async () => {
        const instance = anInstance()
        await insert(instance)
        const changed = { ...anInstance(), id: instance.id, phase: 'standby' as const, annotations: { x: 'y' } }
        await store.transaction((tx) => tx.updateInstance(changed))
        assert.deepEqual(await store.read.instance(instance.id), changed)
      })

      test('every filter narrows, alone and together, and counts agree', async () => {
        const projectId = anId('project')
        const a = anInstance({ projectId, phase: 'running', createdAt: 1, annotations: { svc: 'x', app: '1' } }, { name: 'a', tags: { env: 'prod', t: '1' } })
        const b = anInstance({ projectId, phase: 'standby', createdAt: 2, hostId: null, annotations: { svc: 'x' } }, { name: 'b', tags: { env: 'prod' } })
        const c = anInstance({ projectId, phase: 'deleted', createdAt: 3, annotations: {} }, { name: 'c', tags: { env: 'dev', "o'brien \"": '%_' } })
        const other = anInstance({ createdAt: 4 }, { name: 'a', tags: { env: 'prod' } })
        await insert(a, b, c, other)
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
          const found = await store.read.instances(query)
          assert.deepEqual(found.map((one) => one.spec.name), expected.map((one) => one.spec.name), JSON.stringify(query))
          assert.equal(await store.read.countInstances(query), expected.length, JSON.stringify(query))
        }
      })

      test('10,000 instances, many made in the same millisecond, page without gap or repeat in either order', async () => {
        const projectId = anId('project')
        const instances = Array.from({ length: 10_000 }, (_, i) => anInstance({ projectId, createdAt: Math.floor(i / 50) }))
        await insert(...instances)
        for (const order of ['newest-first', 'oldest-first'] as const) {
          const seen: Instance[] = []
          for (let offset = 0; ; offset += 999) {
            const page = await store.read.instances({ projectId, order, limit: 999, offset })
            seen.push(...page)
            if (page.length < 999) break
          }
          assert.equal(new Set(seen.map((one) => one.id)).size, 10_000)
          const times = seen.map((one) => one.createdAt)
          const sorted = times.toSorted((a, b) => (order === 'newest-first' ? b - a : a - b))
          assert.deepEqual(times, sorted)
        }
        assert.equal((await store.read.instances({ projectId, offset: 9_990 })).length, 10)
        assert.equal(await store.read.countInstances({ projectId, limit: 3 }), 10_000)
      })
    })

    describe('events', () => {
      test('seq grows by one with each event of the installation, and never goes back', async () => {
        const one = anInstance()
        const two = anInstance()
        const first = await append(anEvent(one), anEvent(two), anEvent(one, 'allocated', { from: 'pending', reason: 'r' }))
        assert.deepEqual(first.map((event) => event.seq), [1, 2, 3])
        await assert.rejects(
          store.transaction(async (tx) => {
            await tx.appendEvent(anEvent(one))
            throw new Error('undone')
          }),
        )
        store = await under.reopen()
        const next = await append(anEvent(two))
        assert.equal(next[0]?.seq, 4)
        assert.deepEqual(await store.read.events({ projectId: null, limit: 3 }), first)
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
        const all = await append(...events)
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
            const page = await store.read.events({ ...query, afterSeq, limit: 13 })
            walked.push(...page)
            if (page.length < 13) break
          }
          assert.deepEqual(walked, expected)
          assert.deepEqual(await store.read.events({ ...query, order: 'newest-first' }), expected.toReversed())
          assert.deepEqual(await store.read.events({ ...query, offset: 5, limit: 4 }), expected.slice(5, 9))
          assert.equal(await store.read.countEvents(query), expected.length)
        }
      })
    })

    describe('images', () => {
      const anImage = (change: Partial<Image> = {}): Image => ({
        projectId: 'p' as ProjectId,
        name: 'docker.io/library/alpine:latest',
        status: 'ready',
        digest: `sha256:${'b'.repeat(64)}` as ImageDigest,
        sizeBytes: 2 ** 33 + 1,
        config: { entrypoint: [], cmd: ['sh'], env: { A: 'b' }, workingDir: '/', user: '', stopSignal: null, exposedPorts: ['80/tcp'] },
        error: null,
        queuePosition: null,
        progress: 0.5,
        tags: { a: 'b' },
        createdAt: 1.25,
        updatedAt: 2.5,
        ...change,
      })

      test('an image is kept by project and name, replaced by put, gone after delete', async () => {
        const first = anImage()
        const pending = anImage({ projectId: 'q' as ProjectId, status: 'pending', digest: null, sizeBytes: null, config: null, queuePosition: 3, progress: null, createdAt: 9 })
        await store.transaction(async (tx) => {
          await tx.putImage(first)
          await tx.putImage(pending)
        })
        assert.deepEqual(await store.read.image(first.projectId, first.name), first)
        assert.deepEqual(await store.read.images(null), [pending, first])
        assert.deepEqual(await store.read.images(first.projectId), [first])
        const failed = { ...first, status: 'failed' as const, error: 'no such tag' }
        await store.transaction((tx) => tx.putImage(failed))
        assert.deepEqual(await store.read.images(first.projectId), [failed])
        await store.transaction((tx) => tx.deleteImage(first.projectId, first.name))
        assert.equal(await store.read.image(first.projectId, first.name), null)
        assert.deepEqual(await store.read.image(pending.projectId, pending.name), pending)
      })
    })

    describe('volumes', () => {
      test('attachments are kept apart from the volume, and a volume that has one can’t be deleted', async () => {
        const volume = aVolume()
        const [one, two] = [anId('instance'), anId('instance')].toSorted()
        assert.ok(one !== undefined && two !== undefined)
        await store.transaction(async (tx) => {
          await tx.putVolume(volume)
          await tx.putAttachment(volume.id, { instanceId: one, path: '/a', mode: 'ro' })
          await tx.putAttachment(volume.id, { instanceId: two, path: '/b', mode: 'ro' })
          await tx.putAttachment(volume.id, { instanceId: two, path: '/c', mode: 'overlay' })
        })
        const attachments = [
          { instanceId: one, path: '/a', mode: 'ro' },
          { instanceId: two, path: '/c', mode: 'overlay' },
        ]
        assert.deepEqual(await store.read.volume(volume.id), { ...volume, attachments })
        await store.transaction((tx) => tx.putVolume({ ...volume, status: 'failed', error: 'x' }))
        assert.deepEqual((await store.read.volume(volume.id))?.attachments, attachments)
        await refused('volume_in_use', store.transaction((tx) => tx.deleteVolume(volume.id)))
        await store.transaction(async (tx) => {
          await tx.deleteAttachment(volume.id, one)
          await tx.deleteAttachment(volume.id, two)
          await tx.deleteAttachment(volume.id, two)
          await tx.deleteVolume(volume.id)
        })
        assert.equal(await store.read.volume(volume.id), null)
        await refused('volume_not_found', store.transaction((tx) => tx.putAttachment(volume.id, { instanceId: one, path: '/a', mode: 'ro' })))
      })

      test('names may repeat, an id belongs to the project that had it first', async () => {
        const projectId = anId('project')
        const a = aVolume({ projectId, createdAt: 1 })
        const b = aVolume({ projectId, createdAt: 2, id: 'my.data_1' as VolumeId })
        const c = aVolume({ createdAt: 3 })
        await store.transaction(async (tx) => {
          for (const volume of [a, b, c]) await tx.putVolume(volume)
          await tx.putAttachment(b.id, { instanceId: 'i' as InstanceId, path: '/b', mode: 'rw' })
        })
        const attached = { ...b, attachments: [{ instanceId: 'i', path: '/b', mode: 'rw' }] }
        assert.deepEqual(await store.read.volumes({ projectId, name: 'data' }), [attached, a])
        assert.deepEqual(await store.read.volumes({ projectId: null }), [c, attached, a])
        assert.deepEqual(await store.read.volumes({ projectId, name: 'none' }), [])
        await refused('already_exists', store.transaction((tx) => tx.putVolume(aVolume({ id: b.id }))))
        assert.deepEqual(await store.read.volume(b.id), attached)
      })
    })

    describe('file systems and firewalls', () => {
      const rules = [{ protocol: 'tcp', ports: [22, 22], source: '0.0.0.0/0', description: 'é' }] as const

      test('a file system is kept whole, its name once in a project, its size with that of volumes', async () => {
        const one = { id: anId('fileSystem'), projectId: anId('project'), name: 'shared', region: 'home', sizeBytes: 2 ** 40, status: 'creating', createdAt: 1.5, createdBy: null } as const
        await store.transaction((tx) => tx.putFileSystem(one))
        assert.deepEqual(await store.read.fileSystem(one.id), one)
        assert.equal((await store.read.usage(HOST, null)).volumeBytes, 2 ** 40)
        await refused('name_conflict', store.transaction((tx) => tx.putFileSystem({ ...one, id: anId('fileSystem') })))
        const elsewhere = { ...one, id: anId('fileSystem'), projectId: anId('project'), createdBy: anId('key') }
        await store.transaction((tx) => tx.putFileSystem(elsewhere))
        await store.transaction((tx) => tx.putFileSystem({ ...one, status: 'ready' }))
        assert.deepEqual(await store.read.fileSystems(one.projectId), [{ ...one, status: 'ready' }])
        assert.equal((await store.read.fileSystems(null)).length, 2)
        await store.transaction((tx) => tx.deleteFileSystem(one.id))
        assert.equal(await store.read.fileSystem(one.id), null)
        assert.deepEqual(await store.read.fileSystems(elsewhere.projectId), [elsewhere])
      })

      test('what living instances of a project use is told, and nothing of the dead or of others', async () => {
        const projectId = anId('project')
        const [fileSystemId, rulesetId] = [anId('fileSystem'), anId('firewallRuleset')]
        const uses = { fileSystems: [{ fileSystemId, path: '/x' }, { fileSystemId: anId('fileSystem'), path: '/y' }], firewallRulesets: [rulesetId] }
        const living = anInstance({ projectId }, uses)
        const guarded = anInstance({ projectId, createdAt: 1_900_000_000_000 }, { fileSystems: [], firewallRulesets: [] })
        await insert(living, guarded, anInstance({ projectId }, { fileSystems: [], firewallRulesets: null }), anInstance({ projectId, phase: 'deleted' }, uses), anInstance({}, uses))
        assert.deepEqual(
          await store.read.fileSystemUsers(projectId),
          uses.fileSystems.map((mount) => ({ instanceId: living.id, fileSystemId: mount.fileSystemId })),
        )
        assert.deepEqual(await store.read.firewallUsers(projectId), [
          { instanceId: living.id, rulesetIds: [rulesetId] },
          { instanceId: guarded.id, rulesetIds: [] },
        ])
        assert.equal((await store.read.firewallUsers(null)).length, 3)
      })

      test('rulesets and the global rules of a project are kept, replaced and deleted', async () => {
        const projectId = anId('project')
        assert.equal(await store.read.globalFirewallRules(projectId), null)
        for (const wanted of [rules, []]) {
          await store.transaction((tx) => tx.putGlobalFirewallRules(projectId, wanted))
          assert.deepEqual(await store.read.globalFirewallRules(projectId), wanted)
        }
        const one = { id: anId('firewallRuleset'), projectId, name: 'web', region: 'home', rules, createdAt: 1.5 }
        await store.transaction((tx) => tx.putFirewallRuleset(one))
        await store.transaction((tx) => tx.putFirewallRuleset({ ...one, id: anId('firewallRuleset'), createdAt: 2 }))
        await store.transaction((tx) => tx.putFirewallRuleset({ ...one, name: 'www', rules: [] }))
        const kept = await store.read.firewallRulesets(projectId)
        assert.deepEqual(kept[0], { ...one, name: 'www', rules: [] })
        assert.equal(kept[1]?.name, 'web')
        await store.transaction((tx) => tx.deleteFirewallRuleset(one.id))
        assert.deepEqual((await store.read.firewallRulesets(projectId)).map(({ name }) => name), ['web'])
        assert.deepEqual(await store.read.firewallRulesets(anId('project')), [])
      })
    })

    describe('projects and keys', () => {
      test('a project is replaced by put and listed oldest first', async () => {
        const one = { id: anId('project'), name: 'one', guestToGuest: false, createdAt: 1 }
        const two = { id: anId('project'), name: 'two', guestToGuest: true, createdAt: 2 }
        await store.transaction(async (tx) => {
          await tx.putProject(two)
          await tx.putProject(one)
          await tx.putProject({ ...one, name: 'uno', guestToGuest: true })
        })
        assert.deepEqual(await store.read.projects(), [{ ...one, name: 'uno', guestToGuest: true }, two])
        assert.deepEqual(await store.read.project(two.id), two)
        assert.equal(await store.read.project(anId('project')), null)
      })

      test('a key is found by its hash, which no other key can have', async () => {
        const key: ApiKey = {
          id: anId('key'),
          projectId: anId('project'),
          name: 'ci',
          scopes: ['read', 'exec'],
          createdAt: 1,
          audience: ['mcp'],
          lastUsedAt: null,
          expiresAt: 2.5,
        }
        await store.transaction((tx) => tx.putKey(key, 'hash-1'))
        assert.deepEqual(await store.read.keyByHash('hash-1'), key)
        assert.equal(await store.read.keyByHash('hash-2'), null)
        await refused('already_exists', store.transaction((tx) => tx.putKey({ ...key, id: anId('key') }, 'hash-1')))
        const used = { ...key, lastUsedAt: 9 }
        await store.transaction((tx) => tx.putKey(used, 'hash-1'))
        assert.deepEqual(await store.read.keys(key.projectId), [used])
        assert.deepEqual(await store.read.keys(anId('project')), [])
        await store.transaction((tx) => tx.deleteKey(key.id))
        assert.deepEqual(await store.read.keys(null), [])
      })
    })

    describe('reservations', () => {
      test('a reservation is replaced by put, ports and all, and gone after delete', async () => {
        const id = anId('instance')
        const full = aReservation(id, { ip: '10.9.0.2', ports: ['tcp/80', 'udp/53'] })
        await store.transaction((tx) => tx.putReservation(full))
        assert.deepEqual(await store.read.reservations(HOST), [full])
        const less = aReservation(id, { vcpus: 0, memoryBytes: 0, ip: '10.9.0.2', ports: ['tcp/81'] })
        await store.transaction((tx) => tx.putReservation(less))
        assert.deepEqual(await store.read.reservations(HOST), [less])
        await store.transaction((tx) => tx.putReservation(aReservation(anId('instance'), { ports: ['tcp/80', 'udp/53'] })))
        assert.deepEqual(await store.read.reservations('host-2' as HostId), [])
        await store.transaction(async (tx) => {
          await tx.deleteReservation(id)
          await tx.putReservation(aReservation(anId('instance'), { ip: '10.9.0.2', ports: ['tcp/81'] }))
        })
        assert.equal((await store.read.reservations(HOST)).length, 2)
      })

      test('what a host has given is summed without one instance, with all volumes, and its addresses are told', async () => {
        const [one, two] = [anId('instance'), anId('instance')]
        assert.deepEqual(await store.read.usage(HOST, null), { vcpus: 0, memoryBytes: 0, diskBytes: 0, volumeBytes: 0, snapshotBytes: 0 })
        await store.transaction(async (tx) => {
          await tx.putReservation(aReservation(one, { vcpus: 2, memoryBytes: 2 ** 40, diskBytes: 5, ip: '10.9.0.2' }))
          await tx.putReservation(aReservation(two, { vcpus: 3, memoryBytes: 2 ** 41, diskBytes: 7 }))
          await tx.putReservation(aReservation(anId('instance'), { hostId: 'host-2' as HostId, vcpus: 100, ip: '10.9.0.9' }))
        })
        assert.deepEqual(await store.read.usage(HOST, null), { vcpus: 5, memoryBytes: 3 * 2 ** 40, diskBytes: 12, volumeBytes: 0, snapshotBytes: 0 })
        assert.deepEqual(await store.read.usage(HOST, one), { vcpus: 3, memoryBytes: 2 ** 41, diskBytes: 7, volumeBytes: 0, snapshotBytes: 0 })
        assert.deepEqual(await store.read.addresses(HOST), ['10.9.0.2'])
        assert.equal((await store.read.reservation(one))?.ip, '10.9.0.2')
        assert.equal(await store.read.reservation(anId('instance')), null)
      })

      test('slots are counted by region and type while they are held, without one instance', async () => {
        const inRegion = (type: string) => ({ slot: { region: 'far', type } })
        const [a, b, asleep] = [anId('instance'), anId('instance'), anId('instance')]
        await store.transaction(async (tx) => {
          await tx.putReservation(aReservation(a, inRegion('small')))
          await tx.putReservation(aReservation(b, inRegion('small')))
          await tx.putReservation(aReservation(asleep, { ...inRegion('small'), vcpus: 0, memoryBytes: 0 }))
          await tx.putReservation(aReservation(anId('instance'), inRegion('large')))
          await tx.putReservation(aReservation(anId('instance')))
        })
        const use = async (except: InstanceId | null) => (await store.read.slotUse(except)).toSorted((one, other) => (one.type < other.type ? -1 : 1))
        assert.deepEqual(await use(null), [{ region: 'far', type: 'large', used: 1 }, { region: 'far', type: 'small', used: 2 }])
        assert.deepEqual(await use(a), [{ region: 'far', type: 'large', used: 1 }, { region: 'far', type: 'small', used: 1 }])
        assert.deepEqual((await store.read.reservation(asleep))?.slot, { region: 'far', type: 'small' })
      })

      test('of many that want the same port at once exactly one gets it, and the others are told which', async () => {
        const results = await Promise.allSettled(
          Array.from({ length: 20 }, () =>
            store.transaction((tx) => tx.putReservation(aReservation(anId('instance'), { ports: ['tcp/9000', 'tcp/8080'] }))),
          ),
        )
        const failed = results.filter((result) => result.status === 'rejected')
        assert.equal(failed.length, 19)
        for (const { reason } of failed) {
          assert.ok(reason instanceof BerthError && reason.code === 'port_in_use')
          assert.match(reason.message, /tcp\/(9000|8080)/)
        }
        assert.equal((await store.read.reservations(HOST)).length, 1)
        await store.transaction(async (tx) => {
          await tx.putReservation(aReservation(anId('instance'), { hostId: 'host-2' as HostId, ports: ['tcp/8080'] }))
          await tx.putReservation(aReservation(anId('instance'), { ports: ['udp/8080'] }))
        })
      })

      test('an address is held by one instance of a host; having none is no conflict', async () => {
        const put = (change: Partial<Reservation>) => store.transaction((tx) => tx.putReservation(aReservation(anId('instance'), change)))
        await put({ ip: '10.9.0.2' })
        await put({})
        await put({})
        await put({ ip: '10.9.0.2', hostId: 'host-2' as HostId })
        await refused('already_exists', put({ ip: '10.9.0.2' }))
        assert.equal((await store.read.reservations(HOST)).length, 3)
      })
    })

    describe('idempotency', () => {
      test('an answer is remembered by project and key until it is old', async () => {
        const record = { projectId: anId('project'), key: 'k', requestHash: 'h', instanceId: anId('instance'), createdAt: 1000 }
        const recall = (projectId: ProjectId, key: string) => store.transaction((tx) => tx.idempotent(projectId, key))
        await store.transaction((tx) => tx.putIdempotent(record))
        assert.deepEqual(await recall(record.projectId, 'k'), record)
        assert.equal(await recall(record.projectId, 'K'), null)
        assert.equal(await recall(anId('project'), 'k'), null)
        const yearLater = record.createdAt + 365 * 24 * 3_600_000
        await store.transaction((tx) => tx.putIdempotent({ ...record, key: 'new', createdAt: yearLater }))
        assert.equal(await recall(record.projectId, 'k'), null)
        assert.equal((await recall(record.projectId, 'new'))?.createdAt, yearLater)
      })
    })
  })
}
