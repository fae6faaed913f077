/**
 * Reads log files that grow and are rotated: the last lines, then new ones as they arrive.
 *
 * Rotation puts the next log, begun as `x.log.next`, in the place of `x.log`, which becomes `x.log.1`; a file may
 * also be renamed away before the new one begins, or be cut to nothing in place.
 * Invariants: a reader holds one chunk and one line, whatever the file's size; a slow consumer slows the
 * reader; while nothing is written nobody wakes.
 */
import { statSync, watch, type FSWatcher } from 'node:fs'
import { link, open, rename, rm, stat, type FileHandle } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { LogRecord } from '../../engine/host-port.ts'
import { isMissing } from './atomic-file.ts'
import { endsLogLine, LineReader, type LogFormat } from './log-lines.ts'

const CHUNK_BYTES = 64 * 1024
const LINE_START_BYTES = 64
/** How often a reader looks for the log that follows one which was renamed away. */
const ROTATION_GAP_MS = 50
/** A log above this is rotated; one older file is kept. */
export const DEFAULT_LOG_LIMIT_BYTES = 50 * 1024 * 1024

export interface LogFile {
  readonly path: string
  readonly format: LogFormat
}

export function rotatedPath(path: string): string {
  return `${path}.1`
}

/**
 * The last `tail` lines (null is all) of a log and of its rotated predecessor; returns where to follow from. With
 * `whole` false a line that is still being written is left for the follower, so that it isn't told in halves.
 */
export async function* readTail(file: LogFile, tail: number | null, whole = true): AsyncGenerator<LogRecord, number> {
  const current = await openIfThere(file.path)
  if (current === null) return 0
  try {
    const size = (await current.stat()).size
    const start = await tailStart(current, size, tail, file.format)
    if (start.missing > 0) yield* readPredecessor(file, tail === null ? null : start.missing)
    const reader = new LineReader(file.format)
    yield* readRange(current, reader, start.offset, size, whole)
    return size - reader.heldBytes
  } finally {
    await current.close()
  }
}

/** What is written behind `offset`, until the signal or until the file is removed. */
export async function* follow(file: LogFile, offset: number, signal: AbortSignal): AsyncGenerator<LogRecord> {
  const reader = new LineReader(file.format)
  let at = offset
  let left: number | null = null
  while (!signal.aborted) {
    const handle = await openIfThere(file.path)
    if (handle === null) {
      // Renamed away a moment ago, and its writer begins the new one; otherwise it was removed.
      if (left === null || (await inodeOf(rotatedPath(file.path))) !== left) return
      await sleep(ROTATION_GAP_MS)
      continue
    }
    const changes = watchFile(file.path, signal)
    try {
      const { ino } = await handle.stat()
      for (;;) {
        const { size } = await handle.stat()
        if (size < at) at = 0
        yield* readRange(handle, reader, at, size, false)
        at = size
        if (signal.aborted) return
        if (!(await isStill(file.path, ino))) {
          // Renamed away: what arrived meanwhile belongs to the old file, then the new one begins.
          const { size: last } = await handle.stat()
          yield* readRange(handle, reader, at, last, false)
          yield* readBetween(file, reader, ino)
          left = ino
          at = 0
          break
        }
        if ((await handle.stat()).size === at) await changes.next()
        if (signal.aborted) return
      }
    } finally {
      changes.close()
      await handle.close()
    }
  }
}

/** A log that was rotated twice while its reader was busy: the file between ours and the present one, while it is still there. */
async function* readBetween(file: LogFile, reader: LineReader, ours: number): AsyncGenerator<LogRecord> {
  const older = await openIfThere(rotatedPath(file.path))
  if (older === null) return
  try {
    const { ino, size } = await older.stat()
    if (ino !== ours) yield* readRange(older, reader, 0, size, false)
  } finally {
    await older.close()
  }
}

/** Where the writer of a log begins the next one before the two change places. */
export function nextPath(path: string): string {
  return `${path}.next`
}

/**
 * How large a log is; 0 if there is none. Asked of every log of every VM every few seconds: a look at what the kernel
 * has in memory, which takes a few microseconds here and a hundred by way of a thread.
 */
export function sizeNow(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0
}

/**
 * Puts the next log, which its writer has begun already, in the place of the present one, which becomes the older
 * file: nothing more is written to it, and there is no moment without a log. Does nothing if there is no next one,
 * so that whoever finds a rotation half-way can call it again.
 */
export async function turnOver(path: string): Promise<void> {
  if ((await inodeOf(nextPath(path))) === null) return
  await rm(rotatedPath(path), { force: true })
  await link(path, rotatedPath(path)).catch((error: unknown) => {
    if (!isMissing(error)) throw error
  })
  await rename(nextPath(path), path)
}

/** Renames a log that is too large; whoever writes it begins a new one by itself. True if it was. */
export async function rotateAway(path: string, limitBytes: number): Promise<boolean> {
  if ((await sizeOf(path)) <= limitBytes) return false
  await rename(path, rotatedPath(path))
  return true
}

/** Cuts a log that is too large and whose writer can't be told; what was in it becomes the older file. */
export async function cutInPlace(path: string, limitBytes: number): Promise<void> {
  if ((await sizeOf(path)) <= limitBytes) return
  const source = await open(path, 'r+')
  try {
    const target = await open(rotatedPath(path), 'w', 0o600)
    try {
      const chunk = Buffer.alloc(CHUNK_BYTES)
      for (let at = 0; ; ) {
        const { bytesRead } = await source.read(chunk, 0, CHUNK_BYTES, at)
        if (bytesRead === 0) break
        await target.write(chunk, 0, bytesRead)
        at += bytesRead
      }
    } finally {
      await target.close()
    }
    await source.truncate(0)
  } finally {
    await source.close()
  }
}

