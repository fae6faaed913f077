/** Reservations: from when until when, and for how much; paused, extended and canceled from here. */
import { useQuery } from '@tanstack/react-query'
import { CalendarClock } from 'lucide-react'
import { useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { Reservation } from '../../api/types.ts'
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
import { useFleet } from '../../live/use-fleet.ts'
import { OrderAction, OrderActions } from './order-actions.tsx'
import { OrderStory } from './order-story.tsx'
import { ExtendForm } from './reservation-form.tsx'
import { isPaused, ReturnForm } from './return-form.tsx'

const TONES: Readonly<Record<Reservation['status'], Tone>> = { pending: 'busy', active: 'good', paused: 'rest', canceled: 'off', ended: 'off' }

export function ReservationsPanel({ all, onChanged }: { readonly all: boolean; readonly onChanged: () => Promise<unknown> }) {
  const mayWrite = useMay('write')
  const [extended, setExtended] = useState<Reservation | null>(null)
  const [returned, setReturned] = useState<Reservation | null>(null)
  const { byId } = useFleet()
  const [told, setTold] = useState<Reservation | null>(null)
  const reservations = useQuery({
    queryKey: ['market', 'reservations', all],
    queryFn: ({ signal }) => listAll<Reservation>('/market/reservations', { query: all ? { all } : {}, signal }),
    staleTime: 0,
  })
  const pause = (id: string, paused: boolean) => call('PATCH', `/market/reservations/${part(id)}`, { json: { paused } }).then(onChanged)
  const hasPaused = ({ instanceIds }: Reservation) => instanceIds.some(id => isPaused(byId.get(id) ?? { phase: 'running', desired: 'running' }))
  const isLive = ({ status }: Reservation) => status !== 'canceled' && status !== 'ended'
  return (
    <Panel title="Reservations">
      <DataTable
        label="Reservations of the market"
        items={reservations.data}
        error={reservations.error}
        onRetry={() => void reservations.refetch()}
        keyOf={({ id }) => id}
        empty={
          <EmptyState icon={CalendarClock} title="No reservations" command="berth reservation place week localhost/busybox --type small --for 7d">
            A reservation holds capacity from a start to an end, whatever others bid. Reserve a type on the supply page.
          </EmptyState>
        }
        fields={[
          { name: 'Name', cell: ({ id, name }) => <NameCell id={id} name={name} /> },
          { name: 'State', cell: ({ status, message }) => <StateCell tone={TONES[status]} word={status} note={message} /> },
          { name: 'Type', cell: ({ type, region }) => `${type}, ${region}` },
          {
            name: 'From, to',
            cell: ({ startAt, endAt }) => (
              <span className="numeric">
                {formatTime(startAt)}
                <br />
                {formatTime(endAt)}
              </span>
            ),
          },
          { name: 'Price', cell: ({ unitMicros }) => <span className="numeric">{formatMoney(unitMicros)}</span>, right: true },
          { name: 'In all', cell: ({ totalMicros }) => <span className="numeric">{formatMoney(totalMicros)}</span>, right: true },
          { name: 'Instances', cell: ({ instanceIds, quantity }) => <InstanceLinks ids={instanceIds} none={`none of ${quantity}`} /> },
          {
            name: 'Actions',
            quiet: true,
            right: true,
            cell: reservation => {
              const { id, name, status } = reservation
              return (
                <OrderActions>
                  <OrderAction name="Story" of={name} run={() => setTold(reservation)} />
                  {mayWrite && isLive(reservation) && (
                    <>
                      {status === 'active' && <OrderAction name="Pause" of={name} run={() => pause(id, true)} />}
                      {status === 'paused' && <OrderAction name="Resume" of={name} run={() => pause(id, false)} />}
                      <OrderAction name="Extend" of={name} run={() => setExtended(reservation)} />
                      {hasPaused(reservation) && <OrderAction name="Give back" of={name} run={() => setReturned(reservation)} />}
                      {status === 'pending' && (
                        <RemoveButton what={name} onRemove={() => call('DELETE', `/market/reservations/${part(id)}`).then(onChanged)}>
                          It has not begun: it is canceled, and nothing is charged.
                        </RemoveButton>
                      )}
                    </>
                  )}
                </OrderActions>
              )
            },
          },
        ]}
      />
      {extended !== null && <ExtendForm reservation={extended} onClose={() => setExtended(null)} />}
      {returned !== null && <ReturnForm reservation={returned} onClose={() => setReturned(null)} />}
      {told !== null && <OrderStory kind="reservations" order={told} onClose={() => setTold(null)} />}
    </Panel>
  )
}
