/** Volumes: disks that outlive their instances. */
import { NumberInput, Text, TextInput } from '@mantine/core'
import { HardDrive } from 'lucide-react'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import type { Volume } from '../../api/types.ts'
import { FormModal } from '../../components/form-modal.tsx'
import { formatBytes, formatTime } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { ListPage } from '../../components/list-page.tsx'
import { useMay } from '../../components/me.tsx'
import { NameCell } from '../../components/name-cell.tsx'
import { Status } from '../../components/phase.tsx'
import type { Tone } from '../../components/phase.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { useList } from '../../components/use-list.ts'
import { useFleet } from '../../live/use-fleet.ts'

const TONES: Readonly<Record<Volume['status'], Tone>> = { creating: 'busy', ready: 'good', deleting: 'busy', failed: 'bad' }

export function VolumesPage() {
  const mayWrite = useMay('write')
  const list = useList<Volume>('volumes', { live: true })
  return (
    <ListPage
      title="Volumes"
      note="Disks that outlive their instances."
      list={list}
      keyOf={({ id }) => id}
      make={{ label: 'Make a volume', form: close => <MakeForm onClose={close} onMade={list.again} /> }}
      empty={{
        icon: HardDrive,
        title: 'No volumes yet',
        text: 'A volume is attached to an instance at a path: exclusively, read-only to many, or as a base that each writes over on its own.',
        command: 'berth volumes create data -s 10G',
      }}
      fields={[
        { name: 'Name', cell: ({ name, id }) => <NameCell id={id} name={name} /> },
        { name: 'State', cell: ({ status, error }) => <span title={error ?? ''}><Status tone={TONES[status]} word={status} /></span> },
        { name: 'Size', cell: ({ sizeBytes }) => <span className="numeric">{formatBytes(sizeBytes)}</span>, right: true },
        { name: 'Attached to', cell: ({ attachments }) => <Attachments attachments={attachments} /> },
        { name: 'Made', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
        {
          name: 'Actions',
          quiet: true,
          right: true,
          cell: ({ id, name }) =>
            mayWrite && (
              <RemoveButton what={name} onRemove={() => call('DELETE', `/volumes/${part(id)}`).then(list.again)}>
                What it holds is gone for good. While an instance has it, it can't be deleted.
              </RemoveButton>
            ),
        },
      ]}
    />
  )
}

function Attachments({ attachments }: Pick<Volume, 'attachments'>) {
  const { byId } = useFleet()
  if (attachments.length === 0) {
    return (
      <Text size="sm" c="dimmed" span>
        nothing
      </Text>
    )
  }
  return attachments.map(({ instanceId, path, mode }) => (
    <div key={instanceId}>
      <Link inText to={`/ui/instances/${instanceId}/volumes`}>{byId.get(instanceId)?.name ?? instanceId}</Link> at <span className="mono">{path}</span> ({mode})
    </div>
  ))
}

function MakeForm({ onClose, onMade }: { readonly onClose: () => void; readonly onMade: () => Promise<void> }) {
  const [name, setName] = useState('')
  const [gigabytes, setGigabytes] = useState<number | string>(1)
  const submit = async () => {
    await call('POST', '/volumes', { json: { name: name.trim(), sizeBytes: Math.round(Number(gigabytes) * 1024 ** 3) } })
    await onMade()
  }
  return (
    <FormModal title="Make a volume" action="Make" disabled={name.trim() === '' || Number(gigabytes) <= 0} onClose={onClose} onSubmit={submit}>
      <TextInput label="Name" value={name} onChange={event => setName(event.currentTarget.value)} data-autofocus spellCheck={false} />
      <NumberInput label="Size in GB" value={gigabytes} onChange={setGigabytes} min={0.0625} decimalScale={3} hideControls />
    </FormModal>
  )
}
