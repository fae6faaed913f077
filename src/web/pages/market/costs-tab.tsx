/** What the project's instances cost, those that are gone too. */
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Receipt } from 'lucide-react'
import { useCallback } from 'react'
import { call } from '../../api/http.ts'
import type { Usage } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { formatSpan } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { formatMoney } from '../../components/money.ts'
import { Panel } from '../../components/page.tsx'
import { EmptyState } from '../../components/states.tsx'
import { useEvents, useFleet } from '../../live/use-fleet.ts'

export function CostsTab() {
  const queries = useQueryClient()
  const { byId } = useFleet()
  const usage = useQuery({ queryKey: ['market', 'usage'], queryFn: ({ signal }) => call<Usage>('GET', '/market/usage', { signal }), staleTime: 0 })
  useEvents(useCallback(() => void queries.invalidateQueries({ queryKey: ['market', 'usage'] }), [queries]))
  const note = usage.data === undefined ? undefined : `${formatMoney(usage.data.netMicros)} in all`
  return (
    <Panel title="Costs" note={note}>
      <DataTable
        label="Costs"
        items={usage.data?.items}
        error={usage.error}
        onRetry={() => void usage.refetch()}
        keyOf={({ instanceId }) => instanceId}
        empty={<EmptyState icon={Receipt} title="Nothing has cost anything yet" />}
        fields={[
          { name: 'Instance', cell: ({ instanceId, name }) => (byId.has(instanceId) ? <Link to={`/ui/instances/${instanceId}`}>{name ?? instanceId}</Link> : (name ?? instanceId)) },
          { name: 'Kind', cell: ({ periods }) => [...new Set(periods.map(({ kind }) => kind))].join(', ') },
          { name: 'Price now', cell: ({ periods }) => <span className="numeric">{priceNow(periods)}</span>, right: true },
          { name: 'Paid for', cell: ({ paidMs }) => <span className="numeric">{formatSpan(paidMs)}</span>, right: true },
          { name: 'Cost', cell: ({ costMicros }) => <span className="numeric">{formatMoney(costMicros)}</span>, right: true },
          { name: 'Credit', cell: ({ creditMicros }) => <span className="numeric">{creditMicros === 0 ? '' : formatMoney(creditMicros)}</span>, right: true },
        ]}
      />
    </Panel>
  )
}

function priceNow(periods: Usage['items'][number]['periods']): string {
  const current = periods.find(({ endAt }) => endAt === null)
  return current === undefined ? '' : `${formatMoney(current.priceMicros)}/h`
}
