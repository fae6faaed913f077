/**
 * The Hypeman surface over HTTP, operation by operation, on a simulated host: success and error bodies, the table
 * of sizes, the table of bad input, and calls in any order from many clients at once.
 *
 * Every answer goes past the published contract (test/support/contract.ts) where that document is at hand.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { cpFromInstance, cpToInstance } from '@onkernel/hypeman/lib/cp'
import { SignJWT } from 'jose'
import { loadContract } from './support/contract.ts'
import { exec, openExec, openSocket, UpgradeRefused } from './support/exec-socket.ts'
import type { Answer, RequestOptions, TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const JWT_SECRET = 'the secret of the tokens in this test'
const ID = /^[a-z][0-9a-z]{23}$/
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$/

interface ErrorBody {
  readonly code: string
  readonly message: string
}
interface InstanceBody {
  readonly id: string
  readonly name: string
  readonly state: string
  readonly [key: string]: unknown
}

const contract = loadContract()
let server: TestServer
let count = 0

before(async () => {
  server = await startServer({ env: { BERTH_JWT_SECRET: JWT_SECRET } })
  await eventually('the built-in image is ready', async () => {
    const { status, body } = await call('GET', `/images/${encodeURIComponent(IMAGE)}`)
    if (status === 404) await call('POST', '/images', { body: { name: IMAGE } })
    return status === 200 && (body as { status: string }).status === 'ready' ? true : null
  })
})
after(() => server.stop())

/** One request; its answer is judged by the contract. */
async function call(method: string, path: string, options: RequestOptions = {}): Promise<Answer> {
  const answer = await server.request(method, path, options)
  contract?.check(method, path, answer)
  assert.notEqual(answer.status, 500, `${method} ${path}: ${answer.text}`)
  return answer
}

function unique(prefix = 't'): string {
  count += 1
  return `${prefix}-${count}`
}

async function create(body: Readonly<Record<string, unknown>> = {}): Promise<InstanceBody> {
  const answer = await call('POST', '/instances', { body: { name: unique(), image: IMAGE, size: '128MB', vcpus: 1, ...body } })
  assert.equal(answer.status, 201, answer.text)
  return answer.body as InstanceBody
}

async function get(id: string): Promise<InstanceBody> {
  const answer = await call('GET', `/instances/${id}`)
  assert.equal(answer.status, 200, answer.text)
  return answer.body as InstanceBody
}

/** Asserts an error's status, code and words, and that a retry is declined where it can't help. */
function refuses(answer: Answer, status: number, code: string, message?: string | RegExp): void {
  const body = answer.body as ErrorBody
  assert.equal(answer.status, status, answer.text)
  assert.equal(body.code, code, answer.text)
  assert.deepEqual(Object.keys(body).toSorted(), ['code', 'message'])
  if (typeof message === 'string') assert.equal(body.message, message)
  if (message instanceof RegExp) assert.match(body.message, message)
  if (status >= 400 && status < 500 && !['insufficient_resources', 'rate_limited'].includes(code)) {
    assert.equal(answer.headers.get('x-should-retry'), 'false', `${status} ${code} tells SDKs not to retry`)
  }
}

test('the contract is at hand', { skip: contract === null ? 'no ../shared/contracts beside this checkout' : false }, () => {
  assert.ok(contract)
})

// --- authentication -------------------------------------------------------------------------------------------

test('health asks for no key', async () => {
  const answer = await call('GET', '/health', { key: null })
  assert.equal(answer.status, 200)
  assert.deepEqual(answer.body, { status: 'ok' })
})

test('a request without a key is told so, whatever else is wrong with it', async () => {
  const answer = await call('POST', '/instances', { key: null, body: '{broken', headers: { 'content-type': 'application/json' } })
  refuses(answer, 401, 'Unauthorized', 'security requirements failed: authorization header required')
})

test('a header of another form, and a key of nobody', async () => {
  refuses(
    await call('GET', '/instances', { key: null, headers: { authorization: 'Basic abc' } }),
    401,
    'Unauthorized',
    'security requirements failed: invalid authorization header format',
  )
  refuses(await call('GET', '/instances', { key: 'nobody' }), 401, 'Unauthorized', 'security requirements failed: invalid token')
})

test('the scheme of the header may be written in any case', async () => {
  const answer = await call('GET', '/instances', { key: null, headers: { authorization: `bEaReR ${server.key}` } })
  assert.equal(answer.status, 200)
})

test('an exec without a key is refused before the upgrade, without the schema’s prefix', async () => {
  refuses(await server.request('GET', '/instances/x/exec', { key: null }), 401, 'Unauthorized', 'authorization header required')
})

function token(claims: Record<string, unknown>): Promise<string> {
  return new SignJWT(claims).setProtectedHeader({ alg: 'HS256' }).sign(new TextEncoder().encode(JWT_SECRET))
}

test('an HMAC token without claims may do everything', async () => {
  assert.equal((await call('GET', '/instances', { key: await token({ sub: 'me' }) })).status, 200)
})

test('a registry’s token is of the wrong type', async () => {
  refuses(await call('GET', '/instances', { key: await token({ repos: ['x'] }) }), 401, 'Unauthorized', 'security requirements failed: invalid token type')
})

test('a token with permissions is held to them, route by route', async () => {
  const reader = await token({ permissions: ['instance:read'] })
  assert.equal((await call('GET', '/instances', { key: reader })).status, 200)
  refuses(await call('POST', '/instances', { key: reader, body: {} }), 403, 'Forbidden', 'missing required scope: instance:write')
  refuses(await call('GET', '/images', { key: reader }), 403, 'Forbidden', 'missing required scope: image:read')
  refuses(await call('DELETE', '/instances/x', { key: reader }), 403, 'Forbidden', 'missing required scope: instance:delete')
})

// --- instances ------------------------------------------------------------------------------------------------

test('an instance is created with the documented defaults, and every key that old SDKs need', async () => {
  const answer = await call('POST', '/instances', { body: { name: unique(), image: IMAGE, env: { PORT: '3000' } } })
  assert.equal(answer.status, 201)
  const body = answer.body as InstanceBody
  assert.match(body.id, ID)
  assert.equal(body['size'], '1024.0 MB')
  assert.equal(body['overlay_size'], '10.0 GB')
  assert.equal(body['hotplug_size'], '0 B')
  assert.equal(body['vcpus'], 2)
  assert.equal(body['image'], IMAGE)
  assert.equal(body['state'], 'Running')
  assert.equal(body['state_error'], null)
  assert.equal(body['stopped_at'], null)
  assert.equal(body['expires_at'], null)
  assert.equal(body['has_snapshot'], false)
  assert.equal(body['hypervisor'], 'qemu')
  assert.deepEqual(body['env'], { PORT: '3000' })
  assert.match(String(body['created_at']), RFC3339)
  assert.match(String(body['started_at']), RFC3339)
  const network = body['network'] as Record<string, unknown>
  assert.equal(network['enabled'], true)
  assert.equal(network['name'], 'default')
  assert.match(String(network['ip']), /^\d+\.\d+\.\d+\.\d+$/)
  assert.match(String(network['mac']), /^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/)
  assert.equal('volumes' in body, false)
  assert.deepEqual(await get(body.id).then(found => found.id), body.id)
})

