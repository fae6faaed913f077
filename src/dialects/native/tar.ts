/**
 * Trees on the wire as tar: the guest's copy items ↔ a tar stream.
 *
 * Invariants: a name that leaves the tree (`..`, absolute links are the guest's own matter) is refused; what
 * a guest's file system can't be given through the link (hard links, devices, pipes) is refused by name, not
 * dropped; a file that changes its size while it is read is cut or filled with zeros to the size that was
 * announced, as tar itself does.
 */
import { once } from 'node:events'
import { Readable } from 'node:stream'
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip } from 'node:zlib'
import { extract, pack } from 'tar-stream'
import type { CopyEntry, CopyItem } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { quoteGo } from '../../instance/go-text.ts'

/** Failures of single paths that are told; the rest is counted. */
export const MAX_TOLD_ERRORS = 20
const PATH_LIMIT_BYTES = 4096
const ZEROS = Buffer.alloc(64 * 1024)

export interface CopyFailure {
  readonly path: string
  readonly message: string
}

/** The items of a copy as a tar whose names begin with `base` (`.` for the root itself). */
export function packTar(items: AsyncIterable<CopyItem>, base: string, onError: (failure: CopyFailure) => void): Readable {
  const tar = pack()
  // tar-stream speaks streamx, which is Node's streams but for its types.
  const open = (header: ReturnType<typeof headerOf>) => tar.entry(header) as unknown as Writable
  const write = async () => {
    let file: { entry: Writable; left: number } | null = null
    const finish = async () => {
      if (file === null) return
      while (file.left > 0) {
        const zeros = ZEROS.subarray(0, Math.min(file.left, ZEROS.length))
        file.left -= zeros.length
        await writeAll(file.entry, zeros)
      }
      file.entry.end()
      file = null
    }
    for await (const item of items) {
      if (item.type === 'error') {
        onError({ path: item.path, message: item.message })
      } else if (item.type === 'data') {
        if (file === null) continue
        const data = item.data.subarray(0, file.left)
        file.left -= data.length
        if (data.length > 0) await writeAll(file.entry, data)
      } else {
        await finish()
        const header = headerOf(item.entry, base)
        if (item.entry.kind === 'file') {
          file = { entry: open(header), left: item.entry.sizeBytes }
        } else {
          open(header).end()
        }
      }
    }
    await finish()
    tar.finalize()
  }
  write().catch((error: unknown) => tar.destroy(error instanceof Error ? error : new Error(String(error))))
  return Readable.from(tar, { objectMode: false })
}

/** Resolves when there is room for more; rejects if the stream was closed, since nobody reads it any more. */
async function writeAll(stream: Writable, data: Uint8Array): Promise<void> {
  if (stream.write(data)) return
  const closed = new AbortController()
  const onClose = () => closed.abort()
  stream.once('close', onClose)
  try {
    await once(stream, 'drain', { signal: closed.signal })
  } finally {
    stream.off('close', onClose)
  }
}

function headerOf(entry: CopyEntry, base: string) {
  const name = entry.path === '' ? base : `${base}/${entry.path}`
  return {
    name: entry.kind === 'directory' ? `${name}/` : name,
    type: entry.kind,
    mode: entry.mode,
    size: entry.kind === 'file' ? entry.sizeBytes : 0,
    mtime: new Date(entry.mtimeSeconds * 1000),
    uid: entry.uid ?? 0,
    gid: entry.gid ?? 0,
    ...(entry.kind === 'symlink' ? { linkname: entry.linkTarget ?? '' } : {}),
  }
}

/** The entries of a tar (or tar.gz) stream as copy items. Throws `invalid_archive` at the first bad one. */
export async function* unpackTar(
  stream: Readable,
  options: { readonly gzip: boolean; readonly keepOwner: boolean },
): AsyncIterable<CopyItem> {
  const tar = extract()
  const into = tar as unknown as Writable
  const feed = options.gzip ? pipeline(stream, createGunzip(), into) : pipeline(stream, into)
  // The failure is met again where the entries are read.
  feed.catch(() => undefined)
  try {
    for await (const entry of tar) {
      const { name, type, size, mode, uid, gid, mtime, linkname } = entry.header
      const kind = type === 'file' || type === 'contiguous-file' ? 'file' : type
      if (kind !== 'file' && kind !== 'directory' && kind !== 'symlink') {
        throw damaged(`${quoteGo(name)} is a ${String(type)}; only files, directories and symbolic links can be copied`)
      }
      yield {
        type: 'entry',
        entry: {
          path: insidePath(name),
          kind,
          mode: mode & 0o7777,
          uid: options.keepOwner ? uid : null,
          gid: options.keepOwner ? gid : null,
          sizeBytes: kind === 'file' ? size : 0,
          mtimeSeconds: Math.floor(mtime.getTime() / 1000),
          linkTarget: kind === 'symlink' ? linkname : null,
        },
      }
      for await (const data of entry) yield { type: 'data', data: data as Uint8Array }
    }
  } catch (error) {
    if (error instanceof BerthError) throw error
    throw damaged(error instanceof Error ? error.message : String(error), error)
  } finally {
    tar.destroy()
  }
  await feed.catch((error: unknown) => {
    throw damaged(error instanceof Error ? error.message : String(error), error)
  })
}

/** A tar name as a path below the copy's root; empty is the root. */
function insidePath(name: string): string {
  const parts = name.split('/').filter((part) => part !== '' && part !== '.')
  if (parts.includes('..')) throw damaged(`${quoteGo(name)} leads out of its directory`)
  const path = parts.join('/')
  if (path.includes('\0') || Buffer.byteLength(path) > PATH_LIMIT_BYTES) throw damaged(`${quoteGo(name)} is no path that Linux takes`)
  return path
}

function damaged(why: string, cause?: unknown): BerthError {
  return new BerthError('invalid_archive', `The archive can't be unpacked: ${why}.`, cause === undefined ? {} : { cause })
}
