/**
 * Calls in any order from many clients at once, on a simulated host: whatever they do to each other, no answer is a
 * 500, every instance settles in a state that is one, and nothing is held when all is deleted.
 *
 * The order comes from a seed, which a failure shows; `BERTH_TEST_SEED` repeats it.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import { loadHypemanContract } from './support/hypeman.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const CLIENTS = 8
const CALLS_PER_CLIENT = 25
const IMAGE = 'localhost/busybox'
/** Few, so that clients meet each other. */
const NAMES = ['ada', 'bob', 'cyd', 'dan', 'eve', 'fay']
const VOLUMES = ['v-one', 'v-two', 'v-three']
const SETTLED = new Set(['Running', 'Stopped', 'Standby'])

type Random = () => number
type Call = readonly [method: string, path: string, body?: unknown]

function randomFrom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

function pick<T>(random: Random, values: readonly T[]): T {
  const value = values[Math.floor(random() * values.length)]
  assert.ok(value !== undefined)
  return value
}

/** One call that a client might make; weighted so that there is something to act on. */
function anyCall(random: Random): Call {
  const name = pick(random, NAMES)
  const volume = pick(random, VOLUMES)
  const calls: readonly Call[] = [
    ['POST', '/instances', { name, image: IMAGE, size: pick(random, ['128MB', '256MB', '4Gb', '0']), vcpus: 1 }],
    ['POST', '/instances', { name, image: IMAGE, size: '128MB', vcpus: 1, tags: { made: 'randomly' } }],
    ['POST', '/instances', { name, image: IMAGE, size: '128MB', volumes: [{ volume_id: volume, mount_path: '/data', readonly: random() < 0.5 }] }],
    ['POST', `/instances/${name}/standby`, {}],
    ['POST', `/instances/${name}/restore`],
    ['POST', `/instances/${name}/stop`],
    ['POST', `/instances/${name}/start`, {}],
    ['DELETE', `/instances/${name}`],
    ['GET', `/instances/${name}`],
    ['GET', '/instances'],
    ['GET', `/instances/${name}/wait?state=Running&timeout=200ms`],
    ['GET', `/instances/${name}/stats`],
    ['GET', `/instances/${name}/stat?path=/etc`],
    ['GET', `/instances/${name}/logs?source=hypeman`],
    ['PATCH', `/instances/${name}`, { ttl: '24h', env: { R: String(random()) } }],
    ['POST', '/volumes', { name: volume, size_gb: 1, id: volume }],
    ['DELETE', `/volumes/${volume}`],
    ['GET', '/volumes'],
    ['POST', `/instances/${name}/volumes/${volume}`, { mount_path: '/hot', readonly: random() < 0.5 }],
    ['DELETE', `/instances/${name}/volumes/${volume}`],
    ['GET', '/resources'],
    ['GET', '/images'],
  ]
  return pick(random, calls)
}

async function runClient(server: TestServer, random: Random): Promise<readonly string[]> {
  const contract = loadHypemanContract()
  const wrong: string[] = []
  for (let made = 0; made < CALLS_PER_CLIENT; made++) {
    const [method, path, body] = anyCall(random)
    const answer = await server.request(method, path, body === undefined ? {} : { body })
    if (answer.status >= 500) wrong.push(`${method} ${path} → ${answer.status} ${answer.text}`)
    else if (!path.includes('/logs')) contract?.check(method, path, answer)
  }
  return wrong
}

const seed = Number(process.env['BERTH_TEST_SEED'] ?? Math.floor(Math.random() * 2 ** 31))

test(`${CLIENTS * CALLS_PER_CLIENT} calls from ${CLIENTS} clients leave nothing wrong and nothing held (seed ${seed})`, async () => {
  await using server = await startServer()
  await eventually('the image is ready', async () => {
    const { body } = await server.request('POST', '/images', { body: { name: IMAGE } })
    return (body as { status: string }).status === 'ready' ? true : null
  })
  const randoms = Array.from({ length: CLIENTS }, (_, client) => randomFrom(seed + client * 7919))
  const wrong = await Promise.all(randoms.map(random => runClient(server, random)))
  assert.deepEqual(wrong.flat(), [])

  const list = async () => (await server.request('GET', '/instances')).body as readonly { id: string; state: string; current_phase: string }[]
  await eventually('every instance has settled', async () => ((await list()).every(({ state }) => SETTLED.has(state)) ? true : null))
  for (const instance of await list()) assert.notEqual(instance.current_phase, 'failed')

  for (const { id } of await list()) assert.equal((await server.request('DELETE', `/instances/${id}`)).status, 204)
  for (const { id } of (await server.request('GET', '/volumes')).body as readonly { id: string }[]) {
    assert.equal((await server.request('DELETE', `/volumes/${id}`)).status, 204)
  }
  const { body } = await server.request('GET', '/resources')
  const resources = body as Readonly<Record<string, { allocated: number }>> & { allocations: unknown[] }
  assert.deepEqual(resources.allocations, [])
  assert.equal(resources['cpu']?.allocated, 0)
  assert.equal(resources['memory']?.allocated, 0)
})