test('an instance without a network has null addresses', async () => {
  const { network } = await create({ network: { enabled: false } })
  assert.deepEqual(network, { enabled: false, ip: null, mac: null })
})

const SIZES: readonly [Readonly<Record<string, unknown>>, Readonly<Record<string, unknown>>][] = [
  [{ size: '512MB' }, { size: '512.0 MB' }],
  [{ size: '1GB' }, { size: '1024.0 MB' }],
  [{ size: '1gb' }, { size: '1024.0 MB' }],
  [{ size: '2 GB' }, { size: '2.0 GB' }],
  [{ size: '1280MB' }, { size: '1.2 GB' }],
  [{ size: '134217728' }, { size: '128.0 MB' }],
  [{ size: '' }, { size: '1024.0 MB' }],
  [{ size: '0' }, { size: '1024.0 MB' }],
  [{ size: null }, { size: '1024.0 MB' }],
  [{ hotplug_size: '3GB' }, { hotplug_size: '3.0 GB' }],
  [{ overlay_size: '5GB' }, { overlay_size: '5.0 GB' }],
  [{ disk_io_bps: '100MB/s' }, { disk_io_bps: '100.0 MB/s' }],
]
for (const [asked, told] of SIZES) {
  test(`${JSON.stringify(asked)} is told as ${JSON.stringify(told)}`, async () => {
    const instance = await create(asked)
    for (const [field, value] of Object.entries(told)) assert.equal(instance[field], value)
    assert.equal((await call('DELETE', `/instances/${instance.id}`)).status, 204)
  })
}

test('bandwidths are bits in and bytes out', async () => {
  const { network } = await create({ network: { bandwidth_download: '1Gbps', bandwidth_upload: '125MB/s' } })
  assert.equal((network as Record<string, unknown>)['bandwidth_download'], '119.2 MB/s')
  assert.equal((network as Record<string, unknown>)['bandwidth_upload'], '125.0 MB/s')
})

test('an instance is found by id, by name and by a prefix of its id', async () => {
  const { id, name } = await create()
  assert.equal((await get(id)).id, id)
  assert.equal((await get(name)).id, id)
  assert.equal((await get(id.slice(0, 20))).id, id)
})

test('what means nothing is not found, what means several is ambiguous', async () => {
  refuses(await call('GET', '/instances/no-such-thing'), 404, 'not_found', 'resource not found')
  refuses(await call('GET', '/instances/zzzzzzzzzzzzzzzzzzzzzzzz'), 404, 'not_found', 'resource not found')
  const letters = new Map<string, number>()
  for (let made = 0; made < 27; made++) {
    const letter = (await create()).id.slice(0, 1)
    letters.set(letter, (letters.get(letter) ?? 0) + 1)
  }
  const shared = [...letters].find(([, times]) => times > 1)?.[0] ?? ''
  refuses(await call('GET', `/instances/${shared}`), 409, 'ambiguous', 'multiple resources match, use full ID')
})

test('instances are listed bare, and filtered by state and tags', async () => {
  const tag = unique('tag')
  const one = await create({ tags: { suite: tag, 'a key': 'a value' } })
  const two = await create({ tags: { suite: tag } })
  await call('POST', `/instances/${two.id}/stop`)
  const list = async (query: string) => {
    const answer = await call('GET', `/instances?${query}`)
    assert.equal(answer.status, 200)
    return (answer.body as InstanceBody[]).map(({ id }) => id).toSorted()
  }
  assert.deepEqual(await list(`tags[suite]=${tag}`), [one.id, two.id].toSorted())
  assert.deepEqual(await list(`tags%5Bsuite%5D=${tag}&state=Stopped`), [two.id])
  assert.deepEqual(await list(`tags[suite]=${tag}&tags[a%20key]=a%20value`), [one.id])
  assert.deepEqual(await list('tags[suite]=nothing'), [])
  assert.deepEqual(await list('state=Initializing'), [])
  refuses(await call('GET', '/instances?state=Asleep'), 400, 'Bad Request')
})

test('a name can be taken once; create says so with a 400', async () => {
  const { name } = await create()
  refuses(await call('POST', '/instances', { body: { name, image: IMAGE } }), 400, 'name_conflict')
})

test('a name is free again once its instance is deleted', async () => {
  const { id, name } = await create()
  assert.equal((await call('DELETE', `/instances/${id}`)).status, 204)
  refuses(await call('GET', `/instances/${id}`), 404, 'not_found')
  refuses(await call('DELETE', `/instances/${id}`), 404, 'not_found')
  await create({ name })
})

test('the same Idempotency-Key makes one instance, and another body under it is refused', async () => {
  const key = unique('key')
  const body = { name: unique(), image: IMAGE, size: '128MB' }
  const headers = { 'idempotency-key': key }
  const first = await call('POST', '/instances', { body, headers })
  const second = await call('POST', '/instances', { body, headers })
  assert.equal(first.status, 201)
  assert.equal(second.status, 201)
  assert.equal((first.body as InstanceBody).id, (second.body as InstanceBody).id)
  refuses(await call('POST', '/instances', { body: { ...body, size: '256MB' }, headers }), 409, 'idempotency_conflict')
  refuses(await call('POST', '/instances', { body, headers: { 'idempotency-key': 'k'.repeat(256) } }), 400, 'invalid_request')
})

test('an SDK’s retry of a create whose answer was lost gets the instance that was made', async () => {
  const body = { name: unique(), image: IMAGE, size: '128MB' }
  const first = await call('POST', '/instances', { body })
  const retry = await call('POST', '/instances', { body, headers: { 'x-stainless-retry-count': '1' } })
  assert.equal(retry.status, 201)
  assert.equal((retry.body as InstanceBody).id, (first.body as InstanceBody).id)
  refuses(await call('POST', '/instances', { body: { ...body, size: '256MB' }, headers: { 'x-stainless-retry-count': '1' } }), 400, 'name_conflict')
})