/** The last bytes of a file as text; empty if there is none. */
export async function readEnd(path: string, bytes: number): Promise<string> {
  const handle = await openIfThere(path)
  if (handle === null) return ''
  try {
    const { size } = await handle.stat()
    const length = Math.min(size, bytes)
    const buffer = Buffer.alloc(length)
    const { bytesRead } = await handle.read(buffer, 0, length, size - length)
    return buffer.subarray(0, bytesRead).toString('utf8')
  } finally {
    await handle.close()
  }
}

async function* readPredecessor(file: LogFile, tail: number | null): AsyncGenerator<LogRecord> {
  const older = await openIfThere(rotatedPath(file.path))
  if (older === null) return
  try {
    const { size } = await older.stat()
    const start = await tailStart(older, size, tail, file.format)
    yield* readRange(older, new LineReader(file.format), start.offset, size)
  } finally {
    await older.close()
  }
}

async function* readRange(handle: FileHandle, reader: LineReader, from: number, to: number, whole = true): AsyncGenerator<LogRecord> {
  for (let at = from; at < to; ) {
    const chunk = Buffer.allocUnsafe(Math.min(CHUNK_BYTES, to - at))
    const { bytesRead } = await handle.read(chunk, 0, chunk.length, at)
    if (bytesRead === 0) break
    at += bytesRead
    yield* reader.push(chunk.subarray(0, bytesRead))
  }
  if (whole) yield* reader.flush()
}

/** Where the last `tail` lines begin, and how many of them the file doesn't have. */
async function tailStart(
  handle: FileHandle,
  size: number,
  tail: number | null,
  format: LogFormat,
): Promise<{ readonly offset: number; readonly missing: number }> {
  if (tail === null) return { offset: 0, missing: 1 }
  if (tail <= 0) return { offset: size, missing: 0 }
  let found = 0
  let after: Buffer = Buffer.alloc(0)
  for (let end = size; end > 0; ) {
    const begin = Math.max(0, end - CHUNK_BYTES)
    const chunk = Buffer.alloc(end - begin)
    await handle.read(chunk, 0, chunk.length, begin)
    const seen = Buffer.concat([chunk, after])
    for (let at = chunk.length - 1; at >= 0; at -= 1) {
      if (chunk[at] !== 0x0a || begin + at === size - 1) continue
      // A line of the file begins behind this newline: it counts if it ends a line of the log.
      if (endsLogLine(format, seen.subarray(at + 1, at + 1 + LINE_START_BYTES).toString('latin1'))) found += 1
      if (found === tail) {
        const previous = await wholeLineBefore(handle, begin + at, format)
        return { offset: previous, missing: 0 }
      }
    }
    after = seen.subarray(0, LINE_START_BYTES)
    end = begin
  }
  return { offset: 0, missing: size === 0 ? tail : Math.max(0, tail - found - 1) }
}

/** The start of the log line whose last piece begins behind the newline at `newline`. */
async function wholeLineBefore(handle: FileHandle, newline: number, format: LogFormat): Promise<number> {
  if (format !== 'cri') return newline + 1
  const window = Buffer.alloc(Math.min(newline + 1, 4 * CHUNK_BYTES))
  const base = newline + 1 - window.length
  await handle.read(window, 0, window.length, base)
  let start = newline + 1
  for (;;) {
    const before = start - 2 - base
    if (before < 0) return start
    const previousNewline = window.lastIndexOf(0x0a, before)
    const lineStart = base + previousNewline + 1
    if (previousNewline < 0 && base > 0) return start
    const text = window.subarray(lineStart - base, lineStart - base + LINE_START_BYTES).toString('latin1')
    if (endsLogLine(format, text)) return start
    start = lineStart
    if (previousNewline < 0) return start
  }
}

interface FileChanges {
  /** Resolves at the first change since the last call, or when closed. */
  next(): Promise<void>
  close(): void
}

function watchFile(path: string, signal: AbortSignal): FileChanges {
  let changed = false
  let wake: (() => void) | null = null
  const notice = () => {
    changed = true
    wake?.()
  }
  let watcher: FSWatcher | null = null
  try {
    watcher = watch(path, { persistent: false }, notice)
    watcher.on('error', notice)
  } catch (error) {
    // Removed between two looks: the next look sees that.
    if (!isMissing(error)) throw error
    changed = true
  }
  signal.addEventListener('abort', notice, { once: true })
  return {
    async next() {
      if (!changed) await new Promise<void>((resolve) => (wake = resolve))
      wake = null
      changed = false
    },
    close() {
      signal.removeEventListener('abort', notice)
      watcher?.close()
      notice()
    },
  }
}

async function openIfThere(path: string): Promise<FileHandle | null> {
  try {
    return await open(path, 'r')
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

async function isStill(path: string, ino: number): Promise<boolean> {
  return (await inodeOf(path)) === ino
}

async function inodeOf(path: string): Promise<number | null> {
  try {
    return (await stat(path)).ino
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size
  } catch (error) {
    if (isMissing(error)) return 0
    throw error
  }
}
