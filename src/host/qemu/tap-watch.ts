/**
 * Running VMs whose network interface somebody removed from the host (`ip link delete`, a network tool that tidies up):
 * their QEMU has a dead interface in hand, turns round and round on it for a fifth of a core, and the guest has no network.
 *
 *   missing tap ─▶ standby ─▶ restore: a new QEMU on a new tap with the same rules, the guest's programs as they were
 *                    └─▶ can't be saved: the VM is ended, and its restart policy decides; on a full disk it is tried again
 *
 * The same for VMs whose sockets somebody removed (what tidies up /run): as long as nobody lets go of them they answer, but
 * the next server would find no way to them. One that can't be saved is left as it is.
 *
 * Invariant: in the seat's line, and only of a VM that still runs without its tap or sockets when its turn has come.
 */
import { asBerthError } from '../../instance/errors.ts'
import type { VmContext } from './context.ts'
import { makeDirectories } from './disks.ts'
import { connect } from './lifecycle.ts'
import type { Live, Seat } from './seat.ts'
import { resume, suspend } from './standby-ops.ts'

/** One listing of the host's interfaces each time. */
export const TAP_LOOK_EVERY_MS = 5_000

/** Those whose sockets could not be made anew. */
const leftAsTheyAre = new WeakSet<Live>()

/** Looks once at all of them. */
export async function repairTaps(context: VmContext, seats: Iterable<Seat>): Promise<void> {
  const all = [...seats]
  await Promise.all(all.filter(({ isUnplugged, busy }) => isUnplugged && !busy).map((seat) => seat.serially(() => plugAgain(seat))))
  const plugged = all.filter((seat) => !seat.busy && hasTap(seat))
  const missing = new Set(await context.network.missing(plugged.map(({ id }) => id)))
  await Promise.all(plugged.filter(({ id }) => missing.has(id)).map((seat) => seat.serially(() => repair(seat))))
  await Promise.all(all.filter((seat) => !seat.busy && isCutOff(seat)).map((seat) => seat.serially(() => giveSockets(seat))))
  await context.pool?.endUnplugged()
}

function isCutOff(seat: Seat): boolean {
  return seat.live !== null && seat.record?.status === 'running' && !leftAsTheyAre.has(seat.live) && !seat.hasSockets
}

async function giveSockets(seat: Seat): Promise<void> {
  const { context, id, live } = seat
  if (live === null || !isCutOff(seat)) return
  context.log.warn({ instance: id }, 'the sockets of a VM were removed; the VM gets new ones')
  await seat.note('its sockets were removed from the host; it is put to sleep and woken with new ones')
  try {
    await makeDirectories(context, id)
    await suspend(seat, seat.ref(), { naps: false })
  } catch (error) {
    leftAsTheyAre.add(live)
    await seat.note(`it goes on without: ${asBerthError(error).message}`)
    return
  }
  await resume(seat, seat.known.spec)
}

function hasTap(seat: Seat): boolean {
  return seat.live !== null && seat.record?.status === 'running' && seat.record.spec.network !== null
}

/** Its network could not be seen to when it was taken over: a tool failed, or a port of its own is another program's now. */
async function plugAgain(seat: Seat): Promise<void> {
  if (seat.live !== null && seat.record?.status === 'running') {
    const error = await connect(seat.context, seat.record.spec, { running: true }).then(() => null, asBerthError)
    if (error !== null) return
    await seat.note('its network is seen to again')
  }
  seat.isUnplugged = false
}

async function repair(seat: Seat): Promise<void> {
  const { context, id, live } = seat
  if (live === null || !hasTap(seat) || (await context.network.missing([id])).length === 0) return
  context.log.warn({ instance: id }, 'the network interface of a VM was removed; the VM gets a new one')
  await seat.note('its network interface was removed from the host; it is put to sleep and woken with a new one')
  try {
    await suspend(seat, seat.ref(), { naps: false })
  } catch (error) {
    const { code, message } = asBerthError(error)
    // It is worth more than what it wastes until there is room.
    if (code === 'disk_full') return
    await seat.note(`it is ended, because it can't get a new network interface: ${message}`)
    await live.vmm.quit()
    return
  }
  // If this fails, the engine finds it asleep and wakes it.
  await resume(seat, seat.known.spec)
}
