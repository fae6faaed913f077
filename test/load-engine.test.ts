/**
 * Many clients at once, in any order, on a host that is too small for all of them and fails now and then: every step
 * legal, every error of the catalogue and none of Berth's own, and nothing left over.
 */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Caller } from '../src/engine/api.ts'
import type { FaultPlan, HostCall } from '../src/host/simulated/faults.ts'
import type { ErrorCode } from '../src/instance/errors.ts'
import { BerthError } from '../src/instance/errors.ts'
import type { Instance, InstanceId, VolumeId } from '../src/instance/model.ts'
import type { Fixture } from './engine-fixture.ts'
import { assertNothingLeaked, engineFixture, eventually, settle, SMALL } from './engine-fixture.ts'

const CLIENTS = 8
const CALLS = 200
/** Storms of each kind, each with a seed of its own. */
const ROUNDS = 6
const SEED = Number(process.env['BERTH_TEST_SEED'] ?? 11)
const FAULTY: readonly HostCall[] = ['prepare', 'start', 'stop', 'suspend', 'resume', 'destroy', 'attachVolume', 'detachVolume']
const LATENCY_MS = 3

test('200 random calls from 8 clients at once on a healthy host leave no illegal step, no internal error and no leak', t => storm(t, 0, SEED))
test('the same on a host where one call in twelve fails, before its effect or after it', t => storm(t, 1 / 12, SEED + 1))
test('the same while VMs die by themselves', t => storm(t, 0, SEED + 2, { crashes: true }))

async function storm(t: { diagnostic(text: string): void }, faultRate: number, seed: number, options: { readonly crashes?: boolean } = {}): Promise<void> {
  for (let round = 0; round < ROUNDS; round++) await oneStorm(t, faultRate, seed + 100 * round, options)
}

async function oneStorm(t: { diagnostic(text: string): void }, faultRate: number, seed: number, options: { readonly crashes?: boolean }): Promise<void> {
  const random = randomOf(seed)
  const faults: FaultPlan = ({ call }) => {
    if (!FAULTY.includes(call) || random() >= faultRate) return null
    const kind = random() < 0.5 ? ('before' as const) : ('after' as const)
    return { kind, code: 'guest_unreachable', message: `sabotaged ${kind} ${call}` }
  }
  const latencies = Object.fromEntries(FAULTY.map(call => [call, LATENCY_MS]))
  const fixture = await engineFixture({ host: { faults, latencies, cpus: 4, memoryBytes: 1024 * 2 ** 20, subnet: '10.64.0.0/28' } })
  try {
    const tenant = await fixture.engine.projects.create(fixture.caller, { name: 'tenant' })
    const callers = [fixture.caller, { ...fixture.caller, projectId: tenant.id }]
    const tally = new Map<ErrorCode | 'ok', number>()
    const budget = { left: CALLS }
    const world = new World()
    await Promise.all(Array.from({ length: CLIENTS }, (_, index) => client(fixture, callers[index % 2] ?? fixture.caller, world, random, budget, tally, options)))
    fixture.host.setFaults(() => null)
    await settle(fixture)
    await assertNothingLeaked(fixture)
    assert.equal(tally.get('internal'), undefined, 'no internal error')
    assert.deepEqual(fixture.logged.filter(line => line.startsWith('error')), [], 'the engine met no defect')
    await everythingCanBeDeleted(fixture, callers)
    t.diagnostic([...tally].map(([code, count]) => `${code} ${count}`).join(', '))
  } finally {
    await fixture.close()
  }
}

/** What the clients have made so far; they take each other's ids, also across projects. */
class World {
  readonly instances: Instance[] = []
  readonly volumes: VolumeId[] = []
  names = 0
}

async function client(
  fixture: Fixture,
  caller: Caller,
  world: World,
  random: () => number,
  budget: { left: number },
  tally: Map<ErrorCode | 'ok', number>,
  options: { readonly crashes?: boolean },
): Promise<void> {
  while (budget.left-- > 0) {
    const outcome = await call(fixture, caller, world, random, options).then(
      () => 'ok' as const,
      (error: unknown) => {
        if (!(error instanceof BerthError)) throw error
        return error.code
      },
    )
    tally.set(outcome, (tally.get(outcome) ?? 0) + 1)
  }
}

async function call(fixture: Fixture, caller: Caller, world: World, random: () => number, options: { readonly crashes?: boolean }): Promise<unknown> {
  const { instances, volumes, events } = fixture.engine
  const pick = <T>(items: readonly T[]): T | undefined => items[Math.floor(random() * items.length)]
  // Mostly the caller's own, now and then another project's or one that is gone.
  const own = world.instances.filter(instance => instance.projectId === caller.projectId).slice(-6)
  const target = random() < 0.9 ? (pick(own) ?? pick(world.instances)) : pick(world.instances)
  const dice = random()
  if (target === undefined || dice < 0.22) return create(fixture, caller, world, random)
  const { id } = target
  if (options.crashes === true && dice > 0.93) return fixture.host.crash(id)
  if (dice < 0.3) return instances.stop(caller, id, random() < 0.3 ? { fromStandby: true } : {})
  if (dice < 0.38) return instances.start(caller, id)
  if (dice < 0.46) return instances.standby(caller, id)
  if (dice < 0.54) return instances.restore(caller, id)
  if (dice < 0.59) return instances.restart(caller, id)
  if (dice < 0.66) return instances.delete(caller, id, { graceful: random() < 0.3 })
  if (dice < 0.7) return instances.update(caller, id, { tags: { round: String(world.names) } })
  if (dice < 0.76) return instances.wait(caller, id, { until: ['running', 'stopped', 'standby'], timeoutMs: 30 })
  if (dice < 0.8) return runEcho(fixture, caller, id)
  if (dice < 0.86) return attachOrDetach(fixture, caller, world, id, random)
  if (dice < 0.89) return makeVolume(fixture, caller, world)
  if (dice < 0.91) return volumes.delete(caller, pick(world.volumes) ?? ('none' as VolumeId))
  if (dice < 0.95) return instances.list(caller, { limit: 5 })
  return events.list(caller, { instanceIds: [id], limit: 10 })
}

