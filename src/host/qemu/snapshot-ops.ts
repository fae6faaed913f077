/**
 * Taking a snapshot of a VM, and giving a VM what a snapshot holds; each in the seat's line.
 *
 *   take   running    disks copied ─▶ freeze programs ─▶ pause ─▶ devices, own pages, what changed of the disks noted ─▶
 *                     continue ─▶ clock ─▶ thaw ─▶ what changed of the disks copied (disk-copy.ts)
 *          suspended  saved state and disks copied           otherwise  disks copied
 *   apply  copies beside ─▶ the record says `prepared` (what was saved is void) ─▶ renamed into place ─▶ `suspended`
 *
 * Invariants: a VM that is copied runs on whatever happens; a VM gets all of a snapshot or keeps what it had, and
 * after a crash in between the same call does it again; a copy of another instance's guest runs none of its
 * programs before it has its own identity (`renew` in its record, see identity-care.ts).
 */
import { link as hardLink, rename, rm, stat } from 'node:fs/promises'
import type { HostSnapshot, SnapshotRequest, SnapshotUse } from '../../engine/host-snapshots.ts'
import type { VmRef, VmSpec } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { asDiskError } from '../command.ts'
import type { GuestLink } from '../guest-link/link.ts'
import { saveDeviceState } from './device-state.ts'
import { besideOf, DiskCopy, type CopiedDisk } from './disk-copy.ts'
import { unlessFull } from './disk-pause.ts'
import { makeDirectories, openRoot } from './disks.ts'
import { bootId } from './identity.ts'
import { wakeGuest } from './identity-care.ts'
import { machineIdentity } from './context.ts'
import { clearAway, removeEverything, settleEnd } from './lifecycle.ts'
import { identityMismatch, portDiskName } from './machine.ts'
import { savePrivateMemory } from './private-memory.ts'
import type { Live, Seat } from './seat.ts'
import { SHARED_MEMORY_NAME } from './shared-memory.ts'
import { copySparse, type SavedMemory, type SnapshotFiles, type SnapshotRecord } from './snapshot-store.ts'
import { saveDevices } from './standby.ts'
import { syncLater } from './standby-ops.ts'
import { newRecord, type PluggedVolume, type VmRecord } from './vm-record.ts'

const PRIVATE_MODE = 0o600
/** Of files that are about to take a place. */
const COPY_SUFFIX = '.copy'

type Kept = Pick<SnapshotRecord, 'spec' | 'volumes' | 'memory'>

/** Copies the VM as it is. */
export async function takeSnapshot(seat: Seat, ref: VmRef, request: SnapshotRequest): Promise<HostSnapshot> {
  const { snapshots } = seat.context
  const existing = snapshots.list().find(({ id }) => id === request.snapshotId)
  if (existing !== undefined) return existing
  seat.admit(ref)
  refuseWritable(seat.known.volumes)
  const begun = performance.now()
  const taken = await snapshots.make(request.snapshotId, request.durable, (files) => copyOf(seat, files, request)).catch((error: unknown) => {
    throw asDiskError(error, 'a snapshot')
  })
  await seat.note(`snapshot ${request.snapshotId} taken after ${Math.round(performance.now() - begun)} ms`)
  return taken
}

/** Makes the VM what the snapshot says. */
export async function applySnapshot(seat: Seat, spec: VmSpec, use: SnapshotUse): Promise<void> {
  seat.admit(spec)
  if (seat.record?.applied === use.snapshotId && seat.record.spec.generation === spec.generation) return
  const { context, id } = seat
  const source = context.snapshots.require(use.snapshotId)
  const memory = use.memory ? requireMemory(seat, spec, source) : null
  if (seat.live !== null) {
    // Whoever begins a newer life has given up on the earlier one.
    await seat.live.vmm.kill()
    await settleEnd(seat, seat.live)
  }
  const isNew = seat.record === null
  await openRoot(context, spec.image)
  try {
    await makeDirectories(context, id)
    if (isNew) await seat.begin(newRecord(spec))
    const moves = await copyBeside(seat, source, use, memory)
    await seat.save({ spec, status: 'prepared', saved: null, exit: null, process: null, template: null, startedAt: null })
    await clearAway(seat)
    for (const { from, to } of moves) await moveIn(from, to)
    await seat.save(whatItIsNow(spec, source, use, memory))
  } catch (error) {
    if (isNew) await removeEverything(seat)
    throw asDiskError(error, 'a copy of an instance')
  }
  await seat.note(`made from snapshot ${use.snapshotId}${memory === null ? ', disks alone' : ''}`)
  if (memory !== null) syncLater(seat)
}

function whatItIsNow(spec: VmSpec, source: SnapshotRecord, use: SnapshotUse, memory: SavedMemory | null): Partial<VmRecord> {
  const now = { spec, applied: use.snapshotId }
  if (memory === null) return now
  return {
    ...now,
    status: 'suspended',
    template: memory.template,
    machine: memory.machine,
    volumes: source.volumes,
    renew: use.renew,
    saved: { bytes: source.bytes, bootId: bootId(), synced: false },
  }
}

