/** Whether the instance has a firewall, and which rulesets. */
import { MultiSelect, Stack, Switch } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { listAll } from '../../api/http.ts'
import type { Firewall } from '../../api/types.ts'

export function FirewallFields({ firewalls, onChange }: { readonly firewalls: readonly string[] | null; readonly onChange: (firewalls: readonly string[] | null) => void }) {
  const known = useQuery({ queryKey: ['firewalls', 'rulesets'], queryFn: ({ signal }) => listAll<Firewall>('/firewalls', { signal }) })
  const names = (known.data ?? []).map(({ name }) => name)
  return (
    <Stack gap="sm">
      <Switch
        size="xs"
        label="Only what is let in reaches it"
        description="Without a firewall everybody who can reach its address reaches whatever listens there."
        checked={firewalls !== null}
        onChange={event => onChange(event.currentTarget.checked ? [] : null)}
      />
      {firewalls !== null && (
        <MultiSelect
          label="Rulesets"
          description="Beside what every firewall of the project lets in."
          // Two of one name can't be told apart by it.
          data={names.filter((name, index) => names.indexOf(name) === index && names.lastIndexOf(name) === index)}
          value={[...firewalls]}
          onChange={onChange}
          nothingFoundMessage="The project has none yet"
          placeholder={firewalls.length === 0 ? 'None' : ''}
        />
      )}
    </Stack>
  )
}
