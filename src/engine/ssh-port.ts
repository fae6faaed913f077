/**
 * Where an instance with SSH keys is entered on a host whose guests have no address that anybody reaches (user-mode
 * network): a port of the host that leads to its port 22, like any published port.
 */
import { randomInt } from 'node:crypto'
import type { InstanceSpec } from '../instance/model.ts'
import type { Candidate } from './admission.ts'
import type { Core } from './core.ts'

export const SSH_PORT = 22
/** Below what machines give to connections by themselves, above what needs rights. */
const FIRST_HOST_PORT = 20_000
const PAST_HOST_PORTS = 32_000
const ATTEMPTS = 100

/** The specification, with a port for SSH where it needs one. Should another take it meanwhile, the store refuses (`port_in_use`). */
export async function withSshPort(core: Core, spec: InstanceSpec, candidates: readonly Candidate[]): Promise<InstanceSpec> {
  const { network, sshKeys } = spec
  const isReachable = candidates.every(({ facts }) => facts.network.mode !== 'user')
  const hasPort = network.ports.some(({ guestPort, protocol }) => guestPort === SSH_PORT && protocol === 'tcp')
  if (sshKeys.length === 0 || !network.enabled || isReachable || hasPort) return spec
  const held = await Promise.all(candidates.map(({ link }) => core.store.read.reservations(link.id)))
  const taken = new Set(held.flat().flatMap(({ ports }) => ports))
  for (const { hostPort, protocol } of network.ports) taken.add(`${protocol}/${hostPort}`)
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const hostPort = randomInt(FIRST_HOST_PORT, PAST_HOST_PORTS)
    if (taken.has(`tcp/${hostPort}`)) continue
    return { ...spec, network: { ...network, ports: [...network.ports, { hostPort, guestPort: SSH_PORT, protocol: 'tcp' }] } }
  }
  // As good as full: it is made all the same, and entered by exec.
  return spec
}
