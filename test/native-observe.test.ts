/** What is looked at and not changed: usage as it happens, its history, and directories. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { makeNativeClient } from './support/native-client.ts'
import type { NativeClient } from './support/native-client.ts'
import { startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

let server: TestServer
let api: NativeClient
let id: string

before(async () => {
  server = await startServer()
  api = await makeNativeClient(server)
  const made = await api.ok<{ id: string }>(201, 'POST', '/instances?wait=running', { body: { name: 'seen', image: 'localhost/busybox' } })
  id = made.id
})
after(() => server.stop())

const put = (path: string, body: string) => api.ok(200, 'PUT', `/instances/seen/files?path=${path}`, { body, headers: { 'content-type': 'application/octet-stream' } })

test('a watch of usage tells a sample of each instance at once, and goes on', async () => {
  const gone = new AbortController()
  const counts = new Map<unknown, number>()
  for await (const { event, data } of api.stream('/stats/watch?instance=seen', { sse: true, signal: gone.signal })) {
    assert.equal(event, 'stats')
    counts.set(data['instanceId'], (counts.get(data['instanceId']) ?? 0) + 1)
    assert.ok('cpuSeconds' in (data['stats'] as object))
    if (counts.get(id) === 2) break
  }
  gone.abort()
  assert.deepEqual([...counts.keys()], [id])
})

test('a watch of what is not there, of nothing or of too much is refused', async () => {
  await api.refused(404, 'not_found', 'GET', '/stats/watch?instance=nobody')
  await api.refused(400, 'invalid_request', 'GET', '/stats/watch')
  await api.refused(400, 'invalid_request', 'GET', `/stats/watch?${Array.from({ length: 101 }, () => 'instance=seen').join('&')}`)
})

test('the history of usage ends with now', async () => {
  const { items } = await api.ok<{ items: readonly { at: string }[] }>(200, 'GET', '/instances/seen/stats/history')
  assert.ok(items.length >= 1)
  assert.deepEqual(items.map(({ at }) => at), items.map(({ at }) => at).toSorted())
})

test('a directory tells what stands in it and not what is below', async () => {
  await put('/work/b.txt', 'bytes')
  await put('/work/a.txt', '')
  await put('/work/deep/er/c.txt', 'c')
  const { entries, truncated, path } = await api.ok<{ path: string; truncated: boolean; entries: readonly { name: string; kind: string; sizeBytes: number }[] }>(
    200,
    'GET',
    '/instances/seen/directory?path=/work',
  )
  assert.equal(path, '/work')
  assert.equal(truncated, false)
  assert.deepEqual(entries.map(({ name, kind, sizeBytes }) => [name, kind, sizeBytes]), [
    ['deep', 'directory', 0],
    ['a.txt', 'file', 0],
    ['b.txt', 'file', 5],
  ])
})

test('what is no directory, or not there, is told so', async () => {
  await put('/one', 'x')
  await api.refused(422, 'guest_path', 'GET', '/instances/seen/directory?path=/one')
  await api.refused(422, 'guest_path', 'GET', '/instances/seen/directory?path=/none')
  await api.refused(400, 'invalid_request', 'GET', '/instances/seen/directory?path=relative')
  const { secret } = await api.ok<{ secret: string }>(201, 'POST', '/keys', { body: { name: 'reader', scopes: ['read'] } })
  await api.as(secret).refused(403, 'forbidden', 'GET', '/instances/seen/directory?path=/')
})

test('a list of instances can be of some by their ids', async () => {
  await api.ok(201, 'POST', '/instances?wait=running', { body: { name: 'other', image: 'localhost/busybox' } })
  const { items } = await api.ok<{ items: readonly { id: string }[] }>(200, 'GET', `/instances?id=${id}&id=2f4b1f0a-6c1c-4c0e-9b42-0a6c3b7f7c11`)
  assert.deepEqual(items.map(item => item.id), [id])
  await api.refused(400, 'invalid_request', 'GET', '/instances?id=seen')
})
