/** Shared file systems that the instance has mounted. */
import { useQuery } from '@tanstack/react-query'
import { FolderTree } from 'lucide-react'
import { listAll } from '../../api/http.ts'
import type { FileSystem, Instance } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { formatBytes } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { Panel } from '../../components/page.tsx'
import { EmptyState } from '../../components/states.tsx'

export function SharesPanel({ instance }: { readonly instance: Instance }) {
  const known = useQuery({ queryKey: ['file-systems'], queryFn: ({ signal }) => listAll<FileSystem>('/file-systems', { signal }), enabled: instance.fileSystems.length > 0 })
  const find = (id: string) => known.data?.find(each => each.id === id)
  return (
    <Panel title="Shared file systems">
      <DataTable
        label="Shared file systems"
        items={instance.fileSystems}
        error={null}
        onRetry={() => void known.refetch()}
        keyOf={({ fileSystemId }) => fileSystemId}
        empty={
          <EmptyState icon={FolderTree} title="No file system is mounted">
            Files that several instances share are mounted when an instance is launched.
          </EmptyState>
        }
        fields={[
          { name: 'File system', cell: ({ fileSystemId }) => <Link to="/ui/file-systems">{find(fileSystemId)?.name ?? fileSystemId}</Link> },
          { name: 'Path', cell: ({ path }) => <span className="mono">{path}</span> },
          {
            name: 'Used',
            cell: ({ fileSystemId }) => {
              const found = find(fileSystemId)
              return found === undefined ? '' : <span className="numeric">{`${formatBytes(found.usedBytes)} of ${formatBytes(found.sizeBytes)}`}</span>
            },
          },
        ]}
      />
    </Panel>
  )
}
