/**
 * Makes ext4 file systems in sparse files: `mke2fs` from e2fsprogs, told that the file is zero already,
 * so that neither it nor the guest's kernel ever writes the inode tables.
 *
 * A journal is always there: a guest is killed at any moment, and nobody runs fsck in it. It is small,
 * since it costs the host's disk what it holds. Extended attributes are on (overlayfs needs them).
 */
import { chmod, mkdir, mkdtemp, open, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { randomBytes } from 'node:crypto'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { BerthError } from '../../instance/errors.ts'
import { CommandFailed, asDiskError, runCommand } from '../command.ts'

/** Below this the journal and inode tables leave hardly any room. */
export const MIN_FILE_SYSTEM_BYTES = 8 * 1024 * 1024
/** ext4's own limit with 4 KiB blocks is 16 TiB for a file on ext4: what the host can hold. */
export const MAX_FILE_SYSTEM_BYTES = 16 * 1024 ** 4 - 4096
const BLOCK_BYTES = 4096
/** From this size on the journal is set; below it mke2fs chooses less by itself. */
const JOURNAL_FROM_BYTES = 512 * 1024 * 1024
const JOURNAL_MEGABYTES = 16
const MAKE_TIMEOUT_MS = 60_000
/** Filling from a directory reads and writes it all: a slow disk's pace is allowed for. */
const SLOWEST_FILL_BYTES_PER_SECOND = 5 * 1024 * 1024

/** What guest/mounts.c makes where it is missing, with these modes. */
const OVERLAY_DIRECTORIES = [['upper', 0o755], ['work', 0o755], ['private', 0o700]] as const

export interface Ext4Options {
  readonly sizeBytes: number
  readonly label: string
  /** Copied in, with owners and modes. */
  readonly fromDirectory?: string
  /** At least this many files will fit. */
  readonly inodes?: number
}

/** Writes an ext4 file system into a new file at `path`; the caller renames it to where it belongs. */
export async function makeExt4(path: string, options: Ext4Options): Promise<void> {
  const sizeBytes = checkSize(options.sizeBytes)
  try {
    const file = await open(path, 'wx', 0o600)
    try {
      await file.truncate(sizeBytes)
    } finally {
      await file.close()
    }
  } catch (error) {
    throw asDiskError(error, 'a file system')
  }
  const timeoutMs = MAKE_TIMEOUT_MS + (options.fromDirectory === undefined ? 0 : (sizeBytes / SLOWEST_FILL_BYTES_PER_SECOND) * 1000)
  const args = (extended: string) => [
    '-q', '-F', '-t', 'ext4', '-m', '0', '-L', options.label,
    '-O', 'has_journal,ext_attr,extent,dir_index,metadata_csum,^resize_inode',
    '-E', `nodiscard,lazy_journal_init=1,${extended}`,
    ...(sizeBytes >= JOURNAL_FROM_BYTES ? ['-J', `size=${JOURNAL_MEGABYTES}`] : []),
    ...(options.inodes === undefined ? [] : ['-N', String(options.inodes)]),
    ...(options.fromDirectory === undefined ? [] : ['-d', options.fromDirectory]),
    path,
  ]
  try {
    await runCommand('mke2fs', args('assume_storage_prezeroed=1'), { timeoutMs })
  } catch (error) {
    if (!(error instanceof CommandFailed && /bad option/i.test(error.stderr))) throw asFileSystemError(error)
    // e2fsprogs before 1.46.5 doesn't know that option.
    await runCommand('mke2fs', args('lazy_itable_init=1'), { timeoutMs }).catch((second: unknown) => {
      throw asFileSystemError(second)
    })
  }
}

/**
 * An empty ext4 of `sizeBytes` at `path`, for what an instance writes. One that is there stays as it is:
 * it may hold data.
 */
export async function createOverlay(path: string, sizeBytes: number, owner: FileOwner | null = null): Promise<void> {
  if (await fileExists(path)) return
  const temporary = `${path}.making-${randomBytes(6).toString('hex')}`
  try {
    await makeOverlayExt4(temporary, sizeBytes)
    await giveTo(temporary, owner)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw asDiskError(error, 'an overlay')
  }
}

/** With the directories that a guest's overlay needs, which a guest would make slowly: where they can be root's. */
export async function makeOverlayExt4(path: string, sizeBytes: number): Promise<void> {
  if (process.getuid?.() !== 0) return await makeExt4(path, { sizeBytes, label: 'berth-overlay' })
  const tree = await mkdtemp(join(tmpdir(), 'berth-overlay-'))
  try {
    await chmod(tree, 0o755)
    for (const [name, mode] of OVERLAY_DIRECTORIES) {
      await mkdir(join(tree, name))
      await chmod(join(tree, name), mode)
    }
    await makeExt4(path, { sizeBytes, label: 'berth-overlay', fromDirectory: tree })
  } finally {
    await rm(tree, { recursive: true, force: true })
  }
}

/** The user that QEMU runs as. */
export interface FileOwner {
  readonly uid: number
  readonly gid: number
}

/** Hands a file over, and makes sure it is on the disk. */
export async function giveTo(path: string, owner: FileOwner | null): Promise<void> {
  const file = await open(path, 'r+')
  try {
    await giveOpen(file, owner)
  } finally {
    await file.close()
  }
}

/** The same of a file that is open. */
export async function giveOpen(file: FileHandle, owner: FileOwner | null): Promise<void> {
  if (owner !== null) await file.chown(owner.uid, owner.gid)
  await file.datasync()
}

export async function fileExists(path: string): Promise<boolean> {
  try {
    await stat(path)
    return true
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return false
    throw error
  }
}

/** Whole blocks, rounded down: a guest never gets more than was asked for. */
export function checkSize(sizeBytes: number): number {
  if (!Number.isSafeInteger(sizeBytes) || sizeBytes < MIN_FILE_SYSTEM_BYTES || sizeBytes > MAX_FILE_SYSTEM_BYTES) {
    throw new BerthError('invalid_size', `A disk of ${sizeBytes} bytes can't be made; it can be 8 MiB to 16 TiB.`)
  }
  return sizeBytes - (sizeBytes % BLOCK_BYTES)
}

function asFileSystemError(error: unknown): unknown {
  if (!(error instanceof CommandFailed)) return error
  if (/could not allocate|no free space|inode table full/i.test(error.stderr)) {
    return new BerthError('archive_too_large', 'The content does not fit into a volume of this size; ask for a larger one.', { cause: error })
  }
  if (/file too large/i.test(error.stderr)) {
    return new BerthError('invalid_size', 'The disk of the host can’t hold a file of this size; ask for less.', { cause: error })
  }
  return error
}
