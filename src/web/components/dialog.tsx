/** A dialog, open for as long as it is there. Whoever leaves it goes on where it was opened from. */
import { Modal, Text } from '@mantine/core'
import { useEffect, useState } from 'react'
import type { ReactNode } from 'react'

interface DialogProps {
  readonly title: string
  readonly size?: 'md' | 'lg' | 'xl'
  readonly children: ReactNode
  readonly onClose: () => void
}

export function Dialog({ title, size = 'md', children, onClose }: DialogProps) {
  useFocusBack()
  return (
    <Modal opened onClose={onClose} returnFocus={false} size={size} title={<Text fw={600}>{title}</Text>} closeButtonProps={{ 'aria-label': 'Close' }}>
      {children}
    </Modal>
  )
}

function useFocusBack(): void {
  // Looked for while the dialog is only drawn: a menu is gone as soon as it stands.
  const [opener] = useState(() => openerOf(document.activeElement))
  useEffect(() => {
    return () => {
      // Once the dialog is gone; another one may have opened in its place, and has the focus then.
      window.setTimeout(() => {
        if (document.activeElement !== null && document.activeElement !== document.body) return
        const target = opener?.isConnected === true ? opener : document.getElementById('main')
        target?.focus({ preventScroll: true })
      })
    }
  }, [opener])
}

/** A menu goes with its item; what opened the menu stays. */
function openerOf(active: Element | null): HTMLElement | null {
  const menu = active?.closest('[role=menu]')
  const opener = menu === null || menu === undefined ? active : document.getElementById(menu.getAttribute('aria-labelledby') ?? '')
  return opener instanceof HTMLElement ? opener : null
}
