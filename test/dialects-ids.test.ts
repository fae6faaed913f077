/**
 * One instance, every dialect: what each of them launches is seen through all of them, under the id in their spelling,
 * alone and in lists, and is gone from all of them afterwards. Over a simulated host.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { isUuidV4, spellId } from '../src/instance/ids.ts'
import type { InstanceId } from '../src/instance/model.ts'
import { loadKoyebContract } from './support/koyeb.ts'
import { loadLambdaContract } from './support/lambda.ts'
import { connect, dataOf } from './support/mcp.ts'
import { loadMithrilContract } from './support/mithril.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzzAnTxl6twSZjHUyzd3YYcldFMZbBEfJXSdMANO4P8 me@home'

const contracts = [loadKoyebContract(), loadLambdaContract(), loadMithrilContract()]
let server: TestServer
let project = ''
let mcp: Awaited<ReturnType<typeof connect>>

before(async () => {
  server = await startServer({ env: { BERTH_MCP_LISTEN: '127.0.0.1:0', BERTH_OVERCOMMIT_CPU: '64', BERTH_OVERCOMMIT_MEMORY: '64' } })
  const { mcpUrl } = JSON.parse(readFileSync(join(server.dataDir, 'server.json'), 'utf8')) as { mcpUrl: string }
  mcp = await connect(mcpUrl, '2026-07-28', server.key)
  await ok('POST', '/api/v1/ssh-keys', { name: 'mine', public_key: KEY })
  project = (await ok<{ fid: string }[]>('GET', '/v2/projects'))[0]?.fid ?? ''
})
after(async () => {
  await mcp.close()
  await server.stop()
})

/** The body of an answer that is fine, judged by its vendor's contract where that is at hand. */
async function ok<T = Record<string, unknown>>(method: string, path: string, body?: unknown): Promise<T> {
  const answer = await server.request(method, path, body === undefined ? {} : { body })
  assert.ok(answer.status >= 200 && answer.status < 300, `${method} ${path}: ${answer.status} ${answer.text}`)
  const dialect = ['/v1/', '/api/v1/', '/v2/'].findIndex(prefix => path.startsWith(prefix))
  contracts[dialect]?.check(method, path, answer)
  return answer.body as T
}

const named = (name: string, items: readonly { readonly name?: string; readonly id: string }[]) => items.find(item => item.name === name)?.id ?? null

/** How each dialect launches, and the native id of what came of it. */
const LAUNCHES: Readonly<Record<string, () => Promise<InstanceId>>> = {
  async native() {
    return (await ok<{ id: InstanceId }>('POST', '/berth/v1/instances', { image: IMAGE, name: 'by-native', cmd: ['sleep', '100000'] })).id
  },
  async hypeman() {
    await ok('POST', '/instances', { image: IMAGE, name: 'by-hypeman', size: '256MB', entrypoint: ['sleep', '100000'] })
    return byName('by-hypeman')
  },
  async koyeb() {
    const { app } = await ok<{ app: { id: string } }>('POST', '/v1/apps', { name: 'by-koyeb' })
    const definition = { name: 'by-koyeb', type: 'WORKER', docker: { image: IMAGE, command: 'sleep', args: ['100000'] }, instance_types: [{ type: 'nano' }] }
    const { service } = await ok<{ service: { id: string } }>('POST', '/v1/services', { app_id: app.id, definition })
    return eventually('the replica is there', async () => {
      const { instances } = await ok<{ instances: { id: InstanceId }[] }>('GET', `/v1/instances?service_id=${service.id}`)
      return instances[0]?.id ?? null
    })
  },
  async lambda() {
    const launch = { region_name: 'us-west-1', instance_type_name: 'cpu_1x_general', ssh_key_names: ['mine'] }
    const { data } = await ok<{ data: { instance_ids: string[] } }>('POST', '/api/v1/instance-operations/launch', launch)
    return (data.instance_ids[0] ?? '').replace(/^(.{8})(.{4})(.{4})(.{4})(.{12})$/, '$1-$2-$3-$4-$5') as InstanceId
  },
  async mithril() {
    const { name: region, instance_type } = await cheapOffer()
    const key = await ok<{ fid: string }>('POST', '/v2/ssh-keys', { project, name: 'bidder', public_key: KEY })
    const order = { project, region, instance_type, instance_quantity: 1, name: 'by-mithril', limit_price: '$100.00', launch_specification: { ssh_keys: [key.fid], volumes: [] } }
    const bid = await ok<{ fid: string }>('POST', '/v2/spot/bids', order)
    return eventually('the bid has its instance', async () => {
      const { data } = await ok<{ data: { fid: string; bid: string | null; name: string }[] }>('GET', `/v2/instances?project=${project}&limit=100`)
      const row = data.find(one => one.bid === bid.fid)
      if (row === undefined) return null
      return (await ok<{ id: InstanceId }>('GET', `/berth/v1/instances/${row.fid}`)).id
    })
  },
  async mcp() {
    const made = await mcp.callTool({ name: 'create-instance', arguments: { image: IMAGE, name: 'by-mcp', command: ['sleep', '100000'] } })
    return dataOf<{ instance: { id: InstanceId } }>(made).instance.id
  },
}

