/**
 * Whatever a client sends: bodies and queries of Mithril's API with one part exchanged for anything at all, and many
 * clients that bid, pause and end at once over few slots. No answer is a 5xx but the 501 that is declared, every answer is
 * one that the contract knows, no more slots are given than there are, and nothing is held once all orders have ended.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import * as fc from 'fast-check'
import { bodyOf, judgedMithrilCalls, loadMithrilContract } from './support/mithril.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const REGION = 'us-central1-a'
const SLOTS = 3
const RUNS = 150
const CLIENTS = 6
const CALLS_PER_CLIENT = 20
const HOUR_MS = 3_600_000
const CATALOGUE = {
  regions: [{ id: 'home', description: 'Home', names: { mithril: REGION } }],
  types: [{ id: 'slot', description: 'One slot', vcpus: 1, memoryMib: 256, diskGib: 1, priceMicrosPerHour: 1_000_000, names: { mithril: 'cpu.slot' } }],
}

type Json = Readonly<Record<string, unknown>>
interface Row {
  readonly fid: string
  readonly status: string
}

let dataDir = ''
let server: TestServer
let project = ''
let type = ''
const call = judgedMithrilCalls(() => server, loadMithrilContract())

before(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'mr-'))
  writeFileSync(join(dataDir, 'catalogue.json'), JSON.stringify(CATALOGUE))
  server = await startServer({ dataDir, env: { BERTH_OVERCOMMIT_CPU: String(SLOTS / 4096) } })
  project = bodyOf<readonly Row[]>(await call('GET', '/projects'))[0]?.fid ?? ''
  type = bodyOf<readonly Row[]>(await call('GET', '/instance-types'))[0]?.fid ?? ''
})
after(async () => {
  try {
    await server.stop()
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
})

const soon = (hours: number) => new Date(Date.now() + hours * HOUR_MS).toISOString()
const order = (name: string): Json => ({ project, region: REGION, instance_type: type, instance_quantity: 1, name, launch_specification: { ssh_keys: [], volumes: [] } })

/** Every operation that takes a body, with one that would be right; a price that never wins keeps the server idle. */
function bodies(): readonly (readonly [method: string, path: string, body: Json])[] {
  return [
    ['PATCH', '/instances', { instances: [], status: 'STATUS_PAUSED' }],
    ['POST', '/instances/inst_x/refresh-boot-disk', { image_version: 'imgver_x' }],
    ['POST', '/spot/bids', { ...order('random'), instance_quantity: SLOTS + 1, limit_price: '$0.30' }],
    ['PATCH', '/spot/bids/bid_x', { limit_price: '$1.00', paused: true, volumes: [], memory_gb: 1 }],
    ['POST', '/reservation', { ...order('random'), instance_quantity: SLOTS + 1, start_time: soon(1), end_time: soon(5), price_specification: { offer_key: 'standard', max_unit_price: 100 } }],
    ['PATCH', '/reservation/res_x', { paused: true, volumes: [] }],
    ['POST', '/reservation/res_x/extend', { end_time: soon(9) }],
    ['POST', '/reservation/res_x/terminate-instances', { instances: ['inst_x'], reduce_capacity: true }],
    ['POST', '/ssh-keys', { project, name: 'random', required: false }],
    ['PATCH', '/ssh-keys/sshkey_x', { required: true }],
    ['POST', '/volumes', { name: 'Random', project, disk_interface: 'Block', region: REGION, size_gb: 1 }],
    ['PATCH', '/volumes/vol_x', { name: 'random' }],
    ['POST', '/api-keys', { name: '', expires_at: soon(1) }],
  ]
}

const QUERIES = [
  ['/instances', ['project', 'next_cursor', 'sort_by', 'sort_dir', 'instance_type', 'region', 'status_in', 'order_type_in', 'bid_fid_in', 'reservation_fid_in', 'limit']],
  ['/instances/status/history', ['project', 'instance_fid', 'bid_fid', 'reservation_fid', 'limit', 'start_time', 'end_time', 'next_cursor']],
  ['/instances/pricing/history', ['project', 'instance_fid', 'bid_fid', 'reservation_fid', 'limit', 'start_time', 'end_time', 'next_cursor']],
  ['/spot/bids', ['project', 'next_cursor', 'sort_by', 'sort_dir', 'instance_type', 'region', 'status', 'name', 'limit']],
  ['/spot/availability', ['instance_type', 'region']],
  ['/reservation', ['project', 'next_cursor', 'sort_by', 'status', 'limit']],
  ['/reservation/quote', ['project', 'instance_type', 'region', 'start_time', 'end_time', 'quantity']],
  ['/reservation/availability', ['project', 'instance_type', 'region', 'mode', 'start_time', 'end_time', 'latest_end_time', 'quantity']],
  ['/pricing/current', ['instance_type', 'region', 'instance_quantity']],
  ['/pricing/history', ['instance_types', 'region', 'num_samples', 'start_time', 'end_time']],
  ['/volumes', ['project', 'region', 'include_deleted']],
] as const

