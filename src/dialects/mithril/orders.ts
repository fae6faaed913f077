/** What bids and reservations have in common on this wire. */
import { MICROS_PER_CENT } from '../../instance/catalogue.ts'
import { BerthError } from '../../instance/errors.ts'
import { spellId } from '../../instance/ids.ts'
import type { Order } from '../../instance/market.ts'
import { centsOf } from '../../instance/market.ts'
import type { InstanceId } from '../../instance/model.ts'
import { asValidation } from './errors.ts'
import { derivedFid, typeFid, userFid } from './fids.ts'
import { presentLaunch } from './launch.ts'
import { formatMoney } from './money.ts'
import type * as wire from './schema.ts'
import { regionName } from './shape.ts'
import type { Surface } from './surface.ts'
import { DIALECT } from './surface.ts'
import { formatNullableTime, formatTime } from './time.ts'
import type { Loc } from './validation.ts'

/** As long as an instance's name can be, with room for what makes it unique. */
export const ORDER_NAME_LIMIT_CHARACTERS = 64

/** Where the members of the engine's requests stand in bodies of this wire. */
const MEMBERS: Readonly<Record<string, Loc>> = {
  limitMicros: ['body', 'limit_price'],
  maxUnitMicros: ['body', 'price_specification', 'max_unit_price'],
  name: ['body', 'name'],
  quantity: ['body', 'instance_quantity'],
  type: ['body', 'instance_type'],
  region: ['body', 'region'],
  startAt: ['body', 'start_time'],
  endAt: ['body', 'end_time'],
  memoryBytes: ['body', 'launch_specification', 'memory_gb'],
  volumes: ['body', 'launch_specification', 'volumes'],
  userData: ['body', 'launch_specification', 'startup_script'],
  user_data: ['body', 'launch_specification', 'startup_script'],
}

/** Hands an error of the market on with the place of what it is about. */
export function marketRefusal(error: unknown): never {
  const field = error instanceof BerthError ? error.details['field'] : undefined
  throw asValidation(error, (typeof field === 'string' ? MEMBERS[field] : undefined) ?? ['body'])
}

export type OrderHead = Pick<
  wire.Bid,
  'fid' | 'name' | 'project' | 'created_by' | 'created_at' | 'deactivated_at' | 'instance_quantity' | 'instance_type' | 'region' | 'instances' | 'launch_specification'
>

export function presentOrder(surface: Surface, order: Order & { readonly instanceIds: readonly InstanceId[] }): OrderHead {
  const region = surface.catalogue.regions.find(one => one.id === order.region)
  return {
    fid: order.kind === 'bid' ? spellId('bid', DIALECT, order.id) : spellId('reservation', DIALECT, order.id),
    name: order.name,
    project: spellId('project', DIALECT, order.projectId),
    created_by: userFid(order.projectId),
    created_at: formatTime(order.createdAt),
    deactivated_at: formatNullableTime(order.deactivatedAt),
    instance_quantity: order.quantity,
    instance_type: region === undefined ? derivedFid('it_', `${order.region}/${order.type}`) : typeFid(region, { id: order.type }),
    region: region === undefined ? null : regionName(region),
    instances: order.instanceIds.map(id => spellId('instance', DIALECT, id)),
    launch_specification: presentLaunch(order),
  }
}

export function microsOf(cents: number): number {
  return cents * MICROS_PER_CENT
}

export function moneyOf(micros: number): string {
  return formatMoney(centsOf(micros))
}
