/**
 * What to do about an instance now: a pure decision from what was asked for (`desired`), where it is (`phase`),
 * and what its host is seen to hold (`observed`). Called again after each action, it leads to the desired state.
 *
 *   allocated ▶ preparing ─prepare▶ starting ─start▶ running         an error there: rollback ▶ failed
 *   stopping ─stop▶ stopped     suspending ─suspend▶ standby     restoring ─resume▶ running
 *   preparing ─apply▶ restoring, starting, standby, stopped (a fork)     restoring ─apply▶ restoring, standby, stopped
 *   preempting ─(its notice is over) preempt▶ preempted
 *   deleting ─destroy▶ deleted  stopped, standby ─place▶ allocated, restoring (if it is to run)
 *
 * Policy: what is seen wins over what is believed. A VM that is gone from a phase that needs one is `gone`; one
 * that is there where none may be is halted. Without a sight (`unknown`) the phase is believed.
 * Nothing here is launched twice: a start goes on only where the host shows no ended VM of this generation.
 */
import { preemptAtOf } from '../instance/market.ts'
import type { AppExit, Instance, TimestampMs } from '../instance/model.ts'
import { holdsCompute } from '../instance/phase.ts'
import type { Phase } from '../instance/phase.ts'
import type { HostVm } from './host-port.ts'

/** What is known of the VM of one instance. */
export type Observed =
  | { readonly kind: 'unknown' }
  /** The host doesn't answer. */
  | { readonly kind: 'silent' }
  /** The host was asked, and has nothing of this instance. */
  | { readonly kind: 'absent' }
  /** The host was asked. */
  | { readonly kind: 'vm'; readonly vm: Omit<HostVm, 'instanceId'> }
  /** An event told that the VM of a generation ended; it may be about a life that is over. */
  | { readonly kind: 'exited'; readonly generation: number; readonly exit: AppExit }
  /** An event told that the agent stopped answering, or answers again. */
  | { readonly kind: 'agent'; readonly generation: number; readonly reachable: boolean; readonly reason: string | null }

export type Action =
  | { readonly kind: 'none' }
  | { readonly kind: 'wait'; readonly until: TimestampMs }
  /** A step that needs nothing but its record. */
  | { readonly kind: 'step'; readonly to: Phase; readonly reason: string | null }
  /** Admission again, and a new generation: to `allocated`, or from standby to `restoring`. */
  | { readonly kind: 'place' }
  | { readonly kind: 'await-image' }
  /** It gets the disks, and the memory, of the snapshot that it is made from. */
  | { readonly kind: 'apply' }
  | { readonly kind: 'prepare' | 'start' | 'stop' | 'suspend' | 'resume' | 'preempt' | 'destroy' }
  /** Undo a start that failed, then `failed`. */
  | { readonly kind: 'rollback' }
  /** The application ended; the restart policy decides what follows. */
  | { readonly kind: 'ended'; readonly exit: AppExit }
  /** The VM is not there any more and nobody knows how it ended; `afterHostRestart` decides. */
  | { readonly kind: 'gone'; readonly reason: string }
  /** A VM that should not be there: end it. */
  | { readonly kind: 'halt'; readonly generation: number }
  /** It runs although its record says that it sleeps. */
  | { readonly kind: 'adopt'; readonly to: 'restoring' }
  /** The host has seen a newer generation than the record (a database of yesterday): take it over. */
  | { readonly kind: 'catch-up'; readonly generation: number }
  | { readonly kind: 'delete'; readonly reason: string }

const NONE: Action = { kind: 'none' }

