/** Ports of the host that lead into the guest. */
import { ActionIcon, Button, Group, NumberInput, Select, Stack, Text } from '@mantine/core'
import { Plus, X } from 'lucide-react'
import type { Wish } from './wish.ts'

type Port = Wish['ports'][number]
const FIRST: Port = { hostPort: 8081, guestPort: 80, protocol: 'tcp' }

export function PortFields({ ports, onChange }: { readonly ports: readonly Port[]; readonly onChange: (ports: readonly Port[]) => void }) {
  const change = (index: number, part: Partial<Port>) => onChange(ports.map((port, at) => (at === index ? { ...port, ...part } : port)))
  return (
    <Stack gap="xs" align="flex-start">
      {ports.map((port, index) => (
        // Rows have no name of their own, and none changes its place.
        <Group key={index} gap="xs" wrap="nowrap">
          <NumberInput aria-label="Port of the host" size="xs" w={92} min={1} max={65535} hideControls value={port.hostPort} onChange={value => change(index, { hostPort: Number(value) })} />
          <Text size="sm" c="dimmed">
            →
          </Text>
          <NumberInput aria-label="Port in the guest" size="xs" w={92} min={1} max={65535} hideControls value={port.guestPort} onChange={value => change(index, { guestPort: Number(value) })} />
          <Select aria-label="Protocol" size="xs" w={80} data={['tcp', 'udp']} value={port.protocol} onChange={value => change(index, { protocol: value === 'udp' ? 'udp' : 'tcp' })} allowDeselect={false} />
          <ActionIcon variant="subtle" color="gray" aria-label="Remove this port" onClick={() => onChange(ports.filter((_, at) => at !== index))}>
            <X size={15} />
          </ActionIcon>
        </Group>
      ))}
      <Button variant="default" leftSection={<Plus size={14} />} onClick={() => onChange([...ports, { ...FIRST, hostPort: FIRST.hostPort + ports.length }])}>
        Add a port
      </Button>
    </Stack>
  )
}
