/** What an instance of an order may do: it runs only while its order has its capacity, whichever dialect asks. */
import { BerthError } from '../../instance/errors.ts'
import { ORDER, orderOf } from '../../instance/market.ts'
import type { BidId, Instance, ReservationId } from '../../instance/model.ts'
import type { StoreReader } from '../store-port.ts'

const OWN = new Set<string>(Object.values(ORDER))

/** Throws `invalid_state` where starting it would go around the market. */
export async function requireGrant(reader: Pick<StoreReader, 'order'>, instance: Instance, operation: string): Promise<void> {
  const order = orderOf(instance)
  if (order === null) return
  const status = order.kind === 'bid' ? (await reader.order('bid', order.id as BidId))?.status : (await reader.order('reservation', order.id as ReservationId))?.status
  if (status === 'allocated' || status === 'active' || (order.kind === 'reservation' && status === 'paused')) return
  throw new BerthError('invalid_state', `Its ${order.kind} is ${status ?? 'gone'}: the instance runs again when the ${order.kind} has its capacity (${operation}).`, {
    details: { operation, phase: instance.phase },
  })
}

/** Throws `invalid_request` for annotations that only the market gives. */
export function refuseOrderAnnotations(annotations: Readonly<Record<string, string>> | undefined): void {
  const own = Object.keys(annotations ?? {}).find(key => OWN.has(key))
  if (own !== undefined) throw new BerthError('invalid_request', `The annotation ${own} is given by the market alone: leave it out.`, { details: { field: 'annotations' } })
}
