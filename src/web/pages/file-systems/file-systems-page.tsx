/** Shared file systems: files that several instances have at once, over NFS. */
import { Button, Group, NumberInput, Progress, Text, TextInput } from '@mantine/core'
import { FolderTree } from 'lucide-react'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import type { FileSystem } from '../../api/types.ts'
import { FormModal } from '../../components/form-modal.tsx'
import { formatBytes, formatTime } from '../../components/format.ts'
import { InstanceLinks } from '../../components/instance-links.tsx'
import { ListPage } from '../../components/list-page.tsx'
import { useMay } from '../../components/me.tsx'
import { NameCell } from '../../components/name-cell.tsx'
import { tellDone } from '../../components/notice.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { useList } from '../../components/use-list.ts'

const GIB = 1024 ** 3

export function FileSystemsPage() {
  const mayWrite = useMay('write')
  const [grown, setGrown] = useState<FileSystem | null>(null)
  const list = useList<FileSystem>('file-systems', { live: true })
  return (
    <ListPage
      title="File systems"
      note="Files that several instances share, and that outlive them."
      list={list}
      keyOf={({ id }) => id}
      make={{ label: 'Make a file system', form: close => <MakeForm onClose={close} onMade={list.again} /> }}
      empty={{
        icon: FolderTree,
        title: 'No file systems yet',
        text: 'A shared file system is mounted in several instances at once, at their launch or while they run. A volume belongs to one.',
        command: 'berth fs create models -s 100G',
      }}
      fields={[
        { name: 'Name', cell: ({ id, name }) => <NameCell id={id} name={name} /> },
        { name: 'Region', cell: ({ region }) => region },
        { name: 'Used', cell: fileSystem => <Used fileSystem={fileSystem} /> },
        { name: 'Mounted in', cell: ({ instanceIds }) => <InstanceLinks ids={instanceIds} tab="volumes" none="nothing" /> },
        { name: 'Made', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
        {
          name: 'Actions',
          quiet: true,
          right: true,
          cell: fileSystem =>
            mayWrite && (
              <Group gap={4} justify="flex-end" wrap="nowrap">
                <Button size="compact-xs" variant="default" aria-label={`Enlarge ${fileSystem.name}`} onClick={() => setGrown(fileSystem)}>
                  Enlarge
                </Button>
                <RemoveButton what={fileSystem.name} onRemove={() => call('DELETE', `/file-systems/${part(fileSystem.id)}`).then(list.again)}>
                  What it holds is gone for good. While an instance has it, it can’t be deleted.
                </RemoveButton>
              </Group>
            ),
        },
      ]}
    >
      {grown !== null && <GrowForm fileSystem={grown} onClose={() => setGrown(null)} onGrown={list.again} />}
    </ListPage>
  )
}

function Used({ fileSystem: { name, usedBytes, sizeBytes } }: { readonly fileSystem: FileSystem }) {
  return (
    <div style={{ minWidth: 130 }}>
      <span className="numeric">
        {formatBytes(usedBytes)} of {formatBytes(sizeBytes)}
      </span>
      <Progress value={(usedBytes / sizeBytes) * 100} size="xs" mt={4} aria-label={`Used of ${name}`} />
    </div>
  )
}

function MakeForm({ onClose, onMade }: { readonly onClose: () => void; readonly onMade: () => Promise<void> }) {
  const [name, setName] = useState('')
  const [gigabytes, setGigabytes] = useState<number | string>(10)
  const submit = async () => {
    await call('POST', '/file-systems', { json: { name: name.trim(), sizeBytes: Math.round(Number(gigabytes) * GIB) } })
    await onMade()
  }
  return (
    <FormModal title="Make a file system" action="Make" disabled={name.trim() === '' || Number(gigabytes) <= 0} onClose={onClose} onSubmit={submit}>
      <TextInput label="Name" value={name} onChange={event => setName(event.currentTarget.value)} data-autofocus spellCheck={false} />
      <NumberInput label="Size in GB" description="The most that its files may take." value={gigabytes} onChange={setGigabytes} min={0.0625} decimalScale={3} hideControls />
      <Text size="xs" c="dimmed">
        Room on the disk is taken as files are written.
      </Text>
    </FormModal>
  )
}

function GrowForm({ fileSystem: { id, name, sizeBytes }, onClose, onGrown }: { readonly fileSystem: FileSystem; readonly onClose: () => void; readonly onGrown: () => Promise<void> }) {
  const [gigabytes, setGigabytes] = useState<number | string>(Number(((sizeBytes * 2) / GIB).toFixed(3)))
  const bytes = Math.round(Number(gigabytes) * GIB)
  const submit = async () => {
    await call('PATCH', `/file-systems/${part(id)}`, { json: { sizeBytes: bytes } })
    tellDone(`${name} holds up to ${formatBytes(bytes)}`)
    await onGrown()
  }
  return (
    <FormModal title={`Enlarge ${name}`} action="Enlarge" disabled={bytes <= sizeBytes} onClose={onClose} onSubmit={submit}>
      <NumberInput label="Size in GB" description={`It has ${formatBytes(sizeBytes)}, and can’t be made smaller again.`} value={gigabytes} onChange={setGigabytes} min={0} decimalScale={3} hideControls data-autofocus />
      <Text size="xs" c="dimmed">
        Programs of instances that have it wait for the seconds that this takes.
      </Text>
    </FormModal>
  )
}
