/**
 * The machine every instance gets, as QEMU's command line. Pure.
 *
 * Invariants: nothing exists that is not named here (`-nodefaults`, no user configuration); every device
 * has a fixed place, because a saved state loads only into the same devices at the same places.
 *
 *   pcie.0  02 virtio-serial: port 1 the agent's link, port 2 the application's log
 *           03 root (erofs, read-only)   04 overlay   05 network   06 pvpanic
 *           10.0-11.3 twelve root ports `port0`…`port11`, where volumes are plugged, cold or hot
 */

/** Root ports for volumes; a volume with an overlay takes two. Each costs an emulated boot 20 ms. */
export const VOLUME_PORTS = 12

/** TCG keeps translated code in a buffer of this size; smaller costs speed, larger costs memory of every VM. */
export const TCG_BUFFER_MIB = 64

/** Fast string instructions are slow when they are emulated: without them a kernel boots a tenth sooner. */
const EMULATED_CPU = 'max,-erms,-fsrm'

/** Changes when the device tree does, so that states saved by another Berth are refused by name. */
export const MACHINE_PROFILE = 'q35-1'

export type Accelerator = 'kvm' | 'tcg'

export interface MachineSpec {
  /** A name for process lists. */
  readonly name: string
  readonly accelerator: Accelerator
  readonly vcpus: number
  readonly memoryBytes: number
  readonly memoryPath: string
  /** Default `own`. */
  readonly memory?: MachineMemory
  readonly kernelPath: string
  /** null where the guest won't boot. */
  readonly initramfsPath: string | null
  /** What the machine's time stamp counter counts a millisecond; told to emulated guests. */
  readonly tscKhz?: number | null
  /** null in a guest that is to run nothing (the probe). */
  readonly root: string | null
  readonly overlay: string | null
  /** `root` and `overlay` only stand in: the block nodes of those names come later (a VM of the pool). */
  readonly disksStandIn?: boolean
  /** A template: disks of this size stand in for root and overlay, which its clones have. */
  readonly placeholderBytes?: number
  readonly volumes: readonly PluggedDisk[]
  /** For all disks of the VM together; null is unlimited. */
  readonly diskIoBytesPerSecond: number | null
  readonly network: MachineNetwork | null
  readonly qmpSocket: string
  readonly agentSocket: string
  readonly appLog: string
  readonly consoleLog: string
  /** The VM waits for a saved state instead of booting. */
  readonly incoming: boolean
}

export interface PluggedDisk {
  /** 0 … VOLUME_PORTS - 1 */
  readonly port: number
  readonly path: string
  readonly readOnly: boolean
}

export type MachineNetwork =
  | { readonly kind: 'tap'; readonly mac: string; readonly tap: string }
  /** QEMU's own user-mode network; `options` as the network room made them (`net=…`, `hostfwd=…`). */
  | { readonly kind: 'user'; readonly mac: string; readonly options: readonly string[] }

/** Where the guest's memory is. */
export type MachineMemory =
  /** Its own file, which holds what the guest wrote. */
  | 'own'
  /** A template's file, copied on write; a saved state holds devices alone. */
  | 'template'
  /** A file that a template's memory was copied into, and that keeps what the guest writes; its saved state holds devices alone, too. */
  | 'copy'

