/** `/berth/v1/market`, what one asks before one orders: what a reservation costs, what limit wins, how far an end can move. */
import { Type } from 'typebox'
import { acceptRegion, acceptTime } from '../accept.ts'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { presentTime } from '../present.ts'
import { findInstance, findReservation } from '../resolve.ts'
import { OrderParams, QuoteQuery, ReturnInstancesBody, WinQuery } from '../schema/market.ts'

const tags = ['market']

export const marketQuoteRoutes: AddRoutes = (app, { engine, now, catalogue }) => {
  app.get('/market/quote', {
    schema: { tags, operationId: 'quoteReservation', summary: 'What a reservation would cost, and whether there is room', querystring: QuoteQuery, response: { 200: Type.Ref('Quote#') } },
    handler: async (request) => {
      const { type, region, quantity = 1, startAt, endAt } = request.query
      const span = { startAt: startAt === undefined ? now() : acceptTime('startAt', startAt), endAt: acceptTime('endAt', endAt) }
      const quote = await engine.market.quote(callerOf(request), { type, region: acceptRegion(region, catalogue).id, quantity, ...span })
      return { ...quote, startAt: presentTime(span.startAt), endAt: presentTime(span.endAt) }
    },
  })

  app.get('/market/price-to-win', {
    schema: { tags, operationId: 'priceToWin', summary: 'The least limit that would win so many instances now', querystring: WinQuery, response: { 200: Type.Ref('PriceToWin#') } },
    handler: async (request) => {
      const { type, region, quantity = 1 } = request.query
      return { limitMicros: await engine.market.priceToWin(callerOf(request), { type, region: acceptRegion(region, catalogue).id, quantity }) }
    },
  })

  app.get('/market/reservations/:order/extension', {
    schema: { tags, operationId: 'getReservationExtension', summary: 'How far the end of a reservation can be moved', params: OrderParams, response: { 200: Type.Ref('Extension#') } },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findReservation(engine, caller, request.params.order)
      return { latestEndAt: presentTime(await engine.market.latestExtension(caller, id)) }
    },
  })

  app.post('/market/reservations/:order/return', {
    schema: {
      tags,
      operationId: 'returnReservedInstances',
      summary: 'Give paused instances of a reservation back for good',
      description: 'Those that are not paused stay. The answer names those that were given back.',
      params: OrderParams,
      body: ReturnInstancesBody,
      response: { 200: Type.Object({ instanceIds: Type.Array(Type.String()) }) },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { id } = await findReservation(engine, caller, request.params.order)
      const wanted = await Promise.all(request.body.instances.map(async (word) => (await findInstance(engine, caller, word)).id))
      return { instanceIds: [...(await engine.market.returnInstances(caller, id, wanted))] }
    },
  })
}
