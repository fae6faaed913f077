/**
 * Files of this machine ↔ tar, for `berth cp`.
 *
 * Writing trusts nothing: a name that leads out of the destination is refused, and nothing is written through a
 * symbolic link below it, so that an archive made by a guest can't reach other files of this machine. A file
 * arrives under a temporary name and is renamed when it is whole.
 */
import { randomBytes } from 'node:crypto'
import { createReadStream, createWriteStream } from 'node:fs'
import { chmod, lchown, lstat, mkdir, readdir, readlink, rename, rm, stat, symlink, utimes } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Readable } from 'node:stream'
import type { Writable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { extract, pack } from 'tar-stream'
import type { Header } from 'tar-stream'
import { CliError } from './failure.ts'

export interface ReadOptions {
  /** Copy what a symbolic link leads to (of the source itself, as docker does). */
  readonly followLink: boolean
  readonly onSkip: (path: string, why: string) => void
}

export interface WriteOptions {
  /** Owners as in the archive; otherwise ours. */
  readonly keepOwner: boolean
}

/** A file or tree as tar; its names begin with `name`, empty for what the directory holds. */
export function readTree(source: string, name: string, options: ReadOptions): Readable {
  const tar = pack()
  const write = async () => {
    await addPath(source, name, options.followLink)
    tar.finalize()
  }
  const addPath = async (path: string, as: string, follow: boolean): Promise<void> => {
    const info = follow ? await stat(path) : await lstat(path)
    const common = { mode: info.mode & 0o7777, mtime: info.mtime, uid: info.uid, gid: info.gid }
    if (info.isDirectory()) {
      tar.entry({ ...common, name: `${as === '' ? '.' : as}/`, type: 'directory' }).end(undefined)
      for (const child of (await readdir(path)).sort()) await addPath(join(path, child), as === '' ? child : `${as}/${child}`, false)
    } else if (info.isSymbolicLink()) {
      tar.entry({ ...common, name: as, type: 'symlink', linkname: await readlink(path) }).end(undefined)
    } else if (info.isFile()) {
      const entry = tar.entry({ ...common, name: as, type: 'file', size: info.size }) as unknown as Writable
      // A file that grows meanwhile is cut to the size that was announced.
      if (info.size === 0) entry.end()
      else await pipeline(createReadStream(path, { end: info.size - 1 }), entry)
    } else {
      options.onSkip(path, 'only files, directories and symbolic links can be copied')
    }
  }
  write().catch((error: unknown) => tar.destroy(error instanceof Error ? error : new Error(String(error))))
  return Readable.from(tar, { objectMode: false })
}

/**
 * Unpacks a tar whose names all begin with one part, which becomes `destination`: the first entry itself lands
 * there, and what is below it below.
 */
export async function writeTree(tar: Readable, destination: string, options: WriteOptions): Promise<void> {
  const unpack = extract()
  const feed = pipeline(tar, unpack as unknown as Writable)
  // Met again below, where the entries are read.
  feed.catch(() => undefined)
  const directories: { path: string; header: Header }[] = []
  try {
    for await (const entry of unpack) {
      const { header } = entry
      const below = innerPath(header.name)
      const path = below === '' ? destination : join(destination, below)
      await checkParents(destination, below)
      if (header.type === 'directory') {
        // A directory that was there keeps its mode where the copy lands in it.
        const isNew = await makeDirectory(path)
        if (isNew || below !== '') directories.push({ path, header })
        entry.resume()
      } else if (header.type === 'symlink') {
        await replaceWith(path, (temporary) => symlink(header.linkname, temporary))
        if (options.keepOwner) await lchown(path, header.uid, header.gid)
        entry.resume()
      } else if (header.type === 'file') {
        await replaceWith(path, async (temporary) => {
          await pipeline(Readable.from(entry), createWriteStream(temporary, { flags: 'wx', mode: 0o600 }))
          await finishPath(temporary, header, options)
        })
      } else {
        entry.resume()
      }
    }
    await feed
    // A directory's time changes with what is put into it, and its mode may forbid that: both come last.
    for (const { path, header } of directories.reverse()) await finishPath(path, header, options)
  } catch (error) {
    if (error instanceof CliError) throw error
    throw new CliError(`The copy stopped: ${error instanceof Error ? error.message : String(error)}.`, { cause: error })
  } finally {
    unpack.destroy()
  }
}

/** `top/a/b` → `a/b`; the first part is the copied path itself. */
function innerPath(name: string): string {
  const parts = name.split('/').filter((part) => part !== '')
  if (parts.includes('..') || name.includes('\0')) throw new CliError(`The server sent the path "${name}", which leads out of the copy.`)
  return parts.slice(1).filter((part) => part !== '.').join('/')
}

/** Throws if a directory on the way below the destination is a symbolic link. */
async function checkParents(destination: string, below: string): Promise<void> {
  const parts = below.split('/').slice(0, -1)
  let path = destination
  for (const part of below === '' ? [] : ['', ...parts]) {
    path = part === '' ? path : join(path, part)
    // The destination itself is the user's own word and may be a link.
    const info = await (part === '' ? stat(path) : lstat(path)).catch(() => null)
    if (info !== null && !info.isDirectory()) throw new CliError(`${path} is no directory: nothing was written below it.`)
  }
}

/** Whether it had to be made. */
async function makeDirectory(path: string): Promise<boolean> {
  const there = await stat(path).catch(() => null)
  if (there?.isDirectory() === true) return false
  if (there !== null) throw new CliError(`${path} is there and is no directory.`)
  await mkdir(path, { mode: 0o700 })
  return true
}

/** Makes something beside the path, then puts it there in one step. */
async function replaceWith(path: string, make: (temporary: string) => Promise<void>): Promise<void> {
  const temporary = join(dirname(path), `.${basename(path).slice(0, 100)}.${randomBytes(6).toString('hex')}`)
  try {
    await make(temporary)
    await rename(temporary, path)
  } catch (error) {
    await rm(temporary, { force: true })
    throw error
  }
}

async function finishPath(path: string, header: Header, { keepOwner }: WriteOptions): Promise<void> {
  if (keepOwner) await lchown(path, header.uid, header.gid)
  // After a change of owner, which takes set-uid bits away; they are kept only together with their owner.
  await chmod(path, header.mode & (keepOwner ? 0o7777 : 0o777))
  await utimes(path, header.mtime, header.mtime)
}
