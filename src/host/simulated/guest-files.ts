/** The files of a pretended guest: enough of a file system for stat and for copying trees in and out. */
import type { InboundConnection } from '../../instance/auto-standby.ts'
import type { CopyItem, GuestFile, PathInfo } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { FileState, VmState } from './machine-state.ts'

const ABSENT: PathInfo = { exists: false, kind: null, mode: 0, sizeBytes: 0, uid: 0, gid: 0, mtimeSeconds: 0, linkTarget: null, error: null }
const CHUNK_BYTES = 65_536
const LINK_LIMIT = 40

export function statFile(vm: VmState, path: string, followLinks: boolean): PathInfo {
  const found = find(vm, path, followLinks)
  if (found === null) return ABSENT
  const { kind, mode, uid, gid, mtimeSeconds, linkTarget, data } = found
  return { exists: true, kind, mode, sizeBytes: Buffer.byteLength(data, 'base64'), uid, gid, mtimeSeconds, linkTarget, error: null }
}

export function putFile(vm: VmState, { path, mode, data }: GuestFile): void {
  vm.files[clean(path)] = { kind: 'file', mode, uid: 0, gid: 0, mtimeSeconds: 0, linkTarget: null, data: Buffer.from(data).toString('base64') }
}

export async function writeTree(vm: VmState, root: string, items: AsyncIterable<CopyItem>): Promise<{ readonly bytesWritten: number }> {
  let bytesWritten = 0
  let open: { path: string; file: FileState; chunks: Uint8Array[] } | null = null
  const finish = () => {
    if (open === null) return
    vm.files[open.path] = { ...open.file, data: Buffer.concat(open.chunks).toString('base64') }
    open = null
  }
  for await (const item of items) {
    if (item.type === 'data') {
      open?.chunks.push(item.data)
      bytesWritten += item.data.length
    } else if (item.type === 'entry') {
      finish()
      const { entry } = item
      if (entry.path.startsWith('/') || entry.path.split('/').includes('..')) throw new BerthError('guest_path', `${entry.path} would leave the tree that is copied.`)
      const path = join(root, entry.path)
      const { kind, mode, uid, gid, mtimeSeconds, linkTarget } = entry
      const file: FileState = { kind, mode, uid: uid ?? 0, gid: gid ?? 0, mtimeSeconds, linkTarget, data: '' }
      if (kind === 'file') open = { path, file, chunks: [] }
      else vm.files[path] = file
    }
  }
  finish()
  return { bytesWritten }
}

export async function* readTree(vm: VmState, path: string, followLinks: boolean): AsyncIterable<CopyItem> {
  const root = find(vm, path, followLinks)
  if (root === null) throw new BerthError('guest_path', `There is no ${path} in the guest.`)
  const below = Object.keys(vm.files)
    .filter(name => name.startsWith(`${clean(path)}/`))
    .toSorted()
  for (const [name, file] of [['', root] as const, ...below.map(full => [full.slice(clean(path).length + 1), vm.files[full]] as const)]) {
    if (file === undefined) continue
    const { kind, mode, uid, gid, mtimeSeconds, linkTarget } = file
    const data = Buffer.from(file.data, 'base64')
    yield { type: 'entry', entry: { path: name, kind, mode, uid, gid, sizeBytes: data.length, mtimeSeconds, linkTarget } }
    for (let at = 0; at < data.length; at += CHUNK_BYTES) yield { type: 'data', data: data.subarray(at, at + CHUNK_BYTES) }
  }
}

/** Of a directory only what stands in it, without bytes; directories that only their content implies are there too. */
export async function* readDirectory(vm: VmState, path: string, followLinks: boolean): AsyncIterable<CopyItem> {
  const root = find(vm, path, followLinks)
  if (root === null) throw new BerthError('guest_path', `There is no ${path} in the guest.`)
  const prefix = `${clean(path)}/`
  const names = new Set(Object.keys(vm.files).filter(name => name.startsWith(prefix)).map(name => name.slice(prefix.length).split('/')[0] ?? ''))
  for (const name of ['', ...[...names].toSorted()]) {
    const file = name === '' ? root : find(vm, prefix + name, false)
    if (file === null) continue
    const { kind, mode, uid, gid, mtimeSeconds, linkTarget, data } = file
    yield { type: 'entry', entry: { path: name, kind, mode, uid, gid, sizeBytes: Buffer.byteLength(data, 'base64'), mtimeSeconds, linkTarget } }
  }
}

function find(vm: VmState, path: string, followLinks: boolean): FileState | null {
  let at = clean(path)
  for (let hops = 0; hops < LINK_LIMIT; hops++) {
    const file = vm.files[at]
    if (file === undefined) return at === '' || Object.keys(vm.files).some(name => name.startsWith(`${at}/`)) ? directory() : null
    if (!followLinks || file.kind !== 'symlink' || file.linkTarget === null) return file
    at = file.linkTarget.startsWith('/') ? clean(file.linkTarget) : clean(`${at.replace(/[^/]*$/, '')}${file.linkTarget}`)
  }
  return null
}

function directory(): FileState {
  return { kind: 'directory', mode: 0o755, uid: 0, gid: 0, mtimeSeconds: 0, linkTarget: null, data: '' }
}

function join(root: string, path: string): string {
  return path === '' ? clean(root) : clean(`${clean(root)}/${path}`)
}

function clean(path: string): string {
  return path === '/' ? '' : path.replace(/\/+/g, '/').replace(/\/$/, '')
}

/** Lines `ADDRESS PORT SOURCE`: the connections that a pretended guest has now. */
const CONNECTIONS_FILE = '/tmp/connections'

export function pretendedConnections(vm: VmState): readonly InboundConnection[] {
  const text = Buffer.from(vm.files[clean(CONNECTIONS_FILE)]?.data ?? '', 'base64').toString()
  return [...text.matchAll(/^(\S+) (\d+) (\S+)$/gm)].map(([, address = '', port, source = '']) => ({ address, port: Number(port), source }))
}
