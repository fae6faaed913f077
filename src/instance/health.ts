/**
 * Health checks: what is asked of an application to know that it serves, and what follows from the answers.
 *
 *   starting ─(all pass)▶ healthy ◀─▶ unhealthy ─(too often)▶ the instance is restarted, or replaced
 *
 * Policy: what fails in the grace after a start is not counted. After it, failures count at most once an interval,
 * however often is asked; before the first pass it is asked more often, so that a start is not told late.
 */
import type { Instance, TimestampMs } from './model.ts'
import type { Phase } from './phase.ts'

export type HealthProbe =
  | { readonly kind: 'tcp'; readonly port: number }
  | {
      readonly kind: 'http'
      readonly port: number
      readonly path: string
      readonly scheme: 'http' | 'https'
      readonly method: string
      readonly headers: Readonly<Record<string, string>>
      /** null is any from 200 to 399. */
      readonly expectedStatus: number | null
    }
  | { readonly kind: 'exec'; readonly command: readonly string[]; readonly workingDir: string | null }

export interface HealthCheck {
  readonly probe: HealthProbe
  readonly intervalMs: number
  readonly timeoutMs: number
  /** From the start of the VM. */
  readonly graceMs: number
  /** Failures in a row that make it unhealthy. */
  readonly unhealthyAfter: number
  /** Passes in a row that make it healthy again. */
  readonly healthyAfter: number
  /** Failures in a row after which it is restarted or replaced; null is never. */
  readonly restartAfter: number | null
}

/** What an instance with health checks is known to be. */
export interface Health {
  /** `unknown`: this host can't ask it. */
  readonly status: 'starting' | 'healthy' | 'unhealthy' | 'unknown'
  readonly since: TimestampMs
  /** Which check failed and how; null unless it is unhealthy. */
  readonly message: string | null
  /** When all checks first passed in this life of the VM. */
  readonly passedAt: TimestampMs | null
}

export type ProbeResult = { readonly kind: 'passed' } | { readonly kind: 'failed' | 'unknown'; readonly reason: string }

export const HEALTH_CHECKS_PER_INSTANCE_LIMIT = 16
/** What the timeline says when an instance runs and nothing has been asked of it yet. */
export const AWAITS_CHECKS = 'It waits for its health checks.'
/** And when they pass for the first time. */
export const CHECKS_PASS = 'Its health checks pass.'
/** How often is asked before the first pass. */
const EAGER_MS = 1000
/** The longest that a timer waits; one for longer ends at once. */
export const TIMER_LIMIT_MS = 2 ** 31 - 1
/** A timer may be early. */
const TIMER_SLACK_MS = 20

/** What is known of one check since the VM started. */
export interface Tally {
  readonly hasPassed: boolean
  readonly isUnknown: boolean
  /** In a row. */
  readonly passes: number
  readonly failures: number
  readonly countedAt: TimestampMs | null
  readonly reason: string | null
}

export function newTally(hasPassed: boolean): Tally {
  return { hasPassed, isUnknown: false, passes: 0, failures: 0, countedAt: null, reason: null }
}

/** The tally after one more answer. */
export function tallied(tally: Tally, check: HealthCheck, result: ProbeResult, at: TimestampMs, graceEndsAt: TimestampMs): Tally {
  if (result.kind === 'unknown') return { ...tally, isUnknown: true, reason: result.reason }
  if (result.kind === 'passed') {
    const passes = tally.passes + 1
    return { hasPassed: tally.hasPassed || passes >= check.healthyAfter, isUnknown: false, passes, failures: passes >= check.healthyAfter ? 0 : tally.failures, countedAt: null, reason: null }
  }
  const isDue = at >= graceEndsAt && (tally.countedAt === null || at - tally.countedAt >= check.intervalMs - TIMER_SLACK_MS)
  const counted = isDue ? { failures: tally.failures + 1, countedAt: at } : {}
  return { ...tally, isUnknown: false, passes: 0, reason: result.reason, ...counted }
}

/** How long until the check is asked again. */
export function pauseAfter(tally: Tally, check: HealthCheck): number {
  return tally.hasPassed || tally.isUnknown ? Math.min(check.intervalMs, TIMER_LIMIT_MS) : Math.min(check.intervalMs, EAGER_MS)
}

export interface Verdict {
  readonly status: Health['status']
  readonly message: string | null
  /** One has failed too often. */
  readonly isGivenUp: boolean
}

/** What all checks of an instance say together. */
export function verdictOf(checks: readonly HealthCheck[], tallies: readonly Tally[]): Verdict {
  const pairs = checks.map((check, index) => ({ check, tally: tallies[index] ?? newTally(false) }))
  const failing = pairs.find(({ check, tally }) => tally.failures >= check.unhealthyAfter)
  if (failing !== undefined) {
    const isGivenUp = pairs.some(({ check, tally }) => check.restartAfter !== null && tally.failures >= check.restartAfter)
    return { status: 'unhealthy', message: `The ${nameOfProbe(failing.check.probe)} failed: ${failing.tally.reason ?? 'it did not pass'}`, isGivenUp }
  }
  if (pairs.some(({ tally }) => !tally.hasPassed && !tally.isUnknown)) return { status: 'starting', message: null, isGivenUp: false }
  return { status: pairs.some(({ tally }) => tally.isUnknown) ? 'unknown' : 'healthy', message: null, isGivenUp: false }
}

/** `TCP check of port 8000`. */
export function nameOfProbe(probe: HealthProbe): string {
  if (probe.kind === 'exec') return `check by the command ${probe.command[0] ?? ''}`
  return probe.kind === 'tcp' ? `TCP check of port ${probe.port}` : `HTTP check of port ${probe.port}`
}

/** Phases in which what the checks said last still tells of the instance: nothing is asked of one that sleeps. */
const TELLING: readonly Phase[] = ['running', 'unhealthy', 'preempting', 'suspending', 'standby', 'restoring']

/** What an instance is known to be; null for one that has ended or not begun, whatever its record remembers of an earlier life. */
export function healthNow({ phase, health = null }: Pick<Instance, 'phase' | 'health'>): Health | null {
  return TELLING.includes(phase) ? health : null
}

/** What an instance with these checks is when its VM has just started. */
export function healthAtStart(checks: readonly HealthCheck[] | undefined, at: TimestampMs): Health | null {
  return checks === undefined || checks.length === 0 ? null : { status: 'starting', since: at, message: null, passedAt: null }
}
