/** Snapshots and forks of the native API over HTTP on a simulated host, and the commands that use it. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import { commandEnv, startBerth } from './support/berth-command.ts'
import { makeNativeClient } from './support/native-client.ts'
import type { NativeClient } from './support/native-client.ts'
import { startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'

interface Instance {
  readonly id: string
  readonly ids: Readonly<Record<string, string>>
  readonly name: string
  readonly phase: string
}
interface Snapshot {
  readonly id: string
  readonly name: string | null
  readonly kind: string
  readonly status: string
  readonly instanceId: string
  readonly sizeBytes: number
}
interface Page<T> {
  readonly items: readonly T[]
  readonly next: string | null
}

let server: TestServer
let api: NativeClient
let count = 0
const unique = () => `s-${(count += 1)}`

before(async () => {
  server = await startServer()
  api = await makeNativeClient(server)
  await api.ok(200, 'GET', `/images/${encodeURIComponent(`${IMAGE}:latest`)}/wait?timeoutMs=60000`)
})
after(() => server.stop())

function launch(): Promise<Instance> {
  return api.ok<Instance>(201, 'POST', '/instances?wait=running', { body: { image: IMAGE, name: unique(), cmd: ['sleep', '100000'] } })
}

test('an instance is forked while it runs, into each state, and the answer waits for it', async () => {
  const source = await launch()
  const fork = await api.ok<Instance>(201, 'POST', `/instances/${source.name}/fork?wait=true`, { body: { name: unique() } })
  assert.equal(fork.phase, 'running')
  const asleep = await api.ok<Instance>(201, 'POST', `/instances/${source.id}/fork?wait=true`, { body: { name: unique(), target: 'standby' } })
  assert.equal(asleep.phase, 'standby')
  const atOnce = await api.ok<Instance>(201, 'POST', `/instances/${asleep.id}/fork`, { body: { name: unique(), target: 'stopped' } })
  assert.equal((await api.ok<{ instance: Instance }>(200, 'GET', `/instances/${atOnce.id}/wait?until=stopped`)).instance.phase, 'stopped')
  await api.refused(409, 'name_conflict', 'POST', `/instances/${source.id}/fork`, { body: { name: fork.name } })
  await api.refused(409, 'invalid_state', 'POST', `/instances/${atOnce.id}/fork`, { body: { name: unique(), target: 'standby' } })
  for (const body of [{}, { name: 'Not A Name' }, { name: 'x', target: 'deleted' }, { name: 'x', extra: 1 }]) {
    const { status } = await api.call('POST', `/instances/${source.id}/fork`, { body })
    assert.equal(status, 400, JSON.stringify(body))
  }
  await api.refused(404, 'not_found', 'POST', '/instances/nobody/fork', { body: { name: unique() } })
})

test('a snapshot is made, found by id, name and the beginning of its id, listed by pages, gone back to, forked and deleted', async () => {
  const source = await launch()
  const made: Snapshot[] = []
  for (const body of [{ name: 'first', tags: { a: '1' } }, {}, undefined]) {
    made.push(await api.ok<Snapshot>(201, 'POST', `/instances/${source.id}/snapshots`, body === undefined ? {} : { body }))
  }
  const [first, second] = made
  assert.ok(first !== undefined && second !== undefined)
  assert.deepEqual([first.name, first.kind, first.status, first.instanceId], ['first', 'standby', 'ready', source.id])
  for (const word of [first.id, 'first', first.id.slice(0, 12)]) assert.deepEqual(await api.ok(200, 'GET', `/snapshots/${word}`), first)
  const page = await api.ok<Page<Snapshot>>(200, 'GET', `/snapshots?instance=${source.id}&limit=2`)
  assert.equal(page.items.length, 2)
  const rest = await api.ok<Page<Snapshot>>(200, 'GET', `/snapshots?instance=${source.name}&limit=2&cursor=${page.next}`)
  assert.deepEqual([...page.items, ...rest.items].map(({ id }) => id), made.map(({ id }) => id).toReversed())
  assert.equal(rest.next, null)
  assert.deepEqual((await api.ok<Page<Snapshot>>(200, 'GET', '/snapshots?tag=a%3D1&kind=standby&name=first')).items, [first])
  await api.refused(409, 'name_conflict', 'POST', `/instances/${source.id}/snapshots`, { body: { name: 'first' } })
  await api.refused(409, 'invalid_state', 'POST', `/instances/${source.id}/snapshots`, { body: { kind: 'stopped' } })

  await api.refused(409, 'invalid_state', 'POST', '/snapshots/first/restore')
  await api.ok(200, 'POST', `/instances/${source.id}/stop?wait=true`)
  assert.equal((await api.ok<Instance>(200, 'POST', '/snapshots/first/restore?wait=true')).phase, 'running')
  await api.ok(200, 'POST', `/instances/${source.id}/stop?wait=true`)
  assert.equal((await api.ok<Instance>(200, 'POST', '/snapshots/first/restore?wait=true', { body: { target: 'standby' } })).phase, 'standby')
  await api.ok(200, 'DELETE', `/instances/${source.id}?wait=true`)
  assert.equal((await api.ok<Page<Snapshot>>(200, 'GET', `/snapshots?instance=${source.id}`)).items.length, 3)
  assert.equal((await api.ok<Instance>(201, 'POST', '/snapshots/first/fork?wait=true', { body: { name: unique() } })).phase, 'running')

  for (const { id } of made) await api.ok(204, 'DELETE', `/snapshots/${id}`)
  await api.refused(404, 'not_found', 'GET', `/snapshots/${first.id}`)
  await api.refused(404, 'not_found', 'DELETE', '/snapshots/first')
})

test('the commands fork, keep, list, go back and delete', async () => {
  const env = commandEnv(server)
  const berth = async (status: number, ...args: readonly string[]) => {
    const outcome = await startBerth(env, args).done
    assert.equal(outcome.status, status, `berth ${args.join(' ')}\n${outcome.stdout}${outcome.stderr}`)
    return status === 0 ? outcome.stdout : outcome.stderr
  }
  const source = await launch()
  const other = await launch()
  const copy = unique()
  assert.equal(await berth(0, 'fork', source.name, copy), `${copy}\n`)
  assert.match(await berth(0, 'ps', '-a'), new RegExp(`${copy} .*running`))
  assert.match(await berth(2, 'fork', source.name, unique(), '--state', 'gone'), /^berth: --state is one of running, standby, stopped, not "gone"\.\n$/)
  const id = (await berth(0, 'snapshots', 'create', source.name, '--name', 'clean', '--tag', 'a=1')).trim()
  await berth(0, 'snapshot', 'create', other.name, '--name', 'clean')
  const shown = JSON.parse(await berth(0, 'snapshots', 'inspect', id)) as readonly Snapshot[]
  assert.equal(shown[0]?.name, 'clean')
  assert.match(await berth(0, 'snapshots'), new RegExp(`clean +${source.name} +standby`))
  assert.equal(await berth(0, 'snapshots', 'ls', source.name, '-q'), `${id}\n`)
  assert.match(await berth(1, 'snapshots', 'restore', source.name, 'clean'), /can't do that/)
  await berth(0, 'stop', source.name)
  assert.equal(await berth(0, 'snapshots', 'restore', source.name, 'clean'), `${source.name}\n`)
  assert.match(await berth(1, 'snapshots', 'restore', other.name, id), new RegExp(`is of ${source.name}, not of ${other.name}`))
  const late = unique()
  assert.equal((JSON.parse(await berth(0, 'snapshots', 'fork', id, late, '--state', 'standby', '--json')) as Instance).phase, 'standby')
  assert.equal(await berth(0, 'snapshots', 'rm', id), `${id}\n`)
  assert.match(await berth(1, 'snapshots', 'rm', id), /There is no snapshot/)
})
