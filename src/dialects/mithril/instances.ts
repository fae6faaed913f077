/**
 * The operations on instances: list, status, start and pause in batches, a new boot disk.
 *
 * A batch is looked at as a whole before anything is touched: what is not there (404), what is spot (501), what is not
 * ready (409); only then each instance is started or paused, and what can't be keeps its status.
 */
import type { FastifyRequest } from 'fastify'
import type { InstanceFilter } from '../../engine/api.ts'
import { BerthError } from '../../instance/errors.ts'
import { parseId, spellId } from '../../instance/ids.ts'
import { ORDER, orderOf, preemptAtOf } from '../../instance/market.ts'
import type { Instance, ReservationId } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { bodyFields, optionalBodyFields, queryFields } from './body.ts'
import { MAX_LIMIT, pageOf, SORT_DIRECTIONS } from './cursor.ts'
import { httpError } from './errors.ts'
import { imageVersionFid } from './fids.ts'
import { findImage } from './launch.ts'
import { nameOf, orderFids, phasesOf, presentInstance, statusOf } from './present.ts'
import type * as wire from './schema.ts'
import { INSTANCE_STATUSES, ORDER_TYPES, TARGET_STATUSES } from './schema.ts'
import { instanceTypeFid } from './shape.ts'
import type { Surface } from './surface.ts'
import { callerOf, DIALECT, findInstance, finishInProject, pathId } from './surface.ts'
import { formatNullableTime } from './time.ts'
import { ValidationError } from './validation.ts'

const BATCH_LIMIT = 1000
const SORTS = ['created_at', 'instance_status', 'instance_type_fid'] as const
type Target = (typeof TARGET_STATUSES)[number]

export async function listInstances(surface: Surface, request: FastifyRequest): Promise<wire.Page<wire.Instance>> {
  const caller = callerOf(request)
  const query = queryFields(request, ['status_in', 'order_type_in', 'bid_fid_in', 'reservation_fid_in'])
  const cursor = query.text('next_cursor')
  const sort = query.choice('sort_by', SORTS) ?? 'created_at'
  const direction = query.choice('sort_dir', SORT_DIRECTIONS, 'enum') ?? 'desc'
  const type = query.text('instance_type')
  const region = query.text('region')
  const statuses = query.choices('status_in', INSTANCE_STATUSES)
  const orderTypes = query.choices('order_type_in', ORDER_TYPES)
  const bids = query.words('bid_fid_in')
  const reservations = query.words('reservation_fid_in')
  const limit = query.integer('limit', { minimum: 1, maximum: MAX_LIMIT })
  finishInProject(query, caller)

  const found = await surface.engine.instances.list(caller, {
    includeDeleted: true,
    ...(statuses === null ? {} : { phases: phasesOf(statuses) }),
    ...selection([...(bids ?? []).map(bidId), ...(reservations ?? []).map(reservationId)]),
  })
  const rows = found
    .map(instance => ({ instance, row: presentInstance(instance, surface.catalogue) }))
    .filter(({ row }) => type === null || row.instance_type === type)
    .filter(({ row }) => region === null || row.region === region)
    .filter(({ row }) => orderTypes === null || (row.bid !== null && orderTypes.includes('Bid')) || (row.reservation !== null && orderTypes.includes('Reservation')))
    .filter(({ row }) => bids === null || (row.bid !== null && bids.includes(row.bid)))
    .filter(({ row }) => reservations === null || (row.reservation !== null && reservations.includes(row.reservation)))
  const page = pageOf({
    rows,
    sortValue: ({ instance, row }) =>
      sort === 'created_at' ? instance.createdAt : sort === 'instance_status' ? row.status : instanceTypeFid(instance, surface.catalogue),
    id: ({ row }) => row.fid,
    direction,
    limit,
    cursor,
  })
  return { data: page.rows.map(({ row }) => row), next_cursor: page.next_cursor }
}

export async function getInstanceStatus(surface: Surface, request: FastifyRequest): Promise<wire.InstanceStatusAnswer> {
  const instance = await findInstance(surface, callerOf(request), pathId(request))
  return {
    fid: spellId('instance', DIALECT, instance.id),
    name: nameOf(instance),
    status: statusOf(instance.phase),
    ...orderFids(instance),
    end_time: formatNullableTime(preemptAtOf(instance)),
  }
}

export async function patchInstances(surface: Surface, request: FastifyRequest): Promise<{ readonly instances: Readonly<Record<string, wire.InstanceStatus>> }> {
  const caller = callerOf(request)
  const body = bodyFields(request)
  const fids = body.required.texts('instances', { limit: BATCH_LIMIT, as: 'set' })
  const target = body.required.choice('status', TARGET_STATUSES)
  body.finish()
  const instances = await Promise.all(
    fids.map(fid =>
      findInstance(surface, caller, fid).catch((error: unknown) => {
        throw error instanceof BerthError && error.code === 'not_found' ? httpError(404, 'One of the provided instances did not exist.', error) : error
      }),
    ),
  )
  if (instances.some(instance => orderOf(instance)?.kind === 'bid')) throw httpError(501, 'Spot bids are not yet supported.')
  await checkReady(surface, caller, instances, target)
  const results = await Promise.all(instances.map(async instance => [spellId('instance', DIALECT, instance.id), await move(surface, caller, instance, target)] as const))
  return { instances: Object.fromEntries(results) }
}

