/** What clients ask of reservations: each wish is checked against the calendar and recorded in one transaction. */
import { BerthError } from '../../instance/errors.ts'
import { ID_BYTES, newId } from '../../instance/ids.ts'
import type { Reservation } from '../../instance/market.ts'
import type { Instance, ReservationId, TimestampMs } from '../../instance/model.ts'
import { costOf, periodTime } from '../../instance/periods.ts'
import { requireScope } from '../access.ts'
import type { Caller } from '../api.ts'
import type { Core } from '../core.ts'
import { checkCount } from '../limits.ts'
import type { Change } from '../journal.ts'
import type { Market, Quote, ReservationWish } from './api.ts'
import { LIST_LIMIT } from './bids.ts'
import type { OrderParts } from './bids.ts'
import { bookable, chooseHosts, extensionLimit, reservableParts } from './booking.ts'
import { readBooks } from './books.ts'
import type { Books } from './books.ts'
import type { Ground, HostGround } from './ground.ts'
import { marketOf, sizeOf } from './ground.ts'
import { audited, checkNewOrder, draftOrder, instancesOf, liveOrder, ORDER_QUANTITY_LIMIT, ownOrder, tellOrder, withInstances } from './orders.ts'
import { closePeriods, newPeriod } from './pricing.ts'
import type { PricingParts } from './pricing.ts'
import { deleteAll, isAtRest, pauseAll, startAll } from './transitions.ts'
import { changeVolumes } from './volumes.ts'

/** A start that is this much over is now; earlier it is refused. */
const START_GRACE_MS = 300_000

type ReservationMarket = Pick<
  Market,
  | 'quote'
  | 'reservable'
  | 'reserve'
  | 'updateReservation'
  | 'extendReservation'
  | 'latestExtension'
  | 'returnInstances'
  | 'cancelReservation'
  | 'reservation'
  | 'reservations'
>

export interface ReservationParts extends OrderParts {
  readonly ground: Ground
  readonly pricing: PricingParts
}

