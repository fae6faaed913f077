/**
 * Keeps the link to a running VM's agent: connects again when it breaks, asks now and then whether the guest
 * still answers, and tells when that changes. When the application has ended and the guest doesn't power
 * off, it ends the VM.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { asBerthError } from '../../instance/errors.ts'
import type { GuestLink } from '../guest-link/link.ts'
import { connectLink } from './cold-boot.ts'
import { wakeGuest } from './identity-care.ts'
import type { Live, Seat } from './seat.ts'

const PING_EVERY_MS = 20_000
/** An emulated guest on a busy machine may well take this long. */
const PING_TIMEOUT_MS = 60_000
const CONNECT_TIMEOUT_MS = 60_000
const RETRY_MS = 1_000
const END_NOTICE_MS = 300
/** After the application has ended the guest writes its disks and powers off. */
const POWER_OFF_TIMEOUT_MS = 30_000

/** From now on `link` is the VM's link; null looks for one in the background. */
export function keepLink(seat: Seat, live: Live, link: GuestLink | null): void {
  if (link === null) {
    live.link = null
    searchInBackground(seat, live)
    return
  }
  live.link = link
  link.onExit((exit) => {
    live.exit = exit
    const timer = setTimeout(() => {
      if (!live.vmm.hasEnded) void live.vmm.quit().catch((error: unknown) => seat.context.log.warn({ err: error, instance: seat.id }, 'a VM did not end'))
    }, POWER_OFF_TIMEOUT_MS)
    timer.unref()
    void live.vmm.ended.then(() => clearTimeout(timer))
  })
  link.onClose((error) => {
    if (live.link !== link || !isCurrent(seat, live)) return
    live.link = null
    void lost(seat, live, error.message)
  })
  keepAsking(seat, live, link)
}

/** A link breaks when its VM ends, too: that is told as the end, and a moment later at most. */
async function lost(seat: Seat, live: Live, reason: string): Promise<void> {
  await Promise.race([live.vmm.ended, sleep(END_NOTICE_MS, undefined, { ref: false })])
  if (live.exit === null) tell(seat, live, false, reason)
  searchInBackground(seat, live)
}

function searchInBackground(seat: Seat, live: Live): void {
  search(seat, live).catch((error: unknown) => {
    seat.context.log.warn({ err: error, instance: seat.id }, "the search for a guest's agent ended")
  })
}

async function search(seat: Seat, live: Live): Promise<void> {
  while (isCurrent(seat, live) && live.link === null) {
    try {
      const link = await connectLink(seat.context, { instanceId: seat.id }, live.vmm, CONNECT_TIMEOUT_MS)
      if (!isCurrent(seat, live) || live.link !== null) {
        link.close()
        return
      }
      // It may have been asleep: with a server that died in the middle of a restore, for instance.
      await wakeGuest(seat, link)
      keepLink(seat, live, link)
      tell(seat, live, true, null)
      return
    } catch (error) {
      if (!isCurrent(seat, live)) return
      tell(seat, live, false, asBerthError(error).message)
    }
    await sleep(RETRY_MS, undefined, { ref: false })
  }
}

function keepAsking(seat: Seat, live: Live, link: GuestLink): void {
  let answers = true
  const timer = setInterval(() => {
    if (live.link !== link || !isCurrent(seat, live)) {
      clearInterval(timer)
      return
    }
    link.ping(PING_TIMEOUT_MS).then(
      () => {
        if (!answers) tell(seat, live, true, null)
        answers = true
      },
      (error: unknown) => {
        if (answers && live.link === link) tell(seat, live, false, asBerthError(error).message)
        answers = false
      },
    )
  }, PING_EVERY_MS)
  timer.unref()
}

function isCurrent(seat: Seat, live: Live): boolean {
  return seat.live === live && !live.vmm.hasEnded && seat.record?.status === 'running'
}

function tell(seat: Seat, live: Live, reachable: boolean, reason: string | null): void {
  if (isCurrent(seat, live)) seat.context.emit({ kind: 'agent', vm: seat.ref(), reachable, reason })
}
