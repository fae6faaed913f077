/** The decision alone, over a pretended executor: from wherever record and machine are, it leads to what is wanted. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import fc from 'fast-check'
import { exitedWith } from '../instance/exit.ts'
import { ORDER } from '../instance/market.ts'
import type { HostId, ImageDigest, Instance, InstanceId, ProjectId, SnapshotId } from '../instance/model.ts'
import type { DesiredState, Phase } from '../instance/phase.ts'
import { DESIRED_STATES, isLegalStep, PHASES } from '../instance/phase.ts'
import { DEFAULT_SPEC } from './defaults.ts'
import type { HostVm } from './host-port.ts'
import type { Action, Observed } from './next-action.ts'
import { nextAction } from './next-action.ts'

const NOW = 1_000_000
const RETRY_MS = 1000
const ACTION_LIMIT = 20
const STATUSES = ['absent', 'prepared', 'running', 'suspended', 'exited'] as const

function instanceWith(change: Partial<Instance>, spec: Partial<Instance['spec']> = {}): Instance {
  return {
    id: 'i' as InstanceId,
    projectId: 'p' as ProjectId,
    spec: { ...DEFAULT_SPEC, name: 'i', image: 'busybox', ...spec },
    imageDigest: 'sha256:0' as ImageDigest,
    desired: 'running',
    phase: 'running',
    phaseSince: 0,
    reason: null,
    errorCode: null,
    hostId: 'h' as HostId,
    address: null,
    generation: 5,
    exit: null,
    basis: null,
    restartAttempts: 0,
    createdAt: 0,
    startedAt: 1,
    stoppedAt: null,
    deletedAt: null,
    origin: 'test',
    annotations: {},
    ...change,
  }
}

const decide = (instance: Instance, observed: Observed = { kind: 'unknown' }, now = NOW): Action => nextAction(instance, observed, now, RETRY_MS)
const vm = (status: HostVm['status'], generation = 5, exit: HostVm['exit'] = null): Observed => ({ kind: 'vm', vm: { status, generation, exit } })

/** An executor and a machine where everything works, so that only the decisions are tested. */
class Model {
  instance: Instance
  status: (typeof STATUSES)[number]
  generation: number
  readonly launches = new Set<number>()

  constructor(instance: Instance, status: (typeof STATUSES)[number], generation: number) {
    this.instance = instance
    this.status = status
    this.generation = generation
    if (status === 'running' || status === 'exited') this.launches.add(generation)
  }

  get observed(): Observed {
    return this.status === 'absent' ? { kind: 'absent' } : vm(this.status, this.generation, this.status === 'exited' ? exitedWith(0) : null)
  }

  step(to: Phase, change: Partial<Instance> = {}): void {
    assert.ok(isLegalStep(this.instance.phase, to), `${this.instance.phase} to ${to} is not a legal step`)
    this.instance = { ...this.instance, ...change, phase: to }
  }

  launch(): void {
    if (this.status === 'running' && this.generation === this.instance.generation) return
    assert.ok(!this.launches.has(this.instance.generation), `generation ${this.instance.generation} is launched twice`)
    this.launches.add(this.instance.generation)
    this.status = 'running'
    this.generation = this.instance.generation
  }

