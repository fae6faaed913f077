/** What stands in a directory of a guest: names with what they are, without going into them. */
import { BerthError } from '../instance/errors.ts'
import type { CopyEntry, CopyItem } from './host-port.ts'

/** Entries that are told; a directory with more is cut off. */
export const DIRECTORY_LIMIT = 10_000

export interface DirectoryEntry {
  readonly name: string
  readonly kind: 'file' | 'directory' | 'symlink' | 'other'
  readonly mode: number
  readonly sizeBytes: number
  readonly uid: number
  readonly gid: number
  /** null if it could not be asked. */
  readonly mtimeSeconds: number | null
  readonly linkTarget: string | null
}

export interface Directory {
  /** Directories first, then by name. */
  readonly entries: readonly DirectoryEntry[]
  /** There were more than `DIRECTORY_LIMIT`. */
  readonly truncated: boolean
}

/** Reads the answer of a shallow copy. Throws `guest_path` if the path is no directory. */
export async function readDirectory(path: string, items: AsyncIterable<CopyItem>): Promise<Directory> {
  const entries: DirectoryEntry[] = []
  let truncated = false
  for await (const item of items) {
    if (item.type === 'data') continue
    const name = item.type === 'entry' ? item.entry.path : item.path
    if (name === '') {
      if (item.type === 'error') throw new BerthError('guest_path', `${path} can't be read: ${item.message}.`)
      if (item.entry.kind !== 'directory') throw new BerthError('guest_path', `${path} is no directory.`)
      continue
    }
    // An agent from before there were shallow copies goes deeper.
    if (name.includes('/')) continue
    if (entries.length === DIRECTORY_LIMIT) {
      truncated = true
      break
    }
    entries.push(item.type === 'entry' ? entryOf(item.entry) : { name, kind: 'other', mode: 0, sizeBytes: 0, uid: 0, gid: 0, mtimeSeconds: null, linkTarget: null })
  }
  return { entries: entries.sort(byKindAndName), truncated }
}

function entryOf({ path, kind, mode, uid, gid, sizeBytes, mtimeSeconds, linkTarget }: CopyEntry): DirectoryEntry {
  return { name: path, kind, mode, uid: uid ?? 0, gid: gid ?? 0, sizeBytes, mtimeSeconds, linkTarget }
}

function byKindAndName(a: DirectoryEntry, b: DirectoryEntry): number {
  return Number(b.kind === 'directory') - Number(a.kind === 'directory') || (a.name < b.name ? -1 : 1)
}
