/** Bids and reservations, with what they hold. */
import { Stack, Switch } from '@mantine/core'
import { useQueryClient } from '@tanstack/react-query'
import { useCallback, useState } from 'react'
import { useEvents } from '../../live/use-fleet.ts'
import { BidsPanel } from './bids-panel.tsx'
import { ReservationsPanel } from './reservations-panel.tsx'

export function OrdersTab() {
  const queries = useQueryClient()
  const [all, setAll] = useState(false)
  const again = useCallback(() => queries.invalidateQueries({ queryKey: ['market'] }), [queries])
  useEvents(useCallback(() => void again(), [again]))
  return (
    <Stack gap="md">
      <Switch size="xs" label="Also those that are over" checked={all} onChange={event => setAll(event.currentTarget.checked)} />
      <BidsPanel all={all} onChanged={again} />
      <ReservationsPanel all={all} onChanged={again} />
    </Stack>
  )
}
