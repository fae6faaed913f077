/** Which lines of the audit trail are shown, as the address says it: `?kind=instance&action=instance.exec&since=24`. */
import { Autocomplete, Group, Select, TextInput } from '@mantine/core'
import { useDebouncedCallback } from '@mantine/hooks'
import { useQuery } from '@tanstack/react-query'
import { useState } from 'react'
import { useSearchParams } from 'wouter'
import { listAll } from '../../api/http.ts'
import type { Query } from '../../api/http.ts'
import type { Key } from '../../api/types.ts'
import { useMay } from '../../components/me.tsx'

const NAMES = ['kind', 'action', 'target', 'key', 'since'] as const
type Name = (typeof NAMES)[number]
export type AuditFilter = Readonly<Record<Name, string>>

const HOUR_MS = 3_600_000
const TYPING_MS = 300
const KINDS = ['instance', 'image', 'volume', 'snapshot', 'file-system', 'firewall-ruleset', 'firewall-rules', 'key', 'ssh-key', 'project', 'bid', 'reservation', 'app', 'service', 'deployment']
/** What is asked for most; any other can be written. */
const ACTIONS = ['instance.create', 'instance.delete', 'instance.exec', 'instance.copy-in', 'instance.copy-out', 'instance.start', 'instance.stop', 'instance.standby', 'instance.restore', 'instance.fork', 'instance.firewall', 'key.create', 'key.delete', 'volume.create', 'volume.delete', 'image.pull', 'bid.place', 'reservation.place']
const SPANS = [
  { value: '1', label: 'The last hour' },
  { value: '24', label: 'The last day' },
  { value: '168', label: 'The last week' },
]

export function useAuditFilter(): readonly [AuditFilter, (change: Partial<AuditFilter>) => void] {
  const [search, setSearch] = useSearchParams()
  const filter = Object.fromEntries(NAMES.map(name => [name, search.get(name) ?? ''])) as AuditFilter
  const change = (next: Partial<AuditFilter>) => setSearch(Object.entries({ ...filter, ...next }).filter(([, value]) => value !== ''), { replace: true })
  return [filter, change]
}

/** The names of keys, by their ids; none for who may not know them. */
export function useKeyNames(): ReadonlyMap<string, string> {
  const keys = useQuery({ queryKey: ['keys'], queryFn: ({ signal }) => listAll<Key>('/keys', { signal }), enabled: useMay('admin') })
  return new Map((keys.data ?? []).map(({ id, name }) => [id, name]))
}

export function isFiltered(filter: AuditFilter): boolean {
  return NAMES.some(name => filter[name] !== '')
}

export function queryOf({ since, ...words }: AuditFilter, now: number): Query {
  const hours = Number(since)
  const said = Object.entries(words).filter(([, value]) => value !== '')
  return { ...Object.fromEntries(said), ...(hours > 0 ? { from: new Date(now - hours * HOUR_MS).toISOString() } : {}) }
}

export function AuditFilters({ filter, onChange }: { readonly filter: AuditFilter; readonly onChange: (change: Partial<AuditFilter>) => void }) {
  const mayAdmin = useMay('admin')
  const keyNames = useKeyNames()
  const [typed, setTyped] = useState({ action: filter.action, target: filter.target })
  const later = useDebouncedCallback(onChange, TYPING_MS)
  const type = (change: Partial<typeof typed>) => {
    setTyped({ ...typed, ...change })
    later({ ...typed, ...change })
  }
  const width = { base: '100%', xs: 176 }
  return (
    <Group gap="sm" mb="sm">
      <TextInput aria-label="Target" placeholder="Target: name or id" w={width} value={typed.target} onChange={event => type({ target: event.currentTarget.value })} spellCheck={false} />
      <Select aria-label="Kind of target" placeholder="Any kind" w={width} data={KINDS} value={filter.kind === '' ? null : filter.kind} onChange={kind => onChange({ kind: kind ?? '' })} clearable clearButtonProps={{ 'aria-label': 'Any kind' }} />
      <Autocomplete aria-label="Action" placeholder="Any action" w={width} data={ACTIONS} value={typed.action} onChange={action => type({ action })} spellCheck={false} />
      {mayAdmin && (
        <Select
          aria-label="Key"
          placeholder="Any key"
          w={width}
          data={[...keyNames].map(([value, label]) => ({ value, label }))}
          value={filter.key === '' ? null : filter.key}
          onChange={key => onChange({ key: key ?? '' })}
          clearable
          clearButtonProps={{ 'aria-label': 'Any key' }}
        />
      )}
      <Select aria-label="Since" placeholder="Any time" w={width} data={SPANS} value={filter.since === '' ? null : filter.since} onChange={since => onChange({ since: since ?? '' })} clearable clearButtonProps={{ 'aria-label': 'Any time' }} />
    </Group>
  )
}
