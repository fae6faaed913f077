/**
 * What a guest must be told before its programs run on, whenever it stood still: the time and new entropy; and if
 * it is a copy of another instance's guest, who it is now. One place, so that nobody who finds a guest asleep
 * (a restore, a new server, a link that was found again) can let it run with another's identity.
 */
import type { GuestLink } from '../guest-link/link.ts'
import { guestConfig } from './guest.ts'
import type { Seat } from './seat.ts'

export async function wakeGuest(seat: Seat, link: GuestLink): Promise<void> {
  const { spec, volumes, renew } = seat.known
  if (renew === true) {
    await link.renew(guestConfig(spec, volumes, seat.context.network.facts()))
    await seat.save({ renew: false })
    await link.thaw()
    return
  }
  // The agent does what it is asked in turn: the time first.
  await Promise.all([link.setClock(), link.thaw()])
}
