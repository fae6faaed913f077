/**
 * Naps: VMs in standby whose process is still there, paused, though all of it is saved. Whoever is woken soon goes on in
 * it, with all that an emulated CPU has translated; from its files it would have to do that again.
 *
 *   standby, saved ─▶ napping ─▶ taken: it goes on           budget, age, memory of the machine, another use ─▶ ended
 *
 * Invariants: a nap is never the only copy, so that it can be ended at any moment; its guest runs no instruction, and its
 * agent answered until it slept; it is taken only for the very machine that it is. What all have for themselves stays
 * below the budget: the oldest goes first. They end with the server, or the next one ends them by their record.
 */
import { readFile } from 'node:fs/promises'
import { isDeepStrictEqual } from 'node:util'
import type { KeptSpec } from '../../engine/host-port.ts'
import type { InstanceId } from '../../instance/model.ts'
import type { VmContext } from './context.ts'
import { privateBytes } from './process.ts'
import type { Live, Seat } from './seat.ts'

/** Whoever sleeps longer gives its memory back to the machine. */
const LONGEST_MS = 15 * 60_000
const REVIEW_EVERY_MS = 30_000
/** With less than this part of its memory left the machine needs what naps hold. */
const FREE_PART = 0.1

interface Nap {
  readonly seat: Seat
  readonly live: Live
  readonly spec: KeptSpec
  readonly since: number
  /** null until it was measured. */
  bytes: number | null
}

export class Naps {
  readonly #budgetBytes: number
  readonly #log: VmContext['log']
  /** Oldest first. */
  readonly #naps = new Map<InstanceId, Nap>()
  readonly #review: NodeJS.Timeout

  constructor(budgetBytes: number, log: VmContext['log']) {
    this.#budgetBytes = budgetBytes
    this.#log = log
    this.#review = setInterval(() => this.#inBackground(this.#lookAtAll()), REVIEW_EVERY_MS)
    this.#review.unref()
  }

  /** Keeps a paused VM whose state is saved. Call it in the seat's line. */
  keep(seat: Seat, live: Live): void {
    const nap: Nap = { seat, live, spec: seat.known.spec, since: performance.now(), bytes: null }
    this.#naps.set(seat.id, nap)
    void live.vmm.ended.then(() => this.#inBackground(this.#endInLine(nap)))
    this.#inBackground(this.#measure(nap))
  }

  /** The VM that naps in this seat, for a life with this spec: the caller's from now on. null if it can't be that. */
  async take(seat: Seat, spec: KeptSpec): Promise<Live | null> {
    const nap = this.#naps.get(seat.id)
    if (nap === undefined) return null
    const isUsable = !nap.live.vmm.hasEnded && isSameMachine(nap.spec, spec) && seat.hasSockets && (await answers(nap.live)) && (await hasItsTap(seat))
    if (isUsable) this.#naps.delete(seat.id)
    else await this.end(seat)
    return isUsable ? nap.live : null
  }

  /** Ends what naps in this seat. Call it in the seat's line. */
  async end(seat: Seat): Promise<void> {
    const nap = this.#naps.get(seat.id)
    if (nap === undefined) return
    // One that could not be ended is still one: nothing else may start on its files, and the next look tries again.
    await endVm(seat, nap.live)
    this.#naps.delete(seat.id)
  }

  async close(): Promise<void> {
    clearInterval(this.#review)
    const naps = [...this.#naps.values()]
    const ends = await Promise.allSettled(naps.map((nap) => this.#endInLine(nap)))
    for (const end of ends) if (end.status === 'rejected') this.#log.warn({ err: end.reason }, 'a VM in standby could not be ended; the next server ends it')
  }

  async #measure(nap: Nap): Promise<void> {
    nap.bytes = await privateBytes(nap.live.vmm.identity.pid)
    await this.#trim()
  }

  async #lookAtAll(): Promise<void> {
    const isShort = await isMemoryShort()
    const late = [...this.#naps.values()].filter(({ since, live }) => isShort || live.vmm.hasEnded || performance.now() - since > LONGEST_MS)
    await Promise.all(late.map((nap) => this.#endInLine(nap)))
    await this.#trim()
  }

  async #trim(): Promise<void> {
    let used = [...this.#naps.values()].reduce((sum, { bytes }) => sum + (bytes ?? 0), 0)
    const tooMany: Nap[] = []
    for (const nap of this.#naps.values()) {
      if (used <= this.#budgetBytes) break
      used -= nap.bytes ?? 0
      tooMany.push(nap)
    }
    await Promise.all(tooMany.map((nap) => this.#endInLine(nap)))
  }

  /** Unless it was taken before its turn came. */
  #endInLine(nap: Nap): Promise<void> {
    return nap.seat.serially(async () => {
      if (this.#naps.get(nap.seat.id) === nap) await this.end(nap.seat)
    })
  }

  #inBackground(work: Promise<void>): void {
    work.catch((error: unknown) => this.#log.warn({ err: error }, 'a VM in standby could not be ended; it is tried again'))
  }
}

/** Ends a VM that is saved, with what it had beside its files. */
export async function endVm(seat: Seat, { vmm }: Live): Promise<void> {
  await vmm.quit()
  await seat.believe({ process: null })
  await seat.context.cgroups.remove(seat.id)
}

/** Volumes come and go while it runs, and are what its record says. Ports matter where QEMU itself listens on them. */
function isSameMachine(one: KeptSpec, other: KeptSpec): boolean {
  const machine = ({ vcpus, memoryBytes, overlayBytes, diskIoBytesPerSecond, network }: KeptSpec) => [vcpus, memoryBytes, overlayBytes, diskIoBytesPerSecond, network?.mac, network?.ip, network?.ports]
  return isDeepStrictEqual(machine(one), machine(other))
}

/** A process may have ended a moment ago. */
async function answers({ vmm }: Live): Promise<boolean> {
  return await vmm.qmp.execute('query-status').then(
    () => true,
    () => false,
  )
}

async function hasItsTap({ context, id, known }: Seat): Promise<boolean> {
  return known.spec.network === null || (await context.network.missing([id])).length === 0
}

async function isMemoryShort(): Promise<boolean> {
  const text = await readFile('/proc/meminfo', 'utf8')
  const kib = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(text)?.[1])
  return kib('MemAvailable') < kib('MemTotal') * FREE_PART
}
