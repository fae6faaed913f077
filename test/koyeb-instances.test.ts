/**
 * Koyeb's Instances API on a simulated host: every filter and form of its lists, every way its clients speak exec,
 * and the table of bad input. Every answer goes past the published contract where that document is at hand.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { cliFrames, judgedCalls, loadKoyebContract, openSession, runSession } from './support/koyeb.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const UUID_V4 = /^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/
const TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$/
const NOBODY = '11111111-1111-4111-8111-111111111111'

interface Item {
  readonly id: string
  readonly status: string
  readonly created_at: string
  readonly app_id: string
  readonly service_id: string
  readonly regional_deployment_id: string
  readonly xyz_deployment_id: string
  readonly allocation_id: string
  readonly organization_id: string
  readonly [key: string]: unknown
}
interface List {
  readonly instances: readonly Item[]
  readonly count: number
  readonly limit: number
  readonly offset: number
  readonly order: string
}

const contract = loadKoyebContract()
let server: TestServer
const call = judgedCalls(() => server, contract)
/** Five that run, oldest first; then one asleep, one stopped and one deleted. */
const running: string[] = []
let asleep = ''
let stopped = ''
let deleted = ''

before(async () => {
  server = await startServer()
  await eventually('the built-in image is ready', async () => {
    const { status, body } = await server.request('GET', `/images/${encodeURIComponent(IMAGE)}`)
    if (status === 404) await server.request('POST', '/images', { body: { name: IMAGE } })
    return status === 200 && (body as { status: string }).status === 'ready' ? true : null
  })
  for (let index = 0; index < 5; index++) running.push(await launch(`web-${index}`))
  asleep = await launch('asleep')
  await act(asleep, 'standby', 'SLEEPING')
  stopped = await launch('stopped')
  await act(stopped, 'stop', 'STOPPED')
  deleted = await launch('deleted')
  await server.request('DELETE', `/berth/v1/instances/${deleted}`)
  await eventually('it is deleted', async () => ((await statusOf(deleted)) === 'STOPPED' ? true : null))
})
after(() => server.stop())

async function launch(name: string): Promise<string> {
  const { status, body, text } = await server.request('POST', '/berth/v1/instances', { body: { name, image: IMAGE, cmd: ['sleep', 'infinity'] } })
  assert.ok(status < 300, text)
  const { id } = body as { id: string }
  await eventually(`${name} runs`, async () => ((await statusOf(id)) === 'HEALTHY' ? true : null))
  return id
}

async function act(id: string, action: string, status: string): Promise<void> {
  const answer = await server.request('POST', `/berth/v1/instances/${id}/${action}`, { body: {} })
  assert.ok(answer.status < 300, answer.text)
  await eventually(`${id} is ${status}`, async () => ((await statusOf(id)) === status ? true : null))
}

async function statusOf(id: string): Promise<string> {
  const { body } = await call('GET', `/v1/instances/${id}`)
  return (body as { instance: Item }).instance.status
}

async function list(query = ''): Promise<List> {
  const { status, body, text } = await call('GET', `/v1/instances${query}`)
  assert.equal(status, 200, text)
  return body as List
}

async function idsOf(query: string): Promise<readonly string[]> {
  return (await list(query)).instances.map(instance => instance.id)
}

test('the published contract is at hand', { skip: contract === null ? 'koyeb.openapi.json is not beside the checkout' : false }, () => {
  assert.ok(contract)
})

