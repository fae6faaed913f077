/**
 * The tap of an instance: a network interface whose other end QEMU holds. It belongs to an unprivileged
 * user from the start, so that QEMU opens it without rights of its own.
 */
import { readFileSync } from 'node:fs'
import { readdir } from 'node:fs/promises'
import { BerthError } from '../../instance/errors.ts'
import { CommandFailed, runCommand } from '../command.ts'
import { ipBatch } from './ip-batch.ts'

export interface TapRequest {
  readonly tap: string
  readonly bridge: string
  readonly ownerUid: number
  /** Kept as the interface's alias, for people who look with `ip link`. */
  readonly instanceId: string
  readonly downloadBytesPerSecond: number | null
  /** A tap that `makeBlankTap` made: it gets the name. */
  readonly blankTap?: string
}

export interface TapCounters {
  readonly rxBytes: number
  readonly txBytes: number
}

/** The queue in front of a download limit: what is older than this was sent too fast. */
const DOWNLOAD_LATENCY_MS = 100
/** A bucket holds 50 ms of the rate, and never less than one large frame. */
const DOWNLOAD_BURST_SECONDS = 0.05
const MIN_DOWNLOAD_BURST_BYTES = 128 * 1024
/** tc counts a bucket in 32 bits of ticks. */
const MAX_DOWNLOAD_BURST_BYTES = 32 * 1024 * 1024

/** Makes the tap as asked, or makes one that is there so; on the bridge, and up. */
export async function makeTap(request: TapRequest): Promise<void> {
  const { tap, bridge, ownerUid, instanceId, downloadBytesPerSecond, blankTap } = request
  const owner = blankTap === undefined ? await tapOwner(tap) : ownerUid
  const lines: string[] = []
  if (blankTap !== undefined) lines.push(`link set dev ${blankTap} name ${tap}`)
  if (owner !== null && owner !== ownerUid) lines.push(`link delete dev ${tap}`)
  if (owner !== ownerUid) lines.push(`tuntap add dev ${tap} mode tap user ${ownerUid}`)
  lines.push(`link set dev ${tap} master ${bridge} alias ${instanceId} addrgenmode none up`)
  try {
    await ipBatch(lines)
  } catch (error) {
    throw asTapError(error, tap)
  }
  if (downloadBytesPerSecond !== null) {
    await runCommand('tc', ['-batch', '-'], { input: `${downloadLimit(tap, downloadBytesPerSecond)}\n` })
  } else if (owner === ownerUid && blankTap === undefined) {
    await removeDownloadLimit(tap)
  }
}

/** A tap on no bridge, and down: nothing comes or goes. */
export async function makeBlankTap(tap: string, ownerUid: number): Promise<void> {
  try {
    await ipBatch([`tuntap add dev ${tap} mode tap user ${ownerUid}`])
  } catch (error) {
    throw asTapError(error, tap)
  }
}

/** Removes interfaces; those that are not there are skipped. */
export async function removeTaps(taps: readonly string[]): Promise<void> {
  const there = await existing(taps)
  if (there.length === 0) return
  try {
    await ipBatch(there.map((tap) => `link delete dev ${tap}`))
  } catch (error) {
    // Another caller may have removed one between our look and now, and the batch stopped there.
    for (const tap of await existing(there)) await removeOne(tap)
    if ((await existing(there)).length > 0) throw error
  }
}

/** Every interface whose name begins so. */
export async function tapsWithPrefix(prefix: string): Promise<string[]> {
  return (await readdir('/sys/class/net')).filter((name) => name.startsWith(prefix))
}

/** Which interface it is, whose, and how it stands on its bridge; null if it isn't there, up and on one. */
export async function placeOf(tap: string): Promise<string | null> {
  const [index, owner, flags, state] = await Promise.all(['ifindex', 'owner', 'flags', 'brport/state'].map((file) => readNetFile(tap, file)))
  const isUp = (Number(flags) & 1) === 1
  return isUp && (state ?? null) !== null ? `${index} ${owner}` : null
}

/** Bytes as the guest sees them: rx is what it received. null if there is no such tap. */
export async function tapCounters(tap: string): Promise<TapCounters | null> {
  const [rx, tx] = await Promise.all([readNetFile(tap, 'statistics/tx_bytes'), readNetFile(tap, 'statistics/rx_bytes')])
  return rx === null || tx === null ? null : { rxBytes: Number(rx), txBytes: Number(tx) }
}

/**
 * A file below /sys/class/net of an interface, trimmed; null if the interface or file isn't there. Read at once: the
 * kernel makes the text as it is read, and a thread for it would cost ten times as much.
 */
export async function readNetFile(name: string, file: string): Promise<string | null> {
  try {
    return readFileSync(`/sys/class/net/${name}/${file}`, 'utf8').trim()
  } catch (error) {
    // The interface may go at any moment; that it isn't there is an answer.
    if (error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENODEV' || error.code === 'EINVAL')) return null
    throw error
  }
}

function downloadLimit(tap: string, bytesPerSecond: number): string {
  const burst = Math.min(Math.max(Math.round(bytesPerSecond * DOWNLOAD_BURST_SECONDS), MIN_DOWNLOAD_BURST_BYTES), MAX_DOWNLOAD_BURST_BYTES)
  // In tc's words `bps` is bytes a second.
  return `qdisc replace dev ${tap} root tbf rate ${bytesPerSecond}bps burst ${burst} latency ${DOWNLOAD_LATENCY_MS}ms`
}

async function removeDownloadLimit(tap: string): Promise<void> {
  try {
    await runCommand('tc', ['qdisc', 'delete', 'dev', tap, 'root'])
  } catch (error) {
    // The kernel refuses to delete its own default, which is what a tap without a limit has.
    if (!(error instanceof CommandFailed)) throw error
  }
}

async function tapOwner(tap: string): Promise<number | null> {
  const owner = await readNetFile(tap, 'owner')
  return owner === null ? null : Number(owner)
}

async function existing(taps: readonly string[]): Promise<string[]> {
  const there = new Set(await readdir('/sys/class/net'))
  return taps.filter((tap) => there.has(tap))
}

async function removeOne(tap: string): Promise<void> {
  try {
    await runCommand('ip', ['link', 'delete', 'dev', tap])
  } catch (error) {
    // Gone meanwhile: that is what was wanted. The caller looks again.
    if (!(error instanceof CommandFailed)) throw error
  }
}

function asTapError(error: unknown, tap: string): unknown {
  if (!(error instanceof CommandFailed)) return error
  if (/exchange full|file table overflow/i.test(error.stderr)) {
    return new BerthError('limit_exceeded', 'The bridge has as many instances as Linux allows (1023); delete one, or run a second Berth with a bridge of its own.', { cause: error })
  }
  if (/resource busy/i.test(error.stderr)) {
    return new BerthError('host_unavailable', `The network interface ${tap} is held by a process that should be gone; end it, or wait and try again.`, { cause: error })
  }
  return new BerthError('host_unavailable', `The host could not make the network interface ${tap}: ${error.stderr.split('\n')[0] ?? ''}.`, { cause: error })
}
