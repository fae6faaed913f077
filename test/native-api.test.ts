/** The native API over HTTP on a simulated host: instances, who may do what, every kind of refusal. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { makeNativeClient, PREFIX } from './support/native-client.ts'
import type { NativeClient } from './support/native-client.ts'
import { send, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const ENCODED_IMAGE = encodeURIComponent('localhost/busybox:latest')

interface Instance {
  readonly id: string
  readonly ids: Readonly<Record<string, string>>
  readonly name: string
  readonly phase: string
  readonly tags: Readonly<Record<string, string>>
  readonly [key: string]: unknown
}

let server: TestServer
let api: NativeClient
let count = 0
const unique = (word = 't') => `${word}-${(count += 1)}`

before(async () => {
  server = await startServer()
  api = await makeNativeClient(server)
  await api.ok(200, 'GET', `/images/${ENCODED_IMAGE}/wait?timeoutMs=60000`)
})
after(() => server.stop())

/** A running instance that stays. */
async function launch(body: object = {}, client = api): Promise<Instance> {
  return client.ok<Instance>(201, 'POST', '/instances?wait=running', { body: { image: IMAGE, name: unique(), cmd: ['sleep', '100000'], ...body } })
}

// --- who asks -------------------------------------------------------------------------------------------------

test('the document and the version need no key; all else does, and says so in JSON', async () => {
  assert.equal((await send(server.url, 'GET', `${PREFIX}/openapi.json`)).status, 200)
  assert.equal((await send(server.url, 'GET', `${PREFIX}/version`)).status, 200)
  for (const path of ['/instances', '/whoami', '/instances/x/exec', '/instances/x/logs']) {
    const { status, body, headers } = await send(server.url, 'GET', `${PREFIX}${path}`)
    assert.equal(status, 401, path)
    assert.match(headers.get('www-authenticate') ?? '', /^Bearer/)
    assert.equal((body as { error: { code: string } }).error.code, 'unauthenticated')
  }
  await api.as('nobody').refused(401, 'unauthenticated', 'GET', '/instances')
})

test('whoami tells the project and the scopes', async () => {
  const me = await api.ok<{ scopes: string[] }>(200, 'GET', '/whoami')
  assert.deepEqual(me.scopes.toSorted(), ['admin', 'exec', 'read', 'write'])
})

test('a key does what its scopes say and nothing else', async () => {
  const instance = await launch()
  const path = `/instances/${instance.id}`
  const ASKS = [
    ['read', 'GET', path, undefined],
    ['read', 'GET', '/instances', undefined],
    ['read', 'GET', '/events', undefined],
    ['read', 'GET', `${path}/logs`, undefined],
    ['read', 'GET', `${path}/stats`, undefined],
    ['write', 'PATCH', path, { tags: { a: 'b' } }],
    ['write', 'POST', '/volumes', { name: 'x', sizeBytes: 1 << 30 }],
    ['exec', 'GET', `${path}/stat?path=/`, undefined],
    ['admin', 'GET', '/keys', undefined],
    ['admin', 'POST', '/projects', { name: unique('p') }],
  ] as const
  for (const scope of ['read', 'write', 'exec'] as const) {
    // What acts on an instance by its name must be able to find it.
    const scopes: readonly string[] = scope === 'read' ? ['read'] : ['read', scope]
    const { secret } = await api.ok<{ secret: string }>(201, 'POST', '/keys', { body: { name: unique('k'), scopes } })
    const client = api.as(secret)
    for (const [needs, method, asked, body] of ASKS) {
      const options = body === undefined ? {} : { body }
      if (scopes.includes(needs)) assert.ok((await client.call(method, asked, options)).status < 300, `${scope}: ${method} ${asked}`)
      else await client.refused(403, 'forbidden', method, asked, options)
    }
    if (scope === 'read') await client.refused(403, 'forbidden', 'POST', `${path}/stop`)
  }
})

