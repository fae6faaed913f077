/**
 * What a mostly empty disk holds, in memory, so that copies of it can be written without reading it again.
 */
import { randomBytes } from 'node:crypto'
import { open, rename, rm, type FileHandle } from 'node:fs/promises'
import { asDiskError, runCommand } from '../command.ts'
import { giveOpen, type FileOwner } from './ext4.ts'

const BLOCK_BYTES = 4096

export interface Pattern {
  readonly sizeBytes: number
  /** Whole blocks, in order; what is between them is zero. */
  readonly runs: readonly { readonly offset: number; readonly bytes: Buffer }[]
}

/** null where the host's file system doesn't tell which parts hold anything, or they are more than `mostBytes`. */
export async function readPattern(path: string, mostBytes: number): Promise<Pattern | null> {
  // `-s` has the file written out first: until then nobody knows where its parts will be.
  const extents = readExtents(await runCommand('filefrag', ['-s', '-e', `-b${BLOCK_BYTES}`, path]))
  if (extents === null || extents.reduce((sum, { bytes }) => sum + bytes, 0) > mostBytes) return null
  const file = await open(path, 'r')
  try {
    const runs = extents.map(async ({ offset, bytes }) => {
      const { buffer, bytesRead } = await file.read(Buffer.alloc(bytes), 0, bytes, offset)
      return { offset, bytes: buffer.subarray(0, bytesRead) }
    })
    return { sizeBytes: (await file.stat()).size, runs: await Promise.all(runs) }
  } finally {
    await file.close()
  }
}

/** A disk like the one that the pattern was read from. It appears whole, by a rename, or not at all. */
export async function copyPattern(path: string, { sizeBytes, runs }: Pattern, owner: FileOwner | null): Promise<void> {
  const temporary = `${path}.making-${randomBytes(6).toString('hex')}`
  try {
    const file = await open(temporary, 'wx', 0o600)
    try {
      await file.truncate(sizeBytes)
      for (const { offset, bytes } of runs) await writeWhole(file, bytes, offset)
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

/** The parts of a file that hold anything, from what `filefrag -e` prints; null if that says nothing of parts. */
export function readExtents(printed: string): readonly { readonly offset: number; readonly bytes: number }[] | null {
  const extents = [...printed.matchAll(/^\s*\d+:\s*(\d+)\.\.\s*(\d+):.*$/gm)]
  if (extents.length === 0) return null
  return extents
    .filter(([line]) => !/unwritten/.test(line))
    .map(([, from, to]) => ({ offset: Number(from) * BLOCK_BYTES, bytes: (Number(to) - Number(from) + 1) * BLOCK_BYTES }))
}