test('tags, a restart policy and a time to live come back as they were set, and change by PATCH', async () => {
  const { id, ...made } = await create({ tags: { team: 'a' }, restart_policy: { policy: 'on_failure', max_attempts: 3 }, ttl: '1h' })
  assert.deepEqual(made['tags'], { team: 'a' })
  assert.deepEqual(made['restart_policy'], { policy: 'on_failure', backoff: '5s', max_attempts: 3, stable_after: '10m0s' })
  assert.match(String(made['expires_at']), RFC3339)
  const patched = await call('PATCH', `/instances/${id}`, { body: { ttl: '0s', restart_policy: { policy: 'never' }, env: { A: '1' } } })
  assert.equal(patched.status, 200, patched.text)
  const body = patched.body as InstanceBody
  assert.equal(body['expires_at'], null)
  assert.equal('restart_policy' in body, false)
  assert.deepEqual(body['env'], { A: '1' })
  refuses(await call('PATCH', `/instances/${id}`, { body: { ttl: 'soon' } }), 400, 'invalid_ttl')
  refuses(await call('PATCH', `/instances/${id}`, { body: { expires_at: '2020-01-01T00:00:00Z' } }), 400, 'invalid_expires_at')
})

// --- moves between states -------------------------------------------------------------------------------------

test('stop, start, standby and restore move an instance, and keep its address and times as upstream does', async () => {
  const made = await create()
  const address = made['network']
  const post = async (move: string) => {
    const answer = await call('POST', `/instances/${made.id}/${move}`)
    assert.equal(answer.status, 200, answer.text)
    return answer.body as InstanceBody
  }
  const standby = await post('standby')
  assert.equal(standby.state, 'Standby')
  assert.equal(standby['has_snapshot'], true)
  assert.match(String(standby['stopped_at']), RFC3339)
  const restored = await post('restore')
  assert.equal(restored.state, 'Running')
  assert.equal(restored['has_snapshot'], false)
  assert.deepEqual(restored['network'], address)
  assert.ok(Date.parse(String(restored['started_at'])) >= Date.parse(String(made['started_at'])))
  assert.match(String(restored['stopped_at']), RFC3339)
  const stopped = await post('stop')
  assert.equal(stopped.state, 'Stopped')
  const started = await post('start')
  assert.equal(started.state, 'Running')
  assert.deepEqual(started['network'], address)
  assert.match(String(started['stopped_at']), RFC3339)
})

const REFUSED_MOVES: readonly [string, string, string][] = [
  ['Running', 'restore', 'invalid state transition: cannot restore from state Running'],
  ['Running', 'start', 'invalid state transition: cannot start from state Running, must be Stopped'],
  ['Stopped', 'standby', 'invalid state transition: cannot standby from state Stopped'],
  ['Stopped', 'restore', 'invalid state transition: cannot restore from state Stopped'],
  ['Stopped', 'stop', 'invalid state transition: cannot stop from state Stopped, must be Running'],
  ['Standby', 'standby', 'invalid state transition: cannot standby from state Standby'],
  ['Standby', 'stop', 'invalid state transition: cannot stop from state Standby, must be Running'],
  ['Standby', 'start', 'invalid state transition: cannot start from state Standby, must be Stopped'],
]
const WAY_TO: Readonly<Record<string, readonly string[]>> = { Running: [], Stopped: ['stop'], Standby: ['standby'] }

for (const [state, move, message] of REFUSED_MOVES) {
  test(`${move} of an instance that is ${state} is refused and changes nothing`, async () => {
    const { id } = await create()
    for (const step of WAY_TO[state] ?? []) await call('POST', `/instances/${id}/${step}`)
    refuses(await call('POST', `/instances/${id}/${move}`), 409, 'invalid_state', message)
    assert.equal((await get(id)).state, state)
  })
}

test('work inside of a guest needs it to be running', async () => {
  const { id } = await create()
  await call('POST', `/instances/${id}/standby`)
  const message = 'instance must be running (current state: Standby)'
  refuses(await call('GET', `/instances/${id}/stat?path=/`), 409, 'invalid_state', message)
  refuses(await call('GET', `/instances/${id}/stats`), 409, 'invalid_state', message)
})

test('every body that clients send to the four moves is taken', async () => {
  const { id } = await create()
  const json = { 'content-type': 'application/json' }
  const bodies: readonly [string, RequestOptions][] = [
    ['standby', { body: {} }],
    ['restore', {}],
    ['standby', { body: 'null', headers: json }],
    ['restore', { body: '', headers: json }],
    ['stop', { headers: json, body: '' }],
    ['start', { headers: json, body: '' }],
    ['stop', { body: '{broken', headers: json }],
    ['start', { body: {} }],
    ['stop', { body: 'text', headers: { 'content-type': 'text/plain' } }],
    ['start', { body: { cmd: ['sleep', '1000'] } }],
    ['standby', { body: { compression: { enabled: true, algorithm: 'zstd' }, compression_delay: '30s' } }],
  ]
  for (const [move, options] of bodies) {
    const answer = await call('POST', `/instances/${id}/${move}`, options)
    assert.equal(answer.status, 200, `${move} ${JSON.stringify(options)}: ${answer.text}`)
  }
})

test('wait tells the state when it is reached, and that it was not within the time', async () => {
  const { id } = await create()
  const wait = async (query: string) => (await call('GET', `/instances/${id}/wait?${query}`)).body
  assert.deepEqual(await wait('state=Running'), { state: 'Running', timed_out: false, state_error: null })
  assert.deepEqual(await wait('state=Standby&timeout=50ms'), { state: 'Running', timed_out: true, state_error: null })
  const waiting = wait('state=Standby&timeout=30s')
  await call('POST', `/instances/${id}/standby`)
  assert.deepEqual(await waiting, { state: 'Standby', timed_out: false, state_error: null })
  refuses(await call('GET', `/instances/${id}/wait?state=Asleep`), 400, 'invalid_state')
  refuses(await call('GET', `/instances/${id}/wait`), 400, 'invalid_state')
  refuses(await call('GET', `/instances/${id}/wait?state=Running&timeout=soon`), 400, 'invalid_timeout')
  refuses(await call('GET', `/instances/${id}/wait?state=Running&timeout=-1s`), 400, 'invalid_timeout')
})

test('a wait is told that its instance was deleted', async () => {
  const { id } = await create()
  const waiting = call('GET', `/instances/${id}/wait?state=Standby&timeout=30s`)
  await call('DELETE', `/instances/${id}`)
  refuses(await waiting, 404, 'not_found')
})

