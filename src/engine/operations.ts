/**
 * The actions of the reconcile loop, each one: what is called on the host, and what is recorded afterwards.
 *
 * Invariants:
 * - What is to happen was recorded before it happens (the phase says it), so each action can be repeated.
 * - What is recorded afterwards is recorded only if the instance still is where the action found it; a request
 *   that moved it meanwhile wins, and the next action follows from there.
 * - An error of a host leaves a question (did it happen?), which the host itself answers, never a guess.
 */
import { asBerthError, BerthError } from '../instance/errors.ts'
import { decideRestart, describeExit } from '../instance/exit.ts'
import { AWAITS_CHECKS, healthAtStart } from '../instance/health.ts'
import { withoutNotice } from '../instance/market.ts'
import type { AppExit, Instance } from '../instance/model.ts'
import type { Candidate } from './admission.ts'
import { placeAgain } from './admission.ts'
import type { Core } from './core.ts'
import type { HostLink } from './fleet.ts'
import { isSilence, withDeadline } from './fleet.ts'
import type { HostVm, VmStarted } from './host-port.ts'
import type { Change, StepPatch } from './journal.ts'
import type { Action, Observed } from './next-action.ts'
import { removeSnapshot } from './snapshots/removal.ts'
import { firstBootFor, refOf, vmSpecOf } from './vm-spec.ts'

/** `recorded`: what was seen still holds · `changed`: look again · `idle`: something else will wake it. */
export type Performed = 'recorded' | 'changed' | 'idle' | Observed

export async function perform(core: Core, instance: Instance, action: Exclude<Action, { kind: 'none' | 'wait' }>): Promise<Performed> {
  switch (action.kind) {
    case 'step':
      return record(core, instance, (change, current) => change.step(current, action.to, { reason: action.reason }))
    case 'catch-up':
      return record(core, instance, (change, current) =>
        change.note(current, `The host has seen generation ${action.generation}, later than the record.`, { generation: action.generation }),
      )
    case 'delete':
      return record(core, instance, (change, current) => change.step(current, 'deleting', { desired: 'deleted', reason: action.reason }))
    case 'place':
      return place(core, instance)
    case 'adopt':
      return adopt(core, instance)
    case 'await-image':
      return awaitImage(core, instance)
    case 'apply':
      return applyBasis(core, instance)
    case 'prepare':
      return prepare(core, instance)
    case 'start':
      return start(core, instance)
    case 'rollback':
      return rollBack(core, instance)
    case 'stop':
      return stop(core, instance)
    case 'suspend':
      return suspend(core, instance)
    case 'preempt':
      return preempt(core, instance)
    case 'resume':
      return resume(core, instance)
    case 'destroy':
      return destroy(core, instance)
    case 'ended':
      return ended(core, instance, action.exit)
    case 'gone':
      return gone(core, instance, action.reason)
    case 'halt':
      return halt(core, instance, action.generation)
  }
}

/** Gives an instance CPU and memory again, and a new life: to `allocated`, or from standby to `restoring`. */
export async function allocate(core: Core, change: Change, instance: Instance, candidate: Candidate, patch: StepPatch = {}): Promise<Instance> {
  const { address } = await placeAgain(change.tx, candidate, instance, core)
  const life: StepPatch = { ...patch, hostId: candidate.link.id, address, generation: instance.generation + 1 }
  if (instance.phase === 'standby') return change.step(instance, 'restoring', life)
  return change.step(instance, 'allocated', { ...life, exit: null })
}

/** What its host says of one instance now. */
export async function observe(core: Core, instance: Instance): Promise<Observed> {
  const link = core.fleet.link(instance.hostId)
  try {
    const vms = await link.inventory(core.config.deadlines.inventoryMs)
    return sightOf(vms.find(vm => vm.instanceId === instance.id))
  } catch (error) {
    core.logger.warn({ err: error, host: link.id }, 'a host does not say what runs on it')
    link.fellSilent()
    return { kind: 'silent' }
  }
}

export function sightOf(vm: HostVm | undefined): Observed {
  return vm === undefined ? { kind: 'absent' } : { kind: 'vm', vm }
}

// --- to running -----------------------------------------------------------------------------------------------

