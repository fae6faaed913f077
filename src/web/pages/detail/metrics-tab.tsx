/** What the instance uses: the last three hours, and every two seconds from now on. */
import { SimpleGrid, Text } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { ChartLine } from 'lucide-react'
import { useMemo } from 'react'
import { call, part } from '../../api/http.ts'
import { isServing } from '../../api/lifecycle.ts'
import type { Instance, Stats } from '../../api/types.ts'
import { formatBytes, formatPercent } from '../../components/format.ts'
import { Panel } from '../../components/page.tsx'
import { Plot } from '../../components/plot.tsx'
import { ratesOf } from '../../components/rates.ts'
import type { Rates } from '../../components/rates.ts'
import { EmptyState, LoadingRows } from '../../components/states.tsx'
import { useSamples } from '../../live/stats.ts'

interface Chart {
  readonly title: string
  readonly format: (value: number) => string
  readonly max?: (instance: Instance) => number
  readonly lines: readonly { readonly name: string; readonly value: (rates: Rates) => number }[]
}

const perSecond = (value: number) => `${formatBytes(value)}/s`
const CHARTS: readonly Chart[] = [
  { title: 'CPU', format: formatPercent, max: () => 1, lines: [{ name: 'of all vCPUs', value: ({ cpu }) => cpu }] },
  { title: 'Memory', format: formatBytes, max: ({ memoryBytes }) => memoryBytes, lines: [{ name: 'used', value: ({ memoryBytes }) => memoryBytes }] },
  {
    title: 'Network',
    format: perSecond,
    lines: [
      { name: 'in', value: ({ rxPerSecond }) => rxPerSecond },
      { name: 'out', value: ({ txPerSecond }) => txPerSecond },
    ],
  },
  {
    title: 'Disk',
    format: perSecond,
    lines: [
      { name: 'read', value: ({ readPerSecond }) => readPerSecond },
      { name: 'written', value: ({ writePerSecond }) => writePerSecond },
    ],
  },
]

export function MetricsTab({ instance }: { readonly instance: Instance }) {
  const live = useSamples(instance.id, isServing(instance))
  const history = useQuery({
    queryKey: ['stats-history', instance.id],
    queryFn: ({ signal }) => call<{ items: readonly Stats[] }>('GET', `/instances/${part(instance.id)}/stats/history`, { signal }),
    staleTime: Infinity,
    gcTime: 0,
  })
  const rates = useMemo(() => ratesOf(joined(history.data?.items ?? [], live), instance.vcpus), [history.data, live, instance.vcpus])

  if (history.data === undefined && history.error === null) return <LoadingRows />
  if (rates.length < 2) {
    return (
      <div className="panel">
        <EmptyState icon={ChartLine} title={isServing(instance) ? 'Measuring…' : 'Nothing was measured'} command={`berth stats ${instance.name}`}>
          {isServing(instance) ? 'The first points come within a few seconds.' : 'Usage is measured while the instance runs.'}
        </EmptyState>
      </div>
    )
  }
  return (
    <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
      {CHARTS.map(({ title, format, max, lines }) => {
        const last = rates.at(-1)
        const figures = last === undefined ? '' : lines.map(({ name, value }) => `${format(value(last))} ${name}`).join(', ')
        return (
          <Panel key={title} title={title} note={<span className="numeric">{figures}</span>}>
            <Plot
              label={`${title} over time; now ${figures}`}
              times={rates.map(({ at }) => at)}
              lines={lines.map(({ name, value }) => ({ name, values: rates.map(value) }))}
              format={format}
              {...(max === undefined ? {} : { max: max(instance) })}
            />
            {lines.length > 1 && (
              <Text size="xs" c="dimmed" px="md" pb="sm">
                <span style={{ color: 'var(--plot-0)' }}>━</span> {lines[0]?.name} &nbsp; <span style={{ color: 'var(--plot-1)' }}>━</span> {lines[1]?.name}
              </Text>
            )}
          </Panel>
        )
      })}
    </SimpleGrid>
  )
}

/** What is live goes on where the history ends. */
function joined(history: readonly Stats[], live: readonly Stats[]): readonly Stats[] {
  const first = live[0]
  return first === undefined ? history : [...history.filter(({ at }) => at < first.at), ...live]
}
