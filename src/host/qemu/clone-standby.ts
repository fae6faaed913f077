/**
 * Standby of a clone: what it wrote itself and its devices are kept; the rest stays the template's for ever.
 * So the cost follows what the guest did, not how much memory it has.
 *
 *   save   paused ─▶ devices to state.new, own pages to memory ─▶ rename ─▶ the caller quits QEMU
 *   load   QEMU on the template's memory ─▶ own pages back into it, while QEMU makes its machine ─▶ devices ─▶ the
 *          caller continues it
 */
import { rename, rm, stat } from 'node:fs/promises'
import type { KeptSpec } from '../../engine/host-port.ts'
import { asDiskError } from '../command.ts'
import type { InstancePaths } from '../paths.ts'
import { saveDeviceState } from './device-state.ts'
import type { ProcessIdentity } from './identity.ts'
import { loadPrivateMemory, savePrivateMemory, untilMapped, type PrivateMemory } from './private-memory.ts'
import type { Seat } from './seat.ts'
import { SHARED_MEMORY_NAME } from './shared-memory.ts'
import type { Vmm } from './vmm.ts'

/** Keeps a paused clone; gives the bytes that takes. The VM stays paused. Whether it reached the disk is the caller's to see to. */
export async function saveClone(vmm: Vmm, seat: Seat): Promise<number> {
  const { paths, context, id } = seat
  const beside = `${paths.state}.new`
  try {
    const [, pages] = await allOrFirstFailure([
      saveDeviceState(vmm.qmp, context.jail, id, beside),
      savePrivateMemory(memoryOf(vmm.identity, seat.known.spec), paths.memory, { sync: false }),
    ])
    await rename(beside, paths.state)
    return (await stat(paths.state)).size + pages.fileBytes
  } catch (error) {
    await rm(beside, { force: true })
    await rm(paths.memory, { force: true })
    throw asDiskError(error, 'the saved state of an instance')
  }
}

/** Fills a QEMU that was just started on the template's memory with what was kept. Devices come afterwards. */
export async function loadCloneMemory(identity: ProcessIdentity, spec: KeptSpec, paths: InstancePaths): Promise<void> {
  const memory = memoryOf(identity, spec)
  await untilMapped(memory, identity)
  await loadPrivateMemory(memory, paths.memory)
}

function memoryOf(identity: ProcessIdentity, spec: KeptSpec): PrivateMemory {
  return { pid: identity.pid, memoryPath: SHARED_MEMORY_NAME, memoryBytes: spec.memoryBytes }
}

/** Both results; if one fails, its error, but only when the other is done. */
async function allOrFirstFailure<A, B>(work: readonly [Promise<A>, Promise<B>]): Promise<[A, B]> {
  await Promise.allSettled(work)
  return await Promise.all(work)
}
