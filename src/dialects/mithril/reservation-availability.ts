/** What can be reserved, in three modes that the published schema declares one of: slots, the latest end, and a check. */
import type { FastifyRequest } from 'fastify'
import type { ReservableSlot } from '../../engine/market/api.ts'
import { queryFields } from './body.ts'
import { QUANTITY_LIMIT } from './schema.ts'
import { findShape } from './shape.ts'
import type { Surface } from './surface.ts'
import { callerOf, finishInProject } from './surface.ts'
import { formatTime } from './time.ts'

/** How far ahead is looked where no end is given: as long as the longest reservation. */
const SPAN_MS = 14 * 86_400_000
const MODES = ['slots', 'latest_end_time', 'check'] as const

export async function getReservationAvailability(surface: Surface, request: FastifyRequest): Promise<object> {
  const caller = callerOf(request)
  const query = queryFields(request)
  const type = query.required.text('instance_type')
  const region = query.required.text('region')
  const mode = query.choice('mode', MODES) ?? 'latest_end_time'
  const earliest = query.time('earliest_start_time')
  const latest = query.time('latest_end_time')
  const start = query.time('start_time')
  const end = query.time('end_time')
  const quantity = query.integer('quantity', { minimum: 1, maximum: QUANTITY_LIMIT }) ?? 1
  if (mode === 'check' && start === null) query.missing('start_time')
  if (mode === 'check' && end === null) query.missing('end_time')
  finishInProject(query, caller)
  const shape = findShape(surface.catalogue, 'query', type, region)
  const place = { type: shape.type.id, region: shape.region.id }
  const from = start ?? earliest ?? surface.now()
  if (mode === 'check') {
    const { isAvailable } = await surface.engine.market.quote(caller, { ...place, quantity, startAt: from, endAt: end ?? from })
    return { available: isAvailable }
  }
  const until = end ?? latest ?? from + SPAN_MS
  if (until <= from) {
    query.wrong(end === null ? 'latest_end_time' : 'end_time', 'it must be after the start')
    query.finish()
  }
  const slots = await surface.engine.market.reservable(caller, { ...place, from, until })
  if (mode === 'slots') {
    return slots
      .filter(slot => slot.quantity >= quantity)
      .map(slot => ({ start_time: formatTime(slot.startAt), end_time: formatTime(slot.endAt), quantity: slot.quantity }))
  }
  // The engine's own now is a moment later.
  const latestEnd = latestEndOf(slots, Math.max(from, surface.now()), quantity)
  return { latest_end_time: formatTime(latestEnd ?? from), available: latestEnd !== null }
}

/** The end of the unbroken stretch from the start on in which so many can be had; null if there is none. */
function latestEndOf(slots: readonly ReservableSlot[], from: number, quantity: number): number | null {
  let end: number | null = null
  for (const slot of slots) {
    if (slot.quantity < quantity || slot.startAt > (end ?? from)) break
    end = slot.endAt
  }
  return end
}
