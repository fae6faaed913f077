/** Snapshots and forks over a real store and a simulated host: who may, what comes of it, and what is left over. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import fc from 'fast-check'
import type { Fixture } from '../../../test/engine-fixture.ts'
import { assertNothingLeaked, engineFixture, eventually, settle, SMALL } from '../../../test/engine-fixture.ts'
import type { Fault, HostCall } from '../../host/simulated/faults.ts'
import type { CopyItem } from '../host-port.ts'
import type { ErrorCode } from '../../instance/errors.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Instance, SnapshotId } from '../../instance/model.ts'
import type { Phase } from '../../instance/phase.ts'
import type { Caller, CreateInstance } from '../api.ts'

let fixture: Fixture
let caller: Caller
let names = 0

beforeEach(async () => {
  fixture = await engineFixture()
  caller = fixture.caller
})
afterEach(() => fixture.close())

async function reach(since: Instance, ...until: Phase[]): Promise<Instance> {
  const result = await fixture.engine.instances.wait(caller, since.id, { until, timeoutMs: 10_000, since })
  assert.ok(!result.timedOut && until.includes(result.instance.phase), `${until.join()} was not reached: ${result.instance.phase}, ${result.instance.reason}`)
  return result.instance
}

async function run(request: Partial<CreateInstance> = {}): Promise<Instance> {
  return reach(await fixture.engine.instances.create(caller, { ...SMALL, name: `n-${names++}`, ...request }), 'running')
}

async function refusedWith(code: ErrorCode, work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error: unknown) => error instanceof BerthError && error.code === code && error.message.endsWith('.'))
}

function failAlways(call: HostCall, fault: Partial<Fault> = {}): void {
  fixture.host.setFaults(asked => (asked.call === call ? ({ kind: 'before', code: 'disk_full', message: `The ${call} was made to fail.`, ...fault } as Fault) : null))
}

async function* oneFile(path: string, text: string): AsyncGenerator<CopyItem> {
  const data = Buffer.from(text)
  yield { type: 'entry', entry: { path, kind: 'file', mode: 0o644, uid: 0, gid: 0, sizeBytes: data.length, mtimeSeconds: 0, linkTarget: null } }
  yield { type: 'data', data }
}

async function readFile(id: Instance['id'], path: string): Promise<string> {
  let text = ''
  for await (const item of await fixture.engine.instances.copyOut(caller, id, path, { followLinks: false })) if (item.type === 'data') text += Buffer.from(item.data).toString()
  return text
}

describe('a fork', () => {
  test('of a running instance is another that runs, with its files, its own name and address, and not what only one can have', async () => {
    const source = await run({ tags: { team: 'a' }, env: { A: '1' }, hostname: 'source', annotations: { service_id: 's' }, expiresAt: Date.now() + 3_600_000, network: { enabled: true, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports: [{ hostPort: 18_080, guestPort: 80, protocol: 'tcp' }] } })
    await fixture.engine.instances.copyIn(caller, source.id, '/', oneFile('note', 'from the source'))
    await refusedWith('invalid_state', fixture.engine.snapshots.forkInstance(caller, source.id, { name: 'fork', fromRunning: false }))
    const fork = await reach(await fixture.engine.snapshots.forkInstance(caller, source.id, { name: 'fork', fromRunning: true }), 'running')
    assert.notEqual(fork.id, source.id)
    assert.notEqual(fork.address?.ip, source.address?.ip)
    assert.deepEqual([fork.spec.tags, fork.spec.env, fork.spec.hostname, fork.spec.network.ports, fork.spec.expiresAt, fork.annotations], [{ team: 'a' }, { A: '1' }, null, [], null, {}])
    assert.equal(fork.imageDigest, source.imageDigest)
    assert.equal(await readFile(fork.id, '/note'), 'from the source')
    assert.equal((await fixture.engine.instances.get(caller, source.id)).phase, 'running')
    const steps = await fixture.engine.events.list(caller, { instanceIds: [fork.id], kinds: ['phase'], order: 'oldest-first' })
    assert.deepEqual(steps.map(({ to }) => to), ['pending', 'allocated', 'preparing', 'restoring', 'running'])
    // The copy that it was made from is gone.
    await eventually(async () => (await fixture.host.snapshots()).length === 0, 'the transient snapshot goes')
    assert.deepEqual(await fixture.store.read.snapshots({ projectId: null }), [])
    await assertNothingLeaked(fixture)
  })

  const TARGETS: readonly [from: 'running' | 'standby' | 'stopped', target: 'running' | 'standby' | 'stopped' | undefined, ends: Phase | ErrorCode][] = [
    ['running', undefined, 'running'],
    ['running', 'standby', 'standby'],
    ['running', 'stopped', 'stopped'],
    ['standby', undefined, 'standby'],
    ['standby', 'running', 'running'],
    ['standby', 'stopped', 'stopped'],
    ['stopped', undefined, 'stopped'],
    ['stopped', 'running', 'running'],
    ['stopped', 'standby', 'invalid_state'],
  ]
  for (const [from, target, ends] of TARGETS) {
    test(`of one that is ${from}, with ${target ?? 'no'} target, ends ${ends}`, async () => {
      const source = await run()
      await fixture.engine.instances.copyIn(caller, source.id, '/', oneFile('note', 'kept'))
      if (from === 'standby') await reach(await fixture.engine.instances.standby(caller, source.id), 'standby')
      if (from === 'stopped') await reach(await fixture.engine.instances.stop(caller, source.id), 'stopped')
      const asked = fixture.engine.snapshots.forkInstance(caller, source.id, { name: 'fork', fromRunning: true, ...(target === undefined ? {} : { target }) })
      if (ends === 'invalid_state') return refusedWith(ends, asked)
      const fork = await reach(await asked, ends as Phase)
      if (fork.phase === 'standby') await reach(await fixture.engine.instances.restore(caller, fork.id), 'running')
      if (fork.phase === 'stopped') await reach(await fixture.engine.instances.start(caller, fork.id), 'running')
      assert.equal(await readFile(fork.id, '/note'), 'kept')
      assert.equal((await fixture.engine.instances.get(caller, source.id)).phase, from)
      await assertNothingLeaked(fixture)
    })
  }

  test('is refused with the name of another, with a name that is none and with a writable volume, and leaves nothing', async () => {
    const source = await run({ name: 'taken' })
    await refusedWith('name_conflict', fixture.engine.snapshots.forkInstance(caller, source.id, { name: 'taken', fromRunning: true }))
    await refusedWith('invalid_name', fixture.engine.snapshots.forkInstance(caller, source.id, { name: 'Not A Name', fromRunning: true }))
    const volume = await fixture.engine.volumes.create(caller, { name: 'v', sizeBytes: 16 * 2 ** 20 })
    const writer = await run({ volumes: [{ volumeId: volume.id, path: '/data', mode: 'rw', overlayBytes: null }] })
    await refusedWith('not_supported', fixture.engine.snapshots.forkInstance(caller, writer.id, { name: 'fork', fromRunning: true }))
    await refusedWith('not_supported', fixture.engine.snapshots.create(caller, writer.id, {}))
    assert.deepEqual(await fixture.store.read.snapshots({ projectId: null }), [])
    assert.equal(await fixture.engine.instances.count(caller), 2)
    assert.deepEqual(await fixture.host.snapshots(), [])
  })

  for (const call of ['takeSnapshot', 'applySnapshot', 'resume'] as const) {
    test(`tells why when the ${call} fails, and the source runs on`, async () => {
      const source = await run()
      failAlways(call)
      const asked = await fixture.engine.snapshots.forkInstance(caller, source.id, { name: 'fork', fromRunning: true })
      const result = await fixture.engine.instances.wait(caller, asked.id, { until: ['running'], timeoutMs: 10_000, since: asked })
      assert.equal(result.failure?.code, 'disk_full')
      assert.equal((await fixture.engine.instances.get(caller, source.id)).phase, 'running')
      fixture.host.setFaults(() => null)
      await reach(await fixture.engine.instances.delete(caller, asked.id), 'deleted')
      await eventually(async () => (await fixture.store.read.snapshots({ projectId: null })).length === 0, 'the transient snapshot goes')
      await assertNothingLeaked(fixture)
    })
  }

  test('that never ran keeps its disk when its first start fails', async () => {
    const source = await run()
    await fixture.engine.instances.copyIn(caller, source.id, '/', oneFile('note', 'kept'))
    const fork = await reach(await fixture.engine.snapshots.forkInstance(caller, source.id, { name: 'fork', fromRunning: true, target: 'stopped' }), 'stopped')
    failAlways('start')
    await reach(await fixture.engine.instances.start(caller, fork.id), 'failed')
    fixture.host.setFaults(() => null)
    await reach(await fixture.engine.instances.start(caller, fork.id), 'running')
    assert.equal(await readFile(fork.id, '/note'), 'kept')
  })
})

describe('a snapshot', () => {
  test('is named once an instance, found by what it is, outlives its source, and is deleted', async () => {
    const source = await run()
    const { snapshots } = fixture.engine
    await refusedWith('invalid_state', snapshots.create(caller, source.id, { kind: 'stopped' }))
    const first = await snapshots.create(caller, source.id, { name: 'first', tags: { a: '1' } })
    assert.deepEqual([first.status, first.kind, first.sourceName, first.name], ['ready', 'standby', source.spec.name, 'first'])
    assert.ok(first.sizeBytes > 0)
    await refusedWith('name_conflict', snapshots.create(caller, source.id, { name: 'first' }))
    assert.equal((await fixture.host.snapshots()).length, 1)
    await reach(await fixture.engine.instances.stop(caller, source.id), 'stopped')
    const second = await snapshots.create(caller, source.id, {})
    assert.equal(second.kind, 'stopped')
    const other = await run()
    await snapshots.create(caller, other.id, { name: 'first' })
    assert.deepEqual((await snapshots.list(caller, { sourceId: source.id })).map(({ id }) => id), [second.id, first.id])
    assert.deepEqual((await snapshots.list(caller, { kind: 'stopped' })).map(({ id }) => id), [second.id])
    assert.deepEqual((await snapshots.list(caller, { tags: { a: '1' } })).map(({ id }) => id), [first.id])
    assert.equal((await snapshots.list(caller, { name: 'first' })).length, 2)
    await reach(await fixture.engine.instances.delete(caller, source.id), 'deleted')
    const fork = await reach(await snapshots.forkSnapshot(caller, first.id, { name: 'late' }), 'running')
    assert.equal(fork.spec.image, source.spec.image)
    assert.deepEqual((await snapshots.get(caller, first.id)).id, first.id)
    await snapshots.delete(caller, first.id)
    await refusedWith('not_found', snapshots.get(caller, first.id))
    await refusedWith('not_found', snapshots.delete(caller, first.id))
    await refusedWith('not_found', snapshots.forkSnapshot(caller, first.id, { name: 'later' }))
    assert.equal((await fixture.host.snapshots()).length, 2)
    await assertNothingLeaked(fixture)
  })

  test('counts against the disk of its host, and keeps its image', async () => {
    await fixture.engine.images.pull(caller, { name: 'docker.io/library/kept:1' })
    await fixture.engine.images.wait(caller, 'docker.io/library/kept:1', { timeoutMs: 10_000 })
    const source = await run({ image: 'docker.io/library/kept:1' })
    const before = (await fixture.store.read.usage(fixture.host.id, null)).snapshotBytes
    const { id, sizeBytes } = await fixture.engine.snapshots.create(caller, source.id, {})
    assert.equal((await fixture.store.read.usage(fixture.host.id, null)).snapshotBytes, before + sizeBytes)
    await reach(await fixture.engine.instances.delete(caller, source.id), 'deleted')
    await refusedWith('image_in_use', fixture.engine.images.delete(caller, 'docker.io/library/kept:1'))
    await fixture.engine.snapshots.delete(caller, id)
    await fixture.engine.images.delete(caller, 'docker.io/library/kept:1')
  })

  test('that the host can’t take leaves nothing, and may be asked for again', async () => {
    const source = await run()
    failAlways('takeSnapshot', { kind: 'after' })
    await refusedWith('disk_full', fixture.engine.snapshots.create(caller, source.id, { name: 'one' }))
    assert.deepEqual(await fixture.engine.snapshots.list(caller), [])
    fixture.host.setFaults(() => null)
    assert.deepEqual(await fixture.host.snapshots(), [])
    await fixture.engine.snapshots.create(caller, source.id, { name: 'one' })
  })

  test('is gone back to: files and memory, in each state that was asked for', async () => {
    const source = await run()
    const { snapshots, instances } = fixture.engine
    await instances.copyIn(caller, source.id, '/', oneFile('note', 'then'))
    const { id } = await snapshots.create(caller, source.id, {})
    await refusedWith('invalid_state', snapshots.restore(caller, source.id, id))
    await instances.copyIn(caller, source.id, '/', oneFile('note', 'now'))
    await reach(await instances.stop(caller, source.id), 'stopped')
    await refusedWith('not_found', snapshots.restore(caller, source.id, crypto.randomUUID() as SnapshotId))
    const back = await reach(await snapshots.restore(caller, source.id, id), 'running')
    assert.deepEqual(back.address, source.address)
    assert.equal(await readFile(source.id, '/note'), 'then')
    for (const target of ['stopped', 'standby'] as const) {
      await reach(await instances.standby(caller, source.id), 'standby')
      await reach(await snapshots.restore(caller, source.id, id, { target }), target)
      await assertNothingLeaked(fixture)
      await reach(await (target === 'stopped' ? instances.start(caller, source.id) : instances.restore(caller, source.id)), 'running')
      assert.equal(await readFile(source.id, '/note'), 'then')
    }
    // Disks alone, of one that was stopped: it starts anew.
    await reach(await instances.stop(caller, source.id), 'stopped')
    const disks = await snapshots.create(caller, source.id, {})
    await refusedWith('invalid_state', snapshots.restore(caller, source.id, disks.id, { target: 'standby' }))
    await reach(await snapshots.restore(caller, source.id, disks.id), 'stopped')
    await reach(await snapshots.restore(caller, source.id, disks.id, { target: 'running' }), 'running')
    assert.equal(await readFile(source.id, '/note'), 'then')
    const other = await run()
    await reach(await instances.stop(caller, other.id), 'stopped')
    await refusedWith('invalid_request', snapshots.restore(caller, other.id, id))
    await assertNothingLeaked(fixture)
  })

  test('that can’t be gone back to leaves the instance as it was, and says why', async () => {
    const source = await run()
    const { snapshots, instances } = fixture.engine
    const { id } = await snapshots.create(caller, source.id, {})
    for (const rest of ['standby', 'stopped'] as const) {
      await reach(await (rest === 'standby' ? instances.standby(caller, source.id) : instances.stop(caller, source.id, { fromStandby: true })), rest)
      failAlways('applySnapshot')
      const asked = await snapshots.restore(caller, source.id, id)
      const result = await instances.wait(caller, source.id, { until: ['running'], timeoutMs: 10_000, since: asked })
      assert.deepEqual([result.failure?.code, result.instance.phase, result.instance.basis], ['disk_full', rest, null])
      fixture.host.setFaults(() => null)
      await settle(fixture)
    }
    await reach(await instances.start(caller, source.id), 'running')
    await assertNothingLeaked(fixture)
  })

  test('belongs to its project, and needs the scopes', async () => {
    const source = await run()
    const { snapshots } = fixture.engine
    const { id } = await snapshots.create(caller, source.id, {})
    const admin = { ...caller, scopes: ['read', 'write', 'admin'] as const }
    const stranger: Caller = { ...caller, projectId: (await fixture.engine.projects.create(admin, { name: 'other' })).id }
    await refusedWith('not_found', snapshots.get(stranger, id))
    await refusedWith('not_found', snapshots.delete(stranger, id))
    await refusedWith('not_found', snapshots.forkSnapshot(stranger, id, { name: 'mine' }))
    await refusedWith('not_found', snapshots.forkInstance(stranger, source.id, { name: 'mine', fromRunning: true }))
    assert.deepEqual(await snapshots.list(stranger), [])
    const reader: Caller = { ...caller, scopes: ['read'] }
    await refusedWith('forbidden', snapshots.create(reader, source.id, {}))
    await refusedWith('forbidden', snapshots.delete(reader, id))
    assert.equal((await snapshots.list(reader)).length, 1)
    const lines = await fixture.engine.audit.list(caller)
    assert.ok(lines.some(({ action, outcome }) => action === 'instance.snapshot' && outcome === 'ok'))
    assert.ok(lines.some(({ action, outcome }) => action === 'snapshot.delete' && outcome === 'forbidden'))
  })

  test('that is being used for a fork can’t be deleted; one that is being taken neither', async () => {
    const source = await run()
    const { snapshots } = fixture.engine
    const { id } = await snapshots.create(caller, source.id, {})
    fixture.host.setFaults(asked => (asked.call === 'applySnapshot' ? { kind: 'hang', effect: false } : null))
    const fork = await snapshots.forkSnapshot(caller, id, { name: 'fork' })
    await eventually(async () => (await fixture.engine.instances.get(caller, fork.id)).phase === 'preparing', 'the fork is prepared')
    await refusedWith('invalid_state', snapshots.delete(caller, id))
  })
})

test('whatever is asked of snapshots and instances in whatever order, every step is legal and nothing leaks', async () => {
  const verbs = ['snapshot', 'fork', 'fork-snapshot', 'restore', 'delete-snapshot', 'standby', 'wake', 'stop', 'start', 'delete'] as const
  await fc.assert(
    fc.asyncProperty(fc.array(fc.tuple(fc.constantFrom(...verbs), fc.nat(7), fc.constantFrom('running', 'standby', 'stopped', undefined)), { minLength: 4, maxLength: 14 }), async wishes => {
      const { snapshots, instances } = fixture.engine
      await run()
      const pick = <T>(list: readonly T[], index: number): T | undefined => list[index % Math.max(1, list.length)]
      const asks = wishes.map(async ([verb, index, target]) => {
        const instance = pick(await instances.list(caller), index)
        const snapshot = pick(await snapshots.list(caller), index)
        const more = target === undefined ? {} : { target }
        const name = `n-${names++}`
        if (instance === undefined) return
        if (verb === 'snapshot') await snapshots.create(caller, instance.id, {})
        else if (verb === 'fork') await snapshots.forkInstance(caller, instance.id, { name, fromRunning: true, ...more })
        else if (verb === 'standby' || verb === 'stop' || verb === 'start' || verb === 'delete') await instances[verb](caller, instance.id)
        else if (verb === 'wake') await instances.restore(caller, instance.id)
        else if (snapshot === undefined) return
        else if (verb === 'fork-snapshot') await snapshots.forkSnapshot(caller, snapshot.id, { name, ...more })
        else if (verb === 'restore') await snapshots.restore(caller, snapshot.sourceId, snapshot.id, more)
        else await snapshots.delete(caller, snapshot.id)
      })
      for (const done of await Promise.allSettled(asks)) {
        if (done.status === 'fulfilled') continue
        assert.ok(done.reason instanceof BerthError && ['invalid_state', 'not_found', 'name_conflict'].includes(done.reason.code), String(done.reason))
      }
      await settle(fixture)
      await eventually(async () => (await fixture.store.read.snapshots({ projectId: null })).every(({ isTransient }) => !isTransient), 'transient snapshots go')
      await assertNothingLeaked(fixture)
      for (const { id } of await snapshots.list(caller)) await snapshots.delete(caller, id)
      for (const { id } of await instances.list(caller)) await instances.delete(caller, id)
      await settle(fixture)
      assert.deepEqual(await fixture.host.snapshots(), [])
      assert.deepEqual(fixture.logged.filter(line => line.startsWith('error')), [])
    }),
    { numRuns: 25 },
  )
})
