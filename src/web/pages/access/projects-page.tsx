/** Projects: who has which instances, and whether these reach each other. */
import { Badge, Switch, TextInput } from '@mantine/core'
import { FolderKanban } from 'lucide-react'
import { useState } from 'react'
import { call, part } from '../../api/http.ts'
import type { Project } from '../../api/types.ts'
import { CopyText } from '../../components/copy-text.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { formatTime } from '../../components/format.ts'
import { ListPage } from '../../components/list-page.tsx'
import { useMe } from '../../components/me.tsx'
import { tellError } from '../../components/notice.tsx'
import { useList } from '../../components/use-list.ts'

export function ProjectsPage() {
  const me = useMe()
  const list = useList<Project>('projects')
  const change = async (project: Project, guestToGuest: boolean) => {
    try {
      await call('PATCH', `/projects/${part(project.id)}`, { json: { guestToGuest } })
    } catch (error) {
      tellError(`${project.name} was not changed`, error)
    }
    await list.again()
  }
  return (
    <ListPage
      title="Projects"
      note="Instances, volumes and keys belong to one project and are not there for another."
      list={list}
      keyOf={({ id }) => id}
      make={{ label: 'Make a project', scope: 'admin', form: close => <MakeForm onClose={close} onMade={list.again} /> }}
      empty={{ icon: FolderKanban, title: 'No projects', text: 'A project holds instances, volumes and keys of its own.', command: 'berth projects create staging' }}
      fields={[
        {
          name: 'Name',
          cell: ({ id, name }) => (
            <>
              {name} {id === me.projectId && <Badge size="xs" variant="default">this session</Badge>}
            </>
          ),
        },
        { name: 'Id', cell: ({ id }) => <CopyText text={id} label="Copy the id" /> },
        {
          name: 'Guests reach each other',
          cell: project => (
            <Switch size="xs" aria-label={`Guests of ${project.name} reach each other`} checked={project.guestToGuest} onChange={event => void change(project, event.currentTarget.checked)} />
          ),
        },
        { name: 'Made', cell: ({ createdAt }) => <span className="numeric">{formatTime(createdAt)}</span> },
      ]}
    />
  )
}

function MakeForm({ onClose, onMade }: { readonly onClose: () => void; readonly onMade: () => Promise<void> }) {
  const [name, setName] = useState('')
  const submit = async () => {
    await call('POST', '/projects', { json: { name: name.trim() } })
    await onMade()
  }
  return (
    <FormModal title="Make a project" action="Make" disabled={name.trim() === ''} onClose={onClose} onSubmit={submit}>
      <TextInput label="Name" description="Then make a key of it: whoever has that key works in it." value={name} onChange={event => setName(event.currentTarget.value)} data-autofocus spellCheck={false} />
    </FormModal>
  )
}
