/** `/berth/v1/market`: what is to be had and for how much, the orders of the project, and what its instances cost. */
import { Type } from 'typebox'
import type { Static } from 'typebox'
import type { Caller, Engine } from '../../../engine/api.ts'
import type { CostedPeriod, WithInstances } from '../../../engine/market/api.ts'
import type { Bid, Order, OrderEvent, OrderId, Reservation } from '../../../instance/market.ts'
import { costOf } from '../../../instance/periods.ts'
import { acceptCreate, acceptRegion, acceptTime } from '../accept.ts'
import type { Finders } from '../accept.ts'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { pageOf } from '../page.ts'
import { presentTime } from '../present.ts'
import { findBid, findersOf, findInstance, findReservation } from '../resolve.ts'
import type { BidBody, OrderEventBody, PricePeriodBody, ReservationBody, ReserveBody } from '../schema/market.ts'
import { ListOrdersQuery, MarketQuery, OrderParams, PlaceBidBody, PricesQuery, ReserveBody as Reserve, UpdateBidBody, UpdateReservationBody, UsageQuery } from '../schema/market.ts'
import { page } from '../schema/page.ts'

const tags = ['market']
const DAY_MS = 86_400_000
const BidRef = Type.Ref('Bid#')
const ReservationRef = Type.Ref('Reservation#')

