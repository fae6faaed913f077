/** One instance: what it is, what can be done to it, and the tabs that look into it. */
import { Alert, Button, Group, Tabs, Title } from '@mantine/core'
import { useQuery } from '@tanstack/react-query'
import { Camera, ChartLine, FileText, Folder, HardDrive, History, Info, Network, SquareTerminal, TriangleAlert, Unplug } from 'lucide-react'
import { lazy, Suspense } from 'react'
import { Link, useLocation } from 'wouter'
import { ApiError, call, part } from '../../api/http.ts'
import type { Instance, InstanceDetail } from '../../api/types.ts'
import { shortImage } from '../../components/format.ts'
import { Link as TextLink } from '../../components/link.tsx'
import { useMay } from '../../components/me.tsx'
import { Page } from '../../components/page.tsx'
import { PhaseBadge } from '../../components/phase.tsx'
import { PricesProvider } from '../../components/prices.tsx'
import { ScrollingTabs } from '../../components/scrolling-tabs.tsx'
import { EmptyState, ErrorState, LoadingRows } from '../../components/states.tsx'
import { useInstance } from '../../live/use-fleet.ts'
import { LifecycleButtons } from './lifecycle-buttons.tsx'
import { OverviewTab } from './overview-tab.tsx'

const TerminalTab = lazy(() => import('./terminal-tab.tsx').then(module => ({ default: module.TerminalTab })))
const LogsTab = lazy(() => import('./logs-tab.tsx').then(module => ({ default: module.LogsTab })))
const FilesTab = lazy(() => import('./files-tab.tsx').then(module => ({ default: module.FilesTab })))
const MetricsTab = lazy(() => import('./metrics-tab.tsx').then(module => ({ default: module.MetricsTab })))
const StorageTab = lazy(() => import('./storage-tab.tsx').then(module => ({ default: module.StorageTab })))
const NetworkTab = lazy(() => import('./network-tab.tsx').then(module => ({ default: module.NetworkTab })))
const SnapshotsTab = lazy(() => import('./snapshots-tab.tsx').then(module => ({ default: module.SnapshotsTab })))
const EventsTab = lazy(() => import('./events-tab.tsx').then(module => ({ default: module.EventsTab })))

const TABS = [
  { value: 'overview', name: 'Overview', icon: Info },
  { value: 'terminal', name: 'Terminal', icon: SquareTerminal, exec: true },
  { value: 'logs', name: 'Logs', icon: FileText },
  { value: 'files', name: 'Files', icon: Folder, exec: true },
  { value: 'metrics', name: 'Metrics', icon: ChartLine },
  { value: 'volumes', name: 'Volumes', icon: HardDrive },
  { value: 'network', name: 'Network', icon: Network },
  { value: 'snapshots', name: 'Snapshots', icon: Camera },
  { value: 'events', name: 'Events', icon: History },
] as const

export function InstancePage({ id, tab }: { readonly id: string; readonly tab: string }) {
  const known = useInstance(id)
  // The live record says when the detail is old.
  const version = known === undefined ? 'gone' : `${known.phase} ${known.phaseSince} ${known.generation}`
  const detail = useQuery({
    queryKey: ['instance', id, version],
    queryFn: ({ signal }) => call<InstanceDetail>('GET', `/instances/${part(id)}`, { signal }),
    // Of another instance nothing is shown, not even for a moment.
    placeholderData: before => (before?.id === id ? before : undefined),
  })

  if (detail.data === undefined) {
    if (detail.error instanceof ApiError && detail.error.status === 404) return <GonePage id={id} />
    return <Page title="Instance">{detail.error === null ? <LoadingRows /> : <ErrorState error={detail.error} onRetry={() => void detail.refetch()} />}</Page>
  }
  const instance: InstanceDetail = { ...detail.data, ...known }
  return <Living instance={instance} tab={tab} />
}

function Living({ instance, tab }: { readonly instance: InstanceDetail; readonly tab: string }) {
  const [, navigate] = useLocation()
  const mayExec = useMay('exec')
  const tabs = TABS.filter(each => mayExec || !('exec' in each))
  const shown = tabs.some(({ value }) => value === tab) ? tab : 'overview'
  const { id, name, phase, image } = instance
  return (
    <Page
      title={name}
      heading={
        <Group gap="md" align="center">
          <Title order={1} style={{ overflowWrap: 'anywhere' }}>
            {name}
          </Title>
          <span data-testid="phase">
            <PhaseBadge phase={phase} />
          </span>
        </Group>
      }
      note={<span title={image}>{shortImage(image)}</span>}
      actions={<LifecycleButtons instance={instance} />}
    >
      <Problem instance={instance} />
      <Tabs value={shown} onChange={value => value !== null && navigate(`/ui/instances/${id}${value === 'overview' ? '' : `/${value}`}`)} keepMounted={false}>
        <ScrollingTabs chosen={shown} tabs={tabs.map(({ value, name: label, icon: Icon }) => ({ value, name: label, icon: <Icon size={15} aria-hidden /> }))} />
        <Suspense fallback={<LoadingRows />}>
          <Tabs.Panel value="overview">
            <PricesProvider hasOrders={instance.order !== null}>
              <OverviewTab instance={instance} />
            </PricesProvider>
          </Tabs.Panel>
          <Tabs.Panel value="terminal">
            <TerminalTab instance={instance} />
          </Tabs.Panel>
          <Tabs.Panel value="logs">
            <LogsTab instance={instance} />
          </Tabs.Panel>
          <Tabs.Panel value="files">
            <FilesTab instance={instance} />
          </Tabs.Panel>
          <Tabs.Panel value="metrics">
            <MetricsTab instance={instance} />
          </Tabs.Panel>
          <Tabs.Panel value="volumes">
            <StorageTab instance={instance} />
          </Tabs.Panel>
          <Tabs.Panel value="network">
            <NetworkTab instance={instance} />
          </Tabs.Panel>
          <Tabs.Panel value="snapshots">
            <SnapshotsTab instance={instance} />
          </Tabs.Panel>
          <Tabs.Panel value="events">
            <EventsTab instance={instance} />
          </Tabs.Panel>
        </Suspense>
      </Tabs>
    </Page>
  )
}

/** Why it is where nobody wants it to be. */
function Problem({ instance }: { readonly instance: Instance }) {
  const { phase, reason, errorCode } = instance
  if (phase !== 'failed' && phase !== 'lost' && phase !== 'unhealthy') return null
  const title = errorCode === 'image_failed' || errorCode === 'image_not_found' ? 'Its image could not be had' : `The instance is ${phase}`
  return (
    <Alert color="red" variant="light" mb="md" icon={<TriangleAlert size={17} />} title={title} role="alert">
      {reason ?? 'There is no reason on record; the log of the VM may tell more.'}
      {errorCode?.startsWith('image') === true && (
        <>
          {' '}
          See <TextLink inText to="/ui/images">the images</TextLink>.
        </>
      )}
    </Alert>
  )
}

function GonePage({ id }: { readonly id: string }) {
  return (
    <Page title="Instance">
      <div className="panel">
        <EmptyState
          icon={Unplug}
          title="There is no such instance"
          action={
            <Button component={Link} href="/" variant="default">
              To the instances
            </Button>
          }
        >
          {id} was deleted, or belongs to another project.
        </EmptyState>
      </div>
    </Page>
  )
}
