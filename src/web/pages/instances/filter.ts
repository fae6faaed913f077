/** What the table shows, as the address says it: `?q=web&phase=running&sort=name`. Pure but for the hook. */
import { useMemo } from 'react'
import { useSearchParams } from 'wouter'
import type { Instance } from '../../api/types.ts'
import { toneOf } from '../../components/phase.tsx'
import type { PriceOf } from '../../components/prices.tsx'

export const SORTS = ['created', 'name', 'phase', 'image', 'ip', 'size', 'price'] as const
export type Sort = (typeof SORTS)[number]

export interface Filter {
  readonly text: string
  /** Phases that are shown; none is all. */
  readonly phases: readonly string[]
  readonly sort: Sort
  readonly descending: boolean
}

/** The filter, and how it is changed. */
export function useFilter(): readonly [Filter, (change: Partial<Filter>) => void] {
  const [search, setSearch] = useSearchParams()
  const key = search.toString()
  const filter = useMemo(() => readFilter(new URLSearchParams(key)), [key])
  const change = (next: Partial<Filter>) => setSearch(writeFilter({ ...filter, ...next }), { replace: true })
  return [filter, change]
}

function readFilter(search: URLSearchParams): Filter {
  const sort = SORTS.find(each => each === search.get('sort')) ?? 'created'
  const order = search.get('order')
  return {
    text: search.get('q') ?? '',
    phases: search.getAll('phase'),
    sort,
    descending: order === null ? sort === 'created' : order === 'desc',
  }
}

function writeFilter({ text, phases, sort, descending }: Filter): URLSearchParams {
  const search = new URLSearchParams()
  if (text !== '') search.set('q', text)
  for (const phase of phases) search.append('phase', phase)
  if (sort !== 'created') search.set('sort', sort)
  if (descending !== (sort === 'created')) search.set('order', descending ? 'desc' : 'asc')
  return search
}

/** Every word must be somewhere: in the name, the image, an address, a tag, or any spelling of the id. */
export function applyFilter(instances: readonly Instance[], filter: Filter, priceOf: PriceOf): readonly Instance[] {
  const words = filter.text.toLowerCase().split(/\s+/).filter(word => word !== '')
  const phases = new Set(filter.phases)
  const shown = instances.filter(instance => {
    if (phases.size > 0 && !phases.has(instance.phase)) return false
    if (words.length === 0) return true
    const text = searchText(instance)
    return words.every(word => text.includes(word))
  })
  if (filter.sort === 'created') return filter.descending ? shown : shown.toReversed()
  const compare = filter.sort === 'price' ? comparePrices(shown, priceOf) : COMPARE[filter.sort]
  const sign = filter.descending ? -1 : 1
  return shown.sort((a, b) => sign * compare(a, b) || a.id.localeCompare(b.id))
}

function searchText(instance: Instance): string {
  const { name, image, network, ids, id, tags } = instance
  const labels = Object.entries(tags).map(([key, value]) => `${key}=${value}`)
  return [name, image, network.ip ?? '', id, ids.hypeman, ids.lambda, ids.mithril, ...labels].join('\n').toLowerCase()
}

const TONE_ORDER = { bad: 0, busy: 1, good: 2, rest: 3, off: 4 } as const
const COMPARE: Readonly<Record<Exclude<Sort, 'created' | 'price'>, (a: Instance, b: Instance) => number>> = {
  name: (a, b) => compareText(a.name, b.name),
  phase: (a, b) => TONE_ORDER[toneOf(a.phase)] - TONE_ORDER[toneOf(b.phase)] || compareText(a.phase, b.phase),
  image: (a, b) => compareText(a.image, b.image),
  ip: (a, b) => addressNumber(a.network.ip) - addressNumber(b.network.ip),
  size: (a, b) => a.vcpus - b.vcpus || a.memoryBytes - b.memoryBytes,
}

/** What is not known yet comes before what is free. */
function comparePrices(instances: readonly Instance[], priceOf: PriceOf): (a: Instance, b: Instance) => number {
  const micros = new Map(instances.map(instance => [instance.id, priceOf(instance)?.micros ?? -1]))
  return (a, b) => (micros.get(a.id) ?? -1) - (micros.get(b.id) ?? -1) || compareText(a.name, b.name)
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0
}

function addressNumber(ip: string | null): number {
  return ip === null ? -1 : ip.split('.').reduce((sum, byte) => sum * 256 + Number(byte), 0)
}