async function create(fixture: Fixture, caller: Caller, world: World, random: () => number): Promise<void> {
  const name = random() < 0.1 ? 'taken' : `n-${world.names++}`
  const volume = random() < 0.2 ? world.volumes[Math.floor(random() * world.volumes.length)] : undefined
  const ports = random() < 0.1 ? [{ hostPort: 8080 + Math.floor(random() * 3), guestPort: 80, protocol: 'tcp' as const }] : []
  const made = await fixture.engine.instances.create(
    caller,
    {
      ...SMALL,
      name,
      vcpus: 1 + Math.floor(random() * 2),
      ...(random() < 0.3 ? { cmd: random() < 0.5 ? ['exit', '3'] : ['sleep', '0.02'] } : {}),
      ...(random() < 0.3 ? { restart: { kind: 'on-failure' as const, backoffMs: 5, maxAttempts: 2, stableAfterMs: 60_000 } } : {}),
      ...(random() < 0.1 ? { removeWhenStopped: true } : {}),
      network: { enabled: random() < 0.8 || ports.length > 0, downloadBytesPerSecond: null, uploadBytesPerSecond: null, ports },
      volumes: volume === undefined ? [] : [{ volumeId: volume, path: '/data', mode: 'rw' as const, overlayBytes: null }],
    },
    random() < 0.2 ? { idempotencyKey: `key-${Math.floor(random() * 5)}` } : {},
  )
  world.instances.push(made)
}

async function runEcho(fixture: Fixture, caller: Caller, id: InstanceId): Promise<void> {
  const request = { command: ['echo', 'hello'], env: {}, workingDir: null, user: null, tty: null, timeoutMs: 1000 }
  const session = await fixture.engine.instances.exec(caller, id, request, { wake: true })
  for await (const { data } of session.output) assert.equal(Buffer.from(data).toString(), 'hello\n')
  await session.exit
}

async function attachOrDetach(fixture: Fixture, caller: Caller, world: World, id: InstanceId, random: () => number): Promise<unknown> {
  const volumeId = world.volumes[Math.floor(random() * world.volumes.length)] ?? ('none' as VolumeId)
  if (random() < 0.5) return fixture.engine.instances.detachVolume(caller, id, volumeId)
  return fixture.engine.instances.attachVolume(caller, id, { volumeId, path: `/mnt/${volumeId}`, mode: random() < 0.5 ? 'ro' : 'rw', overlayBytes: null })
}

async function makeVolume(fixture: Fixture, caller: Caller, world: World): Promise<void> {
  const volume = await fixture.engine.volumes.create(caller, { name: 'data', sizeBytes: 16 * 2 ** 20 })
  world.volumes.push(volume.id)
}

async function everythingCanBeDeleted(fixture: Fixture, callers: readonly Caller[]): Promise<void> {
  for (const caller of callers) {
    for (const { id } of await fixture.engine.instances.list(caller)) await fixture.engine.instances.delete(caller, id)
  }
  await eventually(async () => (await fixture.store.read.countInstances({ projectId: null })) === 0, 'everything is deleted')
  await settle(fixture)
  for (const caller of callers) for (const { id } of await fixture.engine.volumes.list(caller)) await fixture.engine.volumes.delete(caller, id)
  await assertNothingLeaked(fixture)
  assert.deepEqual(await fixture.store.read.reservations(fixture.host.id), [], 'no reservation is left')
  assert.deepEqual(fixture.host.vms(), [], 'no VM is left')
  assert.deepEqual(fixture.host.volumes(), [], 'no volume is left')
}

// --- scale ----------------------------------------------------------------------------------------------------

test('an engine with 1,000 stored instances serves at once, and finds them all running', async t => {
  const fixture = await engineFixture({ host: { saveOn: 'close' } })
  try {
    const made = await Promise.all(Array.from({ length: 1000 }, (_, index) => fixture.engine.instances.create(fixture.caller, { ...SMALL, name: `n-${index}` })))
    await Promise.all(made.map(since => fixture.engine.instances.wait(fixture.caller, since.id, { until: ['running'], timeoutMs: 60_000, since })))
    const before = performance.now()
    await fixture.reopen()
    const servingMs = performance.now() - before
    assert.equal(await fixture.engine.instances.count(fixture.caller, { phases: ['running'] }), 1000)
    await settle(fixture)
    await assertNothingLeaked(fixture)
    t.diagnostic(`closed, opened and serving in ${Math.round(servingMs)} ms`)
  } finally {
    await fixture.close()
  }
})

function randomOf(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0
    return state / 2 ** 32
  }
}

