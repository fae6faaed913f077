/** The machine: what it has, who holds it, its templates, and what an operator should read. */
import { Alert, Progress, SimpleGrid, Stack, Text } from '@mantine/core'
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { Cpu, TriangleAlert } from 'lucide-react'
import { useCallback } from 'react'
import { call } from '../../api/http.ts'
import type { Device, Host, Page as Items, Resources } from '../../api/types.ts'
import { DataTable } from '../../components/data-table.tsx'
import { Facts } from '../../components/facts.tsx'
import { formatBytes } from '../../components/format.ts'
import { Link } from '../../components/link.tsx'
import { Page, Panel } from '../../components/page.tsx'
import { Status } from '../../components/phase.tsx'
import { EmptyState, ErrorState, LoadingRows } from '../../components/states.tsx'
import { useEvents } from '../../live/use-fleet.ts'

export function HostPage() {
  const queries = useQueryClient()
  const host = useQuery({ queryKey: ['host'], queryFn: ({ signal }) => call<Host>('GET', '/host', { signal }), staleTime: 0 })
  const resources = useQuery({ queryKey: ['resources'], queryFn: ({ signal }) => call<Resources>('GET', '/resources', { signal }), staleTime: 0 })
  const devices = useQuery({ queryKey: ['devices'], queryFn: ({ signal }) => call<Items<Device>>('GET', '/devices', { signal }) })
  // What is reserved changes with the instances.
  useEvents(
    useCallback(() => {
      void queries.invalidateQueries({ queryKey: ['resources'] })
      void queries.invalidateQueries({ queryKey: ['host'] })
    }, [queries]),
  )
  if (host.data === undefined) return <Page title="Host">{host.error === null ? <LoadingRows /> : <ErrorState error={host.error} onRetry={() => void host.refetch()} />}</Page>
  const { accelerator, acceleratorReason, hypervisor, os, arch, network, templates, warnings, diskUse } = host.data
  return (
    <Page title="Host" note={`${os}, ${arch}`}>
      <Stack gap="md">
        {warnings.map(sentence => (
          <Alert key={sentence} color="yellow" variant="light" icon={<TriangleAlert size={17} />}>
            {sentence}
          </Alert>
        ))}
        {resources.data !== undefined && <Capacity resources={resources.data} />}
        <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
          <Panel title="Machine">
            <Facts
              facts={[
                ['Hypervisor', hypervisor],
                ['Accelerator', `${accelerator}: ${acceleratorReason}`],
                ['CPUs', host.data.cpus],
                ['Memory', formatBytes(host.data.memoryBytes)],
                ['Disk', `${formatBytes(host.data.diskFreeBytes)} free of ${formatBytes(host.data.diskBytes)}`],
                ['Images', `${formatBytes(diskUse.imagesBytes)}, and ${formatBytes(diskUse.imageCacheBytes)} kept layers`],
                ['Volumes', formatBytes(diskUse.volumesBytes)],
                ['Instances', `${formatBytes(diskUse.overlaysBytes)} written`],
                ['Network', `${network.mode}, ${network.subnet}`],
                ['Id', <span key="id" className="mono">{host.data.hostId}</span>],
              ]}
            />
          </Panel>
          <Stack gap="md">
            <Panel title="Templates" note="sizes that start from a guest which has booted already">
              {templates.length === 0 ? (
                <Text size="sm" c="dimmed" p="md">
                  None: instances boot from nothing here.
                </Text>
              ) : (
                <Facts
                  facts={templates.map(({ vcpus, memoryBytes, state, ofImage, waiting }) => [
                    `${vcpus} vCPU, ${formatBytes(memoryBytes)}${ofImage ? ', with an image' : ''}`,
                    <span key={state}>
                      <Status tone={state === 'ready' ? 'good' : 'busy'} word={state} />
                      {waiting > 0 && ` · ${waiting} in the pool wait for whom they will be`}
                    </span>,
                  ])}
                />
              )}
            </Panel>
            {(devices.data?.items.length ?? 0) > 0 && (
              <Panel title="Devices">
                <Facts facts={(devices.data?.items ?? []).map(({ pciAddress, vendorName, deviceName, kind }) => [pciAddress, `${kind}: ${vendorName ?? ''} ${deviceName ?? ''}`])} />
              </Panel>
            )}
          </Stack>
        </SimpleGrid>
        <Panel title="Reservations" note="what running and standing-by instances hold">
          <DataTable
            label="Reservations"
            items={resources.data?.allocations}
            error={resources.error}
            onRetry={() => void resources.refetch()}
            keyOf={({ instanceId }) => instanceId}
            empty={
              <EmptyState icon={Cpu} title="Nothing is reserved" command="berth host">
                Each instance of your project that is placed here holds its size.
              </EmptyState>
            }
            fields={[
              { name: 'Instance', cell: ({ instanceId, name }) => <Link to={`/ui/instances/${instanceId}`}>{name}</Link> },
              { name: 'vCPUs', cell: ({ vcpus }) => <span className="numeric">{vcpus}</span>, right: true },
              { name: 'Memory', cell: ({ memoryBytes }) => <span className="numeric">{formatBytes(memoryBytes)}</span>, right: true },
              { name: 'Disk', cell: ({ diskBytes }) => <span className="numeric">{formatBytes(diskBytes)}</span>, right: true },
            ]}
          />
        </Panel>
      </Stack>
    </Page>
  )
}

type Line = Resources['lines'][number]
const NAMES: Readonly<Record<Line['kind'], string>> = { cpu: 'CPU', memory: 'Memory', disk: 'Disk', network: 'Network' }

function Capacity({ resources }: { readonly resources: Resources }) {
  const lines = resources.lines.filter(({ limit }) => limit > 0)
  return (
    <SimpleGrid cols={{ base: 1, xs: 2, lg: lines.length }} spacing="md">
      {lines.map(line => {
        const { kind, allocated, limit, overcommit } = line
        const share = limit === 0 ? 0 : allocated / limit
        return (
          <Panel key={kind}>
            <Stack gap={6} p="md">
              <Text size="sm" c="dimmed">
                {NAMES[kind]}
              </Text>
              <Text fw={600} fz="lg" className="numeric">
                {figure(line, allocated)}{' '}
                <Text span size="sm" c="dimmed" fw={400}>
                  of {figure(line, limit)}
                </Text>
              </Text>
              <Progress value={share * 100} size="sm" color={share > 0.9 ? 'red' : 'harbour'} aria-label={`${NAMES[kind]} reserved`} />
              <Text size="xs" c="dimmed">
                {overcommit === 1 ? 'not overcommitted' : `${overcommit} times what the machine has`}
              </Text>
            </Stack>
          </Panel>
        )
      })}
    </SimpleGrid>
  )
}

function figure({ kind }: Line, value: number): string {
  if (kind === 'cpu') return `${Number(value.toFixed(2))} vCPU`
  return kind === 'network' ? `${formatBytes(value)}/s` : formatBytes(value)
}
