/**
 * What a market must survive: an exception at any await of the store and the host, before its effect or after, and a
 * server that ends at any moment. Afterwards every order is where it was wanted, nothing was launched twice, every
 * price is whole, and nothing is left over.
 */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { test } from 'node:test'
import type { Caller } from '../src/engine/api.ts'
import { createEngine } from '../src/engine/engine.ts'
import type { BerthEngine } from '../src/engine/engine.ts'
import type { Host } from '../src/engine/host-port.ts'
import type { Store } from '../src/engine/store-port.ts'
import { createSimulatedHost } from '../src/host/simulated/simulated-host.ts'
import { BerthError } from '../src/instance/errors.ts'
import { ORDER } from '../src/instance/market.ts'
import type { BidId, ReservationId } from '../src/instance/model.ts'
import { SCOPES } from '../src/instance/model.ts'
import { openStore } from '../src/store/open.ts'
import { assertNothingLeaked, BUSYBOX, collectInto, eventually, QUICK, settle } from './engine-fixture.ts'
import { assertMarketSound, CATALOGUE, Clock, DOLLAR, HOUR, LAUNCH, MINUTE } from './market-fixture.ts'
import { Saboteur } from './support/saboteur.ts'

/** Sabotaged lives that go on side by side. */
const AT_ONCE = 8
/** Every so many awaits one is hit: each kind of them many times, in a time that a test may take. */
const STRIDE = 11

test('an exception at any await of an auction, a preemption and a reservation is survived, and all ends as it was wanted', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'berth-market-sabotage-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const hit: string[] = []
  for (const when of ['before', 'after'] as const) {
    for (let at = 1; ; at += AT_ONCE * STRIDE) {
      const batch = Array.from({ length: AT_ONCE }, (_, index) => new Saboteur(at + index * STRIDE, when))
      await Promise.all(batch.map((saboteur, index) => sabotagedMarket(join(directory, `${when}-${at + index}`), saboteur)))
      for (const { fired } of batch) if (fired !== null) hit.push(fired)
      if (batch.some(saboteur => saboteur.fired === null)) break
    }
  }
  t.diagnostic(`${hit.length} points: ${[...new Set(hit)].join(', ')}`)
  assert.ok(hit.includes('after store.transaction') && hit.includes('before store.transaction'), 'transactions were hit on both sides')
})

test('a server that ends after each step of a market goes on from there', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'berth-market-kill-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const clock = new Clock()
  const machine = join(directory, 'machine.json')
  let market = await open(directory, clock, machine)
  /** Every step is followed by the end of its server, in the middle of what it has begun. */
  const restarted = async () => {
    await market.close()
    market = await open(directory, clock, machine)
  }
  for (const step of STEPS) {
    await step(() => market, clock)
    await restarted()
  }
  await checkEnd(market, clock)
  await market.close()
})

interface OpenMarket {
  readonly engine: BerthEngine
  readonly caller: Caller
  readonly store: Store
  readonly host: ReturnType<typeof createSimulatedHost>
  close(): Promise<void>
}

async function open(directory: string, clock: Clock, stateFile: string | null, saboteur: Saboteur | null = null): Promise<OpenMarket> {
  const real = await openStore({ path: join(directory, 'berth.db') })
  const store: Store =
    saboteur === null
      ? real
      : { transaction: work => saboteur.around('store.transaction', () => real.transaction(work)), read: saboteur.wrap(real.read, 'read'), close: () => real.close() }
  const machine = createSimulatedHost({ latencies: {}, stateFile, cpus: 64, memoryBytes: 2 * 2 ** 30, diskBytes: 2 ** 38 })
  const host: Host = saboteur === null ? machine : saboteur.wrap<Host>(machine, 'host')
  const engine = createEngine({ store, hosts: [host], logger: collectInto([]), catalogue: CATALOGUE, now: clock.now, config: { ...QUICK, market: { retryMs: 20 } } })
  const { defaultProject } = await engine.start()
  const caller: Caller = { projectId: defaultProject.id, keyId: null, scopes: SCOPES, via: 'test' }
  await engine.images.wait(caller, BUSYBOX, { timeoutMs: 10_000 })
  return {
    engine,
    caller,
    store: real,
    host: machine,
    async close() {
      await engine.close()
      await machine.close()
      await real.close()
    },
  }
}

