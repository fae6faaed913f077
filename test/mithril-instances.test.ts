/**
 * Mithril's v2 API on a simulated host, what needs no market: who may ask, every shape of error, lists with filters and
 * cursors, start and pause in batches, histories, boot disks, and the project's keys, volumes and images. Instances are
 * made through another dialect, as their ids are the same thing in another spelling. Every answer goes past the
 * published contract where that document is at hand. (M…: the conformance cases of the wire's reference.)
 */
import assert from 'node:assert/strict'
import { after, before, describe, test } from 'node:test'
import { spellId } from '../src/instance/ids.ts'
import type { InstanceId } from '../src/instance/model.ts'
import { bodyOf, detailOf, issuesOf, judgedMithrilCalls, loadMithrilContract, MITHRIL_CONTRACT_FILE } from './support/mithril.ts'
import type { Answer, TestServer } from './support/server.ts'
import { eventually, send, startServer } from './support/server.ts'

const KEY = 'ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIEzzAnTxl6twSZjHUyzd3YYcldFMZbBEfJXSdMANO4P8 me@home'
const NOBODY = spellId('instance', 'mithril', '0920582c-7ff0-4139-8e34-823a0be62549' as InstanceId)
const MEMBERS = ['bid', 'created_at', 'created_by', 'fid', 'instance_type', 'name', 'private_ip', 'project', 'region', 'reservation', 'ssh_destination', 'status']
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{6})?Z$/

interface Row {
  readonly fid: string
  readonly name: string
  readonly status: string
  readonly created_at: string
  readonly instance_type: string
  readonly bid: string | null
  readonly reservation: string | null
  readonly private_ip: string | null
}
interface Page {
  readonly data: readonly Row[]
  readonly next_cursor: string | null
}
interface Histories {
  readonly instances: readonly { readonly instance_fid: string; readonly events: readonly { readonly timestamp: string; readonly status: string }[] }[]
  readonly next_cursor: string | null
}

const contract = loadMithrilContract()
let server: TestServer
let project = ''
const call = judgedMithrilCalls(() => server, contract)

before(async () => {
  server = await startServer()
  project = bodyOf<readonly { fid: string }[]>(await call('GET', '/projects'))[0]?.fid ?? ''
})
after(() => server.stop())

async function make(name: string, change: object = {}): Promise<string> {
  const made = await server.request('POST', '/berth/v1/instances', { body: { name, image: 'localhost/busybox', cmd: ['sleep', '1000000'], memoryBytes: 256 * 2 ** 20, ...change } })
  assert.ok(made.status < 300, made.text)
  return spellId('instance', 'mithril', (made.body as { id: InstanceId }).id)
}

async function status(fid: string): Promise<string> {
  return bodyOf<{ status: string }>(await call('GET', `/instances/${fid}/status`)).status
}

async function reached(fid: string, wanted: string): Promise<void> {
  await eventually(`${fid} is ${wanted}`, async () => ((await status(fid)) === wanted ? true : null))
}

async function running(name: string, change: object = {}): Promise<string> {
  const fid = await make(name, change)
  await reached(fid, 'STATUS_RUNNING')
  return fid
}

async function remove(...fids: readonly string[]): Promise<void> {
  const { data } = await list('limit=100')
  for (const fid of fids) {
    const name = data.find(row => row.fid === fid)?.name ?? ''
    await server.request('DELETE', `/instances/${name}`)
    await reached(fid, 'STATUS_TERMINATED')
  }
}

async function list(query = ''): Promise<Page> {
  return bodyOf<Page>(await call('GET', `/instances?project=${project}${query === '' ? '' : `&${query}`}`))
}

function patch(instances: unknown, wanted: unknown): Promise<Answer> {
  return call('PATCH', '/instances', { body: { instances, status: wanted } })
}

test('the published contract is at hand', { skip: contract === null ? 'mithril.openapi.json is not beside the checkout' : false }, () => {
  assert.ok(contract, MITHRIL_CONTRACT_FILE)
})

