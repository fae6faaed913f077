/** The story of an order, newest first. */
import { useQuery } from '@tanstack/react-query'
import { History } from 'lucide-react'
import { call, part } from '../../api/http.ts'
import type { Bid, OrderEvent, Page as Items, Reservation } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { Dialog } from '../../components/dialog.tsx'
import { formatTime } from '../../components/format.ts'
import { formatMoney } from '../../components/money.ts'
import { EmptyState } from '../../components/states.tsx'

export function OrderStory({ kind, order: { id, name }, onClose }: { readonly kind: 'bids' | 'reservations'; readonly order: Pick<Bid | Reservation, 'id' | 'name'>; readonly onClose: () => void }) {
  const events = useQuery({
    queryKey: ['market', 'story', id],
    queryFn: async ({ signal }) => (await call<Items<OrderEvent>>('GET', `/market/${kind}/${part(id)}/events`, { signal })).items.toReversed(),
    staleTime: 0,
  })
  return (
    <Dialog title={`The story of ${name}`} size="lg" onClose={onClose}>
      <DataTable
        label="Story"
        items={events.data}
        error={events.error}
        onRetry={() => void events.refetch()}
        keyOf={({ at, type }) => `${at} ${type}`}
        empty={<EmptyState icon={History} title="Nothing has happened yet" />}
        fields={[
          { name: 'When', cell: ({ at }) => <span className="numeric">{formatTime(at)}</span> },
          { name: 'What', cell: ({ type }) => type },
          { name: 'Details', cell: ({ details }) => Object.entries(details).map(([key, value]) => tellDetail(key, value)).join(', ') },
        ]}
      />
    </Dialog>
  )
}

function tellDetail(key: string, value: unknown): string {
  const word = key.replace(/(Micros|At)$/, '').replaceAll(/[A-Z]/g, letter => ` ${letter.toLowerCase()}`)
  if (typeof value === 'number' && key.endsWith('Micros')) return `${word} ${formatMoney(value)}`
  if (typeof value === 'number' && key.endsWith('At')) return `${word} ${formatTime(new Date(value).toISOString())}`
  return `${word} ${Array.isArray(value) ? value.join(' ') : String(value)}`
}
