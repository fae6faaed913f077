/**
 * How many replicas a set wants: pure.
 *
 *   wanted = replicas × average / target, the largest over all targets, from min to max
 *
 * Within a tenth of a target nothing changes. More are wanted at once; fewer only when that many have been enough for a
 * while, so that a short lull ends nobody.
 */
import type { TimestampMs } from '../../instance/model.ts'
import type { Autoscale } from '../../instance/service.ts'

/** Fewer replicas must have been enough for this long. */
export const FEWER_AFTER_MS = 60_000
const TOLERANCE = 0.1

export interface Use {
  readonly cpuPercent: number | null
  readonly memoryPercent: number | null
  readonly connections: number
}

export interface Wish {
  readonly at: TimestampMs
  readonly replicas: number
}

/** From what each replica uses; null where nothing can be said. */
export function wantedReplicas({ min, max, cpuPercent, memoryPercent, connections }: Autoscale, uses: readonly Use[]): number | null {
  const wishes = [
    wish(cpuPercent, uses.map(use => use.cpuPercent)),
    wish(memoryPercent, uses.map(use => use.memoryPercent)),
    wish(connections, uses.map(use => use.connections)),
  ].filter(count => count !== null)
  return wishes.length === 0 ? null : Math.min(max, Math.max(1, min, ...wishes))
}

function wish(target: number | null, values: readonly (number | null)[]): number | null {
  if (target === null || values.length === 0 || values.includes(null)) return null
  const ratio = values.reduce<number>((sum, value) => sum + (value ?? 0), 0) / values.length / target
  return Math.abs(ratio - 1) <= TOLERANCE ? values.length : Math.ceil(values.length * ratio)
}

/** What is done about the wishes so far, the newest last: more at once, fewer after a while. */
export function decideReplicas(current: number, wishes: readonly Wish[], now: TimestampMs): number {
  const newest = wishes.at(-1)?.replicas ?? current
  if (newest >= current) return newest
  const [first] = wishes
  const isLong = first !== undefined && now - first.at >= FEWER_AFTER_MS
  return isLong ? Math.min(current, Math.max(...wishes.map(({ replicas }) => replicas))) : current
}
