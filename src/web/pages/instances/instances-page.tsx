/** All instances, live. */
import { Button, Group, MultiSelect, TextInput } from '@mantine/core'
import { useHotkeys, useMediaQuery } from '@mantine/hooks'
import { Boxes, Search, SearchX } from 'lucide-react'
import { useMemo, useRef, useState } from 'react'
import { Link } from 'wouter'
import type { Instance } from '../../api/types.ts'
import { useMay } from '../../components/me.tsx'
import { Page } from '../../components/page.tsx'
import { GivenPrices, usePrices } from '../../components/prices.tsx'
import { EmptyState, LoadingRows } from '../../components/states.tsx'
import { useFleet } from '../../live/use-fleet.ts'
import { BulkActions } from './bulk-actions.tsx'
import { applyFilter, useFilter } from './filter.ts'
import { InstanceGrid } from './instance-grid.tsx'

const PHASES = ['running', 'standby', 'stopped', 'failed', 'unhealthy', 'lost', 'pending', 'allocated', 'preparing', 'starting', 'stopping', 'suspending', 'restoring', 'deleting', 'preempted']

export function InstancesPage() {
  const { instances, byId, isWhole } = useFleet()
  const [filter, change] = useFilter()
  const [selection, setSelection] = useState<ReadonlySet<string>>(new Set())
  const search = useRef<HTMLInputElement>(null)
  const isNarrow = useMediaQuery('(max-width: 48em)', false, { getInitialValueInEffect: false })
  const mayWrite = useMay('write')
  useHotkeys([['/', () => search.current?.focus()]])

  const hasOrders = useMemo(() => instances?.some(({ order }) => order !== null) === true, [instances])
  const priceOf = usePrices(hasOrders)
  const rows = useMemo(() => (instances === null ? null : applyFilter(instances, filter, priceOf)), [instances, filter, priceOf])
  const selected = useMemo(() => [...selection].flatMap(id => byId.get(id) ?? []), [selection, byId])
  const selectedIds = useMemo(() => new Set(selected.map(({ id }) => id)), [selected])

  return (
    <Page title="Instances" note={instances === null ? undefined : isWhole ? summary(instances) : `${instances.length.toLocaleString()} so far`}>
      <Group mb="sm" gap="sm" mih={36}>
        {selected.length > 0 && mayWrite ? (
          <BulkActions selected={selected} onDone={() => setSelection(new Set())} />
        ) : (
          <>
            <TextInput
              ref={search}
              aria-label="Search instances"
              placeholder="Name, image, address, tag or id"
              leftSection={<Search size={15} aria-hidden />}
              value={filter.text}
              onChange={event => change({ text: event.currentTarget.value })}
              w={{ base: '100%', sm: 300 }}
            />
            <MultiSelect
              aria-label="States"
              placeholder={filter.phases.length === 0 ? 'Any state' : ''}
              data={PHASES}
              value={[...filter.phases]}
              onChange={phases => change({ phases })}
              w={{ base: '100%', sm: 'auto' }}
              miw={170}
              clearable
              clearButtonProps={{ 'aria-label': 'Any state' }}
            />
          </>
        )}
      </Group>
      <div className="panel" style={{ overflow: 'hidden' }}>
        {rows === null ? (
          <LoadingRows rows={8} />
        ) : instances?.length === 0 ? (
          <EmptyState icon={Boxes} title="No instances yet" action={mayWrite && <LaunchButton />} command="berth run -d localhost/busybox -- sleep 1000000">
            An instance is a microVM with its own kernel, disk and address, started from an OCI image.
          </EmptyState>
        ) : rows.length === 0 ? (
          <EmptyState
            icon={SearchX}
            title="Nothing fits the filter"
            action={
              <Button variant="default" onClick={() => change({ text: '', phases: [] })}>
                Show all
              </Button>
            }
          />
        ) : (
          <GivenPrices value={priceOf}>
            <InstanceGrid rows={rows} filter={filter} onSort={change} selected={selectedIds} onSelect={setSelection} isNarrow={isNarrow} />
          </GivenPrices>
        )}
      </div>
    </Page>
  )
}

function LaunchButton() {
  return (
    <Button component={Link} href="/ui/launch">
      Launch an instance
    </Button>
  )
}

function summary(instances: readonly Instance[]): string {
  const running = instances.filter(({ phase }) => phase === 'running').length
  return `${instances.length.toLocaleString()} in all, ${running.toLocaleString()} running`
}
