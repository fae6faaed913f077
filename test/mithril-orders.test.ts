/**
 * Mithril's orders: spot bids in a real auction over few slots, volumes, prices, and the call sequences of its public
 * clients (SkyPilot, Flow, velda) as they make them. (M…: the conformance cases of the wire's reference.)
 */
import assert from 'node:assert/strict'
import { describe, test } from 'node:test'
import type { Bid } from './mithril-market.ts'
import { allAre, bid, bidIs, call, contract, end, getBid, KEY, key, order, prices, pricesPaid, project, REGION, rowsOf, signalIs, SLOTS, statuses, type, useMarket } from './mithril-market.ts'
import { bodyOf, detailOf, issuesOf } from './support/mithril.ts'
import type { Answer } from './support/server.ts'
import { eventually } from './support/server.ts'

useMarket()

describe('clients’ own call sequences', () => {
  test('SkyPilot: key, type, region, bid, wait, stop, resume, down', async () => {
    const keys = bodyOf<readonly { fid: string; public_key: string }[]>(await call('GET', `/ssh-keys?project=${project}`))
    const mine = keys.find(one => one.public_key.includes(KEY.split(' ').slice(0, 2).join(' ')))
    const types = bodyOf<readonly { fid: string; name: string }[]>(await call('GET', '/instance-types'))
    const rows = bodyOf<readonly { region: string; instance_type: string }[]>(await call('GET', '/spot/availability'))
    const place = rows.find(row => types.some(one => one.fid === row.instance_type && one.name === 'cpu.slot') && row.region === REGION)
    const made = await bid('skyrl04-22d2aa02', '$32.00', { instance_type: place?.instance_type, launch_specification: { ssh_keys: [mine?.fid], volumes: [] } })
    assert.equal(made.limit_price, '$32.00')
    const found = await eventually('its instances are there', async () => {
      const { data } = bodyOf<{ data: readonly Bid[] }>(await call('GET', `/spot/bids?project=${project}&name=skyrl04-22d2aa02`))
      return (data[0]?.instances.length ?? 0) >= 1 ? (data[0] ?? null) : null
    })
    const instance = await eventually('it has an address', async () => {
      const row = (await rowsOf('limit=100')).find(one => one.name.startsWith('skyrl04-22d2aa02') && one.ssh_destination !== null)
      return row ?? null
    })
    assert.deepEqual([instance.bid, instance.reservation, instance.status], [found.fid, null, 'STATUS_RUNNING'])
    assert.equal(instance.name, 'skyrl04-22d2aa02-1')
    assert.match(instance.ssh_destination ?? '', /^\d+\.\d+\.\d+\.\d+$/)
    bodyOf(await call('PATCH', `/spot/bids/${made.fid}?project=${project}`, { body: { paused: true } }))
    await allAre(`bid_fid_in=${made.fid}`, 'STATUS_PAUSED', 1)
    assert.equal((await getBid(made.fid)).status, 'Paused')
    bodyOf(await call('PATCH', `/spot/bids/${made.fid}?project=${project}`, { body: { paused: false } }))
    const [again] = await allAre(`bid_fid_in=${made.fid}`, 'STATUS_RUNNING', 1)
    assert.equal(again?.fid, instance.fid)
    assert.equal((await call('DELETE', `/spot/bids/${made.fid}?project=${project}`)).status, 204)
    assert.equal((await call('DELETE', `/spot/bids/${made.fid}?project=${project}`)).status, 404)
    await allAre(`bid_fid_in=${made.fid}`, 'STATUS_TERMINATED', 1)
  })

  test('Flow: bids and instances page by page, a list of bids in one parameter, and a cache buster', async () => {
    const made = [await bid('flow-a', '$2.00'), await bid('flow-b', '$2.00', { instance_quantity: 2 })]
    for (const { fid } of made) await bidIs(fid, 'Allocated')
    const pages: Bid[] = []
    let cursor = ''
    for (let page = 0; page < 10; page++) {
      const found = bodyOf<{ data: readonly Bid[]; next_cursor: string | null }>(
        await call('GET', `/spot/bids?project=${project}&limit=1&sort_by=created_at&sort_dir=desc&status=Allocated&_cache_bust=1-2${cursor}`),
      )
      pages.push(...found.data)
      if (found.next_cursor === null) break
      cursor = `&next_cursor=${encodeURIComponent(found.next_cursor)}`
    }
    assert.deepEqual(pages.map(one => one.name), ['flow-b', 'flow-a'])
    const both = made.map(one => one.fid)
    const joined = await allAre(`bid_fid_in=${both.join(',')}&limit=100&sort_by=created_at&sort_dir=desc`, 'STATUS_RUNNING', 3)
    const repeated = await rowsOf(`${both.map(fid => `bid_fid_in=${fid}`).join('&')}&limit=100`)
    assert.deepEqual(repeated.map(row => row.fid), joined.map(row => row.fid), 'M11')
    assert.deepEqual(joined.map(row => row.name).toSorted(), ['flow-a-1', 'flow-b-1', 'flow-b-2'])
    assert.ok(joined.every(row => row.bid !== null && row.reservation === null), 'M16')
    assert.equal((await rowsOf(`bid_fid_in=${made[0]?.fid},bid_nobody`)).length, 1)
    assert.equal((await rowsOf('order_type_in=Bid&status_in=STATUS_RUNNING')).length, 3)
    assert.deepEqual(await rowsOf('order_type_in=Reservation&status_in=STATUS_RUNNING'), [], 'M14')
    await end(...made)
  })

  test('velda: a price that is never null, a bid of one by name, its status, and its end', async () => {
    const { spot_price_cents: price } = await prices()
    assert.equal(typeof price, 'number')
    const made = await bid('velda', `$${(((price ?? 0) * 2) / 100).toFixed(2)}`)
    assert.equal(bodyOf<{ status: string }>(await call('GET', `/spot/bids/${made.fid}/status`)).status, (await getBid(made.fid)).status)
    assert.equal((await allAre(`bid_fid_in=${made.fid}`, 'STATUS_RUNNING', 1))[0]?.name, 'velda-1')
    await end(made)
  })
})

