/**
 * The network of a host's instances: the front door of this room.
 *
 *   openNetwork ─▶ ensure ─▶ plug ⇄ unplug … ─▶ (server ends; all of it stays for the guests that run on)
 *                                        sweep: what no instance owns goes
 *                                        teardown: all goes
 *
 * Three modes: `bridge` (root: tap, NAT, firewall), `user` (QEMU plays the network), `none`.
 * Every call can be repeated. After `ensure`, plug each VM that still runs once more: that costs
 * nothing if its rules are in place, and puts them there if they aren't.
 */
import { existsSync } from 'node:fs'
import { access, constants, readFile } from 'node:fs/promises'
import { delimiter, join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import { capacityOf, formatSubnet, gatewayOf, indexOfAddress, netmaskOf, parseIpv4, parseSubnet } from '../../instance/address.ts'
import type { Subnet } from '../../instance/address.ts'
import { BerthError } from '../../instance/errors.ts'
import type { FirewallRule, InstanceId, PortMapping } from '../../instance/model.ts'
import { TOOL_PATH } from '../command.ts'
import { ensureBridge, removeBridge } from './bridge.ts'
import { allowedBy } from './allowed.ts'
import type { Allowed } from './allowed.ts'
import { Firewall } from './firewall.ts'
import { refusePortsInUse } from './listeners.ts'
import { checkBridgeName, groupKey, ownerName, tapName, tapPrefix } from './names.ts'
import { hostResolvers } from './resolvers.ts'
import { makeBlankTap, makeTap, placeOf, removeTaps, tapCounters, tapsWithPrefix } from './tap.ts'
import type { TapCounters, TapRequest } from './tap.ts'
import { USER_MODE_WARNING, userModeOptions, userModeResolver } from './user-mode.ts'

export type NetworkMode = 'bridge' | 'user' | 'none'

export const DEFAULT_SUBNET = '10.73.0.0/16'
export const DEFAULT_BRIDGE = 'berth0'

export interface NetworkOptions {
  /** Default `auto`: bridge where Berth has the rights and tools for it, else user. */
  readonly mode?: NetworkMode | 'auto'
  readonly subnet?: string
  readonly bridgeName?: string
  /** Default: the host's own name servers. */
  readonly dns?: readonly string[]
  /** Whose bridge it is, e.g. the data directory; two owners can't share one. */
  readonly owner?: string
}

export interface NetworkFacts {
  readonly mode: NetworkMode
  /** Why this mode, in one sentence. */
  readonly reason: string
  readonly subnet: string
  readonly gateway: string
  readonly netmask: string
  readonly dns: readonly string[]
  /** How many instances have an address. */
  readonly capacity: number
  readonly warnings: readonly string[]
}

export interface PlugRequest {
  readonly instanceId: InstanceId
  readonly ip: string
  readonly mac: string
  /** The user that QEMU runs as. */
  readonly ownerUid: number
  readonly downloadBytesPerSecond: number | null
  readonly uploadBytesPerSecond: number | null
  readonly ports: readonly PortMapping[]
  readonly peerGroup: string | null
  /** TCP ports of the gateway that the guest may open connections to. */
  readonly hostPorts?: readonly number[]
  /** All that may reach the guest, beside answers; null or absent is no firewall. */
  readonly firewall?: readonly FirewallRule[] | null
  /** The tap of `plugBlank`, which becomes this instance's. */
  readonly blankTap?: string
}

/** What QEMU is to be given. */
export type Plug =
  /** `-netdev tap,id=…,ifname=TAP,script=no,downscript=no` */
  | { readonly kind: 'tap'; readonly tap: string }
  /** `-netdev user,id=…,OPTIONS` */
  | { readonly kind: 'user'; readonly options: string; readonly warning: string }
  /** No network card at all. */
  | { readonly kind: 'none' }

export interface Network {
  facts(): NetworkFacts
  /** Makes the bridge and the rules; keeps what is there of instances that run. */
  ensure(): Promise<void>
  /** Connects an instance: the same one gets the same tap. Throws `port_in_use`. */
  plug(request: PlugRequest): Promise<Plug>
  /** Replaces what may reach an instance that is plugged, at once; null takes its firewall away. */
  setFirewall(instanceId: InstanceId, rules: readonly FirewallRule[] | null): Promise<void>
  /** Replaces the ports that lead to an instance that is plugged, at once. Throws `port_in_use`. */
  setPorts(instanceId: InstanceId, ports: readonly PortMapping[]): Promise<void>
  /** A tap that leads nowhere, for a VM that waits to be somebody; `unplug` removes it. null where there are no taps. */
  plugBlank(id: InstanceId, ownerUid: number): Promise<string | null>
  /** Removes what `plug` made. */
  unplug(instanceId: InstanceId): Promise<void>
  /** Removes what belongs to no instance of these, and repairs rules that somebody flushed; gives the taps removed. */
  sweep(keep: Iterable<InstanceId>): Promise<readonly string[]>
  /** Those of the instances that were plugged and whose tap is not on the machine any more. */
  missing(instances: readonly InstanceId[]): Promise<readonly InstanceId[]>
  /** Bytes since the tap was made, as the guest sees them; null where nobody counts. */
  counters(instanceId: InstanceId): Promise<TapCounters | null>
  /** Removes bridge, taps and rules: what `ensure` and `plug` made, but for the kernel's forwarding switch. */
  teardown(): Promise<void>
}

/** The settings an operator has: BERTH_NETWORK, BERTH_SUBNET, BERTH_BRIDGE, BERTH_DNS. */
export function networkOptionsFrom(env: Readonly<Record<string, string | undefined>>): NetworkOptions {
  const mode = env['BERTH_NETWORK'] ?? 'auto'
  if (mode !== 'auto' && mode !== 'bridge' && mode !== 'user' && mode !== 'none') {
    throw new BerthError('invalid_request', `BERTH_NETWORK is "${mode}"; it can be auto, bridge, user or none.`)
  }
  const subnet = env['BERTH_SUBNET']
  const bridgeName = env['BERTH_BRIDGE']
  const dns = env['BERTH_DNS']
  return {
    mode,
    ...(subnet === undefined ? {} : { subnet }),
    ...(bridgeName === undefined ? {} : { bridgeName }),
    ...(dns === undefined ? {} : { dns: dns.split(/[\s,]+/).filter((address) => address !== '') }),
  }
}

/** Decides the mode and checks the settings; changes nothing on the machine before `ensure`. */
export async function openNetwork(options: NetworkOptions = {}): Promise<Network> {
  const subnet = parseSubnet(options.subnet ?? DEFAULT_SUBNET)
  const bridge = options.bridgeName ?? DEFAULT_BRIDGE
  checkBridgeName(bridge)
  const dns = checkResolvers(options.dns ?? [])
  const { mode, reason } = await chooseMode(options.mode ?? 'auto')
  const facts: NetworkFacts = {
    mode,
    reason,
    subnet: formatSubnet(subnet),
    gateway: gatewayOf(subnet),
    netmask: netmaskOf(subnet),
    dns: mode === 'user' ? [userModeResolver(subnet)] : dns.length > 0 ? dns : await hostResolvers(),
    capacity: capacityOf(subnet),
    warnings: mode === 'user' ? [USER_MODE_WARNING] : mode === 'none' ? ['Instances have no network (BERTH_NETWORK=none).'] : [],
  }
  if (mode === 'bridge') return bridgeNetwork(facts, subnet, bridge, ownerName(options.owner ?? 'berth'))
  return mode === 'user' ? userNetwork(facts, subnet) : noNetwork(facts)
}

function bridgeNetwork(facts: NetworkFacts, subnet: Subnet, bridge: string, owner: string): Network {
  const config = { bridge, subnet, tapPrefix: tapPrefix(bridge) }
  const firewall = new Firewall(config)
  const nameOf = (instanceId: InstanceId) => tapName(bridge, instanceId)
  /** As they were made, and where they then stood: one that still stands so needs no tool. */
  const made = new Map<string, { readonly request: TapRequest; readonly place: string }>()
  /** Somebody may take the bridge away: it is made anew, and the taps that hung on it are put back. */
  let healing: Promise<void> | null = null
  const heal = (): Promise<void> => {
    if (healing === null && existsSync(`/sys/class/net/${bridge}`)) return Promise.resolve()
    healing ??= rebuild().finally(() => {
      healing = null
    })
    return healing
  }
  const rebuild = async () => {
    await ensureBridge(config, owner)
    const there = new Set(await tapsWithPrefix(config.tapPrefix))
    for (const { request } of made.values()) if (there.has(request.tap)) await makeTap(request)
  }
  const ensureTap = async (request: TapRequest) => {
    const { blankTap, ...asked } = request
    await heal()
    const known = made.get(request.tap)
    const place = await placeOf(request.tap)
    if (blankTap === undefined && place !== null && known?.place === place && isDeepStrictEqual(known.request, asked)) return
    made.delete(request.tap)
    await makeTap(request)
    const now = await placeOf(request.tap)
    if (now !== null) made.set(request.tap, { request: asked, place: now })
  }
  const remove = async (taps: readonly string[]) => {
    for (const tap of taps) made.delete(tap)
    // The tap first: without its elements it would be closed, but for its published ports there is no reason to wait.
    await Promise.all([removeTaps(taps), firewall.remove(taps)])
  }
  const ensure = async () => {
    await ensureBridge(config, owner)
    await firewall.install()
  }
  return {
    facts: () => facts,
    ensure,
    plug: async (request) => {
      checkPlug(request, subnet)
      const tap = nameOf(request.instanceId)
      const known = firewall.guest(tap)
      await refuseFresh(request.ports, known)
      const { ip, mac, uploadBytesPerSecond, ports, hostPorts = [] } = request
      const allowed = allowedOf(request)
      const rules = firewall.put({ tap, ip, mac, uploadBytesPerSecond, ports, hostPorts, allowed }, request.peerGroup === null ? null : groupKey(request.peerGroup))
      const { instanceId, ownerUid, downloadBytesPerSecond, blankTap } = request
      const standing = ensureTap({ tap, bridge, instanceId, ownerUid, downloadBytesPerSecond, ...(blankTap === undefined ? {} : { blankTap }) })
      const failed = (await Promise.allSettled([rules, standing])).find((result) => result.status === 'rejected')
      if (failed !== undefined) {
        if (known === undefined) await remove([tap])
        throw failed.reason
      }
      return { kind: 'tap', tap }
    },
    setFirewall: async (instanceId, rules) => firewall.setAllowed(nameOf(instanceId), rules === null ? null : allowedBy(rules)),
    setPorts: async (instanceId, ports) => {
      const tap = nameOf(instanceId)
      await refuseFresh(ports, firewall.guest(tap))
      await firewall.setPorts(tap, ports)
    },
    plugBlank: async (id, ownerUid) => {
      const tap = nameOf(id)
      await makeBlankTap(tap, ownerUid)
      return tap
    },
    unplug: (instanceId) => remove([nameOf(instanceId)]),
    sweep: async (keep) => {
      if (!(await firewall.installed())) await ensure()
      const kept = new Set(Array.from(keep, nameOf))
      const there = new Set([...(await tapsWithPrefix(config.tapPrefix)), ...firewall.taps()])
      const gone = [...there].filter((tap) => !kept.has(tap))
      await remove(gone)
      return gone
    },
    missing: async (instances) => {
      if (instances.length > 0) await heal()
      const there = new Set(instances.length === 0 ? [] : await tapsWithPrefix(config.tapPrefix))
      return instances.filter((id) => !there.has(nameOf(id)))
    },
    counters: (instanceId) => tapCounters(nameOf(instanceId)),
    teardown: async () => {
      await removeTaps(await tapsWithPrefix(config.tapPrefix))
      await firewall.uninstall()
      await removeBridge(bridge)
    },
  }
}

function userNetwork(facts: NetworkFacts, subnet: Subnet): Network {
  return {
    ...withoutKernel(facts),
    plug: async (request) => {
      checkPlug(request, subnet)
      if ((request.firewall ?? null) !== null) throw noFirewall()
      await refusePortsInUse(request.ports)
      return { kind: 'user', options: userModeOptions(subnet, request.ip, request.ports), warning: USER_MODE_WARNING }
    },
  }
}

function noNetwork(facts: NetworkFacts): Network {
  return { ...withoutKernel(facts), plug: async () => ({ kind: 'none' }) }
}

/** Where nothing is kept in the kernel there is nothing to make or remove. */
function withoutKernel(facts: NetworkFacts): Omit<Network, 'plug'> {
  return {
    facts: () => facts,
    ensure: async () => undefined,
    setFirewall: async (_instanceId, rules) => {
      if (rules !== null) throw noFirewall()
    },
    // QEMU was told its ports when it started; the next start brings others along.
    setPorts: async () => undefined,
    plugBlank: async () => null,
    unplug: async () => undefined,
    sweep: async () => [],
    missing: async () => [],
    counters: async () => null,
    teardown: async () => undefined,
  }
}

/** What is joined into rules and commands was made by the engine; it is checked here all the same. */
function checkPlug(request: PlugRequest, subnet: Subnet): void {
  const { instanceId, ip, mac, ports } = request
  const portsFit = ports.every(({ hostPort, guestPort, protocol }) => isPort(hostPort) && isPort(guestPort) && (protocol === 'tcp' || protocol === 'udp'))
  const twice = new Set(ports.map(({ hostPort, protocol }) => `${protocol}/${hostPort}`)).size !== ports.length
  if (!/^[0-9a-zA-Z-]{1,64}$/.test(instanceId)) throw new BerthError('invalid_request', 'The instance id is not one.')
  if (indexOfAddress(subnet, ip) === null) throw new BerthError('invalid_request', `The address ${ip} is not one for instances in ${formatSubnet(subnet)}.`)
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/.test(mac)) throw new BerthError('invalid_request', `"${mac}" is no MAC address.`)
  if (!portsFit) throw new BerthError('invalid_request', 'A published port is not within 1-65535 or neither tcp nor udp.')
  if (twice) throw new BerthError('invalid_request', 'A host port is published twice; give each mapping a host port of its own.')
  for (const rate of [request.downloadBytesPerSecond, request.uploadBytesPerSecond]) {
    if (rate !== null && !(Number.isSafeInteger(rate) && rate > 0)) throw new BerthError('invalid_request', 'A bandwidth limit is a whole number of bytes a second, above 0.')
  }
}

