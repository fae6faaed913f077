/** Which page an address shows. What is not the first page is loaded when it is wanted. */
import { Button } from '@mantine/core'
import { Compass } from 'lucide-react'
import { lazy, Suspense } from 'react'
import { Link, Route, Switch } from 'wouter'
import { Page } from '../components/page.tsx'
import { EmptyState, LoadingRows } from '../components/states.tsx'
import { InstancesPage } from './instances/instances-page.tsx'

const LaunchPage = lazy(() => import('./launch/launch-page.tsx').then(module => ({ default: module.LaunchPage })))
const InstancePage = lazy(() => import('./detail/instance-page.tsx').then(module => ({ default: module.InstancePage })))
const ImagesPage = lazy(() => import('./images/images-page.tsx').then(module => ({ default: module.ImagesPage })))
const VolumesPage = lazy(() => import('./volumes/volumes-page.tsx').then(module => ({ default: module.VolumesPage })))
const FileSystemsPage = lazy(() => import('./file-systems/file-systems-page.tsx').then(module => ({ default: module.FileSystemsPage })))
const SecretsPage = lazy(() => import('./secrets/secrets-page.tsx').then(module => ({ default: module.SecretsPage })))
const FirewallsPage = lazy(() => import('./firewalls/firewalls-page.tsx').then(module => ({ default: module.FirewallsPage })))
const ActivityPage = lazy(() => import('./activity/activity-page.tsx').then(module => ({ default: module.ActivityPage })))
const HostPage = lazy(() => import('./machine/host-page.tsx').then(module => ({ default: module.HostPage })))
const MarketPage = lazy(() => import('./market/market-page.tsx').then(module => ({ default: module.MarketPage })))
const KeysPage = lazy(() => import('./access/keys-page.tsx').then(module => ({ default: module.KeysPage })))
const ProjectsPage = lazy(() => import('./access/projects-page.tsx').then(module => ({ default: module.ProjectsPage })))

export function Pages() {
  return (
    <Suspense fallback={<LoadingRows />}>
      <Switch>
        <Route path="/" component={InstancesPage} />
        <Route path="/ui/launch" component={LaunchPage} />
        <Route path="/ui/instances/:id/:tab?">{({ id, tab }) => <InstancePage key={id} id={id} tab={tab ?? 'overview'} />}</Route>
        <Route path="/ui/images" component={ImagesPage} />
        <Route path="/ui/volumes" component={VolumesPage} />
        <Route path="/ui/file-systems" component={FileSystemsPage} />
        <Route path="/ui/firewalls" component={FirewallsPage} />
        <Route path="/ui/secrets" component={SecretsPage} />
        <Route path="/ui/activity/:tab?">{({ tab }) => <ActivityPage tab={tab ?? 'events'} />}</Route>
        <Route path="/ui/host" component={HostPage} />
        <Route path="/ui/market/:tab?">{({ tab }) => <MarketPage tab={tab ?? 'supply'} />}</Route>
        <Route path="/ui/keys" component={KeysPage} />
        <Route path="/ui/projects" component={ProjectsPage} />
        <Route component={NotFoundPage} />
      </Switch>
    </Suspense>
  )
}

function NotFoundPage() {
  return (
    <Page title="Not found">
      <div className="panel">
        <EmptyState
          icon={Compass}
          title="There is no such page"
          action={
            <Button component={Link} href="/" variant="default">
              To the instances
            </Button>
          }
        />
      </div>
    </Page>
  )
}
