/** Spot bids. A limit price is a ceiling: what is paid is the clearing price, the same for all who won. */
import type { FastifyRequest } from 'fastify'
import type { BidChange, WithInstances } from '../../engine/market/api.ts'
import { BerthError } from '../../instance/errors.ts'
import { parseId, spellId } from '../../instance/ids.ts'
import type { Bid, OrderEvent, OrderEventType } from '../../instance/market.ts'
import type { BidId, VolumeId } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { bodyFields, queryFields } from './body.ts'
import { httpError } from './errors.ts'
import { userFid, volumeFid } from './fids.ts'
import { acceptLaunch, changedVolumes, launchOf } from './launch.ts'
import { acceptOrderFilter, orderPage } from './order-list.ts'
import { marketRefusal, microsOf, moneyOf, ORDER_NAME_LIMIT_CHARACTERS, presentOrder } from './orders.ts'
import type * as wire from './schema.ts'
import { BID_STATUSES, QUANTITY_LIMIT, VOLUMES_PER_ORDER_LIMIT } from './schema.ts'
import { findShape } from './shape.ts'
import type { Surface } from './surface.ts'
import { callerOf, checkProject, DIALECT, pathId } from './surface.ts'
import { formatTime } from './time.ts'

const GIB = 2 ** 30
const STATUS: Readonly<Record<Bid['status'], wire.BidStatus>> = {
  open: 'Open',
  allocated: 'Allocated',
  preempting: 'Preempting',
  paused: 'Paused',
  terminated: 'Terminated',
}

export async function listBids(surface: Surface, request: FastifyRequest): Promise<wire.Page<wire.Bid>> {
  const caller = callerOf(request)
  const query = queryFields(request)
  const filter = acceptOrderFilter(query, BID_STATUSES)
  const project = query.text('project')
  const name = query.text('name')
  query.finish()
  checkProject(caller, project)
  const bids = await surface.engine.market.bids(caller, name === null ? {} : { name })
  // A bid that is over must not stand before a living one of its name: one client takes the first row for "the" bid.
  const isShadow = (bid: Bid) => name !== null && bid.status === 'terminated' && filter.direction === 'desc'
  return orderPage(bids, {
    filter,
    present: bid => presentBid(surface, bid),
    timeOf: bid => (isShadow(bid) ? bid.createdAt - Number.MAX_SAFE_INTEGER / 2 : bid.createdAt),
  })
}

export async function createBid(surface: Surface, request: FastifyRequest): Promise<wire.Bid> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const project = body.required.text('project')
  const region = body.required.text('region')
  const type = body.required.text('instance_type')
  const limitCents = body.required.cents('limit_price')
  const quantity = body.required.integer('instance_quantity', { minimum: 1, maximum: QUANTITY_LIMIT })
  const name = body.required.text('name', { minLength: 1, limit: ORDER_NAME_LIMIT_CHARACTERS })
  const launch = acceptLaunch(body)
  body.text('notification_email')
  body.finish()
  checkProject(caller, project)
  const shape = findShape(surface.catalogue, 'body', type, region)
  await surface.signals.follow(caller.projectId)
  const bid = await surface.engine.market
    .placeBid(caller, {
      name,
      type: shape.type.id,
      region: shape.region.id,
      quantity,
      limitMicros: microsOf(limitCents),
      launch: await launchOf(surface, caller, { name, region: shape.region.id, quantity }, launch),
    })
    .catch(marketRefusal)
  return presentBid(surface, bid)
}

export async function getBid(surface: Surface, request: FastifyRequest): Promise<wire.Bid> {
  return presentBid(surface, await findBid(surface, callerOf(request), pathId(request)))
}

export async function updateBid(surface: Surface, request: FastifyRequest): Promise<wire.Bid> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const limitCents = body.cents('limit_price')
  const paused = body.flag('paused')
  const memoryGb = body.integer('memory_gb', { minimum: 1 })
  const volumes = body.texts('volumes', { limit: VOLUMES_PER_ORDER_LIMIT })
  body.finish()
  const bid = await findBid(surface, caller, pathId(request))
  const change: BidChange = {
    ...(limitCents === null ? {} : { limitMicros: microsOf(limitCents) }),
    ...(paused === null ? {} : { paused }),
    ...(memoryGb === null ? {} : { memoryBytes: memoryGb * GIB }),
    ...(volumes === null ? {} : { volumes: await changedVolumes(surface, caller, bid, volumes) }),
  }
  return presentBid(surface, await surface.engine.market.updateBid(caller, bid.id, change).catch(marketRefusal))
}