function allowedOf({ firewall = null }: PlugRequest): Allowed | null {
  return firewall === null ? null : allowedBy(firewall)
}

function noFirewall(): BerthError {
  return new BerthError('not_supported', 'Firewall rules need the bridge network: run Berth as root, with BERTH_NETWORK=bridge.')
}

function isPort(value: number): boolean {
  return Number.isInteger(value) && value >= 1 && value <= 65535
}

/** Ports that a guest has already are its own; others must be nobody's. */
async function refuseFresh(ports: readonly PortMapping[], known: { readonly ports: readonly PortMapping[] } | undefined): Promise<void> {
  await refusePortsInUse(ports.filter((port) => known?.ports.some((held) => samePort(held, port)) !== true))
}

function samePort(one: PortMapping, other: PortMapping): boolean {
  return one.hostPort === other.hostPort && one.protocol === other.protocol
}

function checkResolvers(dns: readonly string[]): readonly string[] {
  for (const address of dns) {
    if (parseIpv4(address) === null) throw new BerthError('invalid_request', `BERTH_DNS has "${address}", which is no IPv4 address; write addresses with commas between.`)
  }
  return dns
}

async function chooseMode(wanted: NetworkMode | 'auto'): Promise<{ readonly mode: NetworkMode; readonly reason: string }> {
  if (wanted === 'none' || wanted === 'user') return { mode: wanted, reason: `BERTH_NETWORK=${wanted}.` }
  const missing = await whyNoBridge()
  if (missing === null) return { mode: 'bridge', reason: 'Berth may configure the network, and the tools are there.' }
  if (wanted === 'auto') return { mode: 'user', reason: missing }
  throw new BerthError('host_unavailable', `BERTH_NETWORK=bridge is not possible: ${missing}`)
}

