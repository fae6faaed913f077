/** What instances cost an hour: by the catalogue, or as the bid or reservation says that they belong to. */
import { useQuery } from '@tanstack/react-query'
import { createContext, useContext, useMemo } from 'react'
import type { ReactNode } from 'react'
import { call, listAll } from '../api/http.ts'
import type { Bid, Catalogue, Instance, Reservation } from '../api/types.ts'

export interface Price {
  readonly micros: number
  readonly kind: 'on demand' | 'spot' | 'reserved'
}
type Priced = Pick<Instance, 'type' | 'vcpus' | 'memoryBytes' | 'hotplugBytes' | 'order'>
/** null: not known (yet). */
export type PriceOf = (instance: Priced) => Price | null

/** Prices of the market change by themselves; nobody tells of them. */
const MARKET_EVERY_MS = 60_000
const Prices = createContext<PriceOf>(() => null)
/** For who knows them already. */
export const GivenPrices = Prices.Provider

export function usePrice(instance: Priced): Price | null {
  return useContext(Prices)(instance)
}

export function PricesProvider({ hasOrders, children }: { readonly hasOrders: boolean; readonly children: ReactNode }) {
  return <GivenPrices value={usePrices(hasOrders)}>{children}</GivenPrices>
}

/** `hasOrders`: whether the market has to be asked, too. */
export function usePrices(hasOrders: boolean): PriceOf {
  const catalogue = useCatalogue()
  const market = { enabled: hasOrders, refetchInterval: MARKET_EVERY_MS }
  const bids = useQuery({ ...market, queryKey: ['market', 'bids'], queryFn: ({ signal }) => listAll<Bid>('/market/bids', { signal }) })
  const reservations = useQuery({ ...market, queryKey: ['market', 'reservations'], queryFn: ({ signal }) => listAll<Reservation>('/market/reservations', { signal }) })
  return useMemo<PriceOf>(() => {
    const spot = new Map((bids.data ?? []).map(({ id, spotMicros }) => [id, spotMicros]))
    const reserved = new Map((reservations.data ?? []).map(({ id, unitMicros }) => [id, unitMicros]))
    return instance => {
      const { order } = instance
      if (order === null) {
        const type = catalogue.data === undefined ? null : pricedAs(catalogue.data.types, instance)
        return catalogue.data === undefined ? null : { micros: type?.priceMicrosPerHour ?? 0, kind: 'on demand' }
      }
      const micros = (order.kind === 'bid' ? spot : reserved).get(order.id)
      return micros === undefined ? null : { micros, kind: order.kind === 'bid' ? 'spot' : 'reserved' }
    }
  }, [catalogue.data, bids.data, reservations.data])
}

export function useCatalogue() {
  return useQuery({ queryKey: ['catalogue'], queryFn: ({ signal }) => call<Catalogue>('GET', '/catalogue', { signal }), staleTime: Infinity })
}

/** The type whose price a size has: the one it was made as, the one that is exactly so, or the cheapest that covers it. */
export function pricedAs(types: readonly Catalogue['types'][number][], { type, vcpus, memoryBytes, hotplugBytes }: Omit<Priced, 'order'>): Catalogue['types'][number] | null {
  const named = types.find(({ id }) => id === type)
  if (named !== undefined) return named
  const memory = memoryBytes + hotplugBytes
  const covering = types.filter(each => each.gpu === null && each.vcpus >= vcpus && each.memoryBytes >= memory)
  const exact = covering.find(each => each.vcpus === vcpus && each.memoryBytes === memory)
  return exact ?? covering.toSorted((a, b) => a.priceMicrosPerHour - b.priceMicrosPerHour)[0] ?? null
}
