/**
 * User mode: QEMU itself plays the network, without rights on the host. The instance keeps the address
 * it would have on the bridge, but it is alone on its wire.
 *
 *   gateway .1   what the guest sends there reaches the host's own loopback (QEMU can't be told not to)
 *   resolver .3  QEMU asks the host's name server
 */
import { formatIpv4, formatSubnet, gatewayOf } from '../../instance/address.ts'
import type { Subnet } from '../../instance/address.ts'
import type { PortMapping } from '../../instance/model.ts'

export const USER_MODE_WARNING =
  'Instances use QEMU’s user-mode network: slower, without bandwidth limits or traffic between instances, and a guest can reach services ' +
  'that listen on the host; run Berth as root for the bridge.'

/** The name server that QEMU offers to its guest. */
export function userModeResolver(subnet: Subnet): string {
  return formatIpv4(subnet.base + 3)
}

/** The options after `-netdev user,id=…,`. */
export function userModeOptions(subnet: Subnet, ip: string, ports: readonly PortMapping[]): string {
  return [
    'ipv6=off',
    `net=${formatSubnet(subnet)}`,
    `host=${gatewayOf(subnet)}`,
    `dns=${userModeResolver(subnet)}`,
    `dhcpstart=${ip}`,
    ...ports.map((port) => `hostfwd=${port.protocol}::${port.hostPort}-${ip}:${port.guestPort}`),
  ].join(',')
}
