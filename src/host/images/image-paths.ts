/**
 * Where the image room keeps what, below the data directory:
 *
 *     images/<digest hex>/root.erofs     the read-only root
 *     images/<digest hex>/image.json     its record
 *     images/built-in.json               which busybox the built-in image was made from
 *     images/.work/<random>/             unfinished work; swept at the next open
 *     image-cache/blobs/sha256/<hex>     layers, configs and manifests as pulled, shared by all pulls
 *
 * All on one filesystem, so that finished work arrives by rename. Nothing that a client named is part of a path.
 * Finished images may be read by any user, for a VMM runs as one of its own; `.work` and the cache are closed, since
 * unpacked trees hold strangers' set-uid programs.
 */
import { join } from 'node:path'
import type { ImageDigest } from '../../instance/model.ts'
import { digestHex } from './manifest.ts'

export interface ImagePaths {
  readonly images: string
  readonly work: string
  readonly cache: string
  readonly blobs: string
  readonly builtInRecord: string
  image(digest: ImageDigest): { readonly dir: string; readonly root: string; readonly record: string }
  blob(digest: ImageDigest): string
}

export function imagePaths(dataDir: string): ImagePaths {
  const images = join(dataDir, 'images')
  const cache = join(dataDir, 'image-cache')
  return {
    images,
    work: join(images, '.work'),
    cache,
    blobs: join(cache, 'blobs'),
    builtInRecord: join(images, 'built-in.json'),
    image(digest) {
      const dir = join(images, digestHex(digest))
      return { dir, root: join(dir, ROOT_FILE), record: join(dir, RECORD_FILE) }
    },
    blob: (digest) => join(cache, 'blobs', 'sha256', digestHex(digest)),
  }
}

export const ROOT_FILE = 'root.erofs'
export const RECORD_FILE = 'image.json'
