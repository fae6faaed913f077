/** What bids and reservations have in common: whose they are, what is told of them, which of their places are empty. */
import type { AuditDetails } from '../../instance/audit.ts'
import { placeIn } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import type { Order, OrderEvent, OrderId, OrderKind, Orders } from '../../instance/market.ts'
import { ORDER, orderOf } from '../../instance/market.ts'
import type { Instance, InstanceId, Place } from '../../instance/model.ts'
import { checkInstanceName, checkLabel, NAME_LIMIT_CHARACTERS } from '../../instance/names.ts'
import type { Caller } from '../api.ts'
import type { Core } from '../core.ts'
import { specOf } from '../defaults.ts'
import { checkCount, checkSpec, limitsIn } from '../limits.ts'
import { checkSecrets } from '../secrets.ts'
import type { StoreReader, StoreTx } from '../store-port.ts'
import type { NewOrder, WithInstances } from './api.ts'
import { bySlot } from './books.ts'
import { marketOf, sizeOf } from './ground.ts'

/** Instances of one order. */
export const ORDER_QUANTITY_LIMIT = 256
/** Orders of a project that are not over. */
export const ORDERS_PER_PROJECT_LIMIT = 1000
const DETAILS_LIMIT_BYTES = 65_536
/** For the number of the place, and what tells a second instance of the same name apart. */
const SUFFIX_CHARACTERS = 9

/** A place of an order that has no instance and shall have one. */
export interface Vacancy {
  readonly order: Order
  readonly slot: number
}

/** The order, if it is the caller's; also one that is over. */
export async function ownOrder<K extends OrderKind>(reader: Pick<StoreReader, 'order'>, caller: Pick<Caller, 'projectId'>, kind: K, id: OrderId): Promise<Orders[K]> {
  const order = await reader.order(kind, id)
  if (order === null || order.projectId !== caller.projectId) throw noOrder(kind, id)
  return order
}

/** The order, if it is the caller's and not over. */
export async function liveOrder<K extends OrderKind>(reader: Pick<StoreReader, 'order'>, caller: Pick<Caller, 'projectId'>, kind: K, id: OrderId): Promise<Orders[K]> {
  const order = await ownOrder(reader, caller, kind, id)
  if (order.deactivatedAt !== null) throw noOrder(kind, id)
  return order
}

function noOrder(kind: OrderKind, id: OrderId): BerthError {
  return new BerthError('not_found', `There is no ${kind} ${id}, or it is over.`, { details: { id } })
}

/** Writes a line of an order's story. */
export function tellOrder(tx: StoreTx, order: Pick<Order, 'id' | 'projectId'>, at: number, type: OrderEvent['type'], details: OrderEvent['details'] = {}): Promise<void> {
  return tx.appendOrderEvent({ orderId: order.id, projectId: order.projectId, at, type, details })
}

/** Writes who changed an order. */
export function audited(core: Core, tx: StoreTx, caller: Caller, action: string, order: Order, details: AuditDetails = {}): Promise<void> {
  return core.audit.record(tx, caller, { action: `${order.kind}.${action}`, target: { kind: order.kind, id: order.id, name: order.name }, details })
}

export async function instancesOf(reader: Pick<StoreReader, 'instances'>, order: Pick<Order, 'id' | 'projectId'>, includeDeleted = false): Promise<readonly Instance[]> {
  return bySlot(await reader.instances({ projectId: order.projectId, annotations: { [ORDER.id]: order.id }, includeDeleted }))
}

/** With the instances it has; one that is over, with those that it had. */
export async function withInstances<O extends Order>(reader: Pick<StoreReader, 'instances'>, order: O): Promise<WithInstances<O>> {
  const instances = await instancesOf(reader, order, order.deactivatedAt !== null)
  const instanceIds: readonly InstanceId[] = instances.map(instance => instance.id)
  return { ...order, instanceIds }
}

/** The places of orders that have no living instance. */
export async function vacanciesOf(reader: Pick<StoreReader, 'instances'>, orders: readonly Order[]): Promise<readonly Vacancy[]> {
  const vacancies: Vacancy[] = []
  for (const order of orders) {
    const taken = new Set((await instancesOf(reader, order)).map(instance => orderOf(instance)?.slot))
    const slots = order.kind === 'bid' ? Array.from({ length: order.quantity }, (_, slot) => slot) : order.slots.map(one => one.slot)
    for (const slot of slots) if (!taken.has(slot)) vacancies.push({ order, slot })
  }
  return vacancies
}

/** What every order begins with. Throws where its instances could not be made. */
export function draftOrder(core: Core, caller: Caller, request: NewOrder, at: number) {
  const type = marketOf(core.catalogue, request.type, request.region)
  const size = sizeOf(type)
  checkLabel('order', request.name)
  checkCount('quantity', request.quantity, 1, ORDER_QUANTITY_LIMIT)
  const launch = { memoryBytes: null, annotations: {}, details: null, ...request.launch }
  if (launch.memoryBytes !== null) checkCount('memoryBytes', launch.memoryBytes, core.config.limits.minMemoryBytes, size.memoryBytes, 'bytes')
  if (Buffer.byteLength(JSON.stringify(launch.details ?? null)) > DETAILS_LIMIT_BYTES) {
    throw new BerthError('limit_exceeded', `The details of an order have at most ${DETAILS_LIMIT_BYTES} bytes.`)
  }
  const { name: _name, ...template } = { name: '', ...launch.template }
  const spec = specOf({ ...template, ...sizeOfInstance(launch.memoryBytes, size), place: placeOf(core, request) }, instanceName(request.name, 0))
  checkSpec(spec, limitsIn(core, spec), at)
  return {
    projectId: caller.projectId,
    name: request.name,
    type: request.type,
    region: request.region,
    quantity: request.quantity,
    size,
    launch,
    origin: caller.via,
    createdAt: at,
    updatedAt: at,
    deactivatedAt: null,
    message: null,
  } as const
}

/** Throws unless the project can have one more, and has the secrets that its instances would be given. */
export async function checkNewOrder(tx: StoreTx, caller: Caller, kind: OrderKind, { template }: NewOrder['launch']): Promise<void> {
  await checkSecrets(tx, caller, template)
  const count = await tx.countOrders(kind, { projectId: caller.projectId, liveOnly: true })
  if (count >= ORDERS_PER_PROJECT_LIMIT) throw new BerthError('limit_exceeded', `The project has ${ORDERS_PER_PROJECT_LIMIT} ${kind}s already: end some.`)
}

export function sizeOfInstance(memoryBytes: number | null, size: Order['size']) {
  return { vcpus: size.vcpus, memoryBytes: memoryBytes ?? size.memoryBytes, overlayBytes: size.diskBytes }
}

/** `train-1`: what of the order's name an instance can have, and the number of its place. */
export function instanceName(orderName: string, slot: number, suffix = ''): string {
  const kept = orderName
    .toLowerCase()
    .replaceAll(/[^a-z0-9-]+/g, '-')
    .slice(0, NAME_LIMIT_CHARACTERS - SUFFIX_CHARACTERS)
    .replaceAll(/^-+|-+$/g, '')
  const name = `${kept === '' ? 'order' : kept}-${slot + 1}${suffix}`
  checkInstanceName(name)
  return name
}

/** Where the instances of an order are, as specifications say it. */
export function placeOf(core: Pick<Core, 'catalogue'>, order: Pick<NewOrder, 'type' | 'region'>): Place | null {
  const region = core.catalogue.regions.find(one => one.id === order.region)
  const type = core.catalogue.types.find(one => one.id === order.type)
  return region === undefined || type === undefined ? null : placeIn(region, type)
}
