/** After how long without use, or without a connection, an instance goes to standby. */
import { NumberInput, SimpleGrid, Stack, TagsInput } from '@mantine/core'
import type { Sleep } from './sleep.ts'

const LONGEST_MINUTES = 43_200

export function SleepFields({ sleep, onChange }: { readonly sleep: Sleep; readonly onChange: (change: Partial<Sleep>) => void }) {
  const { idleMinutes, quietMinutes, ignored } = sleep
  return (
    <Stack gap="sm">
      <SimpleGrid cols={{ base: 1, sm: 2 }} spacing="md" verticalSpacing="sm" style={{ alignItems: 'end' }}>
        <Minutes label="Standby after minutes without use" description="A command or a connection wakes it. Empty: never." value={idleMinutes} onChange={minutes => onChange({ idleMinutes: minutes })} />
        <Minutes label="Standby after minutes without a connection" description="Whichever port; only a restore wakes it. Empty: never." value={quietMinutes} onChange={minutes => onChange({ quietMinutes: minutes })} />
      </SimpleGrid>
      {quietMinutes !== null && (
        <TagsInput
          label="Connections that do not count"
          description="Networks or addresses they come from, ports they go to."
          placeholder={ignored.length === 0 ? '10.0.0.0/8, 22' : ''}
          value={[...ignored]}
          onChange={words => onChange({ ignored: words })}
        />
      )}
    </Stack>
  )
}

function Minutes({ label, description, value, onChange }: { readonly label: string; readonly description: string; readonly value: number | null; readonly onChange: (minutes: number | null) => void }) {
  return <NumberInput label={label} description={description} min={0.1} max={LONGEST_MINUTES} decimalScale={2} value={value ?? ''} onChange={minutes => onChange(typeof minutes === 'number' && minutes > 0 ? minutes : null)} hideControls />
}
