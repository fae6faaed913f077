/** Shared file systems and firewalls in the engine, over a real store and a simulated host. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach, describe, test } from 'node:test'
import type { Fixture } from '../../test/engine-fixture.ts'
import { engineFixture, eventually, SMALL } from '../../test/engine-fixture.ts'
import { DEFAULT_FIREWALL_RULES } from '../instance/firewall.ts'
import { BerthError } from '../instance/errors.ts'
import type { FirewallRule, FirewallRulesetId, FileSystemId, Instance } from '../instance/model.ts'
import type { CreateInstance } from './api.ts'
import { FILE_SYSTEMS_PER_PROJECT_LIMIT } from './file-systems.ts'

let fixture: Fixture
let names = 0
const WEB: FirewallRule = { protocol: 'tcp', ports: [80, 80], source: '0.0.0.0/0', description: 'web' }
const ABSENT = '2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11'

beforeEach(async () => {
  fixture = await engineFixture()
})
afterEach(() => fixture.close())

async function run(request: Partial<CreateInstance> = {}): Promise<Instance> {
  const { engine, caller } = fixture
  const made = await engine.instances.create(caller, { ...SMALL, name: `s-${names++}`, ...request })
  return (await engine.instances.wait(caller, made.id, { until: ['running'], timeoutMs: 10_000, since: made })).instance
}

async function refused(code: string, work: Promise<unknown>): Promise<void> {
  await assert.rejects(work, (error) => error instanceof BerthError && error.code === code)
}

const inForce = ({ id }: Instance) => fixture.host.vms().find((vm) => vm.instanceId === id)?.firewall

describe('file systems', () => {
  const make = (name: string) => fixture.engine.fileSystems.create(fixture.caller, { name, region: 'home', sizeBytes: 64 * 2 ** 20 })

  test('stay while an instance that names them lives, through standby, stop and another server', async () => {
    const { id } = await make('a')
    const { engine, caller } = fixture
    const instance = await run({ fileSystems: [{ fileSystemId: id, path: '/srv' }] })
    assert.deepEqual((await engine.fileSystems.get(caller, id)).instanceIds, [instance.id])
    assert.deepEqual(fixture.host.vms()[0]?.fileSystems, [id])
    const asleep = await engine.instances.standby(caller, instance.id)
    await engine.instances.wait(caller, instance.id, { until: ['standby'], timeoutMs: 10_000, since: asleep })
    await refused('volume_in_use', engine.fileSystems.delete(caller, id))
    await fixture.reopen()
    await refused('volume_in_use', fixture.engine.fileSystems.delete(fixture.caller, id))
    const going = await fixture.engine.instances.delete(fixture.caller, instance.id)
    await fixture.engine.instances.wait(fixture.caller, instance.id, { until: ['deleted'], timeoutMs: 10_000, since: going })
    await fixture.engine.fileSystems.delete(fixture.caller, id)
    assert.deepEqual(await fixture.engine.fileSystems.list(fixture.caller), [])
  })

  test('grow and never shrink; what the host can’t grow, or a crash cut off, leaves record and disk in agreement', async () => {
    const { id } = await make('a')
    const size = async () => (await fixture.engine.fileSystems.get(fixture.caller, id)).sizeBytes
    assert.equal((await fixture.engine.fileSystems.resize(fixture.caller, id, 96 * 2 ** 20)).sizeBytes, 96 * 2 ** 20)
    for (const bytes of [64 * 2 ** 20, 2 ** 60]) await assert.rejects(fixture.engine.fileSystems.resize(fixture.caller, id, bytes), BerthError)
    fixture.host.setFaults(({ call }) => (call === 'growFileSystem' ? { kind: 'before', code: 'disk_full', message: 'no room' } : null))
    await refused('disk_full', fixture.engine.fileSystems.resize(fixture.caller, id, 128 * 2 ** 20))
    assert.equal(await size(), 96 * 2 ** 20)
    fixture.host.setFaults(({ call }) => (call === 'growFileSystem' ? { kind: 'hang', effect: false } : null))
    void fixture.engine.fileSystems.resize(fixture.caller, id, 128 * 2 ** 20).catch(() => undefined)
    await eventually(async () => (await size()) === 128 * 2 ** 20, 'the wish is recorded')
    assert.equal(fixture.host.fileSystemSize(id), 96 * 2 ** 20)
    await fixture.reopen()
    await eventually(() => fixture.host.fileSystemSize(id) === 128 * 2 ** 20, 'it has grown')
  })

  test('are mounted in an instance that runs and taken from it; what the guest refuses leaves the record as it was', async () => {
    const [a, b] = [await make('a'), await make('b')]
    const instance = await run({ fileSystems: [{ fileSystemId: a.id, path: '/srv/a' }] })
    const { engine, caller, host } = fixture
    const record = async () => (await engine.instances.get(caller, instance.id)).spec.fileSystems.map(({ fileSystemId }) => fileSystemId)
    const mounted = () => host.vms()[0]?.fileSystems
    await engine.fileSystems.attach(caller, instance.id, { fileSystemId: b.id, path: '/srv/b' })
    assert.deepEqual([await record(), mounted()], [[a.id, b.id], [a.id, b.id]])
    for (const path of ['/srv/a', '/proc', 'srv']) await refused('invalid_request', engine.fileSystems.attach(caller, instance.id, { fileSystemId: b.id, path }))
    await refused('volume_not_found', engine.fileSystems.attach(caller, instance.id, { fileSystemId: ABSENT as FileSystemId, path: '/srv/c' }))
    await engine.fileSystems.detach(caller, instance.id, a.id)
    assert.deepEqual([await record(), mounted()], [[b.id], [b.id]])
    await refused('volume_not_found', engine.fileSystems.detach(caller, instance.id, a.id))
    await engine.fileSystems.delete(caller, a.id)
    host.setFaults(({ call }) => (call === 'detachFileSystem' ? { kind: 'before', code: 'volume_in_use', message: 'a shell is in it' } : null))
    await refused('volume_in_use', engine.fileSystems.detach(caller, instance.id, b.id))
    assert.deepEqual(await record(), [b.id])
    const c = await make('c')
    host.setFaults(({ call }) => (call === 'attachFileSystem' ? { kind: 'before', code: 'guest_unreachable', message: 'nobody there' } : null))
    await refused('guest_unreachable', engine.fileSystems.attach(caller, instance.id, { fileSystemId: c.id, path: '/srv/c' }))
    assert.deepEqual(await record(), [b.id])
    // What a crash cut off between the record and the guest is done by the next start.
    host.setFaults(({ call }) => (call === 'attachFileSystem' ? { kind: 'hang', effect: false } : null))
    void engine.fileSystems.attach(caller, instance.id, { fileSystemId: c.id, path: '/srv/c' }).catch(() => undefined)
    await eventually(async () => (await record()).length === 2, 'the wish is recorded')
    host.setFaults(() => null)
    await fixture.reopen()
    await eventually(() => fixture.host.vms()[0]?.fileSystems?.includes(c.id) === true, 'it is mounted')
    const asleep = await fixture.engine.instances.standby(fixture.caller, instance.id)
    await fixture.engine.instances.wait(fixture.caller, instance.id, { until: ['standby'], timeoutMs: 10_000, since: asleep })
    await refused('invalid_state', fixture.engine.fileSystems.detach(fixture.caller, instance.id, c.id))
  })

  test('that are not there, twice there, or at a place that is taken refuse an instance, and nothing is left of it', async () => {
    const { id } = await make('a')
    const at = (path: string, fileSystemId = id) => ({ fileSystemId, path })
    await refused('volume_not_found', run({ fileSystems: [at('/srv', ABSENT as FileSystemId)] }))
    for (const fileSystems of [[at('/srv'), at('/srv2')], [at('/proc')], [at('srv')]]) await refused('invalid_request', run({ fileSystems }))
    await refused('invalid_request', run({ fileSystems: [at('/srv')], network: { enabled: false, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports: [] } }))
    assert.equal(await fixture.engine.instances.count(fixture.caller), 0)
    await fixture.engine.fileSystems.delete(fixture.caller, id)
  })

  test('end at a number in a project, and at the disk that there is', async () => {
    for (let n = 0; n < FILE_SYSTEMS_PER_PROJECT_LIMIT; n += 1) await make(`n${n}`)
    await refused('limit_exceeded', make('one-too-many'))
    const [first] = await fixture.engine.fileSystems.list(fixture.caller)
    if (first !== undefined) await fixture.engine.fileSystems.delete(fixture.caller, first.id)
    await fixture.reopen({ host: { diskBytes: 100 * 2 ** 30 } })
    await refused('insufficient_resources', fixture.engine.fileSystems.create(fixture.caller, { name: 'huge', region: 'home', sizeBytes: 100 * 2 ** 30 }))
  })

  test('that the host can’t make are gone again, and what a crash left half made is removed at the next start', async () => {
    fixture.host.setFaults(({ call }) => (call === 'createFileSystem' ? { kind: 'before', code: 'not_supported', message: 'no NFS here' } : null))
    await refused('not_supported', make('a'))
    fixture.host.setFaults(() => null)
    const { id } = await make('a')
    await fixture.store.transaction(async (tx) => {
      const half = await tx.fileSystem(id)
      if (half !== null) await tx.putFileSystem({ ...half, status: 'creating' })
    })
    await fixture.reopen()
    await eventually(async () => (await fixture.store.read.fileSystems(null)).length === 0, 'what was half made is removed')
  })
})

describe('firewalls', () => {
  const firewalls = () => fixture.engine.firewalls

  test('are the global rules and those of the instance’s rulesets, and none where nobody asked for one', async () => {
    const { id } = await firewalls().create(fixture.caller, { name: 'web', region: 'home', rules: [WEB] })
    const [plain, bare, web] = [await run(), await run({ firewallRulesets: [] }), await run({ firewallRulesets: [id] })]
    assert.deepEqual([inForce(plain), inForce(bare), inForce(web)], [null, DEFAULT_FIREWALL_RULES, [...DEFAULT_FIREWALL_RULES, WEB]])
  })

  test('change in every instance that they are about, before the answer', async () => {
    const { id } = await firewalls().create(fixture.caller, { name: 'web', region: 'home', rules: [WEB] })
    const [plain, bare, web] = [await run(), await run({ firewallRulesets: [] }), await run({ firewallRulesets: [id] })]
    await firewalls().update(fixture.caller, id, { rules: [] })
    assert.deepEqual([inForce(bare), inForce(web)], [DEFAULT_FIREWALL_RULES, DEFAULT_FIREWALL_RULES])
    await firewalls().setGlobalRules(fixture.caller, [WEB])
    assert.deepEqual([inForce(plain), inForce(bare), inForce(web)], [null, [WEB], [WEB]])
    await refused('volume_in_use', firewalls().delete(fixture.caller, id))
  })

  test('that a crash kept from the machines are put there by the next start', async () => {
    const instance = await run({ firewallRulesets: [] })
    fixture.host.setFaults(({ call }) => (call === 'setFirewall' ? { kind: 'before', code: 'host_unavailable', message: 'the cable is out' } : null))
    await refused('host_unavailable', firewalls().setGlobalRules(fixture.caller, [WEB]))
    assert.deepEqual(inForce(instance), DEFAULT_FIREWALL_RULES)
    await fixture.reopen()
    await eventually(() => JSON.stringify(inForce(instance)) === JSON.stringify([WEB]), 'the rules are in force')
  })

  test('go with a start that came between, and the newest wins', async () => {
    const made = await fixture.engine.instances.create(fixture.caller, { ...SMALL, name: 'racing', firewallRulesets: [] })
    await Promise.all(Array.from({ length: 8 }, async (_, n) => firewalls().setGlobalRules(fixture.caller, Array.from({ length: n }, () => WEB))))
    const last = await firewalls().setGlobalRules(fixture.caller, [WEB])
    const { instance } = await fixture.engine.instances.wait(fixture.caller, made.id, { until: ['running'], timeoutMs: 10_000, since: made })
    assert.deepEqual(inForce(instance), last)
  })

  test('are given to an instance that runs and taken from it; one that its host can’t hold leaves the record as it was', async () => {
    const { id } = await firewalls().create(fixture.caller, { name: 'web', region: 'home', rules: [WEB] })
    const instance = await run()
    const record = async () => (await fixture.engine.instances.get(fixture.caller, instance.id)).spec.firewallRulesets
    await firewalls().assign(fixture.caller, instance.id, { add: id })
    assert.deepEqual([await record(), inForce(instance)], [[id], [...DEFAULT_FIREWALL_RULES, WEB]])
    fixture.host.setFaults(({ call }) => (call === 'setFirewall' ? { kind: 'before', code: 'host_unavailable', message: 'the cable is out' } : null))
    await refused('host_unavailable', firewalls().assign(fixture.caller, instance.id, { set: null }))
    assert.deepEqual([await record(), inForce(instance)], [[id], [...DEFAULT_FIREWALL_RULES, WEB]])
    fixture.host.setFaults(() => null)
    await firewalls().assign(fixture.caller, instance.id, { remove: id })
    assert.deepEqual([await record(), inForce(instance)], [[], DEFAULT_FIREWALL_RULES])
    await firewalls().assign(fixture.caller, instance.id, { set: null })
    assert.deepEqual([await record(), inForce(instance)], [null, null])
  })

  test('that can’t be are refused, and so are rulesets that nobody has', async () => {
    for (const rule of [{ ...WEB, source: '10.0.0.1/8' }, { ...WEB, ports: [2, 1] as const }, { ...WEB, protocol: 'icmp' as const }]) {
      await refused('invalid_request', firewalls().setGlobalRules(fixture.caller, [rule]))
    }
    await refused('not_found', run({ firewallRulesets: [ABSENT as FirewallRulesetId] }))
    await refused('not_found', firewalls().get({ ...fixture.caller, projectId: ABSENT as never }, ABSENT as FirewallRulesetId))
    await refused('forbidden', firewalls().setGlobalRules({ ...fixture.caller, scopes: ['read'] }, []))
    assert.deepEqual(await firewalls().globalRules(fixture.caller), DEFAULT_FIREWALL_RULES)
  })
})
