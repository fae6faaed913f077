/**
 * What must survive a crash: whatever was acknowledged comes true, nothing is launched twice, nothing is left over.
 * A real SQLite file, and a simulated machine whose state outlives its process.
 */
import assert from 'node:assert/strict'
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { test } from 'node:test'
import { isDeepStrictEqual } from 'node:util'
import type { Caller } from '../src/engine/api.ts'
import type { BerthEngine } from '../src/engine/engine.ts'
import { createEngine } from '../src/engine/engine.ts'
import type { Host } from '../src/engine/host-port.ts'
import type { Store } from '../src/engine/store-port.ts'
import { createSimulatedHost } from '../src/host/simulated/simulated-host.ts'
import { BerthError } from '../src/instance/errors.ts'
import type { Instance, InstanceId } from '../src/instance/model.ts'
import { SCOPES } from '../src/instance/model.ts'
import type { Phase } from '../src/instance/phase.ts'
import { openStore } from '../src/store/open.ts'
import { assertNothingLeaked, BUSYBOX, collectInto, eventually, openEngine, QUICK, settle, SMALL } from './engine-fixture.ts'
import { Saboteur } from './support/saboteur.ts'

const KILLS = 30
/** The worker is killed within this long of its first wish. */
const KILL_WITHIN_MS = 250
/** Sabotaged lives that go on side by side. */
const AT_ONCE = 20
const MEMORY_DIR = '/dev/shm'
const SEED = Number(process.env['BERTH_TEST_SEED'] ?? 7)

test('after SIGKILL at 30 random points every acknowledged wish comes true, nothing is launched twice and nothing leaks', async t => {
  const directory = await mkdtemp(join(tmpdir(), 'berth-crash-'))
  t.after(() => rm(directory, { recursive: true, force: true }))
  const expected = new Map<string, Set<string>>()
  let wishes = 0
  for (let kill = 0; kill < KILLS; kill++) {
    const said = await runAndKill(directory, SEED * 100 + kill)
    wishes += said.length
    note(expected, said)
    const opened = await openEngine(directory, {}, collectInto([]))
    try {
      await settle(opened)
      await assertNothingLeaked(opened)
      await assertSnapshots(opened)
      await assertExpected(opened.engine, opened.caller, expected)
    } finally {
      await opened.close()
    }
  }
  t.diagnostic(`${KILLS} kills, ${wishes} lines of wishes, ${expected.size} instances`)
  assert.ok(expected.size >= KILLS, 'the workers got something done between the kills')
})

/** Runs the worker until a random moment, and returns what it said. */
async function runAndKill(directory: string, seed: number): Promise<readonly string[]> {
  const worker = spawn(process.execPath, [join(import.meta.dirname, 'crash-engine-worker.ts'), directory, String(seed)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    timeout: 60_000,
  })
  const lines: string[] = []
  const ready = Promise.withResolvers<void>()
  const reader = createInterface({ input: worker.stdout })
  reader.on('line', line => (line === 'ready' ? ready.resolve() : void lines.push(line)))
  const ended = new Promise<NodeJS.Signals | null>(resolve => worker.once('close', (_code, signal) => resolve(signal)))
  await Promise.race([ready.promise, ended])
  await new Promise(resolve => setTimeout(resolve, (seed * 7919) % KILL_WITHIN_MS))
  worker.kill('SIGKILL')
  assert.equal(await ended, 'SIGKILL', 'the worker ran until it was killed')
  return lines
}

/** What each instance may be afterwards: the last acknowledged wish, or one that was asked for after it. */
function note(expected: Map<string, Set<string>>, said: readonly string[]): void {
  for (const line of said) {
    const [verb = '', subject = '', state = '', target = 'running'] = line.split(' ')
    if (verb === 'made') expected.set(state, new Set([target]))
    const wishes = expected.get(subject)
    if (verb === 'ask') wishes?.add(state)
    if (verb === 'ack') expected.set(subject, new Set([state]))
    if (verb === 'refused' && wishes !== undefined && wishes.size > 1) wishes.delete(state)
  }
}

async function assertExpected(engine: BerthEngine, caller: Caller, expected: ReadonlyMap<string, ReadonlySet<string>>): Promise<void> {
  for (const [id, states] of expected) {
    const { phase, reason } = await engine.instances.get(caller, id as InstanceId)
    assert.ok(states.has(phase), `${id} is ${phase} (${reason ?? 'no reason'}), wanted ${[...states].join(' or ')}`)
  }
}

