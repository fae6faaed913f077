/**
 * Which ports programs of the host listen on, as the kernel's own tables say. Publishing such a port
 * would take it away from them, so it is refused.
 */
import { readFile } from 'node:fs/promises'
import { BerthError } from '../../instance/errors.ts'
import type { PortMapping, PortProtocol } from '../../instance/model.ts'

/** States in /proc/net/{tcp,udp}: a listening TCP socket, an unconnected UDP socket. */
const LISTENING: Readonly<Record<PortProtocol, string>> = { tcp: '0A', udp: '07' }
/** Loopback of IPv6: published ports are IPv4, so a listener there loses nothing. */
const IPV6_LOOPBACK = '00000000000000000000000001000000'

/** Throws `port_in_use` if a program of the host listens on one of these host ports. */
export async function refusePortsInUse(ports: readonly PortMapping[]): Promise<void> {
  for (const protocol of ['tcp', 'udp'] as const) {
    const wanted = ports.filter((port) => port.protocol === protocol)
    if (wanted.length === 0) continue
    const held = await listeningPorts(protocol)
    const taken = wanted.find((port) => held.has(port.hostPort))
    if (taken === undefined) continue
    throw new BerthError('port_in_use', `Port ${taken.hostPort}/${protocol} of the host is used by another program; choose another port, or stop that program.`, {
      details: { port: taken.hostPort, protocol },
    })
  }
}

async function listeningPorts(protocol: PortProtocol): Promise<Set<number>> {
  const tables = await Promise.all([readTable(`/proc/net/${protocol}`), readTable(`/proc/net/${protocol}6`)])
  return parseListeners(tables.join('\n'), protocol)
}

/** Lines are `sl local_address rem_address st …`, an address is `HEX:PORT`. */
export function parseListeners(table: string, protocol: PortProtocol): Set<number> {
  const ports = new Set<number>()
  for (const line of table.split('\n')) {
    const [, local, , state] = line.trim().split(/\s+/)
    const [address, port] = local?.split(':') ?? []
    if (state === LISTENING[protocol] && port !== undefined && address !== IPV6_LOOPBACK) ports.add(Number.parseInt(port, 16))
  }
  return ports
}

async function readTable(path: string): Promise<string> {
  try {
    return await readFile(path, 'utf8')
  } catch (error) {
    // A kernel without IPv6 has no table of it.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
    throw error
  }
}
