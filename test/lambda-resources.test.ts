/**
 * What stands beside instances in Lambda's API, on a simulated host: file systems, firewall rules and rulesets, the
 * audit trail. Every answer goes past the published contract where that is at hand.
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { dataOf, errorOf, HEX_ID, judgedLambdaCalls, loadLambdaContract } from './support/lambda.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzzAnTxl6twSZjHUyzd3YYcldFMZbBEfJXSdMANO4P8 me@home'
const NOBODY = '0920582c7ff041399e34823a0be62549'
const REGION = 'us-west-1'
const LAUNCH = { region_name: REGION, instance_type_name: 'cpu_1x_general', ssh_key_names: ['mine'] }
const SSH = { protocol: 'tcp', port_range: [22, 22], source_network: '0.0.0.0/0', description: 'Allow SSH from any IP' }
const PING = { protocol: 'icmp', source_network: '0.0.0.0/0', description: 'Allow ping from any IP' }

interface FileSystem {
  readonly id: string
  readonly name: string
  readonly mount_point: string
  readonly is_in_use: boolean
  readonly region: { readonly name: string }
}
interface Ruleset {
  readonly id: string
  readonly name: string
  readonly rules: readonly unknown[]
  readonly instance_ids: readonly string[]
}
interface Instance {
  readonly id: string
  readonly status: string
  readonly file_system_names: readonly string[]
  readonly file_system_mounts?: readonly { readonly mount_point: string; readonly file_system_id: string }[]
  readonly firewall_rulesets?: readonly { readonly id: string }[]
}

const contract = loadLambdaContract()
let server: TestServer
const call = judgedLambdaCalls(() => server, contract)

before(async () => {
  server = await startServer()
  dataOf(await call('POST', '/ssh-keys', { body: { name: 'mine', public_key: KEY } }))
})
after(() => server.stop())

async function launch(change: object): Promise<Instance> {
  const { instance_ids: ids } = dataOf<{ instance_ids: readonly string[] }>(await call('POST', '/instance-operations/launch', { body: { ...LAUNCH, ...change } }))
  return dataOf<Instance>(await call('GET', `/instances/${ids[0]}`))
}

async function refuse(method: string, path: string, body: unknown, status: number, code: string): Promise<void> {
  const answer = await call(method, path, { body })
  assert.deepEqual([answer.status, errorOf(answer).code], [status, code], `${method} ${path} ${JSON.stringify(body)}`)
}

async function terminate(...ids: readonly string[]): Promise<void> {
  dataOf(await call('POST', '/instance-operations/terminate', { body: { instance_ids: ids } }))
  await eventually('they are gone', async () => {
    const left = dataOf<readonly Instance[]>(await call('GET', '/instances'))
    return left.some(({ id }) => ids.includes(id)) ? null : true
  })
}

async function makeFileSystem(name: string): Promise<FileSystem> {
  return dataOf<FileSystem>(await call('POST', '/filesystems', { body: { name, region: REGION } }))
}

/** Of another project. */
async function otherKey(): Promise<string> {
  const made = (await server.request('POST', '/berth/v1/projects', { body: { name: `other-${others++}` } })).body as { readonly id: string }
  const key = await server.request('POST', '/berth/v1/keys', { body: { name: 'other', scopes: ['read', 'write'], projectId: made.id } })
  assert.equal(key.status, 201, key.text)
  return (key.body as { readonly secret: string }).secret
}
let others = 0

const fileSystems = async () => dataOf<readonly FileSystem[]>(await call('GET', '/file-systems'))