test('a client that goes away does not interrupt its create', async () => {
  const name = unique()
  const gone = new AbortController()
  const request = server.request('POST', '/instances', { body: { name, image: IMAGE, size: '128MB' }, signal: gone.signal }).catch(() => null)
  setTimeout(() => gone.abort(), 5)
  await request
  await eventually('the instance runs, or the request never arrived', async () => {
    const { status, body } = await call('GET', `/instances/${name}`)
    return status === 404 || (body as InstanceBody).state === 'Running' ? true : null
  })
})

// --- bad input ------------------------------------------------------------------------------------------------

const LONGEST = 'a'.repeat(63)
const BAD_CREATES: readonly [string, Readonly<Record<string, unknown>>, number, string, RegExp?][] = [
  ['a name of 64 characters', { name: 'a'.repeat(64) }, 400, 'Bad Request', /"\/name"/],
  ['a name with capitals', { name: 'Web' }, 400, 'Bad Request', /"\/name"/],
  ['a name that ends with a dash', { name: 'web-' }, 400, 'Bad Request'],
  ['an empty name', { name: '' }, 400, 'Bad Request'],
  ['a name with a quote', { name: 'a"\n' }, 400, 'Bad Request'],
  ['a name that is a number', { name: 7 }, 400, 'Bad Request'],
  ['an unknown image', { image: 'docker.io/library/never-pulled:1' }, 404, 'not_found'],
  ['an image name with capitals', { image: 'Alpine' }, 400, 'invalid_name'],
  ['bits for bytes', { size: '4Gb' }, 400, 'invalid_size', /^invalid size format: strconv\.UnmarshalText: parsing "4Gb"/],
  ['a negative size', { size: '-1' }, 400, 'invalid_size', /^invalid size format: .*invalid syntax$/],
  ['a binary unit', { size: '1.5GiB' }, 400, 'invalid_size', /invalid syntax$/],
  ['a word for a size', { size: 'abc' }, 400, 'invalid_size', /^invalid size format: strconv\.UnmarshalText: parsing "abc": invalid syntax$/],
  ['a size out of range', { size: '99999999999999999999' }, 400, 'invalid_size'],
  ['more memory than allowed', { size: '33GB' }, 400, 'invalid_request'],
  ['a bad hotplug size', { hotplug_size: '4Gb' }, 400, 'invalid_hotplug_size'],
  ['a bad overlay size', { overlay_size: 'big' }, 400, 'invalid_overlay_size'],
  ['more overlay than allowed', { overlay_size: '101GB' }, 400, 'invalid_request'],
  ['a bad disk rate', { disk_io_bps: 'fast' }, 400, 'invalid_disk_io_bps'],
  ['a bad download rate', { network: { bandwidth_download: 'fast' } }, 400, 'invalid_bandwidth_download'],
  ['a bad upload rate', { network: { bandwidth_upload: '-1Mbps' } }, 400, 'invalid_bandwidth_upload'],
  ['more CPUs than allowed', { vcpus: 17 }, 400, 'invalid_request'],
  ['half a CPU', { vcpus: 1.5 }, 400, 'Bad Request'],
  ['an unknown hypervisor', { hypervisor: 'kvm' }, 400, 'Bad Request'],
  ['an environment of numbers', { env: { A: 1 } }, 400, 'Bad Request'],
  ['an environment name with an equals sign', { env: { 'A=B': '1' } }, 400, 'invalid_request'],
  ['a volume that is not there', { volumes: [{ volume_id: 'nothing', mount_path: '/data' }] }, 404, 'not_found'],
  ['a relative mount', { volumes: [{ volume_id: 'nothing', mount_path: 'data' }] }, 400, 'invalid_request'],
  ['a mount over the system', { volumes: [{ volume_id: 'nothing', mount_path: '/proc' }] }, 400, 'invalid_request'],
  ['an overlay that is writable below', { volumes: [{ volume_id: 'v', mount_path: '/d', overlay: true, overlay_size: '1GB' }] }, 400, 'invalid_request'],
  ['an overlay without a size', { volumes: [{ volume_id: 'v', mount_path: '/d', overlay: true, readonly: true }] }, 400, 'invalid_request'],
  ['a bad tag', { tags: { 'a"b': 'x' } }, 400, 'invalid_request'],
  ['too many tags', { tags: Object.fromEntries(Array.from({ length: 51 }, (_, at) => [`k${at}`, 'v'])) }, 400, 'invalid_request'],
  ['a port of 0', { ports: [{ host_port: 0, guest_port: 80 }] }, 400, 'Bad Request'],
  ['the same port twice', { ports: [{ host_port: 4711, guest_port: 80 }, { host_port: 4711, guest_port: 81 }] }, 400, 'invalid_request'],
  ['a port without a network', { ports: [{ host_port: 4711, guest_port: 80 }], network: { enabled: false } }, 400, 'invalid_request'],
  ['both ttl and expires_at', { ttl: '1h', expires_at: '2999-01-01T00:00:00Z' }, 400, 'invalid_expires_at'],
  ['a negative ttl', { ttl: '-1h' }, 400, 'invalid_ttl'],
  ['a time that is no time', { expires_at: 'tomorrow' }, 400, 'invalid_expires_at'],
  ['a bad backoff', { restart_policy: { policy: 'always', backoff: 'x' } }, 400, 'invalid_restart_policy'],
  ['an unknown restart policy', { restart_policy: { policy: 'sometimes' } }, 400, 'Bad Request'],
  ['another platform', { platform: 'linux/s390x' }, 404, 'platform_not_available'],
  ['a GPU', { gpu: { profile: 'L40S-1Q' } }, 400, 'not_supported'],
  ['a device', { devices: ['gpu-1'] }, 400, 'not_supported'],
  ['a health check', { health_check: { type: 'http' } }, 400, 'not_supported'],
  ['automatic standby', { auto_standby: { enabled: true } }, 400, 'not_supported'],
  ['an egress proxy', { network: { egress: { enabled: true } } }, 400, 'not_supported'],
]
for (const [what, body, status, code, message] of BAD_CREATES) {
  test(`create refuses ${what}, and nothing is there afterwards`, async () => {
    const name = unique('bad')
    const count = async () => ((await call('GET', '/instances')).body as unknown[]).length
    const earlier = await count()
    refuses(await call('POST', '/instances', { body: { name, image: IMAGE, ...body } }), status, code, message)
    assert.equal(await count(), earlier)
  })
}

test('a name of 63 characters is taken', async () => {
  assert.equal((await create({ name: LONGEST })).name, LONGEST)
})

test('features that are switched off may be named', async () => {
  await create({ gpu: {}, devices: [], health_check: { type: 'none' }, auto_standby: { enabled: false }, skip_guest_agent: false, unknown_field: 1 })
})

