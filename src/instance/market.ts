/**
 * Orders and prices: what a bid, a reservation and a price period are. Plain, readonly data, like the model.
 *
 *   Bid          open ◀─▶ allocated ─▶ preempting ─▶ open       any ─▶ paused ─▶ open       any ─▶ terminated
 *   Reservation  pending ─▶ active ◀─▶ paused ─▶ ended           pending ─▶ canceled
 *
 * An order owns `quantity` slots; a slot has at most one living instance, which names its order in its annotations.
 * Money is integers of micro-dollars; prices are of one instance for one hour. Whoever bids, bids whole cents, so
 * that every spot price is a whole number of cents. Types and regions are ids of the catalogue.
 */
import { MICROS_PER_CENT } from './catalogue.ts'
import type { BidId, Instance, InstanceId, InstanceSpec, ProjectId, ReservationId, TimestampMs } from './model.ts'

export const ORDER_KINDS = ['bid', 'reservation'] as const
export type OrderKind = (typeof ORDER_KINDS)[number]
export type OrderId = BidId | ReservationId

/** What an instance of an order carries in its annotations. */
export const ORDER = {
  /** The order's id. */
  id: 'market_order',
  /** `bid` or `reservation`. */
  kind: 'market_kind',
  /** Which of the order's places it fills, from 0. */
  slot: 'market_slot',
  type: 'market_type',
  region: 'market_region',
  /** While it has notice: when it is stopped, in Unix milliseconds. */
  preemptAt: 'market_preempt_at',
} as const

export const BID_STATUSES = ['open', 'allocated', 'preempting', 'paused', 'terminated'] as const
export type BidStatus = (typeof BID_STATUSES)[number]

export const RESERVATION_STATUSES = ['pending', 'active', 'paused', 'canceled', 'ended'] as const
export type ReservationStatus = (typeof RESERVATION_STATUSES)[number]

/** What the instances of an order are made from; vCPUs, memory and disk follow from the type. */
export type LaunchTemplate = Pick<InstanceSpec, 'image'> &
  Partial<Omit<InstanceSpec, 'image' | 'name' | 'vcpus' | 'memoryBytes' | 'overlayBytes'>> & {
    /** Pull the image first if it isn't there. */
    readonly pull?: 'never' | 'missing'
    /** Done once in the life of each instance, at its first start. */
    readonly userData?: string
    /** Public keys that open a shell in each instance. */
    readonly sshKeys?: readonly string[]
  }

export interface OrderLaunch {
  readonly template: LaunchTemplate
  /** Less memory than the type has; null takes what the type has. */
  readonly memoryBytes: number | null
  /** Kept with each instance for the dialect. */
  readonly annotations: Readonly<Record<string, string>>
  /** What only the dialect's wire knows of the order (keys, script, image version); opaque, and JSON. */
  readonly details: unknown
}

/** What one slot takes of a machine, as the catalogue said when the order was placed. */
export interface SlotSize {
  readonly vcpus: number
  readonly memoryBytes: number
  readonly diskBytes: number
}

export interface OrderBase {
  readonly projectId: ProjectId
  /** Its instances' names begin with it. Several orders may have the same. */
  readonly name: string
  readonly type: string
  readonly region: string
  readonly quantity: number
  readonly size: SlotSize
  readonly launch: OrderLaunch
  /** The surface that placed it; its instances have the same origin. */
  readonly origin: string
  readonly createdAt: TimestampMs
  readonly updatedAt: TimestampMs
  /** When it was terminated, canceled or ended; null while it lives. */
  readonly deactivatedAt: TimestampMs | null
  /** One sentence on why it has no instances, or not all; null where there is nothing to tell. */
  readonly message: string | null
}

export interface Bid extends OrderBase {
  readonly kind: 'bid'
  readonly id: BidId
  readonly status: BidStatus
  /** The most that it pays; what it pays is the clearing price. */
  readonly limitMicros: number
  /** When it last got its capacity; null before. */
  readonly allocatedAt: TimestampMs | null
  /** While `preempting`: when its instances are stopped. */
  readonly preemptAt: TimestampMs | null
}

