/**
 * The memory that a clone has made its own: the pages of a private (copy-on-write) mapping that differ
 * from the template's file, taken out of a paused VMM and put back into another.
 *
 * Why not QEMU's own migration: it would walk the whole guest, and a guest of 4 GB would take eight
 * times as long as one of 512 MB. The kernel already knows which pages were written: in a private
 * mapping those are the anonymous ones. So the cost follows what the guest wrote, not its size.
 *
 * File:  "BRTHMEM1" | u32 page at which bytes begin | u32 runs | u64 memory size   (24 bytes, little-endian)
 *        runs × ( u32 first page | u32 pages | u32 kind: 0 bytes, 1 zero | u32 0 )
 *        padding to a page
 *        the pages of each run of kind 0, in order
 *
 * Invariants: the VMM is paused while pages are taken, and has not run yet when they are put back; the
 * file is complete (and synced, unless the caller does that) before it gets its name; a file that doesn't match the memory is refused.
 */
import { open, readFile, rename, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { BerthError } from '../../instance/errors.ts'

const MAGIC = 'BRTHMEM1'
const HEADER_BYTES = 24
const RUN_BYTES = 16
const PAGE_BYTES = 4096
const PAGEMAP_ENTRY_BYTES = 8
/** Pagemap entries read at once: 64 Ki entries tell of 256 MiB. */
const PAGEMAP_CHUNK_ENTRIES = 65_536
/** Bytes of guest memory copied at once. */
const COPY_BYTES = 4 * 1024 * 1024
/** Most runs of one file; a guest of 64 GiB that wrote every other page stays below it. */
const MAX_RUNS = 8_388_608

interface Run {
  readonly firstPage: number
  pages: number
  readonly zero: boolean
}

/** A piece of the VMM's address space that maps the memory file. */
interface Mapping {
  readonly address: number
  readonly bytes: number
  /** Where in the file (= in guest memory) it begins. */
  readonly offset: number
}

export interface PrivateMemory {
  /** Process id of the VMM; its vCPUs are stopped. */
  readonly pid: number
  /** The template's memory file as the VMM mapped it. */
  readonly memoryPath: string
  readonly memoryBytes: number
}

export interface SaveOptions {
  /** false leaves it to the caller to bring the file to the disk. */
  readonly sync?: boolean
}

/** What was kept: pages with bytes, pages that are zero (not stored), and the size of the file. */
export interface SavedPages {
  readonly dataPages: number
  readonly zeroPages: number
  readonly fileBytes: number
}

/**
 * Writes the clone's own pages to `path`, whole or not at all.
 * @throws BerthError `host_unavailable` if the VMM's memory can't be read, `disk_full`.
 */
export async function savePrivateMemory(memory: PrivateMemory, path: string, options: SaveOptions = {}): Promise<SavedPages> {
  const temporary = `${path}.part`
  const source = await openProcessFile(memory.pid, 'mem', 'r')
  try {
    const mappings = await findMappings(memory)
    const written = await writtenPages(memory.pid, mappings)
    const out = await open(temporary, 'w', 0o600)
    try {
      const saved = await writeRuns(source, mappings, written, out, memory.memoryBytes)
      if (options.sync !== false) await out.datasync()
      await out.close()
      await rename(temporary, path)
      return saved
    } catch (error) {
      await out.close().catch(() => undefined) // it may be closed already
      await rm(temporary, { force: true })
      throw error
    }
  } catch (error) {
    throw asHostError(error, 'save')
  } finally {
    await source.close()
  }
}

/** Writes a whole memory file, zeros left out, in the same format and with the same promises. */
export async function saveWholeMemory(source: FileHandle, memoryBytes: number, path: string): Promise<SavedPages> {
  const out = await open(path, 'wx', 0o600)
  try {
    const everything = { firstPage: 0, pages: memoryBytes / PAGE_BYTES, zero: false }
    const saved = await writeRuns(source, [{ address: 0, bytes: memoryBytes, offset: 0 }], [everything], out, memoryBytes)
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
    const buffer = Buffer.allocUnsafe(COPY_BYTES)
    let position = dataOffset
    for (const run of runs) {
      if (run.zero) continue
      for (let done = 0; done < run.pages * PAGE_BYTES; ) {
        const piece = buffer.subarray(0, Math.min(COPY_BYTES, run.pages * PAGE_BYTES - done))
        await readFully(file, piece, position, path)
        await writeFully(target, piece, run.firstPage * PAGE_BYTES + done)
        position += piece.length
        done += piece.length
      }
    }
  } catch (error) {
    throw asHostError(error, 'load')
  } finally {
    await file.close()
  }
}

/**
 * Puts pages saved by {@link savePrivateMemory} into a VMM that maps the same template and has not run.
 * @throws BerthError `host_unavailable` if the file is damaged or belongs to a memory of another size.
 */
export async function loadPrivateMemory(memory: PrivateMemory, path: string): Promise<void> {
  const file = await open(path, 'r')
  try {
    const target = await openProcessFile(memory.pid, 'mem', 'r+')
    try {
      const mappings = await findMappings(memory)
      const { runs, dataOffset } = await readRuns(file, memory.memoryBytes, path)
      const buffer = Buffer.allocUnsafe(COPY_BYTES)
      const zeros = Buffer.alloc(COPY_BYTES)
      let position = dataOffset
      for (const run of runs) {
        let page = run.firstPage
        const end = run.firstPage + run.pages
        while (page < end) {
          const bytes = Math.min(COPY_BYTES, (end - page) * PAGE_BYTES)
          if (run.zero) {
            await writeGuest(target, mappings, page * PAGE_BYTES, zeros.subarray(0, bytes))
          } else {
            const piece = buffer.subarray(0, bytes)
            await readFully(file, piece, position, path)
            await writeGuest(target, mappings, page * PAGE_BYTES, piece)
            position += bytes
          }
          page += bytes / PAGE_BYTES
        }
      }
    } finally {
      await target.close()
    }
  } catch (error) {
    throw asHostError(error, 'load')
  } finally {
    await file.close()
  }
}

async function writeRuns(
  source: FileHandle,
  mappings: readonly Mapping[],
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
  let dataPages = 0
  for (const run of written) {
    let page = run.firstPage
    const end = run.firstPage + run.pages
    while (page < end) {
      const count = Math.min(COPY_BYTES / PAGE_BYTES, end - page)
      const piece = buffer.subarray(0, count * PAGE_BYTES)
      await readGuest(source, mappings, page * PAGE_BYTES, piece)
      let start = 0
      while (start < count) {
        const isZero = isZeroPage(piece, start, zero)
        let stop = start + 1
        while (stop < count && isZeroPage(piece, stop, zero) === isZero) stop++
        appendRun(runs, page + start, stop - start, isZero)
        if (!isZero) {
          await writeFully(out, piece.subarray(start * PAGE_BYTES, stop * PAGE_BYTES), position)
          position += (stop - start) * PAGE_BYTES
          dataPages += stop - start
        }
        start = stop
      }
      page += count
    }
  }
  if (runs.length > MAX_RUNS) {
    throw new BerthError('host_unavailable', 'The guest wrote its memory in too many pieces to save; stop the instance instead.')
  }
  await writeFully(out, encodeRuns(runs, memoryBytes, dataOffset), 0)
  return { dataPages, zeroPages: pages - dataPages, fileBytes: position }
}

function appendRun(runs: Run[], firstPage: number, pages: number, zero: boolean): void {
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

async function readRuns(file: FileHandle, memoryBytes: number, path: string): Promise<{ runs: Run[]; dataOffset: number }> {
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

/** The pages of the mappings that are the process's own: anonymous ones, in memory or in swap. */
async function writtenPages(pid: number, mappings: readonly Mapping[]): Promise<Run[]> {
  const pagemap = await openProcessFile(pid, 'pagemap', 'r')
  try {
    const runs: Run[] = []
    const buffer = Buffer.alloc(PAGEMAP_CHUNK_ENTRIES * PAGEMAP_ENTRY_BYTES)
    for (const mapping of mappings) {
      const pages = mapping.bytes / PAGE_BYTES
      for (let done = 0; done < pages; ) {
        const count = Math.min(PAGEMAP_CHUNK_ENTRIES, pages - done)
        const piece = buffer.subarray(0, count * PAGEMAP_ENTRY_BYTES)
        await readFully(pagemap, piece, (mapping.address / PAGE_BYTES + done) * PAGEMAP_ENTRY_BYTES, `/proc/${pid}/pagemap`)
        for (let index = 0; index < count; index++) {
          // Bit 63: present; 62: in swap; 61: a page of the file. They are the top of the entry's high word.
          const flags = piece.readUInt32LE(index * PAGEMAP_ENTRY_BYTES + 4) >>> 29
          const own = (flags & 0b010) !== 0 || ((flags & 0b100) !== 0 && (flags & 0b001) === 0)
          if (own) appendRun(runs, mapping.offset / PAGE_BYTES + done + index, 1, false)
        }
        done += count
      }
    }
    return runs
  } finally {
    await pagemap.close()
  }
}

/** Where the VMM has the memory file, in file order, whole. */
async function findMappings(memory: PrivateMemory): Promise<readonly Mapping[]> {
  const maps = await readFile(`/proc/${memory.pid}/maps`, 'utf8')
  const found: Mapping[] = []
  for (const line of maps.split('\n')) {
    const match = /^([0-9a-f]+)-([0-9a-f]+) \S+ ([0-9a-f]+) \S+ \d+\s+(.*)$/.exec(line)
    if (match === null || match[4]?.replace(/ \(deleted\)$/, '') !== memory.memoryPath) continue
    const address = Number.parseInt(match[1] ?? '', 16)
    found.push({ address, bytes: Number.parseInt(match[2] ?? '', 16) - address, offset: Number.parseInt(match[3] ?? '', 16) })
  }
  found.sort((a, b) => a.offset - b.offset)
  let covered = 0
  for (const mapping of found) {
    if (mapping.offset !== covered) break
    covered += mapping.bytes
  }
  if (covered !== memory.memoryBytes) {
    throw new BerthError('host_unavailable', `The VMM ${memory.pid} does not map its template's memory as it should; stop and start the instance.`)
  }
  return found
}

async function readGuest(source: FileHandle, mappings: readonly Mapping[], offset: number, into: Buffer): Promise<void> {
  for (const part of locate(mappings, offset, into.length)) {
    await readFully(source, into.subarray(part.from, part.to), part.address, 'guest memory')
  }
}

async function writeGuest(target: FileHandle, mappings: readonly Mapping[], offset: number, bytes: Buffer): Promise<void> {
  for (const part of locate(mappings, offset, bytes.length)) await writeFully(target, bytes.subarray(part.from, part.to), part.address)
}

function* locate(mappings: readonly Mapping[], offset: number, length: number): Generator<{ from: number; to: number; address: number }> {
  let done = 0
  for (const mapping of mappings) {
    const at = offset + done
    if (done === length) return
    if (at < mapping.offset || at >= mapping.offset + mapping.bytes) continue
    const bytes = Math.min(length - done, mapping.offset + mapping.bytes - at)
    yield { from: done, to: done + bytes, address: mapping.address + (at - mapping.offset) }
    done += bytes
  }
}

function isZeroPage(bytes: Buffer, page: number, zero: Buffer): boolean {
  const at = page * PAGE_BYTES
  return bytes.compare(zero, 0, PAGE_BYTES, at, at + PAGE_BYTES) === 0
}

function roundToPage(bytes: number): number {
  return Math.ceil(bytes / PAGE_BYTES) * PAGE_BYTES
}

async function readFully(file: FileHandle, into: Buffer, position: number, what: string): Promise<void> {
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

async function openProcessFile(pid: number, name: 'mem' | 'pagemap', flags: string): Promise<FileHandle> {
  return open(`/proc/${pid}/${name}`, flags)
}

function damaged(what: string): BerthError {
  return new BerthError('host_unavailable', `The saved memory (${what}) is damaged or belongs to another VM; start the instance afresh.`)
}

function asHostError(error: unknown, doing: 'save' | 'load'): unknown {
  if (error instanceof BerthError) return error
  const code = error instanceof Error && 'code' in error ? error.code : null
  if (code === 'ENOSPC') return new BerthError('disk_full', 'The disk has no room for the saved memory; free some and try again.', { cause: error })
  return new BerthError('host_unavailable', `Berth could not ${doing} the memory of the VM; read the cause in the server's log.`, { cause: error })
}
