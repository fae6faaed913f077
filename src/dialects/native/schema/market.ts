/** The market: supply and prices, bids, reservations, and what instances cost. Money is micro-dollars, prices are of one instance for one hour. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import { BID_STATUSES, ORDER_EVENT_TYPES, PERIOD_KINDS, RESERVATION_STATUSES } from '../../../instance/market.ts'
import { CreateInstanceBody } from './instance-requests.ts'
import { pageProperties } from './page.ts'
import { Bytes, Count, Text, Time, closed, nullable } from './words.ts'

const Micros = (description: string) => Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, description })
const Word = (description: string) => Type.String({ minLength: 1, maxLength: 128, description })
const When = (description: string) => Type.String({ maxLength: 64, description })

const market = { type: Text('Type of the catalogue.'), region: Text('Region of the catalogue.') }

export const SupplyBody = Type.Object(
  {
    ...market,
    total: Count('Slots that the region has of this type.'),
    reserved: Count('Of them, held by reservations now.'),
    capacity: Count('Slots that bids can get: what they have, and what is free.'),
    allocated: Count('Slots that bids have.'),
    available: Count('Slots that nobody has.'),
    spotMicros: Micros('The clearing price.'),
    floorMicros: Micros('The least that a bid may offer.'),
    lowestAllocatedMicros: nullable(Micros(''), 'The lowest limit among the bids that have capacity; null without one.'),
    reservedMicros: Micros('Of a reservation.'),
    onDemandMicros: Micros('Of an instance without an order.'),
  },
  { $id: 'Supply' },
)
export type SupplyBody = Static<typeof SupplyBody>

export const PriceSeriesBody = Type.Object(
  {
    ...market,
    points: Type.Array(Type.Object({ at: Time('From then on.'), spotMicros: Micros('The clearing price.'), capacity: Count('Slots that bids could get.'), allocated: Count('Slots that bids had.') }), {
      description: 'Oldest first; each holds until the next, the first from before the span.',
    }),
    reservedMicros: Micros('Of a reservation.'),
    onDemandMicros: Micros('Of an instance without an order.'),
  },
  { $id: 'PriceSeries' },
)
export type PriceSeriesBody = Static<typeof PriceSeriesBody>

const orderProperties = {
  id: Text('A UUID.'),
  name: Text('Its instances are named after it.'),
  ...market,
  quantity: Count('Instances.'),
  image: Text('What its instances run.'),
  message: nullable(Type.String(), 'Why it has no instances, or not all.'),
  instanceIds: Type.Array(Type.String(), { description: 'Its instances; of one that is over, those that it had.' }),
  origin: Text('The surface that placed it.'),
  createdAt: Time('When it was placed.'),
  deactivatedAt: nullable(Time(''), 'When it ended.'),
}

export const BidBody = Type.Object(
  {
    ...orderProperties,
    status: Type.Enum(BID_STATUSES),
    limitMicros: Micros('The most that it pays.'),
    spotMicros: Micros('What its instances pay now: the clearing price of its market.'),
    allocatedAt: nullable(Time(''), 'When it last got its capacity.'),
    preemptAt: nullable(Time(''), 'While `preempting`: when its instances are stopped.'),
  },
  { $id: 'Bid' },
)
export type BidBody = Static<typeof BidBody>

export const ReservationBody = Type.Object(
  {
    ...orderProperties,
    status: Type.Enum(RESERVATION_STATUSES),
    startAt: Time('It holds its capacity from then on.'),
    endAt: Time('Its instances are deleted then.'),
    unitMicros: Micros('Price of one instance for one hour.'),
    pauseBuybackMicros: Micros('Credited for an hour of an instance that is paused for an hour or longer.'),
    returnBuybackMicros: Micros('Credited for an hour that is left of an instance that is given back.'),
    totalMicros: Micros('Charged in full.'),
  },
  { $id: 'Reservation' },
)
export type ReservationBody = Static<typeof ReservationBody>

export const OrderEventBody = Type.Object(
  { at: Time('When it happened.'), type: Type.Enum(ORDER_EVENT_TYPES), details: Type.Record(Type.String(), Type.Unknown(), { description: 'What goes with the type.' }) },
  { $id: 'OrderEvent' },
)
export type OrderEventBody = Static<typeof OrderEventBody>

export const PricePeriodBody = Type.Object(
  {
    instanceId: Text('Whose.'),
    orderId: nullable(Type.String(), 'The bid or reservation it belongs to.'),
    kind: Type.Enum(PERIOD_KINDS),
    type: nullable(Type.String(), 'null: a size that no type of the catalogue covers, which costs nothing.'),
    region: Text('Region of the catalogue.'),
    priceMicros: Micros('For one hour.'),
    startAt: Time('From then on.'),
    endAt: nullable(Time(''), 'Until then; null while it lasts.'),
    costMicros: Micros('So far: price × milliseconds / 3,600,000, half a micro-dollar up. A pause that lasts less than an hour brings 0.'),
  },
  { $id: 'PricePeriod' },
)
export type PricePeriodBody = Static<typeof PricePeriodBody>

const sums = {
  costMicros: Micros('What on-demand, spot and reserved time costs.'),
  creditMicros: Micros('What pauses and returns bring back.'),
  netMicros: Type.Integer({ description: 'The difference.' }),
}

export const InstanceCostBody = Type.Object(
  { instanceId: Text('Whose.'), name: nullable(Type.String(), 'Its name.'), ...sums, paidMs: Count('Milliseconds that were paid.'), periods: Type.Array(Type.Ref('PricePeriod#'), { description: 'What it is made of.' }) },
  { $id: 'InstanceCost' },
)
export type InstanceCostBody = Static<typeof InstanceCostBody>

export const UsageBody = Type.Object({ from: Time('The span.'), until: Time('Exclusive.'), ...sums, items: Type.Array(Type.Ref('InstanceCost#')) }, { $id: 'Usage' })
export type UsageBody = Static<typeof UsageBody>

export const ReservationUsageBody = Type.Object(
  {
    committedMicros: Micros('Charged in full.'),
    pauseCreditMicros: Micros('Brought back by pauses.'),
    returnCreditMicros: Micros('Brought back by instances given back.'),
    netMicros: Type.Integer({ description: 'The difference.' }),
    reservedMs: Count('Instance time so far.'),
    activeMs: Count('Of it, not paused.'),
    idleMs: Count('Of it, paused.'),
    asOf: Time('As of.'),
  },
  { $id: 'ReservationUsage' },
)

export const MarketQuery = Type.Object({ type: Type.Optional(Word('Only this type.')), region: Type.Optional(Word('Only this region.')) }, closed)
export const PricesQuery = Type.Object(
  {
    type: Type.Optional(Word('Only this type.')),
    region: Type.Optional(Word('Only this region.')),
    from: Type.Optional(When('RFC3339; default a day ago.')),
    until: Type.Optional(When('RFC3339; default now.')),
  },
  closed,
)
export const UsageQuery = Type.Object(
  {
    instance: Type.Optional(Type.String({ minLength: 1, maxLength: 255, description: 'Only this instance: id or name.' })),
    order: Type.Optional(Type.String({ format: 'uuid', description: 'Only instances of this bid or reservation.' })),
    from: Type.Optional(When('RFC3339; default the beginning.')),
    until: Type.Optional(When('RFC3339; default now.')),
  },
  closed,
)
export const ListOrdersQuery = Type.Object(
  { all: Type.Optional(Type.Boolean({ description: 'Also those that are over.' })), name: Type.Optional(Word('Only those of this name.')), ...pageProperties },
  closed,
)
export const OrderParams = Type.Object({ order: Type.String({ minLength: 1, maxLength: 255, description: 'Id, or the name of one that is not over.' }) })

const { image, pull, env, entrypoint, cmd, user, workingDir, tags, sshKeys, userData } = CreateInstanceBody.properties
const launch = { image, pull, env, entrypoint, cmd, user, workingDir, tags, sshKeys, userData }
const newOrder = {
  name: Word('Its instances are named after it.'),
  type: Word('Type of the catalogue.'),
  region: Type.Optional(Word('Region of the catalogue; default this machine.')),
  quantity: Type.Optional(Count('Instances; all or none. Default 1.', 1, 256)),
  memoryBytes: Type.Optional(Bytes('Less memory than the type has.', 1)),
  ...launch,
}
export const PlaceBidBody = Type.Object({ ...newOrder, limitMicros: Micros('The most that one instance pays for an hour; whole cents (10,000).') }, closed)
export const UpdateBidBody = Type.Object(
  { limitMicros: Type.Optional(Micros('The new limit.')), paused: Type.Optional(Type.Boolean({ description: 'true stops its instances and keeps their disks; false lets it compete again.' })) },
  { minProperties: 1, ...closed },
)
export const ReserveBody = Type.Object({ ...newOrder, startAt: Type.Optional(When('RFC3339; default now.')), endAt: When('RFC3339.') }, closed)
export const UpdateReservationBody = Type.Object(
  { paused: Type.Optional(Type.Boolean({ description: 'Of all its instances. Its capacity stays its own.' })), endAt: Type.Optional(When('RFC3339: a later end.')) },
  { minProperties: 1, ...closed },
)

export const QuoteQuery = Type.Object(
  {
    type: Word('Type of the catalogue.'),
    region: Type.Optional(Word('Region of the catalogue; default this machine.')),
    quantity: Type.Optional(Count('Instances. Default 1.', 1, 256)),
    startAt: Type.Optional(When('RFC3339; default now.')),
    endAt: When('RFC3339.'),
  },
  closed,
)
export const QuoteBody = Type.Object(
  {
    isAvailable: Type.Boolean({ description: 'Whether there is room from start to end, now.' }),
    startAt: Time('As it would be.'),
    endAt: Time('As it would be.'),
    unitMicros: Micros('Price of one instance for one hour.'),
    pauseBuybackMicros: Micros('Credited for an hour of an instance that is paused for an hour or longer.'),
    returnBuybackMicros: Micros('Credited for an hour that is left of an instance that is given back.'),
    totalMicros: Micros('Charged in full.'),
  },
  { $id: 'Quote' },
)
export type QuoteBody = Static<typeof QuoteBody>

export const WinQuery = Type.Object(
  { type: Word('Type of the catalogue.'), region: Type.Optional(Word('Region of the catalogue; default this machine.')), quantity: Type.Optional(Count('Instances. Default 1.', 1, 256)) },
  closed,
)
export const WinBody = Type.Object({ limitMicros: nullable(Micros(''), 'The least limit that would win now; null if none would.') }, { $id: 'PriceToWin' })
export type WinBody = Static<typeof WinBody>
export const ExtensionBody = Type.Object({ latestEndAt: Time('The latest end that it could be extended to, now.') }, { $id: 'Extension' })
export type ExtensionBody = Static<typeof ExtensionBody>
export const ReturnInstancesBody = Type.Object({ instances: Type.Array(Type.String({ minLength: 1, maxLength: 255 }), { minItems: 1, maxItems: 256, description: 'Ids or names.' }) }, closed)
