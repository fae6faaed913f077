/** How the latest life of an instance came about: its phases in order, with what each took. Pure. */
import type { InstanceDetail } from '../../api/types.ts'

export interface Step {
  readonly phase: InstanceDetail['phase']
  readonly at: string
  /** null: it is in it now. */
  readonly ms: number | null
  readonly reason: string | null
}

/** Every step, oldest first. */
export function stepsOf({ timeline }: Pick<InstanceDetail, 'timeline'>): readonly Step[] {
  const phases = timeline.filter(({ kind }) => kind === 'phase')
  return phases.map((event, index) => {
    const next = phases[index + 1]
    return { phase: event.to, at: event.at, ms: next === undefined ? null : Date.parse(next.at) - Date.parse(event.at), reason: event.reason }
  })
}

/** Phases in which nothing is being done: a way leads from one of them to the next. */
const SETTLED: ReadonlySet<string> = new Set(['running', 'unhealthy', 'standby', 'stopped', 'failed', 'preempted', 'deleted', 'lost'])

export interface Way {
  /** What it came to. */
  readonly to: Step
  readonly steps: readonly Step[]
  readonly ms: number
}

/** The ways the instance has gone, newest first: launched, put to sleep, woken, stopped. */
export function waysOf(detail: Pick<InstanceDetail, 'timeline'>): readonly Way[] {
  const ways: Way[] = []
  let steps: Step[] = []
  for (const step of stepsOf(detail)) {
    if (SETTLED.has(step.phase)) {
      if (steps.length > 0) ways.push({ to: step, steps, ms: steps.reduce((sum, { ms }) => sum + (ms ?? 0), 0) })
      steps = []
    } else {
      steps.push(step)
    }
  }
  return ways.toReversed()
}
