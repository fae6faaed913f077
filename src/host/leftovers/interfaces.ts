/** Bridges, taps and rules of a network whose Berth is gone. */
import { readdir } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { macOf, parseIpv4 } from '../../instance/address.ts'
import { CommandFailed, runCommand } from '../command.ts'
import { removeBridge } from '../network/bridge.ts'
import { MAX_OWNER_LENGTH, tapPrefix } from '../network/names.ts'
import { removeTables } from '../network/ruleset.ts'
import { readNetFile, removeTaps, tapsWithPrefix } from '../network/tap.ts'
import { FIRST_UID } from '../qemu/jail.ts'
import { isGone, type Leftover } from './leftover.ts'
import { tapsInUse } from './processes.ts'

/** What every MAC of Berth's begins with; an address follows. */
const MAC_PREFIX = macOf('0.0.0.0').slice(0, 5)
const INSTANCE_TAP = /^bth[a-z2-9]{12}$/
const TEMPLATE_TAP = /^bt[0-9a-f]{8}$/
const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/
/** A tap is opened by its VM at once. */
const IDLE_MS = 5_000

export async function interfaceLeftovers(): Promise<readonly Leftover[]> {
  const names = await readdir('/sys/class/net')
  const bridges: string[] = []
  for (const name of names) if ((await readNetFile(name, 'bridge/bridge_id')) !== null) bridges.push(name)
  const prefixes = bridges.map(tapPrefix)
  const found: Leftover[] = []
  for (const bridge of bridges) {
    const leftover = await bridgeLeftover(bridge)
    if (leftover !== null) found.push(leftover)
  }
  for (const tap of names) {
    if (INSTANCE_TAP.test(tap) && !prefixes.some((prefix) => tap.startsWith(prefix)) && (await isIdleTap(tap))) found.push(orphanTap(tap))
    if (TEMPLATE_TAP.test(tap) && (await isIdleTap(tap)) && isOfVms(await readNetFile(tap, 'owner'))) {
      const leftover = await templateTapLeftover(tap)
      if (leftover !== null) found.push(leftover)
    }
  }
  return [...found, ...(await tableLeftovers(names))]
}

async function bridgeLeftover(bridge: string): Promise<Leftover | null> {
  const address = await readNetFile(bridge, 'address')
  const owner = await readNetFile(bridge, 'ifalias')
  if (address === null || !address.startsWith(MAC_PREFIX) || owner === null || !isDirectoryName(owner) || !(await isOrphan(bridge, owner))) return null
  return {
    kind: 'bridge',
    name: bridge,
    why: `its data directory ${owner} is gone`,
    remove: async () => {
      if ((await readNetFile(bridge, 'ifalias')) !== owner || !(await isOrphan(bridge, owner))) return false
      await removeTaps(await tapsWithPrefix(tapPrefix(bridge)))
      await removeRules(bridge)
      await removeBridge(bridge)
      return true
    },
  }
}

/** Nobody owns it, and no VM hangs on it. */
async function isOrphan(bridge: string, owner: string): Promise<boolean> {
  for (const port of await readdir(`/sys/class/net/${bridge}/brif`)) if ((await readNetFile(port, 'carrier')) === '1') return false
  return await isGone(owner)
}

/** An alias is a data directory's name, with what `ip` can't take replaced by `_`: then it could be another's. */
function isDirectoryName(owner: string): boolean {
  return owner.startsWith('/') && owner.length < MAX_OWNER_LENGTH && !owner.includes('_')
}

function orphanTap(tap: string): Leftover {
  return {
    kind: 'tap',
    name: tap,
    why: 'its bridge is gone, and no VM has it',
    remove: async () => {
      await sleep(IDLE_MS)
      const alias = await readNetFile(tap, 'ifalias')
      if (alias === null || !UUID.test(alias) || !(await isIdleTap(tap))) return false
      await removeTaps([tap])
      return true
    },
  }
}

/** Of a template that was being made when its server was killed. */
async function templateTapLeftover(tap: string): Promise<Leftover | null> {
  const owner = await readNetFile(tap, 'ifalias')
  if (owner === null || owner === '') return { kind: 'tap', name: tap, why: `a template was made on it once, by whom can't be told; if no server makes one now: ip link delete ${tap}`, remove: null }
  if (!isDirectoryName(owner) || !(await isGone(owner))) return null
  return {
    kind: 'tap',
    name: tap,
    why: `its data directory ${owner} is gone`,
    remove: async () => {
      if ((await readNetFile(tap, 'ifalias')) !== owner || !(await isIdleTap(tap)) || !(await isGone(owner))) return false
      await removeTaps([tap])
      return true
    },
  }
}

/** A tap that no process has open. One that is down tells nothing by its carrier. */
async function isIdleTap(tap: string): Promise<boolean> {
  return (await readNetFile(tap, 'tun_flags')) !== null && (await readNetFile(tap, 'carrier')) !== '1' && !(await tapsInUse()).has(tap)
}

function isOfVms(owner: string | null): boolean {
  return owner !== null && Number(owner) >= FIRST_UID
}

/** Berth's tables are called like their bridge. */
async function tableLeftovers(interfaces: readonly string[]): Promise<readonly Leftover[]> {
  const listed = await runCommand('nft', ['list', 'tables']).catch((error: unknown) => {
    // Without nft, or the right to ask it, there is nothing to find.
    if (error instanceof CommandFailed || (error instanceof Error && 'code' in error)) return ''
    throw error
  })
  const names = new Set(Array.from(listed.matchAll(/^table (?:bridge|ip) ([a-z][a-z0-9-]{0,14})$/gm), ([, name]) => name ?? ''))
  const found: Leftover[] = []
  for (const name of names) {
    if (interfaces.includes(name) || !(await isOurs(name))) continue
    found.push({
      kind: 'nftables table',
      name,
      why: 'the bridge that it is for is gone',
      remove: async () => {
        if ((await readNetFile(name, 'address')) !== null) return false
        await removeRules(name)
        return true
      },
    })
  }
  return found
}

/** Both tables are there, with our own chains and names of taps. */
async function isOurs(name: string): Promise<boolean> {
  const [frames, packets] = await Promise.all(['bridge', 'ip'].map((family) => runCommand('nft', ['list', 'table', family, name]).catch(() => '')))
  return frames?.includes(`iifname "${tapPrefix(name)}*" goto from_guest`) === true && packets?.includes('map published') === true
}

async function removeRules(bridge: string): Promise<void> {
  // With `add` first it works whether or not they are there.
  await runCommand('nft', ['-f', '-'], { input: removeTables({ bridge, tapPrefix: tapPrefix(bridge), subnet: { base: parseIpv4('0.0.0.0') ?? 0, prefixLength: 0 } }, 'add') })
}
