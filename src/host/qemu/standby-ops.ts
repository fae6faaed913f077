/** Standby and restore of an instance, in its seat's line: what standby.ts does to a VM, and what is recorded. */
import { open, rm, stat } from 'node:fs/promises'
import type { KeptSpec, VmRef, VmStarted } from '../../engine/host-port.ts'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import { setTimeout as sleep } from 'node:timers/promises'
import type { GuestLink } from '../guest-link/link.ts'
import { connectLink, machineSpec } from './cold-boot.ts'
import { machineIdentity } from './context.ts'
import { CLONE_STATE_DESCRIPTOR, loadDeviceState } from './device-state.ts'
import { bootId } from './identity.ts'
import { connect, prepare, settleIn } from './lifecycle.ts'
import { loadCloneMemory, saveClone } from './clone-standby.ts'
import { wakeGuest } from './identity-care.ts'
import { keepLink } from './link-keeper.ts'
import { identityMismatch } from './machine.ts'
import { endVm } from './naps.ts'
import { killVm } from './process.ts'
import type { Live, Seat } from './seat.ts'
import { loadDevices, saveDevices, syncSaved } from './standby.ts'
import type { Template } from './template.ts'
import type { SavedState } from './vm-record.ts'
import { Vmm } from './vmm.ts'

const FREEZE_TIMEOUT_MS = 5_000
/** A guest that was just continued answers in milliseconds; under emulation on a busy machine, in seconds. */
const WAKE_TIMEOUT_MS = 60_000

/** Saves the VM and ends its VMM, unless that may nap. If it throws, the VM runs on. */
export async function suspend(seat: Seat, ref: VmRef, { naps = true } = {}): Promise<{ readonly savedBytes: number }> {
  seat.admit(ref)
  if (seat.record?.status === 'suspended') return { savedBytes: seat.record.saved?.bytes ?? 0 }
  const { live } = seat.running(ref)
  const begun = performance.now()
  await seat.save({ status: 'suspending' })
  let kept: Awaited<ReturnType<typeof pauseAndSave>>
  try {
    kept = await pauseAndSave(seat, live)
    await seat.save({ status: 'suspended', saved: { ...kept, bootId: bootId(), synced: false } })
  } catch (error) {
    await runOn(seat, live)
    await seat.note(`standby failed, the instance runs on: ${asBerthError(error).message}`)
    throw error
  }
  seat.live = null
  // An agent that did not answer is still looked for (link-keeper.ts): who finds it must not hold the only link of what wakes later.
  if (naps && kept.frozen && seat.context.naps !== null) seat.context.naps.keep(seat, live)
  else await endVm(seat, live)
  await seat.note(`in standby after ${Math.round(performance.now() - begun)} ms`)
  syncLater(seat)
  return { savedBytes: kept.bytes }
}

/** Continues what was saved. If it throws, it is still there. */
export async function resume(seat: Seat, spec: KeptSpec): Promise<VmStarted> {
  seat.admit(spec)
  const record = seat.known
  if (record.status === 'running') return { startedAt: record.startedAt ?? Date.now(), how: 'already-running' }
  const { saved, machine } = record
  // `resuming` is left by a restore that failed and could not write that down: the guest had not run.
  if ((record.status !== 'suspended' && record.status !== 'resuming') || saved === null || machine === null) {
    throw new BerthError('invalid_state', 'The instance has no saved state to restore.')
  }
  const mismatch = identityMismatch(machine, machineIdentity(seat.context))
  if (mismatch.length > 0) {
    throw new BerthError('not_supported', `The saved state can't be loaded here: ${mismatch.join('; ')}. Stop the instance and start it anew.`)
  }
  const begun = performance.now()
  const startedAt = Date.now()
  const napping = (await seat.context.naps?.take(seat, spec)) ?? null
  const vmm = napping === null ? await loadSaved(seat, spec, saved) : await readied(seat, spec, napping)
  const connecting = await goOn(seat, vmm, saved, record.startedAt ?? startedAt)
  const live = napping ?? settleIn(seat, vmm)
  seat.live = live
  await wake(seat, live, connecting.link)
  await rm(seat.paths.state, { force: true })
  // A clone's memory was read into it; any other's VM lives in that file.
  if ((record.template ?? null) !== null) await rm(seat.paths.memory, { force: true })
  await seat.note(`restored after ${Math.round(performance.now() - begun)} ms${napping === null ? '' : ' (it napped)'}`)
  return { startedAt, how: 'restored' }
}

