/** The audit trail: who did what through which surface, and how it ended. */
import { Button, Group } from '@mantine/core'
import { useInfiniteQuery } from '@tanstack/react-query'
import { SearchX, ShieldCheck } from 'lucide-react'
import { call } from '../../api/http.ts'
import type { AuditLine, Page as Items } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { formatTime } from '../../components/format.ts'
import { Panel } from '../../components/page.tsx'
import { Status } from '../../components/phase.tsx'
import { EmptyState } from '../../components/states.tsx'
import { AuditFilters, isFiltered, queryOf, useAuditFilter, useKeyNames } from './audit-filter.tsx'

const PAGE_LINES = 100

export function AuditTab() {
  const [filter, change] = useAuditFilter()
  const keyNames = useKeyNames()
  const trail = useInfiniteQuery({
    queryKey: ['audit', filter],
    queryFn: ({ pageParam, signal }) => call<Items<AuditLine>>('GET', '/audit', { query: { ...queryOf(filter, Date.now()), limit: PAGE_LINES, cursor: pageParam }, signal }),
    placeholderData: before => before,
    initialPageParam: null as string | null,
    getNextPageParam: last => last.next,
    staleTime: 0,
  })
  return (
    <>
      <AuditFilters filter={filter} onChange={change} />
      <Panel>
        <DataTable
          label="Audit trail"
          items={trail.data?.pages.flatMap(({ items }) => items)}
          error={trail.error}
          onRetry={() => void trail.refetch()}
          keyOf={({ seq }) => seq}
          empty={
            isFiltered(filter) ? (
              <EmptyState
                icon={SearchX}
                title="Nothing fits the filter"
                action={
                  <Button variant="default" onClick={() => change({ kind: '', action: '', target: '', key: '', since: '' })}>
                    Show all
                  </Button>
                }
              />
            ) : (
              <EmptyState icon={ShieldCheck} title="Nothing was asked for yet" command="berth audit">
                Every change, every command and copy, and every refused call leaves a line here.
              </EmptyState>
            )
          }
          fields={[
            { name: 'When', cell: ({ at }) => <span className="numeric">{formatTime(at)}</span> },
            { name: 'Action', cell: ({ action }) => <span className="mono">{action}</span> },
            { name: 'Target', cell: ({ target }) => target.name ?? target.id ?? '' },
            { name: 'Outcome', cell: ({ outcome }) => <Status tone={outcome === 'ok' ? 'good' : 'bad'} word={outcome} /> },
            { name: 'Through', cell: ({ via, operation }) => (operation === null ? via : `${via}, ${operation}`) },
            { name: 'Key', cell: ({ keyId }) => keyId !== null && (keyNames.get(keyId) ?? <span className="mono">{keyId.slice(0, 13)}</span>) },
            {
              name: 'Details',
              cell: ({ details }) => {
                const text = tellDetails(details)
                return text !== '' && (
                  <span className="mono clamp" title={text}>
                    {text}
                  </span>
                )
              },
            },
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
    </>
  )
}

function tellDetails(details: AuditLine['details']): string {
  return Object.entries(details)
    .map(([name, value]) => `${name}=${Array.isArray(value) ? value.join(' ') : String(value)}`)
    .join(' ')
}
