/** What is shown in place of content: nothing there, not there yet, refused. */
import { Button, Skeleton, Stack, Text } from '@mantine/core'
import { CircleAlert, RotateCw } from 'lucide-react'
import type { LucideIcon } from 'lucide-react'
import type { ReactNode } from 'react'
import { CopyIcon } from './copy-text.tsx'
import { sentenceOf } from './sentence.ts'

interface EmptyProps {
  readonly icon: LucideIcon
  readonly title: string
  readonly children?: ReactNode
  readonly action?: ReactNode
  /** The same on the command line. */
  readonly command?: string
}

export function EmptyState({ icon: Icon, title, children, action, command }: EmptyProps) {
  return (
    <Stack align="center" gap={6} py={56} px="md" ta="center">
      <Icon size={30} strokeWidth={1.5} aria-hidden color="var(--berth-muted)" />
      <Text fw={600} mt={6}>
        {title}
      </Text>
      {children !== undefined && (
        <Text c="dimmed" size="sm" maw={440}>
          {children}
        </Text>
      )}
      {action !== undefined && action !== false && <div style={{ marginTop: 10 }}>{action}</div>}
      {command !== undefined && (
        <div className="command">
          <code className="mono">{command}</code>
          <CopyIcon text={command} label="Copy the command" />
        </div>
      )}
    </Stack>
  )
}

export function ErrorState({ error, onRetry }: { readonly error: unknown; readonly onRetry?: () => void }) {
  return (
    <div role="alert">
      <EmptyState
        icon={CircleAlert}
        title="This could not be loaded"
        action={
          onRetry === undefined ? undefined : (
            <Button variant="default" leftSection={<RotateCw size={14} />} onClick={onRetry}>
              Try again
            </Button>
          )
        }
      >
        {sentenceOf(error)}
      </EmptyState>
    </div>
  )
}

export function LoadingRows({ rows = 6 }: { readonly rows?: number }) {
  return (
    <Stack gap={10} p="md" role="status" aria-label="Loading">
      {Array.from({ length: rows }, (_, index) => (
        <Skeleton key={index} height={22} width={`${92 - ((index * 13) % 40)}%`} />
      ))}
    </Stack>
  )
}
