/** Bids and reservations that are not over, with what they hold. */
import { Stack } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { CalendarClock, Gavel } from 'lucide-react'
import { useCallback } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { Bid, Reservation } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { formatTime } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { useMay } from '../../components/me.tsx'
import { formatMoney } from '../../components/money.ts'
import { Panel } from '../../components/page.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { EmptyState } from '../../components/states.tsx'
import { useEvents, useFleet } from '../../live/use-fleet.ts'

export function OrdersTab() {
  const queries = useQueryClient()
  const mayWrite = useMay('write')
  const bids = useQuery({ queryKey: ['market', 'bids'], queryFn: ({ signal }) => listAll<Bid>('/market/bids', { signal }), staleTime: 0 })
  const reservations = useQuery({ queryKey: ['market', 'reservations'], queryFn: ({ signal }) => listAll<Reservation>('/market/reservations', { signal }), staleTime: 0 })
  const again = useCallback(() => queries.invalidateQueries({ queryKey: ['market'] }), [queries])
  useEvents(useCallback(() => void again(), [again]))
  return (
    <Stack gap="md">
      <Panel title="Bids">
        <DataTable
          label="Bids"
          items={bids.data}
          error={bids.error}
          onRetry={() => void bids.refetch()}
          keyOf={({ id }) => id}
          empty={
            <EmptyState icon={Gavel} title="No bids">
              Bid for a type on the supply page: who wins pays the clearing price, and gives way when others offer more.
            </EmptyState>
          }
          fields={[
            { name: 'Name', cell: ({ name }) => name },
            { name: 'State', cell: ({ status, message }) => <span title={message ?? ''}>{status}</span> },
            { name: 'Type', cell: ({ type, region }) => `${type}, ${region}` },
            { name: 'Limit', cell: ({ limitMicros }) => <span className="numeric">{formatMoney(limitMicros)}</span>, right: true },
            { name: 'Pays', cell: ({ spotMicros }) => <span className="numeric">{formatMoney(spotMicros)}</span>, right: true },
            { name: 'Instances', cell: ({ instanceIds, quantity }) => <Instances ids={instanceIds} quantity={quantity} /> },
            {
              name: 'Actions',
              quiet: true,
              right: true,
              cell: ({ id, name }) =>
                mayWrite && (
                  <RemoveButton what={name} onRemove={() => call('DELETE', `/market/bids/${part(id)}`).then(again)}>
                    The bid ends and its instances are deleted.
                  </RemoveButton>
                ),
            },
          ]}
        />
      </Panel>
      <Panel title="Reservations">
        <DataTable
          label="Reservations of the market"
          items={reservations.data}
          error={reservations.error}
          onRetry={() => void reservations.refetch()}
          keyOf={({ id }) => id}
          empty={
            <EmptyState icon={CalendarClock} title="No reservations">
              A reservation holds capacity from a start to an end, whatever others bid.
            </EmptyState>
          }
          fields={[
            { name: 'Name', cell: ({ name }) => name },
            { name: 'State', cell: ({ status, message }) => <span title={message ?? ''}>{status}</span> },
            { name: 'Type', cell: ({ type, region }) => `${type}, ${region}` },
            { name: 'From', cell: ({ startAt }) => <span className="numeric">{formatTime(startAt)}</span> },
            { name: 'To', cell: ({ endAt }) => <span className="numeric">{formatTime(endAt)}</span> },
            { name: 'Price', cell: ({ unitMicros }) => <span className="numeric">{formatMoney(unitMicros)}</span>, right: true },
            { name: 'In all', cell: ({ totalMicros }) => <span className="numeric">{formatMoney(totalMicros)}</span>, right: true },
            { name: 'Instances', cell: ({ instanceIds, quantity }) => <Instances ids={instanceIds} quantity={quantity} /> },
          ]}
        />
      </Panel>
    </Stack>
  )
}

function Instances({ ids, quantity }: { readonly ids: readonly string[]; readonly quantity: number }) {
  const { byId } = useFleet()
  if (ids.length === 0) return `none of ${quantity}`
  return ids.map((id, index) => (
    <span key={id}>
      {index > 0 && ', '}
      <Link inText to={`/ui/instances/${id}`}>{byId.get(id)?.name ?? id.slice(0, 8)}</Link>
    </span>
  ))
}