async function byName(name: string): Promise<InstanceId> {
  const { items } = await ok<{ items: { id: InstanceId; name: string }[] }>('GET', `/berth/v1/instances?name=${name}`)
  const id = named(name, items) as InstanceId | null
  assert.ok(id !== null)
  return id
}

/** The smallest type that a real machine has, and its region. */
async function cheapOffer(): Promise<{ readonly name: string; readonly instance_type: string }> {
  const types = await ok<{ fid: string; name: string }[]>('GET', '/v2/instance-types')
  const offers = await ok<{ region: string; instance_type: string; capacity: number }[]>('GET', '/v2/spot/availability')
  const offer = offers.find(one => types.find(type => type.fid === one.instance_type)?.name.startsWith('cpu') === true)
  assert.ok(offer !== undefined, JSON.stringify({ types, offers }).slice(0, 2000))
  return { name: offer.region, instance_type: offer.instance_type }
}

/** Where each dialect shows an instance alone, and whether its list has it. */
const READERS: Readonly<Record<string, (id: InstanceId) => Promise<readonly string[]>>> = {
  async native(id) {
    const one = await ok<{ id: string }>('GET', `/berth/v1/instances/${id}`)
    const { items } = await ok<{ items: { id: string }[] }>('GET', '/berth/v1/instances?limit=100')
    return [one.id, ...items.map(item => item.id)]
  },
  async hypeman(id) {
    const one = await ok<{ id: string }>('GET', `/instances/${spellId('instance', 'hypeman', id)}`)
    return [one.id, ...(await ok<{ id: string }[]>('GET', '/instances')).map(item => item.id)]
  },
  async koyeb(id) {
    const { instance } = await ok<{ instance: { id: string } }>('GET', `/v1/instances/${id}`)
    const { instances } = await ok<{ instances: { id: string }[] }>('GET', '/v1/instances')
    return [instance.id, ...instances.map(item => item.id)]
  },
  async lambda(id) {
    const { data: one } = await ok<{ data: { id: string } }>('GET', `/api/v1/instances/${spellId('instance', 'lambda', id)}`)
    const { data } = await ok<{ data: { id: string }[] }>('GET', '/api/v1/instances')
    return [one.id, ...data.map(item => item.id)]
  },
  async mithril(id) {
    const fid = spellId('instance', 'mithril', id)
    const { data } = await ok<{ data: { fid: string }[] }>('GET', `/v2/instances?project=${project}&limit=100`)
    await ok('GET', `/v2/instances/${fid}/status`)
    return [data.find(item => item.fid === fid)?.fid ?? '', ...data.map(item => item.fid)]
  },
  async mcp(id) {
    const one = dataOf<{ instance: { id: string } }>(await mcp.callTool({ name: 'get-instance', arguments: { id } }))
    const { instances } = dataOf<{ instances: { id: string }[] }>(await mcp.callTool({ name: 'list-instances', arguments: {} }))
    return [one.instance.id, ...instances.map(item => item.id)]
  },
}

function spelled(dialect: string, id: InstanceId): string {
  return dialect === 'native' || dialect === 'mcp' ? id : spellId('instance', dialect as 'koyeb', id)
}

for (const [launcher, launch] of Object.entries(LAUNCHES)) {
  test(`what ${launcher} launches is seen through every dialect, with its id in their spelling`, async () => {
    const id = await launch()
    assert.ok(isUuidV4(id), id)
    for (const [dialect, read] of Object.entries(READERS)) {
      const [alone, ...list] = await read(id)
      assert.equal(alone, spelled(dialect, id), dialect)
      assert.ok(list.includes(spelled(dialect, id)), `the list of ${dialect} has it: ${list.join()}`)
    }
    const { ids } = await ok<{ ids: Record<string, string> }>('GET', `/berth/v1/instances/${id}`)
    for (const [dialect, text] of Object.entries(ids)) assert.equal(text, spelled(dialect, id))
  })
}

test('one that is deleted through one dialect is over in all', async () => {
  const id = await byName('by-hypeman')
  await ok('DELETE', `/instances/${spellId('instance', 'hypeman', id)}`)
  assert.equal((await server.request('GET', `/instances/${spellId('instance', 'hypeman', id)}`)).status, 404)
  // These go on telling how it ended.
  const { data } = await ok<{ data: { status: string } }>('GET', `/api/v1/instances/${spellId('instance', 'lambda', id)}`)
  assert.equal(data.status, 'terminated')
  const { instance } = await ok<{ instance: { status: string } }>('GET', `/v1/instances/${id}`)
  assert.equal(instance.status, 'STOPPED')
})
