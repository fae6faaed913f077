/** The rules of a firewall, one a row. */
import { ActionIcon, Button, Group, Select, Stack, Text, TextInput } from '@mantine/core'
import { Plus, X } from 'lucide-react'
import { FIRST_RULE, portsProblem, PROTOCOLS } from './rules.ts'
import type { RuleDraft } from './rules.ts'

export function RuleFields({ rules, onChange }: { readonly rules: readonly RuleDraft[]; readonly onChange: (rules: readonly RuleDraft[]) => void }) {
  const change = (index: number, part: Partial<RuleDraft>) => onChange(rules.map((rule, at) => (at === index ? { ...rule, ...part } : rule)))
  return (
    <Stack gap="xs" align="flex-start">
      {rules.length === 0 && (
        <Text size="sm" c="dimmed">
          No rules: nothing is let in.
        </Text>
      )}
      {rules.map((rule, index) => {
        // Told once above, and read out with every row.
        const named = (name: string) => (index === 0 ? { label: name } : { 'aria-label': `${name} of rule ${index + 1}` })
        return (
          // Rows have no name of their own, and none changes its place.
          <Group key={index} gap="xs" align="flex-start" w="100%">
            <Select {...named('Protocol')} size="xs" w={84} data={[...PROTOCOLS]} value={rule.protocol} onChange={value => change(index, { protocol: PROTOCOLS.find(each => each === value) ?? rule.protocol })} allowDeselect={false} />
            <TextInput
              {...named('Ports')}
              size="xs"
              w={104}
              placeholder={rule.protocol === 'icmp' ? 'none' : 'every port'}
              disabled={rule.protocol === 'icmp'}
              value={rule.protocol === 'icmp' ? '' : rule.ports}
              onChange={event => change(index, { ports: event.currentTarget.value })}
              error={portsProblem(rule)}
            />
            <TextInput {...named('Source network')} size="xs" w={136} placeholder="0.0.0.0/0" value={rule.source} onChange={event => change(index, { source: event.currentTarget.value })} spellCheck={false} />
            <TextInput {...named('Description')} size="xs" className="grow" placeholder="What for" value={rule.description} maxLength={128} onChange={event => change(index, { description: event.currentTarget.value })} />
            <ActionIcon mt={index === 0 ? { base: 2, sm: 24 } : 2} variant="subtle" color="gray" aria-label={`Remove rule ${index + 1}`} onClick={() => onChange(rules.filter((_, at) => at !== index))}>
              <X size={15} />
            </ActionIcon>
          </Group>
        )
      })}
      <Button variant="default" leftSection={<Plus size={14} />} onClick={() => onChange([...rules, FIRST_RULE])}>
        Add a rule
      </Button>
    </Stack>
  )
}