describe('file systems', () => {
  test('are made, mounted at launch, in use while an instance lives, and deleted', async () => {
    const one = await makeFileSystem('data-1')
    assert.match(one.id, HEX_ID)
    assert.deepEqual([one.name, one.mount_point, one.is_in_use, one.region.name], ['data-1', '/lambda/nfs/data-1', false, REGION])
    const two = await makeFileSystem('Other')
    assert.deepEqual((await fileSystems()).map(({ name }) => name), ['data-1', 'Other'])

    const plain = await launch({})
    assert.deepEqual([plain.file_system_names, plain.file_system_mounts], [[], undefined])
    const named = await launch({ file_system_names: ['data-1'] })
    assert.deepEqual(named.file_system_names, ['data-1'])
    assert.deepEqual(named.file_system_mounts, [{ mount_point: '/lambda/nfs/data-1', file_system_id: one.id }])
    // A mount point wins over the default place of one that is also named.
    const placed = await launch({
      file_system_names: ['data-1'],
      file_system_mounts: [{ mount_point: '/data//mine/', file_system_id: one.id }, { mount_point: '/home/shared', file_system_id: two.id }],
    })
    assert.deepEqual(placed.file_system_names, ['data-1', 'Other'])
    assert.deepEqual(placed.file_system_mounts, [
      { mount_point: '/data/mine', file_system_id: one.id },
      { mount_point: '/home/shared', file_system_id: two.id },
    ])
    assert.deepEqual((await fileSystems()).map(one => one.is_in_use), [true, true])
    await refuse('DELETE', `/filesystems/${one.id}`, undefined, 400, 'filesystems/filesystem-in-use')
    await terminate(plain.id, named.id, placed.id)
    assert.deepEqual((await fileSystems()).map(one => one.is_in_use), [false, false])
    for (const { id } of [one, two]) assert.deepEqual(dataOf(await call('DELETE', `/filesystems/${id}`)), { deleted_ids: [id] })
    assert.deepEqual(await fileSystems(), [])
    await refuse('DELETE', `/filesystems/${one.id}`, undefined, 404, 'global/object-does-not-exist')
  })

  test('that can’t be are refused, and change nothing', async () => {
    const kept = await makeFileSystem('kept')
    const invalid = 'global/invalid-parameters'
    await refuse('POST', '/filesystems', { name: 'kept', region: REGION }, 400, 'global/duplicate')
    for (const name of ['', '1a', 'a_b', 'a b', 'x'.repeat(61), 7, null, 'ä']) await refuse('POST', '/filesystems', { name, region: REGION }, 400, invalid)
    for (const region of ['nowhere', '', 5, undefined]) await refuse('POST', '/filesystems', { name: 'n', region }, 400, invalid)
    for (const id of [NOBODY, 'x', '%00']) await refuse('DELETE', `/filesystems/${id}`, undefined, 404, 'global/object-does-not-exist')
    const other = await otherKey()
    assert.deepEqual(dataOf(await call('GET', '/file-systems', { key: other })), [])
    assert.equal((await call('DELETE', `/filesystems/${kept.id}`, { key: other })).status, 404)

    const launching = '/instance-operations/launch'
    await refuse('POST', launching, { ...LAUNCH, file_system_names: ['absent'] }, 404, 'global/object-does-not-exist')
    await refuse('POST', launching, { ...LAUNCH, file_system_mounts: [{ mount_point: '/data/x', file_system_id: NOBODY }] }, 404, 'global/object-does-not-exist')
    await refuse('POST', launching, { ...LAUNCH, region_name: 'us-east-1', file_system_names: ['kept'] }, 400, 'instance-operations/launch/file-system-in-wrong-region')
    for (const mount_point of ['/etc', '/data/../etc', 'data', '/data x', `/data/${'x'.repeat(260)}`]) {
      await refuse('POST', launching, { ...LAUNCH, file_system_mounts: [{ mount_point, file_system_id: kept.id }] }, 400, invalid)
    }
    for (const file_system_names of ['kept', [5], { 0: 'kept' }]) await refuse('POST', launching, { ...LAUNCH, file_system_names }, 400, invalid)
    assert.deepEqual(dataOf(await call('GET', '/instances')), [])
    assert.deepEqual((await fileSystems()).map(({ name, is_in_use }) => [name, is_in_use]), [['kept', false]])
  })
})