/** From its first instruction on memory belongs to the new life, and the saved state is void. If it throws, the VM is gone. */
async function goOn(seat: Seat, vmm: Vmm, saved: SavedState, startedAt: number): Promise<{ readonly link: Promise<GuestLink> }> {
  let link: Promise<GuestLink> | null = null
  try {
    await seat.save({ status: 'running', saved: null, startedAt })
    // It answers when it goes on.
    link = connectLink(seat.context, { instanceId: seat.id }, vmm, WAKE_TIMEOUT_MS)
    link.catch(() => undefined) // awaited by the caller, unless it can't go on
    await vmm.qmp.execute('cont')
    return { link }
  } catch (error) {
    link?.then((answered) => answered.close()).catch(() => undefined) // it never answered
    await vmm.kill()
    await seat.context.cgroups.remove(seat.id)
    await seat.believe({ status: 'suspended', saved, process: null })
    throw error
  }
}

/** The VM that napped, with its network as the instance has it now. */
async function readied(seat: Seat, spec: KeptSpec, { vmm }: Live): Promise<Vmm> {
  try {
    await connect(seat.context, spec, {})
    await seat.save({ spec })
    return vmm
  } catch (error) {
    await vmm.kill()
    await seat.believe({ process: null })
    await seat.context.cgroups.remove(seat.id)
    throw error
  }
}

/** A VMM with the saved state in it, paused. The record says `resuming`. */
async function loadSaved(seat: Seat, spec: KeptSpec, saved: SavedState): Promise<Vmm> {
  const { paths, context } = seat
  await checkFiles(seat, spec)
  // One that could not be ended in time would still hold its tap and disks.
  if (seat.known.process !== null) await killVm(seat.known.process)
  // The disks of the saved state, not those the spec would have now: the devices must be the same.
  const frozen: KeptSpec = { ...spec, volumes: seat.known.volumes.map(({ volume }) => volume) }
  const prepared = await prepare(seat, frozen)
  const state = await open(paths.state, 'r')
  try {
    const template = await templateOf(seat)
    const vmm = await Vmm.start(context, {
      id: seat.id,
      machine: machineSpec(context, prepared, { incoming: true, memory: template === null ? 'own' : 'template' }),
      descriptors: template === null ? [state.fd] : [template.memory.file.fd, state.fd],
      onSpawned: async (process) => {
        await seat.save({ status: 'resuming', process })
        if (template !== null) await loadCloneMemory(process, spec, paths)
      },
    })
    try {
      if (template === null) await loadDevices(vmm.qmp)
      else await loadDeviceState(vmm.qmp, CLONE_STATE_DESCRIPTOR)
      return vmm
    } catch (error) {
      await vmm.kill()
      if (!isRefusal(error)) throw error
      throw new BerthError('invalid_state', 'QEMU can\'t load the saved state of the instance, which may be damaged; try again, or stop the instance and start it anew.', { cause: error })
    }
  } catch (error) {
    await context.cgroups.remove(seat.id)
    await seat.believe({ status: 'suspended', saved, process: null })
    await seat.note(`restore failed, the saved state is kept: ${asBerthError(error).message}`)
    throw error
  } finally {
    await state.close()
  }
}

/** QEMU ends, or says that it failed, where what it reads is not what one like it wrote. */
function isRefusal(error: unknown): boolean {
  return error instanceof BerthError && (error.code === 'internal' || error.code === 'guest_unreachable')
}

/** The template a saved clone needs; null for a VM whose memory is its own. */
async function templateOf(seat: Seat): Promise<Template | null> {
  const id = seat.known.template ?? null
  if (id === null) return null
  if (seat.context.templates === null) {
    throw new BerthError('not_supported', 'The instance came from a template, and this host is set to use none; stop the instance and start it anew.')
  }
  return await seat.context.templates.get(id)
}

