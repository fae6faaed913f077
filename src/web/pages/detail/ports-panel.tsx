/** Ports of the host that lead into the instance. */
import { Anchor } from '@mantine/core'
import type { Instance } from '../../api/types.ts'
import { Panel } from '../../components/page.tsx'
import { Facts } from '../../components/facts.tsx'

export function PortsPanel({ instance }: { readonly instance: Instance }) {
  const { ports } = instance.network
  if (ports.length === 0) return null
  return (
    <Panel title="Published ports">
      <Facts
        facts={ports.map(({ hostPort, guestPort, protocol }) => {
          const address = `${window.location.hostname}:${hostPort}`
          return [
            `${guestPort}/${protocol} in the guest`,
            protocol === 'tcp' ? (
              <Anchor key={hostPort} href={`http://${address}`} target="_blank" rel="noreferrer" className="mono" underline="always">
                {address}
              </Anchor>
            ) : (
              <span key={hostPort} className="mono">
                {address}
              </span>
            ),
          ]
        })}
      />
    </Panel>
  )
}