async function whyNoBridge(): Promise<string | null> {
  if (!(await mayAdministerNetwork())) return 'Configuring the network needs root (CAP_NET_ADMIN).'
  for (const [tool, from] of [['ip', 'iproute2'], ['tc', 'iproute2'], ['nft', 'nftables']] as const) {
    if (!(await onToolPath(tool))) return `The tool ${tool} is missing; install the package ${from}.`
  }
  if (!(await canUse('/dev/net/tun', constants.R_OK | constants.W_OK))) return 'The device /dev/net/tun is missing; load the kernel module tun.'
  return null
}

/** Bit 12 of the effective capabilities is CAP_NET_ADMIN. */
async function mayAdministerNetwork(): Promise<boolean> {
  const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(await readFile('/proc/self/status', 'utf8'))?.[1] ?? '0'
  return ((BigInt(`0x${effective}`) >> 12n) & 1n) === 1n
}

async function onToolPath(tool: string): Promise<boolean> {
  const found = await Promise.all(TOOL_PATH.split(delimiter).map((folder) => canUse(join(folder, tool), constants.X_OK)))
  return found.includes(true)
}

async function canUse(path: string, mode: number): Promise<boolean> {
  try {
    await access(path, mode)
    return true
  } catch {
    // Not there, or not ours: either way it can't be used.
    return false
  }
}
