/**
 * Opens and closes price periods with the steps of instances, in the transaction of each step: an instance on demand
 * at the catalogue's price, one of a bid at the clearing price of its market, one of a reservation at the
 * reservation's, from the reservation's start (or from where the slot's last instance ended) to its end.
 */
import type { Catalogue } from '../../instance/catalogue.ts'
import type { OrderId, PeriodKind, PricePeriod } from '../../instance/market.ts'
import { ORDER, orderOf } from '../../instance/market.ts'
import type { BidId, HostId, Instance, ReservationId, TimestampMs } from '../../instance/model.ts'
import { openKind, periodTime, typeOfSize } from '../../instance/periods.ts'
import type { Pricing } from '../journal.ts'
import type { StoreReader, StoreTx } from '../store-port.ts'
import { floorMicrosOf } from './ground.ts'

export interface PricingParts {
  readonly catalogue: Catalogue
  readonly floorShare: number
  readonly regionOf: (hostId: HostId | null) => string
  readonly makeId: () => string
}

export function makePricing(parts: PricingParts): Pricing {
  return {
    async follow(tx, before, after) {
      const order = orderOf(after)
      const at = periodTime(after.phaseSince)
      const was = openKind(order?.kind ?? null, before?.phase ?? null)
      const is = openKind(order?.kind ?? null, after.phase)
      if (was !== null && was !== is) await closePeriods(tx, after, [was], at)
      if (is !== null && was !== is) await tx.putPeriod(await newPeriod(parts, tx, after, is, at))
      if (order?.kind !== 'reservation') return
      if (before === null) await openReserved(parts, tx, after)
      else if (after.phase === 'deleted') await closePeriods(tx, after, ['reserved'], at)
    },
  }
}

/** Ends what lasts of an instance at a time. */
export async function closePeriods(tx: StoreTx, instance: Pick<Instance, 'id'>, kinds: readonly PeriodKind[], at: TimestampMs): Promise<void> {
  for (const period of await tx.periods({ projectId: null, instanceIds: [instance.id], kinds, openOnly: true })) {
    await tx.putPeriod({ ...period, endAt: at })
  }
}

/** A period of a kind that begins now, at the price of now. */
export async function newPeriod(parts: PricingParts, tx: StoreReader, instance: Instance, kind: PeriodKind, at: TimestampMs): Promise<PricePeriod> {
  const order = orderOf(instance)
  const type = instance.annotations[ORDER.type] ?? instance.spec.place?.type ?? typeOfSize(parts.catalogue.types, instance.spec)?.id ?? null
  const region = instance.annotations[ORDER.region] ?? instance.spec.place?.region ?? parts.regionOf(instance.hostId)
  return {
    id: parts.makeId(),
    instanceId: instance.id,
    projectId: instance.projectId,
    orderId: order?.id ?? null,
    kind,
    type,
    region,
    priceMicros: await priceOf(parts, tx, kind, type, region, order?.id ?? null),
    startAt: at,
    endAt: null,
  }
}

async function priceOf(parts: PricingParts, tx: StoreReader, kind: PeriodKind, type: string | null, region: string, orderId: OrderId | null): Promise<number> {
  const known = parts.catalogue.types.find(one => one.id === type) ?? null
  switch (kind) {
    case 'on-demand':
      return known?.priceMicrosPerHour ?? 0
    case 'spot': {
      const [point] = type === null ? [] : await tx.marketNow({ type, region })
      if (point !== undefined) return point.spotMicros
      const bid = await tx.order('bid', orderId as BidId)
      return known === null ? (bid?.limitMicros ?? 0) : floorMicrosOf(known, parts.floorShare)
    }
    case 'reserved':
    case 'pause-credit':
    case 'return-credit': {
      const reservation = await tx.order('reservation', orderId as ReservationId)
      if (reservation === null) return 0
      if (kind === 'reserved') return reservation.unitMicros
      return kind === 'pause-credit' ? reservation.pauseBuybackMicros : reservation.returnBuybackMicros
    }
  }
}

/** From the reservation's start, or from where the last instance in its slot ended: a slot is paid without gaps. */
async function openReserved(parts: PricingParts, tx: StoreTx, instance: Instance): Promise<void> {
  const order = orderOf(instance)
  if (order === null) return
  const reservation = await tx.order('reservation', order.id as ReservationId)
  if (reservation === null) return
  const others = await tx.instances({ projectId: instance.projectId, annotations: { [ORDER.id]: order.id }, includeDeleted: true })
  const inSlot = others.filter(other => other.id !== instance.id && orderOf(other)?.slot === order.slot).map(other => other.id)
  const earlier = inSlot.length === 0 ? [] : await tx.periods({ projectId: null, instanceIds: inSlot, kinds: ['reserved'] })
  const startAt = Math.max(periodTime(reservation.startAt), ...earlier.map(period => period.endAt ?? 0))
  await tx.putPeriod(await newPeriod(parts, tx, instance, 'reserved', startAt))
}
