/**
 * From nothing to a running VM and back: prepare, start, stop, destroy, and the end that nobody asked for.
 * Each is called in the seat's line.
 */
import { rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import { isDeepStrictEqual } from 'node:util'
import type { FirstBoot, KeptSpec, VmRef, VmSpec, VmStarted } from '../../engine/host-port.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import type { AppExit, FirewallRule, PortMapping } from '../../instance/model.ts'
import type { Plug } from '../network/network.ts'
import { holdTools } from '../ready-tool.ts'
import { fileExists } from '../volumes/ext4.ts'
import { cloneTemplate, imageTemplateKey, templateKey } from './clone.ts'
import { coldBoot, type Prepared, type PreparedDisks, type Running } from './cold-boot.ts'
import { machineIdentity, type VmContext } from './context.ts'
import { continueAfterFullDisk } from './disk-pause.ts'
import { makeDirectories, makeOverlay, openRoot, openVolume, removeRuntime } from './disks.ts'
import { beginToBe, endBlank, settledIn, takeBlank } from './from-pool.ts'
import { startApplication } from './guest.ts'
import type { ProcessIdentity } from './identity.ts'
import { keepLink } from './link-keeper.ts'
import { planPorts } from './ports.ts'
import { killVm, untilGone } from './process.ts'
import type { Live, Seat } from './seat.ts'
import { holdShares, mountShares, type HeldShare } from './shares.ts'
import type { Template } from './template.ts'
import { newRecord } from './vm-record.ts'
import type { Vmm } from './vmm.ts'

/** After the application has ended the guest powers off by itself; one that hangs is ended. */
const POWER_OFF_TIMEOUT_MS = 15_000
const RETRY_MS = 1_000

/** Makes all that a VM needs and that is not there; the same again changes nothing. */
export async function prepare(seat: Seat, spec: KeptSpec): Promise<Prepared> {
  const { context, id } = seat
  seat.admit(spec)
  // One whose record was damaged has no record either, but a disk that holds something.
  const isNew = seat.record === null && !(await fileExists(seat.paths.overlay))
  // Before anything is made: an image that isn't there must leave no trace.
  const root = await openRoot(context, spec.image)
  // Before one is taken: what takes its place would be made beside this launch.
  const over = launching(context)
  const ownKey = imageTemplateKey(context, spec, root.stamp)
  try {
    const blank = isNew ? await takeBlank(seat, spec, ownKey) : null
    if (blank === null) await makeDirectories(context, id)
    const before = seat.record ?? newRecord(spec, blank?.id ?? null)
    const volumes = planPorts(before.volumes, spec.volumes)
    // Intent first: whoever finds the directory after a crash knows whose it is.
    if (seat.record === null) await seat.begin({ ...before, volumes })
    const opening = openDisks(seat, { spec, volumes, root: root.path, template: context.templates?.take(ownKey) ?? null })
    // It learns who it is while its network is made.
    if (blank !== null) beginToBe(seat, blank, opening)
    const [disks, connection] = await allOrFirstFailure([opening, connect(context, spec, { blankTap: blank?.tap ?? null })])
    const fresh = before.spec.generation < spec.generation
    await seat.save({ spec, volumes, ...(fresh && before.status === 'exited' ? { status: 'prepared', exit: null } : {}) })
    const prepared: Prepared = { ...disks, ...connection }
    seat.prepared = prepared
    return prepared
  } catch (error) {
    if (isNew) await removeEverything(seat)
    else if (seat.record?.status === 'prepared' || seat.record?.status === 'exited') await clearAway(seat)
    throw error
  } finally {
    over()
  }
}

/** Nothing is made ready for later beside a launch; gives what ends that. */
function launching({ lull }: VmContext): () => void {
  const ends = [lull.launching(), holdTools()]
  return () => {
    for (const end of ends) end()
  }
}

const HOW = { pool: 'it waited in the pool', template: 'cloned from a template', cold: 'booted' } as const

/** How it came up, and whether its image's root was mounted then. */
interface BroughtUp {
  readonly running: Running
  readonly how: keyof typeof HOW
  readonly hadRoot: boolean
}

/** What was prepared for this very spec; then nothing has to be looked at again. */
function takePrepared(seat: Seat, spec: VmSpec): Prepared | null {
  const { prepared } = seat
  seat.prepared = null
  return prepared !== null && isDeepStrictEqual(prepared.spec, spec) ? prepared : null
}

export async function start(seat: Seat, spec: VmSpec, firstBoot: FirstBoot | null = null): Promise<VmStarted> {
  seat.admit(spec)
  const record = seat.record
  if (record?.status === 'running') {
    if (record.spec.generation === spec.generation) return { startedAt: record.startedAt ?? Date.now(), how: 'already-running' }
    // Whoever starts a newer life has given up on the earlier one.
    await seat.live?.vmm.kill()
    if (seat.live !== null) await settleEnd(seat, seat.live)
  }
  if (record?.status === 'suspended') throw new BerthError('invalid_state', 'The instance is in standby; restore it, or stop it first.')
  if (record?.status === 'exited' && record.spec.generation === spec.generation) {
    throw new BerthError('invalid_state', 'This life of the instance has ended already.')
  }
  const prepared = takePrepared(seat, spec) ?? (await prepare(seat, spec))
  // One that waited in the pool has most of it behind it.
  const over = seat.fromPool === null ? await seat.context.turns.take() : () => undefined
  try {
    return await startPrepared(seat, spec, prepared, firstBoot)
  } finally {
    over()
  }
}

async function startPrepared(seat: Seat, spec: VmSpec, prepared: Prepared, firstBoot: FirstBoot | null): Promise<VmStarted> {
  const begun = performance.now()
  const startedAt = Date.now()
  const isFirst = seat.known.startedAt === null
  await seat.note(`start: generation ${spec.generation}, ${spec.vcpus} vCPU, ${spec.memoryBytes} bytes of memory, ${seat.context.accelerator.accelerator}`)
  try {
    const over = launching(seat.context)
    const { running, how, hadRoot } = await bringUp(seat, prepared, startedAt).finally(over)
    try {
      await mountShares(running.link, seat.context.artifacts, spec, prepared.shares)
      await startApplication(running.link, spec, firstBoot)
      await seat.save({ status: 'running' })
    } catch (error) {
      running.link.close()
      await running.vmm.kill()
      throw error
    }
    keepLink(seat, settleIn(seat, running.vmm), running.link)
    if (isFirst && !hadRoot) wantImage(seat, prepared)
    await seat.note(`running after ${Math.round(performance.now() - begun)} ms (${HOW[how]}${hadRoot ? ' with its image' : ''})`)
    return { startedAt, how }
  } catch (error) {
    await seat.note(`start failed: ${asBerthError(error).message}`)
    await clearAway(seat)
    await seat.believe({ status: 'prepared', process: null })
    throw error
  }
}

/** From the pool or as a clone where there is one and it works, else by a boot. */
async function bringUp(seat: Seat, prepared: Prepared, startedAt: number): Promise<BroughtUp> {
  const { context } = seat
  const begin = async (process: ProcessIdentity, template: string | null): Promise<void> => {
    await seat.save({ status: 'starting', process, template, machine: machineIdentity(context), exit: null, startedAt })
  }
  const moved = seat.fromPool
  if (moved !== null) {
    try {
      await begin(moved.blank.vmm.identity, moved.blank.templateId)
      return { running: await settledIn(seat, moved, prepared), how: moved.blank.link === null ? 'template' : 'pool', hadRoot: moved.blank.key.image !== null }
    } catch (error) {
      await seat.note(`the VM of the pool failed, cloning instead: ${asBerthError(error).message}`)
      await endBlank(seat)
      return await bringUp(seat, await prepare(seat, prepared.spec), startedAt)
    }
  }
  const key = templateKey(context, prepared.spec)
  const template = ownTemplate(context, prepared) ?? context.templates?.take(key) ?? null
  if (template !== null) {
    const over = context.templates?.hold(template)
    try {
      const running = await cloneTemplate(context, prepared, template, (process) => begin(process, template.id))
      context.templates?.cloned(template)
      return { running, how: 'template', hadRoot: template.key.image !== null }
    } catch (error) {
      await seat.note(`cloning template ${template.id} failed, booting instead: ${asBerthError(error).message}`)
      context.templates?.failed(template, error)
    } finally {
      over?.()
    }
  } else if (context.templates !== null) {
    await seat.note(`${context.templates.whyNone(key)}: booting; one is made for the next`)
  }
  const running = await coldBoot(context, prepared, (process) => begin(process, null))
  // Not before: the two boots would slow each other down.
  context.templates?.want(key)
  return { running, how: 'cold', hadRoot: false }
}

/** The template whose guest has the instance's own layer mounted, if it is still to be had. */
function ownTemplate({ templates }: VmContext, { template }: Prepared): Template | null {
  return template !== null && templates?.take(template.key)?.id === template.id ? template : null
}

/** The next instance of this image finds it mounted. */
function wantImage({ context }: Seat, { spec }: Prepared): void {
  const { templates } = context
  if (templates === null) return
  void openRoot(context, spec.image).then(
    ({ stamp }) => templates.want(imageTemplateKey(context, spec, stamp)),
    () => undefined, // an image that is gone has no next instance
  )
}

/** From now on the VMM is the seat's, and its end is noticed. The caller sees to its link. */
export function settleIn(seat: Seat, vmm: Vmm): Live {
  const live: Live = { vmm, link: null, exit: null }
  seat.live = live
  continueAfterFullDisk(seat, live)
  void live.vmm.ended.then(() => noticeEnd(seat, live))
  return live
}

/** An end that can't be seen to now (too many wait for the instance, no file can be opened) is not forgotten. */
async function noticeEnd(seat: Seat, live: Live): Promise<void> {
  while (seat.live === live) {
    try {
      await seat.serially(() => ended(seat, live))
    } catch (error) {
      seat.context.log.warn({ err: error, instance: seat.id }, 'the end of a VM could not be recorded; it is tried again')
      await sleep(RETRY_MS, undefined, { ref: false })
    }
  }
}

/** Ends the VM in good order; gives how its application ended. Drops a saved state. */
export async function stop(seat: Seat, ref: VmRef, graceMs: number): Promise<AppExit | null> {
  seat.admit(ref)
  const { live, record } = seat
  if (record === null) return null
  if (live === null) {
    await endBlank(seat)
    if (record.status !== 'prepared' && record.status !== 'exited') {
      await seat.note(record.status === 'suspended' || record.status === 'resuming' ? 'stop: the saved state is dropped' : 'stop: a VM that nobody controls is ended')
      await killLeft(seat)
      await seat.believe({ status: 'exited', saved: null, exit: null, process: null })
      await clearAway(seat)
    }
    return seat.record?.exit ?? null
  }
  await seat.note(`stop: ${graceMs} ms of grace`)
  await askToStop(live, graceMs)
  return await settleEnd(seat, live)
}

/** Removes all that the instance left on this host. */
export async function destroy(seat: Seat, ref: VmRef): Promise<void> {
  seat.admit(ref)
  if (seat.live !== null) {
    const { vmm, link } = seat.live
    seat.live = null
    link?.close()
    await vmm.kill()
  } else await killLeft(seat)
  await removeEverything(seat)
}

/** Ends the VMM of the record, which may run although nobody holds it: one that could not be taken over or ended in time. */
async function killLeft(seat: Seat): Promise<void> {
  const left = seat.record?.process ?? null
  if (left !== null) await killVm(left)
}

/** The VM ended by itself. */
async function ended(seat: Seat, live: Live): Promise<void> {
  if (seat.live !== live) return
  const exit = await settleEnd(seat, live)
  seat.context.emit({ kind: 'exited', vm: seat.ref(), exit })
}

/** Writes down how a VM ended, and clears its things away. */
export async function settleEnd(seat: Seat, live: Live): Promise<AppExit> {
  const exit = await live.vmm.cause(seat.context, seat.id, live.exit, seat.known.startedAt ?? 0)
  seat.live = null
  live.link?.close()
  live.vmm.detach()
  await seat.believe({ status: 'exited', exit, process: null, saved: null })
  await seat.note(`ended: ${exit.message}, code ${exit.code}`)
  await clearAway(seat).catch((error: unknown) => seat.context.log.warn({ err: error, instance: seat.id }, 'something of an ended VM is left until its next start'))
  return exit
}

async function askToStop(live: Live, graceMs: number): Promise<void> {
  const { vmm, link } = live
  try {
    if (link !== null) {
      await link.stopApp({ graceMs })
      // It ends the application, then the guest.
      if (await untilGone(vmm.identity, graceMs + POWER_OFF_TIMEOUT_MS)) return
    }
  } catch (error) {
    // An agent that can't be asked is ended with its VM.
    asBerthError(error)
  }
  await vmm.quit()
}

/** What a VM needs only while it runs. */
export async function clearAway(seat: Seat): Promise<void> {
  const { context, id, paths } = seat
  await endBlank(seat)
  await context.naps?.end(seat)
  const results = await Promise.allSettled([context.cgroups.remove(id), context.network.unplug(id), context.fileSystems.drop(id), removeRuntime(paths)])
  for (const result of results) {
    if (result.status === 'rejected') context.log.warn({ err: result.reason, instance: id }, 'something of an ended VM could not be removed')
  }
}

export async function removeEverything(seat: Seat): Promise<void> {
  const { context, id, paths } = seat
  await endBlank(seat)
  await context.naps?.end(seat)
  await Promise.all([context.cgroups.remove(id), context.network.unplug(id), context.fileSystems.drop(id), rm(paths.runDir, { recursive: true, force: true })])
  // The record first: a directory without one is swept at the next start.
  await rm(paths.record, { force: true })
  await rm(paths.dir, { recursive: true, force: true })
  seat.forget()
}

interface ConnectOptions {
  /** The tap of a VM of the pool, which becomes its own. */
  readonly blankTap?: string | null
  /** Its guest has run for a while. */
  readonly running?: boolean
}

/** Its network, with the way to what it mounts. The same again changes nothing. */
export async function connect(context: VmContext, spec: KeptSpec, { blankTap = null, running = false }: ConnectOptions): Promise<{ readonly plug: Plug | null; readonly shares: readonly HeldShare[] }> {
  const { network } = spec
  const shares = await holdShares(context, spec, running)
  if (network === null) return { plug: null, shares }
  const plug = await context.network.plug({
    instanceId: spec.instanceId,
    ip: network.ip,
    mac: network.mac,
    ownerUid: context.jail.uidOf(spec.instanceId),
    downloadBytesPerSecond: network.downloadBytesPerSecond,
    uploadBytesPerSecond: network.uploadBytesPerSecond,
    ports: network.ports,
    peerGroup: network.peerGroup,
    hostPorts: shares.map(({ port }) => port),
    firewall: network.firewall ?? null,
    ...(blankTap === null ? {} : { blankTap }),
  })
  return { plug, shares }
}

/** Recorded first: a server that takes over plugs the instance as its record says. */
export async function setFirewall(seat: Seat, ref: VmRef, firewall: readonly FirewallRule[] | null): Promise<void> {
  seat.admit(ref)
  const { record } = seat
  // Its next start brings the rules along.
  if (record === null || record.spec.network === null) return
  await seat.save({ spec: { ...record.spec, network: { ...record.spec.network, firewall } } })
  await seat.context.network.setFirewall(seat.id, firewall)
}

/** Recorded first, as with the firewall; a port that is somebody else's leaves the record as it was. */
export async function setPorts(seat: Seat, ref: VmRef, ports: readonly PortMapping[]): Promise<void> {
  seat.admit(ref)
  const { record } = seat
  if (record === null || record.spec.network === null) return
  const { spec } = record
  await seat.save({ spec: { ...spec, network: { ...record.spec.network, ports } } })
  try {
    await seat.context.network.setPorts(seat.id, ports)
  } catch (error) {
    await seat.save({ spec })
    throw error
  }
}

async function openDisks(seat: Seat, wanted: Pick<PreparedDisks, 'spec' | 'volumes' | 'root' | 'template'>): Promise<PreparedDisks> {
  const { context, id } = seat
  const { spec, volumes, template } = wanted
  const [fits, disks] = await allOrFirstFailure([
    makeOverlay(context, id, spec.overlayBytes, template),
    Promise.all(volumes.map((volume) => openVolume(context, id, volume))),
  ])
  return { ...wanted, overlay: seat.paths.overlay, disks: disks.flat(), template: fits ? template : null }
}

/** Both results; if one fails, its error, but only when the other is done, so that undoing meets nobody at work. */
async function allOrFirstFailure<A, B>(work: readonly [Promise<A>, Promise<B>]): Promise<[A, B]> {
  await Promise.allSettled(work)
  return await Promise.all(work)
}
