/** Keys: API keys with their scopes, and SSH keys that instances can be entered with. */
import { Stack } from '@mantine/core'
import { useMay } from '../../components/me.tsx'
import { Page } from '../../components/page.tsx'
import { ApiKeysPanel } from './api-keys-panel.tsx'
import { SshKeysPanel } from './ssh-keys-panel.tsx'

export function KeysPage() {
  const mayAdmin = useMay('admin')
  return (
    <Page title="Keys" note="Who may drive Berth, and who may enter instances.">
      <Stack gap="md">
        {mayAdmin && <ApiKeysPanel />}
        <SshKeysPanel />
      </Stack>
    </Page>
  )
}
