/**
 * Empty ext4 file systems for what instances write: `mke2fs` makes one of each size, and what it wrote (some 100 KB,
 * however large the disk) is written again for each that follows, which takes no process and a tenth of the time.
 *
 * Invariants: a size's first disk never waits for its pattern, which is made beside it; where the host's file system
 * doesn't tell which parts of a file hold anything, every disk is made by `mke2fs`. Disks of one pattern have the same
 * UUID, as a fork's have: a guest mounts by device. A file appears whole, by a rename, or not at all.
 */
import { randomBytes } from 'node:crypto'
import { open, rename, rm, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { asDiskError, runCommand } from '../command.ts'
import { checkSize, createOverlay, fileExists, giveOpen, makeOverlayExt4, type FileOwner } from './ext4.ts'

const BLOCK_BYTES = 4096
/** Of so many sizes patterns are kept; the one that was asked for longest ago goes first. */
export const MAX_PATTERNS = 16
/** A disk of terabytes has more: it takes a while anyway. */
const MAX_PATTERN_BYTES = 4 * 1024 * 1024

interface Run {
  readonly offset: number
  readonly bytes: Buffer
}

export class EmptyDisks {
  readonly #dir: string
  readonly #owner: FileOwner | null
  /** null while it is made, and where none can be. */
  readonly #patterns = new Map<number, readonly Run[] | null>()
  #making: Promise<void> = Promise.resolve()

  /** `dir` is where patterns are made, on the disk that will hold the copies. */
  constructor(dir: string, owner: FileOwner | null) {
    this.#dir = dir
    this.#owner = owner
  }

  /** An empty file system of `sizeBytes` at `path`. One that is there stays as it is: it may hold data. */
  async create(path: string, sizeBytes: number): Promise<void> {
    const size = checkSize(sizeBytes)
    const pattern = this.#patterns.get(size)
    if (pattern === undefined) this.#learn(size)
    if (pattern === undefined || pattern === null) return await createOverlay(path, sizeBytes, this.#owner)
    this.#patterns.delete(size)
    this.#patterns.set(size, pattern)
    if (!(await fileExists(path))) await copyPattern(path, size, pattern, this.#owner)
  }

  /** Whether disks of this size are copies. */
  knows(sizeBytes: number): boolean {
    return (this.#patterns.get(checkSize(sizeBytes)) ?? null) !== null
  }

  /** Settles when no pattern is being made. */
  async settled(): Promise<void> {
    await this.#making
  }

  #learn(size: number): void {
    this.#patterns.set(size, null)
    const [oldest] = this.#patterns.keys()
    if (this.#patterns.size > MAX_PATTERNS && oldest !== undefined) this.#patterns.delete(oldest)
    this.#making = this.#making.then(async () => {
      // Without one every disk is made by mke2fs, which tells what is wrong with the disk.
      const pattern = await makePattern(join(this.#dir, `.making-empty-${randomBytes(6).toString('hex')}`), size).catch(() => null)
      if (pattern !== null && this.#patterns.has(size)) this.#patterns.set(size, pattern)
    })
  }
}

async function makePattern(path: string, size: number): Promise<readonly Run[] | null> {
  try {
    await makeOverlayExt4(path, size)
    // `-s` has the file written out first: until then nobody knows where its parts will be.
    const runs = readExtents(await runCommand('filefrag', ['-s', '-e', `-b${BLOCK_BYTES}`, path]))
    if (runs === null || runs.reduce((sum, { bytes }) => sum + bytes, 0) > MAX_PATTERN_BYTES) return null
    const file = await open(path, 'r')
    try {
      return await Promise.all(
        runs.map(async ({ offset, bytes }): Promise<Run> => {
          const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, offset)
          return { offset, bytes: buffer.subarray(0, bytesRead) }
        }),
      )
    } finally {
      await file.close()
    }
  } finally {
    await rm(path, { force: true })
  }
}

/** The parts of a file that hold anything, from what `filefrag -e` prints; null if that says nothing of parts. */
export function readExtents(printed: string): readonly { readonly offset: number; readonly bytes: number }[] | null {
  const extents = [...printed.matchAll(/^\s*\d+:\s*(\d+)\.\.\s*(\d+):.*$/gm)]
  if (extents.length === 0) return null
  return extents
    .filter(([line]) => !/unwritten/.test(line))
    .map(([, from, to]) => ({ offset: Number(from) * BLOCK_BYTES, bytes: (Number(to) - Number(from) + 1) * BLOCK_BYTES }))
}

async function copyPattern(path: string, size: number, pattern: readonly Run[], owner: FileOwner | null): Promise<void> {
  const temporary = `${path}.making-${randomBytes(6).toString('hex')}`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.truncate(size)
      for (const { offset, bytes } of pattern) await writeWhole(file, bytes, offset)
      await giveOpen(file, owner)
    } finally {
      await file.close()
    }
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw asDiskError(error, 'an overlay')
  }
}

/** A disk that fills up takes the beginning, and says so at the next write only. */
export async function writeWhole(file: Pick<FileHandle, 'write'>, bytes: Buffer, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length; ) done += (await file.write(bytes, done, bytes.length - done, offset + done)).bytesWritten
}
