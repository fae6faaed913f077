/** A question before something that can't be taken back. */
import { Button, Group, Text } from '@mantine/core'
import { useState } from 'react'
import type { ReactNode } from 'react'
import { Dialog } from './dialog.tsx'
import { tellError } from './notice.tsx'

interface ConfirmProps {
  readonly opened: boolean
  readonly title: string
  readonly children: ReactNode
  readonly action: string
  readonly danger?: boolean
  readonly onClose: () => void
  readonly onConfirm: () => Promise<unknown>
}

export function Confirm({ opened, title, children, action, danger = true, onClose, onConfirm }: ConfirmProps) {
  const [busy, setBusy] = useState(false)
  const confirm = async () => {
    setBusy(true)
    try {
      await onConfirm()
      onClose()
    } catch (error) {
      tellError(`${action} was refused`, error)
    } finally {
      setBusy(false)
    }
  }
  if (!opened) return null
  return (
    <Dialog title={title} onClose={onClose}>
      <Text size="sm" component="div">
        {children}
      </Text>
      <Group justify="flex-end" mt="lg" gap="xs">
        <Button variant="default" onClick={onClose} size="sm">
          Cancel
        </Button>
        <Button {...(danger ? { color: 'red.8', c: 'white' } : {})} onClick={() => void confirm()} loading={busy} size="sm" data-autofocus>
          {action}
        </Button>
      </Group>
    </Dialog>
  )
}
