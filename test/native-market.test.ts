/** The market over HTTP on a simulated host: what is to be had, bids and reservations, and what instances cost. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { commandEnv, startBerth } from './support/berth-command.ts'
import { makeNativeClient } from './support/native-client.ts'
import type { NativeClient } from './support/native-client.ts'
import { startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'
import { eventually } from './engine-fixture.ts'

const IMAGE = 'localhost/busybox'
const WHERE = { type: 'small', region: 'simulated' }

interface BidView {
  readonly id: string
  readonly status: string
  readonly limitMicros: number
  readonly spotMicros: number
  readonly message: string | null
  readonly instanceIds: readonly string[]
}
interface SupplyView {
  readonly type: string
  readonly region: string
  readonly capacity: number
  readonly available: number
  readonly allocated: number
  readonly reserved: number
  readonly spotMicros: number
  readonly floorMicros: number
}

let server: TestServer
let api: NativeClient

before(async () => {
  server = await startServer()
  api = await makeNativeClient(server)
  await api.ok(200, 'GET', `/images/${encodeURIComponent(`${IMAGE}:latest`)}/wait?timeoutMs=60000`)
})
after(() => server.stop())

const place = (name: string, limitMicros: number, quantity = 1) => api.ok<BidView>(201, 'POST', '/market/bids', { body: { name, ...WHERE, quantity, limitMicros, image: IMAGE, cmd: ['sleep', '100000'] } })
const bid = (id: string) => api.ok<BidView>(200, 'GET', `/market/bids/${id}`)
const supply = async () => {
  const { items } = await api.ok<{ items: SupplyView[] }>(200, 'GET', `/market/supply?type=${WHERE.type}&region=${WHERE.region}`)
  assert.equal(items.length, 1)
  return items[0] as SupplyView
}
const instances = async (id: string) => {
  const { instanceIds } = await bid(id)
  return Promise.all(instanceIds.map((each) => api.ok<{ id: string; name: string; phase: string }>(200, 'GET', `/instances/${each}`)))
}
const running = (id: string, count: number) =>
  eventually(async () => {
    const all = await instances(id)
    return all.length === count && all.every(({ phase }) => phase === 'running')
  }, `${count} of the bid run`)

test('supply tells every type in every region, with its floor, and takes no other word', async () => {
  const { items } = await api.ok<{ items: SupplyView[] }>(200, 'GET', '/market/supply')
  assert.equal(items.filter(({ region }) => region === 'simulated').length, items.length / 2)
  assert.ok(items.every(({ floorMicros, spotMicros }) => floorMicros >= 10_000 && spotMicros === floorMicros))
  assert.equal((await api.call('GET', '/market/supply?type=none')).status, 400)
  assert.equal((await api.call('GET', '/market/supply?colour=red')).status, 400)
})

test('bids compete for the slots of a region; prices, usage and the bid itself agree', async () => {
  const { capacity } = await supply()
  assert.equal(capacity, 8)
  const most = await place('most', 60_000, 7)
  assert.equal(most.status, 'allocated')
  const low = await place('low', 20_000)
  await running(most.id, 7)
  await running(low.id, 1)
  const high = await place('high', 50_000)
  assert.equal(high.status, 'open')
  const told = await bid(low.id)
  assert.equal(told.status, 'preempting')
  assert.equal(told.spotMicros, 20_000)
  assert.equal((await supply()).spotMicros, 20_000)
  const won = await api.ok<BidView>(200, 'PATCH', '/market/bids/low', { body: { limitMicros: 60_000 } })
  assert.deepEqual([won.status, won.spotMicros], ['allocated', 50_000])
  const { items: prices } = await api.ok<{ items: { points: { spotMicros: number }[] }[] }>(200, 'GET', `/market/prices?type=${WHERE.type}&region=${WHERE.region}`)
  assert.deepEqual([...new Set(prices[0]?.points.map((point) => point.spotMicros))], [10_000, 20_000, 50_000])
  const { items: story } = await api.ok<{ items: { type: string }[] }>(200, 'GET', `/market/bids/${low.id}/events`)
  assert.deepEqual(story.map(({ type }) => type), ['placed', 'allocated', 'preempting', 'limit-changed', 'notice-withdrawn'])

  const usage = await api.ok<{ costMicros: number; netMicros: number; items: { name: string; costMicros: number; periods: { kind: string; priceMicros: number; costMicros: number }[] }[] }>(200, 'GET', `/market/usage?order=${low.id}`)
  assert.deepEqual(usage.items.map(({ name }) => name), ['low-1'])
  assert.deepEqual(usage.items[0]?.periods.map(({ kind, priceMicros }) => [kind, priceMicros]), [['spot', 10_000], ['spot', 20_000], ['spot', 50_000]])
  assert.equal(usage.costMicros, usage.items[0]?.periods.reduce((sum, period) => sum + period.costMicros, 0))

  await api.ok(200, 'PATCH', `/market/bids/${low.id}`, { body: { paused: true } })
  await running(high.id, 1)
  assert.equal((await bid(low.id)).status, 'paused')
  for (const name of ['most', 'low', 'high']) await api.ok(200, 'DELETE', `/market/bids/${name}`)
  assert.equal((await api.call('DELETE', '/market/bids/low')).status, 404)
  assert.equal((await api.ok<{ items: unknown[] }>(200, 'GET', '/market/bids')).items.length, 0)
  const first = await api.ok<{ items: BidView[]; next: string | null }>(200, 'GET', '/market/bids?all=true&limit=2')
  const second = await api.ok<{ items: BidView[]; next: string | null }>(200, 'GET', `/market/bids?all=true&limit=2&cursor=${first.next ?? ''}`)
  assert.deepEqual([...first.items, ...second.items].map(({ status }) => status), ['terminated', 'terminated', 'terminated'])
  await eventually(async () => (await supply()).available === 8, 'all slots are free again')
})

test('a reservation holds its slots, is paused and resumed, extended, and told in its account', async () => {
  const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString()
  const wish = { name: 'held', ...WHERE, quantity: 2, image: IMAGE, cmd: ['sleep', '100000'] }
  assert.equal((await api.call('POST', '/market/reservations', { body: { ...wish, endAt: inHours(1) } })).status, 400)
  const made = await api.ok<BidView & { unitMicros: number; totalMicros: number }>(201, 'POST', '/market/reservations', { body: { ...wish, endAt: inHours(4) } })
  assert.equal(made.status, 'active')
  assert.ok(Math.abs(made.totalMicros - made.unitMicros * 8) <= 20)
  const phases = async () => {
    const { instanceIds } = await api.ok<BidView>(200, 'GET', `/market/reservations/${made.id}`)
    return Promise.all(instanceIds.map(async (id) => (await api.ok<{ phase: string }>(200, 'GET', `/instances/${id}`)).phase))
  }
  await eventually(async () => (await phases()).join() === 'running,running', 'both run')
  assert.equal((await supply()).capacity, 6)
  assert.equal((await supply()).reserved, 2)
  assert.equal((await api.ok<BidView>(200, 'PATCH', '/market/reservations/held', { body: { paused: true } })).status, 'paused')
  await eventually(async () => (await phases()).join() === 'stopped,stopped', 'both are paused')
  assert.equal((await supply()).capacity, 6)
  await api.ok(200, 'PATCH', '/market/reservations/held', { body: { paused: false, endAt: inHours(6) } })
  await eventually(async () => (await phases()).join() === 'running,running', 'both run again')
  const account = await api.ok<{ committedMicros: number; pauseCreditMicros: number; netMicros: number }>(200, 'GET', `/market/reservations/${made.id}/usage`)
  assert.ok(Math.abs(account.committedMicros - made.unitMicros * 12) <= 20)
  assert.deepEqual([account.pauseCreditMicros, account.netMicros], [0, account.committedMicros])
  assert.equal((await api.call('DELETE', `/market/reservations/${made.id}`)).status, 409)
  const later = await api.ok<BidView>(201, 'POST', '/market/reservations', { body: { ...wish, name: 'later', startAt: inHours(24), endAt: inHours(30) } })
  assert.equal(later.status, 'pending')
  assert.equal((await api.ok<BidView>(200, 'DELETE', '/market/reservations/later')).status, 'canceled')
  assert.equal((await api.call('POST', '/market/reservations', { body: { ...wish, quantity: 7, endAt: inHours(4) } })).status, 409)
})

test('a reservation is quoted before it is placed, and given back before its end', async () => {
  const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString()
  const query = (more: Readonly<Record<string, string>>) => new URLSearchParams({ ...WHERE, endAt: inHours(30), startAt: inHours(24), ...more }).toString()
  const quote = (more: Readonly<Record<string, string>> = {}) => api.ok<{ isAvailable: boolean; unitMicros: number; totalMicros: number }>(200, 'GET', `/market/quote?${query(more)}`)
  assert.deepEqual([(await quote({ quantity: '8' })).isAvailable, (await quote({ quantity: '9' })).isAvailable], [true, false])
  const { unitMicros, totalMicros } = await quote({ quantity: '2' })
  assert.equal(totalMicros, unitMicros * 12)
  await api.refused(400, 'invalid_request', 'GET', `/market/quote?${query({ endAt: 'soon' })}`)
  await api.refused(400, 'invalid_request', 'GET', `/market/quote?${query({ type: 'none' })}`)
  const win = (quantity: number) => api.ok<{ limitMicros: number | null }>(200, 'GET', `/market/price-to-win?type=small&region=simulated&quantity=${quantity}`)
  assert.equal((await win(1)).limitMicros, 10_000)
  assert.equal((await win(200)).limitMicros, null)
  const ends = async (...args: readonly string[]) => {
    const outcome = await startBerth(commandEnv(server), args).done
    assert.equal(outcome.status, 0, outcome.stderr)
    return outcome.stdout
  }
  const small = ['--type', 'small', '--region', 'simulated', '--quantity', '2']
  assert.match(await ends('reservation', 'quote', ...small, '--for', '6h'), /^There is room for it\.\n\$0\.0100 an hour for each, \$0\.1200 in all/)
  const placed = await ends('reservation', 'place', 'week', ...small, '--for', '5h', IMAGE, 'sleep', '100000')
  assert.match(placed, /week .*small +simulated +2 .* 0\.1000 +active/)
  const latest = (await ends('reservation', 'extend', 'week')).trim()
  assert.ok(Date.parse(latest) > Date.now() + 5 * 3_600_000, latest)
  assert.match(await ends('reservation', 'extend', 'week', '--end', inHours(7)), /week/)
  const reservation = () => api.ok<{ instanceIds: string[] }>(200, 'GET', '/market/reservations/week')
  const phases = async () => Promise.all((await reservation()).instanceIds.map(async (id) => (await api.ok<{ phase: string }>(200, 'GET', `/instances/${id}`)).phase))
  await eventually(async () => (await phases()).join() === 'running,running', 'both run')
  assert.match(await ends('reservation', 'pause', 'week'), /paused/)
  await eventually(async () => (await phases()).join() === 'stopped,stopped', 'both are paused')
  const [one = '', two = ''] = (await reservation()).instanceIds
  assert.equal((await ends('reservation', 'return', 'week', one)).trim(), one)
  assert.match(await ends('reservation', 'usage', 'week'), /^charged \$0\.1\d+, back .* for returns: \$0\.\d+\n/)
  await api.refused(404, 'not_found', 'POST', '/market/reservations/week/return', { body: { instances: ['nobody'] } })
  assert.equal((await ends('reservation', 'return', 'week', two)).trim(), two)
  assert.doesNotMatch(await ends('reservation'), /week/)
  assert.match(await ends('reservation', 'ls', '-a'), /week/)
  for (const args of [['quote', '--type', 'small'], ['quote', '--type', 'small', '--for', 'x'], ['quote', ...small, '--start', 'x', '--for', '4h']]) {
    const { status } = await startBerth(commandEnv(server), ['reservation', ...args]).done
    assert.equal(status, 2, args.join(' '))
  }
})

test('the command line bids, changes, ends and tells what it costs', async () => {
  const env = commandEnv(server)
  const berth = (...words: readonly string[]) => startBerth(env, words).done
  const placed = await berth('bids', 'place', 'line', '--type', 'small', '--region', 'simulated', '--limit', '0.05', IMAGE, 'sleep', '100000')
  assert.match(placed.stdout, /\nline +[0-9a-f]{8} +small +simulated +1 +0\.05 +0\.01 +allocated/)
  assert.match((await berth('market')).stdout, /\nsmall +simulated +/)
  assert.equal((await berth('bids', 'change', 'line', '--limit', '0.005')).status, 2)
  const ended = await berth('bids', 'end', 'line', '--json')
  assert.equal((JSON.parse(ended.stdout) as BidView[])[0]?.status, 'terminated')
  assert.match((await berth('usage')).stdout, /\ntotal +\d+\.\d\d +/)
})

test('what is wrong is told with its field and changes nothing', async () => {
  const body = { name: 'x', ...WHERE, limitMicros: 50_000, image: IMAGE }
  for (const [wrong, status] of [
    [{ limitMicros: 1 }, 400],
    [{ limitMicros: -1 }, 400],
    [{ limitMicros: '5' }, 400],
    [{ quantity: 0 }, 400],
    [{ type: 'none' }, 400],
    [{ region: 'none' }, 400],
    [{ image: '' }, 400],
    [{ colour: 'red' }, 400],
  ] as const) {
    assert.equal((await api.call('POST', '/market/bids', { body: { ...body, ...wrong } })).status, status, JSON.stringify(wrong))
  }
  assert.equal((await api.call('GET', '/market/bids/none')).status, 404)
  assert.equal((await api.call('GET', '/market/usage?order=x')).status, 400)
  assert.equal((await api.call('GET', '/market/prices?from=yesterday')).status, 400)
  assert.equal((await api.ok<{ items: unknown[] }>(200, 'GET', '/market/bids')).items.length, 0)
})
