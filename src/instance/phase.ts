/**
 * The state machine of an instance: which phases there are and which steps between them are legal.
 *
 *   pending ─▶ allocated ─▶ preparing ─▶ starting ─▶ running ◀─▶ unhealthy
 *      │           │            │            │          │  ▲          │
 *      │           │            │            │          ▼  │          │
 *      │           │            │            │      suspending ─▶ standby ─▶ restoring ─▶ running
 *      │           │            │            │          │
 *      ▼           ▼            ▼            ▼          ▼
 *    failed  ◀── any phase that works on a VM;   stopping ─▶ stopped ─▶ allocated (start again)
 *
 *   preparing ─▶ restoring, standby, stopped (made from a snapshot)     stopped, preempted, failed ─▶ restoring (gone back to one)
 *   running ─▶ preempting ─▶ preempted        any ─▶ lost ─▶ what the host reports
 *   any but deleted ─▶ deleting ─▶ deleted (terminal)
 *
 * Policy: a request changes only the desired state; only the engine changes the phase, one legal step
 * at a time, and each step appends one event in the same transaction.
 * Failure: an operation that fails while it works on a VM ends in `failed` with a reason, or, where
 * the VM lives on (a standby that could not be saved), goes back to `running`.
 */

export const PHASES = [
  'pending',
  'allocated',
  'preparing',
  'starting',
  'running',
  'unhealthy',
  'stopping',
  'stopped',
  'suspending',
  'standby',
  'restoring',
  'preempting',
  'preempted',
  'deleting',
  'deleted',
  'failed',
  'lost',
] as const

export type Phase = (typeof PHASES)[number]

/** What requests ask for. The reconcile loop moves the phase toward it. */
export const DESIRED_STATES = ['running', 'standby', 'stopped', 'deleted'] as const
export type DesiredState = (typeof DESIRED_STATES)[number]

/** The legal steps. `deleting` and `lost` can be reached from almost anywhere, so they are spelled out per row. */
const STEPS: Readonly<Record<Phase, readonly Phase[]>> = {
  pending: ['allocated', 'failed', 'deleting'],
  allocated: ['preparing', 'stopped', 'failed', 'deleting', 'lost'],
  preparing: ['starting', 'restoring', 'standby', 'stopping', 'stopped', 'failed', 'deleting', 'lost'],
  starting: ['running', 'stopping', 'stopped', 'failed', 'deleting', 'lost'],
  running: ['unhealthy', 'suspending', 'stopping', 'stopped', 'preempting', 'failed', 'deleting', 'lost'],
  unhealthy: ['running', 'suspending', 'stopping', 'stopped', 'preempting', 'failed', 'deleting', 'lost'],
  stopping: ['stopped', 'failed', 'deleting', 'lost'],
  stopped: ['pending', 'allocated', 'restoring', 'failed', 'deleting', 'lost'],
  suspending: ['standby', 'running', 'stopped', 'failed', 'deleting', 'lost'],
  standby: ['restoring', 'stopping', 'stopped', 'failed', 'deleting', 'lost'],
  restoring: ['running', 'standby', 'stopped', 'failed', 'deleting', 'lost'],
  preempting: ['running', 'preempted', 'stopping', 'stopped', 'failed', 'deleting', 'lost'],
  preempted: ['pending', 'allocated', 'restoring', 'failed', 'deleting'],
  deleting: ['deleted', 'failed'],
  deleted: [],
  failed: ['pending', 'allocated', 'restoring', 'stopped', 'deleting'],
  lost: ['running', 'standby', 'stopped', 'preempted', 'failed', 'deleting'],
}

/** The phases that may follow `from`. */
export function nextPhases(from: Phase): readonly Phase[] {
  return STEPS[from]
}

/** Whether one step from `from` to `to` is legal. */
export function isLegalStep(from: Phase, to: Phase): boolean {
  return STEPS[from].includes(to)
}

/** Phases in which a VMM process may exist, so that the instance holds CPU and memory of its host. */
export function holdsCompute(phase: Phase): boolean {
  switch (phase) {
    case 'allocated':
    case 'preparing':
    case 'starting':
    case 'running':
    case 'unhealthy':
    case 'stopping':
    case 'suspending':
    case 'restoring':
    case 'preempting':
    case 'deleting':
    case 'lost':
      return true
    case 'pending':
    case 'stopped':
    case 'standby':
    case 'preempted':
    case 'deleted':
    case 'failed':
      return false
  }
}

/** Phases in which a command can be executed in the guest. */
export function isServing(phase: Phase): boolean {
  return phase === 'running' || phase === 'unhealthy' || phase === 'preempting'
}

/** Phases that last until somebody asks for something. */
export function isSettled(phase: Phase): boolean {
  switch (phase) {
    case 'running':
    case 'unhealthy':
    case 'stopped':
    case 'standby':
    case 'preempted':
    case 'deleted':
    case 'failed':
      return true
    default:
      return false
  }
}
