/**
 * Mithril's orders over real VMs, as docs/mithril.md walks: two bids compete for the last slot, the lower one has notice
 * and is preempted, status and pricing histories tell the story to the cent, it comes back with its disk once it wins
 * again, a reservation is paused and started in a batch, and usage adds up. Then a client that is generated from the
 * published schema does the same things by its types.
 *
 * Prices are tens of thousands of dollars an hour, so that seconds cost whole dollars.
 */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { availableParallelism, tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { parseId } from '../src/instance/ids.ts'
import { commandEnv, startBerth } from './support/berth-command.ts'
import { runGenerated, whyNoGenerator } from './support/generated-client.ts'
import { bodyOf, judgedMithrilCalls, loadMithrilContract, MITHRIL_CONTRACT_FILE } from './support/mithril.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const WAIT_MS = 300_000
const NOTICE_MS = 3000
const HOUR_MS = 3_600_000
const SLOTS = 3
const REGION = 'us-central1-a'
const PRICE_MICROS = 36_000_000_000
const CATALOGUE = {
  regions: [{ id: 'home', description: 'Home', names: { koyeb: 'fra', lambda: 'us-west-1', mithril: REGION } }],
  types: [{ id: 'slot', description: 'One slot', vcpus: 1, memoryMib: 256, diskGib: 1, priceMicrosPerHour: PRICE_MICROS, names: { mithril: 'cpu.slot' } }],
}

interface Order {
  readonly fid: string
  readonly status: string
  readonly instances: readonly string[]
  readonly total_price: string
}
interface Row {
  readonly fid: string
  readonly name: string
  readonly status: string
  readonly private_ip: string | null
}
interface Period {
  readonly price_cents: number
  readonly start_time: string
  readonly end_time: string | null
}
interface Cost {
  readonly instanceId: string
  readonly costMicros: number
}

let dataDir = ''
let scratch = ''
let server: TestServer
let project = ''
let type = ''
const call = judgedMithrilCalls(() => server, loadMithrilContract())

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'mc-'))
  dataDir = mkdtempSync(join(tmpdir(), 'mv-'))
  // VMs run as users of their own, who pass through here.
  chmodSync(dataDir, 0o711)
  writeFileSync(join(dataDir, 'catalogue.json'), JSON.stringify(CATALOGUE))
  const env = { BERTH_OVERCOMMIT_CPU: ((SLOTS + 0.01) / availableParallelism()).toFixed(6), BERTH_PREEMPTION_NOTICE: `${NOTICE_MS / 1000}s` }
  server = await startServer({ host: 'qemu', dataDir, env })
  project = bodyOf<readonly { fid: string }[]>(await call('GET', '/projects'))[0]?.fid ?? ''
  type = bodyOf<readonly { fid: string }[]>(await call('GET', '/instance-types'))[0]?.fid ?? ''
})
after(async () => {
  try {
    await server.stop()
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
    rmSync(scratch, { recursive: true, force: true })
  }
})

const order = (name: string) => ({ project, region: REGION, instance_type: type, instance_quantity: 1, name, launch_specification: { ssh_keys: [], volumes: [] } })

async function bid(name: string, price: string): Promise<string> {
  const answer = await call('POST', '/spot/bids', { body: { ...order(name), limit_price: price } })
  return bodyOf<Order>(answer).fid
}

async function rowsOf(query: string): Promise<readonly Row[]> {
  return bodyOf<{ data: readonly Row[] }>(await call('GET', `/instances?project=${project}&${query}`)).data
}

function allAre(query: string, status: string, count: number): Promise<readonly Row[]> {
  const look = async () => {
    const rows = (await rowsOf(query)).filter(row => row.status === status)
    return rows.length === count ? rows : null
  }
  return eventually(`${count} of ${query} are ${status}`, look, WAIT_MS)
}

async function one(query: string, status: string): Promise<Row> {
  const [row] = await allAre(query, status, 1)
  assert.ok(row)
  return row
}

async function history<E>(kind: 'status' | 'pricing', fid: string): Promise<readonly E[]> {
  const answer = await call('GET', `/instances/${kind}/history?project=${project}&instance_fid=${fid}`)
  return bodyOf<{ instances: readonly { events: readonly E[] }[] }>(answer).instances[0]?.events ?? []
}

async function run(fid: string, ...command: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await startBerth(commandEnv(server), ['exec', parseId('instance', 'mithril', fid) ?? '', '--', ...command]).done
  assert.equal(status, 0, stderr)
  return stdout
}

/** What periods that are over cost: to the micro-dollar, each by its own milliseconds. */
function costOf(periods: readonly Period[]): number {
  return periods.reduce((sum, { price_cents: cents, start_time: from, end_time: until }) => {
    assert.ok(until !== null)
    return sum + (cents * 10_000 * (Date.parse(until) - Date.parse(from))) / HOUR_MS
  }, 0)
}

