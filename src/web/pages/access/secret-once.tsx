/** A secret that was made now: shown once, to be copied. */
import { Alert, Button, CopyButton, Stack } from '@mantine/core'
import { Check, Copy } from 'lucide-react'
import { Dialog } from '../../components/dialog.tsx'

export function SecretOnce({ title, secret, onClose }: { readonly title: string; readonly secret: string; readonly onClose: () => void }) {
  return (
    <Dialog title={title} size="lg" onClose={onClose}>
      <Stack gap="sm">
        <Alert color="orange" variant="light">
          It is told now and never again.
        </Alert>
        <pre className="code" style={{ whiteSpace: 'pre-wrap', overflowWrap: 'anywhere' }} tabIndex={0}>
          {secret}
        </pre>
        <CopyButton value={secret}>
          {({ copied, copy }) => (
            <Button size="sm" leftSection={copied ? <Check size={15} /> : <Copy size={15} />} onClick={copy}>
              {copied ? 'Copied' : 'Copy'}
            </Button>
          )}
        </CopyButton>
      </Stack>
    </Dialog>
  )
}
