/** What can be done to an order, as small buttons; a change that is refused is told. */
import { Button, Group } from '@mantine/core'
import { useState } from 'react'
import type { ReactNode } from 'react'
import { tellError } from '../../components/notice.tsx'

export function OrderActions({ children }: { readonly children: ReactNode }) {
  return (
    <Group gap={4} justify="flex-end" wrap="nowrap">
      {children}
    </Group>
  )
}

interface ActionProps {
  readonly name: string
  /** Which order, for who only hears it. */
  readonly of: string
  readonly run: () => void | Promise<unknown>
}

export function OrderAction({ name, of, run }: ActionProps) {
  const [busy, setBusy] = useState(false)
  const click = async () => {
    setBusy(true)
    try {
      await run()
    } catch (error) {
      tellError(`${name} did not work`, error)
    } finally {
      setBusy(false)
    }
  }
  return (
    <Button size="compact-xs" variant="default" aria-label={`${name}: ${of}`} loading={busy} onClick={() => void click()}>
      {name}
    </Button>
  )
}