export function makeReservations(parts: ReservationParts): ReservationMarket {
  const { core, controller, ground, attachments } = parts
  const { store, now, catalogue } = core
  const fresh = async (caller: Caller, id: ReservationId) => withInstances(store.read, await ownOrder(store.read, caller, 'reservation', id))
  const books = async () => readBooks(store.read, await ground.hosts(), now())

  return {
    async quote(caller, wish) {
      requireScope(caller, 'read')
      checkWish(core, wish)
      const market = { ...wish, size: sizeOf(marketOf(catalogue, wish.type, wish.region)) }
      const startAt = Math.max(now(), wish.startAt)
      const isAvailable = chooseHosts(bookable(catalogue, await books(), market, startAt, wish.endAt), wish.quantity) !== null
      return { ...termsOf(core, wish), isAvailable }
    },

    async reservable(caller, { type, region, from, until }) {
      requireScope(caller, 'read')
      const size = sizeOf(marketOf(catalogue, type, region))
      if (!(until > from)) throw new BerthError('invalid_request', 'The end must be after the start.', { details: { field: 'until' } })
      return reservableParts(catalogue, await books(), { type, region, size }, Math.max(from, now()), Math.max(until, now()))
    },

    async reserve(caller, request) {
      requireScope(caller, 'write')
      checkWish(core, request)
      const at = now()
      const terms = termsOf(core, request)
      if (request.maxUnitMicros !== undefined && terms.unitMicros > request.maxUnitMicros) {
        throw new BerthError('limit_exceeded', `An hour costs $${(terms.unitMicros / 1e6).toFixed(2)}, which is more than the most that you would pay.`, {
          details: { field: 'maxUnitMicros', unitMicros: terms.unitMicros },
        })
      }
      const draft = draftOrder(core, caller, request, at)
      const id = newId('reservation', core.randomBytes(ID_BYTES))
      const startAt = Math.max(request.startAt, at)
      await controller.trade(async ({ tx }, hosts) => {
        await checkNewOrder(tx, caller, 'reservation', request.launch)
        const chosen = chooseHosts(bookable(catalogue, await readBooks(tx, hosts, at), draft, startAt, request.endAt), request.quantity)
        if (chosen === null) throw noRoom(request)
        const { unitMicros, pauseBuybackMicros, returnBuybackMicros } = terms
        const slots = chosen.map((hostId, slot) => ({ slot, hostId: hostId as string }))
        const order: Reservation = { ...draft, kind: 'reservation', id, status: 'pending', startAt, endAt: request.endAt, unitMicros, pauseBuybackMicros, returnBuybackMicros, slots }
        await tx.putOrder('reservation', order)
        await tellOrder(tx, order, at, 'placed', { startAt, endAt: order.endAt })
        await tellOrder(tx, order, at, 'terms-set', { unitMicros, pauseBuybackMicros, returnBuybackMicros })
        await audited(core, tx, caller, 'place', order, { type: order.type, region: order.region, quantity: order.quantity, startAt, endAt: order.endAt })
      })
      return fresh(caller, id)
    },

    async updateReservation(caller, id, wanted) {
      requireScope(caller, 'write')
      const before = await liveOrder(store.read, caller, 'reservation', id)
      requireBegun(before)
      if (wanted.volumes !== undefined) {
        const instances = await instancesOf(store.read, before)
        if (!instances.every(isAtRest)) throw new BerthError('invalid_state', 'Volumes can change only while no instance of the reservation runs: pause it first.')
        await changeVolumes(core, attachments, caller, 'reservation', before, instances, wanted.volumes)
      }
      await controller.trade(async (change, hosts) => {
        const order = await liveOrder(change.tx, caller, 'reservation', id)
        requireBegun(order)
        const paused = wanted.paused === undefined ? order : await setPaused(core, change, hosts, order, wanted.paused)
        const launch = wanted.details === undefined ? paused.launch : { ...paused.launch, details: wanted.details }
        await change.tx.putOrder('reservation', { ...paused, launch, updatedAt: now() })
        await audited(core, change.tx, caller, 'update', order, { changed: Object.keys(wanted) })
      })
      return fresh(caller, id)
    },

    async extendReservation(caller, id, endAt) {
      requireScope(caller, 'write')
      await controller.trade(async ({ tx }, hosts) => {
        const order = await liveOrder(tx, caller, 'reservation', id)
        if (!Number.isFinite(endAt) || endAt <= order.endAt) {
          throw new BerthError('invalid_request', 'The new end must be after the present one.', { details: { field: 'endAt' } })
        }
        const latest = extensionOf(core, await readBooks(tx, hosts, now()), order)
        if (endAt > latest) throw new BerthError('insufficient_resources', `It can be extended at most until ${new Date(latest).toISOString()}.`, { details: { latestAt: latest } })
        await tx.putOrder('reservation', { ...order, endAt, updatedAt: now() })
        await tellOrder(tx, order, now(), 'terms-changed', { endAt })
        await audited(core, tx, caller, 'extend', order, { endAt })
      })
      return fresh(caller, id)
    },

    async latestExtension(caller, id) {
      requireScope(caller, 'read')
      const order = await liveOrder(store.read, caller, 'reservation', id)
      return extensionOf(core, await books(), order)
    },

    async returnInstances(caller, id, instanceIds) {
      requireScope(caller, 'write')
      return controller.trade(async change => {
        const order = await liveOrder(change.tx, caller, 'reservation', id)
        const instances = await instancesOf(change.tx, order)
        const unknown = instanceIds.find(one => !instances.some(instance => instance.id === one))
        if (unknown !== undefined) throw new BerthError('not_found', `There is no instance ${unknown} in this reservation.`, { details: { instanceId: unknown } })
        const paused = instances.filter(instance => instanceIds.includes(instance.id) && isPaused(instance))
        if (paused.length > 0) await giveBack(parts, change, order, paused)
        await audited(core, change.tx, caller, 'return', order, { instances: paused.map(instance => instance.id) })
        return paused.map(instance => instance.id)
      })
    },

    async cancelReservation(caller, id) {
      requireScope(caller, 'write')
      await controller.trade(async ({ tx }) => {
        const order = await liveOrder(tx, caller, 'reservation', id)
        if (order.status !== 'pending') throw new BerthError('invalid_state', 'The reservation has begun: it ends at its end, or when all of its paused instances are given back.', { details: { status: order.status } })
        const at = now()
        await tx.putOrder('reservation', { ...order, status: 'canceled', updatedAt: at, deactivatedAt: at })
        await tellOrder(tx, order, at, 'canceled')
        await audited(core, tx, caller, 'cancel', order)
      })
      return fresh(caller, id)
    },

    async reservation(caller, id) {
      requireScope(caller, 'read')
      return fresh(caller, id)
    },

    async reservations(caller, filter = {}) {
      requireScope(caller, 'read')
      const found = await store.read.orders('reservation', { ...filter, projectId: caller.projectId, limit: Math.min(filter.limit ?? LIST_LIMIT, LIST_LIMIT) })
      return Promise.all(found.map(order => withInstances(store.read, order)))
    },
  }
}

