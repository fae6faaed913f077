/** A key in, a session out. The key lives in this form and nowhere else. */
import { Alert, Anchor, Button, Center, Code, Paper, PasswordInput, Stack, Text, Title } from '@mantine/core'
import { Anchor as AnchorIcon } from 'lucide-react'
import { useEffect, useState } from 'react'
import type { FormEvent } from 'react'
import { signIn } from '../api/session.ts'
import { sentenceOf } from '../components/sentence.ts'

export function SignInPage({ wasSignedIn, onSignedIn }: { readonly wasSignedIn: boolean; readonly onSignedIn: () => void }) {
  const [key, setKey] = useState('')
  const [problem, setProblem] = useState<string | null>(null)
  const [busy, setBusy] = useState(false)
  useEffect(() => {
    document.title = 'Sign in · Berth'
  }, [])

  const submit = async (event: FormEvent) => {
    event.preventDefault()
    setBusy(true)
    setProblem(null)
    try {
      await signIn(key.trim())
      setKey('')
      onSignedIn()
    } catch (error) {
      setProblem(sentenceOf(error))
    } finally {
      setBusy(false)
    }
  }

  return (
    <Center mih="100vh" p="md" component="main">
      <Paper className="panel" p="xl" w="100%" maw={410}>
        <form onSubmit={event => void submit(event)}>
          <Stack gap="md">
            <div>
              <AnchorIcon size={30} color="var(--mantine-color-anchor)" aria-hidden />
              <Title order={1} mt="sm">
                Sign in to Berth
              </Title>
              <Text c="dimmed" size="sm">
                {window.location.host}
              </Text>
            </div>
            {wasSignedIn && (
              <Alert color="orange" variant="light">
                Your session is over, or its key has expired. Sign in again to go on where you were.
              </Alert>
            )}
            <PasswordInput
              label="Key"
              description="64 characters; the first key stands in admin.key of the data directory."
              value={key}
              onChange={event => setKey(event.currentTarget.value)}
              error={problem}
              autoComplete="off"
              spellCheck={false}
              required
              withAsterisk={false}
              data-autofocus
              autoFocus
              visibilityToggleButtonProps={{ 'aria-label': 'Show the key' }}
            />
            <Button type="submit" size="sm" loading={busy} disabled={key.trim() === ''} fullWidth>
              Sign in
            </Button>
            <Text c="dimmed" size="xs">
              Make another with <Code>berth keys create</Code>. The API is described at{' '}
              <Anchor href="/berth/v1/openapi.json" inherit underline="always">
                /berth/v1/openapi.json
              </Anchor>
              .
            </Text>
          </Stack>
        </form>
      </Paper>
    </Center>
  )
}