test("another project's things are not found, and nothing happens to them", async () => {
  const mine = await launch({ name: unique('mine') })
  const volume = await api.ok<{ id: string }>(201, 'POST', '/volumes', { body: { name: unique('v'), sizeBytes: 1 << 30 } })
  const project = await api.ok<{ id: string }>(201, 'POST', '/projects', { body: { name: unique('other') } })
  const { secret } = await api.ok<{ secret: string }>(201, 'POST', '/keys', {
    body: { name: 'k', scopes: ['read', 'write', 'exec'], projectId: project.id },
  })
  const other = api.as(secret)
  for (const word of [mine.id, mine.name, mine.id.slice(0, 8), ...Object.values(mine.ids)]) {
    const path = `/instances/${word}`
    await other.refused(404, 'not_found', 'GET', path)
    await other.refused(404, 'not_found', 'DELETE', path)
    await other.refused(404, 'not_found', 'PATCH', path, { body: { tags: {} } })
    for (const verb of ['start', 'stop', 'restart', 'standby', 'restore']) await other.refused(404, 'not_found', 'POST', `${path}/${verb}`)
    for (const rest of ['wait?until=running', 'logs', 'stats', 'stat?path=/', 'files?path=/']) {
      await other.refused(404, 'not_found', 'GET', `${path}/${rest}`)
    }
    await other.refused(404, 'not_found', 'GET', `/events?instance=${word}`)
  }
  await other.refused(404, 'volume_not_found', 'GET', `/volumes/${volume.id}`)
  await other.refused(404, 'volume_not_found', 'DELETE', `/volumes/${volume.id}`)
  assert.deepEqual((await other.ok<{ items: unknown[] }>(200, 'GET', '/instances')).items, [])
  assert.deepEqual((await other.ok<{ items: unknown[] }>(200, 'GET', '/events')).items, [])
  const own = await launch({}, other)
  await other.refused(404, 'volume_not_found', 'POST', `/instances/${own.id}/volumes`, { body: { volume: volume.id, path: '/v' } })
  assert.equal((await api.ok<Instance>(200, 'GET', `/instances/${mine.id}`)).phase, 'running')
  await other.ok(200, 'DELETE', `/instances/${own.id}?wait=true`)
})

// --- the life of an instance ----------------------------------------------------------------------------------

test('an instance lives: made, slept, woken, stopped, started, restarted, deleted; its timeline tells all of it', async () => {
  const made = await launch({
    vcpus: 2,
    memoryBytes: 256 * 1024 * 1024,
    env: { A: '1' },
    tags: { team: 'blue' },
    network: { ports: [{ hostPort: 28080, guestPort: 80 }] },
    restart: { policy: 'on-failure', maxAttempts: 2 },
  })
  assert.equal(made.phase, 'running')
  assert.equal(made['memoryBytes'], 256 * 1024 * 1024)
  assert.deepEqual(made['restart'], { policy: 'on-failure', backoffMs: 1000, maxAttempts: 2, stableAfterMs: 60_000, attempts: 0 })
  assert.match(String(made['createdAt']), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/)
  for (const word of [made.id, made.name, made.id.slice(0, 10), made.id.replaceAll('-', ''), ...Object.values(made.ids)]) {
    assert.equal((await api.ok<Instance>(200, 'GET', `/instances/${word}`)).id, made.id, word)
  }
  const path = `/instances/${made.name}`
  const STEPS = [
    ['standby', 'standby'],
    ['restore', 'running'],
    ['stop', 'stopped'],
    ['start', 'running'],
    ['restart', 'running'],
  ] as const
  for (const [verb, phase] of STEPS) assert.equal((await api.ok<Instance>(200, 'POST', `${path}/${verb}?wait=true`)).phase, phase, verb)
  const changed = await api.ok<Instance>(200, 'PATCH', path, { body: { tags: { team: 'red' }, ttlMs: 3_600_000 } })
  assert.deepEqual(changed.tags, { team: 'red' })
  assert.ok(Date.parse(String(changed['expiresAt'])) > Date.now() + 3_000_000)
  const waited = await api.ok<{ timedOut: boolean }>(200, 'GET', `${path}/wait?until=stopped&until=standby&timeoutMs=10`)
  assert.equal(waited.timedOut, true)
  const detail = await api.ok<{ timeline: { to: string; kind: string }[]; phaseDurationsMs: Record<string, number> }>(200, 'GET', path)
  const phases = detail.timeline.filter(({ kind }) => kind === 'phase').map(({ to }) => to)
  assert.deepEqual(
    phases.filter((phase) => ['running', 'standby', 'stopped'].includes(phase)),
    ['running', 'standby', 'running', 'stopped', 'running', 'stopped', 'running'],
  )
  assert.deepEqual(Object.keys(detail.phaseDurationsMs).toSorted(), [...new Set(phases)].toSorted())
  assert.equal((await api.ok<Instance>(200, 'DELETE', `${path}?wait=true`)).phase, 'deleted')
  await api.refused(404, 'not_found', 'GET', path)
  assert.equal((await api.ok<Instance>(200, 'GET', `/instances/${made.id}`)).phase, 'deleted', 'its story is still told by its id')
})

