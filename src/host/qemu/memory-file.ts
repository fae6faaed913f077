/**
 * The file that keeps memory of a guest: the pages that are worth keeping, without zeros.
 *
 * File:  "BRTHMEM1" | u32 page at which bytes begin | u32 runs | u64 memory size   (24 bytes, little-endian)
 *        runs × ( u32 first page | u32 pages | u32 kind: 0 bytes, 1 zero | u32 0 )
 *        padding to a page
 *        the pages of each run of kind 0, in order
 *
 * Invariant: a file that doesn't match the memory is refused.
 */
import { open } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { BerthError } from '../../instance/errors.ts'

const MAGIC = 'BRTHMEM1'
const HEADER_BYTES = 24
const RUN_BYTES = 16
export const PAGE_BYTES = 4096
/** Bytes of guest memory copied at once. */
export const COPY_BYTES = 4 * 1024 * 1024
/** Most runs of one file; a guest of 64 GiB that wrote every other page stays below it. */
const MAX_RUNS = 8_388_608

export interface Run {
  readonly firstPage: number
  pages: number
  readonly zero: boolean
}

/** What was kept: pages with bytes, pages that are zero (not stored), and the size of the file. */
export interface SavedPages {
  readonly dataPages: number
  readonly zeroPages: number
  readonly fileBytes: number
}

/** Writes a whole memory file, zeros left out, in the same format and with the same promises. */
export async function saveWholeMemory(source: FileHandle, memoryBytes: number, path: string): Promise<SavedPages> {
  const out = await open(path, 'wx', 0o600)
  try {
    const everything = { firstPage: 0, pages: memoryBytes / PAGE_BYTES, zero: false }
    const saved = await writeRuns((offset, into) => readFully(source, into, offset, 'the memory of a VM'), [everything], out, memoryBytes)
    await out.datasync()
    return saved
  } catch (error) {
    throw asHostError(error, 'save')
  } finally {
    await out.close()
  }
}

/** Fills an empty memory file with what {@link saveWholeMemory} wrote. */
export async function loadWholeMemory(target: FileHandle, memoryBytes: number, path: string): Promise<void> {
  const file = await open(path, 'r')
  try {
    const { runs, dataOffset } = await readRuns(file, memoryBytes, path)
    const bytes = dataOf(file, runs, dataOffset, path)
    for (const run of runs) {
      if (run.zero) continue
      for (let done = 0, length = run.pages * PAGE_BYTES; done < length; ) {
        const piece = await bytes(length - done)
        await writeFully(target, piece, run.firstPage * PAGE_BYTES + done)
        done += piece.length
      }
    }
  } catch (error) {
    throw asHostError(error, 'load')
  } finally {
    await file.close()
  }
}

/** Fills an empty memory file with another's pages, zeros left out. */
export async function copyWholeMemory(source: FileHandle, target: FileHandle, memoryBytes: number): Promise<void> {
  const zero = Buffer.alloc(PAGE_BYTES)
  const buffer = Buffer.allocUnsafe(COPY_BYTES)
  for (let at = 0; at < memoryBytes; at += COPY_BYTES) {
    const piece = buffer.subarray(0, Math.min(COPY_BYTES, memoryBytes - at))
    await readFully(source, piece, at, 'the memory of a template')
    const runs: Run[] = []
    for (let page = 0; page < piece.length / PAGE_BYTES; page++) appendRun(runs, page, 1, isZeroPage(piece, page, zero))
    for (const run of runs) {
      const from = run.firstPage * PAGE_BYTES
      if (!run.zero) await writeFully(target, piece.subarray(from, from + run.pages * PAGE_BYTES), at + from)
    }
  }
}

/** The file's pages, one after the other, in pieces of at most what is asked for: read many runs at a time. */
export function dataOf(file: FileHandle, runs: readonly Run[], dataOffset: number, path: string): (mostBytes: number) => Promise<Buffer> {
  let left = runs.reduce((sum, { pages, zero }) => sum + (zero ? 0 : pages * PAGE_BYTES), 0)
  let position = dataOffset
  const buffer = Buffer.allocUnsafe(Math.min(COPY_BYTES, left))
  let ready = buffer.subarray(0, 0)
  return async mostBytes => {
    if (ready.length === 0) {
      ready = buffer.subarray(0, Math.min(COPY_BYTES, left))
      await readFully(file, ready, position, path)
      position += ready.length
      left -= ready.length
    }
    const piece = ready.subarray(0, mostBytes)
    ready = ready.subarray(piece.length)
    return piece
  }
}

