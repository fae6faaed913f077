/**
 * The volumes of a host: the front door of this room.
 *
 *   <data>/volumes/<id>/data.ext4      one sparse ext4 each
 *   <data>/volumes/.making-*           not finished: swept when the room opens
 *   <data>/volumes/.deleting-*         on its way out: swept likewise
 *
 * A volume appears and disappears by one rename, so that a crash leaves all of it or nothing.
 */
import { chmod, mkdir, mkdtemp, open, readdir, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { BerthError } from '../../instance/errors.ts'
import type { VolumeId } from '../../instance/model.ts'
import { asDiskError } from '../command.ts'
import { EmptyDisks } from './empty-disks.ts'
import { checkSize, fileExists, giveTo, makeExt4 } from './ext4.ts'
import type { FileOwner } from './ext4.ts'
import { unpackArchive } from './unpack.ts'

export interface VolumesOptions {
  readonly dataDir: string
  /** Who opens the files: QEMU's user; null leaves them with Berth's own. */
  readonly owner?: FileOwner | null
}

export interface VolumeRequest {
  readonly id: VolumeId
  readonly sizeBytes: number
}

export interface Volumes {
  /** The same volume again does nothing; another size under the same id is `already_exists`. */
  create(volume: VolumeRequest): Promise<void>
  /** A new volume with the content of a tar.gz. Throws `invalid_archive`, `archive_too_large`, `already_exists`. */
  importArchive(volume: VolumeRequest, archive: AsyncIterable<Uint8Array>): Promise<{ readonly sizeBytes: number }>
  /** One that isn't there is gone already. */
  delete(id: VolumeId): Promise<void>
  /** The file with the volume's ext4. Throws `volume_not_found`. */
  path(id: VolumeId): Promise<string>
  list(): Promise<readonly VolumeId[]>
  /** Bytes that all volumes really take on the disk. */
  diskUse(): Promise<number>
  /** An empty ext4 for what is written: of an instance's root, or of an overlay volume. An existing one stays. */
  createOverlay(path: string, sizeBytes: number): Promise<void>
  /** Waits until nothing is made in the background: whoever removes the directory then removes all. */
  close(): Promise<void>
}

const DATA_FILE = 'data.ext4'
const MAKING = '.making-'
const DELETING = '.deleting-'
/** QEMU's user must reach the files inside, and sees no names. */
const DIRECTORY_MODE = 0o711

export async function openVolumes(options: VolumesOptions): Promise<Volumes> {
  const root = join(options.dataDir, 'volumes')
  const owner = options.owner ?? null
  await mkdir(root, { recursive: true, mode: DIRECTORY_MODE })
  await sweepUnfinished(root)
  const empty = new EmptyDisks(root, owner)
  return {
    create: async (volume) => {
      const file = join(root, checkId(volume.id), DATA_FILE)
      if (await fileExists(file)) {
        if ((await stat(file)).size === checkSize(volume.sizeBytes)) return
        throw alreadyExists(volume.id)
      }
      await build(root, volume.id, owner, (folder) => makeExt4(join(folder, DATA_FILE), { sizeBytes: volume.sizeBytes, label: 'berth-volume' }))
    },
    importArchive: async (volume, archive) => {
      const sizeBytes = checkSize(volume.sizeBytes)
      if (await fileExists(join(root, checkId(volume.id)))) throw alreadyExists(volume.id)
      await build(root, volume.id, owner, (folder) => fill(folder, sizeBytes, archive))
      return { sizeBytes }
    },
    delete: async (id) => {
      const going = join(root, `${DELETING}${checkId(id)}-${process.pid}-${Date.now()}`)
      try {
        await rename(join(root, id), going)
      } catch (error) {
        if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return
        throw error
      }
      await rm(going, { recursive: true, force: true })
    },
    path: async (id) => {
      const file = join(root, checkId(id), DATA_FILE)
      if (await fileExists(file)) return file
      throw new BerthError('volume_not_found', `Volume ${id} is not on this host.`)
    },
    list: () => listVolumes(root),
    diskUse: async () => {
      const sizes = await Promise.all((await listVolumes(root)).map((id) => allocatedBytes(join(root, id, DATA_FILE))))
      return sizes.reduce((sum, bytes) => sum + bytes, 0)
    },
    createOverlay: (path, sizeBytes) => empty.create(path, sizeBytes),
    close: () => empty.settled(),
  }
}

/** Makes the volume's folder aside, then renames it into place; on failure nothing is left. */
async function build(root: string, id: VolumeId, owner: FileOwner | null, make: (folder: string) => Promise<void>): Promise<void> {
  let folder: string | null = null
  try {
    folder = await mkdtemp(join(root, MAKING))
    await make(folder)
    await giveTo(join(folder, DATA_FILE), owner)
    await chmod(folder, DIRECTORY_MODE)
    await rename(folder, join(root, id))
    await syncDirectory(root)
  } catch (error) {
    if (folder !== null) await rm(folder, { recursive: true, force: true })
    if (error instanceof Error && 'code' in error && (error.code === 'ENOTEMPTY' || error.code === 'EEXIST')) throw alreadyExists(id)
    throw asDiskError(error, `volume ${id}`)
  }
}

/** mkdtemp's 0700 keeps everybody else out while the files, setuid bits and all, lie here. */
async function fill(folder: string, sizeBytes: number, archive: AsyncIterable<Uint8Array>): Promise<void> {
  const tree = join(folder, 'tree')
  await mkdir(tree, { mode: 0o755 })
  const { inodes } = await unpackArchive(archive, tree, sizeBytes)
  await makeExt4(join(folder, DATA_FILE), { sizeBytes, label: 'berth-volume', fromDirectory: tree, ...inodesFor(sizeBytes, inodes) })
  await rm(tree, { recursive: true, force: true })
}

/** mke2fs makes an inode for each 16 KiB; an archive of many small files needs more, and room to add some. */
function inodesFor(sizeBytes: number, needed: number): { inodes?: number } {
  return needed * 1.25 + 64 > sizeBytes / 16384 ? { inodes: Math.ceil(needed * 1.25) + 1024 } : {}
}

async function listVolumes(root: string): Promise<VolumeId[]> {
  const names = await readdir(root)
  // checkId refuses leading dots, so what isn't finished is never listed.
  return names.filter(isVolumeId)
}

async function sweepUnfinished(root: string): Promise<void> {
  const names = await readdir(root)
  const left = names.filter((name) => name.startsWith(MAKING) || name.startsWith(DELETING))
  await Promise.all(left.map((name) => rm(join(root, name), { recursive: true, force: true })))
}

async function allocatedBytes(path: string): Promise<number> {
  try {
    return (await stat(path)).blocks * 512
  } catch (error) {
    // Deleted between the listing and now.
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return 0
    throw error
  }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

/** The engine checked the id; it becomes a path here, so it is checked again. */
function checkId(id: VolumeId): string {
  if (isVolumeId(id)) return id
  throw new BerthError('invalid_name', `"${String(id).slice(0, 100)}" can't name a volume; use up to 128 of a-z, A-Z, 0-9, ".", "_" and "-", beginning with a letter or digit.`)
}

function isVolumeId(name: string): name is VolumeId {
  return /^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(name)
}

function alreadyExists(id: VolumeId): BerthError {
  return new BerthError('already_exists', `Volume ${id} exists already; delete it first, or choose another id.`)
}
