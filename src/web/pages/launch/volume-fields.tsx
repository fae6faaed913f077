/** Volumes that are there from the first start on. */
import { ActionIcon, Button, Group, Select, Stack, Text, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Plus, X } from 'lucide-react'
import { listAll } from '../../api/http.ts'
import type { Volume } from '../../api/types.ts'
import { Link } from '../../components/link.tsx'
import type { Wish } from './wish.ts'

type Mount = Wish['volumes'][number]

export function VolumeFields({ volumes, onChange }: { readonly volumes: readonly Mount[]; readonly onChange: (volumes: readonly Mount[]) => void }) {
  const known = useQuery({ queryKey: ['volumes'], queryFn: ({ signal }) => listAll<Volume>('/volumes', { signal }) })
  const names = (known.data ?? []).map(({ name }) => name)
  const change = (index: number, part: Partial<Mount>) => onChange(volumes.map((mount, at) => (at === index ? { ...mount, ...part } : mount)))
  if (names.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        There is no volume yet. <Link inText to="/ui/volumes">Make one</Link> first.
      </Text>
    )
  }
  return (
    <Stack gap="xs" align="flex-start">
      {volumes.map((mount, index) => (
        <Group key={index} gap="xs">
          <Select aria-label="Volume" size="xs" w={150} data={[...new Set(names)]} value={mount.volume} onChange={value => change(index, { volume: value ?? mount.volume })} allowDeselect={false} />
          <TextInput aria-label="Path in the guest" size="xs" w={150} value={mount.path} onChange={event => change(index, { path: event.currentTarget.value })} />
          <Select aria-label="Mode" size="xs" w={92} data={['rw', 'ro', 'overlay']} value={mount.mode} onChange={value => change(index, { mode: (value ?? 'rw') as Mount['mode'] })} allowDeselect={false} />
          <ActionIcon variant="subtle" color="gray" aria-label="Remove this volume" onClick={() => onChange(volumes.filter((_, at) => at !== index))}>
            <X size={15} />
          </ActionIcon>
        </Group>
      ))}
      <Button variant="default" leftSection={<Plus size={14} />} onClick={() => onChange([...volumes, { volume: names[0] ?? '', path: '/data', mode: 'rw' }])}>
        Add a volume
      </Button>
    </Stack>
  )
}
