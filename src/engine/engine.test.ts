/** What becomes of instances: their lives, what fails, and a new server over the same machine. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertNothingLeaked, eventually, settle, SMALL } from '../../test/engine-fixture.ts'
import { caller, failOnce, fixture, reach, refusedWith, reopen, run, useEngine } from '../../test/engine-steps.ts'
import type { BerthError } from '../instance/errors.ts'
import type { Instance, InstanceId } from '../instance/model.ts'
import type { Phase } from '../instance/phase.ts'

useEngine()

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
      await reopen({ config: { deadlines: { startMs: 60 } } })
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
