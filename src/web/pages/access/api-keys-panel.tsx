/** API keys of the project. */
import { Badge, Button, Checkbox, Group, Select, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { KeyRound, Plus } from 'lucide-react'
import { useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { Key, Project, Whoami } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { formatTime } from '../../components/format.ts'
import { useMe } from '../../components/me.tsx'
import { Panel } from '../../components/page.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { EmptyState } from '../../components/states.tsx'
import { SecretOnce } from './secret-once.tsx'

const SCOPES: readonly Whoami['scopes'][number][] = ['read', 'write', 'exec', 'admin']
const SCOPE_WORDS = { read: 'look', write: 'change', exec: 'commands and files in instances', admin: 'keys and projects' }

export function ApiKeysPanel() {
  const queries = useQueryClient()
  const me = useMe()
  const [makes, setMakes] = useState(false)
  const [secret, setSecret] = useState<string | null>(null)
  const keys = useQuery({ queryKey: ['keys'], queryFn: ({ signal }) => listAll<Key>('/keys', { signal }) })
  const again = () => queries.invalidateQueries({ queryKey: ['keys'] })
  return (
    <Panel
      title="API keys"
      actions={
        <Button variant="default" leftSection={<Plus size={14} />} onClick={() => setMakes(true)}>
          Make a key
        </Button>
      }
    >
      <DataTable
        label="API keys"
        items={keys.data}
        error={keys.error}
        onRetry={() => void keys.refetch()}
        keyOf={({ id }) => id}
        empty={<EmptyState icon={KeyRound} title="No keys" />}
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
              <RemoveButton what={name} onRemove={() => call('DELETE', `/keys/${part(id)}`).then(again)}>
                Whoever uses it is refused from then on{id === me.keyId ? ': you too, for this session stands on it.' : '.'}
              </RemoveButton>
            ),
          },
        ]}
      />
      {makes && (
        <MakeForm
          onClose={() => setMakes(false)}
          onMade={async made => {
            setSecret(made)
            await again()
          }}
        />
      )}
      {secret !== null && <SecretOnce title="The new key" secret={secret} onClose={() => setSecret(null)} />}
    </Panel>
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