describe('who asks', () => {
  test('M01, M02: without a bearer token it is 401', async () => {
    for (const authorization of [null, `Basic ${Buffer.from(`${server.key}:`).toString('base64')}`, 'Bearer', 'Bearer fkey_nobody', server.key]) {
      const answer = await call('GET', `/instances?project=${project}`, { key: null, headers: authorization === null ? {} : { authorization } })
      assert.equal(answer.status, 401, String(authorization))
      assert.equal(detailOf(answer), 'Not authenticated')
    }
  })

  test('M03: the scheme is of any case, and a key may wear the prefix', async () => {
    for (const authorization of [`bearer ${server.key}`, `Bearer fkey_${server.key}`, `BEARER ${server.key}`]) {
      assert.equal((await call('GET', '/me', { key: null, headers: { authorization } })).status, 200)
    }
  })

  test('the account is the key’s project', async () => {
    const me = bodyOf<{ fid: string; email: string }>(await call('GET', '/me'))
    assert.match(me.fid, /^user_[0-9A-Za-z]{16}$/)
    const [mate] = bodyOf<readonly { fid: string; project_ids: readonly string[] }[]>(await call('GET', '/me/teammates'))
    assert.deepEqual([mate?.fid, mate?.project_ids], [me.fid, [project]])
  })

  test('another project is none of its business', async () => {
    const other = await server.request('POST', '/berth/v1/projects', { body: { name: 'other' } })
    const otherId = (other.body as { id: string }).id
    const { secret } = (await server.request('POST', '/berth/v1/keys', { body: { name: 'o', scopes: ['read', 'write'], projectId: otherId } })).body as { secret: string }
    const fid = await running('mine')
    for (const path of ['/instances', '/instances/status/history', '/instances/pricing/history', '/ssh-keys', '/volumes', '/quotas', '/reservation', '/spot/bids']) {
      assert.equal((await call('GET', `${path}?project=${project}`, { key: secret })).status, 403, path)
    }
    assert.equal((await call('GET', `/instances?project=proj_nobody`)).status, 403)
    assert.equal((await call('GET', `/instances/${fid}/status`, { key: secret })).status, 404)
    assert.equal((await call('PATCH', '/instances', { key: secret, body: { instances: [fid], status: 'STATUS_PAUSED' } })).status, 404)
    assert.equal(await status(fid), 'STATUS_RUNNING')
    await remove(fid)
  })

  test('a key that lacks the scope is told so', async () => {
    const { secret } = (await server.request('POST', '/berth/v1/keys', { body: { name: 'reader', scopes: ['read'] } })).body as { secret: string }
    const answer = await call('POST', '/ssh-keys', { key: secret, body: { project, name: 'x', public_key: KEY } })
    assert.equal(answer.status, 403)
    assert.equal((await call('GET', '/api-keys', { key: secret })).status, 403)
  })
})

