/**
 * The market as dialects see it: orders that own instances, the prices of now and of before, and what instances
 * cost. As everywhere in the engine a call sees only the caller's project; supply and prices are everybody's.
 *
 * Types and regions are ids of the catalogue, money is micro-dollars, prices are of one instance for one hour.
 * An order's instances are ordinary instances: list them with the annotation `ORDER.id`, or by `instanceIds`.
 */
import type {
  Bid,
  BidStatus,
  MarketPoint,
  Order,
  OrderEvent,
  OrderId,
  OrderLaunch,
  PeriodKind,
  PricePeriod,
  Reservation,
  ReservationStatus,
} from '../../instance/market.ts'
import type { BidId, InstanceId, ReservationId, TimestampMs, VolumeMount } from '../../instance/model.ts'
import type { Caller } from '../api.ts'

/** What is to be had of one type in one region, and for how much, now. */
export interface Supply {
  readonly type: string
  readonly region: string
  /** Slots that bids can get: what bids have, and what is free. */
  readonly capacity: number
  /** Slots that nobody has. */
  readonly available: number
  /** Slots that bids have. */
  readonly allocated: number
  /** Slots that reservations hold now. */
  readonly reserved: number
  /** All slots that the region has of this type. */
  readonly total: number
  /** The clearing price. */
  readonly spotMicros: number
  /** The least that a bid may offer. */
  readonly floorMicros: number
  /** The lowest limit among the bids that have capacity; null without one. */
  readonly lowestAllocatedMicros: number | null
  readonly reservedMicros: number
  readonly onDemandMicros: number
}

export interface SupplyFilter {
  readonly type?: string
  readonly region?: string
}

export type NewOrder = Pick<Bid, 'name' | 'type' | 'region' | 'quantity'> & {
  readonly launch: Pick<OrderLaunch, 'template'> & Partial<OrderLaunch>
}

export interface PlaceBid extends NewOrder {
  /** Whole cents, at least the floor. */
  readonly limitMicros: number
}

export interface BidChange {
  readonly limitMicros?: number
  /** true stops its instances and keeps their disks; false lets it compete again. */
  readonly paused?: boolean
  /** For instances that are launched from then on. */
  readonly memoryBytes?: number
  /** All that its instances shall have; only while none of them runs. */
  readonly volumes?: readonly VolumeMount[]
  /** Replaces the dialect's own details. */
  readonly details?: unknown
}

export interface PlaceReservation extends NewOrder {
  /** Not in the past by more than a moment; then it starts now. */
  readonly startAt: TimestampMs
  readonly endAt: TimestampMs
  /** It is refused (`limit_exceeded`) if a unit costs more. */
  readonly maxUnitMicros?: number
}

export interface ReservationChange {
  /** Of all its instances; a single one is paused with `instances.stop` and started with `instances.start`. */
  readonly paused?: boolean
  readonly volumes?: readonly VolumeMount[]
  readonly details?: unknown
}

export interface ReservationWish {
  readonly type: string
  readonly region: string
  readonly startAt: TimestampMs
  readonly endAt: TimestampMs
  readonly quantity: number
}

export interface Quote {
  readonly isAvailable: boolean
  readonly unitMicros: number
  readonly pauseBuybackMicros: number
  readonly returnBuybackMicros: number
  readonly totalMicros: number
}

/** A stretch of time with so many slots that can be reserved from its first to its last moment. */
export interface ReservableSlot {
  readonly startAt: TimestampMs
  readonly endAt: TimestampMs
  readonly quantity: number
}

/** An order with its instances, in the order of its slots: those that are there, or with `includeDeleted` that ever were. */
export type WithInstances<O extends Order> = O & { readonly instanceIds: readonly InstanceId[] }

interface OrderFilter {
  readonly name?: string
  readonly type?: string
  readonly region?: string
  /** Leaves out those that are over. */
  readonly liveOnly?: boolean
  /** By creation; default `newest-first`. */
  readonly order?: 'newest-first' | 'oldest-first'
  readonly limit?: number
  readonly offset?: number
}

export interface BidFilter extends OrderFilter {
  readonly statuses?: readonly BidStatus[]
}

export interface ReservationFilter extends OrderFilter {
  readonly statuses?: readonly ReservationStatus[]
}

export interface PriceSeries {
  readonly type: string
  readonly region: string
  /** Oldest first; the first tells what held at `from`. Each holds until the next. */
  readonly points: readonly MarketPoint[]
  readonly reservedMicros: number
  readonly onDemandMicros: number
}

export interface PriceHistoryQuery extends SupplyFilter {
  readonly from: TimestampMs
  readonly until: TimestampMs
}

export interface PeriodQuery {
  readonly instanceIds?: readonly InstanceId[]
  readonly orderId?: OrderId
  readonly kinds?: readonly PeriodKind[]
  /** Those that overlap this span, whole. */
  readonly from?: TimestampMs
  readonly until?: TimestampMs
  readonly limit?: number
  readonly offset?: number
}