describe('list and get', () => {
  test('what another dialect launched is here, with ids that the CLI takes for ids', async () => {
    const { instances, count, limit, offset, order } = await list()
    assert.deepEqual([count, limit, offset, order], [8, 100, 0, 'asc'])
    assert.deepEqual(instances.map(instance => instance.id), [...running, asleep, stopped, deleted])
    for (const instance of instances) {
      for (const key of ['id', 'app_id', 'service_id', 'regional_deployment_id', 'xyz_deployment_id', 'allocation_id', 'organization_id'] as const) {
        assert.match(instance[key], UUID_V4, key)
      }
      assert.match(instance.created_at, TIME)
      assert.ok(Array.isArray(instance['messages']))
      assert.equal(typeof instance['replica_index'], 'number')
    }
    assert.equal(new Set(instances.map(instance => instance.service_id)).size, 1)
  })

  test('get shows times as times or null', async () => {
    const { body } = await call('GET', `/v1/instances/${running[0]}`)
    const { instance } = body as { instance: Item }
    assert.match(String(instance['started_at']), TIME)
    assert.equal(instance['terminated_at'], null)
    const gone = ((await call('GET', `/v1/instances/${deleted}`)).body as { instance: Item }).instance
    assert.equal(gone.status, 'STOPPED')
    assert.match(String(gone['terminated_at']), TIME)
  })

  test('every filter narrows, in both spellings and every form of a list', async () => {
    const first = (await list()).instances[0]
    assert.ok(first)
    const all = [...running, asleep, stopped, deleted]
    const table: readonly (readonly [string, readonly string[]])[] = [
      [`?app_id=${first.app_id}`, all],
      [`?appId=${first.app_id}`, all],
      [`?service_id=${first.service_id}&deployment_id=${first.xyz_deployment_id}`, all],
      [`?regionalDeploymentId=${first.regional_deployment_id}`, all],
      [`?service_id=${NOBODY}`, []],
      [`?app_id=${first.app_id}&service_id=${NOBODY}`, []],
      ['?service_id=not-a-uuid', []],
      ['?app_id=&service_id=&statuses=', all],
      [`?allocation_id=${first.allocation_id}`, [first.id]],
      ['?allocation_id=nonsense', []],
      ['?replica_index=0', all],
      ['?replicaIndex=1', []],
      ['?statuses=HEALTHY', running],
      ['?statuses=HEALTHY&statuses=SLEEPING', [...running, asleep]],
      ['?statuses=HEALTHY,SLEEPING', [...running, asleep]],
      ['?statuses=%5BHEALTHY%2C+SLEEPING%5D', [...running, asleep]],
      [`?statuses=${encodeURIComponent('["SLEEPING", "STOPPED"]')}`, [asleep, stopped, deleted]],
      ['?statuses=ALLOCATING&statuses=STARTING&statuses=HEALTHY&statuses=UNHEALTHY&statuses=STOPPING', running],
      ['?statuses=ERROR', []],
      ['?starting_time=2020-01-01T00:00:00Z', all],
      ['?ending_time=2020-01-01T00:00:00Z', []],
      ['?startingTime=2999-01-01T00:00:00.000Z', [...running, asleep]],
      ['?starting_time=2026-01-01T00%3A00%3A00.000000%2B0000&time_frame=5m', all],
      ['?starting_time=2026-01-01T00:00:00.000000', all],
      ['?ending_time=2999-01-01T00%3A00%3A00%2B02%3A00', all],
    ]
    for (const [query, expected] of table) {
      const found = await list(query)
      assert.deepEqual(found.instances.map(instance => instance.id), expected, query)
      assert.equal(found.count, expected.length, query)
    }
  })

  test('pages follow one another, and count is of all that match', async () => {
    assert.deepEqual(await idsOf('?limit=2&offset=1'), running.slice(1, 3))
    assert.deepEqual(await idsOf('?limit=2&order=desc'), [deleted, stopped])
    assert.deepEqual(await idsOf('?limit=2&order=DESC&statuses=HEALTHY'), [running[4], running[3]])
    const page = await list('?limit=3&offset=4&statuses=HEALTHY')
    assert.deepEqual([page.count, page.limit, page.offset, page.instances.length], [5, 3, 4, 1])
    assert.equal((await list('?limit=100000')).limit, 1000)
    assert.equal((await list('?limit=0')).limit, 100)
  })
})