describe('FastAPI’s ways', () => {
  test('M32, M41: 404, 405 with Allow, 307 without the slash, and names that are no ids', async () => {
    assert.deepEqual([(await call('GET', '/nothing')).status, detailOf(await call('GET', '/nothing'))], [404, 'Not Found'])
    for (const method of ['PUT', 'POST', 'DELETE']) {
      const answer = await call(method, '/instances')
      assert.deepEqual([answer.status, answer.headers.get('allow')], [405, 'GET, PATCH'], method)
    }
    assert.equal((await call('GET', `/instances/${NOBODY}`)).status, 404)
    const moved = await fetch(`${server.url}/v2/instances/?project=${project}`, { redirect: 'manual' })
    assert.deepEqual([moved.status, moved.headers.get('location')], [307, `/v2/instances?project=${project}`])
    assert.deepEqual(issuesOf(await call('GET', '/instances/status/history')), ['query.project: missing'])
    assert.deepEqual(issuesOf(await call('GET', '/instances/pricing/history')), ['query.project: missing'])
  })

  test('M04, M06, M08, M10, M13: every problem of a query is told, with its place and its type', async () => {
    for (const [query, issues] of [
      ['', ['query.project: missing']],
      ['project=P&limit=0', ['query.limit: greater_than_equal']],
      ['project=P&limit=-5', ['query.limit: greater_than_equal']],
      ['project=P&limit=101', ['query.limit: less_than_equal']],
      ['project=P&limit=abc', ['query.limit: int_parsing']],
      ['project=P&limit=1.5', ['query.limit: int_parsing']],
      ['project=P&limit=', ['query.limit: int_parsing']],
      ['project=P&sort_by=name', ['query.sort_by: literal_error']],
      ['project=P&sort_dir=DESC', ['query.sort_dir: enum']],
      ['project=P&status_in=STATUS_STOPPED', ['query.status_in.0: literal_error']],
      ['project=P&status_in=STATUS_RUNNING,running', ['query.status_in.1: literal_error']],
      ['project=P&order_type_in=bid', ['query.order_type_in.0: literal_error']],
      ['project=P&next_cursor=nonsense', ['query.next_cursor: value_error']],
      [`project=P&next_cursor=${'x'.repeat(5000)}`, ['query.next_cursor: value_error']],
      ['limit=0&sort_by=x', ['query.sort_by: literal_error', 'query.limit: greater_than_equal', 'query.project: missing']],
    ] as const) {
      assert.deepEqual(issuesOf(await call('GET', `/instances?${query.replace('=P', `=${project}`)}`)), issues, query)
    }
  })

  test('M38: a plus that is not escaped is a space, and no time', async () => {
    for (const [time, isTime] of [
      ['2024-01-01T00:00:00Z', true],
      ['2024-01-01T00:00:00%2B00:00', true],
      ['2024-01-01T00:00:00.123456-05:30', true],
      ['2024-01-01', true],
      ['1704067200', true],
      ['2024-01-01T00:00:00+00:00', false],
      ['2024-13-01', false],
      ['2024-02-30', false],
      ['2024-01-01T25:00:00Z', false],
      ['yesterday', false],
      ['', false],
      ['999999999999999', false],
    ] as const) {
      const answer = await call('GET', `/instances/status/history?project=${project}&start_time=${time}`)
      if (isTime) assert.equal(answer.status, 200, time)
      else assert.deepEqual(issuesOf(answer), ['query.start_time: datetime_from_date_parsing'], time)
    }
  })

  test('M28, M29, M31: bodies that are wrong in each of their ways change nothing', async () => {
    const fid = await running('wrong-bodies')
    for (const [body, issues] of [
      [undefined, ['body: missing']],
      ['', ['body: missing']],
      ['null', ['body: missing']],
      ['{', ['body.1: json_invalid']],
      ['[]', ['body: model_attributes_type']],
      ['"text"', ['body: model_attributes_type']],
      ['7', ['body: model_attributes_type']],
      ['{}', ['body.instances: missing', 'body.status: missing']],
      [{ instances: fid, status: 'STATUS_PAUSED' }, ['body.instances: set_type']],
      [{ instances: [1], status: 'STATUS_PAUSED' }, ['body.instances.0: string_type']],
      [{ instances: null, status: null }, ['body.instances: set_type', 'body.status: literal_error']],
      [{ instances: [fid] }, ['body.status: missing']],
      [{ instances: [fid], status: 'STATUS_STOPPED' }, ['body.status: literal_error']],
      [{ instances: [fid], status: 'running' }, ['body.status: literal_error']],
      [{ instances: [fid], status: 'STATUS_TERMINATED' }, ['body.status: literal_error']],
      [{ instances: Array.from({ length: 2000 }, (_, index) => `inst_${index}`), status: 'STATUS_PAUSED' }, ['body.instances: too_long']],
    ] as const) {
      const headers = { 'content-type': 'application/json' }
      assert.deepEqual(issuesOf(await call('PATCH', '/instances', { ...(body === undefined ? {} : { body }), headers })), issues, JSON.stringify(body))
    }
    const asText = { body: JSON.stringify({ instances: [fid], status: 'STATUS_PAUSED' }), headers: { 'content-type': 'text/plain' } }
    assert.deepEqual(issuesOf(await call('PATCH', '/instances', asText)), ['body: model_attributes_type'])
    const broken = { body: Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x7d]), headers: { 'content-type': 'application/json' } }
    assert.match(issuesOf(await call('PATCH', '/instances', broken))[0] ?? '', /json_invalid$/)
    const huge = { body: JSON.stringify({ instances: ['x'.repeat(2 ** 20)] }), headers: { 'content-type': 'application/json' } }
    assert.ok([413, 422].includes((await call('PATCH', '/instances', huge)).status))
    assert.equal(await status(fid), 'STATUS_RUNNING')
    await remove(fid)
  })
})