export interface Reservation extends OrderBase {
  readonly kind: 'reservation'
  readonly id: ReservationId
  readonly status: ReservationStatus
  readonly startAt: TimestampMs
  readonly endAt: TimestampMs
  readonly unitMicros: number
  /** Credited for an hour of an instance that is paused for an hour or longer. */
  readonly pauseBuybackMicros: number
  /** Credited for each hour that is left of an instance that is given back. */
  readonly returnBuybackMicros: number
  /** Its slots, with the host that holds each; slots that were given back are not there any more. */
  readonly slots: readonly { readonly slot: number; readonly hostId: string }[]
}

export interface Orders {
  readonly bid: Bid
  readonly reservation: Reservation
}
export type Order = Bid | Reservation

export const ORDER_EVENT_TYPES = [
  'placed',
  'allocated',
  'preempting',
  'preempted',
  'notice-withdrawn',
  'limit-changed',
  'memory-changed',
  'volumes-attached',
  'volumes-removed',
  'paused',
  'resumed',
  'active',
  'terms-set',
  'terms-changed',
  'returned',
  'terminated',
  'canceled',
  'ended',
] as const
export type OrderEventType = (typeof ORDER_EVENT_TYPES)[number]

/** A line in the story of an order. */
export interface OrderEvent {
  readonly seq: number
  readonly orderId: OrderId
  readonly projectId: ProjectId
  readonly at: TimestampMs
  readonly type: OrderEventType
  /** What goes with the type: `limitMicros`, `memoryBytes`, `volumes` (a comma list), `endAt`, … */
  readonly details: Readonly<Record<string, string | number | null>>
}

/**
 * What a stretch of time of one instance costs, or brings back.
 *
 *   on-demand     it runs, at the catalogue's price        spot          it runs, at the clearing price
 *   reserved      from the reservation's start to its end, whether it runs or not
 *   pause-credit  it is paused; counts if it lasts an hour  return-credit it was given back, until the reservation's end
 */
export const PERIOD_KINDS = ['on-demand', 'spot', 'reserved', 'pause-credit', 'return-credit'] as const
export type PeriodKind = (typeof PERIOD_KINDS)[number]

export interface PricePeriod {
  readonly id: string
  readonly instanceId: InstanceId
  readonly projectId: ProjectId
  readonly orderId: OrderId | null
  readonly kind: PeriodKind
  /** Of the catalogue; null for a size that no type covers, which costs nothing. */
  readonly type: string | null
  readonly region: string
  readonly priceMicros: number
  /** Whole milliseconds; the end is exclusive, and null while it lasts. */
  readonly startAt: TimestampMs
  readonly endAt: TimestampMs | null
}

/** The market of one type in one region, from this time on. */
export interface MarketPoint {
  readonly type: string
  readonly region: string
  readonly at: TimestampMs
  /** The clearing price. */
  readonly spotMicros: number
  /** Slots that bids can get. */
  readonly capacity: number
  /** Slots that bids have. */
  readonly allocated: number
}

/** The order that an instance belongs to, or null. */
export function orderOf(instance: Pick<Instance, 'annotations'>): { readonly kind: OrderKind; readonly id: OrderId; readonly slot: number } | null {
  const id = instance.annotations[ORDER.id]
  const kind = ORDER_KINDS.find(one => one === instance.annotations[ORDER.kind])
  return id === undefined || kind === undefined ? null : { kind, id: id as OrderId, slot: Number(instance.annotations[ORDER.slot] ?? 0) }
}

/** When an instance that has notice is stopped; null without notice. */
export function preemptAtOf(instance: Pick<Instance, 'annotations' | 'phase'>): TimestampMs | null {
  const at = Number(instance.annotations[ORDER.preemptAt])
  return instance.phase === 'preempting' && Number.isFinite(at) ? at : null
}

/** The annotations of an instance whose notice is over, or withdrawn. */
export function withoutNotice(annotations: Instance['annotations']): Instance['annotations'] {
  const { [ORDER.preemptAt]: _at, ...rest } = annotations
  return rest
}

/** Micro-dollars as whole cents, half a cent up. */
export function centsOf(micros: number): number {
  return Math.floor((micros + MICROS_PER_CENT / 2) / MICROS_PER_CENT)
}
