/** Which page an address shows. What is not the first page is loaded when it is wanted. */
import { Button } from '@mantine/core'
import { Compass } from 'lucide-react'
import { lazy, Suspense } from 'react'
import { Link, Route, Switch } from 'wouter'
import { Page } from '../components/page.tsx'
import { EmptyState, LoadingRows } from '../components/states.tsx'
import { InstancesPage } from './instances/instances-page.tsx'

const InstancePage = lazy(() => import('./detail/instance-page.tsx').then(module => ({ default: module.InstancePage })))

export function Pages() {
  return (
    <Suspense fallback={<LoadingRows />}>
      <Switch>
        <Route path="/" component={InstancesPage} />
        <Route path="/ui/instances/:id/:tab?">{({ id, tab }) => <InstancePage key={id} id={id} tab={tab ?? 'overview'} />}</Route>
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