/** Bytes go to the file many runs at a time: a guest writes here and there, and each call of its own would cost more than its bytes. */
export async function writeRuns(
  read: (offset: number, into: Buffer) => Promise<void> | void,
  written: readonly Run[],
  out: FileHandle,
  memoryBytes: number,
): Promise<SavedPages> {
  // Bytes first, behind room for the most runs there can be: whether a page is zero is known only when it was read.
  const zero = Buffer.alloc(PAGE_BYTES)
  const pages = written.reduce((sum, run) => sum + run.pages, 0)
  const dataOffset = roundToPage(HEADER_BYTES + Math.min(pages, MAX_RUNS) * RUN_BYTES)
  const buffer = Buffer.allocUnsafe(COPY_BYTES)
  const runs: Run[] = []
  let position = dataOffset
  let filled = 0
  let dataPages = 0
  const flush = async () => {
    await writeFully(out, buffer.subarray(0, filled), position)
    position += filled
    filled = 0
  }
  for (const run of written) {
    for (let page = run.firstPage, end = run.firstPage + run.pages; page < end; ) {
      if (filled === COPY_BYTES) await flush()
      // Read where they will stand; zeros are taken out again.
      const count = Math.min((COPY_BYTES - filled) / PAGE_BYTES, end - page)
      const piece = buffer.subarray(filled, filled + count * PAGE_BYTES)
      const reading = read(page * PAGE_BYTES, piece)
      if (reading !== undefined) await reading
      for (let at = 0; at < count; at++) {
        const isZero = isZeroPage(piece, at, zero)
        appendRun(runs, page + at, 1, isZero)
        if (isZero) continue
        const kept = filled
        filled += PAGE_BYTES
        dataPages++
        const from = piece.byteOffset - buffer.byteOffset + at * PAGE_BYTES
        if (from !== kept) buffer.copyWithin(kept, from, from + PAGE_BYTES)
      }
      if (count * PAGE_BYTES === COPY_BYTES && filled < COPY_BYTES) await nextTurn()
      page += count
    }
  }
  await flush()
  if (runs.length > MAX_RUNS) {
    throw new BerthError('limit_exceeded', 'The guest wrote its memory in too many pieces to save; stop the instance instead.')
  }
  await writeFully(out, encodeRuns(runs, memoryBytes, dataOffset), 0)
  return { dataPages, zeroPages: pages - dataPages, fileBytes: position }
}

export function appendRun(runs: Run[], firstPage: number, pages: number, zero: boolean): void {
  const last = runs.at(-1)
  if (last !== undefined && last.zero === zero && last.firstPage + last.pages === firstPage) last.pages += pages
  else runs.push({ firstPage, pages, zero })
}

function encodeRuns(runs: readonly Run[], memoryBytes: number, dataOffset: number): Buffer {
  const table = Buffer.alloc(Math.max(HEADER_BYTES + runs.length * RUN_BYTES, Math.min(dataOffset, HEADER_BYTES)))
  table.write(MAGIC, 0, 'latin1')
  table.writeUInt32LE(dataOffset / PAGE_BYTES, 8)
  table.writeUInt32LE(runs.length, 12)
  table.writeBigUInt64LE(BigInt(memoryBytes), 16)
  runs.forEach((run, index) => {
    const at = HEADER_BYTES + index * RUN_BYTES
    table.writeUInt32LE(run.firstPage, at)
    table.writeUInt32LE(run.pages, at + 4)
    table.writeUInt32LE(run.zero ? 1 : 0, at + 8)
  })
  return table
}

export async function readRuns(file: FileHandle, memoryBytes: number, path: string): Promise<{ runs: Run[]; dataOffset: number }> {
  const header = Buffer.alloc(HEADER_BYTES)
  await readFully(file, header, 0, path)
  const count = header.readUInt32LE(12)
  if (header.toString('latin1', 0, 8) !== MAGIC || count > MAX_RUNS || header.readBigUInt64LE(16) !== BigInt(memoryBytes)) {
    throw damaged(path)
  }
  const table = Buffer.alloc(count * RUN_BYTES)
  await readFully(file, table, HEADER_BYTES, path)
  const runs: Run[] = []
  for (let index = 0; index < count; index++) {
    const at = index * RUN_BYTES
    const firstPage = table.readUInt32LE(at)
    const pages = table.readUInt32LE(at + 4)
    if ((firstPage + pages) * PAGE_BYTES > memoryBytes) throw damaged(path)
    runs.push({ firstPage, pages, zero: table.readUInt32LE(at + 8) === 1 })
  }
  return { runs, dataOffset: header.readUInt32LE(8) * PAGE_BYTES }
}

function isZeroPage(bytes: Buffer, page: number, zero: Buffer): boolean {
  const at = page * PAGE_BYTES
  return bytes.compare(zero, 0, PAGE_BYTES, at, at + PAGE_BYTES) === 0
}

function roundToPage(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES
}

export async function readFully(file: FileHandle, into: Buffer, position: number, what: string): Promise<void> {
  let done = 0
  while (done < into.length) {
    const { bytesRead } = await file.read(into, done, into.length - done, position + done)
    if (bytesRead === 0) throw damaged(what)
    done += bytesRead
  }
}

async function writeFully(file: FileHandle, bytes: Buffer, position: number): Promise<void> {
  let done = 0
  while (done < bytes.length) {
    const { bytesWritten } = await file.write(bytes, done, bytes.length - done, position + done)
    done += bytesWritten
  }
}

/** Not `host_unavailable`: that would say that no VM of this host can be asked. */
export function damaged(what: string): BerthError {
  return new BerthError('invalid_state', `The saved memory (${what}) is damaged or belongs to another VM; stop the instance and start it anew.`)
}

export function asHostError(error: unknown, doing: 'save' | 'load'): unknown {
  if (error instanceof BerthError) return error
  const code = error instanceof Error && 'code' in error ? error.code : null
  if (code === 'ENOSPC') return new BerthError('disk_full', 'The disk has no room for the saved memory; free some and try again.', { cause: error })
  return new BerthError('internal', `Berth could not ${doing} the memory of the VM; read the cause in the server's log.`, { cause: error })
}
