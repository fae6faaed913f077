/** The layers, configs and manifests that pulls have brought: what they weigh, and which may go. */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { readdir, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'

/** What a pull that never finished has brought is kept this long for the next try. */
const ORPHAN_KEPT_MS = 24 * 60 * 60_000

/** Removes what nobody needs: `unwanted` at once, anything else when it has lain there for a day. */
export async function sweepBlobs(
  blobsDir: string,
  options: { readonly needed: ReadonlySet<string>; readonly unwanted: ReadonlySet<string> },
): Promise<void> {
  const dir = join(blobsDir, 'sha256')
  for (const hex of await namesIn(dir)) {
    if (options.needed.has(hex)) continue
    const path = join(dir, hex)
    if (options.unwanted.has(hex) || Date.now() - (await stat(path)).mtimeMs > ORPHAN_KEPT_MS) await rm(path, { force: true })
  }
}

/**
 * Reads every cached blob of an image that could not be unpacked and drops those that are not what their name says,
 * so that a disk's fault doesn't stay. Gives how many.
 */
export async function dropDamagedBlobs(blobsDir: string, wanted: readonly string[]): Promise<number> {
  let dropped = 0
  for (const hex of wanted) {
    const path = join(blobsDir, 'sha256', hex)
    if (!(await isFile(path)) || (await hashOf(path)) === hex) continue
    await rm(path, { force: true })
    dropped += 1
  }
  return dropped
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path), hash)
  return hash.digest('hex')
}

export async function blobsBytes(blobsDir: string): Promise<number> {
  const dir = join(blobsDir, 'sha256')
  let bytes = 0
  for (const name of await namesIn(dir)) bytes += await sizeOf(join(dir, name))
  return bytes
}

async function namesIn(dir: string): Promise<readonly string[]> {
  try {
    return await readdir(dir)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return []
    throw error
  }
}

async function isFile(path: string): Promise<boolean> {
  try {
    return (await stat(path)).isFile()
  } catch {
    return false
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size
  } catch {
    // Removed meanwhile.
    return 0
  }
}