describe('events', () => {
  interface Events {
    readonly events: readonly { readonly id: string; readonly when: string; readonly type: string; readonly instance_id: string; readonly metadata: unknown }[]
    readonly has_next: boolean
  }
  const events = async (query: string) => {
    const { status, body, text } = await call('GET', `/v1/instance_events${query}`)
    assert.equal(status, 200, text)
    return body as Events
  }

  test('a life is told in its order, and has_next says whether there is more', async () => {
    const all = await events(`?instance_ids=${asleep}`)
    const types = all.events.map(event => event.type)
    assert.deepEqual(types.filter(type => ['STARTING', 'HEALTHY', 'FALLING_ASLEEP', 'SLEEPING'].includes(type)), ['STARTING', 'HEALTHY', 'FALLING_ASLEEP', 'SLEEPING'])
    assert.equal(all.has_next, false)
    for (const event of all.events) {
      assert.match(event.id, UUID_V4)
      assert.match(event.when, TIME)
      assert.ok(event.metadata !== null && typeof event.metadata === 'object')
    }
    const page = await events(`?instance_ids=${asleep}&limit=2&order=desc`)
    assert.deepEqual(page.events.map(event => event.type), types.toReversed().slice(0, 2))
    assert.equal(page.has_next, true)
    const last = await events(`?instanceIds=${asleep}&limit=2&offset=${types.length - 2}`)
    assert.deepEqual([last.events.length, last.has_next], [2, false])
  })

  test('types and ids narrow, and what is unknown is found nowhere', async () => {
    const healthy = await events(`?instance_ids=${running[0]}&instance_ids=${running[1]}&types=HEALTHY`)
    assert.deepEqual(healthy.events.map(event => event.instance_id), [running[0], running[1]])
    assert.deepEqual((await events('?types=NEVER_HEARD_OF')).events, [])
    assert.deepEqual((await events(`?instance_ids=${NOBODY}`)).events, [])
    assert.deepEqual((await events('?instance_ids=nonsense')).events, [])
    assert.deepEqual((await events('?types=SLEEPING,WAKING')).events.map(event => event.type), ['SLEEPING'])
  })
})