/** Of one that is over: 404, which its clients take for done. */
export async function cancelBid(surface: Surface, request: FastifyRequest): Promise<null> {
  const caller = callerOf(request)
  const bid = await findBid(surface, caller, pathId(request))
  await surface.engine.market.endBid(caller, bid.id).catch((error: unknown) => {
    throw error instanceof BerthError && error.code === 'not_found' ? bidMissing(error) : error
  })
  return null
}

/** The one place that knows of relocation: an instance whose host is silent. */
export async function getBidStatus(surface: Surface, request: FastifyRequest): Promise<{ readonly bid_fid: string; readonly status: wire.BidStatus | 'Relocating' }> {
  const caller = callerOf(request)
  const bid = await findBid(surface, caller, pathId(request))
  const lost = bid.status === 'allocated' && bid.instanceIds.length > 0 ? await surface.engine.instances.list(caller, { ids: bid.instanceIds, phases: ['lost'], limit: 1 }) : []
  return { bid_fid: spellId('bid', DIALECT, bid.id), status: lost.length > 0 ? 'Relocating' : STATUS[bid.status] }
}

export async function getBidHistory(surface: Surface, request: FastifyRequest): Promise<{ readonly bid_fid: string; readonly events: readonly wire.BidEvent[] }> {
  const caller = callerOf(request)
  const bid = await findBid(surface, caller, pathId(request))
  const events = await surface.engine.market.orderEvents(caller, bid.id)
  return { bid_fid: spellId('bid', DIALECT, bid.id), events: events.flatMap(presentBidEvent) }
}

function presentBid(surface: Surface, bid: WithInstances<Bid>): wire.Bid {
  return { ...presentOrder(surface, bid), limit_price: moneyOf(bid.limitMicros), status: STATUS[bid.status] }
}

/** Words of this wire for what happens to a bid; notice and its withdrawal are told by the status of instances. */
const EVENTS: Readonly<Partial<Record<OrderEventType, wire.BidEvent['event_type']>>> = {
  placed: 'Placed',
  allocated: 'Allocated',
  preempted: 'Preempted',
  'limit-changed': 'Limit Price Changed',
  'memory-changed': 'Memory Adjusted',
  'volumes-attached': 'Volumes Attached',
  'volumes-removed': 'Volumes Removed',
  paused: 'Paused',
  resumed: 'Resumed',
  terminated: 'Terminated',
}

function presentBidEvent(event: OrderEvent): readonly wire.BidEvent[] {
  const type = EVENTS[event.type]
  if (type === undefined) return []
  const { limitMicros, memoryBytes, volumes } = event.details
  const told: wire.BidEvent = {
    timestamp: formatTime(event.at),
    event_type: type,
    limit_price: typeof limitMicros === 'number' ? moneyOf(limitMicros) : null,
    user_id: userFid(event.projectId),
    memory_gb: typeof memoryBytes === 'number' ? Math.ceil(memoryBytes / GIB) : null,
    persistent_disk_change: null,
  }
  if (typeof volumes !== 'string' || volumes === '') return [told]
  // One line for each volume: a line has room for one.
  return volumes.split(',').map(id => {
    const fid = volumeFid(id as VolumeId)
    const isAttached = event.type === 'volumes-attached'
    return { ...told, persistent_disk_change: { attached: isAttached ? fid : null, removed: isAttached ? null : fid } }
  })
}

function findBid(surface: Surface, caller: Identity, fid: string): Promise<WithInstances<Bid>> {
  const id: BidId | null = parseId('bid', DIALECT, fid)
  if (id === null) throw bidMissing()
  return surface.engine.market.bid(caller, id).catch((error: unknown) => {
    throw error instanceof BerthError && error.code === 'not_found' ? bidMissing(error) : error
  })
}

function bidMissing(cause?: unknown): BerthError {
  return httpError(404, 'Bid not found.', cause)
}
