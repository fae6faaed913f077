/** Ports of the host that lead into the instance. */
import { Anchor, Button, Text } from '@mantine/core'
import { useQueryClient } from '@tanstack/react-query'
import { Pencil } from 'lucide-react'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import type { Instance } from '../../api/types.ts'
import { Facts } from '../../components/facts.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { useMay } from '../../components/me.tsx'
import { tellDone } from '../../components/notice.tsx'
import { Panel } from '../../components/page.tsx'
import { learn } from '../../live/fleet.ts'
import { PortFields } from '../launch/port-fields.tsx'

/** `changes`: others can be published from here, also while it runs. */
export function PortsPanel({ instance, changes = false }: { readonly instance: Instance; readonly changes?: boolean }) {
  const mayWrite = useMay('write')
  const [edits, setEdits] = useState(false)
  const { ports, enabled } = instance.network
  if (ports.length === 0 && !changes) return null
  return (
    <Panel
      title="Published ports"
      actions={
        changes &&
        mayWrite &&
        enabled && (
          <Button variant="default" leftSection={<Pencil size={13} />} onClick={() => setEdits(true)}>
            Change
          </Button>
        )
      }
    >
      {ports.length === 0 ? (
        <Text size="sm" c="dimmed" p="md">
          None: it is reached at its own address.
        </Text>
      ) : (
        <Facts
          facts={ports.map(({ hostPort, guestPort, protocol }) => {
            const address = `${window.location.hostname}:${hostPort}`
            return [
              `${guestPort}/${protocol} in the guest`,
              protocol === 'tcp' ? (
                <Anchor key={hostPort} href={`http://${address}`} target="_blank" rel="noreferrer" className="mono" underline="always">
                  {address}
                </Anchor>
              ) : (
                <span key={hostPort} className="mono">
                  {address}
                </span>
              ),
            ]
          })}
        />
      )}
      {edits && <PortsForm instance={instance} onClose={() => setEdits(false)} />}
    </Panel>
  )
}

function PortsForm({ instance, onClose }: { readonly instance: Instance; readonly onClose: () => void }) {
  const queries = useQueryClient()
  const [ports, setPorts] = useState<Instance['network']['ports'][number][]>([...instance.network.ports])
  const submit = async () => {
    learn(await call<Instance>('PATCH', `/instances/${part(instance.id)}`, { json: { ports } }))
    tellDone('The ports are published')
    await queries.invalidateQueries({ queryKey: ['instance', instance.id] })
  }
  return (
    <FormModal title="Published ports" action="Publish" disabled={false} onClose={onClose} onSubmit={submit}>
      <Text size="sm" c="dimmed">
        Ports of this machine that lead into the guest. They open and close at once.
      </Text>
      <PortFields ports={ports} onChange={next => setPorts([...next])} />
    </FormModal>
  )
}
