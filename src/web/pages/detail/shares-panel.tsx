/** Shared file systems of the instance: what is mounted where, and how that is changed while it runs. */
import { Button, Select, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { FolderTree, Plus } from 'lucide-react'
import { useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { FileSystem, Instance } from '../../api/types.ts'
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

export function SharesPanel({ instance }: { readonly instance: Instance }) {
  const mayWrite = useMay('write')
  const queries = useQueryClient()
  const [mounts, setMounts] = useState(false)
  const [unmounted, setUnmounted] = useState<string | null>(null)
  const known = useQuery({ queryKey: ['file-systems'], queryFn: ({ signal }) => listAll<FileSystem>('/file-systems', { signal }) })
  const find = (id: string) => known.data?.find(each => each.id === id)
  const path = `/instances/${part(instance.id)}/file-systems`
  const changed = async (after: Instance) => {
    learn(after)
    await queries.invalidateQueries({ queryKey: ['file-systems'] })
    await queries.invalidateQueries({ queryKey: ['instance', instance.id] })
  }
  return (
    <Panel
      title="Shared file systems"
      actions={
        mayWrite && (
          <Button variant="default" leftSection={<Plus size={14} />} onClick={() => setMounts(true)}>
            Mount
          </Button>
        )
      }
    >
      <DataTable
        label="Shared file systems"
        items={instance.fileSystems}
        error={null}
        onRetry={() => void known.refetch()}
        keyOf={({ fileSystemId }) => fileSystemId}
        empty={
          <EmptyState icon={FolderTree} title="No file system is mounted" command={`berth fs attach ${instance.name} models:/srv/models`}>
            Files that several instances share. One can be mounted while the instance runs.
          </EmptyState>
        }
        fields={[
          { name: 'File system', cell: ({ fileSystemId }) => <Link to="/ui/file-systems">{find(fileSystemId)?.name ?? fileSystemId}</Link> },
          { name: 'Path', cell: mount => <span className="mono">{mount.path}</span> },
          {
            name: 'Used',
            cell: ({ fileSystemId }) => {
              const found = find(fileSystemId)
              return found === undefined ? '' : <span className="numeric">{`${formatBytes(found.usedBytes)} of ${formatBytes(found.sizeBytes)}`}</span>
            },
          },
          {
            name: 'Actions',
            quiet: true,
            right: true,
            cell: ({ fileSystemId }) =>
              mayWrite && (
                <Button variant="subtle" color="red" onClick={() => setUnmounted(fileSystemId)}>
                  Unmount
                </Button>
              ),
          },
        ]}
      />
      {mounts && (
        <MountForm
          free={(known.data ?? []).filter(({ id }) => instance.fileSystems.every(({ fileSystemId }) => fileSystemId !== id))}
          onClose={() => setMounts(false)}
          onMount={async wish => {
            await changed(await call<Instance>('POST', path, { json: wish }))
            tellDone(`Mounted at ${wish.path}`)
          }}
        />
      )}
      <Confirm
        opened={unmounted !== null}
        title="Unmount the file system?"
        action="Unmount"
        onClose={() => setUnmounted(null)}
        onConfirm={async () => changed(await call<Instance>('DELETE', `${path}/${part(unmounted ?? '')}`))}
      >
        A program that holds files open in it refuses that. What is in it stays.
      </Confirm>
    </Panel>
  )
}

interface MountProps {
  readonly free: readonly FileSystem[]
  readonly onClose: () => void
  readonly onMount: (wish: { readonly fileSystem: string; readonly path: string }) => Promise<void>
}

function MountForm({ free, onClose, onMount }: MountProps) {
  const [fileSystem, setFileSystem] = useState<string | null>(null)
  const [path, setPath] = useState('/srv/shared')
  return (
    <FormModal title="Mount a file system" action="Mount" disabled={fileSystem === null || !path.startsWith('/')} onClose={onClose} onSubmit={() => onMount({ fileSystem: fileSystem ?? '', path })}>
      <Select
        label="File system"
        placeholder={free.length === 0 ? 'There is no other' : 'Choose one'}
        data={free.map(({ id, name, sizeBytes }) => ({ value: id, label: `${name} (${formatBytes(sizeBytes)})` }))}
        value={fileSystem}
        onChange={setFileSystem}
      />
      <TextInput label="Path in the guest" value={path} onChange={event => setPath(event.currentTarget.value)} className="mono" />
    </FormModal>
  )
}
