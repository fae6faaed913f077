/** The audit trail over HTTP on a simulated host: who did what over which surface, and what it never tells. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { commandEnv, startBerth } from './support/berth-command.ts'
import { makeNativeClient, PREFIX } from './support/native-client.ts'
import type { NativeClient } from './support/native-client.ts'
import { send, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'

interface Line {
  readonly seq: number
  readonly at: string
  readonly keyId: string | null
  readonly via: string
  readonly action: string
  readonly target: { readonly kind: string; readonly id: string | null; readonly name: string | null }
  readonly outcome: string
  readonly details: Readonly<Record<string, unknown>>
}
interface Lines {
  readonly items: readonly Line[]
  readonly next: string | null
}

let server: TestServer
let api: NativeClient
let own: { readonly key: { readonly id: string }; readonly secret: string }

before(async () => {
  server = await startServer()
  api = await makeNativeClient(server)
  await api.ok(200, 'GET', `/images/${encodeURIComponent(`${IMAGE}:latest`)}/wait?timeoutMs=60000`)
  own = await api.ok(201, 'POST', '/keys', { body: { name: 'auditor', scopes: ['read', 'write', 'exec'] } })
})
after(() => server.stop())

const lines = async (query = '') => (await api.ok<Lines>(200, 'GET', `/audit${query}`)).items

test('a life is told newest first, with its key, its surface and what was asked', async () => {
  const mine = api.as(own.secret)
  const made = await mine.ok<{ id: string }>(201, 'POST', '/instances?wait=running', { body: { image: IMAGE, name: 'told', cmd: ['sleep', '100000'], env: { TOKEN: 'hush-hush' } } })
  await mine.ok(200, 'POST', `/instances/${made.id}/standby?wait=true`)
  const restored = await send(server.url, 'POST', `/v1/instances/${made.id}/nothing`, { headers: { authorization: `Bearer ${own.secret}` } })
  assert.ok(restored.status >= 400)
  await mine.ok(200, 'DELETE', '/instances/told?wait=true')
  const told = await lines(`?target=${made.id}`)
  assert.deepEqual(
    told.map(({ action, outcome, keyId, via }) => [action, outcome, keyId, via]),
    ['delete', 'standby', 'create'].map((word) => [`instance.${word}`, 'ok', own.key.id, 'native']),
  )
  assert.deepEqual(told.at(-1)?.target, { kind: 'instance', id: made.id, name: 'told' })
  assert.equal(told.at(-1)?.details['image'], IMAGE)
  assert.deepEqual(await lines(`?key=${own.key.id}&kind=instance`), told)
  assert.deepEqual(await lines(`?action=instance.standby&target=${made.id}`), [told[1]])
  assert.ok(!JSON.stringify(await lines('?limit=1000')).includes('hush-hush'))
})

test('a command leaves one line, which learns its exit code and never tells what it was fed', async () => {
  await api.ok(201, 'POST', '/instances?wait=running', { body: { image: IMAGE, name: 'worker', cmd: ['sleep', '100000'] } })
  const before = (await lines('?action=instance.exec&target=worker')).length
  assert.equal(before, 0)
  const { id } = await api.ok<{ id: string }>(200, 'GET', '/instances/worker')
  const words = ['exit', '3', 'x'.repeat(500)].map((word) => `&body.command=${encodeURIComponent(word)}`).join('')
  const koyeb = await send(server.url, 'GET', `/v1/streams/instances/exec?id=${id}&body.disableTty=true${words}`, { headers: { authorization: `Bearer ${own.secret}` } })
  assert.equal(koyeb.status, 200)
  const [line, ...more] = await lines('?action=instance.exec&target=worker')
  assert.equal(more.length, 0)
  assert.deepEqual([line?.via, line?.keyId, line?.outcome, line?.details['exitCode']], ['koyeb', own.key.id, 'ok', 3])
  assert.deepEqual(line?.details['argv'], ['exit', '3', `${'x'.repeat(200)}…`])
})

test('what was refused is told with its reason, and changes of keys without their secret', async () => {
  const reader = await api.ok<{ key: { id: string }; secret: string }>(201, 'POST', '/keys', { body: { name: 'looker', scopes: ['read'] } })
  await api.as(reader.secret).refused(403, 'forbidden', 'POST', '/instances/worker/stop')
  const [refused] = await lines(`?key=${reader.key.id}`)
  assert.deepEqual([refused?.action, refused?.outcome], ['instance.stop', 'forbidden'])
  await api.ok(204, 'DELETE', `/keys/${reader.key.id}`)
  assert.deepEqual(
    (await lines(`?target=${reader.key.id}&kind=key`)).map(({ action }) => action),
    ['key.delete', 'key.create'],
  )
  assert.ok(!JSON.stringify(await lines('?limit=1000')).includes(reader.secret))
})

test('berth audit is a table for a person and the lines as they are for a program', async () => {
  const env = commandEnv(server)
  const table = await startBerth(env, ['audit', '-n', '1', '--action', 'instance.exec', 'worker']).done
  assert.match(table.stdout, /^TIME .*\n\S+Z +[0-9a-f]{8} +koyeb +instance\.exec +worker +ok +argv=exit 3 .*exitCode=3\n$/)
  const json = await startBerth(env, ['audit', '--json', '--since', '24h', '--kind', 'key']).done
  assert.deepEqual(JSON.parse(json.stdout), await lines('?kind=key'))
  const wrong = await startBerth(env, ['audit', '-n', '0']).done
  assert.equal(wrong.status, 2)
})

test('pages go on where the one before ended, and another project sees nothing of it', async () => {
  const all = await lines('?limit=1000')
  const paged: Line[] = []
  let cursor: string | null = null
  do {
    const page: Lines = await api.ok(200, 'GET', `/audit?limit=2${cursor === null ? '' : `&cursor=${cursor}`}`)
    paged.push(...page.items)
    cursor = page.next
  } while (cursor !== null)
  assert.deepEqual(paged, all)
  const project = await api.ok<{ id: string }>(201, 'POST', '/projects', { body: { name: 'elsewhere' } })
  const other = await api.ok<{ secret: string }>(201, 'POST', '/keys', { body: { name: 'other', scopes: ['read'], projectId: project.id } })
  assert.deepEqual((await api.as(other.secret).ok<Lines>(200, 'GET', '/audit')).items, [])
})

test('bad input is refused in one sentence', async () => {
  for (const query of ['limit=0', 'limit=1001', 'from=yesterday', 'cursor=nonsense', 'who=me', 'action=']) {
    const { status } = await send(server.url, 'GET', `${PREFIX}/audit?${query}`, { headers: { authorization: `Bearer ${own.secret}` } })
    assert.equal(status, 400, query)
  }
})