test('an application that ends at once leaves its status', async () => {
  const made = await api.ok<Instance>(201, 'POST', '/instances', { body: { image: IMAGE, name: unique(), cmd: ['exit', '7'] } })
  const { instance } = await api.ok<{ instance: Instance }>(200, 'GET', `/instances/${made.id}/wait?until=stopped&timeoutMs=60000`)
  assert.deepEqual([instance.phase, (instance['exit'] as { code: number }).code], ['stopped', 7])
})

test('lists are filtered, and pages tell each instance once', async () => {
  const tag = unique('tag')
  const names = [unique(), unique(), unique(), unique(), unique()]
  for (const name of names) await api.ok(201, 'POST', '/instances', { body: { image: IMAGE, name, tags: { set: tag }, cmd: ['sleep', '1000'] } })
  const seen: string[] = []
  let cursor: string | null = null
  do {
    const query: string = cursor === null ? '' : `&cursor=${cursor}`
    const page: { items: Instance[]; next: string | null } = await api.ok(200, 'GET', `/instances?tag=set=${tag}&order=oldest-first&limit=2${query}`)
    seen.push(...page.items.map(({ name }) => name))
    cursor = page.next
  } while (cursor !== null)
  assert.deepEqual(seen, names)
  const { items } = await api.ok<{ items: Instance[] }>(200, 'GET', `/instances?name=${names[2]}`)
  assert.deepEqual(
    items.map(({ name }) => name),
    [names[2]],
  )
  assert.deepEqual((await api.ok<{ items: Instance[] }>(200, 'GET', `/instances?tag=set=${tag}&phase=standby`)).items, [])
})

test('an idempotency key gives the same instance, also where a lifetime becomes a time; another request is a conflict', async () => {
  const headers = { 'idempotency-key': unique('key') }
  const body = { image: IMAGE, ttlMs: 3_600_000, cmd: ['sleep', '1000'] }
  const first = await api.ok<Instance>(201, 'POST', '/instances', { body, headers })
  await pause(5)
  const again = await api.ok<Instance>(201, 'POST', '/instances', { body, headers })
  assert.equal(again.id, first.id)
  await api.refused(409, 'idempotency_conflict', 'POST', '/instances', { body: { ...body, vcpus: 1 }, headers })
})

test('what a phase refuses is invalid_state, with the phase', async () => {
  const { id } = await launch()
  for (const verb of ['start', 'restore']) {
    const { details } = await api.refused(409, 'invalid_state', 'POST', `/instances/${id}/${verb}`)
    assert.equal(details['phase'], 'running')
  }
  await api.ok(200, 'POST', `/instances/${id}/stop?wait=true`)
  await api.refused(409, 'invalid_state', 'POST', `/instances/${id}/standby`)
  await api.refused(409, 'invalid_state', 'GET', `/instances/${id}/stat?path=/`)
})

// --- bad input ------------------------------------------------------------------------------------------------

