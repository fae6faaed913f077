/** Volumes and shared file systems of the instance: what is attached where, and how that is changed while it runs. */
import { Button, SegmentedControl, Select, Stack, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { HardDrive, Plus } from 'lucide-react'
import { useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import { mountRequest } from '../../api/mounts.ts'
import type { Mount } from '../../api/mounts.ts'
import type { Instance, Volume } from '../../api/types.ts'
import { Confirm } from '../../components/confirm.tsx'
import { DataTable } from '../../components/data-table.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { formatBytes } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { useMay } from '../../components/me.tsx'
import { tellDone } from '../../components/notice.tsx'
import { Panel } from '../../components/page.tsx'
import { EmptyState } from '../../components/states.tsx'
import { learn } from '../../live/fleet.ts'
import { SharesPanel } from './shares-panel.tsx'

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
    <Stack gap="md">
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
        <DataTable
          label="Volumes"
          items={instance.volumes}
          error={null}
          onRetry={() => void volumes.refetch()}
          keyOf={({ volumeId }) => volumeId}
          empty={
            <EmptyState icon={HardDrive} title="No volume is attached" command={`berth volumes attach ${instance.name} data:/data`}>
              A volume is a disk that outlives its instances. It can be attached while the instance runs.
            </EmptyState>
          }
          fields={[
            { name: 'Volume', cell: ({ volumeId }) => <Link to="/ui/volumes">{nameOf(volumeId)}</Link> },
            { name: 'Path', cell: ({ path }) => <span className="mono">{path}</span> },
            { name: 'Mode', cell: ({ mode }) => mode },
            {
              name: 'Actions',
              quiet: true,
              right: true,
              cell: ({ volumeId }) =>
                mayWrite && (
                  <Button variant="subtle" color="red" onClick={() => setDetached(volumeId)}>
                    Detach
                  </Button>
                ),
            },
          ]}
        />
      </Panel>
      <SharesPanel instance={instance} />
      {attaches && <AttachForm instance={instance} volumes={volumes.data ?? []} onClose={() => setAttaches(false)} onAttached={changed} />}
      <Confirm opened={detached !== null} title="Detach the volume?" action="Detach" onClose={() => setDetached(null)} onConfirm={() => detach(detached ?? '')}>
        It is unmounted in the guest; a program that holds files open in it refuses that. What is in it stays.
      </Confirm>
    </Stack>
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
  const [mode, setMode] = useState<Mount['mode']>('rw')
  const free = volumes.filter(({ id }) => instance.volumes.every(mount => mount.volumeId !== id))

  const attach = async () => {
    await onAttached(await call<Instance>('POST', `/instances/${part(instance.id)}/volumes`, { json: mountRequest({ volume: volume ?? '', path, mode }) }))
    tellDone(`Attached at ${path}`)
  }

  return (
    <FormModal title="Attach a volume" action="Attach" disabled={volume === null || !path.startsWith('/')} onClose={onClose} onSubmit={attach}>
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
        onChange={value => setMode(value as Mount['mode'])}
        data={[
          { value: 'rw', label: 'Read and write' },
          { value: 'ro', label: 'Read only' },
          { value: 'overlay', label: 'Overlay' },
        ]}
      />
    </FormModal>
  )
}