describe('the auction', () => {
  test('M34, M39, M40: who is outbid has notice; it is withdrawn if they win again, and the price is told to the cent', async () => {
    const quiet = await prices()
    assert.deepEqual([quiet['spot_price_cents'], quiet['minimum_price_cents'], quiet['total_capacity'], quiet['available_capacity']], [25, 25, SLOTS, SLOTS])
    const low = await bid('low', '$0.50', { instance_quantity: SLOTS })
    const lowRows = await allAre(`bid_fid_in=${low.fid}`, 'STATUS_RUNNING', SLOTS)
    const fid = lowRows[0]?.fid ?? ''
    const early = await pricesPaid(fid)
    assert.deepEqual([early.length, early[0]?.price_cents, early[0]?.end_time], [1, 25, null])
    assert.equal((await prices())['dynamic_win_price_cents'], 51)

    const before = Date.now()
    const high = await bid('high', '$0.80')
    await bidIs(low.fid, 'Preempting')
    const status = bodyOf<{ status: string; end_time: string }>(await call('GET', `/instances/${fid}/status`))
    assert.equal(status.status, 'STATUS_PREEMPTING')
    const noticeMs = Date.parse(status.end_time) - before
    assert.ok(noticeMs >= 299_000 && noticeMs <= 300_000 + (Date.now() - before) + 1000, `about five minutes: ${noticeMs} ms`)
    assert.equal(bodyOf<{ status: string }>(await call('GET', `/spot/bids/${low.fid}/status`)).status, 'Preempting')
    assert.deepEqual((await prices())['spot_price_cents'], 50, 'the highest limit that loses')
    assert.equal((await getBid(high.fid)).instances.length, 0, 'it waits for the slot')
    await signalIs(fid, `instance_status: STATUS_PREEMPTING\nbid_status: Preempting\nend_time: "${status.end_time}"\n`)

    await end(high)
    await bidIs(low.fid, 'Allocated')
    await allAre(`bid_fid_in=${low.fid}`, 'STATUS_RUNNING', SLOTS)
    assert.equal(bodyOf<{ end_time: string | null }>(await call('GET', `/instances/${fid}/status`)).end_time, null)
    await signalIs(fid, 'instance_status: STATUS_RUNNING\nbid_status: Allocated\nend_time: null\n')
    const story = await statuses(fid)
    assert.deepEqual(story.slice(story.indexOf('STATUS_RUNNING')), ['STATUS_RUNNING', 'STATUS_PREEMPTING', 'STATUS_RUNNING'])
    const paid = await pricesPaid(fid)
    assert.deepEqual(paid.map(period => period.price_cents), [25, 50, 25])
    paid.forEach((period, index) => assert.equal(period.end_time, paid[index + 1]?.start_time ?? null, 'without gaps'))

    const changed = bodyOf<Bid>(await call('PATCH', `/spot/bids/${low.fid}`, { body: { limit_price: '$1.25' } }))
    assert.equal(changed.limit_price, '$1.25')
    const { events } = bodyOf<{ events: readonly { event_type: string; limit_price: string | null }[] }>(await call('GET', `/spot/bids/${low.fid}/history`))
    assert.equal(events[0]?.event_type, 'Placed')
    assert.ok(events.some(event => event.event_type === 'Allocated'))
    assert.deepEqual([events.at(-1)?.event_type, events.at(-1)?.limit_price], ['Limit Price Changed', '$1.25'])
    await end(low)
  })

  test('availability and the history of prices say what the auction did', async () => {
    const rows = bodyOf<readonly { instance_type: string; region: string; capacity: number; last_instance_price: string; lowest_allocated_price: string | null }[]>(
      await call('GET', `/spot/availability?instance_type=${type}&region=${REGION}`),
    )
    assert.deepEqual(rows.map(row => [row.instance_type, row.region, row.capacity, row.last_instance_price, row.lowest_allocated_price]), [[type, REGION, SLOTS, '$0.25', null]])
    const all = bodyOf<readonly { region: string; capacity: number }[]>(await call('GET', '/spot/availability'))
    assert.deepEqual(all.map(row => [row.region, row.capacity]), [[REGION, SLOTS], ['us-central2-a', 0]])
    type Series = { series: readonly { instance_type: string; timestamps: readonly string[]; spot_prices: readonly string[]; reserved_prices: readonly string[] }[]; complete: boolean }
    const raw = bodyOf<Series>(await call('GET', `/pricing/history?instance_types=${type}&num_samples=-1`))
    assert.ok(raw.series[0]?.spot_prices.includes('$0.50'))
    assert.equal(raw.series[0]?.spot_prices.at(-1), '$0.25')
    const sampled = bodyOf<Series>(await call('GET', `/pricing/history?instance_types=cpu.slot&region=${REGION}&num_samples=10`))
    const [series] = sampled.series
    assert.ok((series?.timestamps.length ?? 0) <= 10 && series?.spot_prices.length === series?.timestamps.length && series?.reserved_prices.length === series?.timestamps.length)
    for (const [query, issues] of [
      ['/pricing/history?num_samples=-2', ['query.num_samples: greater_than_equal']],
      ['/pricing/history?num_samples=1001', ['query.num_samples: less_than_equal']],
      ['/pricing/history?start_time=2024-01-02&end_time=2024-01-01', ['query.start_time: value_error']],
      ['/pricing/current', ['query.instance_type: missing']],
      ['/pricing/current?instance_type=it_x', ['query.instance_type: value_error']],
      [`/pricing/current?instance_type=${type}&region=mars`, ['query.region: value_error']],
      [`/pricing/current?instance_type=${type}&instance_quantity=257`, ['query.instance_quantity: less_than_equal']],
    ] as const) {
      assert.deepEqual(issuesOf(await call('GET', query)), issues, query)
    }
  })

  test('M17, M18, M26: a row before its address, names, and no batch for spot', async () => {
    const made = await bid('solo', '$1.00')
    const [row] = await eventually('it is there', async () => {
      const rows = await rowsOf(`bid_fid_in=${made.fid}`)
      return rows.length === 1 ? rows : null
    })
    if (row?.status !== 'STATUS_RUNNING') assert.deepEqual([row?.ssh_destination, row?.private_ip], [null, null])
    await allAre(`bid_fid_in=${made.fid}`, 'STATUS_RUNNING', 1)
    const refused = await call('PATCH', '/instances', { body: { instances: [row?.fid], status: 'STATUS_PAUSED' } })
    assert.deepEqual([refused.status, detailOf(refused)], [501, 'Spot bids are not yet supported.'])
    const unknown = await call('PATCH', '/instances', { body: { instances: [row?.fid, 'inst_x'], status: 'STATUS_PAUSED' } })
    assert.equal(unknown.status, 404, 'what is not there comes first')
    assert.equal((await call('POST', `/instances/${row?.fid}/refresh-boot-disk`)).status, 501)
    assert.equal((await rowsOf(`bid_fid_in=${made.fid}`))[0]?.status, 'STATUS_RUNNING')
    await end(made)
  })

  test('M49: a name is found exactly, and one that is over never stands before a living one', async () => {
    const first = await bid('again', '$1.00')
    await end(first)
    const second = await bid('again', '$1.00')
    await bidIs(second.fid, 'Allocated')
    const other = await bid('again-and-again', '$1.00')
    const found = bodyOf<{ data: readonly Bid[] }>(await call('GET', '/spot/bids?name=again')).data
    assert.deepEqual(found.map(one => [one.fid, one.status]), [[second.fid, 'Allocated'], [first.fid, 'Terminated']])
    assert.notEqual(found[1]?.deactivated_at, null)
    assert.equal((await rowsOf(`bid_fid_in=${second.fid}`))[0]?.name, 'again-1')
    await end(second, other)
  })
})

