/**
 * What instances were, and what they cost: for one of them, for those of an order, or for the whole project. Pages
 * count instances, oldest last; events are oldest first. A time window is from its start up to, but not with, its end.
 */
import type { FastifyRequest } from 'fastify'
import type { InstanceFilter } from '../../engine/api.ts'
import { parseId, spellId } from '../../instance/ids.ts'
import { centsOf, ORDER } from '../../instance/market.ts'
import type { PeriodKind } from '../../instance/market.ts'
import type { Instance, InstanceEvent } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { queryFields } from './body.ts'
import { MAX_LIMIT, pageOf } from './cursor.ts'
import { orderFids, presentStatuses } from './present.ts'
import type * as wire from './schema.ts'
import type { Surface } from './surface.ts'
import { callerOf, DIALECT, finishInProject } from './surface.ts'
import { formatNullableTime, formatTime } from './time.ts'

/** Events read from the engine at once. */
const EVENTS_PAGE = 10_000
/** What an instance is paid for; credits stand in the reservation's usage. */
const PAID: readonly PeriodKind[] = ['on-demand', 'spot', 'reserved']

export async function listStatusHistory(surface: Surface, request: FastifyRequest): Promise<wire.InstancesPage<wire.StatusHistory>> {
  const { caller, rows, from, until, next_cursor } = await selected(surface, request)
  const events = await phaseEvents(surface, caller, rows)
  const isWithin = (at: number) => (from === null || at >= from) && (until === null || at < until)
  const instances = rows.map(instance => ({
    ...head(instance),
    events: presentStatuses(events.filter(event => event.instanceId === instance.id))
      .filter(({ at }) => isWithin(at))
      .map(({ at, status }) => ({ timestamp: formatTime(at), status })),
  }))
  return { instances, next_cursor }
}

/** A period that overlaps the window is told whole. */
export async function listPricingHistory(surface: Surface, request: FastifyRequest): Promise<wire.InstancesPage<wire.PricingHistory>> {
  const { caller, rows, from, until, next_cursor } = await selected(surface, request)
  const periods =
    rows.length === 0
      ? []
      : await surface.engine.market.periods(caller, {
          instanceIds: rows.map(instance => instance.id),
          kinds: PAID,
          ...(from === null ? {} : { from }),
          ...(until === null ? {} : { until }),
        })
  const instances = rows.map(instance => ({
    ...head(instance),
    events: periods
      .filter(period => period.instanceId === instance.id)
      .map(({ priceMicros, startAt, endAt }) => ({ price_cents: centsOf(priceMicros), start_time: formatTime(startAt), end_time: formatNullableTime(endAt) })),
  }))
  return { instances, next_cursor }
}

/** All steps of these instances, oldest first. */
export async function phaseEvents(surface: Surface, caller: Identity, instances: readonly Pick<Instance, 'id'>[]): Promise<readonly InstanceEvent[]> {
  const instanceIds = instances.map(instance => instance.id)
  const found: InstanceEvent[] = []
  if (instanceIds.length === 0) return found
  for (;;) {
    const afterSeq = found.at(-1)?.seq
    const page = await surface.engine.events.list(caller, {
      instanceIds,
      kinds: ['phase'],
      order: 'oldest-first',
      limit: EVENTS_PAGE,
      ...(afterSeq === undefined ? {} : { afterSeq }),
    })
    found.push(...page)
    if (page.length < EVENTS_PAGE) return found
  }
}

interface Selected {
  readonly caller: Identity
  readonly rows: readonly Instance[]
  readonly from: number | null
  readonly until: number | null
  readonly next_cursor: string | null
}

/** The page of instances that a history is asked for. What is selected and isn't in the project is nothing. */
async function selected(surface: Surface, request: FastifyRequest): Promise<Selected> {
  const caller = callerOf(request)
  const query = queryFields(request)
  const instanceFid = query.text('instance_fid')
  const bidFid = query.text('bid_fid')
  const reservationFid = query.text('reservation_fid')
  const limit = query.integer('limit', { minimum: 1, maximum: MAX_LIMIT })
  const from = query.time('start_time')
  const until = query.time('end_time')
  const cursor = query.text('next_cursor')
  finishInProject(query, caller)
  const filter = filterOf(instanceFid, bidFid, reservationFid)
  const found = filter === null ? [] : await surface.engine.instances.list(caller, { ...filter, includeDeleted: true })
  const page = pageOf({ rows: found, sortValue: instance => instance.createdAt, id: instance => instance.id, direction: 'desc', limit, cursor })
  return { caller, rows: page.rows, from, until, next_cursor: page.next_cursor }
}

/** All selectors have to fit; null where nothing can. */
function filterOf(instanceFid: string | null, bidFid: string | null, reservationFid: string | null): InstanceFilter | null {
  if (bidFid !== null && reservationFid !== null) return null
  const id = instanceFid === null ? null : parseId('instance', DIALECT, instanceFid)
  const order = bidFid !== null ? parseId('bid', DIALECT, bidFid) : reservationFid !== null ? parseId('reservation', DIALECT, reservationFid) : null
  if ((instanceFid !== null && id === null) || ((bidFid ?? reservationFid) !== null && order === null)) return null
  const kind = bidFid === null ? 'reservation' : 'bid'
  return { ...(id === null ? {} : { ids: [id] }), ...(order === null ? {} : { annotations: { [ORDER.id]: order, [ORDER.kind]: kind } }) }
}

function head(instance: Instance): { readonly instance_fid: string; readonly bid_fid: string | null; readonly reservation_fid: string | null } {
  const { bid, reservation } = orderFids(instance)
  return { instance_fid: spellId('instance', DIALECT, instance.id), bid_fid: bid, reservation_fid: reservation }
}
