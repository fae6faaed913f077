/** Images: what is here, what is being pulled, what failed and why. */
import { Button, Text, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { CloudDownload, Layers } from 'lucide-react'
import { useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { Image } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import type { Field } from '../../components/data-table.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { formatBytes, formatTime, shortImage } from '../../components/format.ts'
import { useMay } from '../../components/me.tsx'
import { Page, Panel } from '../../components/page.tsx'
import { Status } from '../../components/phase.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { EmptyState } from '../../components/states.tsx'
import { isPulling, usePull } from '../../live/use-pull.ts'
import { PullProgress } from '../launch/image-state.tsx'

/** Characters of an image's own command. */
const COMMAND_SHOWN = 48

export function ImagesPage() {
  const queries = useQueryClient()
  const mayWrite = useMay('write')
  const [asks, setAsks] = useState(false)
  const images = useQuery({ queryKey: ['images'], queryFn: ({ signal }) => listAll<Image>('/images', { signal }) })
  const again = () => queries.invalidateQueries({ queryKey: ['images'] })
  const pull = async (name: string) => {
    await call('POST', '/images', { json: { name } })
    await again()
  }
  const fields: readonly Field<Image>[] = [
    {
      name: 'Name',
      cell: ({ name, digest }) => (
        <>
          <Text size="sm" fw={560}>
            {shortImage(name)}
          </Text>
          <Text size="xs" c="dimmed" className="mono">
            {digest === null ? name : digest.slice(0, 19)}
          </Text>
        </>
      ),
    },
    { name: 'State', cell: image => <ImageStatus image={image} onRetry={() => pull(image.name)} /> },
    { name: 'Runs', cell: ({ config }) => <span className="mono">{config === null ? '' : [...config.entrypoint, ...config.cmd].join(' ').slice(0, COMMAND_SHOWN)}</span> },
    { name: 'Size', cell: ({ sizeBytes }) => <span className="numeric">{sizeBytes === null ? '' : formatBytes(sizeBytes)}</span>, right: true },
    { name: 'Since', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
    {
      name: 'Actions',
      quiet: true,
      right: true,
      cell: ({ name }) =>
        mayWrite && (
          <RemoveButton what={shortImage(name)} onRemove={() => call('DELETE', `/images/${part(name)}`).then(again)}>
            Instances that run from it keep it from being deleted. It can be pulled again.
          </RemoveButton>
        ),
    },
  ]
  const pullButton = mayWrite && (
    <Button leftSection={<CloudDownload size={14} />} onClick={() => setAsks(true)}>
      Pull an image
    </Button>
  )
  return (
    <Page title="Images" note="Root file systems of instances, shared by all that run from them." actions={pullButton}>
      <Panel>
        <DataTable
          label="Images"
          items={images.data}
          error={images.error}
          onRetry={() => void images.refetch()}
          keyOf={({ name, digest }) => `${name} ${digest ?? ''}`}
          fields={fields}
          empty={
            <EmptyState icon={Layers} title="No images yet" action={pullButton}>
              Any OCI image of any registry works. The one that Berth brings appears with its first use.
            </EmptyState>
          }
        />
      </Panel>
      {asks && <PullForm onClose={() => setAsks(false)} onPull={pull} />}
    </Page>
  )
}

function ImageStatus({ image, onRetry }: { readonly image: Image; readonly onRetry: () => Promise<void> }) {
  usePull(image)
  if (isPulling(image)) return <PullProgress image={image} />
  if (image.status === 'ready') return <Status tone="good" word="ready" />
  return (
    <div style={{ maxWidth: 420 }}>
      <Status tone="bad" word="failed" />{' '}
      <Button size="compact-xs" variant="subtle" onClick={() => void onRetry()}>
        Try again
      </Button>
      <Text size="xs" c="dimmed">
        {image.error}
      </Text>
    </div>
  )
}

function PullForm({ onClose, onPull }: { readonly onClose: () => void; readonly onPull: (name: string) => Promise<void> }) {
  const [name, setName] = useState('')
  return (
    <FormModal title="Pull an image" action="Pull" disabled={name.trim() === ''} onClose={onClose} onSubmit={() => onPull(name.trim())}>
      <TextInput label="Name" description="By tag or digest, of any registry." placeholder="nginx:alpine" value={name} onChange={event => setName(event.currentTarget.value)} data-autofocus spellCheck={false} />
    </FormModal>
  )
}
