/**
 * The process that crash-engine.test.ts kills: an engine that does random things to instances for ever, and says on
 * stdout what it asked for and what was acknowledged. Usage: node crash-engine-worker.ts DIRECTORY SEED
 */
import { writeSync } from 'node:fs'
import { BerthError } from '../src/instance/errors.ts'
import type { InstanceId, SnapshotId } from '../src/instance/model.ts'
import { collectInto, openEngine, SMALL } from './engine-fixture.ts'

const WORKERS = 6
const LATENCY_MS = 4

const [directory = '', seedText = '1'] = process.argv.slice(2)
const latencies = { prepare: LATENCY_MS, start: LATENCY_MS, stop: LATENCY_MS, suspend: LATENCY_MS, resume: LATENCY_MS, destroy: LATENCY_MS, takeSnapshot: LATENCY_MS, applySnapshot: LATENCY_MS }
const { engine, caller } = await openEngine(directory, { host: { latencies } }, collectInto([]))
const say = (line: string) => void writeSync(1, `${line}\n`)

/** A small generator of its own, so that a seed repeats a run as far as timing allows. */
function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

async function life(worker: number): Promise<never> {
  const random = randomOf(Number(seedText) * 1000 + worker)
  for (let round = 0; ; round++) {
    const key = `${seedText}-${worker}-${round}`
    say(`ask ${key} create`)
    const { id } = await engine.instances.create(caller, { ...SMALL, name: `i-${key}` }, { idempotencyKey: key })
    say(`made ${key} ${id}`)
    let snapshot: SnapshotId | null = null
    for (let step = Math.floor(random() * 6); step > 0; step--) {
      const wish = (['standby', 'restore', 'stop', 'start', 'restart'] as const)[Math.floor(random() * 5)] ?? 'stop'
      await attempt(id, wish, () => engine.instances[wish](caller, id))
      if (random() < 0.3) snapshot = await snapshotOf(id)
      const basis = snapshot
      if (basis !== null && random() < 0.4) await attempt(id, 'restore', () => engine.snapshots.restore(caller, id, basis, { target: 'running' }))
      if (random() < 0.7) await engine.instances.wait(caller, id, { until: ['running', 'standby', 'stopped'], timeoutMs: 200 })
    }
    if (random() < 0.5) await fork(`${key}-fork`, id, random() < 0.5 ? 'running' : 'standby')
    if (random() < 0.6) await attempt(id, 'delete', () => engine.instances.delete(caller, id))
  }
}

async function fork(key: string, id: InstanceId, target: 'running' | 'standby'): Promise<void> {
  say(`ask ${key} create`)
  const made = await allowed(engine.snapshots.forkInstance(caller, id, { name: `i-${key}`, target, fromRunning: true }))
  if (made !== null) say(`made ${key} ${made.id} ${target}`)
}

async function snapshotOf(id: InstanceId): Promise<SnapshotId | null> {
  return (await allowed(engine.snapshots.create(caller, id, {})))?.id ?? null
}

/** null if the phase refuses it. */
async function allowed<T>(work: Promise<T>): Promise<T | null> {
  try {
    return await work
  } catch (error) {
    if (error instanceof BerthError && error.code === 'invalid_state') return null
    throw error
  }
}

const WANTED = { standby: 'standby', restore: 'running', stop: 'stopped', start: 'running', restart: 'running', delete: 'deleted' } as const

async function attempt(id: InstanceId, wish: keyof typeof WANTED, ask: () => Promise<unknown>): Promise<void> {
  say(`ask ${id} ${WANTED[wish]}`)
  try {
    await ask()
    say(`ack ${id} ${WANTED[wish]}`)
  } catch (error) {
    if (!(error instanceof BerthError) || error.code !== 'invalid_state') throw error
    say(`refused ${id} ${WANTED[wish]}`)
  }
}

say('ready')
await Promise.all(Array.from({ length: WORKERS }, (_, worker) => life(worker)))
