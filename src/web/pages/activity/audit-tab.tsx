/** The audit trail: who did what through which surface, and how it ended. */
import { Button, Group } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { ShieldCheck } from 'lucide-react'
import { call } from '../../api/http.ts'
import type { AuditLine, Page as Items } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { formatTime } from '../../components/format.ts'
import { Panel } from '../../components/page.tsx'
import { Status } from '../../components/phase.tsx'
import { EmptyState } from '../../components/states.tsx'

export function AuditTab() {
  const trail = useInfiniteQuery({
    queryKey: ['audit'],
    queryFn: ({ pageParam, signal }) => call<Items<AuditLine>>('GET', '/audit', { query: { limit: 100, cursor: pageParam }, signal }),
    initialPageParam: null as string | null,
    getNextPageParam: last => last.next,
    staleTime: 0,
  })
  return (
    <Panel>
      <DataTable
        label="Audit trail"
        items={trail.data?.pages.flatMap(({ items }) => items)}
        error={trail.error}
        onRetry={() => void trail.refetch()}
        keyOf={({ seq }) => seq}
        empty={
          <EmptyState icon={ShieldCheck} title="Nothing was asked for yet">
            Every change, every command and copy, and every refused call leaves a line here.
          </EmptyState>
        }
        fields={[
          { name: 'When', cell: ({ at }) => <span className="numeric">{formatTime(at)}</span> },
          { name: 'Action', cell: ({ action }) => <span className="mono">{action}</span> },
          { name: 'Target', cell: ({ target }) => target.name ?? target.id ?? '' },
          { name: 'Outcome', cell: ({ outcome }) => <Status tone={outcome === 'ok' ? 'good' : 'bad'} word={outcome} /> },
          { name: 'Through', cell: ({ via, operation }) => (operation === null ? via : `${via}, ${operation}`) },
          { name: 'Key', cell: ({ keyId }) => <span className="mono">{keyId === null ? '' : keyId.slice(0, 13)}</span> },
          { name: 'Details', cell: ({ details }) => <span className="mono">{tellDetails(details)}</span> },
        ]}
      />
      {trail.hasNextPage && (
        <Group justify="center" p="sm">
          <Button variant="default" onClick={() => void trail.fetchNextPage()} loading={trail.isFetchingNextPage}>
            Show older
          </Button>
        </Group>
      )}
    </Panel>
  )
}

function tellDetails(details: AuditLine['details']): string {
  return Object.entries(details)
    .map(([name, value]) => `${name}=${Array.isArray(value) ? value.join(' ') : String(value)}`)
    .join(' ')
}