async function place(core: Core, instance: Instance): Promise<Performed> {
  const link = instance.hostId === null ? core.fleet.firstOf(instance.spec.place) : core.fleet.link(instance.hostId)
  const candidate = { link, facts: await link.facts() }
  try {
    return await record(core, instance, (change, current) => allocate(core, change, current, candidate))
  } catch (error) {
    const known = asBerthError(error)
    const reason = `It waits for room: ${known.message}`
    const isNews = known.code === 'insufficient_resources' && instance.reason !== reason
    if (isNews) await record(core, instance, (change, current) => change.note(current, reason, { reason }))
    throw known
  }
}

async function adopt(core: Core, instance: Instance): Promise<Performed> {
  const link = core.fleet.link(instance.hostId)
  const candidate = { link, facts: await link.facts() }
  return record(core, instance, async (change, current) => {
    await placeAgain(change.tx, candidate, current, core, { force: true })
    return change.step(current, 'restoring', { desired: 'running', reason: 'It was found running.' })
  })
}

async function awaitImage(core: Core, instance: Instance): Promise<Performed> {
  const image = await core.images.lookUp(instance.projectId, instance.spec.image)
  if (image?.status === 'ready' && image.digest !== null) {
    const { digest } = image
    return record(core, instance, (change, current) => change.note(current, null, { imageDigest: digest }))
  }
  if (image !== null && image.status !== 'failed') return 'idle'
  const why = image?.error ?? `There is no image ${instance.spec.image}.`
  return failStart(core, instance, new BerthError(image === null ? 'image_not_found' : 'image_failed', why))
}

async function prepare(core: Core, instance: Instance): Promise<Performed> {
  const { host } = core.fleet.link(instance.hostId)
  try {
    const spec = await vmSpecOf(core, instance)
    await withDeadline(host.prepare(spec), core.config.deadlines.prepareMs, 'The host did not prepare it in time.')
  } catch (error) {
    return failStart(core, instance, error)
  }
  await record(core, instance, (change, current) => change.step(current, 'starting'))
  return 'changed'
}

async function start(core: Core, instance: Instance): Promise<Performed> {
  const { host } = core.fleet.link(instance.hostId)
  let started: VmStarted
  try {
    const [spec, firstBoot] = await Promise.all([vmSpecOf(core, instance), firstBootFor(core, instance)])
    started = await withDeadline(host.start(spec, firstBoot), core.config.deadlines.startMs, 'The host did not start it in time.')
  } catch (error) {
    return failStart(core, instance, error)
  }
  await record(core, instance, async (change, current) => {
    await change.tx.deleteFirstBoot(current.id)
    const health = healthAtStart(current.spec.healthChecks, started.startedAt)
    return change.step(current, 'running', { startedAt: started.startedAt, health, reason: health === null ? null : AWAITS_CHECKS })
  })
  return 'changed'
}

/** Records that the start has failed, before anything is undone: a crash from here on goes on undoing. */
async function failStart(core: Core, instance: Instance, error: unknown): Promise<Performed> {
  const silent = fallSilent(core, instance, error)
  if (silent !== null) return silent
  const known = asBerthError(error)
  logDefect(core, instance, known, 'start')
  await record(core, instance, (change, current) =>
    change.note(current, `The start failed: ${known.message}`, { desired: 'stopped', errorCode: known.code, reason: known.message }),
  )
  return 'changed'
}

/** One that never ran leaves nothing on the host; one that did keeps its disks. */
async function rollBack(core: Core, instance: Instance): Promise<Performed> {
  const { host } = core.fleet.link(instance.hostId)
  const { deadlines } = core.config
  // One that was put to rest has a disk, even if it never ran: a fork.
  const isNew = instance.startedAt === null && instance.stoppedAt === null
  const undone = await insist<unknown>(core, instance, () =>
    isNew
      ? withDeadline(host.destroy(refOf(instance)), deadlines.destroyMs, 'The host did not clean up in time.')
      : withDeadline<unknown>(host.stop(refOf(instance), { graceMs: 0 }), deadlines.stopMs, 'The host did not clean up in time.'),
  )
  if (undone.silent) return { kind: 'silent' }
  const suffix = undone.error === null ? '' : ` Cleaning up failed as well: ${undone.error.message}`
  await record(core, instance, async (change, current) => {
    if (isNew) await change.tx.deleteReservation(current.id)
    const reason = `${current.reason ?? 'It did not start.'}${suffix}`
    const code = current.errorCode === null ? 'internal' : (current.errorCode as BerthError['code'])
    return change.step(current, 'failed', {
      desired: 'stopped',
      reason,
      errorCode: code,
      failure: { code, message: reason },
      ...(isNew ? { address: null, basis: null } : {}),
    })
  })
  if (isNew) await releaseBasis(core, instance)
  return 'changed'
}