/** The price of an hour of a type, and what hours that are not used bring back. */
export function termsOf(core: Pick<Core, 'catalogue' | 'config'>, wish: ReservationWish): Omit<Quote, 'isAvailable'> {
  const { pauseBuybackShare, returnBuybackShare } = core.config.market
  const unitMicros = marketOf(core.catalogue, wish.type, wish.region).priceMicrosPerHour
  return {
    unitMicros,
    pauseBuybackMicros: Math.floor(unitMicros * pauseBuybackShare),
    returnBuybackMicros: Math.floor(unitMicros * returnBuybackShare),
    totalMicros: costOf(unitMicros, periodTime(wish.endAt) - periodTime(wish.startAt)) * wish.quantity,
  }
}

async function setPaused(core: Core, change: Change, hosts: readonly HostGround[], order: Reservation, paused: boolean): Promise<Reservation> {
  const instances = await instancesOf(change.tx, order)
  if (paused) {
    await pauseAll(change, instances)
    if (order.status === 'paused') return order
    await tellOrder(change.tx, order, core.now(), 'paused')
    return { ...order, status: 'paused' }
  }
  // Its room is its own: there is always place for all of them.
  await startAll(core, change, hosts, order, instances)
  if (order.status === 'active') return order
  await tellOrder(change.tx, order, core.now(), 'resumed')
  return { ...order, status: 'active' }
}

/** It is paid to the end as it was agreed, and what is left of it is credited; then it is deleted, and so is its slot. */
async function giveBack({ core, pricing }: ReservationParts, change: Change, order: Reservation, paused: readonly Instance[]): Promise<void> {
  const { tx } = change
  const at = periodTime(core.now())
  const endAt = periodTime(order.endAt)
  const slots = new Set(paused.map(instance => Number(instance.annotations['market_slot'])))
  for (const instance of paused) {
    await closePeriods(tx, instance, ['reserved'], endAt)
    await tx.putPeriod({ ...(await newPeriod(pricing, tx, instance, 'return-credit', at)), endAt })
    await tellOrder(tx, order, core.now(), 'returned', { instanceId: instance.id })
  }
  await deleteAll(change, paused, 'It was given back.')
  const left = order.slots.filter(({ slot }) => !slots.has(slot))
  const next = { ...order, slots: left, quantity: left.length, updatedAt: core.now() }
  if (left.length > 0) return tx.putOrder('reservation', next)
  await tellOrder(tx, order, core.now(), 'ended')
  return tx.putOrder('reservation', { ...next, status: 'ended', deactivatedAt: core.now() })
}

export function isPaused(instance: Pick<Instance, 'phase' | 'desired'>): boolean {
  return (instance.phase === 'stopped' || instance.phase === 'standby') && instance.desired !== 'running'
}

function extensionOf(core: Core, books: Books, order: Reservation): TimestampMs {
  const own = books.reservations.find(({ reservation }) => reservation.id === order.id)
  const latest = order.startAt + core.config.market.maxReservationMs
  return own === undefined || latest <= order.endAt ? order.endAt : extensionLimit(core.catalogue, books, own, latest)
}

function requireBegun(order: Reservation): void {
  if (order.status === 'active' || order.status === 'paused') return
  throw new BerthError('invalid_state', `The reservation is ${order.status}: it can change once it is active.`, { details: { status: order.status } })
}

function checkWish(core: Core, wish: ReservationWish): void {
  const { minReservationMs, maxReservationMs } = core.config.market
  const wrong = (field: string, problem: string) => new BerthError('invalid_request', problem, { details: { field } })
  marketOf(core.catalogue, wish.type, wish.region)
  checkCount('quantity', wish.quantity, 1, ORDER_QUANTITY_LIMIT)
  if (!Number.isFinite(wish.startAt) || wish.startAt < core.now() - START_GRACE_MS) throw wrong('startAt', 'The start must be a time that is not over.')
  if (!Number.isFinite(wish.endAt) || wish.endAt <= wish.startAt) throw wrong('endAt', 'The end must be after the start.')
  const lengthMs = wish.endAt - wish.startAt
  if (lengthMs < minReservationMs) throw wrong('endAt', `A reservation lasts at least ${minReservationMs / 3_600_000} hours.`)
  if (lengthMs > maxReservationMs) throw wrong('endAt', `A reservation lasts at most ${maxReservationMs / 86_400_000} days.`)
}

function noRoom(wish: ReservationWish): BerthError {
  return new BerthError('insufficient_resources', `There is no room for ${wish.quantity} of ${wish.type} in ${wish.region} all of that time: ask for less, or another time.`, {
    details: { resource: 'reservation', type: wish.type, region: wish.region },
  })
}