/** The machine holds the snapshots that the record knows, and none that was for one fork alone. */
async function assertSnapshots({ host, store }: Pick<Awaited<ReturnType<typeof openEngine>>, 'host' | 'store'>): Promise<void> {
  await eventually(async () => {
    const recorded = await store.read.snapshots({ projectId: null })
    const there = (await host.snapshots()).map(({ id }) => id).toSorted()
    return recorded.every(({ status, isTransient }) => status === 'ready' && !isTransient) && isDeepStrictEqual(recorded.map(({ id }) => id).toSorted(), there)
  }, 'snapshots of record and machine are the same')
}

// --- every await fails once -----------------------------------------------------------------------------------

const LIVES = [
  ['create, standby, restore, stop, start and delete', wholeLife, ['prepare', 'start', 'suspend', 'resume', 'stop', 'destroy']],
  ['a snapshot and two forks', copies, ['takeSnapshot', 'applySnapshot', 'deleteSnapshot', 'resume', 'destroy']],
] as const
for (const [what, life, calls] of LIVES) {
  test(`an exception at any await of ${what} is survived, and the operation works the second time`, async t => {
    // Hundreds of lives that no power cut meets: where there is a file system of memory, they needn't wait for a disk.
    const directory = await mkdtemp(join(existsSync(MEMORY_DIR) ? MEMORY_DIR : tmpdir(), 'berth-sabotage-'))
    t.after(() => rm(directory, { recursive: true, force: true }))
    const hit: string[] = []
    for (const when of ['before', 'after'] as const) {
      for (let at = 1; ; at += AT_ONCE) {
        const batch = Array.from({ length: AT_ONCE }, (_, index) => new Saboteur(at + index, when))
        await Promise.all(batch.map((saboteur, index) => sabotagedLife(join(directory, `${when}-${at + index}`), saboteur, life)))
        for (const { fired } of batch) if (fired !== null) hit.push(fired)
        if (batch.some(saboteur => saboteur.fired === null)) break
      }
    }
    t.diagnostic(`${hit.length} points: ${[...new Set(hit)].join(', ')}`)
    for (const call of calls) assert.ok(hit.includes(`before host.${call}`) && hit.includes(`after host.${call}`), `${call} was hit`)
    assert.ok(hit.includes('after store.transaction'), 'a transaction that was committed and not acknowledged was hit')
  })
}

async function sabotagedLife(directory: string, saboteur: Saboteur, life: (engine: BerthEngine, caller: Caller, saboteur: Saboteur) => Promise<void>): Promise<void> {
  const real = await openStore({ path: join(directory, 'berth.db') })
  const store: Store = {
    transaction: work => saboteur.around('store.transaction', () => real.transaction(work)),
    read: saboteur.wrap(real.read, 'read'),
    close: () => real.close(),
  }
  const machine = createSimulatedHost({ latencies: {} })
  const host: Host = saboteur.wrap<Host>(machine, 'host')
  // No heartbeat: what is survived is survived by the operations themselves.
  const engine = createEngine({ store, hosts: [host], logger: collectInto([]), config: { ...QUICK, heartbeatMs: 600_000 } })
  try {
    const { defaultProject } = await engine.start()
    const caller: Caller = { projectId: defaultProject.id, keyId: null, scopes: SCOPES, via: 'test' }
    await engine.images.wait(caller, BUSYBOX, { timeoutMs: 10_000 })
    await life(engine, caller, saboteur)
    saboteur.armed = false
    await settle({ engine, store: real })
    await assertNothingLeaked({ host: machine, store: real })
    await eventually(async () => (await real.read.snapshots({ projectId: null })).every(({ status }) => status !== 'creating'), `no snapshot is being taken (${saboteur.fired ?? 'untouched'})`)
    assert.deepEqual(machine.vms(), [], `nothing is left on the machine (${saboteur.fired ?? 'untouched'})`)
  } finally {
    await engine.close()
    await machine.close()
    await real.close()
  }
}