// --- to stopped and deleted -----------------------------------------------------------------------------------

async function stop(core: Core, instance: Instance): Promise<Performed> {
  const { host } = core.fleet.link(instance.hostId)
  const graceMs = core.graces.get(instance.id) ?? instance.spec.stopGraceMs
  const limitMs = graceMs + core.config.deadlines.stopMs
  const stopped = await insist(core, instance, () => withDeadline(host.stop(refOf(instance), { graceMs }), limitMs, 'The host did not stop it in time.'))
  if (stopped.silent) return { kind: 'silent' }
  core.graces.delete(instance.id)
  if (stopped.error === null) {
    const exit = stopped.value
    await stopAndMaybePlace(core, instance, { reason: instance.reason, ...(exit === null ? {} : { exit }) })
    return 'changed'
  }
  const { code, message } = stopped.error
  await record(core, instance, (change, current) =>
    change.step(current, 'failed', { desired: restingWish(current), errorCode: code, reason: message, failure: { code, message } }),
  )
  return 'changed'
}

/** Ends what was given notice; its disks stay, and so does its place in its order. */
async function preempt(core: Core, instance: Instance): Promise<Performed> {
  const { host } = core.fleet.link(instance.hostId)
  const graceMs = instance.spec.stopGraceMs
  const limitMs = graceMs + core.config.deadlines.stopMs
  const stopped = await insist(core, instance, () => withDeadline(host.stop(refOf(instance), { graceMs }), limitMs, 'The host did not stop it in time.'))
  if (stopped.silent) return { kind: 'silent' }
  const annotations = withoutNotice(instance.annotations)
  if (stopped.error === null) {
    const exit = stopped.value
    const ended = exit === null ? {} : { exit }
    await record(core, instance, (change, current) =>
      change.step(current, 'preempted', { desired: 'stopped', annotations, reason: 'It was preempted: its bid is outbid, or its room is taken.', ...ended }),
    )
    return 'changed'
  }
  const { code, message } = stopped.error
  await record(core, instance, (change, current) =>
    change.step(current, 'failed', { desired: 'stopped', annotations, errorCode: code, reason: message, failure: { code, message } }),
  )
  return 'changed'
}

async function destroy(core: Core, instance: Instance): Promise<Performed> {
  const destroyed = await insist(core, instance, async () => {
    if (instance.hostId === null) return
    const { host } = core.fleet.link(instance.hostId)
    await withDeadline(host.destroy(refOf(instance)), core.config.deadlines.destroyMs, 'The host did not remove it in time.')
  })
  if (destroyed.error !== null) {
    const { code, message } = destroyed.error
    await record(core, instance, (change, current) =>
      change.step(current, 'failed', { errorCode: code, reason: message, failure: { code, message } }),
    )
    return 'changed'
  }
  core.graces.delete(instance.id)
  const gone = await record(core, instance, async (change, current) => {
    await change.tx.deleteReservation(current.id)
    await change.tx.deleteFirstBoot(current.id)
    for (const mount of current.spec.volumes) await change.tx.deleteAttachment(mount.volumeId, current.id)
    return change.step(current, 'deleted', { reason: current.reason, basis: null })
  })
  await releaseBasis(core, instance)
  return gone
}

/** Ends a VM that its record says is not there. */
async function halt(core: Core, instance: Instance, generation: number): Promise<Performed> {
  const { host } = core.fleet.link(instance.hostId)
  const ref = { instanceId: instance.id, generation }
  await withDeadline(host.stop(ref, { graceMs: 0 }), core.config.deadlines.stopMs, 'The host did not stop it in time.')
  return 'changed'
}

async function ended(core: Core, instance: Instance, exit: AppExit): Promise<Performed> {
  return record(core, instance, (change, current) => {
    const startedAt = current.startedAt ?? current.phaseSince
    const decision = decideRestart(current.spec.restart, { exit, attempts: current.restartAttempts, ranForMs: core.now() - startedAt })
    const how = describeExit(exit)
    const restarts = decision.kind === 'restart' && current.desired === 'running'
    const reason = restarts ? `It ${how}; it is started again.` : decision.kind === 'blocked' ? `It ${how}, and was started again often enough.` : `It ${how}.`
    return change.step(current, 'stopped', {
      exit,
      startedAt,
      reason,
      desired: restarts ? 'running' : restingWish(current),
      restartAttempts: restarts ? decision.attempts : current.restartAttempts,
    })
  })
}

