/** What a service is planned to do next: every rule of the slots on its own, and that plans lead somewhere. */
import assert from 'node:assert/strict'
import { test } from 'node:test'
import type { Instance, InstanceId, ProjectId, VolumeId } from '../../instance/model.ts'
import type { Phase } from '../../instance/phase.ts'
import type { Deployment, ReplicaSet, Service } from '../../instance/service.ts'
import { ANNOTATION } from '../../instance/service.ts'
import { DEFAULT_SPEC } from '../defaults.ts'
import type { Plan } from './plan.ts'
import { DEATHS_UNTIL_FAILED, dueAfter, planService, SETTLE_MS, STABLE_MS } from './plan.ts'

const NOW = 1_000_000
const PROJECT = 'project' as ProjectId

function set(more: Partial<ReplicaSet> = {}): ReplicaSet {
  const template = { image: 'x', vcpus: 1, memoryBytes: 1, overlayBytes: 1, env: {}, entrypoint: null, cmd: null }
  return { id: 'set', region: 'fra', type: 'nano', replicas: 1, idleMs: null, template, ...more }
}

function deployment(more: Partial<Deployment> = {}): Deployment {
  return {
    id: 'd1', projectId: PROJECT, appId: 'app', serviceId: 'service', version: 1, state: 'pending', message: null, sets: [set()], ports: [], deaths: {},
    definition: {}, createdAt: 0, updatedAt: 0, startedAt: null, succeededAt: null, endedAt: null, ...more,
  }
}

function service(more: Partial<Service> = {}): Service {
  return {
    id: 'service', projectId: PROJECT, appId: 'app', name: 'web', kind: 'WEB', desired: 'running', version: 1, activeDeploymentId: null, latestDeploymentId: 'd1',
    scale: null, deleteAfterMs: null, deleteAfterSleepMs: null, origin: 'koyeb', createdAt: 0, updatedAt: 0, pausedAt: null, resumedAt: null, deletedAt: null, ...more,
  }
}

let made = 0
function instance(phase: Phase, index = 0, more: Partial<Instance> = {}, of = 'd1', setId = 'set'): Instance {
  const annotations = { [ANNOTATION.service]: 'service', [ANNOTATION.deployment]: of, [ANNOTATION.set]: setId, [ANNOTATION.index]: String(index) }
  return {
    id: `i${++made}` as InstanceId, projectId: PROJECT, spec: { ...DEFAULT_SPEC, name: 'web', image: 'x' }, imageDigest: null, desired: 'running', phase,
    phaseSince: NOW - 10_000, reason: null, errorCode: null, hostId: null, address: null, basis: null, generation: 1, exit: null, restartAttempts: 0, createdAt: 0,
    startedAt: NOW - 10_000, stoppedAt: null, deletedAt: null, origin: 'koyeb', annotations, ...more,
  }
}

interface Given {
  readonly service?: Service
  readonly deployments?: readonly Deployment[]
  readonly instances?: readonly Instance[]
  readonly idleSince?: number | null
}

function plan(given: Given): Plan {
  return planService({
    service: given.service ?? service(),
    deployments: given.deployments ?? [deployment()],
    instances: given.instances ?? [],
    now: NOW,
    idleSince: () => (given.idleSince === undefined ? NOW : given.idleSince),
  })
}

const kinds = (of: Plan) => of.actions.map(action => (action.kind === 'create' ? `create ${action.slot.index}` : action.kind))
const stateOf = (of: Plan, id = 'd1') => of.deployments.find(one => one.id === id)?.state

test('empty slots are filled, full ones are left, and what is too much goes', () => {
  const three = [deployment({ sets: [set({ replicas: 3 })] })]
  assert.deepEqual(kinds(plan({ deployments: three })), ['create 0', 'create 1', 'create 2'])
  assert.deepEqual(kinds(plan({ deployments: three, instances: [instance('running', 1)] })), ['create 0', 'create 2'])
  assert.deepEqual(kinds(plan({ instances: [instance('running'), instance('running', 1)] })), ['delete'])
  assert.deepEqual(kinds(plan({ instances: [instance('running'), instance('starting')] })), ['delete'])
  assert.deepEqual(kinds(plan({ service: service({ scale: { fra: 2 } }), instances: [instance('running')] })), ['create 1'])
  assert.deepEqual(kinds(plan({ service: service({ scale: { '*': 0 } }), instances: [instance('running')] })), ['delete'])
})

test('a replica that died is removed, counted once, and replaced', () => {
  const dead = instance('stopped', 0, { exit: { code: 1, signal: null, message: 'exited' } })
  const first = plan({ instances: [dead] })
  assert.deepEqual(kinds(first), ['delete', 'create 0'])
  assert.equal(first.deployments[0]?.deaths['set/0']?.count, 1)
  assert.match(first.deployments[0]?.message ?? '', /exit code 1/)
  const again = plan({ deployments: first.deployments, instances: [{ ...dead, desired: 'deleted', phase: 'deleting' }] })
  assert.equal(again.deployments[0]?.deaths['set/0']?.count, 1)
  assert.deepEqual(kinds(again), ['create 0'])
})