async function wholeLife(engine: BerthEngine, caller: Caller, saboteur: Saboteur): Promise<void> {
  saboteur.armed = true
  const { instances } = engine
  const created = await twice(() => instances.create(caller, { ...SMALL, name: 'life' }, { idempotencyKey: 'life' }))
  const { id } = created
  const reach = (until: readonly Phase[], since?: Instance) =>
    twice(() => instances.wait(caller, id, { until, timeoutMs: since === undefined ? 200 : 10_000, ...(since === undefined ? {} : { since }) }))
  const first = await reach(['running'], created)
  // A start that failed is undone; the same instance can be started again.
  if (first.instance.phase === 'failed') await move(() => instances.start(caller, id), ['running'])
  await move(() => instances.standby(caller, id), ['standby'])
  await move(() => instances.restore(caller, id), ['running'])
  await move(() => instances.stop(caller, id), ['stopped'])
  await move(() => instances.start(caller, id), ['running'])
  await move(() => instances.delete(caller, id), ['deleted'])

  /** Asks, waits, and asks once more if the sabotage made the operation fail. */
  async function move(ask: () => Promise<Instance>, until: readonly Phase[]): Promise<void> {
    for (let attempt = 0; attempt < 4; attempt++) {
      const since = await ask().catch((error: unknown) => {
        // Either nothing was recorded, or only the answer was lost: then the phase refuses a second wish.
        if (error instanceof BerthError && ['invalid_state', 'not_found', 'disk_full', 'guest_unreachable'].includes(error.code)) return null
        throw error
      })
      const result = await reach(until, since ?? undefined).catch((error: unknown) => {
        if (error instanceof BerthError && error.code === 'not_found') return null
        throw error
      })
      if (result !== null && until.includes(result.instance.phase)) return
      assert.ok(since === null || result === null || !result.timedOut, `nothing came of it: ${result?.instance.phase}`)
    }
    assert.fail(`${until.join()} was not reached in four attempts`)
  }
}

/** A snapshot of a running instance, an instance made from it, and one made from the running instance; all of them go again. */
async function copies(engine: BerthEngine, caller: Caller, saboteur: Saboteur): Promise<void> {
  const { snapshots, instances } = engine
  const source = await instances.create(caller, { ...SMALL, name: 'source' })
  await instances.wait(caller, source.id, { until: ['running'], timeoutMs: 10_000, since: source })
  saboteur.armed = true
  const snapshot = await twice(() => snapshots.create(caller, source.id, { name: 'one' }).catch(async (error: unknown) => {
    // Only the answer was lost.
    if (!(error instanceof BerthError && error.code === 'name_conflict')) throw error
    return (await snapshots.list(caller, { name: 'one' }))[0] ?? assert.fail('the name is taken by nothing')
  }))
  await forked(engine, caller, 'from-snapshot', name => snapshots.forkSnapshot(caller, snapshot.id, { name }))
  await forked(engine, caller, 'from-running', name => snapshots.forkInstance(caller, source.id, { name, fromRunning: true }))
  await twice(() => snapshots.delete(caller, snapshot.id).catch((error: unknown) => {
    if (!(error instanceof BerthError && error.code === 'not_found')) throw error
  }))
  saboteur.armed = false
  await instances.delete(caller, source.id)
}

/** Asks until a fork runs, and deletes each. */
async function forked(engine: BerthEngine, caller: Caller, prefix: string, ask: (name: string) => Promise<Instance>): Promise<void> {
  const { instances } = engine
  for (let attempt = 0; attempt < 4; attempt++) {
    const name = `${prefix}-${attempt}`
    const asked = await ask(name).catch((error: unknown) => {
      if (error instanceof BerthError && ['disk_full', 'guest_unreachable'].includes(error.code)) return null
      throw error
    })
    const fork = asked ?? (await twice(() => instances.list(caller, { name })))[0]
    if (fork === undefined) continue
    const { instance } = await twice(() => instances.wait(caller, fork.id, { until: ['running'], timeoutMs: 10_000, since: fork }))
    // The second may find that the first was recorded.
    await twice(() => instances.delete(caller, fork.id).catch((error: unknown) => {
      if (!(error instanceof BerthError && error.code === 'not_found')) throw error
    }))
    if (instance.phase === 'running') return
  }
  assert.fail(`${prefix} was not made in four attempts`)
}

async function twice<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    if (error instanceof BerthError && (error.code === 'disk_full' || error.code === 'guest_unreachable')) return work()
    throw error
  }
}