describe('exec over a WebSocket', () => {
  const options = (query = '') => ({ url: server.url, key: server.key, query, contract })

  test('as the CLI speaks: no query, idType in camel case, the command in every frame, stdin with an end', async () => {
    const outcome = await runSession(options(), ...cliFrames(running[0] ?? '', ['cat'], ['one ', 'two']))
    assert.deepEqual([outcome.stdout, outcome.stderr, outcome.exitCode, outcome.closeCode], ['one two', '', 0, 1000])
  })

  test('as the console speaks: the id in the URL, a terminal, a resize at once, and frames with stdin alone', async () => {
    const session = await openSession(options(`?id=${running[0]}`))
    assert.equal(session.socket.protocol, 'Bearer')
    session.send({ id: running[0], id_type: 'INSTANCE_ID', body: { command: ['cat'] } })
    session.send({ body: { tty_size: { width: 120, height: 50 } } })
    session.send({ body: { stdin: { data: Buffer.from('ls\r').toString('base64') } } })
    await session.until('ls')
    session.socket.close(1000)
    assert.equal((await session.outcome).exitCode, null)
  })

  test('as the SDK spoke: data and its end in one frame, both ways of authorizing at once', async () => {
    const id = running[0]
    const headers = { authorization: `Bearer ${server.key}` }
    const outcome = await runSession(
      { ...options(`?id=${id}`), headers },
      { id, body: { command: ['cat'], disableTty: true } },
      { id, body: { stdin: { data: Buffer.from('both').toString('base64'), close: true } } },
    )
    assert.deepEqual([outcome.stdout, outcome.exitCode], ['both', 0])
  })

  test('streams stay apart without a terminal, and are one with it', async () => {
    const apart = await runSession(options(), { id: running[0], body: { command: ['err', 'oops'], disableTty: true } })
    assert.deepEqual([apart.stdout, apart.stderr], ['', 'oops\n'])
    const together = await runSession(options(), { id: running[0], body: { command: ['err', 'oops'] } })
    assert.deepEqual([together.stdout, together.stderr], ['oops\n', ''])
  })

  test('exit codes arrive exactly; a program that is not there is 127', async () => {
    assert.equal((await runSession(options(), { id: running[0], body: { command: ['exit', '42'], disableTty: true } })).exitCode, 42)
    const missing = await runSession(options(), { id: running[0], body: { command: ['no-such-program'], disableTty: true } })
    assert.equal(missing.exitCode, 127)
    assert.match(missing.stderr, /not found/)
  })

  test('SERVICE_ID means an instance of the service', async () => {
    const service = (await list()).instances[0]?.service_id ?? ''
    const outcome = await runSession(options(), ...cliFrames(service, ['hostname'], [], 'SERVICE_ID'))
    assert.deepEqual([outcome.stdout, outcome.exitCode], ['web-0\n', 0])
  })

  test('a sleeping instance wakes and runs it', async () => {
    const outcome = await runSession(options(), ...cliFrames(asleep, ['echo', 'awake']))
    assert.deepEqual([outcome.stdout, outcome.exitCode], ['awake\n', 0])
    assert.equal(await statusOf(asleep), 'HEALTHY')
    await act(asleep, 'standby', 'SLEEPING')
  })

  test("Node's own WebSocket speaks it too", async () => {
    const socket = new globalThis.WebSocket(`${server.url.replace(/^http/, 'ws')}/v1/streams/instances/exec?id=${running[0]}`, ['Bearer', server.key])
    const texts: string[] = []
    const closed = Promise.withResolvers<number>()
    socket.addEventListener('open', () => socket.send(JSON.stringify({ body: { command: ['echo', 'hello'] }, id_type: 'INSTANCE_ID' })))
    socket.addEventListener('message', event => texts.push(String(event.data)))
    socket.addEventListener('close', event => closed.resolve(event.code))
    assert.equal(await closed.promise, 1000)
    assert.ok(texts.some(text => text.includes(Buffer.from('hello\n').toString('base64'))), texts.join('\n'))
    assert.ok(texts.at(-1)?.includes('"exited":true'))
  })

  test('much output to a slow reader arrives whole, in small frames', async () => {
    const session = await openSession(options())
    const mebibyte = Buffer.alloc(1 << 20, 'x')
    session.send({ id: running[0], body: { command: ['cat'], disableTty: true } })
    session.socket.pause()
    for (let sent = 0; sent < 4; sent++) session.send({ body: { stdin: { data: mebibyte.toString('base64') } } })
    session.send({ body: { stdin: { close: true } } })
    setTimeout(() => session.socket.resume(), 300)
    const outcome = await session.outcome
    assert.deepEqual([outcome.stdout.length, outcome.exitCode], [4 << 20, 0])
    assert.ok(outcome.frames.every(frame => (frame.result?.stdout?.data.length ?? 0) <= 65_536))
  })

  test('what is wrong is told in one error frame with a code that clients know', async () => {
    const table: readonly (readonly [unknown, number, string, number])[] = [
      ['no JSON', 3, 'invalid_argument', 1008],
      [{ id: running[0], body: {} }, 3, 'invalid_argument', 1008],
      [{ body: { command: ['true'] } }, 3, 'invalid_argument', 1008],
      [{ id: 'short', body: { command: ['true'] } }, 3, 'invalid_argument', 1008],
      [{ id: running[0], idType: 'POD', body: { command: ['true'] } }, 3, 'invalid_argument', 1008],
      [{ id: running[0], body: { command: 'true' } }, 3, 'invalid_argument', 1008],
      [{ id: running[0], body: { command: ['cat'], stdin: { data: 'not base64!' } } }, 3, 'invalid_argument', 1008],
      [{ id: NOBODY, body: { command: ['true'] } }, 5, 'not_found', 1008],
      [{ id: NOBODY, idType: 'SERVICE_ID', body: { command: ['true'] } }, 5, 'not_found', 1008],
      [{ id: stopped, body: { command: ['true'] } }, 9, 'failed_precondition', 1008],
      [{ id: deleted, body: { command: ['true'] } }, 5, 'not_found', 1008],
    ]
    for (const [frame, code, message, closeCode] of table) {
      const outcome = await runSession(options(), frame)
      assert.deepEqual([outcome.error?.code, outcome.error?.message, outcome.closeCode], [code, message, closeCode], JSON.stringify(frame))
      assert.notEqual(outcome.error?.details[0]?.message ?? '', '')
    }
    const late = await runSession(options(), { id: running[0], body: { command: ['cat'] } }, '{"body":{"stdin":{"data":"%%%"}}}')
    assert.equal(late.error?.message, 'invalid_argument')
  })

  test('without a valid token the upgrade is refused as HTTP', async () => {
    for (const protocols of [['Bearer', 'x'.repeat(64)], [], ['Bearer']]) {
      await assert.rejects(openSession({ ...options(), protocols }), /401/, protocols.join())
    }
  })
})

