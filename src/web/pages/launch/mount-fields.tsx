/** What is mounted from the first start on: rows of a source, a path, and perhaps a mode. */
import { ActionIcon, Button, Group, Select, Stack, Text, TextInput } from '@mantine/core'
import { Plus, X } from 'lucide-react'
import type { ReactNode } from 'react'
import { Link } from '../../components/link.tsx'

export interface MountRow {
  readonly source: string
  readonly path: string
}

interface MountProps<M extends MountRow> {
  /** As a person calls it: Volume. */
  readonly what: string
  /** Where they are made. */
  readonly page: string
  readonly names: readonly string[]
  readonly mounts: readonly M[]
  readonly first: M
  readonly children?: (mount: M, change: (part: Partial<M>) => void) => ReactNode
  readonly onChange: (mounts: readonly M[]) => void
}

export function MountFields<M extends MountRow>({ what, page, names, mounts, first, children, onChange }: MountProps<M>) {
  const change = (index: number, part: Partial<M>) => onChange(mounts.map((mount, at) => (at === index ? { ...mount, ...part } : mount)))
  const word = what.toLowerCase()
  if (names.length === 0) {
    return (
      <Text size="sm" c="dimmed">
        There is no {word} yet. <Link inText to={page}>Make one</Link> first.
      </Text>
    )
  }
  return (
    <Stack gap="xs" align="flex-start">
      {mounts.map((mount, index) => (
        <Group key={index} gap="xs">
          <Select aria-label={what} size="xs" w={150} data={[...new Set(names)]} value={mount.source} onChange={value => change(index, { source: value ?? mount.source } as Partial<M>)} allowDeselect={false} />
          <TextInput aria-label="Path in the guest" size="xs" w={150} value={mount.path} onChange={event => change(index, { path: event.currentTarget.value } as Partial<M>)} />
          {children?.(mount, part => change(index, part))}
          <ActionIcon variant="subtle" color="gray" aria-label={`Remove this ${word}`} onClick={() => onChange(mounts.filter((_, at) => at !== index))}>
            <X size={15} />
          </ActionIcon>
        </Group>
      ))}
      <Button variant="default" leftSection={<Plus size={14} />} onClick={() => onChange([...mounts, { ...first, source: names.find(name => mounts.every(({ source }) => source !== name)) ?? names[0] ?? '' }])}>
        Add a {word}
      </Button>
    </Stack>
  )
}
