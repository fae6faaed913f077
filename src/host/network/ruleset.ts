/**
 * The nftables rules of one bridge, as text. Pure: what is said here, firewall.ts tells the kernel.
 *
 * A guest with a firewall (`filtered`) gets only what its boxes (allowed.ts) let in, and answers; from wherever it comes.
 * The `ip` table knows which packets are answers. The `bridge` table, between guests, doesn't: there what is no
 * opening of a TCP connection and no ping passes, and UDP needs a box in both directions.
 *
 * Two tables, both named like the bridge. Rules are fixed; guests are elements of sets and maps, so that
 * one more guest is a few elements and never a new ruleset.
 *
 *   guest ──tap──▶ bridge prerouting   address and MAC must be the guest's own (IPv4 and ARP; all else drops)
 *                    │                 upload limit
 *                    ├─▶ bridge forward   to another guest: same group only
 *                    └─▶ ip input         to the host: answers, ping of the gateway, and ports that are served to it
 *                        ip forward       to the world (never link-local: cloud metadata lives there);
 *                                         from the world: answers and published ports
 *                        ip nat           published ports in, masquerade out
 *
 * Decisions: what comes from a tap without elements is dropped (closed until known). A published port
 * is public: other guests reach it through the host's addresses as any outsider does. Guests see
 * outside clients' real addresses; only clients on 127.0.0.1 and guests that come through the host
 * appear as the gateway.
 *
 * With br_netfilter on, frames between guests also pass `ip forward`, and a frame to a published port of
 * another guest never leaves the bridge once its address is changed. So each table marks what it
 * approved for the other, and `ip forward`, which both ways end in, takes the mark off again. (There a
 * guest can't reach its own published port through the host: a bridge sends nothing back to where it
 * came from.)
 */
import { formatSubnet, gatewayOf } from '../../instance/address.ts'
import type { Subnet } from '../../instance/address.ts'
import type { PortMapping } from '../../instance/model.ts'
import type { Allowed } from './allowed.ts'

export interface BridgeConfig {
  readonly bridge: string
  readonly tapPrefix: string
  readonly subnet: Subnet
}

/** What the rules know of a guest. */
export interface GuestRules {
  readonly tap: string
  readonly ip: string
  readonly mac: string
  readonly uploadBytesPerSecond: number | null
  readonly ports: readonly PortMapping[]
  /** Guests with the same group may talk; `mark` is the group's number in the kernel, never 0. */
  readonly group: { readonly key: string; readonly mark: number } | null
  /** TCP ports of the gateway that it may open connections to. */
  readonly hostPorts: readonly number[]
  /** All that may reach it, beside answers; null is no firewall. */
  readonly allowed: Allowed | null
}

/** Of frames that one table approved for the other; no guest can set it. */
const APPROVED_MARK = '0x0be00001'
/** A limit in the kernel holds one second of its rate, and the burst; a few large frames must always fit. */
const MIN_UPLOAD_BUCKET_BYTES = 256 * 1024
const MIN_UPLOAD_BURST_BYTES = 1514

/** What may reach a guest that is in `filtered`. */
const FIREWALL_SETS = `
  set filtered { type ipv4_addr; }
  set allowed_ports { type ipv4_addr . inet_proto . ipv4_addr . inet_service; flags interval; }
  set allowed_protocols { type ipv4_addr . inet_proto . ipv4_addr; flags interval; }`
/** Ends a chain that is jumped to: back for what is let in. */
const ALLOWED_ALONE = `
    ip daddr . ip protocol . ip saddr . th dport @allowed_ports return
    ip daddr . ip protocol . ip saddr @allowed_protocols return
    drop`

/** Replaces both tables, whole, in one transaction. */
export function fullRuleset(config: BridgeConfig, guests: Iterable<GuestRules>): string {
  return [
    removeTables(config, 'add'),
    bridgeTable(config),
    ipTable(config),
    ...Array.from(guests, (guest) => addGuest(config, guest)),
  ].join('\n')
}

/** Deletes both tables. With `add` it works whether or not they are there. */
export function removeTables({ bridge }: BridgeConfig, first: 'add' | 'must-exist'): string {
  return ['bridge', 'ip']
    .map((family) => `${first === 'add' ? `add table ${family} ${bridge}\n` : ''}delete table ${family} ${bridge}`)
    .join('\n')
}

/** The elements of one guest. */
export function addGuest(config: BridgeConfig, guest: GuestRules): string {
  const limit = guest.uploadBytesPerSecond
  const added = limit === null ? [] : [`add limit bridge ${config.bridge} ${guest.tap} { rate over ${limit} bytes/second burst ${uploadBurst(limit)} bytes ; }`]
  return [...added, ...elements(config, guest, 'with comment').map((element) => `add element ${element}`)].join('\n')
}

/** The reverse of `addGuest`, for a guest that is there. */
export function removeGuest(config: BridgeConfig, guest: GuestRules): string {
  const removed = guest.uploadBytesPerSecond === null ? [] : [`delete limit bridge ${config.bridge} ${guest.tap}`]
  return [...elements(config, guest, 'bare').map((element) => `delete element ${element}`), ...removed].join('\n')
}