describe('exec over plain HTTP', () => {
  const path = (query: string) => `/v1/streams/instances/exec?id=${running[0]}&${query}`
  const result = (body: unknown) => {
    const { result: reply } = body as { result: { stdout: { data: string; close: boolean }; stderr: { data: string }; exited: boolean; exit_code: number } }
    return { ...reply, stdout: Buffer.from(reply.stdout.data, 'base64').toString(), stderr: Buffer.from(reply.stderr.data, 'base64').toString() }
  }

  test('one JSON document with all of it', async () => {
    const answer = await call('GET', path('body.command=echo&body.command=a%2Cb&body.command=%5Bc%5D'))
    assert.equal(answer.headers.get('cache-control'), 'no-store')
    assert.deepEqual(result(answer.body), { stdout: 'a,b [c]\n', stderr: '', exited: true, exit_code: 0 })
    assert.deepEqual(result((await call('GET', path('body.command=err&body.command=oops'))).body), { stdout: '', stderr: 'oops\n', exited: true, exit_code: 0 })
  })

  test('stdin comes from the query, and ends', async () => {
    assert.equal(result((await call('GET', path('body.command=cat&body.stdin.data=aGVsbG8%3D&body.stdin.close=true'))).body).stdout, 'hello')
    assert.equal(result((await call('GET', path('body.command=cat'))).body).stdout, '')
  })

  test('a line per reply for who asks, and for more output than one document holds', async () => {
    const answer = await server.request('GET', path('body.command=echo&body.command=hi'), { headers: { accept: 'application/x-ndjson' } })
    const lines = answer.text.trim().split('\n').map(line => JSON.parse(line) as { result: { exited: boolean } })
    assert.deepEqual(lines.map(line => line.result.exited), [false, true])
    assert.match(answer.headers.get('content-type') ?? '', /^application\/x-ndjson/)
  })

  test('what is wrong has an HTTP status', async () => {
    assert.equal((await call('GET', '/v1/streams/instances/exec?body.command=true')).status, 400)
    assert.equal((await call('GET', path(''))).status, 400)
    assert.equal((await call('GET', path('body.command=cat&body.stdin.data=%25%25'))).status, 400)
    assert.equal((await call('GET', path('body.command=cat&body.disableTty=maybe'))).status, 400)
    assert.equal((await call('GET', `/v1/streams/instances/exec?id=${NOBODY}&body.command=true`)).status, 404)
    assert.equal((await call('GET', `/v1/streams/instances/exec?id=${stopped}&body.command=true`)).status, 400)
  })
})

