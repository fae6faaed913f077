/**
 * The fast way for a VM to come up: as a clone of a template, a guest that has booted already and is nobody yet.
 * Its memory is the template's, copied where it writes; the disks and the network that stood in are the
 * instance's own. CONFIGURE makes it the instance, fresh entropy and clock first, before anything of the image runs.
 */
import type { VmSpec } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { configureGuest } from './guest.ts'
import { connectLink, machineSpec, type Prepared, type Running } from './cold-boot.ts'
import { machineIdentity, type VmContext } from './context.ts'
import { CLONE_STATE_DESCRIPTOR, loadDeviceState } from './device-state.ts'
import { plugDisk } from './hotplug.ts'
import type { ProcessIdentity } from './identity.ts'
import type { ImageTemplateKey, Template, TemplateKey } from './template.ts'
import { Vmm } from './vmm.ts'

/** A clone answers in milliseconds; under emulation on a busy machine, in seconds. */
const AGENT_TIMEOUT_MS = 30_000

/** The card of a VM that has a network. */
export function networkKind(context: VmContext): TemplateKey['network'] {
  const { mode } = context.network.facts()
  return mode === 'bridge' ? 'tap' : mode
}

/** What a template for this VM must be like. */
export function templateKey(context: VmContext, spec: Pick<VmSpec, 'vcpus' | 'memoryBytes' | 'network'>): TemplateKey {
  return {
    machine: machineIdentity(context),
    guest: context.artifacts.version,
    vcpus: spec.vcpus,
    memoryBytes: spec.memoryBytes,
    network: spec.network === null ? 'none' : networkKind(context),
    image: null,
  }
}

/** What a template of this VM's own image must be like, with a disk of its size. */
export function imageTemplateKey(context: VmContext, spec: Pick<VmSpec, 'vcpus' | 'memoryBytes' | 'network' | 'image' | 'overlayBytes'>, rootStamp: string): ImageTemplateKey {
  return { ...templateKey(context, spec), image: { digest: spec.image, root: rootStamp, overlayBytes: spec.overlayBytes } }
}

/** A clone that has become the instance; its application has not been started. Leaves no VM behind if it throws. */
export async function cloneTemplate(
  context: VmContext,
  prepared: Prepared,
  template: Template,
  onSpawned: (identity: ProcessIdentity) => Promise<void>,
): Promise<Running> {
  const { spec } = prepared
  const machine = machineSpec(context, { ...prepared, disks: [] }, { incoming: true, memory: 'template' })
  const state = await template.openState()
  let vmm: Vmm
  try {
    vmm = await Vmm.start(context, { id: spec.instanceId, machine, descriptors: [template.memory.file.fd, state.fd], onSpawned })
  } finally {
    await state.close()
  }
  try {
    await loadDeviceState(vmm.qmp, CLONE_STATE_DESCRIPTOR)
    await vmm.qmp.execute('cont')
    const throttled = spec.diskIoBytesPerSecond !== null
    const [link] = await Promise.all([
      connectLink(context, spec, vmm, AGENT_TIMEOUT_MS),
      plugInTurn(vmm, prepared, throttled),
      // The guest still believes in the stand-in's size.
      ...(template.key.image === null ? [vmm.qmp.execute('block_resize', { 'node-name': 'overlay', size: spec.overlayBytes })] : []),
    ])
    try {
      if (link.status.state !== 'unconfigured') throw new BerthError('internal', `A clone was ${link.status.state} before it was told who it is.`)
      await configureGuest(link, spec, prepared.volumes, context.network.facts())
      return { vmm, link }
    } catch (error) {
      link.close()
      throw error
    }
  } catch (error) {
    await vmm.kill()
    throw error
  }
}

async function plugInTurn(vmm: Vmm, prepared: Prepared, throttled: boolean): Promise<void> {
  for (const disk of prepared.disks) await plugDisk(vmm.qmp, disk, throttled)
}
