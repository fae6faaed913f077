/** Bids: what they offer, what they pay, what they have; changed, paused and ended from here. */
import { Gavel } from 'lucide-react'
import { useState } from 'react'
import { useQuery } from '@tanstack/react-query'
import { call, listAll, part } from '../../api/http.ts'
import type { Bid } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { formatTime } from '../../components/format.ts'
import { InstanceLinks } from '../../components/instance-links.tsx'
import { useMay } from '../../components/me.tsx'
import { formatMoney } from '../../components/money.ts'
import { NameCell } from '../../components/name-cell.tsx'
import { Panel } from '../../components/page.tsx'
import { StateCell } from '../../components/phase.tsx'
import type { Tone } from '../../components/phase.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { EmptyState } from '../../components/states.tsx'
import { LimitForm } from './bid-form.tsx'
import { OrderAction, OrderActions } from './order-actions.tsx'
import { OrderStory } from './order-story.tsx'

/** Others bid, and nobody tells of them. */
const MARKET_EVERY_MS = 15_000
const TONES: Readonly<Record<Bid['status'], Tone>> = { open: 'busy', allocated: 'good', preempting: 'bad', paused: 'rest', terminated: 'off' }

export function BidsPanel({ all, onChanged }: { readonly all: boolean; readonly onChanged: () => Promise<unknown> }) {
  const mayWrite = useMay('write')
  const [changed, setChanged] = useState<Bid | null>(null)
  const [told, setTold] = useState<Bid | null>(null)
  const bids = useQuery({ queryKey: ['market', 'bids', all], queryFn: ({ signal }) => listAll<Bid>('/market/bids', { query: all ? { all } : {}, signal }), refetchInterval: MARKET_EVERY_MS })
  const pause = (id: string, paused: boolean) => call('PATCH', `/market/bids/${part(id)}`, { json: { paused } }).then(onChanged)
  return (
    <Panel title="Bids">
      <DataTable
        label="Bids"
        items={bids.data}
        error={bids.error}
        onRetry={() => void bids.refetch()}
        keyOf={({ id }) => id}
        empty={
          <EmptyState icon={Gavel} title="No bids" command="berth bids place night localhost/busybox --type small --limit 0.01">
            Bid for a type on the supply page: who wins pays the clearing price, and gives way when others offer more.
          </EmptyState>
        }
        fields={[
          { name: 'Name', cell: ({ id, name }) => <NameCell id={id} name={name} /> },
          {
            name: 'State',
            cell: ({ status, message, preemptAt }) => <StateCell tone={TONES[status]} word={status} note={preemptAt === null ? message : `Its instances are stopped ${formatTime(preemptAt)}`} />,
          },
          { name: 'Type', cell: ({ type, region }) => `${type}, ${region}` },
          { name: 'Limit', cell: ({ limitMicros }) => <span className="numeric">{formatMoney(limitMicros)}</span>, right: true },
          { name: 'Pays', cell: ({ spotMicros, status }) => status !== 'terminated' && <Price micros={spotMicros} isPaid={status === 'allocated' || status === 'preempting'} />, right: true },
          { name: 'Instances', cell: ({ instanceIds, quantity }) => <InstanceLinks ids={instanceIds} none={`none of ${quantity}`} /> },
          {
            name: 'Actions',
            quiet: true,
            right: true,
            cell: bid => (
              <OrderActions>
                <OrderAction name="Story" of={bid.name} run={() => setTold(bid)} />
                {mayWrite && bid.status !== 'terminated' && (
                  <>
                    <OrderAction name="Limit" of={bid.name} run={() => setChanged(bid)} />
                    {bid.status === 'paused' ? <OrderAction name="Resume" of={bid.name} run={() => pause(bid.id, false)} /> : <OrderAction name="Pause" of={bid.name} run={() => pause(bid.id, true)} />}
                    <RemoveButton what={bid.name} onRemove={() => call('DELETE', `/market/bids/${part(bid.id)}`).then(onChanged)}>
                      The bid ends and its instances are deleted.
                    </RemoveButton>
                  </>
                )}
              </OrderActions>
            ),
          },
        ]}
      />
      {changed !== null && <LimitForm bid={changed} onClose={() => setChanged(null)} />}
      {told !== null && <OrderStory kind="bids" order={told} onClose={() => setTold(null)} />}
    </Panel>
  )
}

/** What it would pay, while it has nothing to pay for, is pale. */
function Price({ micros, isPaid }: { readonly micros: number; readonly isPaid: boolean }) {
  return (
    <span className="numeric" style={isPaid ? {} : { color: 'var(--berth-muted)' }} title={isPaid ? '' : 'The price now; it has nothing to pay for'}>
      {formatMoney(micros)}
    </span>
  )
}
