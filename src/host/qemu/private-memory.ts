/**
 * The memory that a clone has made its own: the pages of a private (copy-on-write) mapping that differ
 * from the template's file, taken out of a paused VMM and put back into another.
 *
 * Why not QEMU's own migration: it would walk the whole guest, and a guest of 4 GB would take eight
 * times as long as one of 512 MB. The kernel already knows which pages were written: in a private
 * mapping those are the anonymous ones. So the cost follows what the guest wrote, not its size.
 *
 * Invariants: the VMM is paused while pages are taken, and has not run yet when they are put back; the
 * file (memory-file.ts) is complete, and synced unless the caller does that, before it gets its name.
 */
import { readSync, writeSync } from 'node:fs'
import { open, readFile, rename, rm } from 'node:fs/promises'
import type { FileHandle } from 'node:fs/promises'
import { setImmediate as nextTurn, setTimeout as sleep } from 'node:timers/promises'
import { BerthError } from '../../instance/errors.ts'
import { isAlive, type ProcessIdentity } from './identity.ts'
import { appendRun, asHostError, COPY_BYTES, damaged, dataOf, PAGE_BYTES, readFully, readRuns, writeRuns, type Run, type SavedPages } from './memory-file.ts'

const PAGEMAP_ENTRY_BYTES = 8
const MAP_TIMEOUT_MS = 30_000
const MAP_LOOK_MS = 1
/** Pagemap entries read at once: 64 Ki entries tell of 256 MiB. */
const PAGEMAP_CHUNK_ENTRIES = 65_536

/** A piece of the VMM's address space that maps the memory file. */
interface Mapping {
  readonly address: number
  readonly bytes: number
  /** Where in the file (= in guest memory) it begins. */
  readonly offset: number
}

/** Yama's setting: above 0 only a parent may look into a process, and a VM outlives the server that is its parent. */
const PTRACE_SCOPE = '/proc/sys/kernel/yama/ptrace_scope'

/** Why clones can't be put to sleep and woken here. */
export const NO_FOREIGN_MEMORY = `without root the memory of VMs can be read only where ${PTRACE_SCOPE} is 0`

/** Whether this process may read and write the memory of VMs that it runs, also of those that an earlier server started. */
export async function mayReadMemory(): Promise<boolean> {
  if (process.getuid?.() === 0) return true
  const scope = await readFile(PTRACE_SCOPE, 'utf8').catch(() => '0') // a kernel without Yama
  return scope.trim() === '0'
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

/**
 * Writes the clone's own pages to `path`, whole or not at all.
 * @throws BerthError `internal` if the VMM's memory can't be read, `disk_full`.
 */
export async function savePrivateMemory(memory: PrivateMemory, path: string, options: SaveOptions = {}): Promise<SavedPages> {
  const temporary = `${path}.part`
  const source = await openProcessFile(memory.pid, 'mem', 'r')
  try {
    const mappings = await findMappings(memory)
    const written = await writtenPages(memory.pid, mappings)
    const out = await open(temporary, 'w', 0o600)
    try {
      const saved = await writeRuns((offset, into) => readGuest(source, mappings, offset, into), written, out, memory.memoryBytes)
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

/**
 * Puts pages saved by {@link savePrivateMemory} into a VMM that maps the same template and has not run.
 * @throws BerthError `invalid_state` if the file is damaged or belongs to a memory of another size.
 */
export async function loadPrivateMemory(memory: PrivateMemory, path: string): Promise<void> {
  const file = await open(path, 'r')
  try {
    const target = await openProcessFile(memory.pid, 'mem', 'r+')
    try {
      const mappings = await findMappings(memory)
      const { runs, dataOffset } = await readRuns(file, memory.memoryBytes, path)
      const bytes = dataOf(file, runs, dataOffset, path)
      const zeros = Buffer.alloc(COPY_BYTES)
      for (const run of runs) {
        for (let done = 0, length = run.pages * PAGE_BYTES; done < length; ) {
          const piece = run.zero ? zeros.subarray(0, Math.min(COPY_BYTES, length - done)) : await bytes(length - done)
          writeGuest(target, mappings, run.firstPage * PAGE_BYTES + done, piece)
          done += piece.length
          if (run.zero && piece.length === COPY_BYTES) await nextTurn()
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

/** Waits until a VMM that was just started has mapped its memory, which it does before it makes its machine. */
export async function untilMapped(memory: PrivateMemory, identity: ProcessIdentity): Promise<void> {
  const deadline = performance.now() + MAP_TIMEOUT_MS
  // A process that has ended, or is about to become the VMM, has none.
  for (let maps = ''; !maps.includes(memory.memoryPath); maps = await readFile(`/proc/${memory.pid}/maps`, 'utf8').catch(() => '')) {
    if (performance.now() >= deadline) throw new BerthError('timeout', 'QEMU did not map its memory in time; the machine may be overloaded.')
    if (!(await isAlive(identity))) throw new BerthError('internal', 'QEMU ended before it had mapped its memory.')
    await sleep(MAP_LOOK_MS)
  }
}

/** The pages of the mappings that are the process's own: anonymous ones, in memory or in swap. */
async function writtenPages(pid: number, mappings: readonly Mapping[]): Promise<Run[]> {
  const pagemap = await openProcessFile(pid, 'pagemap', 'r')
  try {
    const runs: Run[] = []
    const words = new Uint32Array((PAGEMAP_CHUNK_ENTRIES * PAGEMAP_ENTRY_BYTES) / 4)
    const buffer = Buffer.from(words.buffer)
    for (const mapping of mappings) {
      const pages = mapping.bytes / PAGE_BYTES
      for (let done = 0; done < pages; ) {
        const count = Math.min(PAGEMAP_CHUNK_ENTRIES, pages - done)
        const piece = buffer.subarray(0, count * PAGEMAP_ENTRY_BYTES)
        await readFully(pagemap, piece, (mapping.address / PAGE_BYTES + done) * PAGEMAP_ENTRY_BYTES, `/proc/${pid}/pagemap`)
        for (let index = 0; index < count; index++) {
          // Bit 63: present; 62: in swap; 61: a page of the file. They are the top of the entry's high word.
          const flags = (words[2 * index + 1] ?? 0) >>> 29
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
    throw new BerthError('invalid_state', `The VMM ${memory.pid} does not map its template's memory as it should; stop and start the instance.`)
  }
  return found
}

// Another process's memory is copied, not fetched from anywhere: in this thread, since a turn through others for each
// of some hundred runs takes longer than all of their bytes.

function readGuest(source: FileHandle, mappings: readonly Mapping[], offset: number, into: Buffer): void {
  for (const { from, to, address } of locate(mappings, offset, into.length)) {
    for (let done = from; done < to; ) {
      const count = readSync(source.fd, into, done, to - done, address + done - from)
      if (count === 0) throw damaged('guest memory')
      done += count
    }
  }
}

function writeGuest(target: FileHandle, mappings: readonly Mapping[], offset: number, bytes: Buffer): void {
  for (const { from, to, address } of locate(mappings, offset, bytes.length)) {
    for (let done = from; done < to; ) {
      const count = writeSync(target.fd, bytes, done, to - done, address + done - from)
      // A process that has ended takes nothing.
      if (count === 0) throw new BerthError('internal', 'QEMU ended while its memory was loaded.')
      done += count
    }
  }
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

async function openProcessFile(pid: number, name: 'mem' | 'pagemap', flags: string): Promise<FileHandle> {
  return open(`/proc/${pid}/${name}`, flags)
}