describe('the list', () => {
  test('M05, M15: of nothing it is an empty page; what is unknown is ignored', async () => {
    assert.deepEqual(await list('instance_type=it_nobody&_cache_bust=1-2&bid_fid_in=&region='), { data: [], next_cursor: null })
  })

  test('M07, M09, M12, M16, M19: pages, orders, filters, and every member of every row', async () => {
    const fids: string[] = []
    for (const name of ['page-a', 'page-b', 'page-c']) fids.push(await running(name))
    const only = 'status_in=STATUS_RUNNING'
    const all = (await list(only)).data
    assert.deepEqual(all.map(row => row.fid), fids.toReversed())
    for (const row of all) {
      assert.deepEqual(Object.keys(row).toSorted(), MEMBERS)
      assert.match(row.fid, /^inst_[0-9A-Za-z]{21}$/)
      assert.match(row.created_at, TIME)
      assert.deepEqual([row.bid, row.reservation, row.private_ip !== null], [null, null, true])
    }
    for (const sort of ['created_at', 'instance_status', 'instance_type_fid']) {
      const rising = (await list(`${only}&sort_by=${sort}&sort_dir=asc`)).data
      assert.deepEqual((await list(`${only}&sort_by=${sort}&sort_dir=desc`)).data, rising.toReversed(), sort)
      const seen: string[] = []
      let cursor = ''
      for (let pages = 1; ; pages++) {
        const page = await list(`${only}&sort_by=${sort}&limit=1${cursor}`)
        seen.push(...page.data.map(row => row.fid))
        if (page.next_cursor === null) break
        assert.ok(pages < 3)
        cursor = `&next_cursor=${encodeURIComponent(page.next_cursor)}`
      }
      assert.deepEqual(seen.toSorted(), fids.toSorted(), sort)
    }
    assert.deepEqual((await list(`${only}&order_type_in=Bid,Reservation`)).data, [])
    assert.deepEqual((await list(`${only}&region=us-central2-a`)).data, [])
    assert.equal((await list(`${only},STATUS_ERROR&status_in=STATUS_PAUSED&region=us-central1-a`)).data.length, 3)
    await remove(...fids)
    const gone = (await list('status_in=STATUS_TERMINATED')).data
    assert.ok(fids.every(fid => gone.some(row => row.fid === fid)), 'what is terminated stays in the list')
  })

  test('the other dialects know it by its id in their spelling', async () => {
    const answer = await server.request('POST', '/instances', { body: { name: 'elsewhere', image: 'localhost/busybox', cmd: ['sleep', '100000'], size: '1GB', vcpus: 1 } })
    const fid = (await list()).data.find(row => row.name === 'elsewhere')?.fid ?? ''
    await reached(fid, 'STATUS_RUNNING')
    const uuid = ((await server.request('GET', '/berth/v1/instances/elsewhere')).body as { id: InstanceId }).id
    assert.equal(spellId('instance', 'mithril', uuid), fid)
    assert.equal(spellId('instance', 'hypeman', uuid), (answer.body as { id: string }).id)
    assert.equal((await server.request('GET', `/api/v1/instances/${spellId('instance', 'lambda', uuid)}`)).status, 200)
    assert.equal((await server.request('GET', `/v1/instances/${uuid}`)).status, 200)
    const types = bodyOf<readonly { fid: string; name: string }[]>(await call('GET', '/instance-types'))
    const row = (await list()).data.find(one => one.fid === fid)
    assert.equal(types.find(type => type.fid === row?.instance_type)?.name, 'cpu.1x')
    await remove(fid)
  })
})