export const marketRoutes: AddRoutes = (app, { engine, now, catalogue }) => {
  /** What every order is placed with. */
  const acceptOrder = async (caller: Caller, body: Omit<Static<typeof ReserveBody>, 'startAt' | 'endAt'>) => {
    const { name, type, region, quantity, memoryBytes, ...launch } = body
    const finders: Finders = findersOf(engine, caller)
    const template = await acceptCreate(launch, finders, now(), catalogue)
    return { name, type, region: acceptRegion(region, catalogue).id, quantity: quantity ?? 1, launch: { template, memoryBytes: memoryBytes ?? null } }
  }
  const presentBids = async (caller: Caller, bids: readonly WithInstances<Bid>[]): Promise<BidBody[]> => {
    const supply = bids.length === 0 ? [] : await engine.market.supply(caller)
    return bids.map((bid) => presentBid(bid, supply.find((each) => each.type === bid.type && each.region === bid.region)?.spotMicros ?? 0))
  }
  const presentOneBid = async (caller: Caller, bid: WithInstances<Bid>): Promise<BidBody> => {
    const [body] = await presentBids(caller, [bid])
    if (body === undefined) throw new Error('one bid makes one body')
    return body
  }

  app.get('/market/supply', {
    schema: { tags, operationId: 'listSupply', summary: 'What is to be had, and for how much', description: 'Each type in each region. All of it is one page.', querystring: MarketQuery, response: { 200: page(Type.Ref('Supply#')) } },
    handler: async (request) => ({ items: [...(await engine.market.supply(callerOf(request), request.query))], next: null }),
  })

  app.get('/market/prices', {
    schema: { tags, operationId: 'listPrices', summary: 'Prices over time', description: 'One series for each type in each region. All of it is one page.', querystring: PricesQuery, response: { 200: page(Type.Ref('PriceSeries#')) } },
    handler: async (request) => {
      const { from, until, ...filter } = request.query
      const end = until === undefined ? now() : acceptTime('until', until)
      const begin = from === undefined ? end - DAY_MS : acceptTime('from', from)
      const series = await engine.market.priceHistory(callerOf(request), { ...filter, from: begin, until: end })
      const items = series.map(({ points, ...rest }) => ({
        ...rest,
        points: points.map(({ at, spotMicros, capacity, allocated }) => ({ at: presentTime(at), spotMicros, capacity, allocated })),
      }))
      return { items, next: null }
    },
  })

  app.get('/market/bids', {
    schema: { tags, operationId: 'listBids', summary: 'Bids, newest first', querystring: ListOrdersQuery, response: { 200: page(BidRef) } },
    handler: async (request) => {
      const caller = callerOf(request)
      const { all, name, ...wish } = request.query
      const found = await engine.market.bids(caller, { liveOnly: all !== true, ...(name === undefined ? {} : { name }) })
      const { items, next } = pageOf(found, wish, ({ createdAt, id }) => [createdAt, id], 'descending')
      return { items: await presentBids(caller, items), next }
    },
  })

  app.post('/market/bids', {
    schema: { tags, operationId: 'placeBid', summary: 'Bid for instances', description: 'It competes at once. Who wins pays the highest limit that loses.', body: PlaceBidBody, response: { 201: BidRef } },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { limitMicros, ...order } = request.body
      const bid = await engine.market.placeBid(caller, { ...(await acceptOrder(caller, order)), limitMicros })
      return reply.code(201).send(await presentOneBid(caller, bid))
    },
  })

  app.get('/market/bids/:order', {
    schema: { tags, operationId: 'getBid', summary: 'One bid', params: OrderParams, response: { 200: BidRef } },
    handler: async (request) => presentOneBid(callerOf(request), await findBid(engine, callerOf(request), request.params.order)),
  })

  app.patch('/market/bids/:order', {
    schema: { tags, operationId: 'updateBid', summary: 'Change a bid', params: OrderParams, body: UpdateBidBody, response: { 200: BidRef } },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findBid(engine, caller, request.params.order)
      return presentOneBid(caller, await engine.market.updateBid(caller, id, request.body))
    },
  })

  app.delete('/market/bids/:order', {
    schema: { tags, operationId: 'endBid', summary: 'End a bid and delete its instances', params: OrderParams, response: { 200: BidRef } },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findBid(engine, caller, request.params.order)
      return presentOneBid(caller, await engine.market.endBid(caller, id))
    },
  })

  app.get('/market/reservations', {
    schema: { tags, operationId: 'listReservations', summary: 'Reservations, newest first', querystring: ListOrdersQuery, response: { 200: page(ReservationRef) } },
    handler: async (request) => {
      const { all, name, ...wish } = request.query
      const found = await engine.market.reservations(callerOf(request), { liveOnly: all !== true, ...(name === undefined ? {} : { name }) })
      const { items, next } = pageOf(found, wish, ({ createdAt, id }) => [createdAt, id], 'descending')
      return { items: items.map(presentReservation), next }
    },
  })

  app.post('/market/reservations', {
    schema: { tags, operationId: 'reserve', summary: 'Reserve capacity', description: 'Its room is its own from start to end; instances of bids give way to it.', body: Reserve, response: { 201: ReservationRef } },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { startAt, endAt, ...order } = request.body
      const span = { startAt: startAt === undefined ? now() : acceptTime('startAt', startAt), endAt: acceptTime('endAt', endAt) }
      return reply.code(201).send(presentReservation(await engine.market.reserve(caller, { ...(await acceptOrder(caller, order)), ...span })))
    },
  })

  app.get('/market/reservations/:order', {
    schema: { tags, operationId: 'getReservation', summary: 'One reservation', params: OrderParams, response: { 200: ReservationRef } },
    handler: async (request) => presentReservation(await findReservation(engine, callerOf(request), request.params.order)),
  })

  app.patch('/market/reservations/:order', {
    schema: { tags, operationId: 'updateReservation', summary: 'Pause, resume or extend a reservation', params: OrderParams, body: UpdateReservationBody, response: { 200: ReservationRef } },
    handler: async (request) => {
      const caller = callerOf(request)
      const found = await findReservation(engine, caller, request.params.order)
      const { paused, endAt } = request.body
      const extended = endAt === undefined ? found : await engine.market.extendReservation(caller, found.id, acceptTime('endAt', endAt))
      return presentReservation(paused === undefined ? extended : await engine.market.updateReservation(caller, found.id, { paused }))
    },
  })

  app.delete('/market/reservations/:order', {
    schema: { tags, operationId: 'cancelReservation', summary: 'Cancel a reservation that has not begun', params: OrderParams, response: { 200: ReservationRef } },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findReservation(engine, caller, request.params.order)
      return presentReservation(await engine.market.cancelReservation(caller, id))
    },
  })

  app.get('/market/reservations/:order/usage', {
    schema: { tags, operationId: 'getReservationUsage', summary: 'The account of a reservation', params: OrderParams, response: { 200: Type.Ref('ReservationUsage#') } },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findReservation(engine, caller, request.params.order)
      const { periods: _periods, asOf, ...account } = await engine.market.reservationUsage(caller, id)
      return { ...account, asOf: presentTime(asOf) }
    },
  })

  for (const [kind, path, find] of [['bid', 'bids', findBid], ['reservation', 'reservations', findReservation]] as const) {
    app.get(`/market/${path}/:order/events`, {
      schema: { tags, operationId: `list${kind === 'bid' ? 'Bid' : 'Reservation'}Events`, summary: `The story of a ${kind}, oldest first`, params: OrderParams, response: { 200: page(Type.Ref('OrderEvent#')) } },
      handler: async (request) => {
        const caller = callerOf(request)
        const { id } = await find(engine, caller, request.params.order)
        return { items: (await engine.market.orderEvents(caller, id)).map(presentEvent), next: null }
      },
    })
  }

  app.get('/market/usage', {
    schema: {
      tags,
      operationId: 'getUsage',
      summary: 'What instances cost',
      description: 'Each instance that cost or was credited something in the span, with its price periods; every sum is the sum of its parts, to the micro-dollar.',
      querystring: UsageQuery,
      response: { 200: Type.Ref('Usage#') },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { instance, order, from, until } = request.query
      const { lines, ...usage } = await engine.market.usage(caller, {
        ...(instance === undefined ? {} : { instanceIds: [(await findInstance(engine, caller, instance)).id] }),
        ...(order === undefined ? {} : { orderId: order as OrderId }),
        ...(from === undefined ? {} : { from: acceptTime('from', from) }),
        ...(until === undefined ? {} : { until: acceptTime('until', until) }),
      })
      const names = await namesOf(engine, caller, lines.map((line) => line.instanceId))
      const items = lines.map((line) => ({ ...line, name: names.get(line.instanceId) ?? null, periods: line.periods.map(presentPeriod) }))
      return { ...usage, from: presentTime(usage.from), until: presentTime(usage.until), items }
    },
  })
}

