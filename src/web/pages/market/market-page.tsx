/** The market: what is to be had and for how much, bids and reservations, prices over time, and what instances cost. */
import { Tabs } from '@mantine/core'
import { useLocation } from 'wouter'
import { Page } from '../../components/page.tsx'
import { ScrollingTabs } from '../../components/scrolling-tabs.tsx'
import { CostsTab } from './costs-tab.tsx'
import { OrdersTab } from './orders-tab.tsx'
import { PricesTab } from './prices-tab.tsx'
import { SupplyTab } from './supply-tab.tsx'

const TABS = [
  { value: 'supply', name: 'Supply' },
  { value: 'orders', name: 'Bids and reservations' },
  { value: 'prices', name: 'Prices' },
  { value: 'costs', name: 'Costs' },
]

export function MarketPage({ tab }: { readonly tab: string }) {
  const [, navigate] = useLocation()
  const shown = TABS.some(({ value }) => value === tab) ? tab : 'supply'
  return (
    <Page title="Market" note="Capacity by auction, by reservation, or on demand. Prices are of one instance for one hour.">
      <Tabs value={shown} onChange={value => navigate(value === 'supply' || value === null ? '/ui/market' : `/ui/market/${value}`)} keepMounted={false}>
        <ScrollingTabs chosen={shown} tabs={TABS} />
        <Tabs.Panel value="supply">
          <SupplyTab />
        </Tabs.Panel>
        <Tabs.Panel value="orders">
          <OrdersTab />
        </Tabs.Panel>
        <Tabs.Panel value="prices">
          <PricesTab />
        </Tabs.Panel>
        <Tabs.Panel value="costs">
          <CostsTab />
        </Tabs.Panel>
      </Tabs>
    </Page>
  )
}
