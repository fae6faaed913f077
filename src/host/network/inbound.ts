/**
 * The TCP connections that are open to guests, as the kernel's connection tracking knows them: whatever goes between a
 * guest and anybody beyond the bridge passes through it, also by a published port.
 *
 *   ipv4 2 tcp 6 431999 ESTABLISHED src=CLIENT dst=… sport=… dport=… src=GUEST dst=… sport=PORT dport=… [ASSURED] …
 *                                   └ as the client sent it ───────┘ └ as the guest answers ───────┘
 */
import { readFile } from 'node:fs/promises'
import type { InboundConnection } from '../../instance/auto-standby.ts'

const TRACKED = '/proc/net/nf_conntrack'
/** States in which somebody is connected; one that was never answered (SYN_SENT) or is over is no use of a guest. */
const OPEN = new Set(['SYN_RECV', 'ESTABLISHED', 'FIN_WAIT', 'CLOSE_WAIT', 'LAST_ACK'])

/** null where the kernel doesn't tell. */
export async function inboundConnections(): Promise<readonly InboundConnection[] | null> {
  try {
    return connectionsIn(await readFile(TRACKED, 'latin1'))
  } catch {
    // No such file, or none for us: this host can't know.
    return null
  }
}

/** Exported for its test. */
export function connectionsIn(table: string): readonly InboundConnection[] {
  return table.split('\n').flatMap(line => {
    const [, state = '', source, address, port] = /^ipv4 +2 +tcp +6 +\d+ +([A-Z_]+) +src=(\S+) dst=\S+ sport=\d+ dport=\d+ .*?src=(\S+) dst=\S+ sport=(\d+) /.exec(line) ?? []
    if (!OPEN.has(state) || source === undefined || address === undefined || port === undefined) return []
    return [{ address, port: Number(port), source }]
  })
}
