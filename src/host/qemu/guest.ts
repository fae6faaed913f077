/** What a guest is told of the instance it becomes: the spec in the words of the link. */
import { basename } from 'node:path/posix'
import type { CopyItem, FirstBoot, GuestFile, KeptSpec, VmSpec } from '../../engine/host-port.ts'
import type { GuestConfig, GuestVolume } from '../guest-link/guest-config.ts'
import type { GuestLink } from '../guest-link/link.ts'
import type { NetworkFacts } from '../network/network.ts'
import { portDiskName } from './machine.ts'
import type { PluggedVolume } from './vm-record.ts'

export function guestConfig(spec: KeptSpec, volumes: readonly PluggedVolume[], network: NetworkFacts): GuestConfig {
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
    sshKeys: spec.sshKeys,
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
export async function configureGuest(link: GuestLink, spec: KeptSpec, volumes: readonly PluggedVolume[], network: NetworkFacts): Promise<void> {
  await link.configure(guestConfig(spec, volumes, network))
}

/** Starts the application of a guest that knows who it is. */
export async function startApplication(link: GuestLink, spec: VmSpec, firstBoot: FirstBoot | null): Promise<void> {
  const firstScript = firstBoot === null ? null : await putFirstBoot(link, spec, firstBoot)
  await link.startApp({
    firstScript,
    command: spec.command,
    env: spec.env,
    workingDir: spec.workingDir,
    user: spec.user,
    stopSignal: spec.imageConfig.stopSignal,
  })
}

/** Inits that run a cloud-init of the image's; the agent knows the same names. */
const INITS = new Set(['init', 'systemd', 'openrc-init', 'runit-init', 's6-svscan'])
const COPY_CHUNK_BYTES = 65_536
const CLOUD_INIT = '/usr/bin/cloud-init'

/** Writes what a first boot needs before the application starts; gives the program that is to run beside it. */
async function putFirstBoot(link: GuestLink, spec: VmSpec, { seed, files, script, configFiles }: FirstBoot): Promise<string | null> {
  const isInit = INITS.has(basename(spec.command[0] ?? ''))
  const hasCloudInit = isInit && (await link.stat(CLOUD_INIT, { followLinks: true })).exists
  const wanted = [...(hasCloudInit ? seed : files), ...configFiles]
  if (wanted.length > 0) await link.copyIn('/', copyItems(wanted))
  return hasCloudInit ? null : script
}

async function* copyItems(files: readonly GuestFile[]): AsyncIterable<CopyItem> {
  const mtimeSeconds = Math.floor(Date.now() / 1000)
  for (const { path, mode, data } of files) {
    const sizeBytes = data.byteLength
    yield { type: 'entry', entry: { path: path.slice(1), kind: 'file', mode, uid: 0, gid: 0, sizeBytes, mtimeSeconds, linkTarget: null } }
    for (let at = 0; at < sizeBytes; at += COPY_CHUNK_BYTES) yield { type: 'data', data: data.subarray(at, at + COPY_CHUNK_BYTES) }
  }
}
