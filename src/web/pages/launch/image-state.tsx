/** Whether the image is here, on its way, or is still to be pulled; with the pull's progress. */
import { Button, Group, Progress, Text } from '@mantine/core'
import { useQueryClient } from '@tanstack/react-query'
import { CloudDownload } from 'lucide-react'
import { call } from '../../api/http.ts'
import type { Image } from '../../api/types.ts'
import { formatBytes, shortImage } from '../../components/format.ts'
import { useMay } from '../../components/me.tsx'
import { tellError } from '../../components/notice.tsx'
import { Status } from '../../components/phase.tsx'
import { isPulling, usePull } from '../../live/use-pull.ts'

/** Characters of an image's own command. */
const COMMAND_SHOWN = 60

export function ImageState({ name, known }: { readonly name: string; readonly known: readonly Image[] | undefined }) {
  const queries = useQueryClient()
  const mayWrite = useMay('write')
  if (known === undefined || name.trim() === '') return null
  const wanted = shortImage(name.trim())
  const image = known.find(each => shortImage(each.name) === wanted || each.name === wanted)

  const pull = async () => {
    try {
      await call<Image>('POST', '/images', { json: { name: name.trim() } })
      await queries.invalidateQueries({ queryKey: ['images'] })
    } catch (error) {
      tellError('The image is not pulled', error)
    }
  }

  if (image === undefined || image.status === 'failed') {
    return (
      <Group gap="sm">
        <Text size="xs" c="dimmed" style={{ flex: 1 }}>
          {image === undefined ? 'It is not here yet: it is pulled before the instance starts, which takes a while the first time.' : `Its last pull failed: ${image.error ?? ''}`}
        </Text>
        {mayWrite && (
          <Button variant="default" leftSection={<CloudDownload size={14} />} onClick={() => void pull()}>
            Pull now
          </Button>
        )}
      </Group>
    )
  }
  return <Known image={image} />
}

function Known({ image }: { readonly image: Image }) {
  usePull(image)
  if (isPulling(image)) return <PullProgress image={image} />
  return (
    <Group gap="xs">
      <Text size="xs" component="span">
        <Status tone="good" word="ready" />
      </Text>
      <Text size="xs" c="dimmed">
        {image.sizeBytes === null ? '' : formatBytes(image.sizeBytes)}
        {image.config === null ? '' : ` · runs ${[...image.config.entrypoint, ...image.config.cmd].join(' ').slice(0, COMMAND_SHOWN)}`}
      </Text>
    </Group>
  )
}

export function PullProgress({ image }: { readonly image: Image }) {
  const { status, progress, queuePosition } = image
  const word = status === 'pending' && queuePosition !== null ? `${queuePosition}. in the line` : status
  return (
    <Group gap="sm" wrap="nowrap">
      <Text size="xs" component="span">
        <Status tone="busy" word={word} />
      </Text>
      <Progress value={progress === null ? 100 : progress * 100} striped animated={progress === null} style={{ flex: 1, minWidth: 80 }} size="sm" aria-label={`Pull of ${image.name}`} />
      {progress !== null && (
        <Text size="xs" className="numeric" w={34}>
          {Math.round(progress * 100)} %
        </Text>
      )}
    </Group>
  )
}
