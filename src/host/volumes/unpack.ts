/**
 * Unpacks a tar.gz stream from a client into a private directory, under back-pressure all the way.
 *
 *   client ─▶ gunzip ─▶ count ─▶ read entries ─▶ ArchiveTree decides ─▶ write entries anew ─▶ `tar -x`
 *
 * `tar` only ever sees headers that we wrote from entries that passed, so it can't read the archive
 * differently from the check.
 */
import { spawn } from 'node:child_process'
import type { ChildProcessByStdio } from 'node:child_process'
import type { Readable, Writable } from 'node:stream'
import { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract, pack } from 'tar-stream'
import type { Header, Pack } from 'tar-stream'
import { BerthError } from '../../instance/errors.ts'
import { CommandFailed, MAX_COMMAND_ERROR_BYTES, TOOL_ENVIRONMENT, asDiskError } from '../command.ts'
import { ArchiveTree } from './archive-entry.ts'
import type { SafeEntry } from './archive-entry.ts'

/** A client that sends nothing for this long has gone. */
export const MAX_ARCHIVE_IDLE_MS = 120_000
/** What headers and padding may add to the content before the stream is taken for a bomb. */
const HEADER_ALLOWANCE_BYTES = 64 * 1024 * 1024

/** Fills `directory`, which is empty and private; gives what the content needs. Throws catalogue errors. */
export async function unpackArchive(
  archive: AsyncIterable<Uint8Array>,
  directory: string,
  limitBytes: number,
): Promise<{ readonly inodes: number }> {
  const tree = new ArchiveTree(limitBytes)
  const stopped = new AbortController()
  const tar = startTar(directory)
  const source = watch(archive, stopped)
  const entries = extract()
  const safe = pack()
  const feeding = settle(pipeline(source.chunks, createGunzip(), byteLimit(2 * limitBytes + HEADER_ALLOWANCE_BYTES), entries, { signal: stopped.signal }))
  const unpacking = settle(pipeline(safe, tar.child.stdin, { signal: stopped.signal }).catch((error: unknown) => {
    stopped.abort()
    throw error
  }))
  const checking = settle(passEntries(entries, tree, safe).catch((error: unknown) => {
    stopped.abort()
    throw error
  }))
  const [fed, checked] = await Promise.all([feeding, checking])
  if (fed !== null || checked !== null) stopped.abort()
  const [unpacked, ended] = [await unpacking, await settle(tar.ended)]
  const cause = [checked, fed].find((error) => error instanceof BerthError) ?? source.failure() ?? diskFull(ended) ?? fed ?? checked ?? ended ?? unpacked
  if (cause !== null) throw asArchiveError(cause)
  return { inodes: tree.inodes }
}

async function passEntries(entries: ReturnType<typeof extract>, tree: ArchiveTree, safe: Pack): Promise<void> {
  for await (const entry of entries) {
    const { name, type, linkname, size } = entry.header
    const accepted = tree.accept({ name, type, linkname, size: size ?? 0 })
    if (accepted === null || accepted.kind !== 'file') {
      if (accepted !== null) await writeHeader(safe, accepted, entry.header)
      entry.resume()
      continue
    }
    await pipeline(entry, safe.entry({ ...attributes(accepted, entry.header), size: size ?? 0 }))
  }
  safe.finalize()
}

function writeHeader(safe: Pack, entry: SafeEntry, header: Header): Promise<void> {
  return new Promise((resolve, reject) => {
    safe.entry(attributes(entry, header), (error) => (error instanceof Error ? reject(error) : resolve()))
  })
}

function attributes(entry: SafeEntry, header: Header): Partial<Header> & Pick<Header, 'name'> {
  return {
    name: entry.kind === 'directory' ? `${entry.path}/` : entry.path,
    type: entry.kind,
    mode: (header.mode ?? 0o644) & 0o7777,
    uid: header.uid ?? 0,
    gid: header.gid ?? 0,
    mtime: header.mtime !== undefined && Number.isFinite(header.mtime.getTime()) ? header.mtime : new Date(0),
    ...(entry.linkTarget === null ? {} : { linkname: entry.linkTarget }),
  }
}

interface TarProcess {
  readonly child: ChildProcessByStdio<Writable, null, Readable>
  /** Rejects with `CommandFailed` if it says no. */
  readonly ended: Promise<void>
}

function startTar(directory: string): TarProcess {
  const owner = process.geteuid?.() === 0 ? '--same-owner' : '--no-same-owner'
  const child = spawn('tar', ['-x', '-f', '-', '-C', directory, '--numeric-owner', '--preserve-permissions', '--delay-directory-restore', owner], {
    env: { ...TOOL_ENVIRONMENT },
    stdio: ['pipe', 'ignore', 'pipe'],
  })
  // Without a descriptor left it has no streams: what follows throws then, and its error must not end the server.
  child.on('error', () => undefined)
  let stderr = ''
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr = (stderr + text).slice(0, MAX_COMMAND_ERROR_BYTES)
  })
  const ended = new Promise<void>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (status, signal) => (status === 0 ? resolve() : reject(new CommandFailed('tar', status, signal, stderr.trim()))))
  })
  return { child, ended }
}

/** The client's bytes, with an end to waiting, and a memory of how they failed. */
function watch(archive: AsyncIterable<Uint8Array>, stopped: AbortController): { chunks: AsyncIterable<Uint8Array>; failure: () => unknown } {
  let failure: unknown = null
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const timer = setTimeout(() => {
      failure = new BerthError('timeout', `The archive stopped arriving for ${MAX_ARCHIVE_IDLE_MS / 1000} s; send it again.`)
      stopped.abort()
    }, MAX_ARCHIVE_IDLE_MS)
    try {
      for await (const chunk of archive) {
        timer.refresh()
        yield chunk
        timer.refresh()
      }
    } catch (error) {
      failure = error instanceof BerthError ? error : new BerthError('cancelled', 'The archive broke off before its end; send it again.', { cause: error })
      throw error
    } finally {
      clearTimeout(timer)
    }
  }
  return { chunks: chunks(), failure: () => failure }
}

function byteLimit(limitBytes: number): Transform {
  let bytes = 0
  return new Transform({
    transform(chunk: Buffer, _encoding, done) {
      bytes += chunk.length
      if (bytes > limitBytes) done(new BerthError('archive_too_large', 'The archive unpacks to more than the volume holds; ask for a larger volume.'))
      else done(null, chunk)
    },
  })
}

async function settle(work: Promise<unknown>): Promise<unknown> {
  try {
    await work
    return null
  } catch (error) {
    return error
  }
}

function diskFull(ended: unknown): unknown {
  if (!(ended instanceof CommandFailed) || !/no space left|quota exceeded|wrote only \d+ of/i.test(ended.stderr)) return null
  return asDiskError(Object.assign(new Error(ended.message), { code: 'ENOSPC' }), 'the content of the archive')
}

/** What gunzip and the tar reader say is about the client's bytes; what `tar` says is about this host. */
function asArchiveError(error: unknown): unknown {
  if (error instanceof BerthError) return error
  if (error instanceof CommandFailed) return new BerthError('internal', `This host could not unpack the archive: ${error.stderr.split('\n')[0] ?? ''}.`, { cause: error })
  const text = error instanceof Error ? error.message : String(error)
  return new BerthError('invalid_archive', `The archive is no intact tar.gz (${text}); pack it again with tar -czf.`, { cause: error })
}
