import assert from 'node:assert/strict'
import { test } from 'node:test'
import { setImmediate as turn } from 'node:timers/promises'
import { BerthError } from '../../instance/errors.ts'
import { pullQueue } from './pull-queue.ts'
import { sharedWork } from './shared-work.ts'

const never = new AbortController().signal
const quiet = { signal: never, onPlace: () => undefined }

function refused(code: string): (error: unknown) => boolean {
  return (error) => error instanceof BerthError && error.code === code
}

test('no more run than may, the rest in order of arrival, and a failure frees its place', async () => {
  const queue = pullQueue({ running: 2, waiting: 10 })
  const order: number[] = []
  let most = 0
  let now = 0
  const work = (id: number) => async () => {
    order.push(id)
    most = Math.max(most, (now += 1))
    await turn()
    now -= 1
    if (id % 2 === 0) throw new Error(`failed ${id}`)
    return id
  }
  const results = await Promise.allSettled([1, 2, 3, 4, 5].map((id) => queue.run(work(id), quiet)))
  assert.deepEqual(order, [1, 2, 3, 4, 5])
  assert.equal(most, 2)
  assert.deepEqual(results.map((result) => result.status), ['fulfilled', 'rejected', 'fulfilled', 'rejected', 'fulfilled'])
  assert.deepEqual(queue.state(), { running: 0, waiting: 0 })
})

test('the line has an end', async () => {
  const queue = pullQueue({ running: 1, waiting: 1 })
  const gate = Promise.withResolvers<void>()
  const first = queue.run(() => gate.promise, quiet)
  const second = queue.run(async () => 2, quiet)
  await assert.rejects(queue.run(async () => 3, quiet), refused('limit_exceeded'))
  gate.resolve()
  await first
  assert.equal(await second, 2)
})

test('whoever leaves the line never runs, and those behind move up', async () => {
  const queue = pullQueue({ running: 1, waiting: 10 })
  const gate = Promise.withResolvers<void>()
  const first = queue.run(() => gate.promise, quiet)
  const leaving = new AbortController()
  let ran = false
  const second = queue.run(
    async () => {
      ran = true
    },
    { ...quiet, signal: leaving.signal },
  )
  const places: number[] = []
  const third = queue.run(async () => 3, { ...quiet, onPlace: (place) => places.push(place) })
  leaving.abort()
  await assert.rejects(second, refused('cancelled'))
  gate.resolve()
  await first
  assert.equal(await third, 3)
  assert.deepEqual(places, [2, 1])
  assert.equal(ran, false)
})

test('shared work runs once for all, and stops only when the last one leaves', async () => {
  const shared = sharedWork<number>()
  let runs = 0
  let stopped = false
  const work = async (all: { readonly signal: AbortSignal }): Promise<number> => {
    runs += 1
    await new Promise<void>((resolve) => all.signal.addEventListener('abort', () => resolve()))
    stopped = true
    throw new Error('told to stop')
  }
  const askers = [new AbortController(), new AbortController()]
  const results = askers.map((asker) => shared.run('key', { signal: asker.signal, onProgress: () => undefined }, work))
  askers[0]?.abort()
  await assert.rejects(results[0] ?? Promise.resolve(), refused('cancelled'))
  assert.deepEqual([runs, stopped], [1, false])
  askers[1]?.abort()
  await assert.rejects(results[1] ?? Promise.resolve(), refused('cancelled'))
  assert.deepEqual([runs, stopped], [1, true])
})

test('shared work tells latecomers how far it is, and its failure to everyone', async () => {
  const shared = sharedWork<number>()
  const gate = Promise.withResolvers<number>()
  const seen: (number | null)[] = []
  const run = (onProgress: (fraction: number | null) => void) =>
    shared.run('key', { signal: never, onProgress: ({ fraction }) => onProgress(fraction) }, (all) => {
      all.onProgress({ status: 'pulling', fraction: 0.5 })
      return gate.promise
    })
  const both = [run(() => undefined), run((fraction) => seen.push(fraction))]
  assert.deepEqual(seen, [0.5])
  gate.reject(new Error('broken'))
  for (const one of both) await assert.rejects(one, /broken/)
})