describe('start and pause in batches', () => {
  test('M20-M25, M30: the answer has an entry for every one that was asked for', async () => {
    const [a, b] = [await running('batch-a'), await running('batch-b')]
    assert.deepEqual(bodyOf(await patch([a], 'STATUS_PAUSED')), { instances: { [a]: 'STATUS_STOPPING' } })
    await reached(a, 'STATUS_PAUSED')
    assert.deepEqual(bodyOf(await patch([a], 'STATUS_PAUSED')), { instances: { [a]: 'STATUS_PAUSED' } })
    assert.deepEqual(bodyOf(await patch([b], 'STATUS_RUNNING')), { instances: { [b]: 'STATUS_RUNNING' } })
    assert.equal((await patch([b, NOBODY], 'STATUS_PAUSED')).status, 404)
    assert.equal((await patch([b, 'inst_x'], 'STATUS_PAUSED')).status, 404)
    assert.equal(await status(b), 'STATUS_RUNNING')
    assert.deepEqual(bodyOf(await patch([a, b, b], 'STATUS_PAUSED')), { instances: { [a]: 'STATUS_PAUSED', [b]: 'STATUS_STOPPING' } })
    await reached(b, 'STATUS_PAUSED')
    assert.deepEqual(bodyOf(await patch([b, a], 'STATUS_RUNNING')), { instances: { [b]: 'STATUS_CONFIRMED', [a]: 'STATUS_CONFIRMED' } })
    await Promise.all([reached(a, 'STATUS_RUNNING'), reached(b, 'STATUS_RUNNING')])
    assert.deepEqual(bodyOf(await patch([], 'STATUS_PAUSED')), { instances: {} })
    await remove(a, b)
    assert.deepEqual(bodyOf(await patch([a, b], 'STATUS_PAUSED')), { instances: { [a]: 'STATUS_TERMINATED', [b]: 'STATUS_TERMINATED' } })
  })

  test('one that sleeps is paused, and starts where it was', async () => {
    const fid = await running('sleeper')
    await server.request('POST', '/instances/sleeper/standby')
    await reached(fid, 'STATUS_PAUSED')
    assert.deepEqual(bodyOf(await patch([fid], 'STATUS_RUNNING')), { instances: { [fid]: 'STATUS_CONFIRMED' } })
    await reached(fid, 'STATUS_RUNNING')
    await remove(fid)
  })

  test('M33, M35: a status has six members, and nobody’s is 404', async () => {
    const fid = await running('asked')
    const answer = bodyOf<object>(await call('GET', `/instances/${fid}/status`))
    assert.deepEqual(answer, { fid, name: 'asked', status: 'STATUS_RUNNING', bid: null, reservation: null, end_time: null })
    for (const nobody of [NOBODY, 'inst_x', 'history', '%00', 'x'.repeat(900)]) assert.equal((await call('GET', `/instances/${nobody}/status`)).status, 404, nobody)
    await remove(fid)
  })
})

describe('histories', () => {
  const histories = async (query: string) => bodyOf<Histories>(await call('GET', `/instances/status/history?project=${project}&${query}`))

  test('M36: a pause and a start are told in their order, within the window that is asked for', async () => {
    const fid = await running('story')
    await patch([fid], 'STATUS_PAUSED')
    await reached(fid, 'STATUS_PAUSED')
    await patch([fid], 'STATUS_RUNNING')
    await reached(fid, 'STATUS_RUNNING')
    const events = (await histories(`instance_fid=${fid}`)).instances[0]?.events ?? []
    const told = events.map(event => event.status)
    assert.deepEqual(told.slice(0, 2), ['STATUS_NEW', 'STATUS_CONFIRMED'])
    const first = told.indexOf('STATUS_RUNNING')
    assert.deepEqual(told.slice(first), ['STATUS_RUNNING', 'STATUS_STOPPING', 'STATUS_PAUSED', 'STATUS_CONFIRMED', 'STATUS_INITIALIZING', 'STATUS_STARTING', 'STATUS_RUNNING'])
    assert.ok(events.every(({ timestamp }) => TIME.test(timestamp)))
    const pausedAt = events.find(event => event.status === 'STATUS_PAUSED')?.timestamp ?? ''
    const since = await histories(`instance_fid=${fid}&start_time=${pausedAt}`)
    assert.equal(since.instances[0]?.events[0]?.status, 'STATUS_PAUSED', 'the start belongs to the window')
    const until = await histories(`instance_fid=${fid}&end_time=${pausedAt}`)
    assert.equal(until.instances[0]?.events.at(-1)?.status, 'STATUS_STOPPING', 'the end does not')
    await remove(fid)
    assert.equal((await histories(`instance_fid=${fid}`)).instances[0]?.events.at(-1)?.status, 'STATUS_TERMINATED')
  })

  test('selectors that mean nothing here give nothing', async () => {
    const nothing = { instances: [], next_cursor: null }
    for (const query of ['instance_fid=inst_x', `instance_fid=${NOBODY}`, 'bid_fid=bid_x', 'reservation_fid=res_x', 'bid_fid=bid_x&reservation_fid=res_x']) {
      assert.deepEqual(await histories(query), nothing, query)
    }
  })

  test('pages of the whole project', async () => {
    const seen: string[] = []
    let cursor = ''
    for (;;) {
      const page = await histories(`limit=2${cursor}`)
      seen.push(...page.instances.map(instance => instance.instance_fid))
      if (page.next_cursor === null) break
      cursor = `&next_cursor=${page.next_cursor}`
    }
    assert.deepEqual(seen, (await list('limit=100')).data.map(row => row.fid))
  })
})

