/**
 * The auction of one type in one region: blind, second price, one price for all. A pure function, run again after
 * each change of supply or demand.
 *
 *   bids by limit, earlier first among equals:   20×2  15×1 │ 12×2   9×1        capacity 3
 *                                                └─ win ───┘ └─ lose ─┘        price 12: the highest limit that loses
 *
 * Policy:
 * - All or nothing: a bid gets all of its slots or none. Those that win are the longest beginning of the order that
 *   fits; the first that does not fit loses, and so do all after it, even where a smaller one would fit. So nobody
 *   is outbid by less money, and a bid that comes below a winner can't evict it.
 * - A bid for more slots than there are can't win at any price: it is set aside, and sets no price.
 * - Who wins pays the highest limit that loses, and never less than the floor. A bid below the floor is set aside.
 */

export interface AuctionBid {
  readonly id: string
  readonly limitMicros: number
  readonly quantity: number
  readonly createdAt: number
}

export interface Lot {
  /** Slots that there are. */
  readonly capacity: number
  /** Of them, those that reservations hold. */
  readonly held: number
  readonly floorMicros: number
}

export interface Outcome {
  /** Best first. */
  readonly winners: readonly string[]
  /** Would fit alone, and were outbid; best first. */
  readonly losers: readonly string[]
  /** Can't win at any price: larger than what there is, or below the floor. */
  readonly setAside: readonly string[]
  readonly clearingMicros: number
  /** Slots that the winners have. */
  readonly allocated: number
}

export function runAuction(lot: Lot, bids: readonly AuctionBid[]): Outcome {
  const slots = Math.max(0, lot.capacity - lot.held)
  const canWin = (bid: AuctionBid) => bid.limitMicros >= lot.floorMicros && bid.quantity <= slots
  const ranked = bids.filter(canWin).toSorted(byRank)
  let allocated = 0
  let won = 0
  for (const bid of ranked) {
    if (allocated + bid.quantity > slots) break
    allocated += bid.quantity
    won++
  }
  return {
    winners: ranked.slice(0, won).map(bid => bid.id),
    losers: ranked.slice(won).map(bid => bid.id),
    setAside: bids.filter(bid => !canWin(bid)).map(bid => bid.id),
    clearingMicros: Math.max(lot.floorMicros, ranked[won]?.limitMicros ?? 0),
    allocated,
  }
}

/**
 * The least limit, in whole steps, with which one more bid for so many slots would win, placed after all others;
 * null if none would.
 */
export function priceToWin(lot: Lot, bids: readonly AuctionBid[], quantity: number, stepMicros: number): number | null {
  const limits = [lot.floorMicros, ...bids.map(bid => bid.limitMicros + stepMicros)].filter(limit => limit >= lot.floorMicros)
  const newcomer = (limitMicros: number): AuctionBid => ({ id: '', limitMicros, quantity, createdAt: Number.POSITIVE_INFINITY })
  for (const limit of new Set(limits.toSorted((a, b) => a - b))) {
    if (runAuction(lot, [...bids, newcomer(limit)]).winners.includes('')) return limit
  }
  return null
}

function byRank(a: AuctionBid, b: AuctionBid): number {
  if (a.limitMicros !== b.limitMicros) return b.limitMicros - a.limitMicros
  if (a.createdAt !== b.createdAt) return a.createdAt - b.createdAt
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0
}