async function gone(core: Core, instance: Instance, reason: string): Promise<Performed> {
  const restarts = instance.desired === 'running' && instance.spec.afterHostRestart === 'restart'
  await stopAndMaybePlace(core, instance, { reason, desired: restarts ? 'running' : 'stopped' })
  return 'changed'
}

/** To `stopped`; and if it is to run, to its next place in the same transaction, so that nobody takes it meanwhile. */
async function stopAndMaybePlace(core: Core, instance: Instance, patch: StepPatch): Promise<void> {
  const link = core.fleet.link(instance.hostId)
  const candidate = { link, facts: await link.facts() }
  await core.journal.ifStill(instance.id, instance, async (change, current) => {
    const restarts = (patch.desired ?? current.desired) === 'running'
    const stopped = await change.step(current, 'stopped', { ...patch, desired: restarts ? 'running' : restingWish(current) })
    if (!restarts) return stopped
    try {
      return await allocate(core, change, stopped, candidate)
    } catch (error) {
      // Refused before anything was written: it rests as `stopped`, and the loop tries again.
      if (error instanceof BerthError && error.code === 'insufficient_resources') return stopped
      throw error
    }
  })
}

// --- to and from standby --------------------------------------------------------------------------------------

async function suspend(core: Core, instance: Instance): Promise<Performed> {
  const { host } = core.fleet.link(instance.hostId)
  try {
    await withDeadline(host.suspend(refOf(instance)), core.config.deadlines.suspendMs, 'The host did not save it in time.')
  } catch (error) {
    return afterFailedMove(core, instance, error, 'running', `The standby failed, and it runs on: ${asBerthError(error).message}`)
  }
  await record(core, instance, (change, current) => change.step(current, 'standby', { desired: 'standby' }))
  return 'changed'
}

async function resume(core: Core, instance: Instance): Promise<Performed> {
  const { host } = core.fleet.link(instance.hostId)
  let started: VmStarted
  try {
    const spec = await vmSpecOf(core, instance)
    started = await withDeadline(host.resume(spec), core.config.deadlines.resumeMs, 'The host did not restore it in time.')
  } catch (error) {
    return afterFailedMove(core, instance, error, 'standby', `The restore failed, and its saved state is kept: ${asBerthError(error).message}`)
  }
  await record(core, instance, (change, current) => change.step(current, 'running', { startedAt: started.startedAt }))
  return 'changed'
}

/** A suspend or resume threw. If the VM is as it was before, it goes back, and its waiter is told; otherwise what is seen decides. */
async function afterFailedMove(core: Core, instance: Instance, error: unknown, back: 'running' | 'standby', reason: string): Promise<Performed> {
  const silent = fallSilent(core, instance, error)
  if (silent !== null) return silent
  const known = asBerthError(error)
  logDefect(core, instance, known, back === 'running' ? 'standby' : 'restore')
  const seen = await observe(core, instance)
  if (seen.kind !== 'vm') return seen
  if (back === 'standby' && seen.vm.status === 'running' && seen.vm.generation === instance.generation) {
    await record(core, instance, (change, current) => change.step(current, 'running', { startedAt: core.now() }))
    return 'changed'
  }
  if (seen.vm.status !== (back === 'running' ? 'running' : 'suspended')) return seen
  const failure = { code: known.code, message: known.message }
  await record(core, instance, (change, current) => change.step(current, back, { desired: back, reason, failure }))
  return 'changed'
}

// --- made from a snapshot -------------------------------------------------------------------------------------

async function applyBasis(core: Core, instance: Instance): Promise<Performed> {
  const snapshot = instance.basis === null ? null : await core.store.read.snapshot(instance.basis)
  if (snapshot?.status === 'creating') return 'idle'
  const wantsMemory = instance.desired === 'running' || instance.desired === 'standby'
  try {
    if (snapshot === null) throw new BerthError('not_found', 'The snapshot that it was to be made from is gone.')
    if (snapshot.error !== null) throw new BerthError(snapshot.error.code, snapshot.error.message)
    const use = {
      snapshotId: snapshot.id,
      memory: wantsMemory && snapshot.kind === 'standby',
      renew: snapshot.sourceId !== instance.id,
      consume: snapshot.isTransient,
    }
    const { host } = core.fleet.link(instance.hostId)
    await withDeadline(host.applySnapshot(await vmSpecOf(core, instance), use), core.config.deadlines.snapshotMs, 'The host did not copy the snapshot in time.')
    await record(core, instance, (change, current) => afterApply(change, current, use.memory))
  } catch (error) {
    return instance.phase === 'preparing' ? failStart(core, instance, error) : failRestore(core, instance, error)
  }
  await releaseBasis(core, instance)
  return 'changed'
}

