/** What a running VM uses: from its cgroup or /proc, its tap, its disks, and the guest's own kernel. */
import { readFileSync } from 'node:fs'
import type { VmStats } from '../../engine/host-port.ts'
import type { Live, Seat } from './seat.ts'

const KIBIBYTE = 1024
/** Linux tells CPU time in hundredths of a second on every architecture Berth runs on. */
const TICKS_PER_SECOND = 100
const GUEST_TIMEOUT_MS = 2_000

export async function readStats(seat: Seat, live: Live): Promise<VmStats> {
  const { pid } = live.vmm.identity
  const process = readProcess(pid)
  const [use, network, disks, guest] = await Promise.all([
    seat.context.cgroups.use(seat.id),
    seat.context.network.counters(seat.id),
    readDisks(live),
    readGuest(live),
  ])
  return {
    at: Date.now(),
    cpuSeconds: use.cpuSeconds ?? process.cpuSeconds,
    memoryRssBytes: process.rssBytes,
    memoryVirtualBytes: process.virtualBytes,
    networkRxBytes: network?.rxBytes ?? 0,
    networkTxBytes: network?.txBytes ?? 0,
    diskReadBytes: disks.readBytes,
    diskWriteBytes: disks.writeBytes,
    guest,
  }
}

/** At once: the kernel makes these files as they are read, and a thread for each would cost ten times as much. */
function readProcess(pid: number): { cpuSeconds: number; rssBytes: number; virtualBytes: number } {
  const [status, stat] = ['status', 'stat'].map((file) => readOrNothing(`/proc/${pid}/${file}`))
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status ?? '')?.[1] ?? 0) * KIBIBYTE
  const fields = (stat ?? '').slice((stat ?? '').lastIndexOf(')') + 2).split(' ')
  const ticks = Number(fields[11] ?? 0) + Number(fields[12] ?? 0)
  return { cpuSeconds: ticks / TICKS_PER_SECOND, rssBytes: kilobytes('VmRSS'), virtualBytes: kilobytes('VmSize') }
}

function readOrNothing(path: string): string {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return '' // The process has ended.
  }
}

async function readDisks(live: Live): Promise<{ readBytes: number; writeBytes: number }> {
  const answer = await live.vmm.qmp.execute('query-blockstats')
  let readBytes = 0
  let writeBytes = 0
  for (const device of Array.isArray(answer) ? (answer as readonly unknown[]) : []) {
    if (typeof device !== 'object' || device === null || !('stats' in device)) continue
    const { stats } = device
    if (typeof stats !== 'object' || stats === null) continue
    if ('rd_bytes' in stats && typeof stats.rd_bytes === 'number') readBytes += stats.rd_bytes
    if ('wr_bytes' in stats && typeof stats.wr_bytes === 'number') writeBytes += stats.wr_bytes
  }
  return { readBytes, writeBytes }
}

async function readGuest(live: Live): Promise<VmStats['guest']> {
  if (live.link === null) return null
  const late = new Promise<null>((resolve) => setTimeout(() => resolve(null), GUEST_TIMEOUT_MS).unref())
  // A guest that doesn't answer has no numbers to tell; the rest is known without it.
  const memory = await Promise.race([live.link.memory().catch(() => null), late])
  return memory === null ? null : { memoryTotalBytes: memory.totalBytes, memoryAvailableBytes: memory.availableBytes }
}
