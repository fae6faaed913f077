/** What a guest is told of the instance it becomes: the spec in the words of the link. */
import type { VmSpec } from '../../engine/host-port.ts'
import type { GuestConfig, GuestVolume } from '../guest-link/guest-config.ts'
import type { GuestLink } from '../guest-link/link.ts'
import type { NetworkFacts } from '../network/network.ts'
import { portDiskName } from './machine.ts'
import type { PluggedVolume } from './vm-record.ts'

export function guestConfig(spec: VmSpec, volumes: readonly PluggedVolume[], network: NetworkFacts): GuestConfig {
  const connected = spec.network !== null && network.mode !== 'none'
  return {
    hostname: spec.hostname,
    machineId: spec.instanceId.replaceAll('-', ''),
    network:
      spec.network !== null && connected
        ? { mac: spec.network.mac, ip: spec.network.ip, prefixLength: Number(network.subnet.split('/')[1]), gateway: network.gateway, mtu: null }
        : null,
    dns: connected ? network.dns : [],
    root: { serial: 'root', overlaySerial: 'overlay' },
    volumes: volumes.map(guestVolume),
  }
}

export function guestVolume(plugged: PluggedVolume): GuestVolume {
  return {
    serial: portDiskName(plugged.port),
    overlaySerial: plugged.overlayPort === null ? null : portDiskName(plugged.overlayPort),
    path: plugged.volume.path,
    mode: plugged.volume.mode,
  }
}

/** Makes a blank guest this instance. */
export async function configureGuest(link: GuestLink, spec: VmSpec, volumes: readonly PluggedVolume[], network: NetworkFacts): Promise<void> {
  await link.configure(guestConfig(spec, volumes, network))
}

/** Starts the application of a guest that knows who it is. */
export async function startApplication(link: GuestLink, spec: VmSpec): Promise<void> {
  await link.startApp({
    command: spec.command,
    env: spec.env,
    workingDir: spec.workingDir,
    user: spec.user,
    stopSignal: spec.imageConfig.stopSignal,
  })
}
