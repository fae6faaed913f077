/**
 * The image room's front door: OCI images become read-only erofs roots, named by their digest.
 *
 *     name ──▶ in line ──▶ digest ──▶ already there? ──▶ done
 *                            │ no
 *                            ▼
 *                layers into the cache ──▶ unpacked ──▶ root.erofs ──▶ renamed into place
 *
 * - An image is there whole or not at all; unfinished work is swept at the next open.
 * - The same digest is made once, however many ask for it at the same time.
 * - A few pieces of work run at once, the rest waits in line and is told its place.
 * - Cached layers stay while an image needs them. They are swept only while nothing runs, since a running pull
 *   may count on any of them.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { HostImage, PullProgress, PullRequest } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { ImageDigest } from '../../instance/model.ts'
import { ARCHIVE_NAME, fetchArchive, spoolArchive } from './archive.ts'
import { checkRoom, type CopyWatch } from './arrival.ts'
import { blobsBytes, dropDamagedBlobs, sweepBlobs } from './blob-cache.ts'
import { buildBusybox, BUILT_IN_NAME, findBusybox, type Busybox } from './built-in.ts'
import { imageFailure } from './image-failure.ts'
import { imagePaths } from './image-paths.ts'
import { openShelf, replaceFile } from './image-shelf.ts'
import { digestHex, parseDigest, parsePlatform, platformText, type Platform } from './manifest.ts'
import { readLayout, type Layout, type LayoutImage } from './oci-layout.ts'
import { pullQueue } from './pull-queue.ts'
import { fetchImage, openRegistry, resolveName, type Resolved } from './registry.ts'
import { makeRoot } from './root-image.ts'
import { sharedWork } from './shared-work.ts'

export { BUILT_IN_NAME } from './built-in.ts'

/** Pulls, imports and conversions that run at once. */
export const RUNNING_LIMIT = 2
/** How many may wait in line. */
export const WAITING_LIMIT = 1000
/** What an imported archive may weigh. */
export const ARCHIVE_LIMIT_BYTES = 32 * 1024 ** 3
/** Archives that are received at once; they take disk, not a place in the line. */
export const UPLOADS_LIMIT = 8
/** What an image must leave free on the disk: the instances that run there need it more. */
export const MIN_FREE_BYTES = 256 * 1024 ** 2

export interface ImageStoreOptions {
  readonly dataDir: string
  /** `host` or `host:port`: plain HTTP or an unknown certificate will do there. Loopback always is one. */
  readonly insecureRegistries?: readonly string[]
  readonly runningLimit?: number
  readonly archiveLimitBytes?: number
  readonly minFreeBytes?: number
  /** The static busybox of the built-in image; otherwise the usual places are looked at. */
  readonly busyboxPath?: string
  readonly log?: ImageLog
}

/** As much of a pino logger as this room uses. */
export interface ImageLog {
  info(details: object, message: string): void
  warn(details: object, message: string): void
}

export interface ImageStore {
  pull(request: PullRequest): Promise<HostImage>
  /** An OCI archive or what `docker save` writes, compressed or not. */
  import(archive: AsyncIterable<Uint8Array>, onProgress: (progress: PullProgress) => void, signal?: AbortSignal): Promise<HostImage>
  /** `localhost/busybox`, made on this machine when it is first asked for. */
  builtIn(): Promise<HostImage>
  /** It, if it was made already. */
  madeBuiltIn(): Promise<HostImage | null>
  list(): readonly HostImage[]
  get(digest: ImageDigest): HostImage | null
  /** The erofs file; `image_not_found` if the image isn't there. */
  rootPath(digest: ImageDigest): string
  /** Whether anything uses it is the caller's to know. An image that isn't there is no error. */
  remove(digest: ImageDigest): Promise<void>
  diskUse(): Promise<{ readonly imagesBytes: number; readonly imageCacheBytes: number }>
  /** How many pieces of work run and wait. */
  queue(): { readonly running: number; readonly waiting: number }
  /** Stops what runs and lets it clean up. */
  close(): Promise<void>
}