describe('firewall rules', () => {
  test('of the account begin with SSH and ping, and are replaced as a whole', async () => {
    assert.deepEqual(dataOf(await call('GET', '/firewall-rules')), [SSH, PING])
    const rules = [SSH, { protocol: 'udp', port_range: [5000, 5010], source_network: '10.1.2.3', description: '' }, { protocol: 'all', source_network: '10.0.0.1/8' }]
    const kept = [SSH, { protocol: 'udp', port_range: [5000, 5010], source_network: '10.1.2.3/32', description: '' }, { protocol: 'all', port_range: [1, 65_535], source_network: '10.0.0.0/8', description: '' }]
    assert.deepEqual(dataOf(await call('PUT', '/firewall-rules', { body: { data: rules } })), kept)
    assert.deepEqual(dataOf(await call('GET', '/firewall-rulesets/global')), { id: 'global', name: 'Global', rules: kept })
    assert.deepEqual(dataOf(await call('PATCH', '/firewall-rulesets/global', { body: {} })), { id: 'global', name: 'Global', rules: kept })
    assert.deepEqual(dataOf(await call('PATCH', '/firewall-rulesets/global', { body: { rules: [SSH, PING] } })), { id: 'global', name: 'Global', rules: [SSH, PING] })
    assert.deepEqual(dataOf(await call('GET', '/firewall-rules')), [SSH, PING])
  })

  test('in rulesets are kept by name and region, for the instances that are launched with them', async () => {
    const web = { protocol: 'tcp', port_range: [80, 80], source_network: '0.0.0.0/0', description: 'web' }
    const made = dataOf<Ruleset>(await call('POST', '/firewall-rulesets', { body: { name: 'web', region: REGION, rules: [web] } }))
    assert.match(made.id, HEX_ID)
    assert.deepEqual([made.name, made.rules, made.instance_ids], ['web', [web], []])
    const instance = await launch({ firewall_rulesets: [{ id: made.id }] })
    assert.deepEqual(instance.firewall_rulesets, [{ id: made.id }])
    const path = `/firewall-rulesets/${made.id}`
    assert.deepEqual(dataOf<Ruleset>(await call('GET', path)).instance_ids, [instance.id])
    await refuse('DELETE', path, undefined, 400, 'firewall-rulesets/firewall-ruleset-in-use')
    const renamed = dataOf<Ruleset>(await call('PATCH', path, { body: { name: 'www' } }))
    assert.deepEqual([renamed.name, renamed.rules], ['www', [web]])
    assert.deepEqual(dataOf<Ruleset>(await call('PATCH', path, { body: { rules: [] } })).rules, [])
    assert.deepEqual(dataOf<readonly Ruleset[]>(await call('GET', '/firewall-rulesets')).map(({ name }) => name), ['www'])
    await terminate(instance.id)
    assert.deepEqual(dataOf(await call('DELETE', path)), {})
    await refuse('GET', path, undefined, 404, 'global/object-does-not-exist')
  })

  test('that can’t be are refused, and change nothing', async () => {
    const invalid = 'global/invalid-parameters'
    const rule = { protocol: 'tcp', port_range: [80, 80], source_network: '0.0.0.0/0', description: '' }
    const wrong: unknown[] = [
      { ...rule, protocol: 'sctp' },
      { ...rule, protocol: undefined },
      { ...rule, port_range: undefined },
      { ...rule, port_range: [80] },
      { ...rule, port_range: [80, 79] },
      { ...rule, port_range: [0, 80] },
      { ...rule, port_range: [80, 65_536] },
      { ...rule, port_range: ['80', '80'] },
      { ...rule, port_range: [1, 2, 3] },
      { ...rule, protocol: 'icmp' },
      { ...rule, source_network: 'anywhere' },
      { ...rule, source_network: '10.0.0.0/33' },
      { ...rule, source_network: '10.0.0/8' },
      { ...rule, source_network: '::/0' },
      { ...rule, description: 'x'.repeat(129) },
      { ...rule, description: 5 },
      'tcp',
      [],
      7,
    ]
    for (const one of wrong) {
      await refuse('PUT', '/firewall-rules', { data: [rule, one] }, 400, invalid)
      await refuse('POST', '/firewall-rulesets', { name: 'n', region: REGION, rules: [one] }, 400, invalid)
    }
    const many = Array.from({ length: 101 }, () => rule)
    for (const data of [undefined, 'x', {}, many]) await refuse('PUT', '/firewall-rules', { data }, 400, invalid)
    for (const body of [{ region: REGION, rules: [] }, { name: '', region: REGION, rules: [] }, { name: 'x'.repeat(65), region: REGION, rules: [] }, { name: 'n', region: 'nowhere', rules: [] }, { name: 'n', region: REGION }]) {
      await refuse('POST', '/firewall-rulesets', body, 400, invalid)
    }
    for (const id of [NOBODY, 'x']) {
      for (const method of ['GET', 'PATCH', 'DELETE']) await refuse(method, `/firewall-rulesets/${id}`, method === 'PATCH' ? {} : undefined, 404, 'global/object-does-not-exist')
    }
    await refuse('POST', '/instance-operations/launch', { ...LAUNCH, firewall_rulesets: [{ id: NOBODY }] }, 404, 'global/object-does-not-exist')
    const far = dataOf<Ruleset>(await call('POST', '/firewall-rulesets', { body: { name: 'far', region: 'us-east-1', rules: [] } }))
    await refuse('POST', '/instance-operations/launch', { ...LAUNCH, firewall_rulesets: [{ id: far.id }] }, 400, invalid)
    const other = await otherKey()
    assert.equal((await call('GET', `/firewall-rulesets/${far.id}`, { key: other })).status, 404)
    assert.deepEqual(dataOf(await call('GET', '/firewall-rulesets', { key: other })), [])
    dataOf(await call('DELETE', `/firewall-rulesets/${far.id}`))
    assert.deepEqual(dataOf(await call('GET', '/firewall-rules')), [SSH, PING])
    assert.deepEqual(dataOf(await call('GET', '/firewall-rulesets')), [])
  })
})