test('two bids compete for the last slot, and everything tells the same story', async () => {
  const base = { ...order('base'), instance_quantity: 2, start_time: new Date().toISOString(), end_time: new Date(Date.now() + 3 * HOUR_MS).toISOString() }
  const reserved = bodyOf<Order>(await call('POST', '/reservation', { body: base }))
  // It begins a moment after it was asked for.
  assert.equal(Math.round((Number(reserved.total_price.slice(1)) * 1_000_000) / PRICE_MICROS), 2 * 3)
  const held = await allAre(`reservation_fid_in=${reserved.fid}`, 'STATUS_RUNNING', 2)

  const low = await bid('low', '$18000.00')
  const lowRow = await one(`bid_fid_in=${low}`, 'STATUS_RUNNING')
  await run(lowRow.fid, 'sh', '-c', 'echo kept >/root/note; sync')
  const high = await bid('high', '$27000.00')
  const noticed = await eventually('the lower one has notice', async () => {
    const status = bodyOf<{ status: string; end_time: string | null }>(await call('GET', `/instances/${lowRow.fid}/status`))
    return status.status === 'STATUS_PREEMPTING' || status.status === 'STATUS_PREEMPTED' ? status : null
  })
  if (noticed.status === 'STATUS_PREEMPTING') assert.ok(noticed.end_time !== null && Date.parse(noticed.end_time) <= Date.now() + NOTICE_MS, noticed.end_time ?? 'no end')
  const highRow = await one(`bid_fid_in=${high}`, 'STATUS_RUNNING')
  assert.match(await run(highRow.fid, 'hostname'), /high/)
  assert.equal((await one(`bid_fid_in=${low}`, 'STATUS_PREEMPTED')).fid, lowRow.fid)
  assert.equal(bodyOf<Order>(await call('GET', `/spot/bids/${low}`)).status, 'Open')

  const told = (await history<{ status: string }>('status', lowRow.fid)).map(event => event.status)
  const running = told.indexOf('STATUS_RUNNING')
  assert.deepEqual(told.slice(0, 1), ['STATUS_NEW'])
  assert.deepEqual(told.slice(running), ['STATUS_RUNNING', 'STATUS_PREEMPTING', 'STATUS_PREEMPTED'])
  const paid = await history<Period>('pricing', lowRow.fid)
  assert.deepEqual(paid.map(period => period.price_cents), [900_000, 1_800_000], 'the floor, then its own limit: the highest that loses')
  assert.equal(paid[0]?.end_time, paid[1]?.start_time)
  assert.ok(paid.every(period => period.end_time !== null))
  assert.deepEqual((await history<Period>('pricing', highRow.fid)).map(period => [period.price_cents, period.end_time]), [[1_800_000, null]])

  await pauseAndStart(reserved, held)
  await checkUsage(lowRow.fid, paid)

  assert.equal((await call('DELETE', `/spot/bids/${high}`)).status, 204)
  assert.equal((await one(`bid_fid_in=${low}`, 'STATUS_RUNNING')).fid, lowRow.fid)
  assert.match(await run(lowRow.fid, 'cat', '/root/note'), /kept/)
  await eventually('a program inside can read that it runs', async () =>
    (await run(lowRow.fid, 'cat', '/opt/mithril/MITHRIL_SIGNAL.yml')).startsWith('instance_status: STATUS_RUNNING\nbid_status: Allocated\n') ? true : null,
  )
  assert.equal((await call('DELETE', `/spot/bids/${low}`)).status, 204)
  await one(`bid_fid_in=${low}`, 'STATUS_TERMINATED')
  const whole = await history<Period>('pricing', lowRow.fid)
  assert.deepEqual(whole.map(period => period.price_cents).slice(0, 3), [900_000, 1_800_000, 900_000])
  await checkUsage(lowRow.fid, whole)
})

/** Both of a reservation's instances at once, with the account of it afterwards. */
async function pauseAndStart({ fid, total_price: total }: Order, held: readonly Row[]): Promise<void> {
  const fids = held.map(row => row.fid)
  const each = (status: string) => ({ instances: Object.fromEntries(fids.map(one => [one, status])) })
  const patch = (status: string) => call('PATCH', '/instances', { body: { instances: fids, status } })
  assert.deepEqual(bodyOf(await patch('STATUS_PAUSED')), each('STATUS_STOPPING'))
  await allAre(`reservation_fid_in=${fid}`, 'STATUS_PAUSED', 2)
  assert.deepEqual(bodyOf(await patch('STATUS_RUNNING')), each('STATUS_CONFIRMED'))
  const again = await allAre(`reservation_fid_in=${fid}`, 'STATUS_RUNNING', 2)
  assert.deepEqual(again.map(row => row.private_ip), held.map(row => row.private_ip))
  const { summary } = bodyOf<{ summary: Readonly<Record<string, number>> }>(await call('GET', `/reservation/${fid}/usage`))
  assert.equal(summary['committed_cost_cents'], Math.round(Number(total.slice(1)) * 100), 'charged in full')
  assert.deepEqual([summary['flex_use_credits_cents'], summary['net_cost_cents']], [0, summary['committed_cost_cents']], 'paused for less than an hour')
}

