/** Which root port each disk of a volume sits behind. Pure. */
import type { VmVolume } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { VOLUME_PORTS } from './machine.ts'
import type { PluggedVolume } from './vm-record.ts'

/** Gives a volume its ports; what is plugged already keeps its own. Throws `limit_exceeded`. */
export function assignPorts(plugged: readonly PluggedVolume[], volume: VmVolume): PluggedVolume {
  const taken = new Set(plugged.flatMap(({ port, overlayPort }) => (overlayPort === null ? [port] : [port, overlayPort])))
  const free = Array.from({ length: VOLUME_PORTS }, (_, port) => port).filter((port) => !taken.has(port))
  const [port, second] = free
  const overlayPort = volume.mode === 'overlay' ? second : null
  if (port === undefined || overlayPort === undefined) {
    throw new BerthError('limit_exceeded', `An instance has room for ${VOLUME_PORTS} disks of volumes (one with an overlay takes two); detach one first.`)
  }
  return { volume, port, overlayPort, pending: false }
}

/**
 * The volumes of a start: those of `before` that are wanted still keep their ports, because their overlays'
 * files are named by them.
 */
export function planPorts(before: readonly PluggedVolume[], wanted: readonly VmVolume[]): readonly PluggedVolume[] {
  const kept = before.filter(({ volume }) => wanted.some((other) => other.volumeId === volume.volumeId && other.mode === volume.mode))
  const plan: PluggedVolume[] = []
  for (const volume of wanted) {
    const known = kept.find((plugged) => plugged.volume.volumeId === volume.volumeId)
    plan.push(known === undefined ? assignPorts([...kept, ...plan], volume) : { ...known, volume, pending: false })
  }
  return plan
}
