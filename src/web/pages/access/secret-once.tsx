/** A secret that was made now: shown once, to be copied. */
import { Alert, Button, CopyButton, Modal, Stack, Text } from '@mantine/core'
import { Check, Copy } from 'lucide-react'

export function SecretOnce({ title, secret, onClose }: { readonly title: string; readonly secret: string; readonly onClose: () => void }) {
  return (
    <Modal opened onClose={onClose} title={<Text fw={600}>{title}</Text>} closeButtonProps={{ 'aria-label': 'Close' }} size="lg">
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
    </Modal>
  )
}