const json = { 'content-type': 'application/json' }
const create = (body: object) => ({ body: { image: IMAGE, ...body } })
const BAD: readonly (readonly [string, number, string, string, string, object?])[] = [
  ['an unknown path', 404, 'not_found', 'GET', '/nope'],
  ['an unknown method', 404, 'not_found', 'PUT', '/instances'],
  ['no body', 400, 'invalid_request', 'POST', '/instances'],
  ['broken JSON', 400, 'invalid_request', 'POST', '/instances', { body: '{"image":', headers: json }],
  ['invalid UTF-8', 400, 'invalid_request', 'POST', '/instances', { body: Buffer.from('{"image":"\xff"}', 'latin1'), headers: json }],
  ['10 MB of JSON', 413, 'limit_exceeded', 'POST', '/instances', { body: JSON.stringify({ image: 'x'.repeat(10_000_000) }), headers: json }],
  ['another type than JSON', 400, 'invalid_request', 'POST', '/instances', { body: 'image=x', headers: { 'content-type': 'text/plain' } }],
  ['a list for an object', 400, 'invalid_request', 'POST', '/instances', { body: [] }],
  ['an unknown field', 400, 'invalid_request', 'POST', '/instances', create({ memroyBytes: 1 })],
  ['a size as text', 400, 'invalid_request', 'POST', '/instances', create({ memoryBytes: '4Gb' })],
  ['a negative size', 400, 'invalid_request', 'POST', '/instances', create({ memoryBytes: -1 })],
  ['a fraction of a byte', 400, 'invalid_request', 'POST', '/instances', create({ memoryBytes: 1.5 })],
  ['no image', 400, 'invalid_request', 'POST', '/instances', { body: {} }],
  ['an image that is not there', 404, 'image_not_found', 'POST', '/instances', create({ image: 'nothere' })],
  ['no image name', 400, 'invalid_image_name', 'POST', '/instances', create({ image: 'A B' })],
  ['a name of 64 characters', 400, 'invalid_name', 'POST', '/instances', create({ name: 'a'.repeat(64) })],
  ['a name with capitals', 400, 'invalid_name', 'POST', '/instances', create({ name: 'Web' })],
  ['a variable without a name', 400, 'invalid_request', 'POST', '/instances', create({ env: { '': 'x' } })],
  ['a zero byte in a command', 400, 'invalid_request', 'POST', '/instances', create({ cmd: ['a\0b'] })],
  ['a port of 0', 400, 'invalid_request', 'POST', '/instances', create({ network: { ports: [{ hostPort: 0, guestPort: 1 }] } })],
  ['a time that is none', 400, 'invalid_request', 'POST', '/instances', create({ expiresAt: 'tomorrow' })],
  ['a time that has passed', 400, 'invalid_request', 'POST', '/instances', create({ expiresAt: '2001-01-01T00:00:00Z' })],
  ['two lifetimes', 400, 'invalid_request', 'POST', '/instances', create({ expiresAt: '2099-01-01T00:00:00Z', ttlMs: 5 })],
  ['a volume that is not there', 404, 'volume_not_found', 'POST', '/instances', create({ volumes: [{ volume: 'none', path: '/v' }] })],
  ['a relative mount path', 400, 'invalid_request', 'POST', '/instances', create({ volumes: [{ volume: 'none', path: 'v' }] })],
  ['an empty idempotency key', 400, 'invalid_request', 'POST', '/instances', { ...create({}), headers: { 'idempotency-key': '' } }],
  ['an instance that is not there', 404, 'not_found', 'GET', '/instances/none'],
  ['an instance of 1000 letters', 404, 'not_found', 'GET', `/instances/${'a'.repeat(1000)}`],
  ['a wait for an unknown phase', 400, 'invalid_request', 'GET', '/instances/none/wait?until=happy'],
  ['a wait for nothing', 400, 'invalid_request', 'GET', '/instances/none/wait'],
  ['a limit of 0', 400, 'invalid_request', 'GET', '/instances?limit=0'],
  ['a limit that is no number', 400, 'invalid_request', 'GET', '/instances?limit=ten'],
  ['a cursor that is none', 400, 'invalid_request', 'GET', '/instances?cursor=xyz'],
  ['a cursor of another list', 400, 'invalid_request', 'GET', `/events?cursor=${Buffer.from('["a","b"]').toString('base64url')}`],
  ['an unknown parameter', 400, 'invalid_request', 'GET', '/instances?state=running'],
  ['a tag filter without a value', 400, 'invalid_request', 'GET', '/instances?tag=a'],
  ['a broken percent-encoding', 400, 'invalid_request', 'GET', '/images/%ZZ'],
  ['an unknown log', 400, 'invalid_request', 'GET', '/instances/none/logs?source=kernel'],
  ['a Last-Event-ID that is no number', 400, 'invalid_request', 'GET', '/events/watch', { headers: { 'last-event-id': 'abc' } }],
  ['a volume of no size', 400, 'invalid_request', 'POST', '/volumes', { body: { name: 'v', sizeBytes: 0 } }],
  ['a volume id with a slash', 400, 'invalid_request', 'POST', '/volumes', { body: { name: 'v', sizeBytes: 1 << 30, id: 'a/b' } }],
  ['a key without scopes', 400, 'invalid_request', 'POST', '/keys', { body: { name: 'k', scopes: [] } }],
  ['a key with an unknown scope', 400, 'invalid_request', 'POST', '/keys', { body: { name: 'k', scopes: ['root'] } }],
  ['a key for a project that is not there', 404, 'not_found', 'POST', '/keys', { body: { name: 'k', scopes: ['read'], projectId: 'none' } }],
  ['a key that is not there', 404, 'not_found', 'DELETE', '/keys/none'],
  ['an empty change', 400, 'invalid_request', 'PATCH', '/projects/none', { body: {} }],
  ['a project that is not there', 404, 'not_found', 'GET', '/projects/none'],
  ['an image name that is not there', 404, 'image_not_found', 'GET', '/images/none'],
  ['an exec of nobody, without an upgrade', 404, 'not_found', 'GET', '/instances/none/exec'],
]
for (const [name, status, code, method, path, options] of BAD) {
  test(`${name}: ${status} ${code}`, async () => {
    const all = () => api.ok<{ items: unknown[] }>(200, 'GET', '/instances?limit=1000&deleted=true')
    const before = await all()
    await api.refused(status, code, method, path, options ?? {})
    assert.equal((await all()).items.length, before.items.length, 'nothing was made')
  })
}

