/** Volumes that are there from the first start on. */
import { Select } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { listAll } from '../../api/http.ts'
import type { Volume } from '../../api/types.ts'
import { MountFields } from './mount-fields.tsx'
import type { MountRow } from './mount-fields.tsx'
import type { Wish } from './wish.ts'

type Mount = Wish['volumes'][number]
type Row = MountRow & Pick<Mount, 'mode'>
const FIRST: Row = { source: '', path: '/data', mode: 'rw' }
const MODES: readonly Mount['mode'][] = ['rw', 'ro', 'overlay']

export function VolumeFields({ volumes, onChange }: { readonly volumes: readonly Mount[]; readonly onChange: (volumes: readonly Mount[]) => void }) {
  const known = useQuery({ queryKey: ['volumes'], queryFn: ({ signal }) => listAll<Volume>('/volumes', { signal }) })
  return (
    <MountFields<Row>
      what="Volume"
      page="/ui/volumes"
      names={(known.data ?? []).map(({ name }) => name)}
      mounts={volumes.map(({ volume, ...mount }) => ({ source: volume, ...mount }))}
      first={FIRST}
      onChange={rows => onChange(rows.map(({ source, ...mount }) => ({ volume: source, ...mount })))}
    >
      {({ mode }, change) => (
        <Select aria-label="Mode" size="xs" w={92} data={[...MODES]} value={mode} onChange={value => change({ mode: MODES.find(each => each === value) ?? mode })} allowDeselect={false} />
      )}
    </MountFields>
  )
}
