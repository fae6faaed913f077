/**
 * Volumes as this wire means them: `Block` is a volume of the engine, for one instance at a time; `File` is a shared file
 * system, for any number of instances of its region. Orders name both in one list.
 */
import type { FileSystemView } from '../../engine/file-systems.ts'
import type { FileSystemId, FileSystemMount, Volume, VolumeMount } from '../../instance/model.ts'
import type { Identity } from '../dialect.ts'
import { derivedFid, volumeFid } from './fids.ts'
import type { Surface } from './surface.ts'
import type { Loc } from './validation.ts'
import { valueError } from './validation.ts'

/** Disks are mounted at `<this>/<name>`. */
const MOUNT_DIR = '/mnt'

export type Disk = { readonly kind: 'Block'; readonly fid: string; readonly volume: Volume } | { readonly kind: 'File'; readonly fid: string; readonly fileSystem: FileSystemView }

export interface Mounts {
  readonly volumes: readonly VolumeMount[]
  readonly fileSystems: readonly FileSystemMount[]
}

export function fileSystemFid(id: FileSystemId): string {
  return derivedFid('vol_', id)
}

/** Of the project, oldest first. */
export async function listDisks(surface: Surface, caller: Identity): Promise<readonly Disk[]> {
  const [volumes, fileSystems] = await Promise.all([surface.engine.volumes.list(caller), surface.engine.fileSystems.list(caller)])
  return [
    ...volumes.map(volume => ({ kind: 'Block', fid: volumeFid(volume.id), volume }) as const),
    ...fileSystems.map(fileSystem => ({ kind: 'File', fid: fileSystemFid(fileSystem.id), fileSystem }) as const),
  ].toSorted((a, b) => createdAtOf(a) - createdAtOf(b))
}

/** What an order's list of volumes becomes; throws with the place of what is not there or doesn't fit. */
export async function findMounts(surface: Surface, caller: Identity, order: { readonly region: string; readonly quantity: number }, fids: readonly string[], loc: Loc): Promise<Mounts> {
  if (fids.length === 0) return { volumes: [], fileSystems: [] }
  const all = await listDisks(surface, caller)
  const disks = [...new Set(fids)].map((fid, index): Disk => {
    const disk = all.find(candidate => candidate.fid === fid)
    if (disk === undefined) throw valueError([...loc, index], 'there is no such volume in this project', fid)
    if (disk.kind === 'File' && disk.fileSystem.region !== order.region) throw valueError([...loc, index], 'the volume is in another region', fid)
    if (disk.kind === 'Block' && order.quantity > 1) {
      throw valueError([...loc, index], 'a Block volume can be attached to one instance only; order one, or take a File volume', fid)
    }
    return disk
  })
  return {
    volumes: disks.flatMap(disk => (disk.kind === 'Block' ? [{ volumeId: disk.volume.id, path: pathOf(disk), mode: 'rw' as const, overlayBytes: null }] : [])),
    fileSystems: disks.flatMap(disk => (disk.kind === 'File' ? [{ fileSystemId: disk.fileSystem.id, path: pathOf(disk) }] : [])),
  }
}

export function createdAtOf(disk: Disk): number {
  return disk.kind === 'Block' ? disk.volume.createdAt : disk.fileSystem.createdAt
}

/** A name as a directory: what a path doesn't take becomes a dash. */
function pathOf(disk: Disk): string {
  const name = disk.kind === 'Block' ? disk.volume.name : disk.fileSystem.name
  const clean = name.replaceAll(/[^A-Za-z0-9_.-]+/g, '-').replaceAll(/^[.-]+|-+$/g, '')
  return `${MOUNT_DIR}/${clean === '' ? disk.fid : clean}`
}