/** The instance is to be paused already; its disk is made anew from its image, or from another one. */
export async function refreshBootDisk(surface: Surface, request: FastifyRequest): Promise<{ readonly fid: string; readonly image_version: string | null; readonly status: 'REFRESHED' }> {
  const caller = callerOf(request)
  const body = optionalBodyFields(request)
  const imageVersion = body?.text('image_version') ?? null
  body?.finish()
  const instance = await findInstance(surface, caller, pathId(request))
  if (orderOf(instance)?.kind === 'bid') throw httpError(501, 'The boot disk of a spot instance can\'t be refreshed.')
  switch (statusOf(instance.phase)) {
    case 'STATUS_PAUSED':
    case 'STATUS_ERROR':
      break
    case 'STATUS_RUNNING':
    case 'STATUS_STARTING':
    case 'STATUS_STOPPING':
    case 'STATUS_PREEMPTING':
      throw httpError(422, { reason: 'INSTANCE_RUNNING', message: 'The instance is running: pause it with PATCH /v2/instances, and wait until it is STATUS_PAUSED.' })
    default:
      throw httpError(409, 'The instance has no virtual machine whose disk could be refreshed.')
  }
  const image = imageVersion === null ? null : await findImage(surface, caller, imageVersion, ['body', 'image_version']).catch((error: unknown) => {
    if (!(error instanceof ValidationError)) throw error
    throw httpError(422, { reason: 'INVALID_IMAGE_VERSION', message: 'There is no such image version: see GET /v2/image-versions.' }, error)
  })
  await surface.engine.instances.renewDisk(caller, instance.id, image === null ? {} : { image: image.name }).catch((error: unknown) => {
    if (!(error instanceof BerthError) || error.code !== 'invalid_state') throw error
    throw httpError(422, { reason: 'INSTANCE_RUNNING', message: error.message }, error)
  })
  return { fid: spellId('instance', DIALECT, instance.id), image_version: image === null ? null : imageVersionFid(image), status: 'REFRESHED' }
}

/** Narrows the list where that is certain: to the instances of one order. */
function selection(orderIds: readonly (string | null)[]): InstanceFilter {
  const [only] = orderIds
  return orderIds.length === 1 && only !== undefined && only !== null ? { annotations: { [ORDER.id]: only } } : {}
}

function bidId(fid: string): string | null {
  return parseId('bid', DIALECT, fid)
}

function reservationId(fid: string): string | null {
  return parseId('reservation', DIALECT, fid)
}

/** Throws 409 unless every instance can be told to go there. */
async function checkReady(surface: Surface, caller: Identity, instances: readonly Instance[], target: Target): Promise<void> {
  const notReady = (cause?: unknown) => httpError(409, 'One or more of the instances is not yet ready for this operation.', cause)
  for (const { phase } of instances) {
    const status = statusOf(phase)
    const isOnItsWay = status === 'STATUS_NEW' || status === 'STATUS_CONFIRMED' || status === 'STATUS_INITIALIZING' || status === 'STATUS_STARTING'
    if (target === 'STATUS_PAUSED' ? isOnItsWay : status === 'STATUS_STOPPING') throw notReady()
  }
  const reservations = new Set(instances.flatMap(instance => (orderOf(instance)?.kind === 'reservation' ? [orderOf(instance)?.id as ReservationId] : [])))
  for (const id of reservations) {
    const { status } = await surface.engine.market.reservation(caller, id)
    if (status !== 'active' && status !== 'paused') throw notReady()
  }
}

/** The status after it, which is the one before where it can't be done. */
async function move(surface: Surface, caller: Identity, instance: Instance, target: Target): Promise<wire.InstanceStatus> {
  const { instances } = surface.engine
  const before = statusOf(instance.phase)
  const { id, phase, desired } = instance
  try {
    if (target === 'STATUS_PAUSED') {
      const isToStartAgain = phase === 'stopped' && desired === 'running'
      if (before !== 'STATUS_RUNNING' && !isToStartAgain) return before
      return statusOf((await instances.stop(caller, id)).phase)
    }
    if (before !== 'STATUS_PAUSED') return before
    await (phase === 'standby' ? instances.restore(caller, id) : instances.start(caller, id))
    return 'STATUS_CONFIRMED'
  } catch (error) {
    // It moved meanwhile, or there is no room for one that no reservation holds room for.
    const isRefusal = error instanceof BerthError && ['invalid_state', 'insufficient_resources', 'not_found'].includes(error.code)
    if (!isRefusal) throw error
    return before
  }
}
