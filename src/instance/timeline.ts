/** The life of an instance as a list of steps with their lengths, made from its events alone. */
import type { InstanceEvent, TimestampMs } from './model.ts'
import type { Phase } from './phase.ts'

/** A stay in one phase. */
export interface TimelineStep {
  readonly phase: Phase
  readonly at: TimestampMs
  /** null for the stay that lasts. */
  readonly until: TimestampMs | null
  /** Of a stay that lasts: so far. */
  readonly durationMs: number
  readonly reason: string | null
}

/** The stays, oldest first. Notes don't count; the order is that of `seq`, and a clock set back never gives less than 0. */
export function timeline(events: readonly InstanceEvent[], now: TimestampMs): readonly TimelineStep[] {
  const phases = events.filter((event) => event.kind === 'phase').toSorted((a, b) => a.seq - b.seq)
  return phases.map((event, index) => {
    const next = phases[index + 1]
    return {
      phase: event.to,
      at: event.at,
      until: next?.at ?? null,
      durationMs: Math.max(0, (next?.at ?? now) - event.at),
      reason: event.reason,
    }
  })
}

/** Milliseconds spent in each phase that was visited; the present one counts up to now. */
export function phaseDurationsMs(events: readonly InstanceEvent[], now: TimestampMs): Readonly<Partial<Record<Phase, number>>> {
  const totals: Partial<Record<Phase, number>> = {}
  for (const step of timeline(events, now)) totals[step.phase] = (totals[step.phase] ?? 0) + step.durationMs
  return totals
}

/**
 * Milliseconds from the first visit of `from` to the next visit of `to` after it; null if that didn't happen.
 * `elapsedMs(events, 'pending', 'running')` is what a launch took.
 */
export function elapsedMs(events: readonly InstanceEvent[], from: Phase, to: Phase): number | null {
  const steps = timeline(events, 0)
  const start = steps.findIndex((step) => step.phase === from)
  if (start < 0) return null
  const end = steps.findIndex((step, index) => index > start && step.phase === to)
  const first = steps[start]
  const last = steps[end]
  return first === undefined || last === undefined ? null : Math.max(0, last.at - first.at)
}
