/** How the instance is reached: its address, published ports, and what its firewall lets in. */
import { SimpleGrid, Stack } from '@mantine/core'
import type { InstanceDetail } from '../../api/types.ts'
import { CopyText } from '../../components/copy-text.tsx'
import { Facts } from '../../components/facts.tsx'
import { formatBytes } from '../../components/format.ts'
import { Panel } from '../../components/page.tsx'
import { FirewallPanel } from './firewall-panel.tsx'
import { PortsPanel } from './ports-panel.tsx'

export function NetworkTab({ instance }: { readonly instance: InstanceDetail }) {
  const { network } = instance
  const rate = (bytes: number | null) => (bytes === null ? 'without limit' : `${formatBytes(bytes)}/s`)
  return (
    <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
      <Stack gap="md">
        <Panel title="Network">
          <Facts
            facts={[
              ['Address', network.ip === null ? 'none' : <CopyText key="ip" text={network.ip} label="Copy the address" />],
              ['MAC', network.mac === null ? null : <CopyText key="mac" text={network.mac} label="Copy the MAC address" />],
              ['Network', network.name],
              ['Into the guest', network.enabled ? rate(network.downloadBytesPerSecond) : null],
              ['Out of the guest', network.enabled ? rate(network.uploadBytesPerSecond) : null],
            ]}
          />
        </Panel>
        <PortsPanel instance={instance} changes />
      </Stack>
      <FirewallPanel instance={instance} />
    </SimpleGrid>
  )
}