test('the pause before the next replica grows, and has an end', () => {
  const deaths = (count: number) => ({ count, lastAt: NOW, instanceId: 'x' as InstanceId })
  assert.deepEqual([1, 2, 3, 4, 50].map(count => Math.max(0, dueAfter(deaths(count)) - NOW)), [0, 1000, 2000, 4000, 60_000])
  const waiting = plan({ deployments: [deployment({ succeededAt: 0, deaths: { 'set/0': deaths(4) } })] })
  assert.deepEqual([kinds(waiting), waiting.lookAgainAt], [[], NOW + 4000])
})

test('a long life starts the count again', () => {
  const dead = instance('stopped', 0, { startedAt: NOW - 10_000 - STABLE_MS })
  const deaths = { 'set/0': { count: 9, lastAt: 0, instanceId: 'x' as InstanceId } }
  assert.equal(plan({ deployments: [deployment({ succeededAt: 0, deaths })], instances: [dead] }).deployments[0]?.deaths['set/0']?.count, 1)
})

test('a deployment whose replicas keep dying fails, unless it has served for long', () => {
  const deaths = { 'set/0': { count: DEATHS_UNTIL_FAILED - 1, lastAt: 0, instanceId: 'x' as InstanceId } }
  const failed = plan({ deployments: [deployment({ deaths })], instances: [instance('failed')] })
  assert.equal(stateOf(failed), 'failed')
  assert.deepEqual(kinds(failed), ['delete'])
  const proven = plan({ deployments: [deployment({ deaths, succeededAt: NOW - STABLE_MS })], instances: [instance('failed')] })
  assert.equal(stateOf(proven), 'unhealthy')
})

test('a new deployment takes over once all of it has served for a while, and not before', () => {
  const two = [deployment({ id: 'd2', version: 2, sets: [set({ id: 'set2' })] }), deployment({ state: 'healthy', succeededAt: 1 })]
  const serving = service({ activeDeploymentId: 'd1', latestDeploymentId: 'd2' })
  const old = instance('running')
  const beginning = plan({ service: serving, deployments: two, instances: [old] })
  assert.deepEqual(kinds(beginning), ['create 0'])
  const young = instance('running', 0, { startedAt: NOW - SETTLE_MS + 500 }, 'd2', 'set2')
  const waiting = plan({ service: serving, deployments: two, instances: [old, young] })
  assert.deepEqual([kinds(waiting), waiting.lookAgainAt, waiting.service.activeDeploymentId], [[], NOW + 500, 'd1'])
  const done = plan({ service: serving, deployments: two, instances: [old, { ...young, startedAt: NOW - SETTLE_MS }] })
  assert.deepEqual([kinds(done), done.service.activeDeploymentId, stateOf(done)], [['delete'], 'd2', 'stopping'])
  assert.deepEqual(done.actions.map(action => action.kind === 'delete' && action.instance.id), [old.id])
})

test('what nobody uses sleeps when its time has come', () => {
  const idle = [deployment({ sets: [set({ idleMs: 5000 })] })]
  assert.deepEqual(kinds(plan({ deployments: idle, instances: [instance('running')], idleSince: NOW - 5000 })), ['sleep'])
  const soon = plan({ deployments: idle, instances: [instance('running')], idleSince: NOW - 2000 })
  assert.deepEqual([kinds(soon), soon.lookAgainAt], [[], NOW + 3000])
  assert.deepEqual(kinds(plan({ deployments: idle, instances: [instance('running')], idleSince: null })), [])
  assert.equal(stateOf(plan({ deployments: idle, instances: [instance('standby')] })), 'sleeping')
})

test('pausing and deleting remove every instance, and end when none is left', () => {
  for (const desired of ['paused', 'deleted'] as const) {
    const busy = plan({ service: service({ desired }), instances: [instance('running'), instance('standby', 1)] })
    assert.deepEqual([kinds(busy), stateOf(busy)], [['delete', 'delete'], 'stopping'])
    assert.deepEqual(kinds(plan({ service: service({ desired }), instances: [instance('stopping', 0, { desired: 'deleted' })] })), [])
    const done = plan({ service: service({ desired }) })
    assert.deepEqual([stateOf(done), done.service.deletedAt], ['stopped', desired === 'deleted' ? NOW : null])
  }
})

test('a service with an end is deleted at it, or after it slept for long enough', () => {
  assert.equal(plan({ service: service({ deleteAfterMs: NOW }) }).service.desired, 'deleted')
  const early = plan({ service: service({ deleteAfterMs: NOW + 1 }), instances: [instance('running')] })
  assert.deepEqual([early.service.desired, early.lookAgainAt], ['running', NOW + 1])
  assert.equal(plan({ service: service({ deleteAfterSleepMs: 10_000 }), instances: [instance('standby')] }).service.desired, 'deleted')
  assert.equal(plan({ service: service({ deleteAfterSleepMs: 10_001 }), instances: [instance('standby')] }).service.desired, 'running')
})

