/** Tabs that are more than a phone shows: they scroll sideways, and the one that is chosen is in view. */
import { Tabs } from '@mantine/core'
import { useEffect, useRef } from 'react'
import type { ReactNode } from 'react'

export interface TabName {
  readonly value: string
  readonly name: string
  readonly icon?: ReactNode
}

export function ScrollingTabs({ tabs, chosen }: { readonly tabs: readonly TabName[]; readonly chosen: string }) {
  const list = useRef<HTMLDivElement>(null)
  useEffect(() => {
    list.current?.querySelector('[aria-selected="true"]')?.scrollIntoView({ block: 'nearest', inline: 'nearest' })
  }, [chosen])
  return (
    <Tabs.List ref={list} mb="md" style={{ flexWrap: 'nowrap', overflowX: 'auto', overflowY: 'hidden' }}>
      {tabs.map(({ value, name, icon }) => (
        <Tabs.Tab key={value} value={value} leftSection={icon} style={{ flex: 'none' }}>
          {name}
        </Tabs.Tab>
      ))}
    </Tabs.List>
  )
}