describe('bad bids', () => {
  const place = (change: object): Promise<Answer> => call('POST', '/spot/bids', { body: { ...order('bad'), limit_price: '$1.00', ...change } })

  test('M45, M47: each is told where it is wrong, and none is placed', async () => {
    const spec = { ssh_keys: [key], volumes: [] }
    for (const [change, issues] of [
      [{ limit_price: '$0.24' }, ['body.limit_price: value_error']],
      [{ limit_price: 'cheap' }, ['body.limit_price: value_error']],
      [{ limit_price: 32 }, ['body.limit_price: string_type']],
      [{ limit_price: undefined }, ['body.limit_price: missing']],
      [{ instance_quantity: 0 }, ['body.instance_quantity: greater_than_equal']],
      [{ instance_quantity: -1 }, ['body.instance_quantity: greater_than_equal']],
      [{ instance_quantity: 257 }, ['body.instance_quantity: less_than_equal']],
      [{ instance_quantity: 1.5 }, ['body.instance_quantity: int_from_float']],
      [{ instance_quantity: 'many' }, ['body.instance_quantity: int_parsing']],
      [{ name: '' }, ['body.name: string_too_short']],
      [{ name: 'n'.repeat(200) }, ['body.name: string_too_long']],
      [{ name: 7 }, ['body.name: string_type']],
      [{ region: 'mars' }, ['body.region: value_error']],
      [{ instance_type: 'it_nobody' }, ['body.instance_type: value_error']],
      [{ launch_specification: undefined }, ['body.launch_specification: missing']],
      [{ launch_specification: 'x' }, ['body.launch_specification: model_attributes_type']],
      [{ launch_specification: {} }, ['body.launch_specification.volumes: missing', 'body.launch_specification.ssh_keys: missing']],
      [{ launch_specification: { ssh_keys: 'x', volumes: [7] } }, ['body.launch_specification.volumes.0: string_type', 'body.launch_specification.ssh_keys: list_type']],
      [{ launch_specification: { ...spec, ssh_keys: ['sshkey_x'] } }, ['body.launch_specification.ssh_keys.0: value_error']],
      [{ launch_specification: { ...spec, volumes: ['vol_x'] } }, ['body.launch_specification.volumes.0: value_error']],
      [{ launch_specification: { ...spec, image_version: 'imgver_x' } }, ['body.launch_specification.image_version: value_error']],
      [{ launch_specification: { ...spec, kubernetes_cluster: 'clust_x' } }, ['body.launch_specification.kubernetes_cluster: value_error']],
      [{ launch_specification: { ...spec, startup_script: 'x'.repeat(10_001) } }, ['body.launch_specification.startup_script: string_too_long']],
      [{ launch_specification: { ...spec, memory_gb: 0 } }, ['body.launch_specification.memory_gb: greater_than_equal']],
    ] as const) {
      assert.deepEqual(issuesOf(await place(change)), issues, JSON.stringify(change).slice(0, 200))
    }
    assert.equal((await place({ project: 'proj_x' })).status, 403)
    assert.deepEqual(bodyOf<{ data: readonly Bid[] }>(await call('GET', '/spot/bids?name=bad')).data, [])
    for (const query of ['status=open', 'sort_by=name', 'sort_dir=up', 'limit=0']) assert.equal((await call('GET', `/spot/bids?${query}`)).status, 422, query)
    for (const [method, path] of [['GET', ''], ['PATCH', ''], ['DELETE', ''], ['GET', '/status'], ['GET', '/history']] as const) {
      assert.equal((await call(method, `/spot/bids/bid_x${path}`, method === 'PATCH' ? { body: { paused: true } } : {})).status, 404, `${method} ${path}`)
    }
  })

  test('M46: an order without a required key is refused, and a key in use stays', async () => {
    const needed = bodyOf<{ fid: string }>(await call('POST', '/ssh-keys', { body: { project, name: 'needed', required: true } })).fid
    assert.deepEqual(issuesOf(await place({})), ['body.launch_specification.ssh_keys: value_error'])
    const made = await bid('with-it', '$1.00', { launch_specification: { ssh_keys: [key, needed], volumes: [] } })
    assert.deepEqual(issuesOf(await call('DELETE', `/ssh-keys/${needed}`)), ['path.ssh_key_fid: value_error'])
    await end(made)
    assert.equal((await call('DELETE', `/ssh-keys/${needed}`)).status, 204)
    assert.equal((await call('DELETE', `/ssh-keys/${needed}`)).status, 404)
    await end(await bid('without-it', '$1.00'))
  })

  test('what was ordered is told as it was written', async () => {
    const [image] = bodyOf<readonly { image_version_fid: string }[]>(await call('GET', '/image-versions'))
    const spec = { ssh_keys: [key], volumes: [], startup_script: 'echo hello', image_version: image?.image_version_fid }
    const made = await bid('spelled', '$1.00', { launch_specification: spec, notification_email: 'me@example.com', unknown: 1 })
    assert.deepEqual(made.launch_specification, { ...spec, kubernetes_cluster: null, memory_gb: null })
    await end(made)
  })
})