async function namesOf(engine: Engine, caller: Caller, ids: readonly WithInstances<Order>['instanceIds'][number][]): Promise<ReadonlyMap<string, string>> {
  if (ids.length === 0) return new Map()
  const instances = await engine.instances.list(caller, { ids, includeDeleted: true })
  return new Map(instances.map((instance) => [instance.id, instance.spec.name]))
}

function presentOrder(order: WithInstances<Order>) {
  const { id, name, type, region, quantity, message, instanceIds, origin } = order
  return {
    id,
    name,
    type,
    region,
    quantity,
    image: order.launch.template.image,
    message,
    instanceIds: [...instanceIds],
    origin,
    createdAt: presentTime(order.createdAt),
    deactivatedAt: orNull(order.deactivatedAt),
  }
}

function presentBid(bid: WithInstances<Bid>, spotMicros: number): BidBody {
  const { status, limitMicros } = bid
  return { ...presentOrder(bid), status, limitMicros, spotMicros, allocatedAt: orNull(bid.allocatedAt), preemptAt: orNull(bid.preemptAt) }
}

function presentReservation(order: WithInstances<Reservation>): ReservationBody {
  const { status, startAt, endAt, unitMicros, pauseBuybackMicros, returnBuybackMicros, quantity } = order
  const totalMicros = costOf(unitMicros, Math.floor(endAt) - Math.floor(startAt)) * quantity
  return { ...presentOrder(order), status, startAt: presentTime(startAt), endAt: presentTime(endAt), unitMicros, pauseBuybackMicros, returnBuybackMicros, totalMicros }
}

function presentEvent({ at, type, details }: OrderEvent): OrderEventBody {
  return { at: presentTime(at), type, details: { ...details } }
}

function presentPeriod({ instanceId, orderId, kind, type, region, priceMicros, startAt, endAt, costMicros }: CostedPeriod): PricePeriodBody {
  return { instanceId, orderId, kind, type, region, priceMicros, startAt: presentTime(startAt), endAt: orNull(endAt), costMicros }
}

function orNull(at: number | null): string | null {
  return at === null ? null : presentTime(at)
}
