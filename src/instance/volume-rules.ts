/**
 * Rules of volumes: who may share one, and where it may appear in a guest. Pure; the engine asks here
 * before it records an attachment, in the same transaction.
 *
 *   attached already ->   nothing   ro or overlay   rw
 *   wanted: rw            yes       no              no
 *   wanted: ro, overlay   yes       yes             no
 *
 * An overlay only reads its base, so it shares like `ro`.
 */
import { BerthError } from './errors.ts'
import type { InstanceId, VolumeAttachment, VolumeId, VolumeMode, VolumeMount } from './model.ts'

/** What one guest can hold; an overlay takes two (its base and its writable layer). */
export const MAX_VOLUME_DEVICES = 23
/** Longest mount path, in bytes (Linux PATH_MAX without its final zero). */
export const MAX_MOUNT_PATH_BYTES = 4095
/** The smallest writable layer that ext4 can be made on with room left to write. */
export const MIN_OVERLAY_BYTES = 8 * 1024 * 1024

/**
 * Directories that a mount would hide the system in. A directory below one of these may be a mount
 * (`/var/lib/data`), but for those whose whole tree belongs to the kernel.
 */
const SYSTEM_DIRECTORIES: ReadonlySet<string> = new Set([
  '/bin', '/boot', '/dev', '/etc', '/home', '/lib', '/lib32', '/lib64', '/libx32', '/proc', '/root', '/run', '/sbin',
  '/sys', '/tmp', '/usr', '/usr/bin', '/usr/lib', '/usr/lib64', '/usr/sbin', '/usr/share', '/var', '/var/lib', '/var/run',
])
const KERNEL_TREES = ['/dev', '/proc', '/sys']

/** Throws `volume_conflict` if the volume can't be attached to this instance in this mode now. */
export function checkSharing(
  volumeId: VolumeId,
  attachments: readonly VolumeAttachment[],
  wanted: { readonly instanceId: InstanceId; readonly mode: VolumeMode },
): void {
  const own = attachments.find((attachment) => attachment.instanceId === wanted.instanceId)
  if (own !== undefined) {
    throw conflict(volumeId, `Volume ${volumeId} is already attached to this instance at ${own.path}; detach it first.`)
  }
  const writer = attachments.find((attachment) => attachment.mode === 'rw')
  if (writer !== undefined) {
    throw conflict(
      volumeId,
      `Volume ${volumeId} is attached read-write to instance ${writer.instanceId}, which excludes all others; detach it there first.`,
    )
  }
  const reader = attachments[0]
  if (wanted.mode === 'rw' && reader !== undefined) {
    throw conflict(
      volumeId,
      `Volume ${volumeId} is attached read-only to ${attachments.length} instance(s), so it can't be attached read-write; attach it read-only, or detach it there first.`,
    )
  }
}

/** Throws `invalid_request` (or `volume_conflict` for the same volume twice) if one guest can't have these mounts together. */
export function checkMounts(mounts: readonly VolumeMount[]): void {
  const volumes = new Set<VolumeId>()
  const paths = new Set<string>()
  for (const mount of mounts) {
    checkMountPath(mount.path)
    checkMode(mount)
    if (volumes.has(mount.volumeId)) {
      throw conflict(mount.volumeId, `Volume ${mount.volumeId} appears twice; an instance can hold a volume only once.`)
    }
    if (paths.has(mount.path)) {
      throw new BerthError('invalid_request', `Two volumes are to be mounted at ${mount.path}; give each a path of its own.`)
    }
    volumes.add(mount.volumeId)
    paths.add(mount.path)
  }
  const devices = volumeDevices(mounts)
  if (devices > MAX_VOLUME_DEVICES) {
    throw new BerthError(
      'invalid_request',
      `The volumes need ${devices} devices and an instance has ${MAX_VOLUME_DEVICES} (an overlay takes two); attach fewer.`,
    )
  }
}

/** How many block devices these mounts take. */
export function volumeDevices(mounts: readonly VolumeMount[]): number {
  return mounts.reduce((sum, mount) => sum + (mount.mode === 'overlay' ? 2 : 1), 0)
}

/** Throws `invalid_request` if nothing may be mounted there. */
export function checkMountPath(path: string): void {
  const problem = mountPathProblem(path)
  if (problem !== null) {
    throw new BerthError('invalid_request', `Mount path ${JSON.stringify(path.slice(0, 200))} ${problem}.`, {
      details: { field: 'mount_path' },
    })
  }
}

function mountPathProblem(path: string): string | null {
  if (!path.startsWith('/')) return 'is not absolute; write one like /data'
  if (new TextEncoder().encode(path).length > MAX_MOUNT_PATH_BYTES) return `is longer than ${MAX_MOUNT_PATH_BYTES} bytes`
  if (hasControlCharacter(path)) return 'has control characters in it'
  if (path === '/') return 'is the root of the guest; choose a directory below it'
  const segments = path.slice(1).split('/')
  if (segments.some((segment) => segment === '' || segment === '.' || segment === '..')) {
    return 'is not in its plain form; leave out "//", "/./", "/../" and the final "/"'
  }
  if (SYSTEM_DIRECTORIES.has(path)) return 'is a directory of the system itself; choose one below it, or one like /data'
  const tree = KERNEL_TREES.find((root) => path.startsWith(`${root}/`))
  if (tree !== undefined) return `is inside ${tree}, which belongs to the kernel; choose one like /data`
  return null
}

function checkMode(mount: VolumeMount): void {
  if (mount.mode !== 'overlay') {
    if (mount.overlayBytes === null) return
    throw new BerthError('invalid_request', `Volume ${mount.volumeId} has an overlay size but is no overlay; ask for overlay, or leave the size out.`)
  }
  if (mount.overlayBytes === null) {
    throw new BerthError('invalid_request', `Volume ${mount.volumeId} is to be an overlay without a size; give the overlay a size.`)
  }
  if (!Number.isSafeInteger(mount.overlayBytes) || mount.overlayBytes < MIN_OVERLAY_BYTES) {
    throw new BerthError(
      'invalid_request',
      `The overlay of volume ${mount.volumeId} is smaller than ${MIN_OVERLAY_BYTES / 1024 / 1024} MiB; make it larger.`,
    )
  }
}

function hasControlCharacter(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at)
    if (code < 0x20 || code === 0x7f) return true
  }
  return false
}

function conflict(volumeId: VolumeId, message: string): BerthError {
  return new BerthError('volume_conflict', message, { details: { volumeId } })
}
