/** Snapshots of the instance, and forks: another instance that goes on from here, or from then. */
import { Button, Group, SegmentedControl, Text, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Camera, GitFork, Undo2 } from 'lucide-react'
import { useState } from 'react'
import { useLocation } from 'wouter'
import { call, listAll, part } from '../../api/http.ts'
import type { Instance, Snapshot } from '../../api/types.ts'
import { Confirm } from '../../components/confirm.tsx'
import { DataTable } from '../../components/data-table.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { formatBytes, formatTime } from '../../components/format.ts'
import { useMay } from '../../components/me.tsx'
import { tellDone } from '../../components/notice.tsx'
import { Panel } from '../../components/page.tsx'
import { Status } from '../../components/phase.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { EmptyState } from '../../components/states.tsx'
import { learn } from '../../live/fleet.ts'

type Fork = { readonly from: 'instance' } | { readonly from: 'snapshot'; readonly snapshot: Snapshot }

export function SnapshotsTab({ instance }: { readonly instance: Instance }) {
  const queries = useQueryClient()
  const mayWrite = useMay('write')
  const [takes, setTakes] = useState(false)
  const [fork, setFork] = useState<Fork | null>(null)
  const [restored, setRestored] = useState<Snapshot | null>(null)
  const snapshots = useQuery({ queryKey: ['snapshots', instance.id], queryFn: ({ signal }) => listAll<Snapshot>('/snapshots', { query: { instance: instance.id }, signal }) })
  const again = () => queries.invalidateQueries({ queryKey: ['snapshots', instance.id] })
  const mayGoBack = ['stopped', 'standby', 'failed'].includes(instance.phase)

  return (
    <Panel
      title="Snapshots"
      note="memory and disks of a moment"
      actions={
        mayWrite && (
          <>
            <Button variant="default" leftSection={<GitFork size={14} />} onClick={() => setFork({ from: 'instance' })}>
              Fork
            </Button>
            <Button variant="default" leftSection={<Camera size={14} />} onClick={() => setTakes(true)}>
              Take a snapshot
            </Button>
          </>
        )
      }
    >
      <DataTable
        label="Snapshots"
        items={snapshots.data}
        error={snapshots.error}
        onRetry={() => void snapshots.refetch()}
        keyOf={({ id }) => id}
        empty={
          <EmptyState icon={Camera} title="No snapshots yet" command={`berth snapshots create ${instance.name}`}>
            A snapshot keeps the instance as it is now: one can go back to it, or make others from it.
          </EmptyState>
        }
        fields={[
          { name: 'Name', cell: ({ name, id }) => name ?? id.slice(0, 13) },
          { name: 'Holds', cell: ({ kind }) => (kind === 'standby' ? 'memory and disks' : 'disks') },
          { name: 'State', cell: ({ status }) => <Status tone={status === 'ready' ? 'good' : 'busy'} word={status} /> },
          { name: 'Size', cell: ({ sizeBytes }) => <span className="numeric">{formatBytes(sizeBytes)}</span>, right: true },
          { name: 'Taken', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
          {
            name: 'Actions',
            quiet: true,
            right: true,
            cell: snapshot =>
              mayWrite && (
                <Group gap={4} justify="flex-end" wrap="nowrap">
                  <Button size="compact-xs" variant="default" onClick={() => setFork({ from: 'snapshot', snapshot })}>
                    Fork
                  </Button>
                  <Button size="compact-xs" variant="default" leftSection={<Undo2 size={12} />} disabled={!mayGoBack} title={mayGoBack ? '' : 'Stop it or put it to sleep first'} onClick={() => setRestored(snapshot)}>
                    Go back
                  </Button>
                  <RemoveButton what={snapshot.name ?? 'the snapshot'} onRemove={() => call('DELETE', `/snapshots/${part(snapshot.id)}`).then(again)}>
                    What it holds is gone for good. Instances that were made from it stay.
                  </RemoveButton>
                </Group>
              ),
          },
        ]}
      />
      {takes && <TakeForm instance={instance} onClose={() => setTakes(false)} onTaken={again} />}
      {fork !== null && <ForkForm instance={instance} fork={fork} onClose={() => setFork(null)} />}
      <Confirm
        opened={restored !== null}
        title={`Go back to ${restored?.name ?? 'the snapshot'}?`}
        action="Go back"
        onClose={() => setRestored(null)}
        onConfirm={async () => {
          learn(await call<Instance>('POST', `/snapshots/${part(restored?.id ?? '')}/restore`, { json: {} }))
          tellDone(`${instance.name} is what it was`)
        }}
      >
        What the instance has now is lost. Its name, address and identity stay.
      </Confirm>
    </Panel>
  )
}

function TakeForm({ instance, onClose, onTaken }: { readonly instance: Instance; readonly onClose: () => void; readonly onTaken: () => Promise<void> }) {
  const [name, setName] = useState('')
  const submit = async () => {
    await call('POST', `/instances/${part(instance.id)}/snapshots`, { json: name.trim() === '' ? {} : { name: name.trim() } })
    await onTaken()
  }
  return (
    <FormModal title="Take a snapshot" action="Take" disabled={false} onClose={onClose} onSubmit={submit}>
      <Text size="sm" c="dimmed">
        The instance stands still for a moment and runs on.
      </Text>
      <TextInput label="Name" description="Empty: it has none." value={name} onChange={event => setName(event.currentTarget.value)} data-autofocus spellCheck={false} />
    </FormModal>
  )
}

function ForkForm({ instance, fork, onClose }: { readonly instance: Instance; readonly fork: Fork; readonly onClose: () => void }) {
  const [, navigate] = useLocation()
  const [name, setName] = useState(`${instance.name}-fork`)
  const [target, setTarget] = useState('running')
  const submit = async () => {
    const path = fork.from === 'instance' ? `/instances/${part(instance.id)}/fork` : `/snapshots/${part(fork.snapshot.id)}/fork`
    const made = await call<Instance>('POST', path, { json: { name: name.trim(), target } })
    learn(made)
    navigate(`/ui/instances/${made.id}`)
  }
  return (
    <FormModal title={fork.from === 'instance' ? `Fork ${instance.name}` : `Fork ${fork.snapshot.name ?? 'the snapshot'}`} action="Fork" disabled={name.trim() === ''} onClose={onClose} onSubmit={submit}>
      <TextInput label="Name" value={name} onChange={event => setName(event.currentTarget.value)} data-autofocus spellCheck={false} />
      <SegmentedControl
        aria-label="It ends"
        value={target}
        onChange={setTarget}
        data={[
          { value: 'running', label: 'Running' },
          { value: 'standby', label: 'In standby' },
          { value: 'stopped', label: 'Stopped, disks only' },
        ]}
      />
    </FormModal>
  )
}
