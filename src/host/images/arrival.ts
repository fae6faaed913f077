/**
 * Watches a copy that runs: tells how far it is, ends it when nothing arrives any more, and ends it before it
 * takes the last of the disk from the instances that run there.
 */
import { lstat, readdir, stat, statfs } from 'node:fs/promises'
import { join } from 'node:path'
import type { PullProgress } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import { registryHost } from './image-failure.ts'
import type { ImagePaths } from './image-paths.ts'
import type { Blob } from './manifest.ts'
import type { Layout } from './oci-layout.ts'

const LOOK_EVERY_MS = 200
/** How long a registry may send nothing at all. */
const STALL_LIMIT_MS = 2 * 60_000

export interface CopyWatch {
  readonly signal: AbortSignal
  readonly onProgress: (progress: PullProgress) => void
  /** What must stay free on the disk. */
  readonly minFreeBytes: number
}

export interface Watched extends AsyncDisposable {
  /** Aborts when the asker's does, or with a catalogue error as its reason. */
  readonly signal: AbortSignal
}

/** Watches bytes arrive in the cache and in `layout`, where skopeo keeps what is half there. */
export function watchArrival(
  name: string,
  layout: Layout,
  blobs: readonly Blob[] | null,
  options: { readonly paths: ImagePaths; readonly watch: CopyWatch },
): Watched {
  const { paths, watch } = options
  const totalBytes = (blobs ?? []).reduce((sum, blob) => sum + blob.sizeBytes, 0)
  let seenBytes = -1
  let seenAt = performance.now()
  let fraction = 0
  return repeat(paths.images, watch, async (stop) => {
    const whole = await Promise.all((blobs ?? []).map((blob) => sizeOf(paths.blob(blob.digest))))
    const arrivedBytes = whole.reduce((sum, bytes) => sum + bytes, 0) + (await halfThere(layout))
    if (arrivedBytes !== seenBytes) {
      seenBytes = arrivedBytes
      seenAt = performance.now()
    } else if (performance.now() - seenAt > STALL_LIMIT_MS) {
      stop(new BerthError('registry_unreachable', `The registry ${registryHost(name)} stopped sending ${name}; try again.`))
    }
    // A layer that is recompressed on arrival can be smaller or larger than announced.
    fraction = totalBytes === 0 ? 0 : Math.max(fraction, Math.min(1, arrivedBytes / totalBytes))
    watch.onProgress({ status: 'pulling', fraction: totalBytes === 0 ? null : fraction })
  })
}

/** Watches only the disk. */
export function watchDisk(dir: string, watch: Omit<CopyWatch, 'onProgress'>): Watched {
  return repeat(dir, watch, async () => undefined)
}

/** What has still to come of an image. */
export async function missingBytes(blobs: readonly Blob[], paths: ImagePaths): Promise<number> {
  const there = await Promise.all(blobs.map((blob) => sizeOf(paths.blob(blob.digest))))
  return blobs.reduce((sum, blob, index) => sum + (there[index] === 0 ? blob.sizeBytes : 0), 0)
}

/** Throws `disk_full` unless `neededBytes` fit and still leave what must stay free. */
export async function checkRoom(dir: string, neededBytes: number, minFreeBytes: number): Promise<void> {
  const { bavail, bsize } = await statfs(dir)
  if (bavail * bsize < neededBytes + minFreeBytes) throw diskFull()
}

function repeat(
  dir: string,
  watch: { readonly signal: AbortSignal; readonly minFreeBytes: number },
  look: (stop: (error: BerthError) => void) => Promise<void>,
): Watched {
  const controller = new AbortController()
  const stop = (error: BerthError) => controller.abort(error)
  let busy: Promise<void> = Promise.resolve()
  let looking = false
  const once = async () => {
    if (looking) return
    looking = true
    try {
      await checkRoom(dir, 0, watch.minFreeBytes)
      await look(stop)
    } catch (error) {
      // What can't be looked at now (a file that was just renamed) is looked at next time.
      if (error instanceof BerthError) stop(error)
    } finally {
      looking = false
    }
  }
  const timer = setInterval(() => {
    busy = once()
  }, LOOK_EVERY_MS)
  return {
    signal: AbortSignal.any([watch.signal, controller.signal]),
    async [Symbol.asyncDispose]() {
      clearInterval(timer)
      await busy
    },
  }
}

async function sizeOf(path: string): Promise<number> {
  try {
    return (await stat(path)).size
  } catch {
    return 0
  }
}

/** skopeo writes each blob to a file of its own in the layout before it moves it to the cache. */
async function halfThere(layout: Layout): Promise<number> {
  const names = (await readdir(layout.dir)).filter((name) => name.startsWith('oci-put-blob'))
  const sizes = await Promise.all(names.map(async (name) => (await lstat(join(layout.dir, name))).size))
  return sizes.reduce((sum, bytes) => sum + bytes, 0)
}

function diskFull(): BerthError {
  return new BerthError('disk_full', 'The host has too little disk left for this image; free some space (`berth images rm`) and try again.')
}
