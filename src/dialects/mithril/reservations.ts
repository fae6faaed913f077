/** Reservations: capacity that is held from a start to an end, whether its instances run or not. The path is singular. */
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { ReservationChange, WithInstances } from '../../engine/market/api.ts'
import { BerthError } from '../../instance/errors.ts'
import { parseId, spellId } from '../../instance/ids.ts'
import type { OrderEvent, OrderEventType, Reservation } from '../../instance/market.ts'
import { centsOf } from '../../instance/market.ts'
import type { InstanceId, ReservationId } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { bodyFields, queryFields } from './body.ts'
import { httpError } from './errors.ts'
import { userFid } from './fids.ts'
import { acceptLaunch, changedVolumes, launchOf } from './launch.ts'
import { acceptOrderFilter, orderPage } from './order-list.ts'
import { marketRefusal, microsOf, moneyOf, ORDER_NAME_LIMIT_CHARACTERS, presentOrder } from './orders.ts'
import type * as wire from './schema.ts'
import { QUANTITY_LIMIT, RESERVATION_STATUSES, VOLUMES_PER_ORDER_LIMIT } from './schema.ts'
import { findShape } from './shape.ts'
import type { Surface } from './surface.ts'
import { callerOf, checkProject, DIALECT, finishInProject, pathId } from './surface.ts'
import { formatTime } from './time.ts'
import type { Fields } from './validation.ts'

const OFFER = { key: 'standard', display_name: 'Standard' } as const
const HOUR_MS = 3_600_000
const RETURN_LIMIT = 1000
/** Price limits are whole cents; the largest of them is a million dollars. */
const UNIT_LIMIT_CENTS = 100_000_000

const STATUS: Readonly<Record<Reservation['status'], wire.ReservationStatus>> = {
  pending: 'Pending',
  active: 'Active',
  paused: 'Paused',
  canceled: 'Canceled',
  ended: 'Ended',
}

export async function listReservations(surface: Surface, request: FastifyRequest): Promise<wire.Page<wire.Reservation>> {
  const caller = callerOf(request)
  const query = queryFields(request)
  const filter = acceptOrderFilter(query, RESERVATION_STATUSES)
  finishInProject(query, caller)
  return orderPage(await surface.engine.market.reservations(caller), {
    filter,
    present: reservation => presentReservation(surface, reservation),
    timeOf: ({ createdAt }) => createdAt,
  })
}

export async function createReservation(surface: Surface, request: FastifyRequest): Promise<wire.Reservation> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const project = body.required.text('project')
  const type = body.required.text('instance_type')
  const region = body.required.text('region')
  const startAt = body.required.time('start_time')
  const endAt = body.required.time('end_time')
  const quantity = body.required.integer('instance_quantity', { minimum: 1, maximum: QUANTITY_LIMIT })
  const name = body.required.text('name', { minLength: 1, limit: ORDER_NAME_LIMIT_CHARACTERS })
  const launch = acceptLaunch(body)
  const maxUnitCents = acceptPriceLimit(body)
  body.text('notification_email')
  body.finish()
  checkProject(caller, project)
  const shape = findShape(surface.catalogue, 'body', type, region)
  const reservation = await surface.engine.market
    .reserve(caller, {
      name,
      type: shape.type.id,
      region: shape.region.id,
      quantity,
      startAt,
      endAt,
      launch: await launchOf(surface, caller, { name, region: shape.region.id, quantity }, launch),
      ...(maxUnitCents === null ? {} : { maxUnitMicros: microsOf(maxUnitCents) }),
    })
    .catch(marketRefusal)
  return presentReservation(surface, reservation)
}

export async function updateReservation(surface: Surface, request: FastifyRequest): Promise<wire.Reservation> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const paused = body.flag('paused')
  const volumes = body.texts('volumes', { limit: VOLUMES_PER_ORDER_LIMIT })
  body.finish()
  const reservation = await findReservation(surface, caller, pathId(request))
  const change: ReservationChange = {
    ...(paused === null ? {} : { paused }),
    ...(volumes === null ? {} : { volumes: await changedVolumes(surface, caller, reservation, volumes) }),
  }
  return presentReservation(surface, await surface.engine.market.updateReservation(caller, reservation.id, change).catch(marketRefusal))
}

export async function extendReservation(surface: Surface, request: FastifyRequest): Promise<wire.Reservation> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const endAt = body.required.time('end_time')
  const maxUnitCents = acceptPriceLimit(body)
  body.finish()
  const reservation = await findReservation(surface, caller, pathId(request))
  if (maxUnitCents !== null && microsOf(maxUnitCents) < reservation.unitMicros) {
    body.wrong('price_specification', `an hour costs ${moneyOf(reservation.unitMicros)}`)
    body.finish()
  }
  return presentReservation(surface, await surface.engine.market.extendReservation(caller, reservation.id, endAt).catch(marketRefusal))
}

export async function getExtensionAvailability(surface: Surface, request: FastifyRequest): Promise<{ readonly latest_extension_time: string; readonly available: boolean }> {
  const caller = callerOf(request)
  const reservation = await findReservation(surface, caller, pathId(request))
  const latest = await surface.engine.market.latestExtension(caller, reservation.id)
  return { latest_extension_time: formatTime(latest), available: latest > reservation.endAt }
}