/** `retryMs` is how long a delete that failed rests before it is tried again. */
export function nextAction(instance: Instance, observed: Observed, now: TimestampMs, retryMs: number): Action {
  const { phase, desired } = instance
  if (phase === 'deleted') return NONE
  if (observed.kind === 'vm' && observed.vm.generation > instance.generation) return { kind: 'catch-up', generation: observed.vm.generation }
  if (phase === 'deleting') return { kind: 'destroy' }
  // A graceful delete stops first.
  if (desired === 'deleted' && phase !== 'stopping') {
    const due = instance.phaseSince + retryMs
    if (phase === 'failed' && now < due) return { kind: 'wait', until: due }
    return { kind: 'delete', reason: instance.reason ?? 'It is to be deleted.' }
  }
  const { expiresAt } = instance.spec
  if (expiresAt !== null && now >= expiresAt) return { kind: 'delete', reason: 'It has expired.' }
  const action = ofLiving(instance, observed, now)
  if (expiresAt === null || (action.kind !== 'none' && action.kind !== 'wait')) return action
  return { kind: 'wait', until: action.kind === 'wait' ? Math.min(action.until, expiresAt) : expiresAt }
}

function ofLiving(instance: Instance, observed: Observed, now: TimestampMs): Action {
  const { phase, desired } = instance
  if (observed.kind === 'silent') {
    return holdsCompute(phase) && phase !== 'lost' ? { kind: 'step', to: 'lost', reason: 'Its host does not answer.' } : NONE
  }
  switch (phase) {
    case 'pending':
      return desired === 'running' ? { kind: 'place' } : NONE
    case 'allocated':
      return desired === 'running' || instance.basis !== null ? { kind: 'step', to: 'preparing', reason: null } : { kind: 'step', to: 'stopped', reason: null }
    case 'preparing':
      if (instance.errorCode !== null) return { kind: 'rollback' }
      if (instance.basis !== null) return { kind: 'apply' }
      if (desired !== 'running') return { kind: 'step', to: 'stopping', reason: null }
      return instance.imageDigest === null ? { kind: 'await-image' } : { kind: 'prepare' }
    case 'starting':
      return ofStarting(instance, observed)
    case 'running':
    case 'unhealthy':
      return ofServing(instance, observed)
    case 'preempting':
      return ofPreempting(instance, observed, now)
    case 'stopping':
      return { kind: 'stop' }
    case 'suspending':
      return ofSuspending(instance, observed)
    case 'restoring':
      return ofRestoring(instance, observed)
    case 'standby':
      return ofStandby(instance, observed)
    case 'stopped':
    case 'preempted':
    case 'failed':
      return ofResting(instance, observed, now)
    case 'lost':
      return ofLost(instance, observed)
    case 'deleting':
    case 'deleted':
      return NONE
  }
}

function ofStarting(instance: Instance, observed: Observed): Action {
  if (instance.errorCode !== null) return { kind: 'rollback' }
  if (instance.desired !== 'running') return { kind: 'step', to: 'stopping', reason: null }
  const ended = endOf(instance, observed)
  if (ended !== null) return ended
  if (observed.kind === 'vm' && observed.vm.status === 'running' && observed.vm.generation < instance.generation) {
    return { kind: 'halt', generation: observed.vm.generation }
  }
  return { kind: 'start' }
}

function ofServing(instance: Instance, observed: Observed): Action {
  const lost = endOf(instance, observed) ?? goneOf(observed)
  if (lost !== null) return lost
  const isSaved = observed.kind === 'vm' && observed.vm.status === 'suspended'
  // One that is about to be preempted has no way to sleep: its notice is withdrawn by that.
  if (instance.phase === 'preempting' && (isSaved || instance.desired === 'standby')) return { kind: 'step', to: 'running', reason: null }
  if (isSaved) return { kind: 'step', to: 'suspending', reason: 'Its memory was found saved.' }
  if (instance.desired === 'stopped') return { kind: 'step', to: 'stopping', reason: instance.reason }
  if (instance.desired === 'standby') return { kind: 'step', to: 'suspending', reason: instance.reason }
  if (observed.kind === 'agent' && observed.generation === instance.generation) {
    const { reachable, reason } = observed
    if (!reachable && instance.phase === 'running') return { kind: 'step', to: 'unhealthy', reason: reason ?? 'The guest does not answer.' }
    // What its health checks say, only they take back.
    if (reachable && instance.phase === 'unhealthy' && instance.health?.status !== 'unhealthy') return { kind: 'step', to: 'running', reason: null }
  }
  return NONE
}

