/** Projects: what belongs to one is not there for another. */
import { Badge, Button, Switch, TextInput } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { FolderKanban, Plus } from 'lucide-react'
import { useState } from 'react'
import { call, listAll, part } from '../../api/http.ts'
import type { Project } from '../../api/types.ts'
import { CopyText } from '../../components/copy-text.tsx'
import { DataTable } from '../../components/data-table.tsx'
import { FormModal } from '../../components/form-modal.tsx'
import { formatTime } from '../../components/format.ts'
import { useMe } from '../../components/me.tsx'
import { tellError } from '../../components/notice.tsx'
import { Page, Panel } from '../../components/page.tsx'
import { EmptyState } from '../../components/states.tsx'

export function ProjectsPage() {
  const queries = useQueryClient()
  const me = useMe()
  const [makes, setMakes] = useState(false)
  const projects = useQuery({ queryKey: ['projects'], queryFn: ({ signal }) => listAll<Project>('/projects', { signal }) })
  const again = () => queries.invalidateQueries({ queryKey: ['projects'] })
  const change = async (project: Project, guestToGuest: boolean) => {
    try {
      await call('PATCH', `/projects/${part(project.id)}`, { json: { guestToGuest } })
    } catch (error) {
      tellError(`${project.name} was not changed`, error)
    }
    await again()
  }
  return (
    <Page
      title="Projects"
      note="Instances, volumes and keys belong to one project and are not there for another."
      actions={
        <Button leftSection={<Plus size={14} />} onClick={() => setMakes(true)}>
          Make a project
        </Button>
      }
    >
      <Panel>
        <DataTable
          label="Projects"
          items={projects.data}
          error={projects.error}
          onRetry={() => void projects.refetch()}
          keyOf={({ id }) => id}
          empty={<EmptyState icon={FolderKanban} title="No projects" />}
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
      </Panel>
      {makes && <MakeForm onClose={() => setMakes(false)} onMade={again} />}
    </Page>
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
