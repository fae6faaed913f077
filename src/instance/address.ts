/**
 * Addresses of instances: arithmetic on one IPv4 subnet, and the MAC that follows from an address.
 *
 * The engine picks an address in its placement transaction; it is one for life. The first addresses of
 * a subnet are kept for the host (gateway, a user-mode resolver), the last is the broadcast address.
 *
 *   10.73.0.0/16:  .0.0 network | .0.1 gateway | .0.2-.0.9 kept | .0.10 … .255.254 instances | .255.255 broadcast
 *                                                  index:         0     … capacity-1
 */
import { BerthError } from './errors.ts'

/** An IPv4 network. `base` is its lowest address as an unsigned 32-bit number. */
export interface Subnet {
  readonly base: number
  readonly prefixLength: number
}

/** Addresses at the start of a subnet that no instance gets: network, gateway, and what the host may need. */
export const RESERVED_ADDRESSES = 10

/** A subnet outside these has no room for instances, or would swallow half the internet. */
export const MIN_PREFIX_LENGTH = 8
export const MAX_PREFIX_LENGTH = 28

/** Reads `10.73.0.0/16`. The address must be the network's own, in canonical spelling. */
export function parseSubnet(text: string): Subnet {
  const match = /^([0-9.]+)\/(\d{1,2})$/.exec(text)
  const base = match?.[1] === undefined ? null : parseIpv4(match[1])
  const prefixLength = Number(match?.[2])
  if (base === null || !Number.isInteger(prefixLength)) {
    throw new BerthError('invalid_request', `"${text}" is not an IPv4 subnet; write one like 10.73.0.0/16.`)
  }
  if (prefixLength < MIN_PREFIX_LENGTH || prefixLength > MAX_PREFIX_LENGTH) {
    throw new BerthError(
      'invalid_request',
      `Subnet ${text} has a prefix outside /${MIN_PREFIX_LENGTH}-/${MAX_PREFIX_LENGTH}; choose one with room for the instances.`,
    )
  }
  const lowest = lowestOf(base, prefixLength)
  if (lowest !== base) {
    throw new BerthError(
      'invalid_request',
      `${text} is an address inside a network, not a network; did you mean ${formatIpv4(lowest)}/${prefixLength}?`,
    )
  }
  return { base, prefixLength }
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatIpv4(subnet.base)}/${subnet.prefixLength}`
}

/** The number of an address in host order, or null if it isn't dotted decimal without leading zeros. */
export function parseIpv4(text: string): number | null {
  const parts = text.split('.')
  if (parts.length !== 4) return null
  let value = 0
  for (const part of parts) {
    if (!/^(0|[1-9]\d{0,2})$/.test(part) || Number(part) > 255) return null
    value = value * 256 + Number(part)
  }
  return value
}

export function formatIpv4(value: number): string {
  return [24, 16, 8, 0].map((shift) => Math.floor(value / 2 ** shift) % 256).join('.')
}

/** The host's own address in the subnet: the first. */
export function gatewayOf(subnet: Subnet): string {
  return formatIpv4(subnet.base + 1)
}

/** `255.255.0.0` for a /16. */
export function netmaskOf(subnet: Subnet): string {
  return formatIpv4(2 ** 32 - 2 ** (32 - subnet.prefixLength))
}

/** How many instances the subnet has addresses for. */
export function capacityOf(subnet: Subnet): number {
  return 2 ** (32 - subnet.prefixLength) - RESERVED_ADDRESSES - 1
}

/** The address of instance number `index`, from 0. */
export function nthAddress(subnet: Subnet, index: number): string {
  if (!Number.isInteger(index) || index < 0 || index >= capacityOf(subnet)) {
    throw new RangeError(`no address ${index} in ${formatSubnet(subnet)}`)
  }
  return formatIpv4(subnet.base + RESERVED_ADDRESSES + index)
}

/** The reverse of `nthAddress`; null for an address that no instance of this subnet can have. */
export function indexOfAddress(subnet: Subnet, ip: string): number | null {
  const value = parseIpv4(ip)
  if (value === null) return null
  const index = value - subnet.base - RESERVED_ADDRESSES
  return index >= 0 && index < capacityOf(subnet) ? index : null
}

/** The lowest address that is not taken, or null when the subnet is full. */
export function freeAddress(subnet: Subnet, taken: ReadonlySet<string>): string | null {
  const capacity = capacityOf(subnet)
  for (let index = 0; index < capacity; index++) {
    const ip = nthAddress(subnet, index)
    if (!taken.has(ip)) return ip
  }
  return null
}

/**
 * The MAC that belongs to an address: `02:be:` (locally administered, unicast) + the four bytes of the
 * address in hexadecimal, so that no two addresses share one.
 */
export function macOf(ip: string): string {
  const value = parseIpv4(ip)
  if (value === null) throw new RangeError(`not an IPv4 address: ${ip}`)
  const hex = value.toString(16).padStart(8, '0')
  return `02:be:${hex.slice(0, 2)}:${hex.slice(2, 4)}:${hex.slice(4, 6)}:${hex.slice(6, 8)}`
}

/** Whether two subnets have an address in common. */
export function subnetsOverlap(one: Subnet, other: Subnet): boolean {
  const shorter = Math.min(one.prefixLength, other.prefixLength)
  return lowestOf(one.base, shorter) === lowestOf(other.base, shorter)
}

function lowestOf(address: number, prefixLength: number): number {
  const size = 2 ** (32 - prefixLength)
  return Math.floor(address / size) * size
}