/** QEMU's arguments, its own name left out. */
export function machineArgs(spec: MachineSpec): string[] {
  const share = spec.memory === 'template' ? 'off' : 'on'
  const lines: (readonly string[])[] = [
    ['-name', `guest=${spec.name},debug-threads=on`],
    ['-nodefaults', '-no-user-config', '-display', 'none', '-no-reboot'],
    ['-sandbox', 'on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny'],
    ['-machine', 'q35,memory-backend=ram,graphics=off,usb=off,sata=off,smbus=off,vmport=off,i8042=off,smm=off,dump-guest-core=off'],
    ['-accel', spec.accelerator === 'kvm' ? 'kvm' : `tcg,thread=multi,tb-size=${TCG_BUFFER_MIB}`],
    ['-cpu', spec.accelerator === 'kvm' ? 'host' : EMULATED_CPU],
    ['-smp', `${spec.vcpus}`],
    ['-m', `size=${spec.memoryBytes}B`],
    ['-object', `memory-backend-file,id=ram,size=${spec.memoryBytes},mem-path=${quote(spec.memoryPath)},share=${share},dump=off`],
    ['-kernel', spec.kernelPath, ...(spec.initramfsPath === null ? [] : ['-initrd', spec.initramfsPath]), '-append', kernelArguments(spec)],
    ['-chardev', `socket,id=qmp,path=${quote(spec.qmpSocket)},server=on,wait=off`, '-mon', 'chardev=qmp,mode=control'],
    ['-chardev', `file,id=console,path=${quote(spec.consoleLog)},append=on`, '-serial', 'chardev:console'],
    ['-device', 'virtio-serial-pci,id=serial,bus=pcie.0,addr=02,max_ports=4'],
    ['-chardev', `socket,id=agent,path=${quote(spec.agentSocket)},server=on,wait=off`],
    ['-device', 'virtserialport,bus=serial.0,nr=1,chardev=agent,name=org.berth.agent'],
    ['-chardev', `file,id=app,path=${quote(spec.appLog)},append=on`],
    ['-device', 'virtserialport,id=log,bus=serial.0,nr=2,chardev=app,name=org.berth.log'],
  ]
  const throttled = spec.diskIoBytesPerSecond !== null
  if (throttled) lines.push(['-object', `throttle-group,id=${THROTTLE_GROUP},x-bps-total=${spec.diskIoBytesPerSecond}`])
  const node = spec.disksStandIn === true ? standIn : (name: string) => name
  if (spec.root !== null) lines.push(fixedDisk({ name: 'root', node: node('root'), slot: 3 }, { path: spec.root, readOnly: true }, throttled))
  if (spec.overlay !== null) lines.push(fixedDisk({ name: 'overlay', node: node('overlay'), slot: 4 }, { path: spec.overlay, readOnly: false }, throttled))
  if (spec.placeholderBytes !== undefined) {
    lines.push(placeholderDisk('root', 3, { bytes: spec.placeholderBytes, readOnly: true }))
    lines.push(placeholderDisk('overlay', 4, { bytes: spec.placeholderBytes, readOnly: false }))
  }
  lines.push(networkArgs(spec.network), ['-device', 'pvpanic-pci,bus=pcie.0,addr=06'], rootPorts())
  for (const disk of spec.volumes) lines.push(portDisk(disk, throttled))
  if (spec.incoming) lines.push(['-S', '-incoming', 'defer'])
  // Device state without memory comes without the section that names the machine; the template's key does that.
  if (spec.incoming && (spec.memory === 'template' || spec.memory === 'copy')) lines.push(['-global', 'migration.send-configuration=off'])
  return lines.flat()
}

/** What a saved state must find unchanged; a mismatch is told by naming the part that differs. */
export interface MachineIdentity {
  readonly profile: string
  readonly qemu: string
  readonly accelerator: Accelerator
  readonly cpu: string
}

/** The parts that differ, in words; empty when the state can be loaded. */
export function identityMismatch(saved: MachineIdentity, now: MachineIdentity): string[] {
  const parts: readonly (readonly [keyof MachineIdentity, string])[] = [
    ['qemu', 'QEMU'],
    ['accelerator', 'the accelerator'],
    ['cpu', "the machine's CPU"],
    ['profile', 'the machine profile'],
  ]
  return parts.filter(([part]) => saved[part] !== now[part]).map(([part, name]) => `${name} was ${saved[part]} and is ${now[part]}`)
}

const THROTTLE_GROUP = 'disk-io'

/** The block nodes of a disk, as `blockdev-add` takes them; the last one is what a device uses. */
export function blockNodes(name: string, disk: { readonly path: string; readonly readOnly: boolean }, throttled: boolean): Record<string, unknown>[] {
  const file: Record<string, unknown> = {
    driver: 'file',
    'node-name': `${name}-file`,
    filename: disk.path,
    'read-only': disk.readOnly,
    discard: 'unmap',
  }
  const raw: Record<string, unknown> = {
    driver: 'raw',
    'node-name': throttled ? `${name}-raw` : name,
    file: `${name}-file`,
    'read-only': disk.readOnly,
    discard: 'unmap',
  }
  if (!throttled) return [file, raw]
  return [file, raw, { driver: 'throttle', 'node-name': name, 'throttle-group': THROTTLE_GROUP, file: `${name}-raw`, 'read-only': disk.readOnly }]
}

