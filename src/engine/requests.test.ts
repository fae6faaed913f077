/** What the engine grants and refuses: creates, room, projects and the scopes of keys. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { assertNothingLeaked, settle, SMALL } from '../../test/engine-fixture.ts'
import { caller, fixture, reach, refusedWith, reopen, run, useEngine } from '../../test/engine-steps.ts'
import type { ErrorCode } from '../instance/errors.ts'
import type { BerthError } from '../instance/errors.ts'
import type { ProjectId } from '../instance/model.ts'
import type { Caller, CreateInstance } from './api.ts'

useEngine()

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
    await reopen({ host: { memoryBytes: 8 * 2 ** 30 } })
    for (const [what, request, code] of BAD) {
      await refusedWith(code, fixture.engine.instances.create(caller, { ...SMALL, name: 'bad', ...request })).catch((error: unknown) => {
        throw new Error(what, { cause: error })
      })
    }
    assert.deepEqual(await fixture.store.read.reservations(fixture.host.id), [])
    assert.equal(await fixture.store.read.countInstances({ projectId: null, includeDeleted: true }), 0)
  })

  test('of many who want the last slot exactly one gets it', async () => {
    await reopen({ host: { memoryBytes: 3 * SMALL.memoryBytes } })
    const outcomes = await Promise.allSettled(Array.from({ length: 10 }, (_, index) => fixture.engine.instances.create(caller, { ...SMALL, name: `slot-${index}` })))
    assert.equal(outcomes.filter(outcome => outcome.status === 'fulfilled').length, 3)
    for (const outcome of outcomes) if (outcome.status === 'rejected') assert.equal((outcome.reason as BerthError).code, 'insufficient_resources')
    await settle(fixture)
    await assertNothingLeaked(fixture)
  })

  test('start and restore are admitted again, and refused when the room was taken meanwhile', async () => {
    await reopen({ host: { memoryBytes: SMALL.memoryBytes } })
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