/** A period with its exact cost, so far if it lasts (periods.ts tells the rounding). */
export interface CostedPeriod extends PricePeriod {
  /** Of a credit that does not count (yet): 0. */
  readonly costMicros: number
}

export interface InstanceCost {
  readonly instanceId: InstanceId
  /** What its on-demand, spot and reserved periods cost. */
  readonly costMicros: number
  /** What pauses and returns bring back. */
  readonly creditMicros: number
  readonly netMicros: number
  /** Milliseconds in paid periods. */
  readonly paidMs: number
  readonly periods: readonly CostedPeriod[]
}

/** What was used in a span, cut to it: each line the sum of its periods, the totals the sums of the lines. */
export interface Usage {
  readonly from: TimestampMs
  readonly until: TimestampMs
  readonly costMicros: number
  readonly creditMicros: number
  readonly netMicros: number
  readonly lines: readonly InstanceCost[]
}

export interface UsageQuery {
  readonly instanceIds?: readonly InstanceId[]
  readonly orderId?: OrderId
  /** Default: the beginning of the project. */
  readonly from?: TimestampMs
  /** Default: now. */
  readonly until?: TimestampMs
}

/** The account of a reservation: charged in full, less credits so far. */
export interface ReservationUsage {
  readonly committedMicros: number
  readonly pauseCreditMicros: number
  readonly returnCreditMicros: number
  readonly netMicros: number
  /** Hours of instances that were reserved so far, of these that ran, and that did not. */
  readonly reservedMs: number
  readonly activeMs: number
  readonly idleMs: number
  readonly asOf: TimestampMs
  readonly periods: readonly CostedPeriod[]
}

export interface Quota {
  readonly product: 'spot' | 'reserved' | 'on-demand'
  /** Instances. */
  readonly total: number
  readonly used: number
}

export interface Market {
  supply(caller: Caller, filter?: SupplyFilter): Promise<readonly Supply[]>
  /** The least whole-cent limit that would win so many slots now; null if no limit would. */
  priceToWin(caller: Caller, wish: { readonly type: string; readonly region: string; readonly quantity: number }): Promise<number | null>
  priceHistory(caller: Caller, query: PriceHistoryQuery): Promise<readonly PriceSeries[]>

  /** `invalid_request` with `details.field` `limitMicros` below the floor. It competes at once. */
  placeBid(caller: Caller, request: PlaceBid): Promise<WithInstances<Bid>>
  updateBid(caller: Caller, id: BidId, change: BidChange): Promise<WithInstances<Bid>>
  /** Ends it and deletes its instances; `not_found` if it is over. */
  endBid(caller: Caller, id: BidId): Promise<WithInstances<Bid>>
  /** Also one that is over. */
  bid(caller: Caller, id: BidId): Promise<WithInstances<Bid>>
  bids(caller: Caller, filter?: BidFilter): Promise<readonly WithInstances<Bid>[]>

  quote(caller: Caller, wish: ReservationWish): Promise<Quote>
  /** What can be reserved between two times, oldest first, without gaps. */
  reservable(caller: Caller, query: Omit<ReservationWish, 'quantity' | 'startAt' | 'endAt'> & { readonly from: TimestampMs; readonly until: TimestampMs }): Promise<readonly ReservableSlot[]>
  /** `insufficient_resources` if there is no room from start to end. */
  reserve(caller: Caller, request: PlaceReservation): Promise<WithInstances<Reservation>>
  /** `invalid_state` unless it is active or paused. */
  updateReservation(caller: Caller, id: ReservationId, change: ReservationChange): Promise<WithInstances<Reservation>>
  extendReservation(caller: Caller, id: ReservationId, endAt: TimestampMs): Promise<WithInstances<Reservation>>
  /** The latest end that it could be extended to. */
  latestExtension(caller: Caller, id: ReservationId): Promise<TimestampMs>
  /** Gives paused instances back for good; those that are not paused stay. Returns those that were given back. */
  returnInstances(caller: Caller, id: ReservationId, instanceIds: readonly InstanceId[]): Promise<readonly InstanceId[]>
  /** Before it starts; afterwards `invalid_state`. */
  cancelReservation(caller: Caller, id: ReservationId): Promise<WithInstances<Reservation>>
  /** Also one that is over. */
  reservation(caller: Caller, id: ReservationId): Promise<WithInstances<Reservation>>
  reservations(caller: Caller, filter?: ReservationFilter): Promise<readonly WithInstances<Reservation>[]>
  reservationUsage(caller: Caller, id: ReservationId): Promise<ReservationUsage>

  /** Oldest first. */
  orderEvents(caller: Caller, id: OrderId): Promise<readonly OrderEvent[]>
  /** What instances were priced at, oldest first; credits only where `kinds` asks for them. */
  periods(caller: Caller, query?: PeriodQuery): Promise<readonly CostedPeriod[]>
  usage(caller: Caller, query?: UsageQuery): Promise<Usage>
  quotas(caller: Caller): Promise<readonly Quota[]>
}