const JSON_TYPE = { 'content-type': 'application/json' }
const BAD_BODIES: readonly [string, RequestOptions, number, string][] = [
  ['broken JSON', { body: '{"name": "x",', headers: JSON_TYPE }, 400, 'Bad Request'],
  ['JSON that is no object', { body: '[]', headers: JSON_TYPE }, 400, 'Bad Request'],
  ['no body', {}, 400, 'Bad Request'],
  ['an empty body', { body: '', headers: JSON_TYPE }, 400, 'Bad Request'],
  ['another content type', { body: '{}', headers: { 'content-type': 'text/plain' } }, 400, 'Bad Request'],
  ['invalid UTF-8', { body: Buffer.concat([Buffer.from('{"name":"'), Buffer.from([0xff, 0xfe]), Buffer.from('"}')]), headers: JSON_TYPE }, 400, 'Bad Request'],
  ['10 MB of JSON', { body: JSON.stringify({ name: 'x'.repeat(10 * 1024 * 1024) }), headers: JSON_TYPE }, 413, 'Request Entity Too Large'],
  ['JSON that is nested 1000 deep', { body: `{"env":${'['.repeat(1000)}${']'.repeat(1000)}}`, headers: JSON_TYPE }, 400, 'Bad Request'],
]
for (const [what, options, status, code] of BAD_BODIES) {
  for (const path of ['/instances', '/images', '/volumes']) {
    test(`POST ${path} refuses ${what}`, async () => {
      refuses(await call('POST', path, options), status, code)
    })
  }
}

const BAD_PATHS: readonly [string, string, number][] = [
  ['GET', '/no/such/path', 404],
  ['PUT', '/instances', 404],
  ['GET', '/instances/%ZZ', 400],
  ['GET', `/instances/${'a'.repeat(5000)}`, 400],
  ['GET', '/instances/%00', 404],
  ['GET', '/instances/..%2f..%2fetc', 404],
  ['GET', '/images/', 400],
  ['GET', '/images/Alpine', 400],
  ['GET', '/images/never-pulled', 404],
  ['GET', '/volumes/nothing', 404],
  ['DELETE', '/volumes/nothing', 404],
  ['GET', '/devices/nothing', 404],
]
for (const [method, path, status] of BAD_PATHS) {
  test(`${method} ${path.slice(0, 40)} is a ${status} in the dialect’s own shape`, async () => {
    const answer = await server.request(method, path)
    assert.equal(answer.status, status, answer.text)
    assert.deepEqual(Object.keys(answer.body as object).toSorted(), ['code', 'message'])
  })
}

const ABSENT = ['/ingresses', '/builds', '/builders', '/pushes', '/snapshots', '/instances/x/fork', '/instances/x/snapshots', '/instances/x/auto-standby/status']
for (const path of ABSENT) {
  test(`${path} says that it is not supported`, async () => {
    const answer = await server.request('GET', path)
    assert.equal(answer.status, 501)
    assert.equal((answer.body as ErrorBody).code, 'not_supported')
    assert.equal(answer.headers.get('x-should-retry'), 'false')
  })
}

// --- volumes --------------------------------------------------------------------------------------------------

interface VolumeBody {
  readonly id: string
  readonly [key: string]: unknown
}

async function createVolume(body: Readonly<Record<string, unknown>> = {}): Promise<VolumeBody> {
  const answer = await call('POST', '/volumes', { body: { name: unique('volume'), size_gb: 1, ...body } })
  assert.equal(answer.status, 201, answer.text)
  return answer.body as VolumeBody
}