test('two of a name are a conflict', async () => {
  const { name } = await launch()
  await api.refused(409, 'name_conflict', 'POST', '/instances', { body: { image: IMAGE, name } })
})

test('the beginning of an id that means two is ambiguous', async () => {
  const letters = new Set<string>()
  for (;;) {
    const letter = (await launch()).id.slice(0, 1)
    if (letters.has(letter)) {
      await api.refused(409, 'ambiguous', 'GET', `/instances/${letter}`)
      return
    }
    letters.add(letter)
  }
})

// --- volumes, keys, projects, the host ------------------------------------------------------------------------

test('volumes are made, attached, kept and deleted', async () => {
  const name = unique('data')
  const volume = await api.ok<{ id: string }>(201, 'POST', '/volumes', { body: { name, sizeBytes: 1 << 30, tags: { a: 'b' } } })
  const { id, name: instance } = await launch()
  await api.ok(200, 'POST', `/instances/${instance}/volumes`, { body: { volume: name, path: '/data' } })
  const attached = await api.ok<{ attachments: object[] }>(200, 'GET', `/volumes/${volume.id}`)
  assert.deepEqual(attached.attachments, [{ instanceId: id, path: '/data', mode: 'rw' }])
  await api.refused(409, 'volume_in_use', 'DELETE', `/volumes/${name}`)
  const other = await launch()
  await api.refused(409, 'volume_conflict', 'POST', `/instances/${other.id}/volumes`, { body: { volume: name, path: '/data' } })
  await api.ok(200, 'DELETE', `/instances/${instance}/volumes/${name}`)
  await api.ok(204, 'DELETE', `/volumes/${name}`)
})

test('a key works until it is deleted, and its secret is told once', async () => {
  const { key, secret } = await api.ok<{ key: { name: string }; secret: string }>(201, 'POST', '/keys', { body: { name: unique('k'), scopes: ['read'] } })
  assert.match(secret, /^[A-Za-z0-9]{64}$/)
  await api.as(secret).ok(200, 'GET', '/instances')
  assert.ok(!(await api.call('GET', '/keys')).text.includes(secret))
  await api.ok(204, 'DELETE', `/keys/${key.name}`)
  await api.as(secret).refused(401, 'unauthenticated', 'GET', '/instances')
})

test('projects are made, found by name and changed; the host tells what it is and has', async () => {
  const name = unique('p')
  await api.ok(201, 'POST', '/projects', { body: { name } })
  const changed = await api.ok<{ guestToGuest: boolean }>(200, 'PATCH', `/projects/${name}`, { body: { guestToGuest: true } })
  assert.equal(changed.guestToGuest, true)
  assert.equal((await api.ok<{ accelerator: string }>(200, 'GET', '/host')).accelerator, 'simulated')
  const { lines } = await api.ok<{ lines: { kind: string }[] }>(200, 'GET', '/resources')
  assert.deepEqual(lines.map(({ kind }) => kind).toSorted(), ['cpu', 'disk', 'memory', 'network'])
  await api.ok(200, 'GET', '/devices')
})
