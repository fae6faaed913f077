/**
 * The bridge that all instances of a Berth hang on, its address, and the switches of the kernel that
 * forwarding needs.
 *
 * The bridge carries its owner's name as alias: a second Berth with the same bridge is refused while
 * the first has instances on it, since each would sweep away the other's taps.
 */
import { chmod, readdir, stat, writeFile } from 'node:fs/promises'
import { formatSubnet, gatewayOf, macOf, parseIpv4, parseSubnet, subnetsOverlap } from '../../instance/address.ts'
import type { Subnet } from '../../instance/address.ts'
import { BerthError } from '../../instance/errors.ts'
import { CommandFailed, runCommand } from '../command.ts'
import type { BridgeConfig } from './ruleset.ts'
import { ipBatch } from './ip-batch.ts'
import { readNetFile } from './tap.ts'

/** Tried in turn when the wanted subnet is taken, to name one that isn't. */
const SUBNET_SUGGESTIONS = ['10.73.0.0/16', '10.74.0.0/16', '10.215.0.0/16', '172.29.0.0/16', '192.168.213.0/24']

/** Makes the bridge as it should be, whatever of it is there already. */
export async function ensureBridge(config: BridgeConfig, owner: string): Promise<void> {
  const { bridge, subnet } = config
  const exists = (await readNetFile(bridge, 'address')) !== null
  const current = exists ? await adopt(config, owner) : []
  await refuseOverlap(config)
  const address = `${gatewayOf(subnet)}/${subnet.prefixLength}`
  await ipBatch([
    ...(exists ? [] : [`link add name ${bridge} type bridge`]),
    `link set dev ${bridge} address ${macOf(gatewayOf(subnet))} alias "${owner}" addrgenmode none`,
    `link set dev ${bridge} type bridge stp_state 0 forward_delay 0 mcast_snooping 0`,
    ...current.filter((other) => other !== address).map((other) => `address delete ${other} dev ${bridge}`),
    `address replace ${address} dev ${bridge}`,
    `link set dev ${bridge} up`,
  ])
  await Promise.all([
    setSwitch('net/ipv4/ip_forward', '1'),
    setSwitch(`net/ipv4/conf/${bridge}/forwarding`, '1'),
    // Answers to connections from 127.0.0.1 to a published port come back through the bridge. The rules
    // drop whatever a guest itself sends to 127.0.0.0/8.
    setSwitch(`net/ipv4/conf/${bridge}/route_localnet`, '1'),
    setSwitch(`net/ipv6/conf/${bridge}/disable_ipv6`, '1'),
  ])
  await openTunDevice()
  await openForeignFirewall(bridge)
}

/** Removes the bridge and what other tables hold of it; the kernel's switches stay, others may rely on them. */
export async function removeBridge(bridge: string): Promise<void> {
  await closeForeignFirewall(bridge)
  if ((await readNetFile(bridge, 'address')) === null) return
  await runCommand('ip', ['link', 'delete', 'dev', bridge])
}

/** Gives the addresses that the bridge has; throws if it isn't ours to change. */
async function adopt({ bridge, subnet, tapPrefix }: BridgeConfig, owner: string): Promise<string[]> {
  if ((await readNetFile(bridge, 'bridge/bridge_id')) === null) {
    throw new BerthError('host_unavailable', `The network interface ${bridge} is there and is no bridge; set BERTH_BRIDGE to another name.`)
  }
  const taps = (await readdir(`/sys/class/net/${bridge}/brif`)).filter((name) => name.startsWith(tapPrefix))
  const alias = await readNetFile(bridge, 'ifalias')
  const addresses = await addressesOf(bridge)
  if (taps.length === 0) return addresses
  if (alias !== null && alias !== '' && alias !== owner) {
    throw new BerthError(
      'host_unavailable',
      `The bridge ${bridge} carries the instances of another Berth (${alias}); set BERTH_BRIDGE and BERTH_SUBNET to others for this one.`,
    )
  }
  const wanted = `${gatewayOf(subnet)}/${subnet.prefixLength}`
  const other = addresses.find((address) => address !== wanted)
  if (other !== undefined) {
    throw new BerthError(
      'host_unavailable',
      `The bridge ${bridge} has the address ${other} and instances that use it, so the subnet can't become ${formatSubnet(subnet)}; keep the old BERTH_SUBNET, or delete the instances first.`,
    )
  }
  return addresses
}

interface RouteRow {
  readonly dst: string
  readonly dev: string | null
}

