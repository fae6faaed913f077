/** What was used and what it cost: every figure is a sum of price periods (instance/periods.ts), so that all of them agree. */
import { BerthError } from '../../instance/errors.ts'
import type { PeriodKind, PricePeriod, Reservation } from '../../instance/market.ts'
import type { InstanceId } from '../../instance/model.ts'
import { billOf, costOf, costOfPeriod, isCredit, lengthOfPeriod, periodTime } from '../../instance/periods.ts'
import { requireScope } from '../access.ts'
import type { Core } from '../core.ts'
import type { CostedPeriod, InstanceCost, Market, ReservationUsage } from './api.ts'
import { ownOrder } from './orders.ts'

/** Periods that one call returns at most. */
export const PERIODS_LIMIT = 10_000
/** Periods that one account is made of at most; more are to be asked for in parts. */
export const USAGE_PERIODS_LIMIT = 200_000
const PAID: readonly PeriodKind[] = ['on-demand', 'spot', 'reserved']

export function makeAccounts(core: Core): Pick<Market, 'orderEvents' | 'periods' | 'usage' | 'reservationUsage' | 'quotas'> {
  const { read } = core.store
  return {
    async orderEvents(caller, id) {
      requireScope(caller, 'read')
      const bid = await read.order('bid', id)
      if (bid === null) await ownOrder(read, caller, 'reservation', id)
      else if (bid.projectId !== caller.projectId) throw new BerthError('not_found', `There is no order ${id}.`, { details: { id } })
      return read.orderEvents(id)
    },

    async periods(caller, query = {}) {
      requireScope(caller, 'read')
      const limit = Math.min(query.limit ?? PERIODS_LIMIT, PERIODS_LIMIT)
      const found = await read.periods({ kinds: PAID, ...query, projectId: caller.projectId, limit })
      return costed(found, core.now())
    },

    async usage(caller, query = {}) {
      requireScope(caller, 'read')
      const now = core.now()
      const until = query.until ?? periodTime(now)
      const from = query.from ?? (await read.project(caller.projectId))?.createdAt ?? 0
      if (!(until > from) && query.from !== undefined) throw new BerthError('invalid_request', 'The end must be after the start.', { details: { field: 'until' } })
      const { from: _from, until: _until, ...narrower } = query
      const found = await read.periods({ ...narrower, projectId: caller.projectId, ...(query.from === undefined ? {} : { from }), until, limit: USAGE_PERIODS_LIMIT + 1 })
      if (found.length > USAGE_PERIODS_LIMIT) throw new BerthError('limit_exceeded', `That is more than ${USAGE_PERIODS_LIMIT} periods: ask for a shorter time, or for some instances.`)
      const span = query.from === undefined && query.until === undefined ? null : { from: query.from ?? 0, until }
      const byInstance = new Map<InstanceId, PricePeriod[]>()
      for (const period of found) byInstance.set(period.instanceId, [...(byInstance.get(period.instanceId) ?? []), period])
      const lines: readonly InstanceCost[] = [...byInstance].map(([id, periods]) => billOf(id, periods, now, span))
      const sum = (of: (line: InstanceCost) => number) => lines.reduce((total, line) => total + of(line), 0)
      return { from, until, costMicros: sum(line => line.costMicros), creditMicros: sum(line => line.creditMicros), netMicros: sum(line => line.netMicros), lines }
    },

    async reservationUsage(caller, id) {
      requireScope(caller, 'read')
      const reservation = await ownOrder(read, caller, 'reservation', id)
      return accountOf(reservation, await read.periods({ projectId: caller.projectId, orderId: id }), core.now())
    },

    async quotas(caller) {
      requireScope(caller, 'read')
      const { projectId } = caller
      const total = core.config.limits.maxInstancesPerProject
      const used = async (kind: 'bid' | 'reservation') => (await read.orders(kind, { projectId, liveOnly: true })).reduce((sum, order) => sum + order.quantity, 0)
      const [spot, reserved, all, ordered] = [await used('bid'), await used('reservation'), await read.countInstances({ projectId }), await read.countInstances({ projectId, lacksAnnotation: 'market_order' })]
      return [
        { product: 'spot', total, used: spot },
        { product: 'reserved', total, used: reserved },
        { product: 'on-demand', total, used: Math.min(all, ordered) },
      ]
    },
  }
}

export function costed(periods: readonly PricePeriod[], now: number): readonly CostedPeriod[] {
  return periods.map(period => ({ ...period, costMicros: costOfPeriod(period, now) }))
}

/** Charged in full when it is made; pauses and returns bring something back. */
function accountOf(reservation: Reservation, periods: readonly PricePeriod[], now: number): ReservationUsage {
  const all = costed(periods, now)
  const credit = (kind: PeriodKind) => all.filter(period => period.kind === kind).reduce((sum, period) => sum + period.costMicros, 0)
  const returned = periods.filter(period => period.kind === 'return-credit').length
  const isCharged = reservation.status !== 'canceled'
  const slots = reservation.quantity + returned
  const committedMicros = isCharged ? costOf(reservation.unitMicros, periodTime(reservation.endAt) - periodTime(reservation.startAt)) * slots : 0
  const pauseCreditMicros = credit('pause-credit')
  const returnCreditMicros = credit('return-credit')
  const reservedMs = periods.filter(period => !isCredit(period.kind)).reduce((sum, period) => sum + lengthOfPeriod(period, now), 0)
  const idleMs = periods.filter(period => period.kind === 'pause-credit').reduce((sum, period) => sum + lengthOfPeriod(period, now), 0)
  return {
    committedMicros,
    pauseCreditMicros,
    returnCreditMicros,
    netMicros: committedMicros - pauseCreditMicros - returnCreditMicros,
    reservedMs,
    activeMs: Math.max(0, reservedMs - idleMs),
    idleMs,
    asOf: now,
    periods: all,
  }
}
