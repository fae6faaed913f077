/** Text that a click copies. */
import { ActionIcon, Tooltip } from '@mantine/core'
import { Check, Copy } from 'lucide-react'
import { useCopy } from './clipboard.ts'

export function CopyIcon({ text, label }: { readonly text: string; readonly label: string }) {
  const { copied, copy } = useCopy(text)
  return (
    <Tooltip label={copied ? 'Copied' : label}>
      <ActionIcon variant="subtle" color={copied ? 'teal' : 'gray'} size="sm" onClick={copy} aria-label={copied ? 'Copied' : label}>
        {copied ? <Check size={13} /> : <Copy size={13} />}
      </ActionIcon>
    </Tooltip>
  )
}

export function CopyText({ text, label }: { readonly text: string; readonly label: string }) {
  return (
    <span style={{ display: 'inline-flex', alignItems: 'center', gap: 4, maxWidth: '100%' }}>
      <span className="mono" style={{ overflowWrap: 'anywhere' }}>
        {text}
      </span>
      <CopyIcon text={text} label={label} />
    </span>
  )
}
