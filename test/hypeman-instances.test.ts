/** The Hypeman surface over HTTP on a simulated host: who may ask, instances, and their moves between states. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { SignJWT } from 'jose'
import type { InstanceBody } from './support/hypeman.ts'
import { HYPEMAN_ID, hypemanSuite, IMAGE, refuses, RFC3339 } from './support/hypeman.ts'
import type { RequestOptions } from './support/server.ts'
import { eventually } from './support/server.ts'

const JWT_SECRET = 'the secret of the tokens in this test'
const suite = hypemanSuite([
  'GET /health 200',
  'GET /instances 200',
  'POST /instances 201',
  'GET /instances/{id} 200',
  'DELETE /instances/{id} 204',
  'POST /instances/{id}/standby 200',
  'POST /instances/{id}/restore 200',
  'POST /instances/{id}/start 200',
  'POST /instances/{id}/stop 200',
], { BERTH_JWT_SECRET: JWT_SECRET })
const { call, create, get, unique } = suite

// --- authentication --------------------------------------------------------------------------------------------

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
  const answer = await call('GET', '/instances', { key: null, headers: { authorization: `bEaReR ${suite.server.key}` } })
  assert.equal(answer.status, 200)
})

test('an exec without a key is refused before the upgrade, without the schema’s prefix', async () => {
  refuses(await suite.server.request('GET', '/instances/x/exec', { key: null }), 401, 'Unauthorized', 'authorization header required')
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

// --- instances -------------------------------------------------------------------------------------------------

test('an instance is created with the documented defaults, and every key that old SDKs need', async () => {
  const answer = await call('POST', '/instances', { body: { name: unique(), image: IMAGE, env: { PORT: '3000' } } })
  assert.equal(answer.status, 201)
  const body = answer.body as InstanceBody
  assert.match(body.id, HYPEMAN_ID)
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

// --- moves between states --------------------------------------------------------------------------------------

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
  const request = suite.server.request('POST', '/instances', { body: { name, image: IMAGE, size: '128MB' }, signal: gone.signal }).catch(() => null)
  setTimeout(() => gone.abort(), 5)
  await request
  await eventually('the instance runs, or the request never arrived', async () => {
    const { status, body } = await call('GET', `/instances/${name}`)
    return status === 404 || (body as InstanceBody).state === 'Running' ? true : null
  })
})