describe('volumes', () => {
  const create = (change: object = {}) => call('POST', '/volumes', { body: { name: 'data', project, disk_interface: 'Block', region: REGION, size_gb: 1, ...change } })

  test('are made, renamed, ordered with a bid, and deleted once nothing needs them', async () => {
    interface Volume {
      readonly fid: string
      readonly name: string
      readonly capacity_gb: number
      readonly interface: string
      readonly bids: readonly string[]
      readonly attachments: Readonly<Record<string, string>>
    }
    const made = bodyOf<Volume>(await create())
    assert.deepEqual([made.name, made.capacity_gb, made.interface, made.bids, made.attachments], ['data', 1, 'Block', [], {}])
    assert.equal(bodyOf<Volume>(await call('PATCH', `/volumes/${made.fid}`, { body: { name: 'renamed' } })).name, 'renamed')
    const ordered = await bid('stateful', '$1.00', { launch_specification: { ssh_keys: [], volumes: [made.fid] } })
    const [row] = await allAre(`bid_fid_in=${ordered.fid}`, 'STATUS_RUNNING', 1)
    const [listed] = bodyOf<readonly Volume[]>(await call('GET', `/volumes?project=${project}&region=${REGION}`))
    assert.deepEqual(listed, { ...listed, bids: [ordered.fid], attachments: { [row?.fid ?? '']: '/mnt/renamed' } })
    assert.equal((await call('DELETE', `/volumes/${made.fid}`)).status, 409)
    const two = await call('POST', '/spot/bids', { body: { ...order('two'), limit_price: '$1.00', instance_quantity: 2, launch_specification: { ssh_keys: [], volumes: [made.fid] } } })
    assert.deepEqual(issuesOf(two), ['body.launch_specification.volumes.0: value_error'])
    await end(ordered)
    assert.equal((await call('DELETE', `/volumes/${made.fid}`)).status, 204)
    assert.equal((await call('DELETE', `/volumes/${made.fid}`)).status, 404)
    assert.deepEqual(bodyOf(await call('GET', `/volumes?project=${project}&include_deleted=true`)), [])
  })

  test('a File volume is for all instances of an order, from its beginning to its end', async () => {
    interface Shared {
      readonly fid: string
      readonly interface: string
      readonly attachments: Readonly<Record<string, string>>
    }
    const made = bodyOf<Shared>(await create({ name: 'shared', disk_interface: 'File' }))
    assert.equal(made.interface, 'File')
    const spec = { ssh_keys: [], volumes: [made.fid] }
    const ordered = await bid('pair', '$1.00', { instance_quantity: 2, launch_specification: spec })
    assert.deepEqual((ordered.launch_specification as { volumes: unknown }).volumes, [made.fid])
    const rows = await allAre(`bid_fid_in=${ordered.fid}`, 'STATUS_RUNNING', 2)
    const [listed] = bodyOf<readonly Shared[]>(await call('GET', `/volumes?project=${project}`))
    assert.deepEqual(Object.keys(listed?.attachments ?? {}).toSorted(), rows.map(row => row.fid).toSorted())
    assert.deepEqual(issuesOf(await call('PATCH', `/spot/bids/${ordered.fid}`, { body: { volumes: [] } })), ['body.volumes: value_error'])
    assert.deepEqual(issuesOf(await call('PATCH', `/volumes/${made.fid}`, { body: { name: 'other' } })), ['body.name: value_error'])
    assert.deepEqual(issuesOf(await create({ name: 'shared', disk_interface: 'File' })), ['body.name: value_error'])
    assert.equal((await call('DELETE', `/volumes/${made.fid}`)).status, 409)
    await end(ordered)
    assert.equal((await call('DELETE', `/volumes/${made.fid}`)).status, 204)
  })

  test('bad ones are refused', async () => {
    for (const [change, issues] of [
      [{ name: 'Data' }, ['body.name: string_pattern_mismatch']],
      [{ name: 'd'.repeat(65) }, ['body.name: string_too_long']],
      [{ disk_interface: 'Tape' }, ['body.disk_interface: literal_error']],
      [{ region: 'mars' }, ['body.region: value_error']],
      [{ size_gb: 0 }, ['body.size_gb: greater_than_equal']],
      [{ size_gb: '1TB' }, ['body.size_gb: int_parsing']],
      [{ size_gb: 2_000_000 }, ['body.size_gb: value_error']],
    ] as const) {
      assert.deepEqual(issuesOf(await create(change)), issues, JSON.stringify(change))
    }
    assert.deepEqual(issuesOf(await call('GET', `/volumes?project=${project}&include_deleted=maybe`)), ['query.include_deleted: bool_parsing'])
    assert.equal((await call('PATCH', '/volumes/vol_x', { body: { name: 'x' } })).status, 404)
  })
})

