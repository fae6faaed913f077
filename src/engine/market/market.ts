/** The market: orders, their auction and their instances. */
import { BerthError } from '../../instance/errors.ts'
import type { Market } from './api.ts'

export function makeMarket(): Market {
  const closed = () => Promise.reject(new BerthError('not_supported', 'This server has no market.'))
  return {
    supply: closed,
    priceToWin: closed,
    priceHistory: closed,
    placeBid: closed,
    updateBid: closed,
    endBid: closed,
    bid: closed,
    bids: closed,
    quote: closed,
    reservable: closed,
    reserve: closed,
    updateReservation: closed,
    extendReservation: closed,
    latestExtension: closed,
    returnInstances: closed,
    cancelReservation: closed,
    reservation: closed,
    reservations: closed,
    reservationUsage: closed,
    orderEvents: closed,
    periods: closed,
    usage: closed,
    quotas: closed,
  }
}
