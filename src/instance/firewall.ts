/** Firewall rules: what one may say, and what is in force where nobody said anything. */
import { formatIpv4, parseIpv4 } from './address.ts'
import { BerthError } from './errors.ts'
import type { FirewallRule } from './model.ts'

/** Of one ruleset, and of the rules that all firewalls of a project have. */
export const FIREWALL_RULES_LIMIT = 100
export const FIREWALL_DESCRIPTION_LIMIT_CHARACTERS = 128
export const ANYWHERE = '0.0.0.0/0'

/** SSH and ping from anywhere, as clouds begin. */
export const DEFAULT_FIREWALL_RULES: readonly FirewallRule[] = [
  { protocol: 'tcp', ports: [22, 22], source: ANYWHERE, description: 'Allow SSH from any IP' },
  { protocol: 'icmp', ports: null, source: ANYWHERE, description: 'Allow ping from any IP' },
]

/** `10.1.2.3/8` is `10.0.0.0/8`; an address alone is a network of one. null if it is neither. */
export function networkOf(text: string): string | null {
  const [address = '', length, ...more] = text.split('/')
  const base = parseIpv4(address)
  if (base === null || more.length > 0 || (length !== undefined && !/^(?:[0-9]|[12][0-9]|3[0-2])$/.test(length))) return null
  const bits = length === undefined ? 32 : Number(length)
  const size = 2 ** (32 - bits)
  return `${formatIpv4(Math.floor(base / size) * size)}/${bits}`
}

/** Throws `invalid_request` with the number of the rule that is wrong. */
export function checkFirewallRules(rules: readonly FirewallRule[]): void {
  if (rules.length > FIREWALL_RULES_LIMIT) throw new BerthError('invalid_request', `${rules.length} firewall rules are too many: at most ${FIREWALL_RULES_LIMIT} are allowed.`)
  for (const [index, { protocol, ports, source, description }] of rules.entries()) {
    const wrong = (problem: string) => new BerthError('invalid_request', `Firewall rule ${index + 1} ${problem}.`, { details: { field: `rules[${index}]` } })
    if (networkOf(source) !== source) throw wrong(`has the source ${JSON.stringify(source.slice(0, 80))}, which is no network: write one like 10.0.0.0/8`)
    if (protocol === 'icmp' && ports !== null) throw wrong('is of ICMP, which has no ports: leave them out')
    if (ports !== null && !(isPort(ports[0]) && isPort(ports[1]) && ports[0] <= ports[1])) throw wrong(`has the ports ${ports.join('-')}: they are 1 to 65535, the lower first`)
    if (Array.from(description).length > FIREWALL_DESCRIPTION_LIMIT_CHARACTERS) throw wrong(`has a description of more than ${FIREWALL_DESCRIPTION_LIMIT_CHARACTERS} characters`)
  }
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65535
}
