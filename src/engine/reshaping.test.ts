/** Changes of what an instance is made of, over a real store and a simulated host. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import { engineFixture, SMALL } from '../../test/engine-fixture.ts'
import type { Fixture } from '../../test/engine-fixture.ts'
import type { CreateInstance } from './api.ts'
import type { Instance, InstanceId } from '../instance/model.ts'
import { BerthError } from '../instance/errors.ts'

const MIB = 2 ** 20
const web = (hostPort: number) => ({ hostPort, guestPort: 80, protocol: 'tcp' as const })

describe('an instance that is changed', () => {
  let fixture: Fixture
  beforeEach(async () => (fixture = await engineFixture()))
  afterEach(async () => fixture.close())

  const run = async (request: Partial<CreateInstance> = {}): Promise<Instance> => {
    const made = await fixture.engine.instances.create(fixture.caller, { ...SMALL, ...request })
    return (await fixture.engine.instances.wait(fixture.caller, made.id, { until: ['running'], timeoutMs: 10_000, since: made })).instance
  }
  const stop = async (id: InstanceId) => {
    const stopping = await fixture.engine.instances.stop(fixture.caller, id)
    await fixture.engine.instances.wait(fixture.caller, id, { until: ['stopped'], timeoutMs: 10_000, since: stopping })
  }
  const published = (id: InstanceId) => fixture.host.vms().find(vm => vm.instanceId === id)?.ports?.map(({ hostPort }) => hostPort)
  const refused = (code: string, call: Promise<unknown>) => assert.rejects(call, (error: unknown) => error instanceof BerthError && error.code === code)
  const reshape = (id: InstanceId, shape: Parameters<Fixture['engine']['instances']['reshape']>[2]) => fixture.engine.instances.reshape(fixture.caller, id, shape)

  test('publishes other ports at once, and gives those of before to whoever wants them', async () => {
    const [one, other] = [await run({ name: 'one', network: { enabled: true, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports: [web(8080)] } }), await run({ name: 'other' })]
    await refused('port_in_use', reshape(other.id, { ports: [web(8080)] }))
    assert.deepEqual(published(other.id), [])
    await reshape(one.id, { ports: [web(8081), web(8082)] })
    assert.deepEqual(published(one.id), [8081, 8082])
    await reshape(other.id, { ports: [web(8080)] })
    assert.deepEqual(published(other.id), [8080])
    await reshape(one.id, { ports: [] })
    assert.deepEqual(published(one.id), [])
  })

  test('has the ports of before where its host can’t change them', async () => {
    const { id } = await run()
    fixture.host.setFaults(({ call }) => (call === 'setPorts' ? { kind: 'before', code: 'port_in_use', message: 'somebody listens there' } : null))
    await refused('port_in_use', reshape(id, { ports: [web(8080)] }))
    fixture.host.setFaults(() => null)
    assert.deepEqual((await fixture.engine.instances.get(fixture.caller, id)).spec.network.ports, [])
    const second = await run({ name: 'second' })
    await reshape(second.id, { ports: [web(8080)] })
  })

  test('has its size only while it is stopped, and room for it is asked by its next start', async () => {
    const { id, spec } = await run()
    await refused('invalid_state', reshape(id, { size: { vcpus: 2, memoryBytes: 512 * MIB, place: null } }))
    await stop(id)
    await reshape(id, { size: { vcpus: 2, memoryBytes: 512 * MIB, place: null } })
    const starting = await fixture.engine.instances.start(fixture.caller, id)
    const { instance } = await fixture.engine.instances.wait(fixture.caller, id, { until: ['running'], timeoutMs: 10_000, since: starting })
    assert.deepEqual([instance.spec.vcpus, instance.spec.memoryBytes, instance.spec.overlayBytes], [2, 512 * MIB, spec.overlayBytes])
    const { lines } = await fixture.engine.resources({ ...fixture.caller, scopes: ['read', 'admin'] })
    assert.equal(lines.find(({ kind }) => kind === 'memory')?.allocated, 512 * MIB)
    await refused('limit_exceeded', stop(id).then(() => reshape(id, { size: { vcpus: 100_000, memoryBytes: 512 * MIB, place: null } })))
  })

  test('has a name that nobody else has', async () => {
    const [one] = [await run({ name: 'one' }), await run({ name: 'two' })]
    await refused('name_conflict', reshape(one.id, { name: 'two' }))
    await refused('invalid_name', reshape(one.id, { name: 'No Name' }))
    assert.equal((await reshape(one.id, { name: 'three' })).spec.name, 'three')
    assert.equal((await fixture.engine.instances.list(fixture.caller, { name: 'three' })).length, 1)
  })
})
