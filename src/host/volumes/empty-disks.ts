/**
 * Empty ext4 file systems for what instances write: `mke2fs` makes one of each size, and what it wrote (some 100 KB,
 * however large the disk) is written again for each that follows, which takes no process and a tenth of the time.
 *
 * Invariants: a size's first disk never waits for its pattern, which is made beside it; where the host's file system
 * doesn't tell which parts of a file hold anything, every disk is made by `mke2fs`. Disks of one pattern have the same
 * UUID, as a fork's have: a guest mounts by device. A file appears whole, by a rename, or not at all.
 */
import { randomBytes } from 'node:crypto'
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { copyPattern, readPattern, type Pattern } from './disk-pattern.ts'
import { checkSize, createOverlay, fileExists, makeOverlayExt4, type FileOwner } from './ext4.ts'

/** Of so many sizes patterns are kept; the one that was asked for longest ago goes first. */
export const MAX_PATTERNS = 16
/** A disk of terabytes has more: it takes a while anyway. */
const MAX_PATTERN_BYTES = 4 * 1024 * 1024

export class EmptyDisks {
  readonly #dir: string
  readonly #owner: FileOwner | null
  /** null while it is made, and where none can be. */
  readonly #patterns = new Map<number, Pattern | null>()
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
    if (!(await fileExists(path))) await copyPattern(path, pattern, this.#owner)
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

async function makePattern(path: string, size: number): Promise<Pattern | null> {
  try {
    await makeOverlayExt4(path, size)
    return await readPattern(path, MAX_PATTERN_BYTES)
  } finally {
    await rm(path, { force: true })
  }
}
