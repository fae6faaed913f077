/** Secrets: values that are set here, given to instances as variables, and told nobody again. */
import { Button, Group, PasswordInput, Text, Textarea, TextInput } from '@mantine/core'
import { KeySquare } from 'lucide-react'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import type { Secret } from '../../api/types.ts'
import { FormModal } from '../../components/form-modal.tsx'
import { formatTime } from '../../components/format.ts'
import { InstanceLinks } from '../../components/instance-links.tsx'
import { ListPage } from '../../components/list-page.tsx'
import { useMay } from '../../components/me.tsx'
import { tellDone } from '../../components/notice.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { useList } from '../../components/use-list.ts'
import { useFleet } from '../../live/use-fleet.ts'

export function SecretsPage() {
  const mayWrite = useMay('write')
  const { instances } = useFleet()
  const [replaced, setReplaced] = useState<string | null>(null)
  const list = useList<Secret>('secrets', { live: true })
  const havers = (name: string) => (instances ?? []).filter(({ secrets }) => secrets.includes(name)).map(({ id }) => id)
  return (
    <ListPage
      title="Secrets"
      note="Values that instances have as variables, and that nothing ever tells again."
      list={list}
      keyOf={({ name }) => name}
      make={{ label: 'Make a secret', form: close => <SetForm name={null} taken={list.items ?? []} onClose={close} onSet={list.again} /> }}
      empty={{
        icon: KeySquare,
        title: 'No secrets yet',
        text: 'A password or a token that instances need: they have it as a variable of the same name, and it stands in no answer, log or file of Berth’s.',
        command: 'berth secrets set DB_PASSWORD --from-file password.txt',
      }}
      fields={[
        { name: 'Name', cell: ({ name }) => <span className="mono">{name}</span> },
        { name: 'Instances', cell: ({ name }) => <InstanceLinks ids={havers(name)} /> },
        { name: 'Value set', cell: ({ updatedAt }) => <span className="numeric">{formatTime(updatedAt)}</span> },
        { name: 'Made', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
        {
          name: 'Actions',
          quiet: true,
          right: true,
          cell: ({ name }) =>
            mayWrite && (
              <Group gap={4} justify="flex-end" wrap="nowrap">
                <Button size="compact-xs" variant="default" aria-label={`New value of ${name}`} onClick={() => setReplaced(name)}>
                  New value
                </Button>
                <RemoveButton what={name} onRemove={() => call('DELETE', `/secrets/${part(name)}`).then(list.again)}>
                  While an instance has it, it can’t be deleted.
                </RemoveButton>
              </Group>
            ),
        },
      ]}
    >
      {replaced !== null && <SetForm name={replaced} taken={[]} onClose={() => setReplaced(null)} onSet={list.again} />}
    </ListPage>
  )
}

interface SetProps {
  /** Of the one whose value is replaced; null is a new one. */
  readonly name: string | null
  readonly taken: readonly Secret[]
  readonly onClose: () => void
  readonly onSet: () => Promise<void>
}

function SetForm({ name: known, taken, onClose, onSet }: SetProps) {
  const [name, setName] = useState(known ?? '')
  const [value, setValue] = useState('')
  const [hasLines, setHasLines] = useState(false)
  const isTaken = taken.some(secret => secret.name === name.trim())
  const submit = async () => {
    await call('PUT', `/secrets/${part(name.trim())}`, { json: { value } })
    if (known !== null) tellDone(`${known} has its new value; instances get it with their next start`)
    await onSet()
  }
  return (
    <FormModal title={known === null ? 'Make a secret' : `New value of ${known}`} action={known === null ? 'Make' : 'Set'} disabled={name.trim() === '' || isTaken || value === ''} onClose={onClose} onSubmit={submit}>
      {known === null && <TextInput label="Name" description="The variable has the same name." placeholder="DB_PASSWORD" error={isTaken ? 'There is one of that name; give that one a new value.' : null} value={name} onChange={event => setName(event.currentTarget.value)} className="mono" data-autofocus spellCheck={false} />}
      {hasLines ? (
        <Textarea label="Value" value={value} onChange={event => setValue(event.currentTarget.value)} autosize minRows={4} maxRows={12} spellCheck={false} autoComplete="off" />
      ) : (
        <PasswordInput
          label="Value"
          value={value}
          onChange={event => setValue(event.currentTarget.value)}
          autoComplete="new-password"
          spellCheck={false}
          visibilityToggleButtonProps={{ 'aria-label': 'Show the value' }}
          {...(known === null ? {} : { 'data-autofocus': true })}
        />
      )}
      <Group justify="space-between" gap="xs">
        <Text size="xs" c="dimmed">
          It is not shown again, here or anywhere.
        </Text>
        {!hasLines && (
          <Button variant="subtle" size="compact-xs" onClick={() => setHasLines(true)}>
            It has several lines
          </Button>
        )}
      </Group>
    </FormModal>
  )
}
