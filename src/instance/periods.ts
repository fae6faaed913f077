/**
 * Price periods: which stretches of an instance's life cost what, opened and closed by its steps, and what they add
 * up to. The same list is the pricing history, the usage and the account of a reservation, so that these agree.
 *
 * Rounding, in one place only: the cost of a period is price × milliseconds / 3,600,000 in whole micro-dollars, half
 * a micro-dollar up. Every sum is a sum of such costs, exact; cents are made from sums at the very end (`centsOf`).
 * Times are whole milliseconds, cut down; where one period ends because another begins, both have the same time.
 *
 * What is paid: an instance costs from `running` until it leaves the phases in which a guest serves (running,
 * unhealthy, preempting). Starting, stopping, sleeping and being lost cost nothing. A reservation's instance costs
 * from the reservation's start to its end; while it is paused, credit accrues, which counts once it has lasted an hour.
 */
import type { InstanceType } from './catalogue.ts'
import type { OrderKind, PeriodKind, PricePeriod } from './market.ts'
import type { Instance, InstanceId, InstanceSpec, TimestampMs } from './model.ts'
import { isServing } from './phase.ts'

export const HOUR_MS = 3_600_000
/** A pause that is shorter brings nothing back. */
export const PAUSE_CREDIT_AFTER_MS = HOUR_MS

const CREDITS: readonly PeriodKind[] = ['pause-credit', 'return-credit']

/** Micro-dollars for so long at a price an hour, half a micro-dollar up. */
export function costOf(priceMicros: number, durationMs: number): number {
  if (durationMs <= 0) return 0
  const hour = BigInt(HOUR_MS)
  return Number((BigInt(priceMicros) * BigInt(durationMs) * 2n + hour) / (hour * 2n))
}

/** The moment as periods keep it. */
export function periodTime(at: TimestampMs): TimestampMs {
  return Math.floor(at)
}

/** The kind of period that is open for an instance in its phase, beside the `reserved` one of a reservation's. */
export function openKind(order: OrderKind | null, phase: Instance['phase'] | null): PeriodKind | null {
  if (phase === null) return null
  switch (order) {
    case null:
      return isServing(phase) ? 'on-demand' : null
    case 'bid':
      return isServing(phase) ? 'spot' : null
    case 'reservation':
      return phase === 'stopped' || phase === 'standby' ? 'pause-credit' : null
  }
}

/** The type of the catalogue that a size is priced as: the one that is exactly so, or the cheapest that covers it. */
export function typeOfSize(types: readonly InstanceType[], spec: Pick<InstanceSpec, 'vcpus' | 'memoryBytes' | 'hotplugBytes'>): InstanceType | null {
  const memoryBytes = spec.memoryBytes + spec.hotplugBytes
  const plain = types.filter(type => type.gpu === null)
  const exact = plain.find(type => type.vcpus === spec.vcpus && type.memoryBytes === memoryBytes)
  if (exact !== undefined) return exact
  const covering = plain.filter(type => type.vcpus >= spec.vcpus && type.memoryBytes >= memoryBytes)
  return covering.toSorted((a, b) => a.priceMicrosPerHour - b.priceMicrosPerHour)[0] ?? null
}

export interface Span {
  readonly from: TimestampMs
  readonly until: TimestampMs
}

/**
 * What a period costs within a span; one that lasts counts up to `now`, and so does one that ends in the future.
 * A return credit is due in full when the instance is given back, so it doesn't wait for its end.
 */
export function costOfPeriod(period: PricePeriod, now: TimestampMs, span: Span | null = null): number {
  const end = endOfPeriod(period, now)
  if (period.kind === 'pause-credit' && end - period.startAt < PAUSE_CREDIT_AFTER_MS) return 0
  return costOf(period.priceMicros, lengthIn(period.startAt, end, span))
}

/** Milliseconds of a period so far, within a span. */
export function lengthOfPeriod(period: PricePeriod, now: TimestampMs, span: Span | null = null): number {
  return lengthIn(period.startAt, endOfPeriod(period, now), span)
}

export function isCredit(kind: PeriodKind): boolean {
  return CREDITS.includes(kind)
}

export interface Bill<P extends PricePeriod = PricePeriod> {
  readonly instanceId: InstanceId
  readonly costMicros: number
  readonly creditMicros: number
  readonly netMicros: number
  readonly paidMs: number
  readonly periods: readonly (P & { readonly costMicros: number })[]
}

/** Periods of one instance, added up. */
export function billOf(instanceId: InstanceId, periods: readonly PricePeriod[], now: TimestampMs, span: Span | null = null): Bill {
  const costed = periods.map(period => ({ ...period, costMicros: costOfPeriod(period, now, span) }))
  const sum = (wanted: boolean) => costed.filter(period => isCredit(period.kind) === wanted).reduce((total, period) => total + period.costMicros, 0)
  const costMicros = sum(false)
  const creditMicros = sum(true)
  const paid = periods.filter(period => !isCredit(period.kind))
  const paidMs = paid.reduce((total, period) => total + lengthOfPeriod(period, now, span), 0)
  return { instanceId, costMicros, creditMicros, netMicros: costMicros - creditMicros, paidMs, periods: costed }
}

function endOfPeriod(period: PricePeriod, now: TimestampMs): TimestampMs {
  const end = period.endAt ?? periodTime(now)
  return period.kind === 'return-credit' ? end : Math.min(end, Math.max(period.startAt, periodTime(now)))
}

function lengthIn(start: TimestampMs, end: TimestampMs, span: Span | null): number {
  const from = span === null ? start : Math.max(start, periodTime(span.from))
  const until = span === null ? end : Math.min(end, periodTime(span.until))
  return Math.max(0, until - from)
}
