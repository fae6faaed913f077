/**
 * The writable layer of an image's template: the very bytes that its guest has mounted, so that each clone's own copy
 * fits what that guest knows of its disk. Kept beside the template, in the format of memory (memory-file.ts).
 *
 * Invariant: a layer is read only when the guest that wrote it stands still, and its disk is flushed.
 */
import { open, stat } from 'node:fs/promises'
import { BerthError } from '../../instance/errors.ts'
import { readPattern, type Pattern } from '../volumes/disk-pattern.ts'
import { dataOf, PAGE_BYTES, readRuns, writeRuns } from './memory-file.ts'

/** An empty layer holds some 100 KB, and what a rehearsal left in its journal. */
const MAX_LAYER_BYTES = 16 * 1024 * 1024

/** Reads the disk that a guest has let go of. Throws `not_supported` where the host can't tell what is in it. */
export async function readLayer(disk: string): Promise<Pattern> {
  const pattern = await readPattern(disk, MAX_LAYER_BYTES)
  if (pattern !== null) return pattern
  throw new BerthError('not_supported', "The host's file system doesn't tell which parts of a file hold anything, so images have no templates of their own.")
}

/** Writes it to a new file. */
export async function saveLayer({ sizeBytes, runs }: Pattern, path: string): Promise<void> {
  const out = await open(path, 'wx', 0o600)
  try {
    const pages = runs.map(({ offset, bytes }) => ({ firstPage: offset / PAGE_BYTES, pages: Math.ceil(bytes.length / PAGE_BYTES), zero: false }))
    const read = (at: number, into: Buffer): void => {
      into.fill(0)
      for (const { offset, bytes } of runs) {
        if (offset < at + into.length && at < offset + bytes.length) bytes.copy(into, Math.max(0, offset - at), Math.max(0, at - offset))
      }
    }
    await writeRuns(read, pages, out, sizeBytes)
    await out.datasync()
  } finally {
    await out.close()
  }
}

/** Reads what {@link saveLayer} wrote; its checksum is the caller's to know. */
export async function loadLayer(path: string, sizeBytes: number): Promise<Pattern> {
  if ((await stat(path)).size > 2 * MAX_LAYER_BYTES) throw new BerthError('invalid_state', "The layer of an image's template is larger than any that was written.")
  const file = await open(path, 'r')
  try {
    const { runs, dataOffset } = await readRuns(file, sizeBytes, path)
    const data = dataOf(file, runs, dataOffset, path)
    const kept: { offset: number; bytes: Buffer }[] = []
    for (const { firstPage, pages, zero } of runs) {
      if (zero) continue
      const bytes = Buffer.alloc(pages * PAGE_BYTES)
      for (let done = 0; done < bytes.length; ) {
        const piece = await data(bytes.length - done)
        piece.copy(bytes, done)
        done += piece.length
      }
      kept.push({ offset: firstPage * PAGE_BYTES, bytes })
    }
    return { sizeBytes, runs: kept }
  } finally {
    await file.close()
  }
}
