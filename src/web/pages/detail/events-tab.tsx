/** Everything that happened to the instance, newest first. */
import { History } from 'lucide-react'
import type { InstanceDetail } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { formatMoment, formatSpan, formatTime } from '../../components/format.ts'
import { Panel } from '../../components/page.tsx'
import { PhaseBadge } from '../../components/phase.tsx'
import { EmptyState } from '../../components/states.tsx'

export function EventsTab({ instance }: { readonly instance: InstanceDetail }) {
  const { timeline } = instance
  const rows = timeline
    .map((event, index) => {
      const next = timeline.slice(index + 1).find(({ kind }) => kind === 'phase')
      return { event, ms: event.kind === 'phase' && next !== undefined ? Date.parse(next.at) - Date.parse(event.at) : null }
    })
    .toReversed()
  return (
    <Panel title="Events" note={`${timeline.length} in all`}>
      <DataTable
        label="Events of the instance"
        items={rows}
        error={null}
        onRetry={() => undefined}
        keyOf={({ event }) => event.seq}
        empty={<EmptyState icon={History} title="Nothing has happened yet" />}
        fields={[
          { name: 'When', cell: ({ event }) => <span className="numeric" title={formatTime(event.at)}>{formatMoment(event.at)}</span> },
          { name: 'Phase', cell: ({ event }) => (event.kind === 'phase' ? <PhaseBadge phase={event.to} /> : 'note') },
          { name: 'For', cell: ({ ms }) => ms !== null && <span className="numeric">{formatSpan(ms)}</span> },
          { name: 'Why', cell: ({ event }) => event.reason },
        ]}
      />
    </Panel>
  )
}
