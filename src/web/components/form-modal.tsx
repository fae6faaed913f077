/** A small form in a dialog: sends, tells what was refused, closes when it is done. */
import { Button, Group, Stack } from '@mantine/core'
import { useState } from 'react'
import type { FormEvent, ReactNode } from 'react'
import { Dialog } from './dialog.tsx'
import { tellError } from './notice.tsx'

interface FormModalProps {
  readonly title: string
  readonly action: string
  readonly disabled: boolean
  readonly children: ReactNode
  readonly size?: 'md' | 'xl'
  readonly onClose: () => void
  readonly onSubmit: () => Promise<unknown>
}

export function FormModal({ title, action, disabled, children, size = 'md', onClose, onSubmit }: FormModalProps) {
  const [busy, setBusy] = useState(false)
  const submit = async (event: FormEvent) => {
    event.preventDefault()
    setBusy(true)
    try {
      await onSubmit()
      onClose()
    } catch (error) {
      tellError(`${title}: it did not work`, error)
    } finally {
      setBusy(false)
    }
  }
  return (
    <Dialog title={title} size={size} onClose={onClose}>
      <form onSubmit={event => void submit(event)}>
        <Stack gap="sm">
          {children}
          <Group justify="flex-end" gap="xs" mt="sm">
            <Button variant="default" size="sm" onClick={onClose}>
              Cancel
            </Button>
            <Button type="submit" size="sm" loading={busy} disabled={disabled}>
              {action}
            </Button>
          </Group>
        </Stack>
      </form>
    </Dialog>
  )
}