/** Once the notice is over it is stopped for that, whatever has become of its VM meanwhile. */
function ofPreempting(instance: Instance, observed: Observed, now: TimestampMs): Action {
  const at = preemptAtOf(instance)
  if (at !== null && now >= at && instance.desired === 'running') return { kind: 'preempt' }
  const action = ofServing(instance, observed)
  return at === null || action.kind !== 'none' ? action : { kind: 'wait', until: at }
}

function ofSuspending(instance: Instance, observed: Observed): Action {
  const lost = endOf(instance, observed) ?? goneOf(observed)
  if (lost !== null) return lost
  if (observed.kind === 'vm' && observed.vm.status === 'suspended') return { kind: 'step', to: 'standby', reason: null }
  return { kind: 'suspend' }
}

function ofRestoring(instance: Instance, observed: Observed): Action {
  if (instance.basis !== null) return { kind: 'apply' }
  const ended = endOf(instance, observed)
  if (ended !== null) return ended
  if (observed.kind === 'absent' || (observed.kind === 'vm' && (observed.vm.status === 'prepared' || observed.vm.status === 'exited'))) {
    return { kind: 'gone', reason: 'Its saved state is gone.' }
  }
  return { kind: 'resume' }
}

function ofStandby(instance: Instance, observed: Observed): Action {
  if (observed.kind === 'absent' || (observed.kind === 'vm' && (observed.vm.status === 'prepared' || observed.vm.status === 'exited'))) {
    return { kind: 'gone', reason: observed.kind === 'vm' && observed.vm.exit !== null ? observed.vm.exit.message : 'Its saved state is gone.' }
  }
  if (observed.kind === 'vm' && observed.vm.status === 'running') return { kind: 'adopt', to: 'restoring' }
  if (instance.desired === 'running') return { kind: 'place' }
  if (instance.desired === 'stopped') return { kind: 'step', to: 'stopping', reason: instance.reason }
  return NONE
}

function ofResting(instance: Instance, observed: Observed, now: TimestampMs): Action {
  if (observed.kind === 'vm' && (observed.vm.status === 'running' || observed.vm.status === 'suspended')) {
    return { kind: 'halt', generation: observed.vm.generation }
  }
  if (instance.desired === 'running') {
    const due = restartDue(instance)
    return now < due ? { kind: 'wait', until: due } : { kind: 'place' }
  }
  if (instance.phase === 'stopped' && instance.spec.removeWhenStopped && instance.startedAt !== null) {
    return { kind: 'delete', reason: 'It was to be removed once it had stopped.' }
  }
  return NONE
}

function ofLost(instance: Instance, observed: Observed): Action {
  const lost = endOf(instance, observed) ?? goneOf(observed)
  if (lost !== null) return lost
  if (observed.kind !== 'vm') return NONE
  return { kind: 'step', to: observed.vm.status === 'suspended' ? 'standby' : 'running', reason: 'Its host answers again.' }
}

/** When an application that ended by itself may start again; a start that a person asked for is due at once. */
export function restartDue(instance: Instance): TimestampMs {
  const { restart } = instance.spec
  if (instance.restartAttempts === 0 || restart.kind === 'never') return instance.phaseSince
  return instance.phaseSince + restart.backoffMs
}

/** The VM of this very generation has ended, and how is known. */
function endOf(instance: Instance, observed: Observed): Action | null {
  if (observed.kind === 'exited' && observed.generation === instance.generation) return { kind: 'ended', exit: observed.exit }
  if (observed.kind !== 'vm' || observed.vm.status !== 'exited' || observed.vm.generation !== instance.generation) return null
  return observed.vm.exit === null ? { kind: 'gone', reason: 'Its VM has ended and nothing tells how.' } : { kind: 'ended', exit: observed.vm.exit }
}

/** There is no VM where there should be one. */
function goneOf(observed: Observed): Action | null {
  if (observed.kind === 'absent') return { kind: 'gone', reason: 'The host has lost its VM.' }
  if (observed.kind === 'vm' && (observed.vm.status === 'prepared' || observed.vm.status === 'exited')) {
    return { kind: 'gone', reason: 'The host was restarted.' }
  }
  return null
}