function elements({ bridge }: BridgeConfig, guest: GuestRules, style: 'with comment' | 'bare'): string[] {
  const found = [`bridge ${bridge} guests { ${guest.tap} . ${guest.mac} . ${guest.ip} }`]
  if (guest.group !== null) {
    const { key, mark } = guest.group
    const comment = style === 'bare' ? '' : ` comment "${key}"`
    found.push(`bridge ${bridge} group_of { ${guest.tap}${comment} : ${mark} }`)
    found.push(`bridge ${bridge} group_members { ${guest.tap} . ${mark} }`)
  }
  if (guest.uploadBytesPerSecond !== null) found.push(`bridge ${bridge} uploads { ${guest.tap} : "${guest.tap}" }`)
  for (const port of guest.ports) {
    found.push(`ip ${bridge} published { ${port.protocol} . ${port.hostPort} : ${guest.ip} . ${port.guestPort} }`)
  }
  for (const port of guest.hostPorts) found.push(`ip ${bridge} served { ${guest.ip} . ${port} }`)
  // Each table sees a part of the ways to a guest, so both know what may reach it.
  for (const family of ['bridge', 'ip']) found.push(...firewallElements(`${family} ${bridge}`, guest))
  return found
}

function firewallElements(table: string, { ip, allowed }: GuestRules): string[] {
  if (allowed === null) return []
  return [
    `${table} filtered { ${ip} }`,
    ...allowed.ports.map(({ protocol, from, to, ports }) => `${table} allowed_ports { ${ip} . ${protocol} . ${span(from, to)} . ${span(...ports)} }`),
    ...allowed.protocols.map(({ protocols, from, to }) => `${table} allowed_protocols { ${ip} . ${span(...protocols)} . ${span(from, to)} }`),
  ]
}

function span(from: string | number, to: string | number): string {
  return from === to ? String(from) : `${from}-${to}`
}

function uploadBurst(bytesPerSecond: number): number {
  return Math.max(MIN_UPLOAD_BUCKET_BYTES - bytesPerSecond, MIN_UPLOAD_BURST_BYTES)
}

function bridgeTable({ bridge, tapPrefix }: BridgeConfig): string {
  return `
table bridge ${bridge} {
  set guests { type ifname . ether_addr . ipv4_addr; }
  map group_of { type ifname : mark; }
  set group_members { type ifname . mark; }
  map uploads { type ifname : limit; }
${FIREWALL_SETS}

  chain prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname "${tapPrefix}*" goto from_guest
  }
  chain from_guest {
    ether type ip iifname . ether saddr . ip saddr @guests goto within_rate
    ether type arp iifname . ether saddr . arp saddr ip @guests iifname . arp saddr ether . arp saddr ip @guests goto within_rate
    drop
  }
  chain within_rate {
    limit name iifname map @uploads drop
  }
  chain forward {
    type filter hook forward priority -200; policy accept;
    iifname "${tapPrefix}*" goto between_guests
    oifname "${tapPrefix}*" drop
  }
  chain between_guests {
    meta mark ${APPROVED_MARK} accept
    meta mark set 0
    meta mark set iifname map @group_of
    ip daddr @filtered jump to_filtered
    oifname . meta mark @group_members meta mark set ${APPROVED_MARK} accept
    drop
  }
  chain to_filtered {
    tcp flags & (syn | ack) != syn return
    icmp type != echo-request return${ALLOWED_ALONE}
  }
}`
}

function ipTable({ bridge, subnet }: BridgeConfig): string {
  const network = formatSubnet(subnet)
  return `
table ip ${bridge} {
  map published { type inet_proto . inet_service : ipv4_addr . inet_service; }
  set served { type ipv4_addr . inet_service; }
${FIREWALL_SETS}

  chain raw_prerouting {
    type filter hook prerouting priority -300; policy accept;
    iifname "${bridge}" ip daddr 127.0.0.0/8 drop
    iifname != { "${bridge}", "lo" } ip saddr ${network} drop
  }
  chain nat_prerouting {
    type nat hook prerouting priority -100; policy accept;
    fib daddr type local dnat ip to ip protocol . th dport map @published
  }
  chain hairpin {
    type filter hook prerouting priority -50; policy accept;
    iifname "${bridge}" ip daddr ${network} ct status dnat meta mark set ${APPROVED_MARK}
  }
  chain nat_output {
    type nat hook output priority -100; policy accept;
    fib daddr type local dnat ip to ip protocol . th dport map @published
  }
  chain nat_postrouting {
    type nat hook postrouting priority 100; policy accept;
    oifname "${bridge}" ip saddr 127.0.0.0/8 masquerade
    oifname "${bridge}" ip saddr ${network} ct status dnat masquerade
    oifname != { "${bridge}", "lo" } ip saddr ${network} masquerade
  }
  chain input {
    type filter hook input priority -1; policy accept;
    iifname "${bridge}" goto to_host
  }
  chain to_host {
    ct state established,related accept
    ip daddr ${gatewayOf(subnet)} icmp type echo-request limit rate 50/second accept
    ip daddr ${gatewayOf(subnet)} ip saddr . tcp dport @served accept
    reject with icmp type admin-prohibited
  }
  chain output {
    type filter hook output priority -1; policy accept;
    ct state established,related accept
    ip daddr @filtered jump to_filtered
  }
  chain to_filtered {${ALLOWED_ALONE}
  }
  chain forward {
    type filter hook forward priority -1; policy accept;
    iifname "${bridge}" oifname "${bridge}" goto between_guests
    iifname "${bridge}" goto to_world
    oifname "${bridge}" goto from_world
  }
  chain between_guests {
    ct state new ip daddr @filtered jump to_filtered
    meta mark ${APPROVED_MARK} meta mark set 0 accept
    reject with icmp type admin-prohibited
  }
  chain to_world {
    ip daddr 169.254.0.0/16 reject with icmp type admin-prohibited
    tcp flags & (syn | rst) == syn tcp option maxseg size set rt mtu
  }
  chain from_world {
    ct state established,related accept
    ip daddr @filtered jump to_filtered
    ct status dnat accept
    drop
  }
}`
}
