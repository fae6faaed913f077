/** What a reservation has cost so far, and how much of what it holds was used. */
import type { FastifyRequest } from 'fastify'
import { spellId } from '../../instance/ids.ts'
import type { OrderEventType, Reservation } from '../../instance/market.ts'
import { centsOf, ORDER } from '../../instance/market.ts'
import { derivedFid, derivedUuid } from './fids.ts'
import { phaseEvents } from './histories.ts'
import { nameOf, presentStatuses } from './present.ts'
import { findReservation } from './reservations.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, DIALECT, pathId } from './surface.ts'
import { formatTime } from './time.ts'

/** The usage endpoint tells a reservation in the words of bids. */
const AS_BID: Readonly<Record<Reservation['status'], wire.BidStatus>> = {
  pending: 'Open',
  active: 'Allocated',
  paused: 'Paused',
  canceled: 'Terminated',
  ended: 'Terminated',
}
const LEVEL_EVENTS: Readonly<Partial<Record<OrderEventType, 'Started' | 'Paused' | 'Extended'>>> = {
  active: 'Started',
  paused: 'Paused',
  'terms-changed': 'Extended',
}

export async function getReservationUsage(surface: Surface, request: FastifyRequest): Promise<wire.ReservationUsage> {
  const caller = callerOf(request)
  const reservation = await findReservation(surface, caller, pathId(request))
  const { engine } = surface
  const [usage, orderEvents, instances] = await Promise.all([
    engine.market.reservationUsage(caller, reservation.id),
    engine.market.orderEvents(caller, reservation.id),
    engine.instances.list(caller, { annotations: { [ORDER.id]: reservation.id }, includeDeleted: true }),
  ])
  const steps = await phaseEvents(surface, caller, instances)
  const committed = centsOf(usage.committedMicros)
  const flex = centsOf(usage.pauseCreditMicros)
  const early = centsOf(usage.returnCreditMicros)
  const reservedSeconds = Math.round(usage.reservedMs / 1000)
  const activeSeconds = Math.min(reservedSeconds, Math.round(usage.activeMs / 1000))
  const fid = spellId('reservation', DIALECT, reservation.id)
  return {
    reservation: {
      fid,
      order_name: reservation.name,
      start_date: formatTime(reservation.startAt),
      end_date: formatTime(reservation.endAt),
      status: AS_BID[reservation.status],
      committed_cost_cents: committed,
    },
    summary: {
      committed_cost_cents: committed,
      flex_use_credits_cents: flex,
      early_termination_credits_cents: early,
      net_cost_cents: committed - flex - early,
      reserved_instance_hours: isoDuration(reservedSeconds),
      active_instance_hours: isoDuration(activeSeconds),
      // So that the two are the third, as they stand there.
      idle_instance_hours: isoDuration(reservedSeconds - activeSeconds),
      as_of: formatTime(usage.asOf),
    },
    grants: [
      {
        fid: derivedFid('grant_', reservation.id),
        starts_at: formatTime(reservation.startAt),
        ends_at: formatTime(reservation.endAt),
        quantity: reservation.quantity,
        unit_price: centsOf(reservation.unitMicros),
        price_credit: centsOf(reservation.pauseBuybackMicros),
        return_credit: centsOf(reservation.returnBuybackMicros),
      },
    ],
    pricing_events: instances.flatMap(instance =>
      presentStatuses(steps.filter(step => step.instanceId === instance.id)).map(({ at, status }) => ({
        id: derivedUuid(`${instance.id}/${at}/${status}`),
        occurred_at: formatTime(at),
        instance_fid: spellId('instance', DIALECT, instance.id),
        instance_name: nameOf(instance),
        instance_status: status,
      })),
    ),
    reservation_events: orderEvents.flatMap(event => {
      const type = LEVEL_EVENTS[event.type]
      return type === undefined ? [] : [{ occurred_at: formatTime(event.at), event_type: type, reservation_name: reservation.name }]
    }),
  }
}

/** `PT1H30M5S`: whole seconds, which is all that readers of the format agree on. */
function isoDuration(seconds: number): string {
  const hours = Math.floor(seconds / 3600)
  const minutes = Math.floor((seconds % 3600) / 60)
  const rest = seconds % 60
  return `PT${hours === 0 ? '' : `${hours}H`}${minutes === 0 ? '' : `${minutes}M`}${rest === 0 && (hours > 0 || minutes > 0) ? '' : `${rest}S`}`
}
