/** API keys of the project. */
import { Badge, Checkbox, Group, Select, TextInput } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { KeyRound } from 'lucide-react'
import { useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { Key, Project, Whoami } from '../../api/types.ts'
import { FormModal } from '../../components/form-modal.tsx'
import { formatTime } from '../../components/format.ts'
import { ListPanel } from '../../components/list-page.tsx'
import { useMe } from '../../components/me.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { useList } from '../../components/use-list.ts'
import { SecretOnce } from './secret-once.tsx'

const SCOPES: readonly Whoami['scopes'][number][] = ['read', 'write', 'exec', 'admin']
const SCOPE_WORDS = { read: 'look', write: 'change', exec: 'commands and files in instances', admin: 'keys and projects' }

export function ApiKeysPanel() {
  const me = useMe()
  const [secret, setSecret] = useState<string | null>(null)
  const list = useList<Key>('keys')
  const made = async (text: string) => {
    setSecret(text)
    await list.again()
  }
  return (
    <ListPanel
      title="API keys"
      list={list}
      keyOf={({ id }) => id}
      make={{ label: 'Make a key', scope: 'admin', form: close => <MakeForm onClose={close} onMade={made} /> }}
      empty={{ icon: KeyRound, title: 'No keys', text: 'Whoever drives Berth does it with a key, and may what the key may.', command: 'berth keys create ci --scopes read,write' }}
      fields={[
        {
          name: 'Name',
          cell: ({ id, name }) => (
            <>
              {name} {id === me.keyId && <Badge size="xs" variant="default">this session</Badge>}
            </>
          ),
        },
        { name: 'May', cell: ({ scopes }) => scopes.join(', ') },
        { name: 'Made', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
        { name: 'Last used', cell: ({ lastUsedAt }) => <span className="numeric">{lastUsedAt === null ? 'never' : formatTime(lastUsedAt)}</span> },
        { name: 'Expires', cell: ({ expiresAt }) => <span className="numeric">{expiresAt === null ? 'never' : formatTime(expiresAt)}</span> },
        {
          name: 'Actions',
          quiet: true,
          right: true,
          cell: ({ id, name }) => (
            <RemoveButton what={name} onRemove={() => call('DELETE', `/keys/${part(id)}`).then(list.again)}>
              Whoever uses it is refused from then on{id === me.keyId ? ': you too, for this session stands on it.' : '.'}
            </RemoveButton>
          ),
        },
      ]}
    >
      {secret !== null && <SecretOnce title="The new key" secret={secret} onClose={() => setSecret(null)} />}
    </ListPanel>
  )
}

function MakeForm({ onClose, onMade }: { readonly onClose: () => void; readonly onMade: (secret: string) => Promise<void> }) {
  const [name, setName] = useState('')
  const [scopes, setScopes] = useState<string[]>(['read', 'write', 'exec'])
  const [projectId, setProjectId] = useState<string | null>(null)
  const projects = useQuery({ queryKey: ['projects'], queryFn: ({ signal }) => listAll<Project>('/projects', { signal }) })
  const submit = async () => {
    const { secret } = await call<{ secret: string }>('POST', '/keys', { json: { name: name.trim(), scopes, ...(projectId === null ? {} : { projectId }) } })
    await onMade(secret)
  }
  return (
    <FormModal title="Make a key" action="Make" disabled={name.trim() === '' || scopes.length === 0} onClose={onClose} onSubmit={submit}>
      <TextInput label="Name" value={name} onChange={event => setName(event.currentTarget.value)} data-autofocus spellCheck={false} />
      <Checkbox.Group label="May" value={scopes} onChange={setScopes}>
        <Group gap="md" mt={6}>
          {SCOPES.map(scope => (
            <Checkbox key={scope} value={scope} size="xs" label={`${scope}: ${SCOPE_WORDS[scope]}`} />
          ))}
        </Group>
      </Checkbox.Group>
      {(projects.data?.length ?? 0) > 1 && (
        <Select label="Project" placeholder="This one" data={(projects.data ?? []).map(({ id, name: label }) => ({ value: id, label }))} value={projectId} onChange={setProjectId} />
      )}
    </FormModal>
  )
}