/** Gives instances back for good: only paused ones, and what was not paused stays. */
export async function terminateInstances(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<{ readonly terminated_instances: readonly string[] }> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const fids = body.required.texts('instances', { limit: RETURN_LIMIT, as: 'set', minItems: 1 })
  acceptTrue(body, 'reduce_capacity')
  body.finish()
  const reservation = await findReservation(surface, caller, pathId(request))
  if (reservation.status === 'ended' || reservation.status === 'canceled') throw httpError(400, 'The reservation has already ended.')
  const ids = fids.map(fid => {
    const id: InstanceId | null = parseId('instance', DIALECT, fid)
    if (id === null || !reservation.instanceIds.includes(id)) throw httpError(404, `Instance ${fid.slice(0, 80)} is not one of this reservation.`)
    return id
  })
  const returned = await surface.engine.market.returnInstances(caller, reservation.id, ids)
  if (returned.length === 0) throw httpError(400, 'Only paused instances can be given back: pause them first.')
  if (returned.length < ids.length) reply.code(207)
  return { terminated_instances: returned.map(id => spellId('instance', DIALECT, id)) }
}

export async function getReservationHistory(
  surface: Surface,
  request: FastifyRequest,
): Promise<{ readonly reservation_fid: string; readonly events: readonly wire.ReservationEvent[] }> {
  const caller = callerOf(request)
  const reservation = await findReservation(surface, caller, pathId(request))
  const events = await surface.engine.market.orderEvents(caller, reservation.id)
  return { reservation_fid: spellId('reservation', DIALECT, reservation.id), events: events.flatMap(event => presentEvent(event, reservation)) }
}

export async function getQuote(surface: Surface, request: FastifyRequest): Promise<{ readonly offers: readonly wire.ReservationOffer[] }> {
  const caller = callerOf(request)
  const query = queryFields(request)
  const type = query.required.text('instance_type')
  const region = query.required.text('region')
  const startAt = query.required.time('start_time')
  const endAt = query.required.time('end_time')
  const quantity = query.required.integer('quantity', { minimum: 1 })
  finishInProject(query, caller)
  const shape = findShape(surface.catalogue, 'query', type, region)
  const quote = await surface.engine.market.quote(caller, { type: shape.type.id, region: shape.region.id, startAt, endAt, quantity })
  if (!quote.isAvailable) return { offers: [] }
  const hours = (quantity * (endAt - startAt)) / HOUR_MS
  const offer: wire.ReservationOffer = {
    ...OFFER,
    unit_price: moneyOf(quote.unitMicros),
    return_buyback_price: moneyOf(quote.returnBuybackMicros),
    pause_buyback_price: moneyOf(quote.pauseBuybackMicros),
    total_price: moneyOf(quote.totalMicros),
    total_etbp_value: moneyOf(quote.returnBuybackMicros * hours),
    total_fubp_value: moneyOf(quote.pauseBuybackMicros * hours),
    option_premium: moneyOf(0),
  }
  return { offers: [offer] }
}

function presentReservation(surface: Surface, reservation: WithInstances<Reservation>): wire.Reservation {
  const hours = (reservation.endAt - reservation.startAt) / HOUR_MS
  return {
    ...presentOrder(surface, reservation),
    status: STATUS[reservation.status],
    start_time: formatTime(reservation.startAt),
    end_time: formatTime(reservation.endAt),
    total_price: moneyOf(reservation.unitMicros * reservation.quantity * hours),
    unit_price: moneyOf(reservation.unitMicros),
  }
}

const EVENTS: Readonly<Partial<Record<OrderEventType, wire.ReservationEvent['event_type']>>> = {
  placed: 'Placed',
  active: 'Active',
  paused: 'Paused',
  resumed: 'Resumed',
  canceled: 'Canceled',
  ended: 'Ended',
  'terms-set': 'Terms Set',
  'terms-changed': 'Terms Changed',
  // Giving instances back makes it smaller.
  returned: 'Terms Changed',
}

function presentEvent(event: OrderEvent, reservation: Reservation): readonly wire.ReservationEvent[] {
  const type = EVENTS[event.type]
  if (type === undefined) return []
  const isTerms = event.type === 'terms-set' || event.type === 'terms-changed'
  return [
    {
      timestamp: formatTime(event.at),
      event_type: type,
      user_id: userFid(event.projectId),
      unit_price_cents: isTerms ? centsOf(reservation.unitMicros) : null,
      pause_credit_cents: isTerms ? centsOf(reservation.pauseBuybackMicros) : null,
      return_credit_cents: isTerms ? centsOf(reservation.returnBuybackMicros) : null,
    },
  ]
}

/** Whole cents of `price_specification.max_unit_price`; there is one offer, the standard one. */
function acceptPriceLimit(body: Fields): number | null {
  const spec = body.object('price_specification')
  if (spec === null) return null
  const key = spec.text('offer_key') ?? OFFER.key
  if (key !== OFFER.key) spec.wrong('offer_key', `there is no such offer; use ${OFFER.key}`)
  return spec.integer('max_unit_price', { minimum: 0, maximum: UNIT_LIMIT_CENTS })
}

/** A member that is there to be true, so that nobody gives capacity back by accident. */
function acceptTrue(body: Fields, name: string): void {
  const value = body.raw(name)
  if (value === true) return
  if (value === undefined) body.missing(name)
  else body.issues.push({ type: 'literal_error', loc: [...body.loc, name], msg: 'Input should be True', input: value, ctx: { expected: 'True' } })
}

export async function findReservation(surface: Surface, caller: Identity, fid: string): Promise<WithInstances<Reservation>> {
  const id: ReservationId | null = parseId('reservation', DIALECT, fid)
  const missing = (cause?: unknown) => httpError(404, 'Reservation not found.', cause)
  if (id === null) throw missing()
  return surface.engine.market.reservation(caller, id).catch((error: unknown) => {
    throw error instanceof BerthError && error.code === 'not_found' ? missing(error) : error
  })
}
