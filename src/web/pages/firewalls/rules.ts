/** Firewall rules as a form holds them, and as the API takes them. Pure. */
import type { FirewallRule } from '../../api/types.ts'

export interface RuleDraft {
  readonly protocol: FirewallRule['protocol']
  /** `80`, `5000-5010`; empty is every port. */
  readonly ports: string
  readonly source: string
  readonly description: string
}

export const PROTOCOLS: readonly FirewallRule['protocol'][] = ['tcp', 'udp', 'icmp', 'all']
export const FIRST_RULE: RuleDraft = { protocol: 'tcp', ports: '80', source: '0.0.0.0/0', description: '' }
const PORTS = /^\s*(\d{1,5})(?:\s*-\s*(\d{1,5}))?\s*$/
const MAX_PORT = 65_535

export function draftOf({ protocol, ports, source, description }: FirewallRule): RuleDraft {
  return { protocol, ports: portsText(ports), source, description }
}

/** What is wrong with the ports, or null. */
export function portsProblem({ protocol, ports }: RuleDraft): string | null {
  if (protocol === 'icmp' || ports.trim() === '') return null
  const [, first, last] = PORTS.exec(ports) ?? []
  const low = Number(first)
  const high = Number(last ?? first)
  return first !== undefined && low >= 1 && high <= MAX_PORT && low <= high ? null : '80 or 5000-5010'
}

export function requestOfRule({ protocol, ports, source, description }: RuleDraft) {
  const [, first, last] = PORTS.exec(ports) ?? []
  return {
    protocol,
    ports: protocol === 'icmp' || first === undefined ? null : [Number(first), Number(last ?? first)],
    ...(source.trim() === '' ? {} : { source: source.trim() }),
    description: description.trim(),
  }
}

export function portsText(ports: FirewallRule['ports']): string {
  const [first, last] = ports ?? []
  return first === undefined ? '' : first === last ? String(first) : `${first}-${last}`
}

/** In words: TCP 80 from anywhere. */
export function tellRule({ protocol, ports, source }: FirewallRule): string {
  const what = protocol === 'all' ? 'everything' : protocol === 'icmp' ? 'ping (ICMP)' : `${protocol.toUpperCase()} ${ports === null ? 'on every port' : portsText(ports)}`
  return `${what} from ${source === '0.0.0.0/0' ? 'anywhere' : source}`
}
