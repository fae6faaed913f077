/** What each type has in each region, and for how much; one bids and reserves from here. */
import { Button, Group, Switch } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Store } from 'lucide-react'
import { useCallback, useState } from 'react'
import { call } from '../../api/http.ts'
import type { Page as Items, Supply } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { useMay } from '../../components/me.tsx'
import { formatPrice } from '../../components/money.ts'
import { Panel } from '../../components/page.tsx'
import { EmptyState } from '../../components/states.tsx'
import { useEvents } from '../../live/use-fleet.ts'
import { BidForm } from './bid-form.tsx'
import { ReservationForm } from './reservation-form.tsx'

export function SupplyTab() {
  const queries = useQueryClient()
  const mayWrite = useMay('write')
  const [wanted, setWanted] = useState<{ readonly by: 'bid' | 'reservation'; readonly row: Supply } | null>(null)
  const supply = useQuery({ queryKey: ['market', 'supply'], queryFn: async ({ signal }) => (await call<Items<Supply>>('GET', '/market/supply', { signal })).items, staleTime: 0 })
  // Whatever starts or ends takes or gives room.
  useEvents(useCallback(() => void queries.invalidateQueries({ queryKey: ['market', 'supply'] }), [queries]))
  const [all, setAll] = useState(false)
  const shown = supply.data?.filter(({ total, allocated, reserved }) => all || total + allocated + reserved > 0)
  const isLess = shown !== undefined && shown.length < (supply.data?.length ?? 0)
  return (
    <>
      {(isLess || all) && <Switch size="xs" mb="sm" label="Also what no machine here could run" checked={all} onChange={event => setAll(event.currentTarget.checked)} />}
      <Panel>
        <DataTable
          label="Supply"
          items={shown}
          error={supply.error}
          onRetry={() => void supply.refetch()}
          keyOf={({ type, region }) => `${type} ${region}`}
          empty={<EmptyState icon={Store} title="Nothing is for sale" command="berth market">The catalogue has no type that a machine here could run.</EmptyState>}
          fields={[
            { name: 'Type', cell: ({ type }) => type },
            { name: 'Region', cell: ({ region }) => region },
            { name: 'Free', cell: ({ available }) => <span className="numeric">{available}</span>, right: true },
            { name: 'Of', cell: ({ total }) => <span className="numeric">{total}</span>, right: true },
            { name: 'Bids have', cell: ({ allocated }) => <span className="numeric">{allocated}</span>, right: true },
            { name: 'Reserved', cell: ({ reserved }) => <span className="numeric">{reserved}</span>, right: true },
            { name: 'Spot', cell: ({ spotMicros }) => <span className="numeric">{formatPrice(spotMicros)}</span>, right: true },
            { name: 'Reservation', cell: ({ reservedMicros }) => <span className="numeric">{formatPrice(reservedMicros)}</span>, right: true },
            { name: 'On demand', cell: ({ onDemandMicros }) => <span className="numeric">{formatPrice(onDemandMicros)}</span>, right: true },
            {
              name: 'Actions',
              quiet: true,
              right: true,
              cell: row =>
                mayWrite && (
                  <Group gap={4} justify="flex-end" wrap="nowrap">
                    <Button variant="default" size="compact-xs" aria-label={`Bid for ${row.type} in ${row.region}`} onClick={() => setWanted({ by: 'bid', row })}>
                      Bid
                    </Button>
                    <Button variant="default" size="compact-xs" aria-label={`Reserve ${row.type} in ${row.region}`} onClick={() => setWanted({ by: 'reservation', row })}>
                      Reserve
                    </Button>
                  </Group>
                ),
            },
          ]}
        />
        {wanted?.by === 'bid' && <BidForm supply={wanted.row} onClose={() => setWanted(null)} />}
        {wanted?.by === 'reservation' && <ReservationForm supply={wanted.row} onClose={() => setWanted(null)} />}
      </Panel>
    </>
  )
}
