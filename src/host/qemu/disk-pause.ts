/**
 * A guest whose disk could not be written because the host's is full: QEMU pauses it rather than show it a
 * broken disk. Here that is told, and the guest goes on as soon as there is room.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Live, Seat } from './seat.ts'

const RETRY_MS = 2_000
export const DISK_PAUSE_REASON = 'The guest is paused because the disk of the host is full; free some space, and it goes on by itself.'

/** Watches for such pauses as long as the VMM runs. */
export function continueAfterFullDisk(seat: Seat, live: Live): void {
  let waiting = false
  live.vmm.qmp.onEvent(({ event, data }) => {
    if (event !== 'BLOCK_IO_ERROR' || data['action'] !== 'stop' || waiting) return
    waiting = true
    keepTrying(seat, live)
      .catch((error: unknown) => seat.context.log.warn({ err: error, instance: seat.id }, 'a guest that was paused by a full disk could not be continued'))
      .finally(() => {
        waiting = false
      })
  })
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

async function isPaused(live: Live): Promise<boolean> {
  const status = await live.vmm.qmp.execute('query-status')
  return typeof status === 'object' && status !== null && 'status' in status && status.status === 'io-error'
}
