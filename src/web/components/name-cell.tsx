/** The name of a thing in a table, with its id to copy. */
import { Text } from '@mantine/core'
import { CopyIcon } from './copy-text.tsx'

export function NameCell({ id, name }: { readonly id: string; readonly name: string }) {
  return (
    <span style={{ display: 'inline-flex', alignItems: 'center', gap: 4 }}>
      <Text size="sm" fw={560} span>
        {name}
      </Text>
      <CopyIcon text={id} label={`Copy the id of ${name}`} />
    </span>
  )
}
