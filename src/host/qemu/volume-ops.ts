/**
 * Volumes that are attached to and detached from a running instance, in its seat's line.
 *
 * The record names the volume before it is plugged and until it is unplugged, so that after a crash the
 * same call finds its ports and does what is left; each step may have been done before.
 */
import type { VmRef, VmVolume } from '../../engine/host-port.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import type { VolumeId } from '../../instance/model.ts'
import { openVolume } from './disks.ts'
import { guestVolume } from './guest.ts'
import { plugDisk, unplugDisk } from './hotplug.ts'
import { assignPorts } from './ports.ts'
import type { Seat } from './seat.ts'
import type { PluggedVolume } from './vm-record.ts'

/** Plugs a volume and mounts it. If it throws, nothing of it is left in the guest. */
export async function attachVolume(seat: Seat, ref: VmRef, volume: VmVolume): Promise<void> {
  const { live, record } = seat.running(ref)
  const link = seat.link(ref)
  const known = record.volumes.find((plugged) => plugged.volume.volumeId === volume.volumeId)
  if (known !== undefined && !isSame(known.volume, volume)) {
    throw new BerthError('volume_conflict', `Volume ${volume.volumeId} is attached to this instance already, at ${known.volume.path}; detach it first.`)
  }
  const samePath = record.volumes.find((plugged) => plugged.volume.path === volume.path && plugged !== known)
  if (samePath !== undefined) throw new BerthError('volume_conflict', `Another volume is mounted at ${volume.path} already; choose another path.`)
  if (known !== undefined && !known.pending) return
  const plugged = known ?? assignPorts(record.volumes, volume)
  const disks = await openVolume(seat.context, seat.id, plugged)
  await saveVolume(seat, { ...plugged, pending: true })
  const throttled = record.spec.diskIoBytesPerSecond !== null
  try {
    for (const disk of disks) await plugDisk(live.vmm.qmp, disk, throttled)
    await link.mountVolume(guestVolume(plugged))
  } catch (error) {
    await takeBack(seat, plugged, throttled)
    throw error
  }
  await saveVolume(seat, { ...plugged, pending: false })
  await seat.note(`volume ${volume.volumeId} attached at ${volume.path} (${volume.mode})`)
}

/** Unmounts and unplugs. `volume_in_use` if files are open in it. One that isn't attached is detached already. */
export async function detachVolume(seat: Seat, ref: VmRef, volumeId: VolumeId): Promise<void> {
  const { live, record } = seat.running(ref)
  const plugged = record.volumes.find((candidate) => candidate.volume.volumeId === volumeId)
  if (plugged === undefined) return
  await seat.link(ref).unmountVolume(plugged.volume.path)
  await saveVolume(seat, { ...plugged, pending: true })
  await unplug(live.vmm.qmp, plugged, record.spec.diskIoBytesPerSecond !== null)
  await dropVolume(seat, volumeId)
  await seat.note(`volume ${volumeId} detached from ${plugged.volume.path}`)
}

async function unplug(qmp: Parameters<typeof unplugDisk>[0], plugged: PluggedVolume, throttled: boolean): Promise<void> {
  const ports = plugged.overlayPort === null ? [plugged.port] : [plugged.overlayPort, plugged.port]
  await Promise.all(ports.map((port) => unplugDisk(qmp, port, throttled)))
}

async function takeBack(seat: Seat, plugged: PluggedVolume, throttled: boolean): Promise<void> {
  try {
    if (seat.live === null || seat.live.vmm.hasEnded) return
    await seat.live.link?.unmountVolume(plugged.volume.path)
    await unplug(seat.live.vmm.qmp, plugged, throttled)
    await dropVolume(seat, plugged.volume.volumeId)
  } catch (error) {
    // It stays in the record as pending, and with it in the VM's devices: the next attach or detach goes on.
    await seat.note(`volume ${plugged.volume.volumeId} could not be taken back: ${asBerthError(error).message}`)
  }
}

async function saveVolume(seat: Seat, plugged: PluggedVolume): Promise<void> {
  const others = seat.known.volumes.filter(({ volume }) => volume.volumeId !== plugged.volume.volumeId)
  await seat.save({ volumes: [...others, plugged] })
}

async function dropVolume(seat: Seat, volumeId: VolumeId): Promise<void> {
  await seat.save({ volumes: seat.known.volumes.filter(({ volume }) => volume.volumeId !== volumeId) })
}

function isSame(one: VmVolume, other: VmVolume): boolean {
  return one.path === other.path && one.mode === other.mode && one.overlayBytes === other.overlayBytes
}
