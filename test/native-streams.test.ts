/** What flows through the native API, on a simulated host: events, logs, commands, files, images, archives. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { once } from 'node:events'
import { Readable } from 'node:stream'
import { after, before, test } from 'node:test'
import { setTimeout as pause } from 'node:timers/promises'
import { gzipSync } from 'node:zlib'
import { extract, pack } from 'tar-stream'
import { makeNativeClient, openExec, PREFIX } from './support/native-client.ts'
import type { NativeClient, StreamRecord } from './support/native-client.ts'
import { send, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const MIB = 1024 * 1024

interface Instance {
  readonly id: string
  readonly phase: string
}

let server: TestServer
let api: NativeClient
let count = 0
const unique = (word = 's') => `${word}-${(count += 1)}`

before(async () => {
  server = await startServer()
  api = await makeNativeClient(server)
  await api.ok(200, 'GET', `/images/${encodeURIComponent(IMAGE)}/wait?timeoutMs=60000`)
})
after(() => server.stop())

async function launch(body: object = {}): Promise<Instance> {
  return api.ok<Instance>(201, 'POST', '/instances?wait=running', { body: { image: IMAGE, name: unique(), cmd: ['sleep', '100000'], ...body } })
}

// --- events ---------------------------------------------------------------------------------------------------

test('a watch that is resumed with Last-Event-ID tells every event once, across the break', async () => {
  const { id } = await launch()
  const query = `/events/watch?instance=${id}`
  const first: StreamRecord[] = []
  const cut = new AbortController()
  await assert.rejects(async () => {
    for await (const record of api.stream(`${query}&after=0`, { sse: true, signal: cut.signal })) {
      first.push(record)
      if (record.data['to'] === 'running') cut.abort()
    }
  })
  await api.ok(200, 'POST', `/instances/${id}/standby?wait=true`)
  const lastId = first.at(-1)?.id ?? ''
  assert.match(lastId, /^\d+$/)
  const second: StreamRecord[] = []
  const end = new AbortController()
  const reading = assert.rejects(async () => {
    for await (const record of api.stream(query, { sse: true, signal: end.signal, headers: { 'last-event-id': lastId } })) {
      second.push(record)
      if (record.data['to'] === 'deleted') end.abort()
    }
  })
  await api.ok(200, 'DELETE', `/instances/${id}?wait=true`)
  await reading
  const { items } = await api.ok<{ items: { seq: number }[] }>(200, 'GET', `/events?instance=${id}&limit=1000`)
  assert.deepEqual(
    [...first, ...second].map(({ data }) => data['seq']),
    items.map(({ seq }) => seq),
  )
  assert.ok(second.length > 0 && second.every(({ event }) => event === 'phase' || event === 'note'))
})

test('events are listed in both orders, page by page', async () => {
  const { id } = await launch()
  const walk = async (order: string) => {
    const seen: number[] = []
    let cursor: string | null = null
    do {
      const path: string = `/events?instance=${id}&order=${order}&limit=2${cursor === null ? '' : `&cursor=${cursor}`}`
      const page: { items: { seq: number }[]; next: string | null } = await api.ok(200, 'GET', path)
      seen.push(...page.items.map(({ seq }) => seq))
      cursor = page.next
    } while (cursor !== null)
    return seen
  }
  const forward = await walk('oldest-first')
  assert.ok(forward.length > 3)
  assert.deepEqual(await walk('newest-first'), forward.toReversed())
})

// --- logs -----------------------------------------------------------------------------------------------------

test('all that an application writes is told, and then the stream ends: also of one that ends at once', async () => {
  for (let round = 0; round < 10; round += 1) {
    const { id } = await api.ok<Instance>(201, 'POST', '/instances', { body: { image: IMAGE, cmd: ['echo', `round ${round}`] } })
    const told: unknown[] = []
    for await (const { data } of api.stream(`/instances/${id}/logs?untilExit=true`, { sse: round % 2 === 0 })) told.push(data['text'])
    assert.deepEqual(told, [`round ${round}`])
    assert.equal((await api.ok<Instance>(200, 'GET', `/instances/${id}`)).phase, 'stopped')
  }
})

test('logs that are not followed end; followed ones stay until the instance is gone', async () => {
  const { id } = await launch({ cmd: ['server', 'x'] })
  const read = async (query: string) => {
    const told: unknown[] = []
    for await (const { data } of api.stream(`/instances/${id}/logs${query}`)) told.push(data['text'])
    return told
  }
  assert.deepEqual(await read(''), ['server x is ready'])
  assert.deepEqual(await read('?tail=0'), [])
  const following = read('?follow=true')
  await pause(100)
  await api.ok(200, 'DELETE', `/instances/${id}?wait=true`)
  assert.deepEqual(await following, ['server x is ready'])
})

// --- commands -------------------------------------------------------------------------------------------------

test('a command runs over the WebSocket: streams apart, its status, its time limit', async () => {
  const { id } = await launch()
  const hi = await api.exec(id, { command: ['echo', 'hi'] })
  assert.deepEqual([hi.stdout.toString(), hi.stderr.toString(), hi.closeCode], ['hi\n', '', 1000])
  assert.deepEqual(hi.end, { type: 'exit', code: 0, signal: null, timedOut: false })
  const err = await api.exec(id, { command: ['err', 'oh'] })
  assert.deepEqual([err.stdout.toString(), err.stderr.toString()], ['', 'oh\n'])
  const slow = await api.exec(id, { command: ['sleep', '100'], timeoutMs: 50 })
  assert.deepEqual([slow.end['timedOut'], slow.end['code']], [true, 137])
  const none = await api.exec(id, { command: ['nothere'] })
  assert.deepEqual([(none.end['error'] as { code: string }).code, none.closeCode], ['command_not_found', 4000])
})

test('64 MiB of input arrive whole', async () => {
  const { id } = await launch()
  const piece = Buffer.alloc(MIB / 2, 'berth')
  const input = Array.from({ length: 128 }, () => piece)
  const hash = createHash('sha256')
  for (const each of input) hash.update(each)
  const { stdout } = await api.exec(id, { command: ['sha256sum'] }, input)
  assert.equal(stdout.toString(), `${hash.digest('hex')}  -\n`)
})

test('64 MiB come back through cat to a client that stalls again and again', async () => {
  const { id } = await launch()
  const socket = openExec(server.url, server.key, id)
  const got = createHash('sha256')
  let received = 0
  let exit: { code?: number } = {}
  socket.on('message', (raw, isBinary) => {
    const data = raw as Buffer
    if (!isBinary) {
      exit = JSON.parse(data.toString()) as { code?: number }
      return
    }
    got.update(data.subarray(1))
    received += data.length - 1
    if (received % (4 * MIB) < data.length) {
      socket.pause()
      setTimeout(() => socket.resume(), 20)
    }
  })
  const closed = once(socket, 'close')
  await once(socket, 'open')
  socket.send(JSON.stringify({ type: 'start', command: ['cat'] }))
  const piece = Buffer.alloc(MIB / 4 + 1, 'x')
  piece[0] = 0
  const sent = createHash('sha256')
  for (let at = 0; at < 256; at += 1) {
    sent.update(piece.subarray(1))
    await new Promise((resolve) => socket.send(piece, resolve))
  }
  socket.send(JSON.stringify({ type: 'eof' }))
  await closed
  assert.equal(exit.code, 0)
  assert.equal(received, 64 * MIB)
  assert.equal(got.digest('hex'), sent.digest('hex'))
})

test('what is wrong before the upgrade is a status', async () => {
  const statusOf = async (instance: string, key: string) => {
    const socket = openExec(server.url, key, instance)
    socket.on('error', () => undefined)
    const [, answer] = (await once(socket, 'unexpected-response')) as [unknown, { statusCode: number; destroy(): void }]
    answer.destroy()
    return answer.statusCode
  }
  const { id } = await launch()
  assert.equal(await statusOf(id, 'nobody'), 401)
  assert.equal(await statusOf('none', server.key), 404)
  await api.refused(400, 'invalid_request', 'GET', `/instances/${id}/exec`)
})

test('exec wakes an instance from standby only when it is asked to', async () => {
  const { id } = await launch()
  await api.ok(200, 'POST', `/instances/${id}/standby?wait=true`)
  const asleep = await api.exec(id, { command: ['true'] })
  assert.equal((asleep.end['error'] as { code: string }).code, 'invalid_state')
  const woken = await api.exec(id, { command: ['echo', 'up'], wake: true })
  assert.equal(woken.stdout.toString(), 'up\n')
})

// --- files ----------------------------------------------------------------------------------------------------

async function tarOf(entries: Readonly<Record<string, string>>): Promise<Buffer> {
  const tar = pack()
  for (const [name, body] of Object.entries(entries)) tar.entry({ name, ...(name.endsWith('/') ? { type: 'directory' } : {}) }, body)
  tar.finalize()
  return Buffer.concat((await Readable.from(tar).toArray()) as Buffer[])
}

async function namesIn(bytes: Uint8Array): Promise<Readonly<Record<string, string>>> {
  const found: Record<string, string> = {}
  const unpack = extract()
  Readable.from([bytes]).pipe(unpack as unknown as NodeJS.WritableStream)
  for await (const entry of unpack) found[entry.header.name] = Buffer.concat((await Readable.from(entry).toArray()) as Buffer[]).toString()
  return found
}

test('a file goes in and comes out as bytes; a tree as tar', async () => {
  const { id } = await launch()
  const files = `/instances/${id}/files`
  const put = await api.ok<{ bytesWritten: number }>(200, 'PUT', `${files}?path=/etc/motd&mode=600`, {
    body: Buffer.from('welcome'),
    headers: { 'content-type': 'application/octet-stream' },
  })
  assert.equal(put.bytesWritten, 7)
  const stat = await api.ok<{ mode: number; kind: string }>(200, 'GET', `/instances/${id}/stat?path=/etc/motd`)
  assert.deepEqual([stat.mode & 0o777, stat.kind], [0o600, 'file'])
  assert.equal((await send(server.url, 'GET', `${PREFIX}${files}?path=/etc/motd`, { key: server.key })).text, 'welcome')
  // JSON is a file's bytes, too; spaces and all.
  await api.ok(200, 'PUT', `${files}?path=/etc/set.json`, { body: '{"a" :  1}', headers: { 'content-type': 'application/json' } })
  assert.equal((await send(server.url, 'GET', `${PREFIX}${files}?path=/etc/set.json`, { key: server.key })).text, '{"a" :  1}')
  const tar = await tarOf({ './': '', 'a/': '', 'a/b': 'bee', c: 'sea' })
  for (const [name, body, type] of [
    ['tree', tar, 'application/x-tar'],
    ['zipped', gzipSync(tar), 'application/gzip'],
  ] as const) {
    await api.ok(200, 'PUT', `${files}?path=/srv-${name}`, { body, headers: { 'content-type': type } })
    const back = await fetch(new URL(`${PREFIX}${files}?path=/srv-${name}`, server.url), {
      headers: { authorization: `Bearer ${server.key}`, accept: 'application/x-tar' },
    })
    const got = await namesIn(new Uint8Array(await back.arrayBuffer()))
    assert.deepEqual([got[`srv-${name}/a/b`], got[`srv-${name}/c`]], ['bee', 'sea'])
  }
})

test('what can not be written or read is refused, and nothing is changed', async () => {
  const { id } = await launch()
  const files = `/instances/${id}/files`
  const tarType = { 'content-type': 'application/x-tar' }
  await api.refused(422, 'guest_path', 'GET', `${files}?path=/none`)
  await api.refused(422, 'guest_path', 'GET', `${files}?path=/`)
  await api.refused(400, 'invalid_request', 'GET', `${files}?path=relative`)
  await api.refused(400, 'invalid_request', 'PUT', `${files}?path=/f&mode=999`, {
    body: Buffer.from('x'),
    headers: { 'content-type': 'application/octet-stream' },
  })
  await api.refused(400, 'invalid_archive', 'PUT', `${files}?path=/srv`, { body: await tarOf({ '../../etc/evil': 'x' }), headers: tarType })
  await api.refused(400, 'invalid_archive', 'PUT', `${files}?path=/srv`, { body: Buffer.alloc(2048, 'not a tar'), headers: tarType })
  for (const options of [{ body: {} }, { body: 'null', headers: { 'content-type': 'application/json' } }, {}]) {
    // What is no archive, or nothing at all, is for the host to judge.
    for (const [method, path] of [['POST', '/volumes/from-archive?name=none&sizeBytes=67108864'], ['POST', '/images/import?name=localhost/nothing'], ['PUT', `${files}?path=/srv`]] as const) {
      assert.ok((await api.call(method, path, options)).status < 500, path)
    }
  }
  assert.equal((await api.ok<{ exists: boolean }>(200, 'GET', `/instances/${id}/stat?path=/etc/evil`)).exists, false)
})

// --- images and archives --------------------------------------------------------------------------------------

test('images are pulled with progress, tagged, listed and deleted', async () => {
  const queued = await api.ok<{ name: string }>(202, 'POST', '/images', { body: { name: 'alpine:3.20' } })
  assert.equal(queued.name, 'docker.io/library/alpine:3.20')
  const path = `/images/${encodeURIComponent(queued.name)}`
  const states: unknown[] = []
  for await (const { data } of api.stream(`${path}/progress`, { sse: true })) states.push(data['status'])
  assert.equal(states.at(-1), 'ready')
  await api.ok(201, 'POST', `${path}/tag`, { body: { target: 'mine:1' } })
  const { items } = await api.ok<{ items: { name: string }[] }>(200, 'GET', '/images')
  assert.ok(items.some(({ name }) => name === 'docker.io/library/mine:1'))
  const { id } = await launch({ image: 'mine:1' })
  await api.ok(204, 'DELETE', path)
  await api.refused(409, 'image_in_use', 'DELETE', `/images/${encodeURIComponent('mine:1')}`)
  await api.ok(200, 'DELETE', `/instances/${id}?wait=true`)
  await api.ok(204, 'DELETE', `/images/${encodeURIComponent('mine:1')}`)
  await api.refused(404, 'image_not_found', 'GET', path)
})

test('an image that its registry does not have fails with the reason, and the stream ends', async () => {
  const { name } = await api.ok<{ name: string }>(202, 'POST', '/images', { body: { name: 'localhost:5999/missing:1' } })
  const records: StreamRecord['data'][] = []
  for await (const { data } of api.stream(`/images/${encodeURIComponent(name)}/progress`)) records.push(data)
  assert.equal(records.at(-1)?.['status'], 'failed')
  assert.equal(typeof records.at(-1)?.['error'], 'string')
  await api.refused(409, 'image_failed', 'POST', '/instances', { body: { image: name } })
})

test('an archive becomes an image', async () => {
  const image = await api.ok<{ name: string }>(201, 'POST', '/images/import?name=localhost/mine', {
    body: await tarOf({ 'oci-layout': '{}' }),
    headers: { 'content-type': 'application/x-tar' },
  })
  assert.equal(image.name, 'localhost/mine:latest')
  await api.ok(200, 'GET', `/images/${encodeURIComponent('localhost/mine')}`)
})

test('an archive fills a volume', async () => {
  const name = unique('full')
  const filled = await api.ok<{ tags: object }>(201, 'POST', `/volumes/from-archive?name=${name}&sizeBytes=${1 << 30}&tag=x=${name}`, {
    body: gzipSync(await tarOf({ a: 'x' })),
    headers: { 'content-type': 'application/gzip' },
  })
  assert.deepEqual(filled.tags, { x: name })
  const { items } = await api.ok<{ items: { name: string }[] }>(200, 'GET', `/volumes?tag=x=${name}`)
  assert.deepEqual(
    items.map((each) => each.name),
    [name],
  )
})

// --- the end --------------------------------------------------------------------------------------------------

test('a server that stops says so in its streams', async () => {
  const other = await startServer()
  const client = await makeNativeClient(other)
  const told: StreamRecord['data'][] = []
  const reading = (async () => {
    for await (const { data } of client.stream('/events/watch')) told.push(data)
  })()
  await pause(200)
  await other.stop()
  await reading
  assert.equal((told.at(-1)?.['error'] as { code: string } | undefined)?.code, 'shutting_down')
})
