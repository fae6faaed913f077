/** Rules in words. */
import { List, Text } from '@mantine/core'
import type { FirewallRule } from '../../api/types.ts'
import { tellRule } from './rules.ts'

export function RuleList({ rules }: { readonly rules: readonly FirewallRule[] }) {
  if (rules.length === 0) {
    return (
      <Text size="sm" c="dimmed" span>
        nothing
      </Text>
    )
  }
  return (
    <List size="sm" spacing={2} listStyleType="none">
      {rules.map((rule, index) => (
        <List.Item key={index}>
          {tellRule(rule)}
          {rule.description !== '' && (
            <Text span size="xs" c="dimmed">
              {' '}
              · {rule.description}
            </Text>
          )}
        </List.Item>
      ))}
    </List>
  )
}
