/** Volumes of the instance: what is attached where, and how that is changed while it runs. */
import { Button, Group, Modal, SegmentedControl, Select, Stack, Text, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { HardDrive, Plus } from 'lucide-react'
import { useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { Instance, Volume } from '../../api/types.ts'
import { Confirm } from '../../components/confirm.tsx'
import { formatBytes } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { useMay } from '../../components/me.tsx'
import { tellDone, tellError } from '../../components/notice.tsx'
import { Panel } from '../../components/page.tsx'
import { EmptyState } from '../../components/states.tsx'
import { learn } from '../../live/fleet.ts'

export function StorageTab({ instance }: { readonly instance: Instance }) {
  const mayWrite = useMay('write')
  const queries = useQueryClient()
  const [attaches, setAttaches] = useState(false)
  const [detached, setDetached] = useState<string | null>(null)
  const volumes = useQuery({ queryKey: ['volumes'], queryFn: ({ signal }) => listAll<Volume>('/volumes', { signal }) })
  const nameOf = (id: string) => volumes.data?.find(volume => volume.id === id)?.name ?? id

  const changed = async (after: Instance) => {
    learn(after)
    await queries.invalidateQueries({ queryKey: ['volumes'] })
    await queries.invalidateQueries({ queryKey: ['instance', instance.id] })
  }
  const detach = async (id: string) => {
    await changed(await call<Instance>('DELETE', `/instances/${part(instance.id)}/volumes/${part(id)}`))
    tellDone(`${nameOf(id)} detached`)
  }

  return (
    <Panel
      title="Volumes"
      actions={
        mayWrite && (
          <Button variant="default" leftSection={<Plus size={14} />} onClick={() => setAttaches(true)}>
            Attach
          </Button>
        )
      }
    >
      {instance.volumes.length === 0 ? (
        <EmptyState icon={HardDrive} title="No volume is attached">
          A volume is a disk that outlives its instances. It can be attached while the instance runs.
        </EmptyState>
      ) : (
        <div className="table-scroll">
          <table className="table">
            <thead>
              <tr>
                <th scope="col">Volume</th>
                <th scope="col">Path</th>
                <th scope="col">Mode</th>
                <th scope="col">
                  <span className="visually-hidden">Actions</span>
                </th>
              </tr>
            </thead>
            <tbody>
              {instance.volumes.map(({ volumeId, path, mode }) => (
                <tr key={volumeId}>
                  <td>
                    <Link to="/ui/volumes">{nameOf(volumeId)}</Link>
                  </td>
                  <td className="mono">{path}</td>
                  <td>{mode}</td>
                  <td style={{ textAlign: 'right' }}>
                    {mayWrite && (
                      <Button variant="subtle" color="red" onClick={() => setDetached(volumeId)}>
                        Detach
                      </Button>
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </div>
      )}
      {attaches && <AttachForm instance={instance} volumes={volumes.data ?? []} onClose={() => setAttaches(false)} onAttached={changed} />}
      <Confirm opened={detached !== null} title="Detach the volume?" action="Detach" onClose={() => setDetached(null)} onConfirm={() => detach(detached ?? '')}>
        It is unmounted in the guest; a program that holds files open in it refuses that. What is in it stays.
      </Confirm>
    </Panel>
  )
}

interface AttachProps {
  readonly instance: Instance
  readonly volumes: readonly Volume[]
  readonly onClose: () => void
  readonly onAttached: (after: Instance) => Promise<void>
}

function AttachForm({ instance, volumes, onClose, onAttached }: AttachProps) {
  const [volume, setVolume] = useState<string | null>(null)
  const [path, setPath] = useState('/data')
  const [mode, setMode] = useState('rw')
  const [busy, setBusy] = useState(false)
  const free = volumes.filter(({ id }) => instance.volumes.every(mount => mount.volumeId !== id))

  const attach = async () => {
    setBusy(true)
    try {
      await onAttached(await call<Instance>('POST', `/instances/${part(instance.id)}/volumes`, { json: { volume, path, mode } }))
      tellDone(`Attached at ${path}`)
      onClose()
    } catch (error) {
      tellError('The volume was not attached', error)
    } finally {
      setBusy(false)
    }
  }

  return (
    <Modal opened onClose={onClose} title={<Text fw={600}>Attach a volume</Text>} closeButtonProps={{ 'aria-label': 'Close' }}>
      <Stack gap="sm">
        <Select
          label="Volume"
          placeholder={free.length === 0 ? 'There is none that is free' : 'Choose one'}
          data={free.map(({ id, name, sizeBytes }) => ({ value: id, label: `${name} (${formatBytes(sizeBytes)})` }))}
          value={volume}
          onChange={setVolume}
          nothingFoundMessage="Make one on the volumes page first"
        />
        <TextInput label="Path in the guest" value={path} onChange={event => setPath(event.currentTarget.value)} className="mono" />
        <SegmentedControl
          aria-label="Mode"
          value={mode}
          onChange={setMode}
          data={[
            { value: 'rw', label: 'Read and write' },
            { value: 'ro', label: 'Read only' },
            { value: 'overlay', label: 'Overlay' },
          ]}
        />
        <Group justify="flex-end" gap="xs" mt="sm">
          <Button variant="default" size="sm" onClick={onClose}>
            Cancel
          </Button>
          <Button size="sm" onClick={() => void attach()} loading={busy} disabled={volume === null || !path.startsWith('/')}>
            Attach
          </Button>
        </Group>
      </Stack>
    </Modal>
  )
}
