/**
 * Shared file systems that are mounted in and taken from a running instance, in its seat's line.
 *
 * The record names a file system only while it is mounted: after a crash in between the engine asks for what its own
 * record says, and the same call finds what is done already.
 */
import type { KeptSpec, VmRef } from '../../engine/host-port.ts'
import { asBerthError } from '../../instance/errors.ts'
import type { FileSystemId, FileSystemMount } from '../../instance/model.ts'
import { connect } from './lifecycle.ts'
import type { Seat } from './seat.ts'
import { mountShares } from './shares.ts'

/** Serves it to the instance and mounts it. If it throws, nothing of it is left in the guest. */
export async function attachFileSystem(seat: Seat, ref: VmRef, mount: FileSystemMount): Promise<void> {
  const { spec } = seat.running(ref).record
  const link = seat.link(ref)
  const others = othersOf(spec, mount.fileSystemId)
  if ((spec.fileSystems ?? []).some(({ fileSystemId, path }) => fileSystemId === mount.fileSystemId && path === mount.path)) return
  const wanted: KeptSpec = { ...spec, fileSystems: [...others, mount] }
  try {
    // Refused here where it can't be served; `connect` would go on without it.
    if (spec.network !== null) await seat.context.fileSystems.hold(mount.fileSystemId, seat.id)
    const { shares } = await connect(seat.context, wanted, { running: true })
    await mountShares(link, seat.context.artifacts, wanted, shares.filter(({ path }) => path === mount.path))
  } catch (error) {
    await letGo(seat, spec, mount.fileSystemId)
    throw error
  }
  await seat.save({ spec: wanted })
  await seat.note(`file system ${mount.fileSystemId} mounted at ${mount.path}`)
}

/** Unmounts it and serves it no longer to the instance. `volume_in_use` if files are open in it; one that isn't mounted is gone already. */
export async function detachFileSystem(seat: Seat, ref: VmRef, fileSystemId: FileSystemId): Promise<void> {
  const { spec } = seat.running(ref).record
  const mount = (spec.fileSystems ?? []).find(each => each.fileSystemId === fileSystemId)
  if (mount === undefined) return
  const link = seat.link(ref)
  const left: KeptSpec = { ...spec, fileSystems: othersOf(spec, fileSystemId) }
  await seat.save({ spec: left })
  try {
    await link.unmountVolume(mount.path)
  } catch (error) {
    await seat.save({ spec })
    throw error
  }
  await letGo(seat, left, fileSystemId)
  await seat.note(`file system ${fileSystemId} unmounted from ${mount.path}`)
}

function othersOf({ fileSystems = [] }: KeptSpec, id: FileSystemId): readonly FileSystemMount[] {
  return fileSystems.filter(({ fileSystemId }) => fileSystemId !== id)
}

/** Ends the way to its server, and the server if nobody else has it. */
async function letGo(seat: Seat, spec: KeptSpec, id: FileSystemId): Promise<void> {
  try {
    await seat.context.fileSystems.release(id, seat.id)
    await connect(seat.context, spec, { running: true })
  } catch (error) {
    // It is unmounted all the same; the rules are written anew with the next change or start.
    await seat.note(`the way to file system ${id} could not be closed: ${asBerthError(error).message}`)
  }
}
