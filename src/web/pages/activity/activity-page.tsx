/** What happened: to instances as it happens, and who asked for what. */
import { Tabs } from '@mantine/core'
import { useLocation } from 'wouter'
import { Page } from '../../components/page.tsx'
import { AuditTab } from './audit-tab.tsx'
import { EventsTab } from './events-tab.tsx'

export function ActivityPage({ tab }: { readonly tab: string }) {
  const [, navigate] = useLocation()
  return (
    <Page title="Activity" note="What happened to instances, and who asked for what.">
      <Tabs value={tab === 'audit' ? 'audit' : 'events'} onChange={value => navigate(value === 'audit' ? '/ui/activity/audit' : '/ui/activity')} keepMounted={false}>
        <Tabs.List mb="md">
          <Tabs.Tab value="events">Events</Tabs.Tab>
          <Tabs.Tab value="audit">Audit</Tabs.Tab>
        </Tabs.List>
        <Tabs.Panel value="events">
          <EventsTab />
        </Tabs.Panel>
        <Tabs.Panel value="audit">
          <AuditTab />
        </Tabs.Panel>
      </Tabs>
    </Page>
  )
}
