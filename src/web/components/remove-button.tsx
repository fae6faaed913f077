/** A button that deletes one thing, after a question. */
import { ActionIcon, Tooltip } from '@mantine/core'
import { Trash2 } from 'lucide-react'
import { useState } from 'react'
import type { ReactNode } from 'react'
import { Confirm } from './confirm.tsx'

interface RemoveProps {
  readonly what: string
  readonly children: ReactNode
  readonly onRemove: () => Promise<unknown>
}

export function RemoveButton({ what, children, onRemove }: RemoveProps) {
  const [asks, setAsks] = useState(false)
  return (
    <>
      <Tooltip label="Delete">
        <ActionIcon variant="subtle" color="gray" aria-label={`Delete ${what}`} onClick={() => setAsks(true)}>
          <Trash2 size={15} />
        </ActionIcon>
      </Tooltip>
      <Confirm opened={asks} title={`Delete ${what}?`} action="Delete" onClose={() => setAsks(false)} onConfirm={onRemove}>
        {children}
      </Confirm>
    </>
  )
}