test('a volume is created, found by id and name, listed by tag, and deleted', async () => {
  const name = unique('volume')
  const { id, ...volume } = await createVolume({ name, size_gb: 2, tags: { v: name } })
  assert.match(id, ID)
  assert.equal(volume['size_gb'], 2)
  assert.match(String(volume['created_at']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/)
  assert.equal('attachments' in volume, false)
  assert.equal(((await call('GET', `/volumes/${id}`)).body as VolumeBody).id, id)
  assert.equal(((await call('GET', `/volumes/${name}`)).body as VolumeBody).id, id)
  const listed = (await call('GET', `/volumes?tags[v]=${name}`)).body as VolumeBody[]
  assert.deepEqual(listed.map(found => found.id), [id])
  assert.equal((await call('DELETE', `/volumes/${name}`)).status, 204)
  refuses(await call('GET', `/volumes/${id}`), 404, 'not_found')
})

test('a volume may bring its own id, once', async () => {
  const id = unique('my.volume')
  assert.equal((await createVolume({ id })).id, id)
  refuses(await call('POST', '/volumes', { body: { name: 'x', size_gb: 1, id } }), 409, 'already_exists')
  refuses(await call('POST', '/volumes', { body: { name: 'x', size_gb: 1, id: 'a/b' } }), 400, 'invalid_request')
})

test('two volumes of one name are ambiguous by it', async () => {
  const name = unique('twin')
  await createVolume({ name })
  await createVolume({ name })
  refuses(await call('GET', `/volumes/${name}`), 409, 'ambiguous')
})

for (const size of [0, -1, 1.5, '1', 10_000_000]) {
  test(`a volume of size_gb ${JSON.stringify(size)} is refused`, async () => {
    const answer = await call('POST', '/volumes', { body: { name: 'x', size_gb: size } })
    assert.equal(answer.status, 400, answer.text)
  })
}

test('a volume is attached to a running instance and detached, and each answer is the instance', async () => {
  const { id } = await create()
  const volume = await createVolume()
  const attached = await call('POST', `/instances/${id}/volumes/${volume.id}`, { body: { mount_path: '/data/', readonly: true } })
  assert.equal(attached.status, 200, attached.text)
  assert.deepEqual((attached.body as InstanceBody)['volumes'], [{ volume_id: volume.id, mount_path: '/data', readonly: true }])
  const seen = (await call('GET', `/volumes/${volume.id}`)).body as VolumeBody
  assert.deepEqual(seen['attachments'], [{ instance_id: id, mount_path: '/data', readonly: true }])
  refuses(await call('DELETE', `/volumes/${volume.id}`), 409, 'conflict')
  refuses(await call('POST', `/instances/${id}/volumes/${volume.id}`, { body: { mount_path: '/again' } }), 409, 'conflict')
  const detached = await call('DELETE', `/instances/${id}/volumes/${volume.id}`)
  assert.equal(detached.status, 200)
  assert.equal('volumes' in (detached.body as InstanceBody), false)
  refuses(await call('DELETE', `/instances/${id}/volumes/${volume.id}`), 404, 'not_found')
  assert.equal((await call('DELETE', `/volumes/${volume.id}`)).status, 204)
})

test('a volume that one instance writes is refused to others; deleting the instance frees it', async () => {
  const volume = await createVolume()
  const mount = { volume_id: volume.id, mount_path: '/data' }
  const writer = await create({ volumes: [mount] })
  assert.deepEqual(writer['volumes'], [{ ...mount, readonly: false }])
  refuses(await call('POST', '/instances', { body: { name: unique(), image: IMAGE, size: '128MB', volumes: [{ ...mount, readonly: true }] } }), 409, 'conflict')
  assert.equal((await call('DELETE', `/instances/${writer.id}`)).status, 204)
  const reader = await create({ volumes: [{ ...mount, readonly: true, overlay: true, overlay_size: '1GB' }] })
  assert.deepEqual(reader['volumes'], [{ ...mount, readonly: true, overlay: true, overlay_size: '1024.0 MB' }])
})

test('attach and detach name what is not there', async () => {
  const { id } = await create()
  refuses(await call('POST', `/instances/${id}/volumes/nothing`, { body: { mount_path: '/data' } }), 404, 'not_found')
  refuses(await call('DELETE', `/instances/${id}/volumes/nothing`), 404, 'not_found')
  refuses(await call('POST', '/instances/nothing/volumes/nothing', { body: { mount_path: '/data' } }), 404, 'not_found')
  refuses(await call('POST', `/instances/${id}/volumes/nothing`, { body: {} }), 400, 'Bad Request')
})

/** A form as older clients send it, in the order given; a Blob is the file. */
async function postForm(parts: readonly (readonly [string, string | Blob])[]): Promise<Answer> {
  const form = new FormData()
  for (const [name, value] of parts) {
    if (typeof value === 'string') form.append(name, value)
    else form.append(name, value, `${name}.tar.gz`)
  }
  const encoded = new Response(form)
  const body = new Uint8Array(await encoded.arrayBuffer())
  return call('POST', '/volumes', { body, headers: { 'content-type': encoded.headers.get('content-type') ?? '' } })
}

test('a volume is filled from an archive, by the older form and by the newer route', async () => {
  const archive = execFileSync('tar', ['-czf', '-', '-C', '/etc', 'hostname'])
  const name = unique('form')
  const made = await postForm([['name', name], ['size_gb', '1'], ['content', new Blob([archive])]])
  assert.equal(made.status, 201, made.text)
  assert.equal((made.body as VolumeBody)['name'], name)
  const newer = await server.request('POST', `/volumes/from-archive?name=${unique('archive')}&size_gb=1&tags[a]=b`, {
    body: new Uint8Array(archive),
    headers: { 'content-type': 'application/gzip' },
  })
  assert.equal(newer.status, 201, newer.text)
  assert.deepEqual((newer.body as VolumeBody)['tags'], { a: 'b' })
})

test('a form or an archive that is wrong is told what is wrong with it', async () => {
  const content = new Blob(['x'])
  refuses(await postForm([['size_gb', '1'], ['content', content]]), 400, 'missing_field', /^name/)
  refuses(await postForm([['name', 'x'], ['content', content]]), 400, 'missing_field', /^size_gb/)
  refuses(await postForm([['content', content], ['name', 'x'], ['size_gb', '1']]), 400, 'missing_field', /before content/)
  refuses(await postForm([['name', 'x'], ['size_gb', 'big'], ['content', content]]), 400, 'invalid_field')
  refuses(await postForm([['name', 'x'], ['size_gb', '1']]), 400, 'missing_file')
  refuses(await call('POST', '/volumes', { body: 'no form', headers: { 'content-type': 'multipart/form-data' } }), 400, 'invalid_form')
  refuses(await call('POST', '/volumes', { body: 'no form', headers: { 'content-type': 'multipart/form-data; boundary=x' } }), 400, 'invalid_form')
  const gzip = { headers: { 'content-type': 'application/gzip' } }
  refuses(await server.request('POST', '/volumes/from-archive?size_gb=1', { body: 'x', ...gzip }), 400, 'missing_field')
  refuses(await server.request('POST', '/volumes/from-archive?name=x', { body: 'x', ...gzip }), 400, 'missing_field')
  refuses(await server.request('POST', '/volumes/from-archive?name=x&size_gb=big', { body: 'x', ...gzip }), 400, 'Bad Request')
  refuses(await server.request('POST', '/volumes/from-archive?name=x&size_gb=1', {}), 400, 'missing_file')
})

// --- images ---------------------------------------------------------------------------------------------------

test('an image is pulled, told while it is pulled, tagged and deleted', async () => {
  const posted = await call('POST', '/images', { body: { name: 'simulated/app:1' } })
  assert.equal(posted.status, 202, posted.text)
  assert.equal((posted.body as { name: string }).name, 'docker.io/simulated/app:1')
  const ready = await eventually('the image is ready', async () => {
    const { body } = await call('GET', '/images/docker.io%2Fsimulated%2Fapp:1')
    return (body as { status: string }).status === 'ready' ? (body as Record<string, unknown>) : null
  })
  assert.match(String(ready['digest']), /^sha256:[0-9a-f]{64}$/)
  assert.equal(ready['error'], null)
  for (const spelling of ['simulated%2Fapp:1', 'simulated/app:1', 'docker.io/simulated/app%3A1', 'docker.io%252Fsimulated%252Fapp:1']) {
    assert.equal((await call('GET', `/images/${spelling}`)).status, 200, spelling)
  }
  const listed = (await call('GET', '/images')).body as { name: string; digest: string }[]
  assert.ok(listed.some(image => image.name === 'docker.io/simulated/app:1' && image.digest === ready['digest']))
  assert.deepEqual((await call('GET', '/images?tags[no]=such')).body, [])
  const tagged = await call('POST', '/images/simulated%2Fapp:1/tag', { body: { target: 'simulated/app:2' } })
  assert.equal(tagged.status, 200, tagged.text)
  assert.equal((tagged.body as { digest: string }).digest, ready['digest'])
  assert.equal((await call('DELETE', '/images/simulated%2Fapp:1')).status, 204)
  refuses(await call('GET', '/images/simulated%2Fapp:1'), 404, 'not_found')
  assert.equal((await call('GET', '/images/simulated%2Fapp:2')).status, 200)
})

for (const name of ['Alpine', 'a b', '', 'f'.repeat(64), '../etc', `x:${'t'.repeat(200)}`]) {
  test(`an image named ${JSON.stringify(name.slice(0, 20))} is refused`, async () => {
    refuses(await call('POST', '/images', { body: { name } }), 400, 'invalid_name')
  })
}

test('an image that an instance uses is kept', async () => {
  refuses(await call('DELETE', `/images/${encodeURIComponent(IMAGE)}`), 409, 'conflict')
})

// --- the rest -------------------------------------------------------------------------------------------------

test('resources add up: what instances hold is allocated', async () => {
  const { id } = await create({ vcpus: 2, size: '256MB' })
  const { body } = await call('GET', '/resources')
  const resources = body as { cpu: { allocated: number }; memory: { type: string }; allocations: { instance_id: string; cpu: number; memory_bytes: number }[] }
  const mine = resources.allocations.find(allocation => allocation.instance_id === id)
  assert.equal(mine?.cpu, 2)
  assert.equal(mine?.memory_bytes, 256 * 2 ** 20)
  assert.ok(resources.cpu.allocated >= 2)
  assert.equal(resources.memory.type, 'memory')
})

test('capabilities name the runtime and the platform', async () => {
  const { body } = await call('GET', '/capabilities')
  const { default_runtime: runtime } = body as { default_runtime: unknown }
  assert.deepEqual(runtime, { name: 'qemu', available: true })
})

test('devices are listed, and one that is not there can’t be registered', async () => {
  assert.equal((await call('GET', '/devices')).status, 200)
  assert.equal((await call('GET', '/devices/available')).status, 200)
  refuses(await call('POST', '/devices', { body: { pci_address: 'a2:00' } }), 400, 'invalid_pci_address')
  refuses(await call('POST', '/devices', { body: { pci_address: 'ffff:ff:1f.7' } }), 404, 'device_not_found')
  refuses(await call('POST', '/devices', { body: { pci_address: 'ffff:ff:1f.7', name: '-' } }), 400, 'invalid_name')
})

test('stats and stat tell about a running instance', async () => {
  const { id, name } = await create()
  const stats = (await call('GET', `/instances/${id}/stats`)).body as Record<string, unknown>
  assert.equal(stats['instance_id'], id)
  assert.equal(stats['instance_name'], name)
  assert.equal(stats['allocated_vcpus'], 1)
  const stat = (await call('GET', `/instances/${id}/stat?path=/no/such/file`)).body as Record<string, unknown>
  assert.equal(stat['exists'], false)
  assert.deepEqual(Object.keys(stat).toSorted(), ['error', 'exists', 'is_dir', 'is_file', 'is_symlink', 'link_target', 'mode', 'size'])
  refuses(await call('GET', `/instances/${id}/stat`), 400, 'Bad Request')
  refuses(await call('GET', `/instances/${id}/stat?path=/&follow_links=maybe`), 400, 'Bad Request')
})

test('logs are server-sent events of JSON strings', async () => {
  const { id } = await create()
  for (let more = 0; more < 3; more++) {
    await call('POST', `/instances/${id}/stop`)
    await call('POST', `/instances/${id}/start`)
  }
  const answer = await server.request('GET', `/instances/${id}/logs?tail=2`)
  assert.equal(answer.status, 200, answer.text)
  assert.equal(answer.headers.get('content-type'), 'text/event-stream')
  assert.equal(answer.headers.get('cache-control'), 'no-cache')
  assert.equal(answer.headers.get('content-encoding'), null)
  const events = answer.text.split('\n\n').filter(event => event !== '')
  assert.equal(events.length, 2)
  for (const event of events) assert.equal(typeof JSON.parse(event.replace(/^data: /, '')), 'string')
  refuses(await call('GET', `/instances/${id}/logs?tail=abc`), 400, 'Bad Request')
  refuses(await call('GET', `/instances/${id}/logs?source=kernel`), 400, 'Bad Request')
  refuses(await call('GET', `/instances/${id}/logs?follow=perhaps`), 400, 'Bad Request')
})

test('a log that is followed begins at once and goes on until the reader leaves', async () => {
  const { id } = await create()
  const gone = new AbortController()
  const response = await fetch(new URL(`/instances/${id}/logs?follow=true&tail=0`, server.url), {
    headers: { authorization: `Bearer ${server.key}` },
    signal: gone.signal,
  })
  assert.equal(response.status, 200)
  const reader = response.body?.getReader()
  await call('POST', `/instances/${id}/stop`)
  await call('POST', `/instances/${id}/start`)
  const chunk = await reader?.read()
  assert.match(Buffer.from(chunk?.value ?? []).toString(), /^data: "/)
  gone.abort()
})

// --- exec and cp ----------------------------------------------------------------------------------------------

test('exec sends output in binary frames and the exit code in a text frame, last', async () => {
  const { id, name } = await create()
  const done = await exec(server.url, server.key, id, { command: ['echo', 'hi'], wait_for_agent: 1 })
  assert.deepEqual([done.output, done.exitCode, done.texts], ['hi\n', 0, []])
  assert.equal((await exec(server.url, server.key, name, { command: ['false'] })).exitCode, 1)
  const absent = await exec(server.url, server.key, id, { command: ['no-such-program'] })
  assert.match(absent.output, /^Error: .*executable file not found.*\r\n$/)
  assert.equal(absent.exitCode, 127)
  assert.equal((await exec(server.url, server.key, id, { command: ['sleep', '100'], timeout: 1 })).exitCode, 124)
})

test('exec takes stdin as binary and as text, and a client that leaves ends its command', async () => {
  const { id } = await create()
  const session = await openExec(server.url, server.key, id, { command: ['cat'] })
  session.socket.send(Buffer.from('binary '))
  session.socket.send('text ')
  session.socket.send('{"resize":{"rows":1,"cols":1}}')
  await session.until('binary text {"resize"')
  session.socket.close()
  assert.equal((await session.outcome).exitCode, null)
})

test('exec refuses what it can before the upgrade', async () => {
  const { id } = await create()
  await call('POST', `/instances/${id}/stop`)
  const refusal = (path: string, key: string | null) =>
    openSocket(server.url, key, path).then(
      () => assert.fail('it was upgraded'),
      (error: unknown) => {
        assert.ok(error instanceof UpgradeRefused)
        return [error.status, JSON.parse(error.body) as unknown]
      },
    )
  const stopped = { code: 'invalid_state', message: 'instance must be running (current state: Stopped)' }
  for (const route of ['exec', 'cp']) {
    assert.deepEqual(await refusal(`/instances/${id}/${route}`, null), [401, { code: 'Unauthorized', message: 'authorization header required' }])
    assert.deepEqual(await refusal(`/instances/nothing/${route}`, server.key), [404, { code: 'not_found', message: 'resource not found' }])
    assert.deepEqual(await refusal(`/instances/${id}/${route}`, server.key), [409, stopped])
    assert.equal((await server.request('GET', `/instances/${id}/${route}`)).status, 409)
  }
})

test('a first message that is no request is told as an error', async () => {
  const { id } = await create()
  assert.deepEqual((await exec(server.url, server.key, id, Buffer.from('{}'))).texts, ['{"error":"first message must be JSON text"}'])
  assert.match((await exec(server.url, server.key, id, '{broken')).texts[0] ?? '', /^\{"error":"invalid JSON: /)
  assert.match((await exec(server.url, server.key, id, { command: 'ls' })).texts[0] ?? '', /^\{"error":"invalid JSON: .*command/)
})

test('the vendor’s copy helpers carry files unchanged, even those that look like messages', async () => {
  const { id } = await create()
  const scratch = mkdtempSync(join(tmpdir(), 'hs-'))
  const config = { baseURL: server.url, apiKey: server.key }
  try {
    for (const [name, bytes] of Object.entries({ json: Buffer.from('{"type":"end","final":true}'), binary: randomBytes(100_000), empty: Buffer.alloc(0) })) {
      writeFileSync(join(scratch, name), bytes)
      await cpToInstance(config, { instanceId: id, srcPath: join(scratch, name), dstPath: `/copied/${name}` })
      await cpFromInstance(config, { instanceId: id, srcPath: `/copied/${name}`, dstPath: join(scratch, 'back') })
      assert.deepEqual(readFileSync(join(scratch, 'back', name)), bytes, name)
    }
    await assert.rejects(cpFromInstance(config, { instanceId: id, srcPath: '/nothing', dstPath: scratch }), /stat: lstat \/nothing: no such file or directory/)
    await assert.rejects(cpToInstance(config, { instanceId: id, srcPath: scratch, dstPath: '/copied/json' }), /cannot create directory: \/copied\/json is a file/)
  } finally {
    rmSync(scratch, { recursive: true })
  }
})

test('a copy whose direction is none is told as an error', async () => {
  const { id } = await create()
  const socket = await openSocket(server.url, server.key, `/instances/${id}/cp`)
  socket.send(JSON.stringify({ direction: 'sideways', guest_path: '/x' }))
  const [message] = (await once(socket, 'message')) as [Buffer]
  assert.deepEqual(JSON.parse(message.toString()), { type: 'error', message: "invalid direction: sideways (must be 'to' or 'from')" })
})

// --- projects -------------------------------------------------------------------------------------------------

test('what belongs to another project is not found, whatever is asked of it', async () => {
  const project = (await server.request('POST', '/berth/v1/projects', { body: { name: unique('project') } })).body as { id: string }
  const made = await server.request('POST', '/berth/v1/keys', { body: { name: 'other', projectId: project.id, scopes: ['read', 'write', 'exec'] } })
  const { secret: key } = made.body as { secret: string }
  const { id, name } = await create()
  const volume = await createVolume()
  assert.deepEqual((await call('GET', '/instances', { key })).body, [])
  assert.deepEqual((await call('GET', '/volumes', { key })).body, [])
  const asked: readonly [string, string, unknown?][] = [
    ['GET', `/instances/${id}`],
    ['GET', `/instances/${name}`],
    ['GET', `/instances/${id.slice(0, 12)}`],
    ['PATCH', `/instances/${id}`, { ttl: '1h' }],
    ['DELETE', `/instances/${id}`],
    ['POST', `/instances/${id}/stop`],
    ['POST', `/instances/${id}/standby`, {}],
    ['GET', `/instances/${id}/logs`],
    ['GET', `/instances/${id}/stats`],
    ['GET', `/instances/${id}/stat?path=/`],
    ['GET', `/instances/${id}/wait?state=Running`],
    ['GET', `/instances/${id}/exec`],
    ['GET', `/volumes/${volume.id}`],
    ['DELETE', `/volumes/${volume.id}`],
    ['POST', `/instances/${id}/volumes/${volume.id}`, { mount_path: '/data' }],
  ]
  for (const [method, path, body] of asked) {
    refuses(await call(method, path, body === undefined ? { key } : { key, body }), 404, 'not_found')
  }
  assert.equal((await get(id)).state, 'Running')
  const theirs = await call('POST', '/instances', { key, body: { name, image: IMAGE, size: '128MB' } })
  assert.equal(theirs.status, 201, 'the same name is free in another project')
  assert.equal((await call('DELETE', `/instances/${name}`, { key })).status, 204)
})

test('a key that may only read is told so', async () => {
  const made = await server.request('POST', '/berth/v1/keys', { body: { name: 'reader', scopes: ['read'] } })
  const { secret: key } = made.body as { secret: string }
  assert.equal((await call('GET', '/instances', { key })).status, 200)
  refuses(await call('POST', '/instances', { key, body: { name: unique(), image: IMAGE } }), 403, 'Forbidden')
})

test('health and metrics are told without a key', async () => {
  assert.deepEqual((await server.request('GET', '/healthz', { key: null })).body, { status: 'ok' })
  const { text } = await server.request('GET', '/metrics', { key: null })
  assert.match(text, /berth_instances\{phase="running"\} [1-9]/)
  assert.match(text, /berth_http_request_duration_seconds_count\{method="POST",route="\/instances",status="201"\}/)
})

test('nothing secret is in the log', async () => {
  await call('GET', '/instances')
  assert.ok(!server.output().includes(`Bearer ${server.key}`))
})

/** The Instances API of the published page, with its successes; what must be exact and complete. */
const SEED = [
  'GET /instances 200',
  'POST /instances 201',
  'GET /instances/{id} 200',
  'DELETE /instances/{id} 204',
  'POST /instances/{id}/standby 200',
  'POST /instances/{id}/restore 200',
  'POST /instances/{id}/start 200',
  'POST /instances/{id}/stop 200',
  'POST /instances/{id}/volumes/{volumeId} 200',
  'DELETE /instances/{id}/volumes/{volumeId} 200',
  'GET /instances/{id}/stat 200',
  'GET /images 200',
  'POST /images 202',
  'GET /images/{name} 200',
  'DELETE /images/{name} 204',
  'GET /volumes 200',
  'POST /volumes 201',
  'GET /volumes/{id} 200',
  'DELETE /volumes/{id} 204',
  'GET /resources 200',
  'GET /devices 200',
  'GET /devices/available 200',
  'GET /health 200',
]

test('every operation’s success went past the contract', { skip: contract === null ? 'no contract beside this checkout' : false }, () => {
  assert.deepEqual(SEED.filter(label => !contract?.judged.has(label)), [])
})