  perform(action: Action): void {
    const { instance } = this
    const rest = (): DesiredState => (instance.desired === 'deleted' ? 'deleted' : 'stopped')
    switch (action.kind) {
      case 'none':
      case 'wait':
        return
      case 'step':
        return this.step(action.to)
      case 'catch-up':
        this.instance = { ...instance, generation: action.generation }
        return
      case 'delete':
        return this.step('deleting', { desired: 'deleted' })
      case 'place':
        return this.step(instance.phase === 'standby' ? 'restoring' : 'allocated', { generation: instance.generation + 1 })
      case 'adopt':
        return this.step('restoring', { desired: 'running' })
      case 'await-image':
        this.instance = { ...instance, imageDigest: 'sha256:0' as ImageDigest }
        return
      case 'apply': {
        const { phase, desired } = instance
        const memory = desired === 'running' || desired === 'standby'
        this.status = memory ? 'suspended' : 'prepared'
        this.generation = instance.generation
        if (!memory) return this.step('stopped', { basis: null })
        if (desired === 'standby') return this.step('standby', { basis: null })
        if (phase === 'restoring') this.instance = { ...instance, basis: null }
        else this.step('restoring', { basis: null })
        return
      }
      case 'prepare':
        if (this.status === 'absent') this.status = 'prepared'
        return this.step('starting')
      case 'start':
      case 'resume':
        this.launch()
        return this.step('running', { startedAt: NOW })
      case 'rollback':
        this.status = 'absent'
        return this.step('failed', { desired: 'stopped' })
      case 'halt':
        this.status = 'exited'
        return
      case 'stop':
        if (this.status !== 'absent') this.status = 'exited'
        return this.step('stopped', { desired: instance.desired === 'running' ? 'running' : rest() })
      case 'preempt':
        if (this.status !== 'absent') this.status = 'exited'
        return this.step('preempted', { desired: 'stopped', annotations: {} })
      case 'suspend':
        this.status = 'suspended'
        return this.step('standby', { desired: 'standby' })
      case 'destroy':
        this.status = 'absent'
        return this.step('deleted')
      case 'ended':
        return this.step('stopped', { desired: rest() })
      case 'gone':
        return this.step('stopped', { desired: instance.desired === 'running' ? 'running' : rest() })
    }
  }
}

const anyInstance = fc.record({
  phase: fc.constantFrom(...PHASES),
  desired: fc.constantFrom(...DESIRED_STATES),
  // Only a start that failed carries its error in these phases.
  errorCode: fc.constantFrom(null, 'guest_unreachable'),
  imageDigest: fc.constantFrom(null, 'sha256:0' as ImageDigest),
  restartAttempts: fc.constantFrom(0, 2),
  basis: fc.constantFrom(null, 'b7e2a1d4-0000-4000-8000-000000000000' as SnapshotId),
  annotations: fc.constantFrom({}, { [ORDER.preemptAt]: String(NOW) }, { [ORDER.preemptAt]: String(NOW + 1) }),
})

const WHERE: Readonly<Record<DesiredState, readonly Phase[]>> = {
  running: ['running', 'unhealthy', 'preempting', 'deleted'],
  standby: ['standby'],
  // A wish that no phase can fulfil any more ends at rest.
  stopped: ['stopped', 'preempted', 'failed', 'pending'],
  deleted: ['deleted'],
}

test('whatever the record and the machine say, the decisions lead to rest by legal steps and launch no generation twice', () => {
  fc.assert(
    fc.property(anyInstance, fc.constantFrom(...STATUSES), fc.integer({ min: 3, max: 6 }), (change, status, generation) => {
      const isStarting = change.phase === 'preparing' || change.phase === 'starting'
      const instance = instanceWith({ ...change, errorCode: isStarting ? change.errorCode : null })
      // The basis is gone from the record before a generation that has one is launched.
      fc.pre(change.basis === null || generation < instance.generation || (status !== 'running' && status !== 'exited'))
      const model = new Model(instance, status, generation)
      for (let actions = 0; ; actions++) {
        assert.ok(actions < ACTION_LIMIT, `no rest after ${ACTION_LIMIT} actions: ${model.instance.phase}, ${model.instance.desired}, ${model.status}`)
        const action = decide(model.instance, model.observed)
        if (action.kind === 'none' || action.kind === 'wait') break
        model.perform(action)
      }
      const { phase, desired } = model.instance
      const rests = WHERE[desired].includes(phase) || (desired === 'standby' && ['stopped', 'preempted', 'failed', 'pending'].includes(phase))
      assert.ok(rests || phase === 'deleted', `rests in ${phase} although ${desired} is wanted`)
      if (phase === 'running') assert.equal(model.status, 'running')
      if (phase === 'standby') assert.equal(model.status, 'suspended')
      if (phase === 'stopped' || phase === 'failed') assert.notEqual(model.status, 'running')
    }),
    { numRuns: 5000 },
  )
})