test('quotas count instances', async () => {
  const quotas = bodyOf<readonly { product_type: string; total_quantity: number; used_quantity: number }[]>(await call('GET', `/quotas?project=${project}`))
  assert.deepEqual(quotas.map(quota => quota.product_type).toSorted(), ['on-demand', 'reserved', 'spot'])
  assert.ok(quotas.every(quota => quota.used_quantity <= quota.total_quantity))
})

test('the contract judged every operation of bids and their prices', { skip: contract === null ? 'mithril.openapi.json is not beside the checkout' : false }, () => {
  for (const label of [
    'GET /v2/instances 200',
    'GET /v2/instances/{instance_fid}/status 200',
    'GET /v2/instances/status/history 200',
    'GET /v2/instances/pricing/history 200',
    'GET /v2/spot/availability 200',
    'POST /v2/spot/bids 201',
    'GET /v2/spot/bids 200',
    'PATCH /v2/spot/bids/{bid_fid} 200',
    'GET /v2/spot/bids/{bid_fid}/history 200',
    'GET /v2/spot/bids/{bid_fid}/status 200',
    'GET /v2/pricing/current 200',
    'GET /v2/pricing/history 200',
    'GET /v2/quotas 200',
    'POST /v2/volumes 201',
  ]) {
    assert.ok(contract?.judged.has(label), label)
  }
})