describe('a boot disk', () => {
  const refresh = (fid: string, body?: unknown) => call('POST', `/instances/${fid}/refresh-boot-disk`, body === undefined ? {} : { body })

  test('M50: is made anew while the instance is paused, and not before', async () => {
    const fid = await running('disk')
    const early = await refresh(fid)
    assert.deepEqual([early.status, (detailOf(early) as { reason: string }).reason], [422, 'INSTANCE_RUNNING'])
    await patch([fid], 'STATUS_PAUSED')
    await reached(fid, 'STATUS_PAUSED')
    const [image] = bodyOf<readonly { image_version_fid: string }[]>(await call('GET', '/image-versions'))
    const version = image?.image_version_fid ?? ''
    assert.deepEqual(bodyOf(await refresh(fid)), { fid, image_version: null, status: 'REFRESHED' })
    assert.deepEqual(bodyOf(await refresh(fid, null)), { fid, image_version: null, status: 'REFRESHED' })
    assert.deepEqual(bodyOf(await refresh(fid, { image_version: version })), { fid, image_version: version, status: 'REFRESHED' })
    const wrong = await refresh(fid, { image_version: 'imgver_nobody' })
    assert.deepEqual([wrong.status, (detailOf(wrong) as { reason: string }).reason], [422, 'INVALID_IMAGE_VERSION'])
    assert.deepEqual(issuesOf(await refresh(fid, { image_version: 7 })), ['body.image_version: string_type'])
    await patch([fid], 'STATUS_RUNNING')
    await reached(fid, 'STATUS_RUNNING')
    await remove(fid)
    assert.equal((await refresh(fid)).status, 409)
    assert.equal((await refresh(NOBODY)).status, 404)
  })
})