/** Values that other fields of the wire would take, among anything at all. */
const value = fc.oneof(
  fc.constantFrom<unknown>(null, true, 0, -1, 1e308, '', ' ', '\0', '$1.00', '-1', 'STATUS_PAUSED', 'NaN', '2024-01-01T00:00:00Z', '9999-12-31T23:59:59Z', [], {}, ['x'], { a: 1 }, 'x'.repeat(3000)),
  fc.jsonValue(),
)

test('no body with a part exchanged for anything is more than refused', async () => {
  const requests = bodies()
  const changed = fc.integer({ min: 0, max: requests.length - 1 }).chain(index => {
    const [method = '', path = '', body = {}] = requests[index] ?? []
    return fc.record({ method: fc.constant(method), path: fc.constant(path), body: fc.constant(body), member: fc.constantFrom(...Object.keys(body)), value, isGone: fc.boolean() })
  })
  await fc.assert(
    fc.asyncProperty(changed, async ({ method, path, body, member, value: other, isGone }) => {
      const { [member]: _, ...rest } = body
      await call(method, path, { body: isGone ? rest : { ...rest, [member]: other } })
    }),
    { numRuns: RUNS },
  )
})

test('no query of anything is more than refused', async () => {
  const asked = fc.constantFrom(...QUERIES).chain(([path, names]) => fc.record({ path: fc.constant(path), pairs: fc.array(fc.tuple(fc.constantFrom(...names), value), { maxLength: 6 }), isMine: fc.boolean() }))
  await fc.assert(
    fc.asyncProperty(asked, async ({ path, pairs, isMine }) => {
      const query = new URLSearchParams(isMine ? { project, instance_type: type, region: REGION, start_time: soon(0), end_time: soon(4), quantity: '1' } : {})
      for (const [name, text] of pairs) query.append(name, (typeof text === 'string' ? text : (JSON.stringify(text) ?? '')).toWellFormed())
      await call('GET', `${path}?${query.toString()}`)
    }),
    { numRuns: RUNS },
  )
})

test('clients that bid, pause and end at once never get more than there is, and leave nothing behind', async () => {
  const seed = Number(process.env['BERTH_TEST_SEED'] ?? Date.now() % 1_000_000)
  let state = seed
  const pick = <T>(...choices: readonly [T, ...T[]]): T => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return choices[Math.floor((state / 2 ** 32) * choices.length)] ?? choices[0]
  }
  const bids: string[] = []
  const live = async (query: string) => bodyOf<{ data: readonly Row[] }>(await call('GET', `/instances?project=${project}&${query}`)).data
  const act = async (client: number, turn: number) => {
    const bid = bids.length === 0 ? 'bid_x' : (bids[turn % bids.length] ?? 'bid_x')
    switch (pick('place', 'place', 'raise', 'pause', 'resume', 'end', 'look')) {
      case 'place': {
        const quantity = pick(1, 1, 2, SLOTS)
        const placed = await call('POST', '/spot/bids', { body: { ...order(`c${client}`), instance_quantity: quantity, limit_price: pick('$0.25', '$0.50', '$0.75', '$2.00') } })
        if (placed.status === 201) bids.push(bodyOf<Row>(placed).fid)
        return
      }
      case 'raise':
        return call('PATCH', `/spot/bids/${bid}`, { body: { limit_price: pick('$0.25', '$1.00', '$3.00') } })
      case 'pause':
        return call('PATCH', `/spot/bids/${bid}`, { body: { paused: true } })
      case 'resume':
        return call('PATCH', `/spot/bids/${bid}`, { body: { paused: false } })
      case 'end':
        return call('DELETE', `/spot/bids/${bid}`)
      case 'look': {
        const running = await live('status_in=STATUS_CONFIRMED,STATUS_INITIALIZING,STATUS_STARTING,STATUS_RUNNING,STATUS_PREEMPTING')
        assert.ok(running.length <= SLOTS, `${running.length} of ${SLOTS} slots are given, seed ${seed}`)
      }
    }
  }
  const client = async (index: number) => {
    for (let turn = 0; turn < CALLS_PER_CLIENT; turn++) await act(index, turn)
  }
  await Promise.all(Array.from({ length: CLIENTS }, (_, index) => client(index)))
  const open = bodyOf<{ data: readonly Row[] }>(await call('GET', '/spot/bids?limit=100')).data
  for (const bid of open) if (bid.status !== 'Terminated') assert.ok([204, 404].includes((await call('DELETE', `/spot/bids/${bid.fid}`)).status))
  await eventually(`all is over, seed ${seed}`, async () => ((await live('limit=100')).every(row => row.status === 'STATUS_TERMINATED') ? true : null))
  const prices = await eventually('the market is quiet', async () => {
    const now = bodyOf<Readonly<Record<string, number>>>(await call('GET', `/pricing/current?instance_type=${type}`))
    return now['available_capacity'] === SLOTS ? now : null
  })
  assert.equal(prices['spot_price_cents'], 25)
})