async function refuseOverlap({ bridge, subnet }: BridgeConfig): Promise<void> {
  const routes = await routesOf()
  const taken = (wanted: Subnet) => routes.find((route) => route.dev !== bridge && overlaps(route.dst, wanted))
  const found = taken(subnet)
  if (found === undefined) return
  const free = SUBNET_SUGGESTIONS.find((text) => taken(parseSubnet(text)) === undefined)
  throw new BerthError(
    'host_unavailable',
    `The subnet ${formatSubnet(subnet)} for instances overlaps the route ${found.dst}${found.dev === null ? '' : ` of ${found.dev}`}; ` +
      `set BERTH_SUBNET to a free one${free === undefined ? '' : `, for instance ${free}`}.`,
  )
}

async function routesOf(): Promise<RouteRow[]> {
  const rows: unknown = JSON.parse((await runCommand('ip', ['-json', '-4', 'route', 'show'])) || '[]')
  if (!Array.isArray(rows)) return []
  return rows.flatMap((row: unknown) => {
    if (typeof row !== 'object' || row === null || !('dst' in row) || typeof row.dst !== 'string') return []
    return [{ dst: row.dst, dev: 'dev' in row && typeof row.dev === 'string' ? row.dev : null }]
  })
}

/** A route's destination is `default`, an address, or a network; the default route takes nothing away. */
function overlaps(dst: string, wanted: Subnet): boolean {
  const [address = '', length = '32'] = dst.split('/')
  const base = parseIpv4(address)
  const prefixLength = Number(length)
  return base !== null && prefixLength > 0 && subnetsOverlap({ base, prefixLength }, wanted)
}

async function addressesOf(bridge: string): Promise<string[]> {
  const rows: unknown = JSON.parse((await runCommand('ip', ['-json', '-4', 'address', 'show', 'dev', bridge])) || '[]')
  if (!Array.isArray(rows)) return []
  return rows.flatMap((row: unknown) => {
    const list = typeof row === 'object' && row !== null && 'addr_info' in row ? row.addr_info : null
    if (!Array.isArray(list)) return []
    return list.flatMap((info: unknown) =>
      typeof info === 'object' && info !== null && 'local' in info && 'prefixlen' in info ? [`${String(info.local)}/${String(info.prefixlen)}`] : [],
    )
  })
}

/**
 * QEMU's user must open the device to reach its own tap. Everywhere with udev it has mode 0666 (the
 * kernel asks for rights when a tap is made, not when it is opened); without udev it is root's.
 */
async function openTunDevice(): Promise<void> {
  const { mode } = await stat('/dev/net/tun')
  if ((mode & 0o006) !== 0o006) await chmod('/dev/net/tun', 0o666)
}

async function setSwitch(path: string, value: string): Promise<void> {
  try {
    await writeFile(`/proc/sys/${path}`, value)
  } catch (error) {
    // A kernel without IPv6 has nothing to switch off.
    if (path.startsWith('net/ipv6/') && error instanceof Error && 'code' in error && error.code === 'ENOENT') return
    const setting = path.replaceAll('/', '.')
    throw new BerthError('host_unavailable', `The kernel setting ${setting} could not be set to ${value}; set it with sysctl, or choose BERTH_NETWORK=user.`, { cause: error })
  }
}

/**
 * Docker and ufw drop forwarded packets that they don't know, whatever our own tables say. Where such
 * a policy stands, our bridge is let through there (in Docker's own chain for that, if it has one);
 * our tables still decide.
 */
async function openForeignFirewall(bridge: string): Promise<void> {
  const forward = await iptablesRules('FORWARD')
  if (forward === null || !forward.includes('-P FORWARD DROP')) return
  const chain = (await iptablesRules('DOCKER-USER')) === null ? 'FORWARD' : 'DOCKER-USER'
  const present = (await iptablesRules(chain)) ?? ''
  for (const rule of foreignRules(bridge)) {
    if (present.includes(`-A ${chain} ${rule.join(' ')}`)) continue
    await runCommand('iptables', ['-w', '-I', chain, ...rule])
  }
}

async function closeForeignFirewall(bridge: string): Promise<void> {
  for (const chain of ['FORWARD', 'DOCKER-USER']) {
    const present = (await iptablesRules(chain)) ?? ''
    for (const rule of foreignRules(bridge)) {
      if (present.includes(`-A ${chain} ${rule.join(' ')}`)) await runCommand('iptables', ['-w', '-D', chain, ...rule])
    }
  }
}

function foreignRules(bridge: string): string[][] {
  return [['-i', bridge, '-j', 'ACCEPT'], ['-o', bridge, '-j', 'ACCEPT']]
}

/** The rules of a chain of the filter table; null without iptables or without that chain. */
async function iptablesRules(chain: string): Promise<string | null> {
  try {
    return await runCommand('iptables', ['-w', '-S', chain])
  } catch (error) {
    if (error instanceof CommandFailed || (error instanceof BerthError && error.code === 'host_unavailable')) return null
    throw error
  }
}
