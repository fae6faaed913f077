/**
 * The TCP connections that are open to guests, as the kernel's connection tracking knows them: whatever goes between a
 * guest and anybody beyond the bridge passes through it, also by a published port.
 *
 *   ipv4 2 tcp 6 431999 ESTABLISHED src=CLIENT dst=… sport=… dport=… src=GUEST dst=… sport=PORT dport=… [ASSURED] …
 *                                   └ as the client sent it ───────┘ └ as the guest answers ───────┘
 */
import { readFile } from 'node:fs/promises'
import { networkInterfaces } from 'node:os'
import type { InboundConnection } from '../../instance/auto-standby.ts'
import type { Checks } from './checks.ts'

const TRACKED = '/proc/net/nf_conntrack'
/** States in which somebody is connected; one that was never answered (SYN_SENT) or is over is no use of a guest. */
const OPEN = new Set(['SYN_RECV', 'ESTABLISHED', 'FIN_WAIT', 'CLOSE_WAIT', 'LAST_ACK'])

/** null where the kernel doesn't tell. This machine's own health checks are nobody's connections. */
export async function inboundConnections(checks: Checks): Promise<readonly InboundConnection[] | null> {
  try {
    const tracked = connectionsIn(await readFile(TRACKED, 'latin1'))
    const ours = new Set(Object.values(networkInterfaces()).flatMap(addresses => (addresses ?? []).map(({ address }) => address)))
    return tracked.filter(one => !ours.has(one.source) || !checks.isCheck(one)).map(({ address, port, source }) => ({ address, port, source }))
  } catch {
    // No such file, or none for us: this host can't know.
    return null
  }
}

/** Exported for its test. */
export function connectionsIn(table: string): readonly (InboundConnection & { readonly sourcePort: number })[] {
  return table.split('\n').flatMap(line => {
    const [, state = '', source, sourcePort, address, port] = /^ipv4 +2 +tcp +6 +\d+ +([A-Z_]+) +src=(\S+) dst=\S+ sport=(\d+) dport=\d+ .*?src=(\S+) dst=\S+ sport=(\d+) /.exec(line) ?? []
    if (!OPEN.has(state) || source === undefined || address === undefined || port === undefined) return []
    return [{ address, port: Number(port), source, sourcePort: Number(sourcePort) }]
  })
}
