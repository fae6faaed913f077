/**
 * The finished images of a host: what is on the shelf, found again at every open, put there whole or not at all.
 */
import { chmod, mkdir, mkdtemp, open, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import type { HostImage } from '../../engine/host-port.ts'
import type { ImageDigest } from '../../instance/model.ts'
import { RECORD_FILE, type ImagePaths } from './image-paths.ts'
import { digestHex, parseDigest, type Blob } from './manifest.ts'
import { runTool } from './tool.ts'

/** The layout of `image.json`; a record of another is not ours to read. */
const RECORD_VERSION = 1
const REMOVE_DEADLINE_MS = 10 * 60_000

/** What `image.json` holds. */
interface ImageRecord {
  readonly version: number
  readonly image: HostImage
  /** Hex digits of the cached blobs it came from: they stay while it does. */
  readonly blobs: readonly string[]
}

export interface Shelf {
  list(): readonly HostImage[]
  get(digest: ImageDigest): HostImage | null
  /** Puts a finished directory in its place; another that was there first wins. */
  put(workDir: string, image: HostImage, blobs: readonly Blob[]): Promise<HostImage>
  /** Takes it off; gives the blobs that it needed. */
  take(digest: ImageDigest): Promise<readonly string[]>
  /** Blobs that the images there need. */
  neededBlobs(): ReadonlySet<string>
  /** A new, empty directory for work, on the same filesystem; it is the caller's to discard. */
  workDir(): Promise<string>
  discard(workDir: string): Promise<void>
}

/** Reads the shelf and sweeps what unfinished work has left. */
export async function openShelf(paths: ImagePaths): Promise<Shelf> {
  await mkdir(paths.images, { recursive: true })
  await chmod(paths.images, 0o755)
  await mkdir(paths.work, { recursive: true, mode: 0o700 })
  await mkdir(join(paths.blobs, 'sha256'), { recursive: true, mode: 0o700 })
  for (const name of await readdir(paths.work)) await removeTree(join(paths.work, name), paths.work)
  const records = new Map<ImageDigest, ImageRecord>()
  for (const name of await readdir(paths.images)) {
    const digest = parseDigest(`sha256:${name}`)
    if (digest === null) continue
    const record = await readRecord(paths, digest)
    if (record === null) await removeTree(paths.image(digest).dir, paths.work)
    else records.set(digest, record)
  }

  /** Arrivals and removals, one after the other. */
  let changes: Promise<unknown> = Promise.resolve()
  const inOrder = <T>(change: () => Promise<T>): Promise<T> => {
    const result = changes.then(change)
    changes = result.catch(() => undefined)
    return result
  }

  const workDir = () => mkdtemp(join(paths.work, 'w-'))
  const discard = (dir: string) => removeTree(dir, paths.work)

  return {
    list: () => [...records.values()].map((record) => record.image),
    get: (digest) => records.get(digest)?.image ?? null,
    put: (dir, image, blobs) =>
      inOrder(async () => {
        const there = records.get(image.digest)
        if (there !== undefined) return there.image
        const record: ImageRecord = { version: RECORD_VERSION, image, blobs: blobs.map((blob) => digestHex(blob.digest)) }
        await writeDurably(join(dir, RECORD_FILE), JSON.stringify(record, null, 2))
        await chmod(dir, 0o755)
        await syncDirectory(dir)
        await rename(dir, paths.image(image.digest).dir)
        await syncDirectory(paths.images)
        records.set(image.digest, record)
        return image
      }),
    take: (digest) =>
      inOrder(async () => {
        const record = records.get(digest)
        if (record === undefined) return []
        const dir = await workDir()
        await rename(paths.image(digest).dir, join(dir, 'removed'))
        records.delete(digest)
        await discard(dir)
        return record.blobs
      }),
    neededBlobs: () => new Set([...records.values()].flatMap((record) => record.blobs)),
    workDir,
    discard,
  }
}

/** Writes a file that is there whole after a power cut, or not at all. */
export async function replaceFile(path: string, text: string): Promise<void> {
  await writeDurably(`${path}.new`, text)
  await rename(`${path}.new`, path)
  await syncDirectory(dirname(path))
}

async function writeDurably(path: string, text: string): Promise<void> {
  await writeFile(path, text, { mode: 0o600, flush: true })
}

async function syncDirectory(path: string): Promise<void> {
  await using directory = await open(path)
  await directory.sync()
}

/** The record of a finished image; null if it is of another version, or its root is not as it was written. */
async function readRecord(paths: ImagePaths, digest: ImageDigest): Promise<ImageRecord | null> {
  const { record: path, root } = paths.image(digest)
  try {
    const record = JSON.parse(await readFile(path, 'utf8')) as ImageRecord
    const fine = record.version === RECORD_VERSION && record.image.digest === digest && (await stat(root)).size === record.image.sizeBytes
    return fine ? record : null
  } catch {
    // Unreadable is as good as absent: the image is pulled again when it is wanted.
    return null
  }
}

/** Without root, directories that an image has closed must be opened before they can be emptied. */
async function removeTree(path: string, workDir: string): Promise<void> {
  const run = { workDir, deadlineMs: REMOVE_DEADLINE_MS }
  if (process.getuid?.() !== 0) {
    const closed = ['-type', 'd', '!', '-perm', '-u=rwx', '-exec', 'chmod', 'u+rwx', '{}', ';']
    // Whatever stays closed makes the removal itself fail, and that is told.
    await runTool({ ...run, tool: 'find', args: [path, ...closed] }).catch(() => undefined)
  }
  await rm(path, { recursive: true, force: true })
}
