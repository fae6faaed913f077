/**
 * A blank: a clone of a template that is nobody yet. It has a name, a user, a control group, a tap and directories
 * of its own, and disks that only stand in (one of an image's template has that image and a layer of its own); it has rehearsed a launch (or, where that isn't wanted, has run nothing
 * since its template was saved), and waits, paused.
 *
 *   makeBlank ─▶ cloned ─▶ rehearsed ─▶ paused ─▶ moveIn (names and files become the instance's) ─▶ become ─▶ running
 *                                          └──▶ dropBlank
 *
 * Invariants: nothing of any instance is in a blank before `moveIn`, and nothing of an image but of the one that it is
 * for; a blank becomes one instance, or none. Its
 * directory has no record, so that a new server sweeps what a dead one left.
 */
import { randomUUID } from 'node:crypto'
import { rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { isDeepStrictEqual } from 'node:util'
import type { VmSpec } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { InstanceId } from '../../instance/model.ts'
import type { GuestLink } from '../guest-link/link.ts'
import type { Plug } from '../network/network.ts'
import { connectLink, machineSpec, type MachineNeeds, type PreparedDisks, type Running } from './cold-boot.ts'
import { limitsOf, type VmContext } from './context.ts'
import { CLONE_STATE_DESCRIPTOR, loadDeviceState } from './device-state.ts'
import { makeDirectories, makeOverlay, removeRuntime } from './disks.ts'
import { configureGuest } from './guest.ts'
import { plugDisk } from './hotplug.ts'
import { blockNodeNames, blockNodes, standIn, throttleGroup } from './machine.ts'
import type { QmpClient } from './qmp.ts'
import { rehearsalConfig } from './rehearsal.ts'
import type { Template, TemplateKey } from './template.ts'
import { Vmm } from './vmm.ts'

const AGENT_TIMEOUT_MS = 60_000
/** The first translates, the second meets what the first left to do. */
const REHEARSALS = 2
const STAND_IN_BYTES = 8 * 1024 * 1024
const STAND_IN = 'stand-in.ext4'

export interface Blank {
  /** Its own name, and for the rest of its life the name of the user it runs as. */
  readonly id: InstanceId
  readonly key: TemplateKey
  readonly templateId: string
  readonly vmm: Vmm
  /** null if its guest has run nothing: who it becomes says hello first. */
  readonly link: GuestLink | null
  readonly tap: string | null
  /** The size of the empty writable layer that lies ready. */
  readonly overlayBytes: number
}

export interface BlankRequest {
  readonly key: TemplateKey
  readonly template: Template
  /** The root of the template's image; for one without, an erofs image with /bin/rehearsal. */
  readonly root: string
  readonly overlayBytes: number
  readonly rehearses: boolean
}

/** Clones, rehearses and pauses. Leaves nothing behind if it throws. */
export async function makeBlank(context: VmContext, request: BlankRequest): Promise<Blank> {
  const id = randomUUID() as InstanceId
  try {
    const { key, template, overlayBytes } = request
    await makeDirectories(context, id)
    const overlay = key.image === null ? await makeStandIn(context, id) : context.paths.instance(id).overlay
    if (key.image !== null && !(await makeOverlay(context, id, overlayBytes, template))) throw new BerthError('internal', "A template of an image has no layer for its clones.")
    const tap = key.network === 'tap' ? await context.network.plugBlank(id, context.jail.uidOf(id)) : null
    const vmm = await startClone(context, { ...request, id, overlay, tap })
    try {
      await loadDeviceState(vmm.qmp, CLONE_STATE_DESCRIPTOR)
      const link = request.rehearses ? await rehearse(context, id, vmm, key) : null
      try {
        if (key.image === null) await makeOverlay(context, id, overlayBytes)
        return { id, key, templateId: template.id, vmm, link, tap, overlayBytes }
      } catch (error) {
        link?.close()
        throw error
      }
    } catch (error) {
      await vmm.kill()
      throw error
    }
  } catch (error) {
    await removeTraces(context, id)
    throw error
  }
}

/** Ends a blank that becomes nobody; of one that has begun to move in, also what it has put there. */
export async function dropBlank(context: VmContext, blank: Blank, movedInto: InstanceId | null = null): Promise<void> {
  blank.link?.close()
  await blank.vmm.kill()
  await removeTraces(context, blank.id)
  if (movedInto === null) return
  await Promise.all([context.cgroups.remove(movedInto), context.network.unplug(movedInto), removeRuntime(context.paths.instance(movedInto))])
}

/**
 * Makes the blank's files, user and control group those of an instance that has none. From then on it belongs to the
 * instance; the tap follows when the network is plugged.
 */
export async function moveIn(context: VmContext, blank: Blank, spec: Pick<VmSpec, 'instanceId' | 'overlayBytes'>): Promise<void> {
  const [from, to] = [context.paths.instance(blank.id), context.paths.instance(spec.instanceId)]
  context.jail.assign(spec.instanceId, blank.id)
  await Promise.all([rename(from.dir, to.dir), rename(from.runDir, to.runDir), context.cgroups.rename(blank.id, spec.instanceId, blank.vmm.identity.pid, limitsOf(context, blank.key))])
  await rm(join(to.runDir, STAND_IN), { force: true })
  if (spec.overlayBytes !== blank.overlayBytes) await rm(to.overlay, { force: true })
}

/** Gives a blank that has moved in the disks and the name of its instance. Kills it if that fails. */
export async function become(context: VmContext, blank: Blank, prepared: PreparedDisks): Promise<Running> {
  const { vmm, key } = blank
  const { spec } = prepared
  // It answers when it goes on.
  const connecting = blank.link === null ? connectLink(context, spec, vmm, AGENT_TIMEOUT_MS) : Promise.resolve(blank.link)
  const configuring = connecting.then(async (link) => {
    if (link.status.state !== 'unconfigured') throw new BerthError('internal', `A VM of the pool was ${link.status.state} before it was told who it is.`)
    await configureGuest(link, spec, prepared.volumes, context.network.facts())
    return link
  })
  try {
    // Before the guest goes on, the disks are the instance's: QEMU does what it is told in turn.
    const [link] = await Promise.all([configuring, ...(key.image === null ? swapDisks(vmm.qmp, prepared) : []), plugInTurn(vmm.qmp, prepared), vmm.qmp.execute('cont')])
    return { vmm, link }
  } catch (error) {
    connecting.then((link) => link.close()).catch(() => undefined) // it never answered
    await vmm.kill()
    throw error
  }
}

/** Whether it can be the VM of this spec. */
export function fits(blank: Blank, key: TemplateKey): boolean {
  return !blank.vmm.hasEnded && isDeepStrictEqual(blank.key, key)
}

function swapDisks(qmp: QmpClient, prepared: PreparedDisks): readonly Promise<unknown>[] {
  const { spec, root, overlay } = prepared
  const throttled = spec.diskIoBytesPerSecond !== null
  const swap = (name: string, disk: { readonly path: string; readonly readOnly: boolean }) => [
    ...blockNodes(name, disk, throttled).map((node) => qmp.execute('blockdev-add', node)),
    qmp.execute('qom-set', { path: `/machine/peripheral/${name}`, property: 'drive', value: name }),
    ...blockNodeNames(standIn(name), false).map((node) => qmp.execute('blockdev-del', { 'node-name': node })),
  ]
  return [
    ...(spec.diskIoBytesPerSecond === null ? [] : [qmp.execute('object-add', throttleGroup(spec.diskIoBytesPerSecond))]),
    ...swap('root', { path: root, readOnly: true }),
    ...swap('overlay', { path: overlay, readOnly: false }),
    // The guest still believes in the size that the template's stand-in had.
    qmp.execute('block_resize', { 'node-name': 'overlay', size: spec.overlayBytes }),
  ]
}

async function plugInTurn(qmp: QmpClient, prepared: PreparedDisks): Promise<void> {
  for (const disk of prepared.disks) await plugDisk(qmp, disk, prepared.spec.diskIoBytesPerSecond !== null)
}

async function makeStandIn(context: VmContext, id: InstanceId): Promise<string> {
  const path = join(context.paths.instance(id).runDir, STAND_IN)
  await context.volumes.createOverlay(path, STAND_IN_BYTES)
  await context.jail.give(path, id, 0o600)
  return path
}

interface CloneRequest extends BlankRequest {
  readonly id: InstanceId
  readonly overlay: string
  readonly tap: string | null
}

async function startClone(context: VmContext, request: CloneRequest): Promise<Vmm> {
  const { id, key, template, tap } = request
  const plug: Plug = tap === null ? { kind: 'none' } : { kind: 'tap', tap }
  const machine = machineSpec(
    context,
    { root: request.root, overlay: request.overlay, disks: [], plug, spec: blankSpec(id, key) },
    { incoming: true, memory: 'template', disksStandIn: key.image === null },
  )
  const state = await template.openState()
  try {
    return await Vmm.start(context, { id, machine, descriptors: [template.memory.file.fd, state.fd], yields: true, onSpawned: async () => undefined })
  } finally {
    await state.close()
  }
}

function blankSpec(id: InstanceId, key: TemplateKey): MachineNeeds['spec'] {
  const network = rehearsalConfig(true).network
  return { instanceId: id, vcpus: key.vcpus, memoryBytes: key.memoryBytes, diskIoBytesPerSecond: null, network: { mac: network?.mac ?? '' } }
}

async function rehearse(context: VmContext, id: InstanceId, vmm: Vmm, key: TemplateKey): Promise<GuestLink> {
  await vmm.qmp.execute('cont')
  const link = await connectLink(context, { instanceId: id }, vmm, AGENT_TIMEOUT_MS)
  try {
    if (link.status.state !== 'unconfigured') throw new BerthError('internal', `A clone was ${link.status.state} before it was told who it is.`)
    for (let round = 0; round < REHEARSALS; round += 1) await link.rehearse(rehearsalConfig(key.network !== 'none'))
    await vmm.qmp.execute('stop')
    return link
  } catch (error) {
    link.close()
    throw error
  }
}

async function removeTraces(context: VmContext, id: InstanceId): Promise<void> {
  const paths = context.paths.instance(id)
  await Promise.all([context.network.unplug(id), context.cgroups.remove(id), removeRuntime(paths)])
  await rm(paths.dir, { recursive: true, force: true })
}
