/** An order of the market as agents see it: a bid or a reservation, found by id or name, in dollars. */
import { z } from 'zod'
import type { WithInstances } from '../../engine/market/api.ts'
import { BerthError } from '../../instance/errors.ts'
import { quoteGo } from '../../instance/go-text.ts'
import { parseId } from '../../instance/ids.ts'
import { BID_STATUSES, RESERVATION_STATUSES } from '../../instance/market.ts'
import type { Bid as BidRecord, Reservation as ReservationRecord } from '../../instance/market.ts'
import { costOf } from '../../instance/periods.ts'
import { presentTime, timeOrNull } from '../present.ts'
import { withRead } from '../resolve.ts'
import type { ToolContext } from '../tool.ts'

const MICROS = 1_000_000

export const Order = z.strictObject({
  id: z.string(),
  kind: z.enum(['bid', 'reservation']),
  name: z.string(),
  status: z.enum([...new Set([...BID_STATUSES, ...RESERVATION_STATUSES])]),
  type: z.string(),
  region: z.string(),
  quantity: z.int(),
  image: z.string(),
  limit_usd_per_hour: z.number().nullable().describe('Of a bid: the most that it pays for one instance'),
  unit_usd_per_hour: z.number().nullable().describe('Of a reservation'),
  total_usd: z.number().nullable().describe('Of a reservation, charged in full'),
  start_at: z.string().nullable(),
  end_at: z.string().nullable(),
  message: z.string().nullable().describe('Why it has no instances, or not all'),
  instance_ids: z.array(z.string()),
  created_at: z.string(),
})
export type Order = z.output<typeof Order>
type OrderRecord = WithInstances<BidRecord> | WithInstances<ReservationRecord>
export const Done = z.strictObject({ order: Order })

/** By its id, or by a name that only one living order of the kind has. */
export async function findOrder(context: ToolContext, kind: 'bid', word: string): Promise<WithInstances<BidRecord>>
export async function findOrder(context: ToolContext, kind: 'reservation', word: string): Promise<WithInstances<ReservationRecord>>
export async function findOrder({ engine, caller }: ToolContext, kind: 'bid' | 'reservation', word: string): Promise<OrderRecord> {
  const reader = withRead(caller)
  if (kind === 'bid') {
    const id = parseId('bid', 'native', word)
    return id === null ? soleOf(kind, await engine.market.bids(reader, { name: word, liveOnly: true }), word) : engine.market.bid(reader, id)
  }
  const id = parseId('reservation', 'native', word)
  return id === null ? soleOf(kind, await engine.market.reservations(reader, { name: word, liveOnly: true }), word) : engine.market.reservation(reader, id)
}

function soleOf<T>(kind: string, found: readonly T[], word: string): T {
  if (found.length > 1) throw new BerthError('ambiguous', `${quoteGo(word)} means ${found.length} orders: give the id; list-orders tells it.`)
  if (found[0] !== undefined) return found[0]
  throw new BerthError('not_found', `There is no ${kind} ${quoteGo(word)} in this project; list-orders tells which there are.`)
}

export function answer(order: OrderRecord) {
  return { data: { order: presentOrder(order) }, text: orderLine(order) }
}

export function presentOrder(order: OrderRecord): Order {
  const { id, kind, name, status, type, region, quantity, message, instanceIds, createdAt } = order
  const isBid = kind === 'bid'
  return {
    id,
    kind,
    name,
    status,
    type,
    region,
    quantity,
    image: order.launch.template.image,
    limit_usd_per_hour: isBid ? dollars(order.limitMicros) : null,
    unit_usd_per_hour: isBid ? null : dollars(order.unitMicros),
    total_usd: isBid ? null : dollars(costOf(order.unitMicros, Math.floor(order.endAt) - Math.floor(order.startAt)) * quantity),
    start_at: isBid ? null : presentTime(order.startAt),
    end_at: isBid ? timeOrNull(order.deactivatedAt) : presentTime(order.endAt),
    message,
    instance_ids: instanceIds.map(String),
    created_at: presentTime(createdAt),
  }
}

/** `bid train 2f4b…: allocated, 2 × small in home, at most $0.02/h; instances …` */
export function orderLine(order: OrderRecord): string {
  const { kind, name, id, status, quantity, type, region, limit_usd_per_hour: limit, total_usd: total, start_at: from, end_at: until, message, instance_ids: instances } = presentOrder(order)
  const price = kind === 'bid' ? `at most $${limit}/h` : `$${total} from ${from} to ${until}`
  return `${kind} ${name} ${id}: ${status}, ${quantity} × ${type} in ${region}, ${price}${instances.length === 0 ? '' : `; instances ${instances.join(', ')}`}${message === null ? '' : `; ${message}`}`
}

export function dollars(amount: number): number {
  return amount / MICROS
}

export function micros(amount: number): number {
  return Math.round(amount * MICROS)
}