async function checkFiles(seat: Seat, spec: KeptSpec): Promise<void> {
  const memory = await stat(seat.paths.memory).catch(() => null)
  const isClone = (seat.known.template ?? null) !== null
  if (memory === null || (!isClone && memory.size !== spec.memoryBytes)) {
    throw new BerthError('invalid_state', 'The saved memory of the instance is missing or has another size; stop the instance and start it anew.')
  }
}

async function pauseAndSave(seat: Seat, live: Live): Promise<{ readonly bytes: number; readonly frozen: boolean }> {
  const { vmm, link } = live
  // User code must not run between waking and the new clock and entropy: it sleeps until they are set.
  const frozen = link !== null && (await freeze(seat, link))
  live.link = null
  link?.close()
  await vmm.qmp.execute('stop')
  if ((seat.known.template ?? null) !== null) return { bytes: await saveClone(vmm, seat), frozen }
  return { bytes: await saveDevices(vmm.qmp, seat.id, seat.paths, seat.context.jail), frozen }
}

async function freeze(seat: Seat, link: GuestLink): Promise<boolean> {
  try {
    await Promise.race([link.freeze(), sleep(FREEZE_TIMEOUT_MS, undefined, { ref: false }).then(() => Promise.reject(new Error('no answer in time')))])
    return true
  } catch (error) {
    // A guest whose agent hangs can be saved all the same.
    seat.context.log.warn({ err: error, instance: seat.id }, 'a guest could not be frozen before its standby')
    return false
  }
}

/** After a failed save: as before, whatever else can't be done. */
async function runOn(seat: Seat, live: Live): Promise<void> {
  const half = [seat.paths.state, ...((seat.known.template ?? null) === null ? [] : [seat.paths.memory])]
  // What stays is void without a record that tells of it, and the next standby writes over it.
  await Promise.allSettled(half.map((path) => rm(path, { force: true })))
  if (live.vmm.hasEnded) return
  await seat.believe({ status: 'running', saved: null })
  try {
    await live.vmm.qmp.execute('cont')
  } catch (error) {
    // A QEMU that hangs does what it was told when it can, and its guest's agent is looked for until then.
    keepLink(seat, live, null)
    seat.context.log.warn({ err: error, instance: seat.id }, 'a VM that was to run on does not answer yet')
    return
  }
  await wake(seat, live)
}

/** Lets a guest that was frozen run on. */
async function wake(seat: Seat, live: Live, connecting = connectLink(seat.context, { instanceId: seat.id }, live.vmm, WAKE_TIMEOUT_MS)): Promise<void> {
  try {
    const link = await connecting
    await wakeGuest(seat, link)
    keepLink(seat, live, link)
  } catch (error) {
    // The guest runs; the keeper goes on trying, and thaws it when it answers.
    keepLink(seat, live, null)
    seat.context.log.warn({ err: error, instance: seat.id }, 'a restored guest does not answer yet')
  }
}

/** Makes a standby survive a power cut, without letting anybody wait for that. */
export function syncLater(seat: Seat): void {
  const { saved } = seat.known
  const work = async () => {
    await syncSaved(seat.paths)
    await seat.serially(async () => {
      if (seat.record?.status === 'suspended' && seat.record.saved === saved && saved !== null) {
        await seat.save({ saved: { ...saved, synced: true } }, { durable: true })
      }
    })
  }
  work().catch((error: unknown) => {
    // Restored or removed meanwhile; otherwise the state is good as long as this machine stays up.
    if (seat.record?.status === 'suspended') seat.context.log.warn({ err: error, instance: seat.id }, 'a standby could not be made durable')
  })
}

/** Whether a saved state found at the start of the host can be trusted; a sentence if not. */
export function whyNotTrusted(saved: SavedState): string | null {
  if (saved.synced || saved.bootId === bootId()) return null
  return 'the standby was lost: the host restarted before it had reached the disk'
}

