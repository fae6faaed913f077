/** Which published ports of an instance the server listens on itself: they lead to one that may sleep. */
import { BerthError } from '../../instance/errors.ts'
import type { Instance, InstanceSpec } from '../../instance/model.ts'
import type { Candidate } from '../admission.ts'

export function proxiedPorts({ spec }: Pick<Instance, 'spec'>): InstanceSpec['network']['ports'] {
  return (spec.idleAfterMs ?? null) === null ? [] : spec.network.ports.filter(port => port.protocol === 'tcp')
}

/** Where the connections to published ports could not be seen, an instance would fall asleep under them. */
export function checkIdlePorts(spec: InstanceSpec, candidates: readonly Candidate[]): void {
  if (proxiedPorts({ spec }).length === 0) return
  const details = { field: 'idleAfterMs' }
  if (spec.firewallRulesets !== null) {
    throw new BerthError('not_supported', 'With a firewall, published ports can not wake an instance: leave out the ports, the firewall, or the idle time.', { details })
  }
  if (candidates.some(({ facts }) => facts.network.mode !== 'bridge')) {
    throw new BerthError('not_supported', 'This host has no bridge, so that published ports can not wake an instance: leave out the ports or the idle time.', { details })
  }
}