/** The ledger of all instances: the one's line is the sum of its periods, and the total the sum of the lines. */
async function checkUsage(fid: string, periods: readonly Period[]): Promise<void> {
  const { status, body, text } = await server.request('GET', '/berth/v1/market/usage')
  assert.equal(status, 200, text)
  const usage = body as { costMicros: number; items: readonly Cost[] }
  const line = usage.items.find(one => one.instanceId === parseId('instance', 'mithril', fid))
  assert.ok(Math.abs((line?.costMicros ?? 0) - costOf(periods)) <= periods.length, `${line?.costMicros} micro-dollars, not ${costOf(periods)}`)
  assert.equal(usage.costMicros, usage.items.reduce((sum, one) => sum + one.costMicros, 0))
}

const CLIENT = `
import createClient from 'openapi-fetch'
import { setTimeout as sleep } from 'node:timers/promises'
import type { paths } from './schema.d.ts'

const client = createClient<paths>({ baseUrl: process.env['MITHRIL_URL'] ?? '', headers: { Authorization: 'Bearer fkey_' + (process.env['MITHRIL_KEY'] ?? '') } })
const me = await client.GET('/v2/me')
const project = (await client.GET('/v2/projects')).data?.[0]?.fid ?? ''
const [row] = (await client.GET('/v2/spot/availability')).data ?? []
const body = { project, region: row?.region ?? '', instance_type: row?.instance_type ?? '', limit_price: '$20000.00', instance_quantity: 1, name: 'generated', launch_specification: { ssh_keys: [], volumes: [] } }
const placed = await client.POST('/v2/spot/bids', { body })
const bid = placed.data?.fid ?? ''
const find = async () => (await client.GET('/v2/instances', { params: { query: { project, bid_fid_in: [bid], sort_by: 'created_at', sort_dir: 'desc', limit: 100 } } })).data?.data[0]
let instance = await find()
for (let asked = 0; instance?.status !== 'STATUS_RUNNING' || instance.ssh_destination === null; asked++) {
  if (asked > 1000) throw new Error('it does not run: ' + JSON.stringify(instance))
  await sleep(200)
  instance = await find()
}
const status = await client.GET('/v2/instances/{instance_fid}/status', { params: { path: { instance_fid: instance.fid } } })
const history = await client.GET('/v2/instances/status/history', { params: { query: { project, bid_fid: bid } } })
const pricing = await client.GET('/v2/instances/pricing/history', { params: { query: { project, instance_fid: instance.fid } } })
const spot = await client.PATCH('/v2/instances', { body: { instances: [instance.fid], status: 'STATUS_PAUSED' } })
const wrong = await client.GET('/v2/instances', { params: { query: { project, limit: 0 } } })
const ended = await client.DELETE('/v2/spot/bids/{bid_fid}', { params: { path: { bid_fid: bid } } })
console.log(JSON.stringify({
  me: me.data?.email,
  placed: placed.data?.limit_price,
  instance: [instance.name, instance.bid === bid, instance.reservation],
  status: [status.data?.status, status.data?.end_time],
  statuses: history.data?.instances[0]?.events.at(-1)?.status,
  price: pricing.data?.instances[0]?.events[0]?.price_cents,
  spot: spot.response.status,
  wrong: wrong.error?.detail?.[0]?.loc,
  ended: ended.response.status,
}))
`

test('a client generated from the schema does what its types promise', async t => {
  const reason = whyNoGenerator(MITHRIL_CONTRACT_FILE)
  if (reason !== null) return t.skip(reason)
  const env = { MITHRIL_URL: server.url, MITHRIL_KEY: server.key }
  assert.deepEqual(await runGenerated({ contract: MITHRIL_CONTRACT_FILE, dir: join(scratch, 'client'), source: CLIENT, env }), {
    me: 'default@berth.invalid',
    placed: '$20000.00',
    instance: ['generated-1', true, null],
    status: ['STATUS_RUNNING', null],
    statuses: 'STATUS_RUNNING',
    price: 900_000,
    spot: 501,
    wrong: ['query', 'limit'],
    ended: 204,
  })
})