/** The node names of a disk, outermost first: the order in which `blockdev-del` takes them. */
export function blockNodeNames(name: string, throttled: boolean): string[] {
  return throttled ? [name, `${name}-raw`, `${name}-file`] : [name, `${name}-file`]
}

/** What a volume's disk is called: block node, device, and the serial that the guest finds it by. */
export function portDiskName(port: number): string {
  return `volume${port}`
}

/** The bus a volume's disk sits on. */
export function portBus(port: number): string {
  return `port${port}`
}

/** The block node behind a fixed disk of a VM that is nobody yet. */
export function standIn(name: string): string {
  return `${name}-stand-in`
}

/** The group that limits all disks of a VM together, as `object-add` takes it. */
export function throttleGroup(bytesPerSecond: number): Record<string, unknown> {
  return { 'qom-type': 'throttle-group', id: THROTTLE_GROUP, 'x-bps-total': bytesPerSecond }
}

/** Properties of a disk's device, as `device_add` takes them. */
export function diskDevice(name: string, place: { readonly bus: string; readonly addr?: string }, node = name): Record<string, unknown> {
  return {
    driver: 'virtio-blk-pci',
    id: name,
    bus: place.bus,
    ...(place.addr === undefined ? {} : { addr: place.addr }),
    drive: node,
    serial: name,
  }
}

function fixedDisk(
  { name, node, slot }: { readonly name: string; readonly node: string; readonly slot: number },
  disk: { readonly path: string; readonly readOnly: boolean },
  throttled: boolean,
): string[] {
  const nodes = blockNodes(node, disk, throttled).flatMap((part) => ['-blockdev', JSON.stringify(part)])
  return [...nodes, '-device', JSON.stringify(diskDevice(name, { bus: 'pcie.0', addr: `0${slot}` }, node))]
}

function placeholderDisk(name: string, slot: number, disk: { readonly bytes: number; readonly readOnly: boolean }): string[] {
  const node = { driver: 'null-co', 'node-name': name, size: disk.bytes, 'read-zeroes': true, 'read-only': disk.readOnly }
  return ['-blockdev', JSON.stringify(node), '-device', JSON.stringify(diskDevice(name, { bus: 'pcie.0', addr: `0${slot}` }))]
}

function portDisk(disk: PluggedDisk, throttled: boolean): string[] {
  const name = portDiskName(disk.port)
  const nodes = blockNodes(name, disk, throttled).flatMap((node) => ['-blockdev', JSON.stringify(node)])
  return [...nodes, '-device', JSON.stringify(diskDevice(name, { bus: portBus(disk.port) }))]
}

function networkArgs(network: MachineNetwork | null): string[] {
  if (network === null) return []
  const backend =
    network.kind === 'tap'
      ? `tap,id=net,ifname=${quote(network.tap)},script=no,downscript=no,vhost=off`
      : ['user', 'id=net', ...network.options].join(',')
  // No boot ROM: nothing boots from the network, and it would have to be read at every start.
  return ['-netdev', backend, '-device', `virtio-net-pci,id=nic,bus=pcie.0,addr=05,netdev=net,mac=${network.mac},romfile=`]
}

function rootPorts(): string[] {
  const args: string[] = []
  for (let port = 0; port < VOLUME_PORTS; port += 1) {
    const addr = `${(0x10 + Math.floor(port / 8)).toString(16)}.${port % 8}`
    // One device behind each port needs no I/O ports; without this the firmware runs out of them.
    args.push('-device', `pcie-root-port,id=${portBus(port)},bus=pcie.0,addr=${addr},multifunction=on,chassis=${port + 1},io-reserve=0`)
  }
  return args
}

function kernelArguments({ accelerator, tscKhz = null }: MachineSpec): string {
  const common = ['console=ttyS0', 'quiet', 'loglevel=4', 'panic=-1', 'reboot=t', 'i8042.noaux', 'cryptomgr.notests', 'random.trust_cpu=on']
  // Under emulation a busy host makes the guest doubt its clock source; nothing better exists there.
  if (accelerator === 'kvm') return common.join(' ')
  // A guest that measures its counter while the host is busy has a clock that runs ten times too fast.
  const measured = tscKhz === null ? [] : [`tsc_early_khz=${tscKhz}`]
  return [...common, 'tsc=reliable', ...measured, 'no_timer_check'].join(' ')
}

/** A comma in a value of QEMU's option syntax is written twice. */
function quote(value: string): string {
  return value.replaceAll(',', ',,')
}
