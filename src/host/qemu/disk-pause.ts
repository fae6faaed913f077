/**
 * A guest whose disk could not be written because the host's is full: QEMU pauses it rather than show it a
 * broken disk. Here that is told, and the guest goes on as soon as there is room.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { BerthError } from '../../instance/errors.ts'
import type { QmpEvent } from './qmp.ts'
import type { Live, Seat } from './seat.ts'

const RETRY_MS = 2_000
/** Longer than anything that a guest is asked for. */
const WATCH_MS = 300_000
export const DISK_PAUSE_REASON = 'The guest is paused because the disk of the host is full; free some space, and it goes on by itself.'

/** Watches for such pauses as long as the VMM runs. */
export function continueAfterFullDisk(seat: Seat, live: Live): void {
  let waiting = false
  live.vmm.qmp.onEvent(event => {
    if (!isPause(event) || waiting) return
    waiting = true
    keepTrying(seat, live)
      .catch((error: unknown) => seat.context.log.warn({ err: error, instance: seat.id }, 'a guest that was paused by a full disk could not be continued'))
      .finally(() => {
        waiting = false
      })
  })
}

/**
 * Asks a guest for what may write to its disk; `disk_full` at once if it is paused for that, or comes to be. Otherwise the
 * seat would wait with it, and with the seat whoever lets it go on.
 */
export async function unlessFull<T>({ vmm }: Live, ask: () => Promise<T>): Promise<T> {
  const asked = new AbortController()
  const full = () => new BerthError('disk_full', DISK_PAUSE_REASON)
  const paused = vmm.qmp.nextEvent(isPause, WATCH_MS, asked.signal).then(
    () => Promise.reject(full()),
    () => new Promise<never>(() => undefined), // it ended, or nobody asks any more: the answer tells
  )
  paused.catch(() => undefined) // told by the race, if that is not over
  try {
    if (await isPaused({ vmm })) throw full()
    return await Promise.race([ask(), paused])
  } finally {
    asked.abort()
  }
}

function isPause({ event, data }: QmpEvent): boolean {
  return event === 'BLOCK_IO_ERROR' && data['action'] === 'stop'
}

async function keepTrying(seat: Seat, live: Live): Promise<void> {
  seat.context.emit({ kind: 'agent', vm: seat.ref(), reachable: false, reason: DISK_PAUSE_REASON })
  await seat.note(DISK_PAUSE_REASON)
  do {
    await sleep(RETRY_MS, undefined, { ref: false })
    // In the seat's line: a standby or a stop has its own reasons to pause.
    await seat
      .serially(async () => {
        if (isCurrent(seat, live) && (await isPaused(live))) await live.vmm.qmp.execute('cont')
      })
      .catch((error: unknown) => seat.context.log.warn({ err: error, instance: seat.id }, 'a guest that was paused by a full disk could not be continued; it is tried again'))
    await sleep(RETRY_MS, undefined, { ref: false })
  } while (isCurrent(seat, live) && (await isPaused(live).catch(() => true))) // not told in time: asked again
  if (!isCurrent(seat, live)) return
  seat.context.emit({ kind: 'agent', vm: seat.ref(), reachable: true, reason: null })
  await seat.note('there is room on the disk again, the guest goes on')
}

function isCurrent(seat: Seat, live: Live): boolean {
  return seat.live === live && !live.vmm.hasEnded && seat.record?.status === 'running'
}

async function isPaused(live: Pick<Live, 'vmm'>): Promise<boolean> {
  const status = await live.vmm.qmp.execute('query-status')
  return typeof status === 'object' && status !== null && 'status' in status && status.status === 'io-error'
}