describe('what a project has', () => {
  test('SSH keys: given, or made with a private part that is told once', async () => {
    const given = bodyOf<{ fid: string; private_key: string | null; required: boolean }>(await call('POST', '/ssh-keys', { body: { project, name: 'given', public_key: KEY } }))
    assert.deepEqual([given.private_key, given.required], [null, false])
    const made = bodyOf<{ fid: string; private_key: string; public_key: string }>(await call('POST', '/ssh-keys', { body: { project, name: 'made' } }))
    assert.match(made.private_key, /^-----BEGIN RSA PRIVATE KEY-----/)
    const listed = bodyOf<readonly { fid: string; public_key: string }[]>(await call('GET', `/ssh-keys?project=${project}`))
    assert.deepEqual(listed.map(key => key.fid), [given.fid, made.fid])
    assert.ok(listed[0]?.public_key.startsWith(KEY.split(' ').slice(0, 2).join(' ')))
    assert.ok(!JSON.stringify(listed).includes('private'))
    const required = bodyOf<{ required: boolean }>(await call('PATCH', `/ssh-keys/${made.fid}`, { body: { required: true } }))
    assert.equal(required.required, true)
    for (const [body, issues] of [
      [{ project, name: 'given', public_key: KEY }, ['body.name: value_error']],
      [{ project, name: 'bad', public_key: 'ssh-ed25519 AAAA' }, ['body.public_key: value_error']],
      [{ project, name: '' }, ['body.name: string_too_short']],
      [{ project, name: 'n'.repeat(300) }, ['body.name: string_too_long']],
      [{ name: 'x' }, ['body.project: missing']],
      [{ project, name: 'x', required: 'perhaps' }, ['body.required: bool_parsing']],
    ] as const) {
      assert.deepEqual(issuesOf(await call('POST', '/ssh-keys', { body })), issues, JSON.stringify(body))
    }
    assert.equal((await call('POST', '/ssh-keys', { body: { project: 'proj_x', name: 'x' } })).status, 403)
    assert.equal((await call('DELETE', '/ssh-keys/sshkey_x')).status, 404)
    assert.deepEqual(issuesOf(await call('GET', '/ssh-keys')), ['query.project: missing'])
  })

  test('API keys: the secret is told once, works here with its prefix, and ends with the key', async () => {
    const body = { name: 'robot', expires_at: '2099-01-01T00:00:00Z' }
    const made = bodyOf<{ fid: string; secret: string; snippet: string; expires_at: string }>(await call('POST', '/api-keys', { body }))
    assert.match(made.secret, /^fkey_[A-Za-z0-9]{64}$/)
    assert.equal(made.snippet, `${made.secret.slice(0, 9)}...`)
    assert.equal(made.expires_at, body.expires_at)
    assert.equal((await call('GET', '/me', { key: made.secret })).status, 200)
    const listed = bodyOf<readonly { fid: string; secret?: string }[]>(await call('GET', '/api-keys'))
    assert.ok(listed.some(key => key.fid === made.fid && key.secret === undefined))
    assert.equal((await call('DELETE', `/api-keys/${made.fid}`)).status, 204)
    assert.equal((await call('GET', '/me', { key: made.secret })).status, 401)
    assert.equal((await call('DELETE', `/api-keys/${made.fid}`)).status, 404)
    assert.deepEqual(issuesOf(await call('POST', '/api-keys', { body: { name: 'x', expires_at: '2001-01-01T00:00:00Z' } })), ['body.expires_at: value_error'])
    assert.deepEqual(issuesOf(await call('POST', '/api-keys', { body: { name: 'x', expires_at: 'soon' } })), ['body.expires_at: datetime_from_date_parsing'])
    assert.deepEqual(issuesOf(await call('POST', '/api-keys', { body: {} })), ['body.name: missing', 'body.expires_at: missing'])
  })

  test('types: one id for each shape in each region', async () => {
    const types = bodyOf<readonly { fid: string; name: string; gpu_type: string; gpu_socket: string; num_gpus: number }[]>(await call('GET', '/instance-types'))
    assert.equal(new Set(types.map(type => type.fid)).size, types.length)
    const h100 = types.filter(type => type.name === 'h100-80gb.sxm.8x')
    assert.deepEqual(h100.map(({ gpu_type, gpu_socket, num_gpus }) => [gpu_type, gpu_socket, num_gpus]), [['H100', 'SXM5', 8], ['H100', 'SXM5', 8]])
    assert.deepEqual(bodyOf(await call('GET', '/reservation/instance-types')), types)
  })

  test('what is not here is an empty list, and refused where one would be made', async () => {
    assert.deepEqual(bodyOf(await call('GET', `/kubernetes/clusters?project=${project}`)), [])
    assert.deepEqual(bodyOf(await call('GET', `/lifecycle-scripts?project=${project}`)), { data: [], next_cursor: null })
    assert.deepEqual(bodyOf(await call('GET', '/mcc-image-versions?region=us-central1-a')), [])
    assert.equal((await call('POST', '/kubernetes/clusters', { body: {} })).status, 400)
    assert.equal((await call('GET', '/kubernetes/clusters/clust_x')).status, 404)
    assert.equal((await call('GET', '/lifecycle-scripts/ls_x/content')).status, 404)
  })

  test('nothing without a key tells more than that a key is needed', async () => {
    for (const [method, path] of [['GET', '/me'], ['GET', '/instance-types'], ['PATCH', '/instances'], ['POST', '/spot/bids'], ['DELETE', '/volumes/vol_x']] as const) {
      const { status: code, text } = await send(server.url, method, `/v2${path}`, { key: null })
      assert.deepEqual([code, text], [401, '{"detail":"Not authenticated"}'], path)
    }
  })
})
