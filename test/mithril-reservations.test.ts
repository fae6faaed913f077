/** Mithril's reservations: room that is held, paused, given back, accounted for and refused. */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Reservation, Usage } from './mithril-market.ts'
import { allAre, call, contract, HOUR_MS, prices, pricesPaid, order, project, REGION, rowsOf, SLOTS, type, useMarket } from './mithril-market.ts'
import { bodyOf, issuesOf } from './support/mithril.ts'
import { eventually } from './support/server.ts'

useMarket()

describe('reservations', () => {
  const soon = (hours: number) => new Date(Date.now() + hours * HOUR_MS).toISOString()
  const reserve = (name: string, change: object = {}) => call('POST', '/reservation', { body: { ...order(name), start_time: soon(0), end_time: soon(3), ...change } })
  const usageOf = async (fid: string) => bodyOf<Usage>(await call('GET', `/reservation/${fid}/usage`))
  const patch = (instances: readonly string[], status: string) => call('PATCH', '/instances', { body: { instances, status } })
  const find = async (fid: string) => bodyOf<{ data: readonly Reservation[] }>(await call('GET', `/reservation?project=${project}`)).data.find(one => one.fid === fid)

  test('hold capacity, are paused and started in batches, give back what is paused, and account for it', async () => {
    const quote = new URLSearchParams({ project, instance_type: type, region: REGION, start_time: soon(0), end_time: soon(3), quantity: '2' })
    const { offers } = bodyOf<{ offers: readonly Readonly<Record<string, string>>[] }>(await call('GET', `/reservation/quote?${quote.toString()}`))
    assert.equal(offers[0]?.['key'], 'standard')

    const answer = await reserve('held', { instance_quantity: 2 })
    assert.equal(answer.status, 201, answer.text)
    const made = answer.body as Reservation
    assert.deepEqual([made.unit_price, made.instance_quantity], [offers[0]?.['unit_price'], 2])
    assert.equal(Number(made.total_price.slice(1)), Number(made.unit_price.slice(1)) * 2 * 3)
    const rows = await allAre(`reservation_fid_in=${made.fid}`, 'STATUS_RUNNING', 2)
    assert.deepEqual(rows.map(row => row.name).toSorted(), ['held-1', 'held-2'])
    assert.ok(rows.every(row => row.bid === null && row.reservation === made.fid))
    assert.deepEqual((await rowsOf('order_type_in=Reservation')).map(row => row.fid), rows.map(row => row.fid))
    assert.equal((await find(made.fid))?.status, 'Active')
    const held = await prices()
    assert.deepEqual([held['available_capacity'], held['total_capacity']], [SLOTS - 2, SLOTS])

    const [a = '', b = ''] = rows.map(row => row.fid)
    assert.deepEqual(bodyOf(await patch([a, b], 'STATUS_PAUSED')), { instances: { [a]: 'STATUS_STOPPING', [b]: 'STATUS_STOPPING' } })
    await allAre(`reservation_fid_in=${made.fid}`, 'STATUS_PAUSED', 2)
    assert.equal((await prices())['available_capacity'], SLOTS - 2, 'what is paused keeps its slot')
    assert.deepEqual(bodyOf(await patch([a, b], 'STATUS_RUNNING')), { instances: { [a]: 'STATUS_CONFIRMED', [b]: 'STATUS_CONFIRMED' } })
    await allAre(`reservation_fid_in=${made.fid}`, 'STATUS_RUNNING', 2)
    const history = bodyOf<{ instances: readonly { instance_fid: string }[] }>(await call('GET', `/instances/status/history?project=${project}&reservation_fid=${made.fid}`))
    assert.deepEqual(history.instances.map(one => one.instance_fid).toSorted(), [a, b].toSorted(), 'M37')
    assert.deepEqual((await pricesPaid(a)).map(period => [period.price_cents, period.end_time]), [[Math.round(Number(made.unit_price.slice(1)) * 100), null]])

    const back = (instances: unknown, extra: object = { reduce_capacity: true }) => call('POST', `/reservation/${made.fid}/terminate-instances`, { body: { instances, ...extra } })
    assert.equal((await back([a])).status, 400, 'M43: it runs')
    assert.deepEqual(issuesOf(await back([a], { reduce_capacity: false })), ['body.reduce_capacity: literal_error'])
    assert.deepEqual(issuesOf(await back([a], {})), ['body.reduce_capacity: missing'])
    assert.deepEqual(issuesOf(await back([])), ['body.instances: too_short'])
    assert.equal((await back(['inst_x'])).status, 404)
    bodyOf(await patch([a], 'STATUS_PAUSED'))
    await eventually('it is paused', async () => ((await rowsOf(`reservation_fid_in=${made.fid}&status_in=STATUS_PAUSED`)).length === 1 ? true : null))
    const partly = await back([a, b])
    assert.deepEqual([partly.status, partly.body], [207, { terminated_instances: [a] }])
    await allAre(`reservation_fid_in=${made.fid}`, 'STATUS_TERMINATED', 1)
    assert.equal((await find(made.fid))?.instance_quantity, 1)

    const usage = await usageOf(made.fid)
    const { committed_cost_cents: committed, flex_use_credits_cents: flex, early_termination_credits_cents: early, net_cost_cents: net } = usage.summary
    assert.equal(committed, Math.round(Number(made.total_price.slice(1)) * 100), 'charged in full')
    assert.equal(flex, 0, 'M42: paused for less than an hour')
    assert.ok(early > 0)
    assert.equal(net, committed - flex - early)
    assert.equal(usage.reservation.status, 'Allocated')
    assert.ok(usage.pricing_events.some(event => event.instance_status === 'STATUS_PAUSED'))
    assert.deepEqual(usage.reservation_events[0]?.event_type, 'Started')

    const latest = bodyOf<{ latest_extension_time: string; available: boolean }>(await call('GET', `/reservation/${made.fid}/extension-availability`))
    assert.equal(latest.available, true)
    const until = new Date(Date.parse(made.end_time) + HOUR_MS).toISOString()
    const longer = bodyOf<Reservation>(await call('POST', `/reservation/${made.fid}/extend`, { body: { end_time: until } }))
    assert.equal(Date.parse(longer.end_time), Date.parse(until))
    assert.equal((await call('POST', `/reservation/${made.fid}/extend`, { body: { end_time: soon(-1) } })).status, 422)

    const paused = bodyOf<Reservation>(await call('PATCH', `/reservation/${made.fid}`, { body: { paused: true } }))
    assert.equal(paused.status, 'Paused')
    await allAre(`reservation_fid_in=${made.fid}`, 'STATUS_PAUSED', 1)
    bodyOf(await call('PATCH', `/reservation/${made.fid}`, { body: { paused: false } }))
    await allAre(`reservation_fid_in=${made.fid}`, 'STATUS_RUNNING', 1)
    const { events } = bodyOf<{ events: readonly { event_type: string; unit_price_cents: number | null }[] }>(await call('GET', `/reservation/${made.fid}/history`))
    for (const word of ['Placed', 'Active', 'Paused', 'Resumed']) assert.ok(events.some(event => event.event_type === word), word)

    bodyOf(await patch([b], 'STATUS_PAUSED'))
    await allAre(`reservation_fid_in=${made.fid}`, 'STATUS_PAUSED', 1)
    assert.equal((await back([b])).status, 200)
    await allAre(`reservation_fid_in=${made.fid}`, 'STATUS_TERMINATED', 2)
  })

  test('what can be reserved, in each mode', async () => {
    const place = `project=${project}&instance_type=${type}&region=${REGION}`
    const check = (quantity: number) => call('GET', `/reservation/availability?${place}&mode=check&quantity=${quantity}&start_time=${soon(1)}&end_time=${soon(5)}`)
    assert.deepEqual(bodyOf(await check(1)), { available: true })
    assert.deepEqual(bodyOf(await check(SLOTS + 1)), { available: false })
    const latest = bodyOf<{ latest_end_time: string; available: boolean }>(await call('GET', `/reservation/availability?${place}`))
    assert.ok(latest.available && Date.parse(latest.latest_end_time) > Date.now() + 3 * HOUR_MS)
    const slots = bodyOf<readonly { quantity: number }[]>(await call('GET', `/reservation/availability?${place}&mode=slots&latest_end_time=${soon(48)}`))
    assert.equal(slots[0]?.quantity, SLOTS)
    for (const [query, issues] of [
      ['mode=later', ['query.mode: literal_error']],
      ['mode=check', ['query.start_time: missing', 'query.end_time: missing']],
      ['quantity=0', ['query.quantity: greater_than_equal']],
      [`start_time=${soon(2)}&end_time=${soon(1)}`, ['query.end_time: value_error']],
    ] as const) {
      assert.deepEqual(issuesOf(await call('GET', `/reservation/availability?${place}&${query}`)), issues, query)
    }
  })

  test('bad ones are refused where they are wrong', async () => {
    for (const [change, issues] of [
      [{ end_time: soon(1) }, ['body.end_time: value_error']],
      [{ end_time: soon(24 * 20) }, ['body.end_time: value_error']],
      [{ start_time: soon(-5), end_time: soon(-1) }, ['body.start_time: value_error']],
      [{ start_time: 'now' }, ['body.start_time: datetime_from_date_parsing']],
      [{ end_time: undefined }, ['body.end_time: missing']],
      [{ instance_quantity: 0 }, ['body.instance_quantity: greater_than_equal']],
      [{ price_specification: { offer_key: 'gold' } }, ['body.price_specification.offer_key: value_error']],
      [{ price_specification: { max_unit_price: 1 } }, ['body.price_specification.max_unit_price: value_error']],
      [{ price_specification: { max_unit_price: -1 } }, ['body.price_specification.max_unit_price: greater_than_equal']],
    ] as const) {
      assert.deepEqual(issuesOf(await reserve('bad', change)), issues, JSON.stringify(change))
    }
    assert.equal((await reserve('bad', { instance_quantity: SLOTS + 1 })).status, 422)
    assert.equal((await reserve('bad', { project: 'proj_x' })).status, 403)
    assert.deepEqual(issuesOf(await call('GET', '/reservation')), ['query.project: missing'])
    assert.deepEqual(issuesOf(await call('GET', `/reservation?project=${project}&status=active`)), ['query.status: literal_error'])
    for (const [method, path, body] of [
      ['PATCH', '', { paused: true }],
      ['POST', '/extend', { end_time: soon(9) }],
      ['POST', '/terminate-instances', { instances: ['inst_x'], reduce_capacity: true }],
      ['GET', '/history', undefined],
      ['GET', '/usage', undefined],
      ['GET', '/extension-availability', undefined],
    ] as const) {
      assert.equal((await call(method, `/reservation/res_x${path}`, body === undefined ? {} : { body })).status, 404, path)
    }
    assert.equal((await call('GET', '/reservation/res_x')).status, 405)
  })

  test('one that starts later waits, and its instances can’t be moved before', async () => {
    const later = await reserve('later', { start_time: soon(1), end_time: soon(4) })
    assert.equal(later.status, 201, later.text)
    assert.deepEqual([(later.body as Reservation).status, (later.body as Reservation).instances], ['Pending', []])
    assert.deepEqual(await rowsOf(`reservation_fid_in=${(later.body as Reservation).fid}`), [])
    assert.equal((await call('PATCH', `/reservation/${(later.body as Reservation).fid}`, { body: { paused: true } })).status, 409)
  })
})

test('the contract judged every operation of reservations', { skip: contract === null ? 'mithril.openapi.json is not beside the checkout' : false }, () => {
  for (const label of [
    'PATCH /v2/instances 200',
    'POST /v2/reservation 201',
    'GET /v2/reservation/quote 200',
    'GET /v2/reservation/availability 200',
    'GET /v2/reservation/{reservation_fid}/usage 200',
    'GET /v2/reservation/{reservation_fid}/history 200',
    'POST /v2/reservation/{reservation_fid}/terminate-instances 207',
  ]) {
    assert.ok(contract?.judged.has(label), label)
  }
})
