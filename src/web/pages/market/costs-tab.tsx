/** What the project's instances cost, those that are gone too. */
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Receipt } from 'lucide-react'
import { useCallback, useState } from 'react'
import { call } from '../../api/http.ts'
import type { Usage } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { Dialog } from '../../components/dialog.tsx'
import { formatSpan, formatTime } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { formatMoney, formatPrice } from '../../components/money.ts'
import { Panel } from '../../components/page.tsx'
import { EmptyState } from '../../components/states.tsx'
import { useEvents, useFleet } from '../../live/use-fleet.ts'
import { OrderAction } from './order-actions.tsx'

type Line = Usage['items'][number]

export function CostsTab() {
  const queries = useQueryClient()
  const { byId } = useFleet()
  const usage = useQuery({ queryKey: ['market', 'usage'], queryFn: ({ signal }) => call<Usage>('GET', '/market/usage', { signal }), staleTime: 0 })
  useEvents(useCallback(() => void queries.invalidateQueries({ queryKey: ['market', 'usage'] }), [queries]))
  const [told, setTold] = useState<Line | null>(null)
  const note = usage.data === undefined ? undefined : `${formatMoney(usage.data.netMicros)} in all`
  return (
    <Panel title="Costs" note={note}>
      <DataTable
        label="Costs"
        items={usage.data?.items}
        error={usage.error}
        onRetry={() => void usage.refetch()}
        keyOf={({ instanceId }) => instanceId}
        empty={
          <EmptyState icon={Receipt} title="Nothing has cost anything yet" command="berth usage">
            Each instance is counted here from the moment that it runs, by the price of its type or of its order.
          </EmptyState>
        }
        fields={[
          { name: 'Instance', cell: ({ instanceId, name }) => (byId.has(instanceId) ? <Link to={`/ui/instances/${instanceId}`}>{name ?? instanceId}</Link> : (name ?? instanceId)) },
          { name: 'Kind', cell: ({ periods }) => [...new Set(periods.map(({ kind }) => kind))].join(', ') },
          { name: 'Price now', cell: ({ periods }) => <span className="numeric">{priceNow(periods)}</span>, right: true },
          { name: 'Paid for', cell: ({ paidMs }) => <span className="numeric">{formatSpan(paidMs)}</span>, right: true },
          { name: 'Cost', cell: ({ costMicros }) => <span className="numeric">{formatMoney(costMicros)}</span>, right: true },
          { name: 'Credit', cell: ({ creditMicros }) => <span className="numeric">{creditMicros === 0 ? '' : formatMoney(creditMicros)}</span>, right: true },
          {
            name: 'History',
            quiet: true,
            right: true,
            cell: line => <OrderAction name="Prices" of={line.name ?? line.instanceId} run={() => setTold(line)} />,
          },
        ]}
      />
      {told !== null && <PriceHistory line={told} onClose={() => setTold(null)} />}
    </Panel>
  )
}

/** Every stretch of the instance that costs something, newest first. */
function PriceHistory({ line, onClose }: { readonly line: Line; readonly onClose: () => void }) {
  return (
    <Dialog title={`Prices of ${line.name ?? line.instanceId}`} size="lg" onClose={onClose}>
      <DataTable
        label="Price periods"
        items={line.periods.toReversed()}
        error={null}
        onRetry={onClose}
        keyOf={({ startAt, kind }) => `${startAt} ${kind}`}
        empty={<EmptyState icon={Receipt} title="Nothing has cost anything yet" />}
        fields={[
          { name: 'From', cell: ({ startAt }) => <span className="numeric">{formatTime(startAt)}</span> },
          { name: 'To', cell: ({ endAt }) => <span className="numeric">{endAt === null ? 'now' : formatTime(endAt)}</span> },
          { name: 'Kind', cell: ({ kind, type }) => (type === null ? kind : `${kind}, ${type}`) },
          { name: 'Price', cell: ({ priceMicros }) => <span className="numeric">{formatPrice(priceMicros)}/h</span>, right: true },
          { name: 'Cost', cell: ({ costMicros }) => <span className="numeric">{formatMoney(costMicros)}</span>, right: true },
        ]}
      />
    </Dialog>
  )
}

function priceNow(periods: Usage['items'][number]['periods']): string {
  const current = periods.find(({ endAt }) => endAt === null)
  return current === undefined ? '' : `${formatPrice(current.priceMicros)}/h`
}
