/** SSH keys of the project: instances that name them can be entered. */
import { Textarea, TextInput } from '@mantine/core'
import { SquareTerminal } from 'lucide-react'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import type { SshKey } from '../../api/types.ts'
import { CopyIcon } from '../../components/copy-text.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { formatTime } from '../../components/format.ts'
import { ListPanel } from '../../components/list-page.tsx'
import { useMay } from '../../components/me.tsx'
import { RemoveButton } from '../../components/remove-button.tsx'
import { useList } from '../../components/use-list.ts'
import { SecretOnce } from './secret-once.tsx'

export function SshKeysPanel() {
  const mayWrite = useMay('write')
  const [secret, setSecret] = useState<string | null>(null)
  const list = useList<SshKey>('ssh-keys')
  const added = async (privateKey: string | null) => {
    setSecret(privateKey)
    await list.again()
  }
  return (
    <ListPanel
      title="SSH keys"
      list={list}
      keyOf={({ id }) => id}
      make={{ label: 'Add an SSH key', form: close => <AddForm onClose={close} onAdded={added} /> }}
      empty={{ icon: SquareTerminal, title: 'No SSH keys yet', text: 'Instances that are launched with one can be entered over SSH.', command: 'berth ssh-keys add laptop ~/.ssh/id_ed25519.pub' }}
      fields={[
        { name: 'Name', cell: ({ name }) => name },
        { name: 'Public key', cell: ({ publicKey }) => <PublicKey text={publicKey} /> },
        { name: 'Made', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
        {
          name: 'Actions',
          quiet: true,
          right: true,
          cell: ({ id, name }) =>
            mayWrite && (
              <RemoveButton what={name} onRemove={() => call('DELETE', `/ssh-keys/${part(id)}`).then(list.again)}>
                Instances that have it keep it; new ones can't name it any more.
              </RemoveButton>
            ),
        },
      ]}
    >
      {secret !== null && <SecretOnce title="The private key" secret={secret} onClose={() => setSecret(null)} />}
    </ListPanel>
  )
}

function PublicKey({ text }: { readonly text: string }) {
  return (
    <span style={{ display: 'flex', alignItems: 'center', gap: 4 }}>
      <span className="mono truncate" style={{ maxWidth: 380 }}>
        {text}
      </span>
      <CopyIcon text={text} label="Copy the public key" />
    </span>
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
