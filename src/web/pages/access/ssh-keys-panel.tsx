/** SSH keys of the project: instances that name them can be entered. */
import { Button, Textarea, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Plus, SquareTerminal } from 'lucide-react'
import { useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { SshKey } from '../../api/types.ts'
import { CopyIcon } from '../../components/copy-text.tsx'
import { DataTable } from '../../components/data-table.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { formatTime } from '../../components/format.ts'
import { useMay } from '../../components/me.tsx'
import { Panel } from '../../components/page.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { EmptyState } from '../../components/states.tsx'
import { SecretOnce } from './secret-once.tsx'

export function SshKeysPanel() {
  const queries = useQueryClient()
  const mayWrite = useMay('write')
  const [adds, setAdds] = useState(false)
  const [secret, setSecret] = useState<string | null>(null)
  const keys = useQuery({ queryKey: ['ssh-keys'], queryFn: ({ signal }) => listAll<SshKey>('/ssh-keys', { signal }) })
  const again = () => queries.invalidateQueries({ queryKey: ['ssh-keys'] })
  return (
    <Panel
      title="SSH keys"
      actions={
        mayWrite && (
          <Button variant="default" leftSection={<Plus size={14} />} onClick={() => setAdds(true)}>
            Add an SSH key
          </Button>
        )
      }
    >
      <DataTable
        label="SSH keys"
        items={keys.data}
        error={keys.error}
        onRetry={() => void keys.refetch()}
        keyOf={({ id }) => id}
        empty={
          <EmptyState icon={SquareTerminal} title="No SSH keys yet">
            Instances that are launched with one can be entered over SSH.
          </EmptyState>
        }
        fields={[
          { name: 'Name', cell: ({ name }) => name },
          {
            name: 'Public key',
            cell: ({ publicKey }) => (
              <span style={{ display: 'flex', alignItems: 'center', gap: 4 }}>
                <span className="mono truncate" style={{ maxWidth: 380 }}>
                  {publicKey}
                </span>
                <CopyIcon text={publicKey} label="Copy the public key" />
              </span>
            ),
          },
          { name: 'Made', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
          {
            name: 'Actions',
            quiet: true,
            right: true,
            cell: ({ id, name }) =>
              mayWrite && (
                <RemoveButton what={name} onRemove={() => call('DELETE', `/ssh-keys/${part(id)}`).then(again)}>
                  Instances that have it keep it; new ones can't name it any more.
                </RemoveButton>
              ),
          },
        ]}
      />
      {adds && (
        <AddForm
          onClose={() => setAdds(false)}
          onAdded={async privateKey => {
            setSecret(privateKey)
            await again()
          }}
        />
      )}
      {secret !== null && <SecretOnce title="The private key" secret={secret} onClose={() => setSecret(null)} />}
    </Panel>
  )
}

function AddForm({ onClose, onAdded }: { readonly onClose: () => void; readonly onAdded: (privateKey: string | null) => Promise<void> }) {
  const [name, setName] = useState('')
  const [publicKey, setPublicKey] = useState('')
  const submit = async () => {
    const json = { name: name.trim(), ...(publicKey.trim() === '' ? {} : { publicKey: publicKey.trim() }) }
    const { privateKey } = await call<{ privateKey: string | null }>('POST', '/ssh-keys', { json })
    await onAdded(privateKey)
  }
  return (
    <FormModal title="Add an SSH key" action="Add" disabled={name.trim() === ''} onClose={onClose} onSubmit={submit}>
      <TextInput label="Name" value={name} onChange={event => setName(event.currentTarget.value)} data-autofocus spellCheck={false} />
      <Textarea label="Public key" description="One line as ssh-keygen writes it. Empty: a pair is made." placeholder="ssh-ed25519 AAAA…" autosize minRows={2} value={publicKey} onChange={event => setPublicKey(event.currentTarget.value)} spellCheck={false} />
    </FormModal>
  )
}
