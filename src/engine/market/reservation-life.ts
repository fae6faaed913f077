/**
 * Reservations begin and end by the clock: at its start one becomes active and gets its instances, at its end its
 * prices are closed at that very time, however late the server notices, and its instances are deleted.
 */
import type { Reservation } from '../../instance/market.ts'
import type { Instance, TimestampMs } from '../../instance/model.ts'
import { periodTime } from '../../instance/periods.ts'
import type { Change } from '../journal.ts'
import type { Vacancy } from './orders.ts'
import { instancesOf, tellOrder, vacanciesOf } from './orders.ts'
import { closePeriods } from './pricing.ts'
import { deleteAll } from './transitions.ts'

export interface Due {
  readonly vacancies: readonly Vacancy[]
  readonly nextAt: TimestampMs | null
}

export async function settleReservations(change: Change, at: TimestampMs): Promise<Due> {
  const { tx } = change
  const times: number[] = []
  const active: Reservation[] = []
  for (const reservation of await tx.orders('reservation', { projectId: null, liveOnly: true, order: 'oldest-first' })) {
    const instances = await instancesOf(tx, reservation)
    const next = await advance(change, reservation, instances, at)
    if (next !== reservation) await tx.putOrder('reservation', { ...next, updatedAt: at })
    if (next.deactivatedAt !== null) continue
    times.push(next.status === 'pending' ? next.startAt : next.endAt)
    if (next.status === 'active') active.push(next)
  }
  return { vacancies: await vacanciesOf(tx, active), nextAt: times.length === 0 ? null : Math.min(...times) }
}

async function advance(change: Change, reservation: Reservation, instances: readonly Instance[], at: TimestampMs): Promise<Reservation> {
  const { tx } = change
  if (at >= reservation.endAt) {
    await tellOrder(tx, reservation, reservation.endAt, 'ended')
    return { ...(await over(change, reservation, instances, reservation.endAt)), status: 'ended' }
  }
  if (reservation.status === 'pending' && at >= reservation.startAt) {
    await tellOrder(tx, reservation, at, 'active')
    return { ...reservation, status: 'active' }
  }
  if (reservation.status === 'paused' && instances.some(instance => instance.desired === 'running')) {
    await tellOrder(tx, reservation, at, 'resumed')
    return { ...reservation, status: 'active' }
  }
  return reservation
}

/** Closes its prices at a time and deletes its instances. */
async function over(change: Change, reservation: Reservation, instances: readonly Instance[], endAt: TimestampMs): Promise<Reservation> {
  for (const instance of instances) await closePeriods(change.tx, instance, ['reserved', 'pause-credit'], periodTime(endAt))
  await deleteAll(change, instances, 'Its reservation has ended.')
  return { ...reservation, deactivatedAt: endAt, message: null }
}
