/** The frame of every page: its title, what can be done, and panels. Also names the browser's tab. */
import { Group, Text, Title } from '@mantine/core'
import { useEffect } from 'react'
import type { ReactNode } from 'react'

interface PageProps {
  readonly title: string
  readonly heading?: ReactNode
  readonly note?: ReactNode
  readonly actions?: ReactNode
  readonly children: ReactNode
}

let pagesShown = 0

/** Whoever came by a link that went with its page goes on from the new one, and not from the beginning of everything. */
function useFocusFromBefore(): void {
  useEffect(() => {
    const isLost = document.activeElement === null || document.activeElement === document.body
    if (pagesShown++ > 0 && isLost) document.getElementById('main')?.focus({ preventScroll: true })
  }, [])
}

export function Page({ title, heading, note, actions, children }: PageProps) {
  useFocusFromBefore()
  useEffect(() => {
    document.title = `${title} · Berth`
  }, [title])
  return (
    <>
      <Group justify="space-between" align="flex-end" mb="md" gap="sm">
        <div style={{ minWidth: 0 }}>
          {heading ?? <Title order={1}>{title}</Title>}
          {note !== undefined && (
            <Text c="dimmed" size="sm" component="div">
              {note}
            </Text>
          )}
        </div>
        {actions !== undefined && <Group gap="xs">{actions}</Group>}
      </Group>
      {children}
    </>
  )
}

interface PanelProps {
  readonly title?: string
  readonly note?: ReactNode
  readonly actions?: ReactNode
  readonly children: ReactNode
}

export function Panel({ title, note, actions, children }: PanelProps) {
  return (
    <section className="panel" aria-label={title}>
      {title !== undefined && (
        <Group className="panel-head" justify="space-between" gap="sm">
          <Group gap="sm" align="baseline">
            <Title order={2}>{title}</Title>
            {note !== undefined && (
              <Text c="dimmed" size="xs" component="span">
                {note}
              </Text>
            )}
          </Group>
          {actions !== undefined && <Group gap="xs">{actions}</Group>}
        </Group>
      )}
      {children}
    </section>
  )
}
