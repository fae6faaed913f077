/** Images: what is here, what is being pulled, what failed and why. */
import { Button, Text, TextInput } from '@mantine/core'
import { CloudDownload, Layers } from 'lucide-react'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import type { Image } from '../../api/types.ts'
import { FormModal } from '../../components/form-modal.tsx'
import { formatBytes, formatTime, shortImage } from '../../components/format.ts'
import { ListPage } from '../../components/list-page.tsx'
import { useMay } from '../../components/me.tsx'
import { tellError } from '../../components/notice.tsx'
import { Status } from '../../components/phase.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { useList } from '../../components/use-list.ts'
import { isPulling, usePull } from '../../live/use-pull.ts'
import { PullProgress } from '../launch/image-state.tsx'

/** Characters of an image's own command. */
const COMMAND_SHOWN = 48

export function ImagesPage() {
  const mayWrite = useMay('write')
  const list = useList<Image>('images')
  const pull = async (name: string) => {
    await call('POST', '/images', { json: { name } })
    await list.again()
  }
  return (
    <ListPage
      title="Images"
      note="Root file systems of instances, shared by all that run from them."
      list={list}
      keyOf={({ name, digest }) => `${name} ${digest ?? ''}`}
      make={{ label: 'Pull an image', icon: CloudDownload, form: close => <PullForm onClose={close} onPull={pull} /> }}
      empty={{
        icon: Layers,
        title: 'No images yet',
        text: 'Any OCI image of any registry works. The one that Berth brings appears with its first use.',
        command: 'berth images pull nginx:alpine',
      }}
      fields={[
        { name: 'Name', cell: image => <ImageName image={image} /> },
        { name: 'State', cell: image => <ImageStatus image={image} onRetry={mayWrite ? () => pull(image.name) : null} /> },
        { name: 'Runs', cell: ({ config }) => <span className="mono">{config === null ? '' : [...config.entrypoint, ...config.cmd].join(' ').slice(0, COMMAND_SHOWN)}</span> },
        { name: 'Size', cell: ({ sizeBytes }) => <span className="numeric">{sizeBytes === null ? '' : formatBytes(sizeBytes)}</span>, right: true },
        { name: 'Since', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
        {
          name: 'Actions',
          quiet: true,
          right: true,
          cell: ({ name }) =>
            mayWrite && (
              <RemoveButton what={shortImage(name)} onRemove={() => call('DELETE', `/images/${part(name)}`).then(list.again)}>
                Instances that run from it keep it from being deleted. It can be pulled again.
              </RemoveButton>
            ),
        },
      ]}
    />
  )
}

function ImageName({ image: { name, digest } }: { readonly image: Image }) {
  return (
    <>
      <Text size="sm" fw={560}>
        {shortImage(name)}
      </Text>
      <Text size="xs" c="dimmed" className="mono">
        {digest === null ? name : digest.slice(0, 19)}
      </Text>
    </>
  )
}

function ImageStatus({ image, onRetry }: { readonly image: Image; readonly onRetry: (() => Promise<void>) | null }) {
  usePull(image)
  if (isPulling(image)) return <PullProgress image={image} />
  if (image.status === 'ready') return <Status tone="good" word="ready" />
  return (
    <div style={{ maxWidth: 420 }}>
      <Status tone="bad" word="failed" />{' '}
      {onRetry !== null && (
        <Button size="compact-xs" variant="subtle" aria-label={`Try again to pull ${shortImage(image.name)}`} onClick={() => void onRetry().catch((error: unknown) => tellError('The image is not pulled', error))}>
          Try again
        </Button>
      )}
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