async function sabotagedMarket(directory: string, saboteur: Saboteur): Promise<void> {
  const clock = new Clock()
  const market = await open(directory, clock, null, saboteur)
  try {
    saboteur.armed = true
    for (const [at, step] of STEPS.entries()) {
      await step(() => market, clock).catch((error: unknown) => assert.fail(`step ${at + 1}, ${saboteur.fired ?? 'untouched'}: ${String(error)}`))
    }
    saboteur.armed = false
    await checkEnd(market, clock, saboteur.fired ?? 'untouched')
  } finally {
    await market.close()
  }
}

type Step = (market: () => OpenMarket, clock: Clock) => Promise<void>

/** `low` runs, `high` and a reservation push it out, the reservation is paused and ends, `high` is ended. */
const STEPS: readonly Step[] = [
  market => placed(market, 'low', 2),
  async market => reach(market, 'low', 'running'),
  async (market, clock) => {
    await twice(async () => {
      const now = clock.now()
      if ((await find(market, 'held')) === null) await market().engine.market.reserve(market().caller, { name: 'held', type: 'one', region: 'home', quantity: 1, launch: LAUNCH, startAt: now, endAt: now + 4 * HOUR })
    })
  },
  async market => reach(market, 'held', 'running'),
  market => placed(market, 'high', 5),
  async market => reach(market, 'low', 'preempting'),
  async (market, clock) => {
    clock.advance(5 * MINUTE)
    await poke(market)
    await reach(market, 'low', 'preempted')
  },
  async market => reach(market, 'high', 'running'),
  async market => {
    await twice(async () => market().engine.market.updateReservation(market().caller, (await idOf(market, 'held')) as ReservationId, { paused: true }))
    await reach(market, 'held', 'stopped')
  },
  async (market, clock) => {
    clock.advance(4 * HOUR)
    await poke(market)
    await reach(market, 'low', 'running')
  },
  async market => {
    await twice(async () => {
      const bid = await find(market, 'high')
      if (bid !== null) await market().engine.market.endBid(market().caller, bid as BidId)
    })
  },
]

async function checkEnd(market: OpenMarket, clock: Clock, what = 'the end'): Promise<void> {
  const see = () => market
  await eventually(async () => {
    await market.engine.sync()
    const instances = await market.engine.instances.list(market.caller)
    return instances.length === 1 && instances[0]?.phase === 'running' && instances[0].spec.name === 'low-1'
  }, `only low runs (${what})`)
  await settle(market)
  await assertNothingLeaked(market)
  await assertMarketSound(market.store)
  assert.equal(await find(see, 'high'), null)
  const held = (await market.engine.market.reservations(market.caller))[0]
  assert.ok(held !== undefined)
  assert.equal(held.status, 'ended')
  const { costMicros } = await market.engine.market.usage(market.caller, { orderId: held.id })
  assert.equal(costMicros, 16 * DOLLAR, `a reservation is paid in full (${what})`)
  assert.ok(clock.now() >= held.endAt)
}

async function placed(market: () => OpenMarket, name: string, dollars: number): Promise<void> {
  await twice(async () => {
    if ((await find(market, name)) !== null) return
    await market().engine.market.placeBid(market().caller, { name, type: 'one', region: 'home', quantity: 1, limitMicros: dollars * DOLLAR, launch: LAUNCH })
  })
}

/** The living order of this name. */
async function find(market: () => OpenMarket, name: string): Promise<string | null> {
  const { engine, caller } = market()
  const [bid] = await engine.market.bids(caller, { name, liveOnly: true })
  const [reservation] = await engine.market.reservations(caller, { name, liveOnly: true })
  return bid?.id ?? reservation?.id ?? null
}

async function idOf(market: () => OpenMarket, name: string): Promise<string> {
  const id = await find(market, name)
  assert.ok(id !== null, `there is an order ${name}`)
  return id
}

async function reach(market: () => OpenMarket, name: string, phase: string): Promise<void> {
  let last: readonly string[] = []
  await eventually(async () => {
    last = await twice(async () => {
      const { engine, caller } = market()
      const id = await idOf(market, name)
      const instances = await engine.instances.list(caller, { annotations: { [ORDER.id]: id } })
      // A start that the sabotage made fail is started again by whoever owns the instance.
      for (const instance of instances) if (instance.phase === 'failed' && phase === 'running') await engine.instances.start(caller, instance.id).catch(() => {})
      return instances.map(instance => instance.phase)
    })
    return last.length === 1 && last[0] === phase
  }, `${name} is ${phase}`).catch((error: unknown) => assert.fail(`${String(error)}; it is ${last.join(', ') || 'not there'}`))
}

async function poke(market: () => OpenMarket): Promise<void> {
  await twice(() => market().engine.sync())
}

async function twice<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof BerthError && (error.code === 'disk_full' || error.code === 'guest_unreachable')) return work()
    throw error
  }
}
