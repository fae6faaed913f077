/**
 * OCI layers → one read-only erofs file, the same bytes for the same layers.
 *
 * umoci applies the layers in an empty directory: it resolves every path inside of it, so `../`, absolute paths and
 * links that point out stay in, and it compares each layer with the digest in the config. mkfs.erofs keeps owners,
 * modes, times, hard links, devices and extended attributes. As root nothing is lost. Without root every
 * file becomes root's, a device node becomes an empty file, and what is closed to its owner is opened for it.
 *
 * Uncompressed with 4 KiB blocks: the guest maps pages as they are, and small files sit beside their inodes.
 */
import { mkdir, open, utimes, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ImageDigest } from '../../instance/model.ts'
import { watchDisk } from './arrival.ts'
import { imageFailure } from './image-failure.ts'
import { ROOT_FILE } from './image-paths.ts'
import { digestHex } from './manifest.ts'
import type { Layout } from './oci-layout.ts'
import { runTool } from './tool.ts'

const UNPACK_DEADLINE_MS = 30 * 60_000
const CONVERT_DEADLINE_MS = 30 * 60_000

export interface ConvertOptions {
  readonly name: string
  readonly digest: ImageDigest
  readonly workDir: string
  /** Gets `root.erofs`. */
  readonly outputDir: string
  readonly signal: AbortSignal
  readonly minFreeBytes: number
}

/** Writes `root.erofs` and gives its size. */
export async function makeRoot(layout: Layout, options: ConvertOptions): Promise<{ readonly sizeBytes: number }> {
  const rootfs = join(options.workDir, 'rootfs')
  const stamp = join(options.workDir, 'stamp')
  const output = join(options.outputDir, ROOT_FILE)
  const asRoot = process.getuid?.() === 0
  await stampNow(stamp)
  await mkdir(options.outputDir, { recursive: true })
  await using disk = watchDisk(options.workDir, options)
  const run = { workDir: options.workDir, signal: disk.signal }
  try {
    const rootless = asRoot ? [] : ['--rootless']
    await runTool({
      ...run,
      tool: 'umoci',
      args: ['raw', 'unpack', ...rootless, '--image', layout.image, rootfs],
      deadlineMs: UNPACK_DEADLINE_MS,
    })
  } catch (error) {
    throw imageFailure('unpack', options.name, error)
  }
  try {
    if (!asRoot) await openClosed(rootfs, run)
    await forgetToday(rootfs, stamp, run)
    await runTool({
      ...run,
      tool: 'mkfs.erofs',
      args: ['--quiet', '--preserve-mtime', '-Enosbcrc', '-U', uuidOf(options.digest), ...(asRoot ? [] : ['--all-root']), output, rootfs],
      deadlineMs: CONVERT_DEADLINE_MS,
    })
    return await settle(output)
  } catch (error) {
    throw imageFailure('convert', options.name, error)
  }
}

/** Remembers when the work began, a moment early: file times are kept coarser than the clock tells them. */
async function stampNow(path: string): Promise<void> {
  const earlier = new Date(Date.now() - 1000)
  await writeFile(path, '')
  await utimes(path, earlier, earlier)
}

/** Without root, a file of mode 0 could not be read into the image; in the guest root may read it anyway. */
async function openClosed(rootfs: string, run: { readonly workDir: string; readonly signal: AbortSignal }): Promise<void> {
  const directories = ['-type', 'd', '!', '-perm', '-u=rx', '-exec', 'chmod', 'u+rx', '{}', ';']
  const files = ['-type', 'f', '!', '-perm', '-u=r', '-exec', 'chmod', 'u+r', '{}', ';']
  await runTool({ ...run, tool: 'find', args: [rootfs, '(', ...directories, ')', '-o', '(', ...files, ')'], deadlineMs: UNPACK_DEADLINE_MS })
}

/** Directories that no layer describes carry the time of unpacking; they get time 0, so that the result is always the same. */
async function forgetToday(rootfs: string, stamp: string, run: { readonly workDir: string; readonly signal: AbortSignal }): Promise<void> {
  await runTool({
    ...run,
    tool: 'find',
    args: [rootfs, '-newer', stamp, '-exec', 'touch', '--no-dereference', '--date=@0', '{}', '+'],
    deadlineMs: UNPACK_DEADLINE_MS,
  })
}

/**
 * mkfs.erofs keeps files' times only if it also writes its own hour into the superblock, which starts at byte 1024:
 *
 *     0  magic e2 e1 f5 e0     8  features      16  inode count      24  build time, seconds (8 bytes), nanoseconds (4)
 *
 * The build time becomes 0 (the superblock is written without a checksum for that), and the file is on disk when this returns.
 */
async function settle(path: string): Promise<{ readonly sizeBytes: number }> {
  await using file = await open(path, 'r+')
  await file.chmod(0o644)
  const { buffer: magic } = await file.read(Buffer.alloc(4), 0, 4, SUPERBLOCK_AT)
  if (magic.readUInt32LE(0) !== EROFS_MAGIC) throw new Error(`${path} is not an erofs image`)
  await file.write(Buffer.alloc(12), 0, 12, SUPERBLOCK_AT + 24)
  await file.sync()
  return { sizeBytes: (await file.stat()).size }
}

const SUPERBLOCK_AT = 1024
const EROFS_MAGIC = 0xe0f5e1e2

/** A filesystem UUID that the content decides. */
function uuidOf(digest: ImageDigest): string {
  const hex = digestHex(digest)
  return [hex.slice(0, 8), hex.slice(8, 12), `4${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join('-')
}