test('a silent host makes every instance that needs a VM lost, and changes nothing else', () => {
  for (const phase of PHASES) {
    const action = decide(instanceWith({ phase, desired: 'running' }), { kind: 'silent' })
    if (['allocated', 'preparing', 'starting', 'running', 'unhealthy', 'stopping', 'suspending', 'restoring', 'preempting'].includes(phase)) {
      assert.deepEqual(action, { kind: 'step', to: 'lost', reason: 'Its host does not answer.' })
    } else if (phase !== 'deleting') assert.deepEqual(action, { kind: 'none' })
  }
})

test('the end of an earlier life is not the end of this one', () => {
  const exited: Observed = { kind: 'exited', generation: 4, exit: exitedWith(1) }
  assert.deepEqual(decide(instanceWith({}), exited), { kind: 'none' })
  assert.deepEqual(decide(instanceWith({}), { ...exited, generation: 5 }), { kind: 'ended', exit: exitedWith(1) })
})

test('an application that ended is started again only when its pause is over', () => {
  const restart = { kind: 'always', backoffMs: 500, maxAttempts: 0, stableAfterMs: 1000 } as const
  const ended = instanceWith({ phase: 'stopped', restartAttempts: 1, phaseSince: NOW - 100 }, { restart })
  assert.deepEqual(decide(ended), { kind: 'wait', until: NOW + 400 })
  assert.deepEqual(decide(ended, undefined, NOW + 400), { kind: 'place' })
  assert.deepEqual(decide({ ...ended, desired: 'stopped' }), { kind: 'none' })
})

test('one with a notice is stopped when the notice is over, and not before, whatever its VM does', () => {
  const told = { ...instanceWith({ phase: 'preempting' }), annotations: { [ORDER.preemptAt]: String(NOW + 10) } }
  const running = { kind: 'vm', vm: { generation: told.generation, status: 'running', exit: null } } as unknown as Observed
  assert.deepEqual(decide(told, running), { kind: 'wait', until: NOW + 10 })
  assert.deepEqual(decide(told, running, NOW + 10), { kind: 'preempt' })
  assert.deepEqual(decide(told, { kind: 'exited', generation: told.generation, exit: exitedWith(0) }, NOW + 10), { kind: 'preempt' })
  assert.equal(decide(told, { kind: 'exited', generation: told.generation, exit: exitedWith(0) }).kind, 'ended')
  assert.equal(decide({ ...told, desired: 'stopped' }, running, NOW + 10).kind, 'step')
})

test('what has expired is deleted, and before that it is looked at again in time', () => {
  const expiring = instanceWith({}, { expiresAt: NOW + 10 })
  assert.deepEqual(decide(expiring), { kind: 'wait', until: NOW + 10 })
  assert.deepEqual(decide(expiring, undefined, NOW + 10), { kind: 'delete', reason: 'It has expired.' })
})

test('what is to be removed when it has stopped is removed once it has run, and not before', () => {
  const stopped = instanceWith({ phase: 'stopped', desired: 'stopped' }, { removeWhenStopped: true })
  assert.equal(decide(stopped).kind, 'delete')
  assert.equal(decide({ ...stopped, startedAt: null }).kind, 'none')
  assert.equal(decide({ ...stopped, phase: 'failed' }).kind, 'none')
})

test('a graceful delete stops first, and a delete that failed is tried again after a rest', () => {
  assert.deepEqual(decide(instanceWith({ phase: 'stopping', desired: 'deleted' })), { kind: 'stop' })
  assert.equal(decide(instanceWith({ phase: 'stopped', desired: 'deleted' })).kind, 'delete')
  const failed = instanceWith({ phase: 'failed', desired: 'deleted', phaseSince: NOW })
  assert.deepEqual(decide(failed), { kind: 'wait', until: NOW + RETRY_MS })
  assert.equal(decide(failed, undefined, NOW + RETRY_MS).kind, 'delete')
})