describe('the audit trail', () => {
  interface Event {
    readonly event_id: string
    readonly event_time: string
    readonly action: string
    readonly resource_name: string
  }
  const page = async (query: string) => {
    const path = `/api/v1/audit-events${query}`
    const answer = await server.request('GET', path)
    assert.equal(answer.status, 200, answer.text)
    contract?.check('GET', path, answer)
    return answer.body as { readonly data: readonly Event[]; readonly page_token: string | null }
  }

  test('tells newest first, page by page, without a gap or a double', async () => {
    for (let n = 0; n < 70; n += 1) {
      const { id } = dataOf<{ readonly id: string }>(await call('POST', '/ssh-keys', { body: { name: `k${n}`, public_key: KEY } }))
      dataOf(await call('DELETE', `/ssh-keys/${id}`))
    }
    const first = await page('?resource_type=ssh_key')
    assert.equal(first.data.length, 100)
    const rest = await page(`?resource_type=ssh_key&page_token=${first.page_token ?? ''}`)
    const all = [...first.data, ...rest.data]
    assert.equal(rest.page_token, null)
    assert.equal(new Set(all.map(event => event.event_id)).size, all.length)
    assert.deepEqual(all.map(event => event.event_time), all.map(event => event.event_time).toSorted().toReversed())
    assert.ok(all.every(event => event.resource_name === 'ssh-key'))
    assert.equal(all[0]?.action, 'ssh-key.delete')
    const everything = await page('')
    for (const action of ['ssh-key.create', 'ssh-key.delete']) assert.ok(everything.data.some(event => event.action === action), action)
    assert.deepEqual((await page('?end=2001-01-01T00:00:00Z')).data, [])
    assert.equal((await page(`?start=${encodeURIComponent(all.at(-1)?.event_time ?? '')}&resource_type=ssh_key`)).data.length, 100)
  })

  test('refuses what it can’t mean', async () => {
    for (const query of ['?start=yesterday', '?end=x', '?page_token=%25', '?page_token=W10', '?start=2020-01-01&start=2021-01-01']) {
      await refuse('GET', `/audit-events${query}`, undefined, 400, 'global/invalid-parameters')
    }
  })
})
