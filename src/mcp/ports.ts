/** Published ports as tools take them: where the host's port is left out, one that is free is chosen. */
import { randomInt } from 'node:crypto'
import { BerthError } from '../instance/errors.ts'
import type { PortMapping } from '../instance/model.ts'
import type { Ports } from './schema.ts'

/** Below what machines give to connections by themselves, above what needs rights. */
const FIRST_HOST_PORT = 20_000
const PAST_HOST_PORTS = 32_000
const ATTEMPTS = 20

/**
 * Does what publishes the ports; again with others, where one that was chosen here is taken. A port of the guest that is
 * published already (`held`) stays where it is.
 */
export async function publishing<T>(wanted: Ports, held: readonly PortMapping[], publish: (ports: readonly PortMapping[]) => Promise<T>): Promise<T> {
  const isOpen = wanted.some(port => hostPortOf(port, held) === null)
  for (let attempt = 1; ; attempt++) {
    try {
      return await publish(chosen(wanted, held))
    } catch (error) {
      const isTaken = error instanceof BerthError && error.code === 'port_in_use'
      if (!isTaken || !isOpen || attempt === ATTEMPTS) throw error
    }
  }
}

function chosen(wanted: Ports, held: readonly PortMapping[]): readonly PortMapping[] {
  const taken = new Set(wanted.map(port => hostPortOf(port, held)))
  return wanted.map(port => {
    let hostPort = hostPortOf(port, held)
    while (hostPort === null) {
      const free = randomInt(FIRST_HOST_PORT, PAST_HOST_PORTS)
      if (!taken.has(free)) hostPort = free
    }
    taken.add(hostPort)
    return { hostPort, guestPort: port.guest_port, protocol: port.protocol }
  })
}

function hostPortOf({ host_port: hostPort, guest_port: guestPort, protocol }: Ports[number], held: readonly PortMapping[]): number | null {
  return hostPort ?? held.find(each => each.guestPort === guestPort && each.protocol === protocol)?.hostPort ?? null
}