export async function openImageStore(options: ImageStoreOptions): Promise<ImageStore> {
  const paths = imagePaths(options.dataDir)
  const log = options.log ?? { info: () => undefined, warn: () => undefined }
  const insecureRegistries = options.insecureRegistries ?? []
  const minFreeBytes = options.minFreeBytes ?? MIN_FREE_BYTES
  const shelf = await openShelf(paths)
  const queue = pullQueue({ running: options.runningLimit ?? RUNNING_LIMIT, waiting: WAITING_LIMIT })
  const shared = sharedWork<HostImage>()
  const closing = new AbortController()
  const active = new Set<Promise<unknown>>()
  /** Blobs of removed images, until a quiet moment. */
  const unwanted = new Set<string>()
  let sweeping: Promise<void> = Promise.resolve()
  let builtIn: Promise<HostImage> | null = null
  let uploads = 0

  const sweepNow = async () => {
    if (queue.state().running > 0) return
    await sweepBlobs(paths.blobs, { needed: shelf.neededBlobs(), unwanted })
    unwanted.clear()
  }
  const sweep = (): Promise<void> => {
    sweeping = sweeping.then(sweepNow).catch((error: unknown) => log.warn({ err: error }, 'the image cache could not be swept'))
    return sweeping
  }

  /** A directory for one piece of work, gone with it. */
  const inWorkDir = async <T>(work: (dir: string) => Promise<T>): Promise<T> => {
    const dir = await shelf.workDir()
    try {
      return await work(dir)
    } finally {
      await shelf.discard(dir)
    }
  }

  /** Every piece of work passes here: only catalogue errors leave, and `close` waits for it. */
  const accounted = async <T>(name: string, work: (close: AbortSignal) => Promise<T>): Promise<T> => {
    if (closing.signal.aborted) throw shuttingDown()
    const result = work(closing.signal)
    active.add(result)
    try {
      return await result
    } catch (error) {
      const failure = closing.signal.aborted ? shuttingDown(error) : imageFailure('pull', name, error)
      log.warn({ image: name, code: failure.code, err: failure.cause ?? failure }, 'image work failed')
      throw failure
    } finally {
      active.delete(result)
      if (unwanted.size > 0) await sweep()
    }
  }

  const inTurn = <T>(watch: CopyWatch, work: () => Promise<T>): Promise<T> =>
    queue.run(
      async () => {
        await sweeping
        return await work()
      },
      { signal: watch.signal, onPlace: (place) => watch.onProgress({ status: 'pending', fraction: null, queuePosition: place }) },
    )

  /** Layers in a layout → an image on the shelf. */
  const convert = async (layout: Layout, found: LayoutImage, about: { readonly name: string; readonly digest: ImageDigest; readonly workDir: string }, watch: CopyWatch) => {
    watch.onProgress({ status: 'converting', fraction: null })
    const outputDir = join(about.workDir, 'image')
    const { sizeBytes } = await makeRoot(layout, { ...about, outputDir, signal: watch.signal, minFreeBytes })
    return await shelf.put(outputDir, { digest: about.digest, config: found.config, sizeBytes }, about.name === BUILT_IN_NAME ? [] : found.blobs)
  }

  const bring = (request: PullRequest, resolved: Resolved, watch: CopyWatch): Promise<HostImage> =>
    inWorkDir(async (workDir) => {
      const registry = await openRegistry(request, { workDir, insecureRegistries })
      try {
        const layout = await fetchImage(registry, resolved, { paths, watch })
        const found = await readLayout(layout)
        checkPlatform(request.name, found.platform, parsePlatform(request.platform))
        return await convert(layout, found, { name: request.name, digest: resolved.digest, workDir }, watch)
      } finally {
        await registry.close()
      }
    })

  /** As `bring`, but a blob that has rotted in the cache is fetched again instead of failing for ever. */
  const bringSound = async (request: PullRequest, resolved: Resolved, watch: CopyWatch): Promise<HostImage> => {
    try {
      return await bring(request, resolved, watch)
    } catch (error) {
      if (!(error instanceof BerthError) || error.code !== 'invalid_archive') throw error
      const dropped = await dropDamagedBlobs(paths.blobs, (resolved.blobs ?? []).map((blob) => digestHex(blob.digest)))
      if (dropped === 0) throw error
      log.warn({ image: request.name, dropped }, 'damaged blobs in the image cache; fetching them again')
      return await bring(request, resolved, watch)
    }
  }

  const pull = (request: PullRequest): Promise<HostImage> =>
    accounted(request.name, async (close) => {
      const startedAt = performance.now()
      const asker: CopyWatch = { signal: AbortSignal.any([request.signal, close]), onProgress: request.onProgress, minFreeBytes }
      return await inTurn(asker, async () => {
        asker.onProgress({ status: 'pulling', fraction: null })
        const resolved = await inWorkDir((workDir) => resolve(request, workDir, asker.signal))
        const there = shelf.get(resolved.digest)
        if (there !== null) return there
        const image = await shared.run(resolved.digest, asker, (all) => bringSound(request, resolved, { ...all, minFreeBytes }))
        log.info({ image: request.name, digest: image.digest, ms: Math.round(performance.now() - startedAt) }, 'image pulled')
        return image
      })
    })

  const resolve = async (request: PullRequest, workDir: string, signal: AbortSignal): Promise<Resolved> => {
    const registry = await openRegistry(request, { workDir, insecureRegistries })
    try {
      return await resolveName(registry, { platform: request.platform, signal })
    } finally {
      await registry.close()
    }
  }

  const importArchive: ImageStore['import'] = (archive, onProgress, signal) =>
    accounted(ARCHIVE_NAME, (close) =>
      inWorkDir(async (workDir) => {
        const watch: CopyWatch = { signal: signal === undefined ? close : AbortSignal.any([signal, close]), onProgress, minFreeBytes }
        const file = join(workDir, 'archive.tar')
        if (uploads >= UPLOADS_LIMIT) {
          throw new BerthError('limit_exceeded', `More than ${UPLOADS_LIMIT} archives are being sent at once; try again later.`)
        }
        uploads += 1
        try {
          onProgress({ status: 'pulling', fraction: null })
          const checkSpace = () => checkRoom(workDir, 0, minFreeBytes)
          await spoolArchive(archive, file, { limitBytes: options.archiveLimitBytes ?? ARCHIVE_LIMIT_BYTES, checkRoom: checkSpace, signal: watch.signal })
        } finally {
          uploads -= 1
        }
        return await inTurn(watch, async () => {
          const layout = await fetchArchive(file, { workDir, paths, watch })
          const found = await readLayout(layout)
          checkPlatform(ARCHIVE_NAME, found.platform, parsePlatform(null))
          return shelf.get(found.digest) ?? (await convert(layout, found, { name: ARCHIVE_NAME, digest: found.digest, workDir }, watch))
        })
      }),
    )

  const knownBuiltIn = async (busybox: Busybox): Promise<HostImage | null> => {
    const known = await readBuiltInRecord(paths.builtInRecord, busybox)
    return known === null ? null : shelf.get(known)
  }

  const makeBuiltIn = async (): Promise<HostImage> => {
    const busybox = await findBusybox(options.busyboxPath ?? null)
    const there = await knownBuiltIn(busybox)
    if (there !== null) return there
    return await accounted(BUILT_IN_NAME, (close) =>
      inWorkDir(async (workDir) => {
        const watch: CopyWatch = { signal: close, onProgress: () => undefined, minFreeBytes }
        const layout = await buildBusybox(busybox, workDir, watch.signal)
        const found = await readLayout(layout)
        const image = shelf.get(found.digest) ?? (await convert(layout, found, { name: BUILT_IN_NAME, digest: found.digest, workDir }, watch))
        await replaceFile(paths.builtInRecord, JSON.stringify({ digest: image.digest, madeFrom: busybox.fingerprint }))
        return image
      }),
    )
  }

  const store: ImageStore = {
    pull: (request) => (request.name === BUILT_IN_NAME ? store.builtIn() : pull(request)),
    import: importArchive,
    // Without a busybox there is none.
    madeBuiltIn: async () => await findBusybox(options.busyboxPath ?? null).then(knownBuiltIn, () => null),
    async builtIn() {
      if (builtIn === null) {
        const making = makeBuiltIn()
        builtIn = making
        making.catch(() => {
          builtIn = null
        })
      }
      const image = await builtIn
      if (shelf.get(image.digest) !== null) return image
      // Removed since.
      builtIn = null
      return await store.builtIn()
    },
    list: () => shelf.list(),
    get: (digest) => shelf.get(digest),
    rootPath(digest) {
      if (shelf.get(digest) === null) throw new BerthError('image_not_found', `This host has no image ${digest}; pull it first.`)
      return paths.image(digest).root
    },
    async remove(digest) {
      for (const hex of await shelf.take(digest)) unwanted.add(hex)
      await sweep()
    },
    async diskUse() {
      const imagesBytes = shelf.list().reduce((sum, image) => sum + image.sizeBytes, 0)
      return { imagesBytes, imageCacheBytes: await blobsBytes(paths.blobs) }
    },
    queue: () => queue.state(),
    async close() {
      closing.abort()
      await Promise.allSettled(active)
      await sweeping
    },
  }
  await sweep()
  return store
}

/** An image of one platform only, which isn't the wanted one, would fail at its first instruction: better say so now. */
function checkPlatform(name: string, actual: Platform | null, wanted: Platform): void {
  if (actual === null || (actual.os === wanted.os && actual.architecture === wanted.architecture)) return
  throw new BerthError(
    'image_not_found',
    `${name} is made for ${platformText(actual)} and does not exist for ${platformText(wanted)}.`,
  )
}

/** The digest that was made from this very busybox, or null. */
async function readBuiltInRecord(path: string, busybox: Busybox): Promise<ImageDigest | null> {
  try {
    const record: unknown = JSON.parse(await readFile(path, 'utf8'))
    if (typeof record !== 'object' || record === null || !('madeFrom' in record) || !('digest' in record)) return null
    return record.madeFrom === busybox.fingerprint ? parseDigest(record.digest) : null
  } catch {
    // Not made yet, or unreadable: it is made again.
    return null
  }
}

function shuttingDown(cause?: unknown): BerthError {
  return new BerthError('shutting_down', 'The host is shutting down; try again when it is back.', cause === undefined ? {} : { cause })
}
