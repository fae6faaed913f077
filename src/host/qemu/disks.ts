/**
 * The files behind a VM: its directory, writable layer, memory, logs, and the volumes it opens, each handed
 * to the VM's own user.
 *
 * Invariants: what exists and may hold data is never made anew; when the disk is full nothing half-made stays.
 */
import { chmod, mkdir, open, rm, stat } from 'node:fs/promises'
import type { ImageDigest, InstanceId } from '../../instance/model.ts'
import { asDiskError, CommandFailed, runCommand } from '../command.ts'
import type { InstancePaths } from '../paths.ts'
import { copyPattern } from '../volumes/disk-pattern.ts'
import { fileExists } from '../volumes/ext4.ts'
import type { VmContext } from './context.ts'
import type { PluggedDisk } from './machine.ts'
import { rootStamp, type Template } from './template.ts'
import type { PluggedVolume } from './vm-record.ts'

/** VMs pass through to files whose names they were told; they can't list. */
export const PASSAGE_MODE = 0o711
const PRIVATE_MODE = 0o600
const SHARED_MODE = 0o640

/** The instance's directories, and the logs that QEMU writes. */
export async function makeDirectories(context: VmContext, id: InstanceId): Promise<void> {
  const paths = context.paths.instance(id)
  try {
    await mkdir(paths.dir, { recursive: true })
    await chmod(paths.dir, PASSAGE_MODE)
    await mkdir(paths.runDir, { recursive: true })
    await context.jail.give(paths.runDir, id, 0o700)
    for (const log of [paths.appLog, paths.consoleLog]) await makeLog(context, id, log)
  } catch (error) {
    throw asDiskError(error, 'an instance')
  }
}

/** An empty log that the VM may write, if there is none. */
export async function makeLog(context: VmContext, id: InstanceId, path: string): Promise<void> {
  const file = await open(path, 'a', PRIVATE_MODE)
  await file.close()
  await context.jail.give(path, id, PRIVATE_MODE)
}

/**
 * The writable layer of the root; an existing one stays. `template`, of the instance's image, makes a new one as its
 * guest has mounted it; gives whether that was done, which is so for one start.
 */
export async function makeOverlay(context: VmContext, id: InstanceId, overlayBytes: number, template: Template | null = null): Promise<boolean> {
  const { overlay } = context.paths.instance(id)
  const layer = (await fileExists(overlay)) ? null : (template?.layer ?? null)
  if (layer === null) await context.volumes.createOverlay(overlay, overlayBytes)
  else await copyPattern(overlay, layer, null)
  await context.jail.give(overlay, id, PRIVATE_MODE)
  return layer !== null
}

/**
 * A new, empty memory file. Its room on the disk is taken now: a guest that wrote to a page for which there
 * is none would be killed, long after it started.
 */
export async function makeMemory(context: VmContext, id: InstanceId, memoryBytes: number): Promise<void> {
  const paths = context.paths.instance(id)
  try {
    await rm(paths.memory, { force: true })
    const file = await open(paths.memory, 'wx', PRIVATE_MODE)
    try {
      await file.truncate(memoryBytes)
    } finally {
      await file.close()
    }
    await reserve(paths.memory, memoryBytes)
    await context.jail.give(paths.memory, id, PRIVATE_MODE)
  } catch (error) {
    await rm(paths.memory, { force: true })
    throw asDiskError(error, "an instance's memory")
  }
}

export interface ImageRoot {
  readonly path: string
  readonly stamp: string
}

/** The image's root, readable to VMs. Throws `image_not_found`. */
export async function openRoot({ images, jail }: Pick<VmContext, 'images' | 'jail'>, digest: ImageDigest): Promise<ImageRoot> {
  const path = images.rootPath(digest)
  await jail.share(path, SHARED_MODE)
  return { path, stamp: await rootStamp(path) }
}

/** Hands a volume's files over as its mode asks, makes its overlay, and says which disks to plug. */
export async function openVolume(context: VmContext, id: InstanceId, plugged: PluggedVolume): Promise<readonly PluggedDisk[]> {
  const { volume, port, overlayPort } = plugged
  const path = await context.volumes.path(volume.volumeId)
  if (volume.mode === 'rw') {
    await context.jail.give(path, id, PRIVATE_MODE)
    return [{ port, path, readOnly: false }]
  }
  await context.jail.share(path, SHARED_MODE)
  if (overlayPort === null) return [{ port, path, readOnly: true }]
  const overlay = context.paths.instance(id).volumeOverlay(overlayPort)
  await context.volumes.createOverlay(overlay, volume.overlayBytes ?? (await stat(path)).size)
  await context.jail.give(overlay, id, PRIVATE_MODE)
  return [
    { port, path, readOnly: true },
    { port: overlayPort, path: overlay, readOnly: false },
  ]
}

/** What is left when a VMM has ended for good: sockets and memory. */
export async function removeRuntime(paths: InstancePaths): Promise<void> {
  await Promise.all([
    rm(paths.runDir, { recursive: true, force: true }),
    rm(paths.memory, { force: true }),
    rm(paths.state, { force: true }),
    rm(`${paths.state}.new`, { force: true }),
  ])
}

/** Takes the file's room on the disk, where the file system can do that. */
async function reserve(path: string, bytes: number): Promise<void> {
  try {
    await runCommand('fallocate', ['--length', `${bytes}`, path])
  } catch (error) {
    if (error instanceof CommandFailed && /not supported/i.test(error.stderr)) return
    throw error
  }
}
