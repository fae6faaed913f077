/**
 * One way for a VM to come up: boot the kernel from nothing. The other ways (a saved state, a template's
 * clone) have the same shape: they end with a Vmm and a connected link.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { KeptSpec, VmSpec } from '../../engine/host-port.ts'
import type { Plug } from '../network/network.ts'
import { BerthError } from '../../instance/errors.ts'
import { GuestLink } from '../guest-link/link.ts'
import type { VmContext } from './context.ts'
import { makeMemory } from './disks.ts'
import { configureGuest } from './guest.ts'
import type { ProcessIdentity } from './identity.ts'
import type { MachineMemory, MachineNetwork, MachineSpec, PluggedDisk } from './machine.ts'
import type { HeldShare } from './shares.ts'
import type { Template } from './template.ts'
import type { PluggedVolume } from './vm-record.ts'
import { Vmm } from './vmm.ts'

/** A boot takes a second under emulation on an idle machine, and many on a busy one. */
const AGENT_TIMEOUT_MS = 120_000
const END_NOTICE_MS = 300

/** A clone's QEMU inherits the template's memory as its first extra descriptor. */
const CLONE_MEMORY_PATH = '/proc/self/fd/3'

/** The files that a VM opens. */
export interface PreparedDisks {
  readonly spec: KeptSpec
  readonly root: string
  /** The disk for what is written. */
  readonly overlay: string
  readonly volumes: readonly PluggedVolume[]
  readonly disks: readonly PluggedDisk[]
  /** The template of the image whose guest has mounted this very layer; null where the layer is any other. */
  readonly template: Template | null
}

/** All that is prepared for a VM. */
export interface Prepared extends PreparedDisks {
  readonly plug: Plug | null
  /** Served, and not mounted yet. */
  readonly shares: readonly HeldShare[]
}

/** What of it decides the machine. */
export type MachineNeeds = Pick<Prepared, 'root' | 'overlay' | 'disks' | 'plug'> & {
  readonly spec: Pick<VmSpec, 'instanceId' | 'vcpus' | 'memoryBytes' | 'diskIoBytesPerSecond'> & { readonly network: { readonly mac: string } | null }
}

export interface Running {
  readonly vmm: Vmm
  readonly link: GuestLink
}

/** A VM that has become the instance; its application has not been started. Leaves no VM behind if it throws. */
export async function coldBoot(context: VmContext, prepared: Prepared, onSpawned: (identity: ProcessIdentity) => Promise<void>): Promise<Running> {
  const { spec } = prepared
  const startedAt = Date.now()
  await makeMemory(context, spec.instanceId, spec.memoryBytes)
  const vmm = await Vmm.start(context, { id: spec.instanceId, machine: machineSpec(context, prepared, { incoming: false }), onSpawned })
  try {
    const link = await connectLink(context, spec, vmm, AGENT_TIMEOUT_MS)
    try {
      await configureGuest(link, spec, prepared.volumes, context.network.facts())
      return { vmm, link }
    } catch (error) {
      link.close()
      throw error
    }
  } catch (error) {
    // The link breaks a moment before the process is seen to have ended.
    const ended = await Promise.race([vmm.ended.then(() => true), sleep(END_NOTICE_MS, false)])
    await vmm.kill()
    if (!ended) throw error
    const cause = await vmm.cause(context, spec.instanceId, null, startedAt)
    throw new BerthError('internal', `The VM ended while it started: ${cause.message}.`, { cause: error })
  }
}

export interface MachineOptions {
  readonly incoming: boolean
  /** Default `own`. */
  readonly memory?: MachineMemory
  readonly disksStandIn?: boolean
}

/** The machine of a VM, from what was prepared for it. */
export function machineSpec(context: VmContext, prepared: MachineNeeds, options: MachineOptions): MachineSpec {
  const { spec } = prepared
  const paths = context.paths.instance(spec.instanceId)
  return {
    name: spec.instanceId,
    accelerator: context.accelerator.accelerator,
    vcpus: spec.vcpus,
    memoryBytes: spec.memoryBytes,
    memoryPath: options.memory === 'template' ? CLONE_MEMORY_PATH : paths.memory,
    memory: options.memory ?? 'own',
    kernelPath: options.incoming ? context.artifacts.kernelStub : context.artifacts.kernel,
    initramfsPath: options.incoming ? null : context.artifacts.initramfs,
    tscKhz: context.artifacts.tscKhz,
    root: prepared.root,
    overlay: prepared.overlay,
    disksStandIn: options.disksStandIn ?? false,
    volumes: prepared.disks,
    diskIoBytesPerSecond: spec.diskIoBytesPerSecond,
    network: machineNetwork(spec, prepared.plug),
    qmpSocket: paths.qmpSocket,
    agentSocket: paths.agentSocket,
    appLog: paths.appLog,
    consoleLog: paths.consoleLog,
    incoming: options.incoming,
  }
}

/** The link to the guest's agent; gives up at once when the VM ends. */
export async function connectLink(context: VmContext, spec: Pick<VmSpec, 'instanceId'>, vmm: Vmm, timeoutMs: number): Promise<GuestLink> {
  const stop = new AbortController()
  void vmm.ended.then(() => stop.abort())
  return await GuestLink.connect(context.paths.instance(spec.instanceId).agentSocket, { timeoutMs, signal: stop.signal })
}

function machineNetwork(spec: MachineNeeds['spec'], plug: Plug | null): MachineNetwork | null {
  if (spec.network === null || plug === null || plug.kind === 'none') return null
  const { mac } = spec.network
  return plug.kind === 'tap' ? { kind: 'tap', mac, tap: plug.tap } : { kind: 'user', mac, options: [plug.options] }
}
