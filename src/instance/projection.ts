/**
 * The words of Koyeb's closed enum for each phase, which its dialect and the MCP tools share, and the type and the
 * sentence of the event that tells a step into the phase (those are free text on its wire).
 */
import type { Phase } from './phase.ts'
import { PHASES } from './phase.ts'

export const KOYEB_STATUSES = ['ALLOCATING', 'STARTING', 'HEALTHY', 'UNHEALTHY', 'STOPPING', 'STOPPED', 'ERROR', 'SLEEPING'] as const
export type KoyebStatus = (typeof KOYEB_STATUSES)[number]

export interface PhaseWords {
  readonly status: KoyebStatus
  /** The type of the event. */
  readonly event: string
  /** What the instance does then: `is starting`. */
  readonly sentence: string
}

const WORDS: Readonly<Record<Phase, PhaseWords>> = {
  pending: { status: 'ALLOCATING', event: 'ALLOCATING', sentence: 'waits for a place' },
  allocated: { status: 'ALLOCATING', event: 'ALLOCATED', sentence: 'has a place' },
  preparing: { status: 'STARTING', event: 'PREPARING', sentence: 'is prepared' },
  starting: { status: 'STARTING', event: 'STARTING', sentence: 'is starting' },
  running: { status: 'HEALTHY', event: 'HEALTHY', sentence: 'is healthy' },
  unhealthy: { status: 'UNHEALTHY', event: 'UNHEALTHY', sentence: 'does not answer' },
  stopping: { status: 'STOPPING', event: 'STOPPING', sentence: 'is stopping' },
  stopped: { status: 'STOPPED', event: 'STOPPED', sentence: 'is stopped' },
  suspending: { status: 'SLEEPING', event: 'FALLING_ASLEEP', sentence: 'is falling asleep' },
  standby: { status: 'SLEEPING', event: 'SLEEPING', sentence: 'is sleeping' },
  restoring: { status: 'STARTING', event: 'WAKING', sentence: 'is waking up' },
  preempting: { status: 'HEALTHY', event: 'PREEMPTING', sentence: 'gives way to another' },
  preempted: { status: 'STOPPED', event: 'PREEMPTED', sentence: 'gave way to another' },
  deleting: { status: 'STOPPING', event: 'DELETING', sentence: 'is being deleted' },
  deleted: { status: 'STOPPED', event: 'DELETED', sentence: 'is deleted' },
  failed: { status: 'ERROR', event: 'ERROR', sentence: 'has failed' },
  lost: { status: 'UNHEALTHY', event: 'LOST', sentence: 'is out of sight' },
}

export function koyebWords(phase: Phase): PhaseWords {
  return WORDS[phase]
}

export function koyebStatus(phase: Phase): KoyebStatus {
  return WORDS[phase].status
}

/** The phases that a status stands for; `deleted` ones are not there to be found. */
export function phasesOfKoyebStatus(status: KoyebStatus): readonly Phase[] {
  return PHASES.filter(phase => WORDS[phase].status === status && phase !== 'deleted')
}
