/** The columns of the table of instances. */
import type { ReactNode } from 'react'
import { isServing } from '../../api/lifecycle.ts'
import type { Instance } from '../../api/types.ts'
import { formatBytes, formatPercent, formatTime, shortImage, spanSince } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { PhaseBadge } from '../../components/phase.tsx'
import { formatPrice } from '../../components/money.ts'
import { usePrice } from '../../components/prices.tsx'
import { memoryOf, ratesOf } from '../../components/rates.ts'
import { Sparkline } from '../../components/sparkline.tsx'
import { useNow } from '../../components/use-now.ts'
import { useSamples } from '../../live/stats.ts'
import type { Sort } from './filter.ts'

export interface Column {
  readonly name: string
  readonly width: string
  readonly sort?: Sort
  /** Figures stand at the right. */
  readonly right?: boolean
  readonly cell: (instance: Instance) => ReactNode
}

const WIDE: readonly Column[] = [
  {
    name: 'Name',
    width: 'minmax(104px, 1.5fr)',
    sort: 'name',
    cell: ({ id, name }) => (
      <Link to={`/ui/instances/${id}`}>
        <span className="truncate" style={{ display: 'block', fontWeight: 560 }}>
          {name}
        </span>
      </Link>
    ),
  },
  { name: 'State', width: '90px', sort: 'phase', cell: ({ phase }) => <PhaseBadge phase={phase} /> },
  { name: 'Image', width: 'minmax(92px, 1.2fr)', sort: 'image', cell: ({ image }) => <ImageName name={image} /> },
  {
    name: 'Size',
    width: '106px',
    sort: 'size',
    cell: ({ vcpus, memoryBytes }) => `${vcpus} vCPU · ${formatBytes(memoryBytes)}`,
  },
  { name: 'Address', width: '104px', sort: 'ip', cell: ({ network }) => <span className="mono">{network.ip ?? '–'}</span> },
  { name: 'CPU', width: '104px', right: true, cell: instance => <Cpu instance={instance} /> },
  { name: 'Memory', width: '118px', right: true, cell: instance => <Memory instance={instance} /> },
  { name: 'Price / h', width: '70px', sort: 'price', right: true, cell: instance => <Cost instance={instance} /> },
  { name: 'Age', width: '74px', sort: 'created', right: true, cell: instance => <Age instance={instance} /> },
]

const NARROW: readonly Column[] = [
  {
    name: 'Name',
    width: 'minmax(0, 1fr)',
    sort: 'name',
    cell: ({ id, name, image }) => (
      <div style={{ minWidth: 0, lineHeight: 1.25 }}>
        <Link to={`/ui/instances/${id}`}>
          <span className="truncate" style={{ display: 'block', fontWeight: 560 }}>
            {name}
          </span>
        </Link>
        <div style={{ fontSize: '0.74rem', color: 'var(--berth-muted)' }}>
          <ImageName name={image} />
        </div>
      </div>
    ),
  },
  { name: 'State', width: '100px', sort: 'phase', cell: ({ phase }) => <PhaseBadge phase={phase} /> },
  { name: 'Age', width: '68px', sort: 'created', right: true, cell: instance => <Age instance={instance} /> },
]

export function columnsFor(isNarrow: boolean): readonly Column[] {
  return isNarrow ? NARROW : WIDE
}

/** Width that the columns need at least; below it the table scrolls sideways. */
export const WIDE_MIN = '1020px'

/** Its last word is what tells it from others: where there is no room for all, the registry before it is left out. */
function ImageName({ name }: { readonly name: string }) {
  const short = shortImage(name)
  const at = short.lastIndexOf('/') + 1
  return (
    <span className="image-name" title={name}>
      <span>{short.slice(0, at)}</span>
      <span className="truncate">{short.slice(at)}</span>
    </span>
  )
}

function Age({ instance }: { readonly instance: Instance }) {
  const now = useNow()
  const { createdAt, startedAt } = instance
  const up = isServing(instance) && startedAt !== null ? `, up for ${spanSince(startedAt, now)}` : ''
  return (
    <span className="numeric" title={`Made ${formatTime(createdAt)}${up}`}>
      {spanSince(createdAt, now)}
    </span>
  )
}

/** What is not charged now, because it does not run, is pale. */
function Cost({ instance }: { readonly instance: Instance }) {
  const price = usePrice(instance)
  if (price === null) return <span style={{ color: 'var(--berth-muted)' }}>–</span>
  const isCharged = isServing(instance) || price.kind === 'reserved'
  return (
    <span className="numeric" title={isCharged ? price.kind : `${price.kind}, while it runs`} style={isCharged ? {} : { color: 'var(--berth-muted)' }}>
      {price.micros === 0 ? 'free' : formatPrice(price.micros)}
    </span>
  )
}

function Cpu({ instance }: { readonly instance: Instance }) {
  const serving = isServing(instance)
  const rates = ratesOf(useSamples(instance.id, serving), instance.vcpus)
  const last = rates.at(-1)
  if (!serving || last === undefined) return <span style={{ color: 'var(--berth-muted)' }}>–</span>
  return <Figure text={formatPercent(last.cpu)} values={rates.map(({ cpu }) => cpu)} max={1} label={`CPU of ${instance.name}`} />
}

function Memory({ instance }: { readonly instance: Instance }) {
  const serving = isServing(instance)
  const samples = useSamples(instance.id, serving)
  const last = samples.at(-1)
  if (!serving || last === undefined) return <span style={{ color: 'var(--berth-muted)' }}>–</span>
  return <Figure text={formatBytes(memoryOf(last))} values={samples.map(memoryOf)} max={instance.memoryBytes} label={`Memory of ${instance.name}`} />
}

function Figure({ text, values, max, label }: { readonly text: string; readonly values: readonly number[]; readonly max: number; readonly label: string }) {
  return (
    <span style={{ display: 'flex', alignItems: 'center', justifyContent: 'flex-end', gap: 8 }}>
      <Sparkline values={values} max={max} label={label} />
      <span className="numeric">{text}</span>
    </span>
  )
}
