/** A secret that was made now: shown once, to be copied. */
import { Alert, Button, Stack } from '@mantine/core'
import { Check, Copy, KeyRound } from 'lucide-react'
import { useCopy } from '../../components/clipboard.ts'
import { Dialog } from '../../components/dialog.tsx'

export function SecretOnce({ title, secret, onClose }: { readonly title: string; readonly secret: string; readonly onClose: () => void }) {
  const { copied, copy } = useCopy(secret)
  return (
    <Dialog title={title} size="lg" onClose={onClose}>
      <Stack gap="sm">
        <Alert color="orange" variant="light" icon={<KeyRound size={17} />}>
          It is told now and never again.
        </Alert>
        <pre className="code" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }} tabIndex={0}>
          {secret}
        </pre>
        <Button size="sm" leftSection={copied ? <Check size={15} /> : <Copy size={15} />} onClick={copy}>
          {copied ? 'Copied' : 'Copy'}
        </Button>
      </Stack>
    </Dialog>
  )
}
