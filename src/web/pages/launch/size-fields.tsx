/** The size: a type of the catalogue, or one's own. */
import { Chip, Group, Input, NumberInput, SimpleGrid, Slider, Stack, Text } from '@mantine/core'
import { formatBytes } from '../../components/format.ts'
import { formatPrice } from '../../components/money.ts'
import { pricedAs } from '../../components/prices.tsx'
import type { InstanceType, Wish } from './wish.ts'

const MIB = 1024 ** 2
const MAX_VCPUS = 16
/** The slider's steps. */
const MEMORIES = [128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768, 65536]
const TYPES_SHOWN = 6

interface SizeProps {
  readonly wish: Wish
  readonly types: readonly InstanceType[]
  readonly onChange: (change: Partial<Wish>) => void
}

export function SizeFields({ wish, types, onChange }: SizeProps) {
  const offered = types.filter(({ gpu }) => gpu === null).slice(0, TYPES_SHOWN)
  const chosen = offered.find(({ vcpus, memoryBytes }) => vcpus === wish.vcpus && memoryBytes === wish.memoryBytes)
  const step = MEMORIES.findIndex(megabytes => megabytes * MIB >= wish.memoryBytes)
  const priced = pricedAs(types, { type: null, vcpus: wish.vcpus, memoryBytes: wish.memoryBytes, hotplugBytes: 0 })
  return (
    <Stack gap="sm">
      <Input.Wrapper label="Size" labelElement="div">
        <Chip.Group
          value={chosen?.id ?? ''}
          onChange={id => {
            const type = offered.find(each => each.id === id)
            if (type !== undefined) onChange({ vcpus: type.vcpus, memoryBytes: type.memoryBytes })
          }}
        >
          <Group gap={6} mt={6}>
            {offered.map(({ id, description, priceMicrosPerHour }) => (
              <Chip key={id} value={id} size="xs" radius="md">
                {description}{' '}
                <span className="numeric">
                  {formatPrice(priceMicrosPerHour)}/h
                </span>
              </Chip>
            ))}
          </Group>
        </Chip.Group>
      </Input.Wrapper>
      <SimpleGrid cols={{ base: 1, sm: 3 }} spacing="lg">
        <Input.Wrapper label="vCPUs" labelElement="div" description={`${wish.vcpus}`}>
          <Slider
            mt={8}
            thumbLabel="vCPUs"
            min={1}
            max={MAX_VCPUS}
            value={Math.min(wish.vcpus, MAX_VCPUS)}
            onChange={vcpus => onChange({ vcpus })}
            label={null}
          />
        </Input.Wrapper>
        <Input.Wrapper label="Memory" labelElement="div" description={formatBytes(wish.memoryBytes)}>
          <Slider
            mt={8}
            thumbLabel="Memory"
            min={0}
            max={MEMORIES.length - 1}
            value={step < 0 ? MEMORIES.length - 1 : step}
            onChange={index => onChange({ memoryBytes: (MEMORIES[index] ?? 512) * MIB })}
            label={null}
          />
        </Input.Wrapper>
        <NumberInput
          label="Disk"
          description="GB; empty: the default"
          min={1}
          max={1024}
          value={wish.diskBytes === null ? '' : Math.round(wish.diskBytes / 1024 ** 3)}
          onChange={value => onChange({ diskBytes: typeof value === 'number' ? value * 1024 ** 3 : null })}
          hideControls
        />
      </SimpleGrid>
      {types.length > 0 && (
        <Text size="xs" c="dimmed" role="status">
          {priced === null
            ? 'Larger than every type of the catalogue: it costs nothing.'
            : `${formatPrice(priced.priceMicrosPerHour)} for each hour that it runs${chosen === undefined ? `: as ${priced.id}, the cheapest type that has as much` : ''}.`}
        </Text>
      )}
    </Stack>
  )
}
