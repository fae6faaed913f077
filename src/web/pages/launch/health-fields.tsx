/** Health checks: rows of what is asked, how often, and how many failures are too many. */
import { ActionIcon, Button, Group, NumberInput, Select, Stack, Text, TextInput } from '@mantine/core'
import { Plus, X } from 'lucide-react'
import { checkProblem, FIRST_CHECK } from './health.ts'
import type { CheckDraft, CheckKind } from './health.ts'

const KINDS: readonly { readonly value: CheckKind; readonly label: string }[] = [
  { value: 'http', label: 'HTTP' },
  { value: 'https', label: 'HTTPS' },
  { value: 'tcp', label: 'TCP' },
  { value: 'exec', label: 'Command' },
]
const CHECKS_LIMIT = 16
const NUMBERS = [
  { name: 'intervalSeconds', label: 'Every', unit: ' s' },
  { name: 'timeoutSeconds', label: 'Within', unit: ' s' },
  { name: 'graceSeconds', label: 'Not before', unit: ' s' },
  { name: 'failures', label: 'Failures', unit: '' },
] as const

interface HealthProps {
  readonly checks: readonly CheckDraft[]
  readonly onChange: (checks: readonly CheckDraft[]) => void
}

export function HealthFields({ checks, onChange }: HealthProps) {
  return (
    <Stack gap="sm" align="flex-start">
      {checks.length === 0 && (
        <Text size="sm" c="dimmed">
          Nothing is asked of its application: it counts as healthy while it runs.
        </Text>
      )}
      {checks.map((check, index) => (
        // Rows have no name of their own, and none changes its place.
        <CheckRow
          key={index}
          check={check}
          onChange={part => onChange(checks.map((each, at) => (at === index ? { ...each, ...part } : each)))}
          onRemove={() => onChange(checks.filter((_, at) => at !== index))}
        />
      ))}
      {checks.length < CHECKS_LIMIT && (
        <Button variant="default" leftSection={<Plus size={14} />} onClick={() => onChange([...checks, FIRST_CHECK])}>
          Add a check
        </Button>
      )}
    </Stack>
  )
}

function CheckRow({ check, onChange, onRemove }: { readonly check: CheckDraft; readonly onChange: (part: Partial<CheckDraft>) => void; readonly onRemove: () => void }) {
  const { kind, port, path, command } = check
  const problem = checkProblem(check)
  return (
    <fieldset className="check-row">
      <legend className="visually-hidden">Health check</legend>
      <Group gap="xs" align="flex-end">
        <Select aria-label="What is asked" size="xs" w={104} data={[...KINDS]} value={kind} onChange={value => onChange({ kind: KINDS.find(each => each.value === value)?.value ?? kind })} allowDeselect={false} />
        {kind === 'exec' ? (
          <TextInput aria-label="Command of the check" placeholder="test -e /tmp/ready" size="xs" className="grow mono" value={command} onChange={event => onChange({ command: event.currentTarget.value })} spellCheck={false} />
        ) : (
          <NumberInput aria-label="Port of the check" size="xs" w={84} min={1} max={65_535} allowDecimal={false} hideControls value={port} onChange={value => onChange({ port: Number(value) })} />
        )}
        {(kind === 'http' || kind === 'https') && <TextInput aria-label="Path of the check" placeholder="/" size="xs" className="grow mono" value={path} onChange={event => onChange({ path: event.currentTarget.value })} spellCheck={false} />}
        <ActionIcon variant="subtle" color="gray" aria-label="Remove this check" onClick={onRemove} ml="auto">
          <X size={15} />
        </ActionIcon>
      </Group>
      <Group gap="xs" mt={6}>
        {NUMBERS.map(({ name, label, unit }) => (
          <NumberInput key={name} label={label} size="xs" w={84} min={0} hideControls suffix={unit} value={check[name]} onChange={value => onChange({ [name]: Number(value) })} allowDecimal={unit !== ''} />
        ))}
      </Group>
      {problem !== null && (
        <Text size="xs" c="red" mt={4} role="alert">
          {problem}
        </Text>
      )}
    </fieldset>
  )
}