describe('bad input', () => {
  test('is answered in the dialect’s own words, and changes nothing', async () => {
    const before_ = await list()
    const table: readonly (readonly [string, string, number])[] = [
      ['GET', '/v1/instances?limit=abc', 400],
      ['GET', '/v1/instances?limit=-1', 400],
      ['GET', '/v1/instances?offset=1.5', 400],
      ['GET', '/v1/instances?limit=99999999999999999999', 400],
      ['GET', '/v1/instances?limit=tools.limit', 400],
      ['GET', '/v1/instances?order=sideways', 400],
      ['GET', '/v1/instances?statuses=NOPE', 400],
      ['GET', '/v1/instances?statuses=healthy', 400],
      ['GET', '/v1/instances?replica_index=x', 400],
      ['GET', '/v1/instances?starting_time=yesterday', 400],
      ['GET', '/v1/instances?ending_time=2026-13-45T00:00:00Z', 400],
      ['GET', '/v1/instances/not-an-id', 400],
      ['GET', `/v1/instances/${NOBODY.toUpperCase().replace(/1/g, 'A')}`, 400],
      ['GET', `/v1/instances/${'x'.repeat(900)}`, 400],
      ['GET', `/v1/instances/${NOBODY}`, 404],
      ['GET', '/v1/instances/%00', 400],
      ['GET', '/v1/instance_events?limit=x', 400],
      ['GET', '/v1/instance_events?order=up', 400],
      ['GET', '/v1/nope', 404],
      ['DELETE', '/v1/instances', 404],
      ['POST', `/v1/instances/${running[0]}`, 404],
      ['GET', '/v1', 404],
      ['GET', '/v1/', 404],
    ]
    for (const [method, path, status] of table) {
      const answer = await call(method, path)
      assert.equal(answer.status, status, `${method} ${path}: ${answer.text}`)
      if (status === 400 && path.includes('?')) assert.ok((answer.body as { fields: unknown[] }).fields.length > 0, answer.text)
    }
    assert.deepEqual(await list(), before_)
  })

  test('no token, a wrong one, and half a header are 401', async () => {
    assert.equal((await call('GET', '/v1/instances', { key: null })).status, 401)
    assert.equal((await call('GET', '/v1/instances', { key: 'x'.repeat(64) })).status, 401)
    assert.equal((await call('GET', '/v1/instances', { key: null, headers: { authorization: 'Basic abc' } })).status, 401)
    assert.equal((await call('GET', '/v1/v1/instances', { key: null })).status, 401)
  })

  test('what belongs to another project is not found, and a key without the scope is refused', async () => {
    const project = (await server.request('POST', '/berth/v1/projects', { body: { name: 'other' } })).body as { id: string }
    const keyOf = async (scopes: readonly string[], projectId: string | null) => {
      const body = { name: scopes.join('-'), scopes, ...(projectId === null ? {} : { projectId }) }
      const made = await server.request('POST', '/berth/v1/keys', { body })
      return (made.body as { secret: string }).secret
    }
    const foreign = await keyOf(['read', 'write', 'exec'], project.id)
    assert.equal(((await call('GET', '/v1/instances', { key: foreign })).body as List).count, 0)
    assert.equal((await call('GET', `/v1/instances/${running[0]}`, { key: foreign })).status, 404)
    assert.equal((await call('GET', `/v1/streams/instances/exec?id=${running[0]}&body.command=true`, { key: foreign })).status, 404)
    const events = (await call('GET', `/v1/instance_events?instance_ids=${running[0]}`, { key: foreign })).body as { events: unknown[] }
    assert.deepEqual(events.events, [])
    const reader = await keyOf(['read'], null)
    assert.equal((await call('GET', `/v1/streams/instances/exec?id=${running[0]}&body.command=true`, { key: reader })).status, 403)
    const outcome = await runSession({ url: server.url, key: reader, contract }, ...cliFrames(running[0] ?? '', ['true']))
    assert.equal(outcome.error?.code, 7)
  })

  test('the doubled paths of the published capability are the same operations', async () => {
    assert.equal(((await call('GET', '/v1/v1/instances?limit=1')).body as List).instances.length, 1)
    assert.equal((await call('GET', `/v1/v1/instances/${running[0]}`)).status, 200)
    assert.equal((await call('GET', '/v1/v1/instance-events?limit=1')).status, 200)
    assert.equal((await call('GET', `/v1/v1/streams/instances/exec?id=${running[0]}&body.command=true`)).status, 200)
  })
})

test('a server that stops tells its exec sessions, and says goodbye', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'ki-'))
  const other = await startServer({ dataDir })
  try {
    await eventually('the built-in image is ready', async () => {
      const { status, body } = await other.request('GET', `/images/${encodeURIComponent(IMAGE)}`)
      if (status === 404) await other.request('POST', '/images', { body: { name: IMAGE } })
      return status === 200 && (body as { status: string }).status === 'ready' ? true : null
    })
    const made = await other.request('POST', '/berth/v1/instances', { body: { name: 'a', image: IMAGE, cmd: ['sleep', 'infinity'] } })
    const { id } = made.body as { id: string }
    const session = await openSession({ url: other.url, key: other.key, contract })
    session.send({ id, body: { command: ['cat'], disableTty: true } })
    session.send({ body: { stdin: { data: Buffer.from('here').toString('base64') } } })
    await session.until('here')
    process.kill(other.pid, 'SIGTERM')
    const outcome = await session.outcome
    assert.deepEqual([outcome.error?.code, outcome.error?.message, outcome.closeCode], [14, 'service_unavailable', 1001])
  } finally {
    await other.kill()
    rmSync(dataDir, { recursive: true, force: true })
  }
})
