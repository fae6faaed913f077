/** What the VMs of a host have in common: its directories, rooms and decisions. */
import type { HostEvent } from '../../engine/host-port.ts'
import type { CgroupLimits, Cgroups } from '../cgroup/cgroup.ts'
import type { FileSystems } from '../file-systems/file-systems.ts'
import type { ImageStore } from '../images/image-store.ts'
import type { Network } from '../network/network.ts'
import type { HostPaths } from '../paths.ts'
import type { Volumes } from '../volumes/volumes.ts'
import type { AcceleratorVerdict } from './accel.ts'
import type { Jail } from './jail.ts'
import type { Lull } from './lull.ts'
import { MACHINE_PROFILE, type MachineIdentity } from './machine.ts'
import type { Naps } from './naps.ts'
import type { Pool } from './pool.ts'
import type { SnapshotStore } from './snapshot-store.ts'
import type { Templates } from './templates.ts'
import type { Turns } from './turns.ts'

/** As much of a pino logger as this room uses. */
export interface HostLog {
  info(details: object, message: string): void
  warn(details: object, message: string): void
}

/** The guest's kernel and initramfs. */
export interface GuestArtifacts {
  readonly kernel: string
  readonly initramfs: string
  /** Stands for the kernel in a VM whose state is loaded. */
  readonly kernelStub: string
  /** The program in it; null where the build left only the initramfs. */
  readonly agent: string | null
  /** Makes the memory that a template's clones share; null where it wasn't built. */
  readonly memoryTool: string | null
  /** Starts an emulating QEMU without large pages; null where it wasn't built. */
  readonly smallPagesTool: string | null
  /** What the time stamp counter of this machine counts a millisecond, which emulated guests can't measure well; null where that isn't known. */
  readonly tscKhz: number | null
  /** Kernel modules that are sent to the guests that need them, in load order; null where they weren't built. */
  readonly sentModules: { readonly dir: string; readonly order: readonly string[] } | null
  /** Changes when either does. */
  readonly version: string
}

export interface VmContext {
  readonly paths: HostPaths
  readonly jail: Jail
  readonly cgroups: Cgroups
  readonly network: Network
  readonly images: ImageStore
  readonly volumes: Volumes
  readonly fileSystems: FileSystems
  readonly artifacts: GuestArtifacts
  readonly accelerator: AcceleratorVerdict
  readonly qemuVersion: string
  readonly cpuModel: string
  readonly snapshots: SnapshotStore
  /** null where instances always boot from nothing. */
  readonly templates: Templates | null
  /** null where no VMs wait for whom they will be. */
  readonly pool: Pool | null
  /** Of the launches that start a QEMU. */
  readonly turns: Turns
  readonly lull: Lull
  /** null where a VM's process always ends with its standby. */
  readonly naps: Naps | null
  readonly logLimitBytes: number
  readonly log: HostLog
  emit(event: HostEvent): void
}

/** What a VM that is started now would be; a saved state must have been the same. */
export function machineIdentity(context: Pick<VmContext, 'accelerator' | 'qemuVersion' | 'cpuModel'>): MachineIdentity {
  return {
    profile: MACHINE_PROFILE,
    qemu: context.qemuVersion,
    accelerator: context.accelerator.accelerator,
    // Emulation offers the same CPU everywhere.
    cpu: context.accelerator.accelerator === 'tcg' ? 'emulated' : context.cpuModel,
  }
}

/** What the processes of a VM may take of the machine. */
export function limitsOf(context: VmContext, size: { readonly vcpus: number; readonly memoryBytes: number }): CgroupLimits {
  return { cpus: size.vcpus + OVERHEAD_CPUS, memoryBytes: size.memoryBytes + overheadBytes(context) }
}

/** Emulation needs a buffer of its own for translated code, and twice as many threads. */
function overheadBytes(context: VmContext): number {
  return (context.accelerator.accelerator === 'tcg' ? 320 : 160) * 1024 * 1024
}

/** What QEMU's own threads may take besides the vCPUs. */
const OVERHEAD_CPUS = 0.25
