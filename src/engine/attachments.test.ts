/** Volumes of instances: given, shared, taken away, and never half made. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import { eventually, SMALL } from '../../test/engine-fixture.ts'
import { caller, failOnce, fixture, reach, refusedWith, run, useEngine } from '../../test/engine-steps.ts'

useEngine()

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
