/** Shared file systems that are mounted before the application starts. */
import { useQuery } from '@tanstack/react-query'
import { listAll } from '../../api/http.ts'
import type { FileSystem } from '../../api/types.ts'
import { MountFields } from './mount-fields.tsx'
import type { Wish } from './wish.ts'

type Share = Wish['fileSystems'][number]
const FIRST = { source: '', path: '/srv/shared' }

export function ShareFields({ shares, onChange }: { readonly shares: readonly Share[]; readonly onChange: (shares: readonly Share[]) => void }) {
  const known = useQuery({ queryKey: ['file-systems'], queryFn: ({ signal }) => listAll<FileSystem>('/file-systems', { signal }) })
  return (
    <MountFields
      what="File system"
      page="/ui/file-systems"
      names={(known.data ?? []).map(({ name }) => name)}
      mounts={shares.map(({ fileSystem, path }) => ({ source: fileSystem, path }))}
      first={FIRST}
      onChange={rows => onChange(rows.map(({ source, path }) => ({ fileSystem: source, path })))}
    />
  )
}
