/** The latest events of all instances, and new ones on top as they happen. */
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { History } from 'lucide-react'
import { useCallback } from 'react'
import { call } from '../../api/http.ts'
import type { InstanceEvent, Page as Items } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { formatTime } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { Panel } from '../../components/page.tsx'
import { PhaseBadge } from '../../components/phase.tsx'
import { EmptyState } from '../../components/states.tsx'
import { useEvents, useFleet } from '../../live/use-fleet.ts'

const SHOWN = 200
const KEY = ['events']

export function EventsTab() {
  const queries = useQueryClient()
  const { byId } = useFleet()
  const events = useQuery({
    queryKey: KEY,
    queryFn: async ({ signal }) => (await call<Items<InstanceEvent>>('GET', '/events', { query: { order: 'newest-first', limit: SHOWN }, signal })).items,
  })
  useEvents(
    useCallback(
      (event: InstanceEvent) => {
        queries.setQueryData<readonly InstanceEvent[]>(KEY, known => (known === undefined || known.some(({ seq }) => seq === event.seq) ? known : [event, ...known].slice(0, SHOWN)))
      },
      [queries],
    ),
  )
  return (
    <Panel>
      <DataTable
        label="Events"
        items={events.data}
        error={events.error}
        onRetry={() => void events.refetch()}
        keyOf={({ seq }) => seq}
        empty={
          <EmptyState icon={History} title="Nothing has happened yet" command="berth events">
            Whatever happens to an instance stands here as it happens: launched, put to sleep, stopped, failed.
          </EmptyState>
        }
        fields={[
          { name: 'When', cell: ({ at }) => <span className="numeric">{formatTime(at)}</span> },
          {
            name: 'Instance',
            cell: ({ instanceId }) => {
              const known = byId.get(instanceId)
              return known === undefined ? <span className="mono">{instanceId.slice(0, 13)}</span> : <Link to={`/ui/instances/${instanceId}`}>{known.name}</Link>
            },
          },
          { name: 'Phase', cell: ({ kind, to }) => (kind === 'phase' ? <PhaseBadge phase={to} /> : 'note') },
          { name: 'Why', cell: ({ reason }) => reason },
        ]}
      />
    </Panel>
  )
}