// --- taking ---------------------------------------------------------------------------------------------------

async function copyOf(seat: Seat, files: SnapshotFiles, request: SnapshotRequest): Promise<Kept> {
  const { record, live, paths } = seat
  const { spec, volumes } = seat.known
  if (record?.status === 'running' && live !== null) {
    const memory = await copyRunning(seat, live, files, request)
    return { spec, volumes, memory }
  }
  if (record?.status === 'suspended') {
    if (request.memory && record.saved?.frozen === false) throw notFrozen()
    const memory = request.memory ? await keepSaved(seat, files) : null
    await copyDisks(seat, files)
    return { spec, volumes, memory }
  }
  if (request.memory) throw new BerthError('invalid_state', `The instance has no memory to keep: it is ${record?.status ?? 'not there'} on this host.`)
  if ((await stat(paths.overlay).catch(() => null)) === null) throw new BerthError('invalid_state', 'The instance has no disk yet; start it first.')
  await copyDisks(seat, files)
  return { spec, volumes, memory: null }
}

async function copyRunning(seat: Seat, live: Live, files: SnapshotFiles, request: SnapshotRequest): Promise<SavedMemory | null> {
  const { vmm } = live
  const writesOut = request.durable || !request.memory
  const link = linkOf(live)
  // Once more when it stands still: then there is little left to write.
  if (writesOut) await unlessFull(live, () => link.sync())
  // QEMU lets go of the disks of a VM whose whole memory is its own, and can't copy them then.
  const disks = request.memory && (seat.known.template ?? null) === null ? [] : disksOf(seat, files)
  const copy = disks.length === 0 ? null : await DiskCopy.beforehand(vmm.qmp, seat.context.jail, seat.id, disks)
  try {
    const memory = await atOneMoment(seat, live, linkOf(live), async () => {
      await copy?.begin()
      const [kept] = await allOrFirstFailure([request.memory ? keepRunning(seat, live, files) : Promise.resolve(null), copy === null ? copyDisks(seat, files) : Promise.resolve()])
      return kept
    }, writesOut)
    await copy?.finish()
    for (const { to } of disks) await seat.context.jail.share(to, PRIVATE_MODE)
    return memory
  } catch (error) {
    await copy?.abandon()
    throw error
  }
}

/** The link of this moment: while disks are copied it may break and be found again. */
function linkOf({ link }: Live): GuestLink {
  if (link === null) throw new BerthError('guest_unreachable', "The guest's agent does not answer, so the instance can't be copied now; try again in a moment.")
  return link
}

/** While the guest's programs sleep and the VM is paused, as short as can be. */
async function atOneMoment<T>(seat: Seat, { vmm }: Live, link: GuestLink, work: () => Promise<T>, writesOut: boolean): Promise<T> {
  const begun = performance.now()
  // The copy's programs must not run before it has an identity of its own: they are copied asleep.
  await link.freeze()
  try {
    if (writesOut) await link.sync()
    try {
      // Of one that did not answer in time nobody knows whether it stands still: it is continued as well.
      await vmm.qmp.execute('stop')
      return await work()
    } finally {
      if (!vmm.hasEnded) await vmm.qmp.execute('cont')
    }
  } finally {
    // If the link broke, whoever keeps it finds the guest again and does this.
    if (!vmm.hasEnded) await wakeGuest(seat, link).catch((error: unknown) => seat.context.log.warn({ err: error, instance: seat.id }, 'a guest that was copied did not wake at once'))
    await seat.note(`it stood still for ${Math.round(performance.now() - begun)} ms to be copied`)
  }
}

/** The disks that it writes, by the nodes that QEMU knows them by. */
function disksOf({ paths, known }: Seat, files: SnapshotFiles): readonly CopiedDisk[] {
  const disks = [
    { node: 'overlay', from: paths.overlay, to: files.overlay },
    ...overlayPorts(known.volumes).map((port) => ({ node: portDiskName(port), from: paths.volumeOverlay(port), to: files.volumeOverlay(port) })),
  ]
  return disks.map((disk) => ({ ...disk, beside: besideOf(disk.from) }))
}

/** Memory and devices of a paused VM. */
async function keepRunning(seat: Seat, live: Live, files: SnapshotFiles): Promise<SavedMemory> {
  const { context, id, paths } = seat
  const { qmp, identity } = live.vmm
  const template = seat.known.template ?? null
  if (template === null) {
    await saveDevices(qmp, id, paths, context.jail)
    await rename(paths.state, files.state)
    await copySparse(paths.memory, files.memory)
  } else {
    // In the VM's own directory, where its user may write.
    const beside = `${paths.state}.new`
    const pages = { pid: identity.pid, memoryPath: SHARED_MEMORY_NAME, memoryBytes: seat.known.spec.memoryBytes }
    await allOrFirstFailure([saveDeviceState(qmp, context.jail, id, beside, { goesOn: true }), savePrivateMemory(pages, files.memory, { sync: false })])
    await rename(beside, files.state)
  }
  await context.jail.share(files.state, PRIVATE_MODE)
  return { template, machine: seat.known.machine ?? machineIdentity(context) }
}

