/** How the mount of a volume is asked for. Pure. */
import type { Instance } from './types.ts'

export interface Mount {
  readonly volume: string
  readonly path: string
  readonly mode: Instance['volumes'][number]['mode']
}

/** What an instance may write over a volume that it shares: an overlay must have a size. */
export const OVERLAY_BYTES = 1024 ** 3

export function mountRequest(mount: Mount): Mount & { readonly overlayBytes?: number } {
  return mount.mode === 'overlay' ? { ...mount, overlayBytes: OVERLAY_BYTES } : mount
}
