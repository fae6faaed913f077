/** The clearing price over time, type by type. */
import { Group, SegmentedControl, Select, SimpleGrid } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { ChartLine } from 'lucide-react'
import { useState } from 'react'
import { call } from '../../api/http.ts'
import type { Page as Items, PriceSeries } from '../../api/types.ts'
import { formatMoney } from '../../components/money.ts'
import { Panel } from '../../components/page.tsx'
import { Plot } from '../../components/plot.tsx'
import { EmptyState, ErrorState, LoadingRows } from '../../components/states.tsx'
import { useNow } from '../../components/use-now.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const SPANS = [
  { value: '1', label: 'An hour' },
  { value: '24', label: 'A day' },
  { value: '168', label: 'A week' },
  { value: '720', label: 'A month' },
]

export function PricesTab() {
  const [region, setRegion] = useState<string | null>(null)
  const [hours, setHours] = useState('24')
  const prices = useQuery({
    queryKey: ['market', 'prices', hours],
    queryFn: async ({ signal }) => {
      const from = new Date(Date.now() - Number(hours) * HOUR_MS).toISOString()
      return (await call<Items<PriceSeries>>('GET', '/market/prices', { query: { from }, signal })).items
    },
    staleTime: 0,
    placeholderData: before => before,
  })
  // The last price holds until now.
  const now = Math.floor(useNow() / MINUTE_MS) * MINUTE_MS
  if (prices.data === undefined) return prices.error === null ? <LoadingRows /> : <ErrorState error={prices.error} onRetry={() => void prices.refetch()} />
  const regions = [...new Set(prices.data.map(series => series.region))]
  const chosen = region ?? regions[0]
  const shown = prices.data.filter(series => series.region === chosen)
  if (shown.length === 0) return <EmptyState icon={ChartLine} title="There are no prices" command="berth market">The catalogue has no types that could have one.</EmptyState>
  return (
    <>
      <Group gap="sm" mb="sm">
        <SegmentedControl size="xs" aria-label="Span" data={SPANS} value={hours} onChange={setHours} />
        <Select aria-label="Region" size="xs" w={180} data={regions} value={chosen ?? null} onChange={setRegion} allowDeselect={false} />
      </Group>
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
        {shown.map(series => (
          <Series key={series.type} series={series} now={now} />
        ))}
      </SimpleGrid>
    </>
  )
}

function Series({ series, now }: { readonly series: PriceSeries; readonly now: number }) {
  const { type, points, onDemandMicros } = series
  const steps = stepsOf(points.map(({ at, spotMicros }) => ({ at: Date.parse(at), value: spotMicros })), now)
  const last = steps.at(-1)?.value ?? 0
  return (
    <Panel title={type} note={<span className="numeric">{`${formatMoney(last)} now, ${formatMoney(onDemandMicros)} on demand`}</span>}>
      <Plot
        label={`Clearing price of ${type}; now ${formatMoney(last)}`}
        times={steps.map(({ at }) => at / 1000)}
        lines={[{ name: 'clearing price', values: steps.map(({ value }) => value) }]}
        format={formatMoney}
        max={Math.max(onDemandMicros, ...steps.map(({ value }) => value)) * 1.1}
      />
    </Panel>
  )
}

interface Step {
  readonly at: number
  readonly value: number
}

/** A price holds until the next one: two points for each change. */
function stepsOf(points: readonly Step[], now: number): readonly Step[] {
  return points.flatMap((point, index) => {
    const end = points[index + 1]?.at ?? Math.max(now, point.at + 1)
    return [point, { at: end - 1, value: point.value }]
  })
}
