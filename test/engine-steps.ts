/** An engine over a real store and a simulated host for each test, and the steps that its tests have alike. */
import assert from 'node:assert/strict'
import { afterEach, beforeEach } from 'node:test'
import type { Caller, CreateInstance } from '../src/engine/api.ts'
import type { Fault, HostCall } from '../src/host/simulated/faults.ts'
import type { ErrorCode } from '../src/instance/errors.ts'
import { BerthError } from '../src/instance/errors.ts'
import type { Instance } from '../src/instance/model.ts'
import type { Phase } from '../src/instance/phase.ts'
import type { Fixture } from './engine-fixture.ts'
import { engineFixture, SMALL } from './engine-fixture.ts'

export let fixture: Fixture
export let caller: Caller
let names = 0

/** A fresh engine for each test of the file that calls this. */
export function useEngine(): void {
  beforeEach(async () => {
    fixture = await engineFixture()
    caller = fixture.caller
  })
  afterEach(() => fixture.close())
}

/** Another server over the same machine; whoever calls is as known to it as before. */
export async function reopen(options: Parameters<Fixture['reopen']>[0] = {}): Promise<void> {
  await fixture.reopen(options)
  caller = fixture.caller
}

export async function reach(since: Instance, ...until: Phase[]): Promise<Instance> {
  const result = await fixture.engine.instances.wait(caller, since.id, { until, timeoutMs: 10_000, since })
  assert.ok(!result.timedOut, `${until.join()} was not reached: ${result.instance.phase}`)
  return result.instance
}

export async function run(request: Partial<CreateInstance> = {}): Promise<Instance> {
  const created = await fixture.engine.instances.create(caller, { ...SMALL, name: `n-${names++}`, ...request })
  return reach(created, 'running')
}

export async function refusedWith(code: ErrorCode, work: Promise<unknown>, details?: object): Promise<BerthError> {
  const error = await work.then(
    () => assert.fail(`it was not refused with ${code}`),
    (thrown: unknown) => thrown,
  )
  assert.ok(error instanceof BerthError, String(error))
  assert.equal(error.code, code, error.message)
  if (details !== undefined) assert.deepEqual(error.details, details)
  return error
}

export function failOnce(call: HostCall, fault: Partial<Fault> = {}): void {
  let used = false
  fixture.host.setFaults(asked => {
    if (used || asked.call !== call) return null
    used = true
    return { kind: 'before', code: 'guest_unreachable', message: `the ${call} was made to fail`, ...fault } as Fault
  })
}
