/** Paused instances of a reservation, given back for good for a part of their price. */
import { Checkbox, Stack, Text } from '@mantine/core'
import { useQueryClient } from '@tanstack/react-query'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import type { Instance, Reservation } from '../../api/types.ts'
import { FormModal } from '../../components/form-modal.tsx'
import { formatMoney } from '../../components/money.ts'
import { tellDone } from '../../components/notice.tsx'
import { useFleet } from '../../live/use-fleet.ts'

export function ReturnForm({ reservation: { id, name, instanceIds, returnBuybackMicros }, onClose }: { readonly reservation: Reservation; readonly onClose: () => void }) {
  const queries = useQueryClient()
  const { byId } = useFleet()
  const [chosen, setChosen] = useState<string[]>([])
  const instances = instanceIds.flatMap(each => byId.get(each) ?? [])
  const submit = async () => {
    const { instanceIds: given } = await call<{ instanceIds: readonly string[] }>('POST', `/market/reservations/${part(id)}/return`, { json: { instances: chosen } })
    tellDone(given.length === 1 ? 'One instance is given back' : `${given.length} instances are given back`)
    await queries.invalidateQueries({ queryKey: ['market'] })
  }
  return (
    <FormModal title={`Give instances of ${name} back`} action="Give back" disabled={chosen.length === 0} onClose={onClose} onSubmit={submit}>
      <Text size="sm" c="dimmed">
        Each hour that is left brings {formatMoney(returnBuybackMicros)} back for each. They are deleted, disks and all; a reservation that has none left is over.
      </Text>
      <Checkbox.Group label="Instances" description="Those that are paused: stopped, or in standby." value={chosen} onChange={setChosen}>
        <Stack gap={6} mt={8}>
          {instances.map(instance => (
            <Checkbox key={instance.id} value={instance.id} size="xs" label={isPaused(instance) ? instance.name : `${instance.name}, ${instance.phase}`} disabled={!isPaused(instance)} />
          ))}
        </Stack>
      </Checkbox.Group>
    </FormModal>
  )
}

/** Others can't be given back. */
export function isPaused({ phase, desired }: Pick<Instance, 'phase' | 'desired'>): boolean {
  return (phase === 'stopped' || phase === 'standby') && desired !== 'running'
}
