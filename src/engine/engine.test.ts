/** The engine's promises to its callers, one by one, over a real store and a simulated host. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import type { Fixture } from '../../test/engine-fixture.ts'
import { assertNothingLeaked, engineFixture, eventually, settle, SMALL } from '../../test/engine-fixture.ts'
import type { Fault, HostCall } from '../host/simulated/faults.ts'
import type { ErrorCode } from '../instance/errors.ts'
import { BerthError } from '../instance/errors.ts'
import type { Instance, InstanceId, ProjectId } from '../instance/model.ts'
import type { Phase } from '../instance/phase.ts'
import type { Caller, CreateInstance } from './api.ts'

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
  assert.ok(!result.timedOut, `${until.join()} was not reached: ${result.instance.phase}`)
  return result.instance
}

async function run(request: Partial<CreateInstance> = {}): Promise<Instance> {
  const created = await fixture.engine.instances.create(caller, { ...SMALL, name: `n-${names++}`, ...request })
  return reach(created, 'running')
}

async function refusedWith(code: ErrorCode, work: Promise<unknown>, details?: object): Promise<BerthError> {
  const error = await work.then(
    () => assert.fail(`it was not refused with ${code}`),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof BerthError, String(error))
  assert.equal(error.code, code, error.message)
  if (details !== undefined) assert.deepEqual(error.details, details)
  return error
}

function failOnce(call: HostCall, fault: Partial<Fault> = {}): void {
  let used = false
  fixture.host.setFaults(asked => {
    if (used || asked.call !== call) return null
    used = true
    return { kind: 'before', code: 'guest_unreachable', message: `the ${call} was made to fail`, ...fault } as Fault
  })
}

describe('the life of an instance', () => {
  test('goes through every phase in order, each with its event', async () => {
    const made = await run()
    await reach(await fixture.engine.instances.standby(caller, made.id), 'standby')
    await reach(await fixture.engine.instances.restore(caller, made.id), 'running')
    const stopped = await reach(await fixture.engine.instances.stop(caller, made.id), 'stopped')
    assert.equal(stopped.exit?.signal, 15)
    await reach(await fixture.engine.instances.delete(caller, made.id), 'deleted')
    const events = await fixture.engine.events.list(caller, { instanceIds: [made.id], kinds: ['phase'], order: 'oldest-first' })
    assert.deepEqual(
      events.map(event => event.to),
      ['pending', 'allocated', 'preparing', 'starting', 'running', 'suspending', 'standby', 'restoring', 'running', 'stopping', 'stopped', 'deleting', 'deleted'],
    )
    await assertNothingLeaked(fixture)
  })

  test('keeps its address and MAC through stop, start, standby and restore', async () => {
    const { id, address } = await run()
    await reach(await fixture.engine.instances.stop(caller, id), 'stopped')
    assert.deepEqual((await reach(await fixture.engine.instances.start(caller, id), 'running')).address, address)
    await reach(await fixture.engine.instances.standby(caller, id), 'standby')
    assert.deepEqual((await reach(await fixture.engine.instances.restore(caller, id), 'running')).address, address)
  })

  const REFUSED: readonly [Phase, 'start' | 'stop' | 'standby' | 'restore' | 'restart'][] = [
    ['running', 'start'],
    ['running', 'restore'],
    ['stopped', 'stop'],
    ['stopped', 'standby'],
    ['stopped', 'restore'],
    ['standby', 'standby'],
    ['standby', 'start'],
    ['standby', 'stop'],
    ['standby', 'restart'],
  ]
  for (const [phase, operation] of REFUSED) {
    test(`refuses ${operation} from ${phase}, and changes nothing`, async () => {
      const { id } = await run()
      if (phase === 'stopped') await reach(await fixture.engine.instances.stop(caller, id), 'stopped')
      if (phase === 'standby') await reach(await fixture.engine.instances.standby(caller, id), 'standby')
      const before = await fixture.engine.instances.get(caller, id)
      await refusedWith('invalid_state', fixture.engine.instances[operation](caller, id), { operation, phase })
      assert.deepEqual(await fixture.engine.instances.get(caller, id), before)
    })
  }

  test('of two who stop at once, the second gets invalid_state', async () => {
    const { id } = await run()
    const [first, second] = await Promise.allSettled([fixture.engine.instances.stop(caller, id), fixture.engine.instances.stop(caller, id)])
    assert.equal(first.status, 'fulfilled')
    assert.equal(second.status === 'rejected' && (second.reason as BerthError).code, 'invalid_state')
  })

  test('drops a saved state when it is stopped from standby on purpose', async () => {
    const { id } = await run()
    await reach(await fixture.engine.instances.standby(caller, id), 'standby')
    await reach(await fixture.engine.instances.stop(caller, id, { fromStandby: true }), 'stopped')
    assert.notEqual(fixture.host.vms()[0]?.status, 'suspended')
  })

  test('restarts with a new VMM and the same disks', async () => {
    const { id, generation } = await run()
    const again = await reach(await fixture.engine.instances.restart(caller, id), 'running')
    assert.equal(again.generation, generation + 1)
    await assertNothingLeaked(fixture)
  })

  test('is deleted from any phase, twice without harm, and then is not found for changes', async () => {
    const { id } = await run()
    const deleting = await fixture.engine.instances.delete(caller, id)
    await reach(deleting, 'deleted')
    assert.equal((await fixture.engine.instances.get(caller, id)).phase, 'deleted')
    await refusedWith('not_found', fixture.engine.instances.delete(caller, id))
    assert.deepEqual(await fixture.engine.instances.list(caller), [])
  })

  test('stops before it is deleted when that is asked for', async () => {
    const { id } = await run()
    await reach(await fixture.engine.instances.delete(caller, id, { graceful: true }), 'deleted')
    const events = await fixture.engine.events.list(caller, { instanceIds: [id], kinds: ['phase'], order: 'oldest-first' })
    assert.deepEqual(events.slice(-4).map(event => event.to), ['stopping', 'stopped', 'deleting', 'deleted'])
  })
})

describe('an application that ends', () => {
  test('leaves its exit code and is not started again', async () => {
    const created = await fixture.engine.instances.create(caller, { ...SMALL, name: 'short', cmd: ['exit', '3'] })
    const stopped = await reach(created, 'stopped')
    assert.deepEqual(stopped.exit, { code: 3, signal: null, message: 'exited' })
    assert.equal(stopped.desired, 'stopped')
  })

  test('is started again by its policy until that has had enough', async () => {
    const restart = { kind: 'on-failure', backoffMs: 5, maxAttempts: 2, stableAfterMs: 60_000 } as const
    const { id } = await fixture.engine.instances.create(caller, { ...SMALL, name: 'crashing', cmd: ['exit', '1'], restart })
    const isOver = async () => (await fixture.engine.instances.get(caller, id)).desired === 'stopped'
    await eventually(isOver, 'the policy has had enough')
    const stopped = await fixture.engine.instances.get(caller, id)
    assert.equal(stopped.restartAttempts, 2)
    assert.equal(stopped.generation, 3)
    assert.match(stopped.reason ?? '', /often enough/)
  })

  test('stays ended when a person stops it while it waits for its restart', async () => {
    const restart = { kind: 'always', backoffMs: 60_000, maxAttempts: 0, stableAfterMs: 60_000 } as const
    const created = await fixture.engine.instances.create(caller, { ...SMALL, name: 'waiting', cmd: ['exit', '0'], restart })
    const waiting = await reach(created, 'stopped')
    assert.equal(waiting.desired, 'running')
    assert.equal((await fixture.engine.instances.stop(caller, created.id)).desired, 'stopped')
    await settle(fixture)
  })

  test('is removed with its instance where that was asked for', async () => {
    const created = await fixture.engine.instances.create(caller, { ...SMALL, name: 'once', cmd: ['true'], removeWhenStopped: true })
    const deleted = await reach(created, 'deleted')
    assert.equal(deleted.exit?.code, 0)
  })

  test('whose VMM is killed is stopped with the reason', async () => {
    const made = await run()
    fixture.host.crash(made.id)
    const stopped = await reach(made, 'stopped')
    assert.equal(stopped.exit?.message, 'VMM died')
    await reach(await fixture.engine.instances.delete(caller, made.id), 'deleted')
  })

  test('goes when it expires', async () => {
    const made = await run({ expiresAt: Date.now() + 300 })
    await reach(made, 'deleted')
  })
})

describe('operations that fail', () => {
  for (const kind of ['before', 'after'] as const) {
    for (const call of ['prepare', 'start'] as const) {
      test(`a create whose ${call} fails ${kind} its effect is undone and told`, async () => {
        failOnce(call, { kind })
        const created = await fixture.engine.instances.create(caller, { ...SMALL, name: 'doomed' })
        const { instance, failure } = await fixture.engine.instances.wait(caller, created.id, { until: ['running'], timeoutMs: 10_000, since: created })
        assert.equal(instance.phase, 'failed')
        assert.deepEqual(failure, { code: 'guest_unreachable', message: `the ${call} was made to fail` })
        assert.equal(instance.errorCode, 'guest_unreachable')
        assert.deepEqual(fixture.host.vms(), [])
        assert.deepEqual(await fixture.store.read.reservations(fixture.host.id), [])
        await reach(await fixture.engine.instances.start(caller, created.id), 'running')
        await assertNothingLeaked(fixture)
      })
    }
  }

  test('a standby that could not be saved leaves it running, and its waiter is told even when it comes late', async () => {
    const made = await run()
    failOnce('suspend')
    const since = await fixture.engine.instances.standby(caller, made.id)
    await eventually(async () => (await fixture.engine.instances.get(caller, made.id)).phase === 'running', 'it runs again')
    const late = await fixture.engine.instances.wait(caller, made.id, { until: ['standby'], timeoutMs: 10_000, since })
    assert.equal(late.instance.phase, 'running')
    assert.equal(late.failure?.message, 'the suspend was made to fail')
    await reach(await fixture.engine.instances.standby(caller, made.id), 'standby')
  })

  test('a standby that was saved although its call failed is standby', async () => {
    const made = await run()
    failOnce('suspend', { kind: 'after' })
    await reach(await fixture.engine.instances.standby(caller, made.id), 'standby')
    await assertNothingLeaked(fixture)
  })

  test('a restore that fails keeps the saved state, and works the second time', async () => {
    const made = await run()
    await reach(await fixture.engine.instances.standby(caller, made.id), 'standby')
    failOnce('resume')
    const since = await fixture.engine.instances.restore(caller, made.id)
    const result = await fixture.engine.instances.wait(caller, made.id, { until: ['running'], timeoutMs: 10_000, since })
    assert.equal(result.instance.phase, 'standby')
    assert.equal(result.failure?.code, 'guest_unreachable')
    await assertNothingLeaked(fixture)
    await reach(await fixture.engine.instances.restore(caller, made.id), 'running')
  })

  test('a host that falls silent makes its instances lost, and they are found again when it answers', async () => {
    const made = await run()
    let silent = true
    fixture.host.setFaults(() => (silent ? { kind: 'before', code: 'host_unavailable', message: 'nobody there' } : null))
    await fixture.engine.sync()
    await reach(made, 'lost')
    silent = false
    await eventually(async () => (await fixture.engine.instances.get(caller, made.id)).phase === 'running', 'it is found again')
  })

  for (const effect of [true, false]) {
    test(`a start that the host never answers ${effect ? 'although it was done' : 'and never does'} is lost for a moment, then runs`, async () => {
      await fixture.reopen({ config: { deadlines: { startMs: 60 } } })
      caller = fixture.caller
      failOnce('start', { kind: 'hang', effect })
      const created = await fixture.engine.instances.create(caller, { ...SMALL, name: 'hung' })
      const lost = await reach(created, 'lost')
      await reach(lost, 'running')
      await settle(fixture)
      await assertNothingLeaked(fixture)
    })
  }

  test('a delete that the host refuses for a while is failed with the reason, and done in the end', async () => {
    const made = await run()
    let refuses = true
    fixture.host.setFaults(({ call }) => (refuses && call === 'destroy' ? { kind: 'before', code: 'disk_full', message: 'no room to delete' } : null))
    const deleting = await fixture.engine.instances.delete(caller, made.id)
    const result = await fixture.engine.instances.wait(caller, made.id, { until: ['deleted'], timeoutMs: 10_000, since: deleting })
    assert.deepEqual(result.failure, { code: 'disk_full', message: 'no room to delete' })
    refuses = false
    await eventually(async () => (await fixture.engine.instances.get(caller, made.id)).phase === 'deleted', 'it is deleted in the end')
    await assertNothingLeaked(fixture)
  })

  test('closing goes on while a host hangs, and the next server takes up what was recorded', async () => {
    const made = await run()
    failOnce('suspend', { kind: 'hang', effect: false })
    await fixture.engine.instances.standby(caller, made.id)
    await fixture.reopen({ config: { closeGraceMs: 50 } })
    await settle(fixture)
    assert.equal((await fixture.engine.instances.get(caller, made.id)).phase, 'standby')
    await assertNothingLeaked(fixture)
  })

  test('an agent that stops answering makes it unhealthy until it answers', async () => {
    const made = await run()
    fixture.host.setAgent(made.id, false)
    const sick = await reach(made, 'unhealthy')
    fixture.host.setAgent(made.id, true)
    await reach(sick, 'running')
  })
})

describe('a new server over the same machine', () => {
  test('finds what runs running, what sleeps sleeping, and what ended meanwhile stopped', async () => {
    const runs = await run()
    const sleeps = await run()
    const ends = await run({ cmd: ['sleep', '0.3'] })
    await reach(await fixture.engine.instances.standby(caller, sleeps.id), 'standby')
    await fixture.reopen()
    await eventually(async () => (await fixture.engine.instances.get(caller, ends.id)).phase === 'stopped', 'the end is noticed')
    await settle(fixture)
    assert.equal((await fixture.engine.instances.get(caller, runs.id)).generation, 1)
    assert.equal((await fixture.engine.instances.get(caller, sleeps.id)).phase, 'standby')
    assert.equal((await fixture.engine.instances.get(caller, ends.id)).exit?.code, 0)
    await assertNothingLeaked(fixture)
  })

  test('after a restart of the machine starts again what was to run, and leaves stopped what asked for that', async () => {
    const again = await run()
    const stays = await run({ afterHostRestart: 'stop' })
    const sleeps = await run()
    await reach(await fixture.engine.instances.standby(caller, sleeps.id), 'standby')
    fixture.host.reboot()
    await fixture.reopen()
    await settle(fixture)
    assert.equal((await fixture.engine.instances.get(caller, again.id)).phase, 'running')
    assert.equal((await fixture.engine.instances.get(caller, again.id)).generation, 2)
    assert.equal((await fixture.engine.instances.get(caller, stays.id)).phase, 'stopped')
    assert.equal((await fixture.engine.instances.get(caller, sleeps.id)).phase, 'standby')
    await assertNothingLeaked(fixture)
  })

  test('removes a VM that nobody knows', async () => {
    const made = await run()
    await fixture.host.prepare({ ...specOf(made), instanceId: '00000000-0000-4000-8000-000000000000' as InstanceId })
    assert.equal(fixture.host.vms().length, 2)
    await fixture.engine.sync()
    await eventually(() => fixture.host.vms().length === 1, 'the stray is gone')
    assert.equal((await fixture.engine.instances.get(caller, made.id)).phase, 'running')
  })

  test('is refused nothing: a wish that was recorded and not begun is carried out', async () => {
    const made = await run()
    // The record of a server that was killed right after the wish.
    await fixture.store.transaction(async tx => {
      const next: Instance = { ...made, phase: 'stopping', desired: 'stopped', phaseSince: made.phaseSince + 1 }
      await tx.updateInstance(next)
      await tx.appendEvent({ instanceId: made.id, projectId: made.projectId, at: next.phaseSince, kind: 'phase', from: 'running', to: 'stopping', reason: null })
    })
    await fixture.reopen()
    await settle(fixture)
    assert.equal((await fixture.engine.instances.get(caller, made.id)).phase, 'stopped')
  })
})

function specOf(instance: Instance) {
  return {
    generation: 1,
    name: 'stray',
    hostname: 'stray',
    image: instance.imageDigest ?? assert.fail('no image'),
    imageConfig: { entrypoint: [], cmd: ['x'], env: {}, workingDir: '/', user: '', stopSignal: null, exposedPorts: [] },
    vcpus: 1,
    memoryBytes: 2 ** 26,
    overlayBytes: 2 ** 24,
    diskIoBytesPerSecond: null,
    command: ['x'],
    env: {},
    workingDir: '/',
    user: '0',
    network: null,
    volumes: [], sshKeys: [],
  }
}

describe('create', () => {
  const BAD: readonly [string, Partial<CreateInstance>, ErrorCode][] = [
    ['a name that is too long', { name: 'x'.repeat(64) }, 'invalid_name'],
    ['too many vCPUs', { vcpus: 17 }, 'limit_exceeded'],
    ['no vCPUs', { vcpus: 0 }, 'invalid_request'],
    ['too much memory', { memoryBytes: 33 * 2 ** 30 }, 'limit_exceeded'],
    ['memory and hotplug past the limit together', { memoryBytes: 20 * 2 ** 30, hotplugBytes: 20 * 2 ** 30 }, 'limit_exceeded'],
    ['half a byte', { memoryBytes: 2 ** 29 + 0.5 }, 'invalid_request'],
    ['an overlay past the limit', { overlayBytes: 101 * 2 ** 30 }, 'limit_exceeded'],
    ['an image that is not there', { image: 'nowhere:1' }, 'image_not_found'],
    ['an image that is no name', { image: 'A B' }, 'invalid_image_name'],
    ['a port twice', { network: networkWith(8080, 8080) }, 'invalid_request'],
    ['port 0', { network: networkWith(0) }, 'invalid_request'],
    ['a volume that is not there', { volumes: [{ volumeId: 'none' as never, path: '/data', mode: 'rw', overlayBytes: null }] }, 'volume_not_found'],
    ['a mount on /proc', { volumes: [{ volumeId: 'none' as never, path: '/proc/x', mode: 'rw', overlayBytes: null }] }, 'invalid_request'],
    ['an expiry in the past', { expiresAt: 1 }, 'invalid_request'],
    ['more memory than the host has', { memoryBytes: 32 * 2 ** 30 }, 'insufficient_resources'],
  ]
  test('refuses what is wrong with its own code, and leaves nothing', async () => {
    await fixture.reopen({ host: { memoryBytes: 8 * 2 ** 30 } })
    caller = fixture.caller
    for (const [what, request, code] of BAD) {
      await refusedWith(code, fixture.engine.instances.create(caller, { ...SMALL, name: 'bad', ...request })).catch((error: unknown) => {
        throw new Error(what, { cause: error })
      })
    }
    assert.deepEqual(await fixture.store.read.reservations(fixture.host.id), [])
    assert.equal(await fixture.store.read.countInstances({ projectId: null, includeDeleted: true }), 0)
  })

  test('of many who want the last slot exactly one gets it', async () => {
    await fixture.reopen({ host: { memoryBytes: 3 * SMALL.memoryBytes } })
    caller = fixture.caller
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, (_, index) => fixture.engine.instances.create(caller, { ...SMALL, name: `slot-${index}` })))
    assert.equal(outcomes.filter(outcome => outcome.status === 'fulfilled').length, 3)
    for (const outcome of outcomes) if (outcome.status === 'rejected') assert.equal((outcome.reason as BerthError).code, 'insufficient_resources')
    await settle(fixture)
    await assertNothingLeaked(fixture)
  })

  test('start and restore are admitted again, and refused when the room was taken meanwhile', async () => {
    await fixture.reopen({ host: { memoryBytes: SMALL.memoryBytes } })
    caller = fixture.caller
    const first = await run()
    await reach(await fixture.engine.instances.standby(caller, first.id), 'standby')
    const second = await run()
    await refusedWith('insufficient_resources', fixture.engine.instances.restore(caller, first.id))
    await reach(await fixture.engine.instances.stop(caller, second.id), 'stopped')
    await reach(await fixture.engine.instances.restore(caller, first.id), 'running')
    await refusedWith('insufficient_resources', fixture.engine.instances.start(caller, second.id))
    await assertNothingLeaked(fixture)
  })

  test('with an idempotency key makes one instance, also for many at once, and refuses another request', async () => {
    const request = { ...SMALL, name: 'once', env: { A: '1', B: '2' } }
    const made = await Promise.all(
      Array.from({ length: 5 }, () => fixture.engine.instances.create(caller, request, { idempotencyKey: 'k' })),
    )
    assert.equal(new Set(made.map(instance => instance.id)).size, 1)
    const reordered = { env: { B: '2', A: '1' }, ...SMALL, name: 'once' }
    assert.equal((await fixture.engine.instances.create(caller, reordered, { idempotencyKey: 'k' })).id, made[0]?.id)
    await refusedWith('idempotency_conflict', fixture.engine.instances.create(caller, { ...request, vcpus: 2 }, { idempotencyKey: 'k' }))
  })

  test('refuses a living name and a published port that are taken, and frees both with the instance', async () => {
    const made = await run({ name: 'web', network: networkWith(8080) })
    await refusedWith('name_conflict', fixture.engine.instances.create(caller, { ...SMALL, name: 'web' }))
    await refusedWith('port_in_use', fixture.engine.instances.create(caller, { ...SMALL, name: 'other', network: networkWith(8080) }))
    await reach(await fixture.engine.instances.delete(caller, made.id), 'deleted')
    await run({ name: 'web', network: networkWith(8080) })
  })

  test('with pull waits for the image, and tells why it could not be pulled', async () => {
    const made = await run({ image: 'example.com/app:1', pull: 'missing' })
    assert.notEqual(made.imageDigest, null)
    const doomed = await fixture.engine.instances.create(caller, { ...SMALL, name: 'doomed', image: 'example.com/missing:1', pull: 'missing' })
    const failed = await fixture.engine.instances.wait(caller, doomed.id, { until: ['running'], timeoutMs: 10_000, since: doomed })
    assert.equal(failed.failure?.code, 'image_failed')
    await assertNothingLeaked(fixture)
  })
})

function networkWith(...hostPorts: number[]) {
  const ports = hostPorts.map(hostPort => ({ hostPort, guestPort: 80, protocol: 'tcp' as const }))
  return { enabled: true, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports }
}

describe('projects and scopes', () => {
  test("another project's instance, volume and image are not found by any call", async () => {
    const made = await run()
    const volume = await fixture.engine.volumes.create(caller, { name: 'data', sizeBytes: 2 ** 26 })
    await fixture.engine.images.pull(caller, { name: 'example.com/app:1' })
    const stranger: Caller = { ...caller, projectId: 'ffffffff-0000-4000-8000-000000000000' as ProjectId }
    const { instances, volumes, images, events } = fixture.engine
    const command = { command: ['true'], env: {}, workingDir: null, user: null, tty: null, timeoutMs: null }
    const mount = { volumeId: volume.id, path: '/data', mode: 'rw', overlayBytes: null } as const
    const calls = [
      ...(['get', 'start', 'stop', 'restart', 'standby', 'restore', 'delete', 'stats'] as const).map(name => instances[name](stranger, made.id)),
      instances.update(stranger, made.id, {}),
      instances.wait(stranger, made.id, { until: ['running'], timeoutMs: 1 }),
      instances.exec(stranger, made.id, command),
      instances.attachVolume(stranger, made.id, mount),
      instances.detachVolume(stranger, made.id, volume.id),
      instances.stat(stranger, made.id, '/', { followLinks: false }),
      instances.copyOut(stranger, made.id, '/', { followLinks: false }),
      instances.logs(stranger, made.id, { source: 'app', tail: null, follow: false, signal: new AbortController().signal }),
    ]
    for (const call of calls) await refusedWith('not_found', call)
    await refusedWith('volume_not_found', volumes.get(stranger, volume.id))
    await refusedWith('volume_not_found', volumes.delete(stranger, volume.id))
    await refusedWith('image_not_found', images.get(stranger, 'example.com/app:1'))
    assert.deepEqual(await instances.list(stranger), [])
    assert.deepEqual(await events.list(stranger), [])
  })

  test('a key can do what its scopes say and no more', async () => {
    const made = await run()
    const only = (...scopes: Caller['scopes'][number][]): Caller => ({ ...caller, scopes })
    const command = { command: ['true'], env: {}, workingDir: null, user: null, tty: null, timeoutMs: null }
    await refusedWith('forbidden', fixture.engine.instances.get(only('write', 'exec', 'admin'), made.id))
    await refusedWith('forbidden', fixture.engine.instances.stop(only('read', 'exec', 'admin'), made.id))
    await refusedWith('forbidden', fixture.engine.instances.exec(only('read', 'write', 'admin'), made.id, command))
    await refusedWith('forbidden', fixture.engine.keys.list(only('read', 'write', 'exec')))
    await refusedWith('forbidden', fixture.engine.projects.create(only('read', 'write', 'exec'), { name: 'x' }))
    const session = await fixture.engine.instances.exec(only('exec'), made.id, command)
    assert.equal((await session.exit).code, 0)
  })

  test('keys authenticate until they are deleted or have expired; a tenant administers only itself', async () => {
    const { keys, projects } = fixture.engine
    const { key, secret } = await keys.create(caller, { name: 'ci', scopes: ['read'] })
    assert.match(secret, /^[A-Za-z0-9]{64}$/)
    assert.deepEqual(await keys.authenticate(secret, 'native'), { projectId: caller.projectId, keyId: key.id, scopes: ['read'], via: 'native' })
    assert.equal(await keys.authenticate(secret.toLowerCase(), 'native'), null)
    await keys.delete(caller, key.id)
    assert.equal(await keys.authenticate(secret, 'native'), null)
    const tenant = await projects.create(caller, { name: 'tenant' })
    const admin: Caller = { ...caller, projectId: tenant.id }
    await refusedWith('forbidden', projects.create(admin, { name: 'another' }))
    await refusedWith('not_found', keys.create(admin, { name: 'up', scopes: ['admin'], projectId: caller.projectId }))
    assert.deepEqual((await projects.list(admin)).map(project => project.name), ['tenant'])
    assert.equal((await keys.create(caller, { name: 'for-tenant', scopes: ['admin'], projectId: tenant.id })).key.projectId, tenant.id)
  })
})

describe('volumes', () => {
  const mount = (volumeId: string, mode: 'rw' | 'ro' = 'rw') => ({ volumeId: volumeId as never, path: '/data', mode, overlayBytes: null })

  test('are attached at create and while running, kept through stop and standby, and free when the instance is gone', async () => {
    const { volumes, instances } = fixture.engine
    const first = await volumes.create(caller, { name: 'first', sizeBytes: 2 ** 26, id: 'first' })
    const second = await volumes.create(caller, { name: 'second', sizeBytes: 2 ** 26 })
    const made = await run({ volumes: [mount(first.id)] })
    await instances.attachVolume(caller, made.id, { ...mount(second.id), path: '/more' })
    assert.deepEqual(fixture.host.vms()[0]?.volumes, [first.id, second.id])
    await reach(await instances.stop(caller, made.id), 'stopped')
    await refusedWith('volume_in_use', volumes.delete(caller, first.id))
    await refusedWith('volume_conflict', instances.create(caller, { ...SMALL, name: 'other', volumes: [mount(first.id)] }))
    await instances.detachVolume(caller, made.id, second.id)
    await volumes.delete(caller, second.id)
    await reach(await instances.delete(caller, made.id), 'deleted')
    assert.deepEqual((await volumes.get(caller, first.id)).attachments, [])
    await volumes.delete(caller, first.id)
    assert.deepEqual(fixture.host.volumes(), [])
  })

  test('are shared read-only, and an attach that the guest refuses leaves no trace', async () => {
    const { volumes, instances } = fixture.engine
    const data = await volumes.create(caller, { name: 'data', sizeBytes: 2 ** 26 })
    const one = await run({ volumes: [mount(data.id, 'ro')] })
    const two = await run()
    failOnce('attachVolume')
    await refusedWith('guest_unreachable', instances.attachVolume(caller, two.id, mount(data.id, 'ro')))
    assert.equal((await volumes.get(caller, data.id)).attachments.length, 1)
    await instances.attachVolume(caller, two.id, mount(data.id, 'ro'))
    assert.deepEqual((await volumes.get(caller, data.id)).attachments.map(attachment => attachment.instanceId).toSorted(), [one.id, two.id].toSorted())
  })

  test('that could not be made leave no record, and neither do those that a crash cut off', async () => {
    const { volumes } = fixture.engine
    failOnce('createVolume', { kind: 'after' })
    await refusedWith('guest_unreachable', volumes.create(caller, { name: 'data', sizeBytes: 2 ** 26, id: 'half' }))
    assert.deepEqual(await volumes.list(caller), [])
    assert.deepEqual(fixture.host.volumes(), [])
    const made = await volumes.create(caller, { name: 'data', sizeBytes: 2 ** 26, id: 'half' })
    await fixture.store.transaction(tx => tx.putVolume({ ...made, status: 'creating' }))
    await fixture.reopen()
    await eventually(async () => (await fixture.store.read.volumes({ projectId: null })).length === 0, 'the half-made volume is removed')
  })
})

describe('exec', () => {
  const echo = { command: ['cat'], env: {}, workingDir: null, user: null, tty: null, timeoutMs: null }

  test('is refused by an instance that sleeps, and wakes it where that is asked for', async () => {
    const made = await run()
    await reach(await fixture.engine.instances.standby(caller, made.id), 'standby')
    await refusedWith('invalid_state', fixture.engine.instances.exec(caller, made.id, echo), { operation: 'exec', phase: 'standby' })
    const sessions = await Promise.all([1, 2, 3].map(() => fixture.engine.instances.exec({ ...caller, scopes: ['exec'] }, made.id, echo, { wake: true })))
    for (const session of sessions) {
      await session.write(Buffer.from('awake'))
      await session.endInput()
      let output = ''
      for await (const { data } of session.output) output += Buffer.from(data).toString()
      assert.equal(output, 'awake')
      assert.equal((await session.exit).code, 0)
    }
    assert.equal((await fixture.engine.instances.get(caller, made.id)).generation, 2)
  })
})

describe('events', () => {
  test('are watched from the past into the present without gap or repeat', async () => {
    const first = await run()
    const stop = new AbortController()
    const seen: number[] = []
    const watching = (async () => {
      for await (const event of fixture.engine.events.watch(caller, { afterSeq: 2, signal: stop.signal })) seen.push(event.seq)
    })()
    await Promise.all(Array.from({ length: 20 }, () => run()))
    await reach(await fixture.engine.instances.delete(caller, first.id), 'deleted')
    const all = (await fixture.engine.events.list(caller, { order: 'oldest-first' })).map(event => event.seq)
    await eventually(() => seen.length >= all.length - 2, 'everything is seen')
    stop.abort()
    await watching
    assert.deepEqual(seen, all.slice(2))
  })
})
