/**
 * Decides over each entry of an archive that somebody sent: what may become a file of a volume, and
 * what tries to reach beyond it. Pure; it remembers the tree that the entries have made so far.
 *
 * Refused: absolute paths, `..`, paths that lead through a link or a file, links that point outside,
 * hard links to what isn't in the archive, devices, pipes, and more than fits.
 */
import { BerthError } from '../../instance/errors.ts'

/** Each costs memory here and an inode there. */
export const MAX_ARCHIVE_ENTRIES = 500_000
export const MAX_PATH_BYTES = 4095
export const MAX_NAME_BYTES = 255
const BLOCK_BYTES = 4096

export type EntryKind = 'file' | 'directory' | 'symlink' | 'link'

/** An entry as the archive has it. */
export interface RawEntry {
  readonly name: string
  readonly type: string | null | undefined
  readonly linkname: string | null | undefined
  readonly size: number
}

/** An entry that may be unpacked: its path has no leading `/` or `./`, no `..`, no `//`. */
export interface SafeEntry {
  readonly path: string
  readonly kind: EntryKind
  readonly linkTarget: string | null
}

export class ArchiveTree {
  readonly #limitBytes: number
  readonly #kinds = new Map<string, 'file' | 'directory' | 'symlink'>()
  #bytes = 0
  #entries = 0

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes
  }

  /** How many inodes the tree needs. */
  get inodes(): number {
    return this.#kinds.size
  }

  /** Takes an entry in; null for the root directory itself, which is there already. Throws if it is refused. */
  accept(raw: RawEntry): SafeEntry | null {
    this.#entries += 1
    if (this.#entries > MAX_ARCHIVE_ENTRIES) throw tooLarge(`The archive has more than ${MAX_ARCHIVE_ENTRIES} entries.`)
    const kind = kindOf(raw)
    const segments = segmentsOf(raw.name, raw.name)
    if (segments.length === 0) {
      if (kind === 'directory') return null
      throw refused(raw.name, 'has no name')
    }
    const path = segments.join('/')
    this.#enterParents(segments, raw.name)
    const linkTarget = this.#linkTarget(raw, kind, segments)
    const becomes = kind === 'link' ? 'file' : kind
    const before = this.#kinds.get(path)
    if (before !== undefined && before !== becomes) throw refused(raw.name, `is there twice, as ${before} and as ${becomes}`)
    this.#kinds.set(path, becomes)
    this.#count(kind === 'file' ? Math.ceil(raw.size / BLOCK_BYTES) * BLOCK_BYTES : kind === 'directory' && before === undefined ? BLOCK_BYTES : 0)
    return { path, kind, linkTarget }
  }

  #enterParents(segments: readonly string[], name: string): void {
    let parent = ''
    for (const segment of segments.slice(0, -1)) {
      parent = parent === '' ? segment : `${parent}/${segment}`
      const kind = this.#kinds.get(parent)
      if (kind === undefined) {
        this.#kinds.set(parent, 'directory')
        this.#count(BLOCK_BYTES)
        if (this.#kinds.size > MAX_ARCHIVE_ENTRIES) throw tooLarge(`The archive has more than ${MAX_ARCHIVE_ENTRIES} files and directories.`)
      } else if (kind !== 'directory') {
        throw refused(name, `leads through ${JSON.stringify(parent.slice(0, 100))}, which is a ${kind}`)
      }
    }
  }

  #linkTarget(raw: RawEntry, kind: EntryKind, segments: readonly string[]): string | null {
    if (kind !== 'symlink' && kind !== 'link') return null
    const target = raw.linkname ?? ''
    if (target === '' || target.includes('\0') || bytesOf(target) > MAX_PATH_BYTES) throw refused(raw.name, 'is a link to nowhere')
    if (kind === 'symlink') {
      if (target.startsWith('/') || climbsOut(segments.length - 1, target)) throw refused(raw.name, 'is a symbolic link that points outside of the volume')
      return target
    }
    const path = segmentsOf(target, raw.name).join('/')
    if (this.#kinds.get(path) !== 'file') throw refused(raw.name, 'is a hard link to what is no file of the archive')
    return path
  }

  #count(bytes: number): void {
    this.#bytes += bytes
    if (this.#bytes > this.#limitBytes) throw tooLarge('The content of the archive does not fit into a volume of this size.')
  }
}

function kindOf(raw: RawEntry): EntryKind {
  switch (raw.type) {
    case 'file':
    case 'contiguous-file':
      return 'file'
    case 'directory':
    case 'symlink':
    case 'link':
      return raw.type
    default:
      throw refused(raw.name, `is a ${raw.type ?? 'thing of unknown kind'}; only files, directories and links can be in a volume`)
  }
}

/** The names of a path without empty ones and `.`; refuses what would leave the root. */
function segmentsOf(path: string, name: string): string[] {
  if (path.startsWith('/')) throw refused(name, 'has an absolute path')
  if (path.includes('\0')) throw refused(name, 'has a zero byte in its path')
  if (bytesOf(path) > MAX_PATH_BYTES) throw refused(name, `has a path longer than ${MAX_PATH_BYTES} bytes`)
  const segments = path.split('/').filter((segment) => segment !== '' && segment !== '.')
  if (segments.includes('..')) throw refused(name, 'has ".." in its path')
  if (segments.some((segment) => bytesOf(segment) > MAX_NAME_BYTES)) throw refused(name, `has a name longer than ${MAX_NAME_BYTES} bytes`)
  return segments
}

/** Whether a relative target, seen from a directory this deep, ever goes above the root. */
function climbsOut(depth: number, target: string): boolean {
  let at = depth
  for (const segment of target.split('/')) {
    if (segment === '' || segment === '.') continue
    at += segment === '..' ? -1 : 1
    if (at < 0) return true
  }
  return false
}

function bytesOf(text: string): number {
  return Buffer.byteLength(text)
}

function refused(name: string, why: string): BerthError {
  return new BerthError('invalid_archive', `The archive was refused: ${JSON.stringify(name.slice(0, 200))} ${why}.`)
}

function tooLarge(what: string): BerthError {
  return new BerthError('archive_too_large', `${what} Ask for a larger volume, or send less.`)
}
