/** Volumes: disks that outlive their instances. */
import { Button, NumberInput, Text, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { HardDrive, Plus } from 'lucide-react'
import { useCallback, useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { Volume } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import type { Field } from '../../components/data-table.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { formatBytes, formatTime } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { useMay } from '../../components/me.tsx'
import { NameCell } from '../../components/name-cell.tsx'
import { Page, Panel } from '../../components/page.tsx'
import { Status } from '../../components/phase.tsx'
import type { Tone } from '../../components/phase.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { EmptyState } from '../../components/states.tsx'
import { useEvents, useFleet } from '../../live/use-fleet.ts'

const TONES: Readonly<Record<Volume['status'], Tone>> = { creating: 'busy', ready: 'good', deleting: 'busy', failed: 'bad' }

export function VolumesPage() {
  const queries = useQueryClient()
  const mayWrite = useMay('write')
  const { byId } = useFleet()
  const [makes, setMakes] = useState(false)
  const volumes = useQuery({ queryKey: ['volumes'], queryFn: ({ signal }) => listAll<Volume>('/volumes', { signal }) })
  const again = useCallback(() => queries.invalidateQueries({ queryKey: ['volumes'] }), [queries])
  // What is attached changes with the instances.
  useEvents(useCallback(() => void again(), [again]))

  const fields: readonly Field<Volume>[] = [
    {
      name: 'Name',
      cell: ({ name, id }) => <NameCell id={id} name={name} />,
    },
    { name: 'State', cell: ({ status, error }) => <span title={error ?? ''}><Status tone={TONES[status]} word={status} /></span> },
    { name: 'Size', cell: ({ sizeBytes }) => <span className="numeric">{formatBytes(sizeBytes)}</span>, right: true },
    {
      name: 'Attached to',
      cell: ({ attachments }) =>
        attachments.length === 0 ? (
          <Text size="sm" c="dimmed" span>
            nothing
          </Text>
        ) : (
          attachments.map(({ instanceId, path, mode }) => (
            <div key={instanceId}>
              <Link inText to={`/ui/instances/${instanceId}/volumes`}>{byId.get(instanceId)?.name ?? instanceId}</Link> at <span className="mono">{path}</span> ({mode})
            </div>
          ))
        ),
    },
    { name: 'Made', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
    {
      name: 'Actions',
      quiet: true,
      right: true,
      cell: ({ id, name }) =>
        mayWrite && (
          <RemoveButton what={name} onRemove={() => call('DELETE', `/volumes/${part(id)}`).then(again)}>
            What it holds is gone for good. While an instance has it, it can't be deleted.
          </RemoveButton>
        ),
    },
  ]
  const makeButton = mayWrite && (
    <Button leftSection={<Plus size={14} />} onClick={() => setMakes(true)}>
      Make a volume
    </Button>
  )
  return (
    <Page title="Volumes" note="Disks that outlive their instances." actions={makeButton}>
      <Panel>
        <DataTable
          label="Volumes"
          items={volumes.data}
          error={volumes.error}
          onRetry={() => void volumes.refetch()}
          keyOf={({ id }) => id}
          fields={fields}
          empty={
            <EmptyState icon={HardDrive} title="No volumes yet" action={makeButton}>
              A volume is attached to an instance at a path: exclusively, read-only to many, or as a base that each writes over on its own.
            </EmptyState>
          }
        />
      </Panel>
      {makes && <MakeForm onClose={() => setMakes(false)} onMade={again} />}
    </Page>
  )
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