/** What a standby saved. It is only read, unless the VM's memory lives in the file. */
async function keepSaved(seat: Seat, files: SnapshotFiles): Promise<SavedMemory> {
  const { paths } = seat
  const { machine } = seat.known
  const template = seat.known.template ?? null
  if (machine === null) throw new BerthError('invalid_state', 'The saved state of the instance does not tell what machine it was.')
  await shareOrCopy(paths.state, files.state)
  if (template === null) await copySparse(paths.memory, files.memory)
  else await shareOrCopy(paths.memory, files.memory)
  return { template, machine }
}

async function copyDisks(seat: Seat, files: SnapshotFiles): Promise<void> {
  await copySparse(seat.paths.overlay, files.overlay)
  for (const port of overlayPorts(seat.known.volumes)) await copySparse(seat.paths.volumeOverlay(port), files.volumeOverlay(port))
}

// --- applying -------------------------------------------------------------------------------------------------

interface Move {
  readonly from: string
  readonly to: string
}

/** Puts the files beside their places; with `consume` the snapshot's own are what is moved. */
async function copyBeside(seat: Seat, source: SnapshotRecord, use: SnapshotUse, memory: SavedMemory | null): Promise<readonly Move[]> {
  const { paths, context, id } = seat
  const files = context.snapshots.files(source.id)
  const ports = memory === null ? [] : overlayPorts(source.volumes)
  const disks: readonly Move[] = [
    { from: files.overlay, to: paths.overlay },
    ...ports.map((port) => ({ from: files.volumeOverlay(port), to: paths.volumeOverlay(port) })),
  ]
  const moves: Move[] = []
  for (const { from, to } of disks) {
    const beside = use.consume ? from : `${to}${COPY_SUFFIX}`
    if (!use.consume) await copySparse(from, beside)
    // A call that was cut off may have moved it already.
    if ((await stat(beside).catch(() => null)) !== null) await context.jail.give(beside, id, PRIVATE_MODE)
    moves.push({ from: beside, to })
  }
  if (memory === null) return moves
  const state = `${paths.state}${COPY_SUFFIX}`
  const pages = `${paths.memory}${COPY_SUFFIX}`
  await shareOrCopy(files.state, state)
  if (memory.template === null) {
    await copySparse(files.memory, pages)
    await context.jail.give(pages, id, PRIVATE_MODE)
  } else await shareOrCopy(files.memory, pages)
  return [...moves, { from: state, to: paths.state }, { from: pages, to: paths.memory }]
}

async function moveIn(from: string, to: string): Promise<void> {
  try {
    await rename(from, to)
  } catch (error) {
    const isMoved = error instanceof Error && 'code' in error && error.code === 'ENOENT' && (await stat(to).catch(() => null)) !== null
    if (!isMoved) throw error
  }
}

/** Checked before anything of the VM is touched. */
function requireMemory(seat: Seat, spec: VmSpec, source: SnapshotRecord): SavedMemory {
  const { memory } = source
  if (memory === null) throw new BerthError('invalid_state', 'The snapshot holds disks alone, so it can only be started from, not continued.')
  const mismatch = identityMismatch(memory.machine, machineIdentity(seat.context))
  if (mismatch.length > 0) throw new BerthError('not_supported', `The memory of the snapshot can't be continued here: ${mismatch.join('; ')}. Its disks can be used.`)
  if (spec.memoryBytes !== source.spec.memoryBytes || spec.vcpus !== source.spec.vcpus) {
    throw new BerthError('invalid_state', 'The instance has another size than when the snapshot was taken; only the disks of the snapshot can be used.')
  }
  return memory
}

// --- shared ---------------------------------------------------------------------------------------------------

/** Two guests that write one file system destroy it, and memory that knows another content of it does too. */
function refuseWritable(volumes: readonly PluggedVolume[]): void {
  const writable = volumes.find(({ volume }) => volume.mode === 'rw')
  if (writable === undefined) return
  throw new BerthError('not_supported', `The volume ${writable.volume.volumeId} is attached writable, so the instance can't be copied: detach it, or attach it read-only.`)
}

function notFrozen(): BerthError {
  return new BerthError('not_supported', 'The instance fell asleep without stopping its programs first, so it can’t be copied; restore it and try again.')
}

function overlayPorts(volumes: readonly PluggedVolume[]): readonly number[] {
  return volumes.flatMap(({ overlayPort }) => overlayPort ?? [])
}

/** One more name for a file that nobody writes. */
async function shareOrCopy(from: string, to: string): Promise<void> {
  await rm(to, { force: true })
  try {
    await hardLink(from, to)
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : null
    if (code !== 'EXDEV' && code !== 'EMLINK' && code !== 'EPERM') throw error
    await copySparse(from, to)
  }
}

async function allOrFirstFailure<A, B>(work: readonly [Promise<A>, Promise<B>]): Promise<[A, B]> {
  await Promise.allSettled(work)
  return await Promise.all(work)
}
