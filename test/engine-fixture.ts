/** A real engine over a real SQLite file and a simulated host, for tests; and what must hold of them at any time. */
import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Caller } from '../src/engine/api.ts'
import type { EngineConfigChanges } from '../src/engine/config.ts'
import type { Logger } from '../src/engine/core.ts'
import type { BerthEngine } from '../src/engine/engine.ts'
import { createEngine } from '../src/engine/engine.ts'
import type { Store } from '../src/engine/store-port.ts'
import type { SimulatedHost, SimulatedOptions } from '../src/host/simulated/simulated-host.ts'
import { createSimulatedHost } from '../src/host/simulated/simulated-host.ts'
import type { Catalogue } from '../src/instance/catalogue.ts'
import { orderOf } from '../src/instance/market.ts'
import type { Instance, InstanceEvent, ProjectId } from '../src/instance/model.ts'
import { SCOPES } from '../src/instance/model.ts'
import { holdsCompute, isLegalStep } from '../src/instance/phase.ts'
import { openStore } from '../src/store/open.ts'

export const BUSYBOX = 'localhost/busybox'
/** Small enough that a hundred fit anywhere. */
export const SMALL = { image: BUSYBOX, memoryBytes: 64 * 2 ** 20, overlayBytes: 16 * 2 ** 20 } as const

/** Pauses and looks that suit a test. */
export const QUICK: EngineConfigChanges = {
  heartbeatMs: 200,
  autoscaleMs: 200,
  probeMs: 20,
  retryMs: { first: 5, longest: 50 },
  closeGraceMs: 2000,
}

export interface Fixture {
  readonly engine: BerthEngine
  readonly host: SimulatedHost
  readonly store: Store
  readonly caller: Caller
  /** Errors and warnings that the engine logged. */
  readonly logged: readonly string[]
  /** Ends engine, host and store, and opens others over the same files. */
  reopen(options?: FixtureOptions): Promise<void>
  close(): Promise<void>
}

export interface FixtureOptions {
  readonly host?: SimulatedOptions
  readonly config?: EngineConfigChanges
  readonly now?: () => number
  readonly catalogue?: Catalogue
}

export async function engineFixture(options: FixtureOptions = {}): Promise<Fixture> {
  const directory = await mkdtemp(join(tmpdir(), 'berth-engine-'))
  const logged: string[] = []
  const open = async (given: FixtureOptions) => openEngine(directory, given, collectInto(logged))
  let current = await open(options)
  return {
    get engine() {
      return current.engine
    },
    get host() {
      return current.host
    },
    get store() {
      return current.store
    },
    get caller() {
      return current.caller
    },
    logged,
    async reopen(next = options) {
      await current.close()
      current = await open(next)
    },
    async close() {
      await current.close()
      await rm(directory, { recursive: true, force: true })
    },
  }
}

/** Engine, host and store over the files of a directory. */
export async function openEngine(directory: string, options: FixtureOptions, logger: Logger) {
  const store = await openStore({ path: join(directory, 'berth.db') })
  const host = createSimulatedHost({ stateFile: join(directory, 'machine.json'), ...options.host })
  const engine = createEngine({
    store,
    hosts: [host],
    logger,
    config: { ...QUICK, ...options.config },
    ...(options.now === undefined ? {} : { now: options.now }),
    ...(options.catalogue === undefined ? {} : { catalogue: options.catalogue }),
  })
  const { defaultProject } = await engine.start()
  const caller: Caller = { projectId: defaultProject.id, keyId: null, scopes: SCOPES, via: 'test' }
  await engine.images.wait(caller, BUSYBOX, { timeoutMs: 10_000 })
  return {
    engine,
    host,
    store,
    caller,
    async close() {
      await engine.close()
      await host.close()
      await store.close()
    },
  }
}

export function collectInto(lines: string[]): Logger {
  const keep = (level: string) => (details: object, message: string) => {
    const { err } = details as { err?: unknown }
    lines.push(`${level}: ${message}${err instanceof Error ? `: ${err.message}` : ''}`)
  }
  return { debug: () => {}, info: () => {}, warn: keep('warn'), error: keep('error') }
}

/** Resolves when the engine has nothing to do and the condition holds. */
export async function eventually(condition: () => Promise<boolean> | boolean, what: string, limitMs = 20_000): Promise<void> {
  const end = Date.now() + limitMs
  while (!(await condition())) {
    if (Date.now() > end) throw new Error(`not within ${limitMs} ms: ${what}`)
    await new Promise(resolve => setTimeout(resolve, 10))
  }
}