const CHECKED = { status: 'starting', since: 0, message: null, passedAt: null } as const

test('a replica that waits for its health checks keeps its deployment starting, and one that never passed has not lived', () => {
  const waiting = plan({ instances: [instance('running', 0, { health: CHECKED })] })
  assert.equal(waiting.deployments[0]?.state, 'starting')
  assert.equal(plan({ instances: [instance('running', 0, { health: { ...CHECKED, status: 'healthy', passedAt: 1 } })] }).deployments[0]?.state, 'healthy')
  const message = 'The TCP check of port 80 failed: connection refused'
  const ended = instance('stopping', 0, { desired: 'stopped', startedAt: 1, health: { ...CHECKED, status: 'unhealthy', message } })
  const deaths = { 'set/0': { count: DEATHS_UNTIL_FAILED - 1, lastAt: 0, instanceId: 'other' as InstanceId } }
  const failed = plan({ deployments: [deployment({ deaths })], instances: [ended] })
  assert.deepEqual([failed.deployments[0]?.state, failed.deployments[0]?.message], ['failed', `The replica web was ended. ${message}`])
})

test('deep sleep ends a replica after its longer time, and none is made until it is woken', () => {
  const sets = [set({ idleMs: 1000, deepIdleMs: 20_000 })]
  const serving = { service: service({ activeDeploymentId: 'd1' }), deployments: [deployment({ sets, succeededAt: 1 })] }
  const early = plan({ ...serving, instances: [instance('standby')] })
  assert.deepEqual([early.actions, early.lookAgainAt], [[], NOW - 10_000 - 1000 + 20_000])
  const late = plan({ ...serving, instances: [instance('standby', 0, { phaseSince: NOW - 19_000 })] })
  assert.deepEqual(late.actions.map(action => action.kind), ['delete'])
  assert.deepEqual([late.deployments[0]?.state, late.deployments[0]?.dormant], ['sleeping', { set: NOW - 19_000 }])
  const dormant = { ...serving, deployments: late.deployments }
  assert.deepEqual(plan(dormant).actions, [])
  assert.equal(plan(dormant).deployments[0]?.state, 'sleeping')
  assert.deepEqual(plan({ ...serving, deployments: [{ ...late.deployments[0], dormant: {} } as Deployment] }).actions.map(action => action.kind), ['create'])
})

test('whoever uses one replica keeps its set from deep sleep, and a pause takes the sleep back', () => {
  const sets = [set({ replicas: 2, deepIdleMs: 1000 })]
  const both = [instance('running', 0), instance('running', 1)]
  assert.deepEqual(plan({ deployments: [deployment({ sets })], instances: both, idleSince: null }).actions, [])
  assert.equal(plan({ deployments: [deployment({ sets })], instances: both, idleSince: NOW - 2000 }).actions.filter(action => action.kind === 'delete').length, 2)
  assert.deepEqual(plan({ service: service({ desired: 'paused' }), deployments: [deployment({ sets, dormant: { set: 1 } })] }).deployments[0]?.dormant, {})
})

test('a service that is to go after its sleep goes after a deep one as well', () => {
  const given = { service: service({ activeDeploymentId: 'd1', deleteAfterSleepMs: 5000 }), deployments: [deployment({ sets: [set({ deepIdleMs: 1 })], dormant: { set: NOW - 5000 } })] }
  assert.equal(plan(given).service.deletedAt, NOW)
})

test('a deployment with volumes lets the old one end first, and its replica waits until nobody holds them', () => {
  const mount = { volumeId: 'v1' as VolumeId, path: '/data', mode: 'rw', overlayBytes: null } as const
  const withVolume = { ...set().template, volumes: [{ ...mount, replicaIndex: 0 }] }
  const before = deployment({ id: 'd0', state: 'healthy', succeededAt: 1, sets: [set({ id: 'set0', template: withVolume })] })
  const target = deployment({ sets: [set({ template: withVolume, replicas: 2 })] })
  const holder = instance('running', 0, { spec: { ...DEFAULT_SPEC, name: 'web', image: 'x', volumes: [mount] } }, 'd0', 'set0')
  const given = { service: service({ activeDeploymentId: 'd0' }), deployments: [target, before] }
  const first = plan({ ...given, instances: [holder] })
  assert.deepEqual(first.actions.map(action => [action.kind, action.kind === 'create' ? action.slot.index : action.instance.id]), [['delete', holder.id], ['create', 1]])
  assert.equal(first.deployments.find(({ id }) => id === 'd0')?.state, 'stopping')
  const leaving = { ...holder, desired: 'deleted', phase: 'deleting' } as const
  assert.deepEqual(plan({ ...given, instances: [leaving, instance('running', 1)] }).actions, [])
  const [next] = plan({ ...given, deployments: [target], instances: [instance('running', 1)] }).actions
  assert.deepEqual([next?.kind, next?.kind === 'create' ? next.slot.index : null], ['create', 0])
})
