/** The same launch as commands and calls, ready to copy. */
import { Group, List, SegmentedControl, Stack, Text } from '@mantine/core'
import { useMemo, useState } from 'react'
import type { Catalogue } from '../../api/types.ts'
import { CopyIcon } from '../../components/copy-text.tsx'
import { Panel } from '../../components/page.tsx'
import { equivalentsOf } from './equivalents.ts'
import type { Wish } from './wish.ts'

export function EquivalentsPanel({ wish, catalogue }: { readonly wish: Wish; readonly catalogue: Catalogue }) {
  const [chosen, setChosen] = useState('berth')
  const all = useMemo(() => equivalentsOf(wish, { origin: window.location.origin, catalogue }), [wish, catalogue])
  const shown = all.find(({ id }) => id === chosen) ?? all[0]
  if (shown === undefined) return null
  return (
    <Panel title="The same elsewhere" actions={<CopyIcon text={shown.text} label="Copy" />}>
      <Stack p="md" gap="sm">
        <div style={{ overflowX: 'auto' }}>
          <SegmentedControl size="xs" aria-label="Tongue" data={all.map(({ id, name }) => ({ value: id, label: name }))} value={shown.id} onChange={setChosen} />
        </div>
        <pre className="code" tabIndex={0} aria-label="Copy of this launch">
          {shown.text}
        </pre>
        {shown.losses.length > 0 && (
          <List size="xs" c="dimmed" spacing={2}>
            {shown.losses.map(sentence => (
              <List.Item key={sentence}>{sentence}</List.Item>
            ))}
          </List>
        )}
        {shown.id !== 'berth' && (
          <Group gap={4}>
            <Text size="xs" c="dimmed">
              It reads an API key from <span className="mono">BERTH_KEY</span>.
            </Text>
          </Group>
        )}
      </Stack>
    </Panel>
  )
}