/** The engine has nothing in hand, and every living instance is where it is wanted. */
export async function settle(fixture: Pick<Fixture, 'engine' | 'store'>): Promise<void> {
  await eventually(async () => {
    if (fixture.engine.busy > 0) return false
    const instances = await fixture.store.read.instances({ projectId: null })
    return instances.every(instance => isWhereWanted(instance))
  }, 'every instance is where it is wanted')
}

export function isWhereWanted(instance: Instance): boolean {
  switch (instance.phase) {
    case 'running':
    case 'unhealthy':
      return instance.desired === 'running'
    case 'stopped':
    case 'failed':
    case 'preempted':
      return instance.desired === 'stopped'
    case 'standby':
      return instance.desired === 'standby'
    case 'deleted':
      return instance.desired === 'deleted'
    default:
      return false
  }
}

/** Reservations, machine and record agree; nothing is left over; nothing was launched twice; every step was legal. */
export async function assertNothingLeaked(fixture: Pick<Fixture, 'host' | 'store'>, projectId: ProjectId | null = null): Promise<void> {
  const { host, store } = fixture
  const instances = await store.read.instances({ projectId, includeDeleted: true })
  const byId = new Map(instances.map(instance => [instance.id as string, instance]))
  const reservations = await store.read.reservations(host.id)
  const ips = reservations.flatMap(reservation => reservation.ip ?? [])
  assert.equal(new Set(ips).size, ips.length, 'an address is given to two')
  for (const reservation of reservations) {
    const instance = byId.get(reservation.instanceId)
    assert.ok(instance !== undefined && instance.phase !== 'deleted', `${reservation.instanceId} is gone and still holds room`)
    // A reservation keeps its room while its instances rest.
    const holds = holdsCompute(instance.phase) || orderOf(instance)?.kind === 'reservation'
    assert.equal(reservation.vcpus, holds ? instance.spec.vcpus : 0, `vCPUs of ${instance.phase}`)
    assert.equal(reservation.memoryBytes, holds ? instance.spec.memoryBytes + instance.spec.hotplugBytes : 0, `memory of ${instance.phase}`)
  }
  for (const vm of host.vms()) {
    const instance = byId.get(vm.instanceId)
    assert.ok(instance !== undefined && instance.phase !== 'deleted', `the VM ${vm.instanceId} belongs to nobody`)
    assert.ok(vm.status !== 'running' || instance.phase === 'running' || instance.phase === 'unhealthy' || instance.phase === 'preempting', `a VM runs for an instance that is ${instance.phase}`)
    assert.ok(vm.status !== 'suspended' || instance.phase === 'standby', `a VM is saved for an instance that is ${instance.phase}`)
  }
  for (const instance of instances) {
    const vm = host.vms().find(candidate => candidate.instanceId === instance.id)
    if (instance.phase === 'running') assert.equal(vm?.status, 'running', `${instance.id} is running without a VM`)
    if (instance.phase === 'standby') assert.equal(vm?.status, 'suspended', `${instance.id} sleeps without a saved state`)
  }
  for (const [life, count] of host.launches()) assert.equal(count, 1, `${life} was launched ${count} times`)
  for (const volume of await store.read.volumes({ projectId })) {
    for (const attachment of volume.attachments) {
      const instance = byId.get(attachment.instanceId)
      assert.ok(instance !== undefined && instance.phase !== 'deleted', `the volume ${volume.id} is attached to nobody`)
    }
  }
  await assertLegalSteps(store)
}

/** The events of each instance are one unbroken walk along the state machine, in growing time. */
export async function assertLegalSteps(store: Store): Promise<void> {
  const events = await store.read.events({ projectId: null, kinds: ['phase'], order: 'oldest-first' })
  const last = new Map<string, InstanceEvent>()
  for (const event of events) {
    const before = last.get(event.instanceId)
    if (before === undefined) assert.equal(event.from, null, 'the first event has no from')
    else {
      assert.equal(event.from, before.to, 'a step begins where the last one ended')
      assert.ok(isLegalStep(before.to, event.to), `${before.to} to ${event.to} is not a legal step`)
      assert.ok(event.at > before.at, 'time grows')
    }
    last.set(event.instanceId, event)
  }
  for (const instance of await store.read.instances({ projectId: null, includeDeleted: true })) {
    assert.equal(last.get(instance.id)?.to, instance.phase, 'the record is where its last event says')
  }
}