/** On to the state that was asked for. With memory it goes on; with disks alone it starts, where it is to run. */
function afterApply(change: Change, current: Instance, memory: boolean): Promise<Instance> {
  const done = { basis: null } as const
  if (current.desired === 'standby' && memory) return change.step(current, 'standby', done)
  if (current.desired !== 'running') return change.step(current, 'stopped', done)
  if (memory) return current.phase === 'restoring' ? change.note(current, null, done) : change.step(current, 'restoring', done)
  return current.phase === 'restoring' ? change.step(current, 'stopped', done) : change.step(current, 'starting', done)
}

/** It could not go back: it rests as it was, and whoever waits is told why. */
async function failRestore(core: Core, instance: Instance, error: unknown): Promise<Performed> {
  const silent = fallSilent(core, instance, error)
  if (silent !== null) return silent
  const known = asBerthError(error)
  logDefect(core, instance, known, 'restore from a snapshot')
  const seen = await observe(core, instance)
  if (seen.kind === 'silent') return seen
  const to = seen.kind === 'vm' && seen.vm.status === 'suspended' ? 'standby' : 'stopped'
  const reason = `It could not go back to its snapshot: ${known.message}`
  await record(core, instance, (change, current) =>
    change.step(current, to, { desired: to, basis: null, reason, failure: { code: known.code, message: known.message } }),
  )
  return 'changed'
}

/** A snapshot that was taken for this instance alone has done its work. */
async function releaseBasis(core: Core, instance: Instance): Promise<void> {
  const snapshot = instance.basis === null ? null : await core.store.read.snapshot(instance.basis)
  if (snapshot?.isTransient !== true || snapshot.status === 'creating') return
  await removeSnapshot(core, snapshot).catch((error: unknown) => {
    core.logger.warn({ err: error, snapshotId: snapshot.id }, 'a snapshot that nobody needs could not be removed; the next start does it')
  })
}

// --- shared ---------------------------------------------------------------------------------------------------

async function record(core: Core, instance: Instance, work: (change: Change, current: Instance) => Promise<Instance>): Promise<Performed> {
  const done = await core.journal.ifStill(instance.id, instance, work)
  return done === null ? 'changed' : 'recorded'
}

/** What is wished of an instance that has come to rest: a delete that waits for it stays. */
function restingWish(instance: Instance): Instance['desired'] {
  return instance.desired === 'deleted' ? 'deleted' : 'stopped'
}

type Insisted<T> =
  | { readonly error: null; readonly silent: false; readonly value: T }
  | { readonly error: BerthError; readonly silent: boolean }

/** Tries what must succeed a few times; a host that doesn't answer ends it at once. */
async function insist<T>(core: Core, instance: Instance, work: () => Promise<T>): Promise<Insisted<T>> {
  const { attempts, retryMs } = core.config
  let last = new BerthError('internal', 'It was not even tried.')
  for (let attempt = 0; attempt < attempts; attempt++) {
    if (attempt > 0) await pause(Math.min(retryMs.longest, retryMs.first * 2 ** (attempt - 1)))
    try {
      return { error: null, silent: false, value: await work() }
    } catch (error) {
      last = asBerthError(error)
      logDefect(core, instance, last, 'clean-up')
      if (fallSilent(core, instance, error) !== null) return { error: last, silent: true }
    }
  }
  return { error: last, silent: false }
}

function fallSilent(core: Core, instance: Instance, error: unknown): Observed | null {
  if (!isSilence(error)) return null
  const link: HostLink | null = instance.hostId === null ? null : core.fleet.link(instance.hostId)
  if (error instanceof BerthError && error.code === 'host_unavailable') link?.fellSilent()
  else link?.onSilent()
  return { kind: 'silent' }
}

function logDefect(core: Core, instance: Instance, error: BerthError, operation: string): void {
  const details = { instanceId: instance.id, operation, err: error }
  if (error.code === 'internal') core.logger.error(details, 'an operation on a VM met a defect')
  else core.logger.info(details, 'an operation on a VM failed')
}

function pause(ms: number): Promise<void> {
  return new Promise(resolve => setTimeout(resolve, ms))
}
