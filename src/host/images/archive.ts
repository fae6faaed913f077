/**
 * Brings an image from a tar (an OCI archive, or what `docker save` writes) into the blob cache, through skopeo.
 * Which of the two it is, its list of contents tells; of several images in one archive the first is taken.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import type { Transform } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import { createGunzip, createZstdDecompress } from 'node:zlib'
import { BerthError } from '../../instance/errors.ts'
import { watchArrival, type CopyWatch } from './arrival.ts'
import { imageFailure } from './image-failure.ts'
import type { ImagePaths } from './image-paths.ts'
import { damaged, DOCUMENT_LIMIT_BYTES, parseManifest } from './manifest.ts'
import { makeLayout, type Layout } from './oci-layout.ts'
import { COPY_FLAGS, policyFlags } from './registry.ts'
import { runTool, ToolFailure } from './tool.ts'

const LIST_DEADLINE_MS = 10 * 60_000
const COPY_DEADLINE_MS = 30 * 60_000
/** How the archive is called in messages: a stream has no name. */
export const ARCHIVE_NAME = 'the archive'

/** How much is written between two looks at the disk. */
const ROOM_CHECK_EVERY_BYTES = 16 * 1024 * 1024

/**
 * Writes a stream to a file, gzip and zstd opened (skopeo trips over compressed `docker save` archives);
 * `archive_too_large` beyond the limit, which holds for what is written.
 */
export async function spoolArchive(
  archive: AsyncIterable<Uint8Array>,
  path: string,
  options: { readonly limitBytes: number; readonly checkRoom: () => Promise<void>; readonly signal: AbortSignal },
): Promise<{ readonly sizeBytes: number }> {
  await using file = await open(path, 'wx', 0o600)
  const chunks = untilAborted(archive, options.signal)
  const first = await firstBytes(chunks)
  const opener = openerOf(first)
  let sizeBytes = 0
  let checkedBytes = 0
  const write = async (source: AsyncIterable<Uint8Array>) => {
    for await (const chunk of source) {
      sizeBytes += chunk.length
      if (sizeBytes > options.limitBytes) {
        throw new BerthError('archive_too_large', `The archive is larger than the ${options.limitBytes} bytes that this host accepts.`)
      }
      if (sizeBytes - checkedBytes > ROOM_CHECK_EVERY_BYTES) {
        await options.checkRoom()
        checkedBytes = sizeBytes
      }
      await file.writeFile(chunk)
    }
  }
  const source = withFirst(first, chunks)
  try {
    if (opener === null) await write(source)
    else await pipeline(source, opener, write)
  } catch (error) {
    if (error instanceof Error && 'errno' in error && 'code' in error && /^Z_|^ZSTD_/.test(String(error.code))) {
      throw damaged('The archive is compressed, and damaged or cut off.', error)
    }
    throw error
  }
  if (sizeBytes === 0) throw damaged('The archive is empty.')
  return { sizeBytes }
}

/** As many bytes as it takes to tell how they are packed, or all there are. */
async function firstBytes(chunks: AsyncGenerator<Uint8Array>): Promise<Buffer> {
  let first = Buffer.alloc(0)
  while (first.length < 4) {
    const next = await chunks.next()
    if (next.done === true) break
    first = Buffer.concat([first, next.value])
  }
  return first
}

async function* withFirst(first: Uint8Array, rest: AsyncIterable<Uint8Array>): AsyncGenerator<Uint8Array> {
  if (first.length > 0) yield first
  yield* rest
}

/** gzip starts with 1f 8b, zstd with 28 b5 2f fd; a tar with the name of its first file. */
function openerOf(first: Buffer): Transform | null {
  if (first.length < 4) return null
  if (first.readUInt16BE(0) === 0x1f8b) return createGunzip()
  return first.readUInt32BE(0) === 0x28b52ffd ? createZstdDecompress() : null
}

/** The same chunks, but a sender that has fallen silent keeps nobody waiting after an abort. */
async function* untilAborted(archive: AsyncIterable<Uint8Array>, signal: AbortSignal): AsyncGenerator<Uint8Array> {
  const chunks = archive[Symbol.asyncIterator]()
  const aborted = Promise.withResolvers<never>()
  const onAbort = () => aborted.reject(new BerthError('cancelled', 'The import was cancelled.'))
  if (signal.aborted) onAbort()
  signal.addEventListener('abort', onAbort, { once: true })
  try {
    for (;;) {
      const next = await Promise.race([chunks.next(), aborted.promise])
      if (next.done === true) return
      yield next.value
    }
  } finally {
    signal.removeEventListener('abort', onAbort)
    // Not awaited: a generator that waits for its sender answers only when that one does.
    chunks.return?.().catch(() => undefined)
  }
}

/** Copies the archive's image into the cache and gives an OCI layout that shows it. */
export async function fetchArchive(
  file: string,
  options: { readonly workDir: string; readonly paths: ImagePaths; readonly watch: CopyWatch },
): Promise<Layout> {
  const source = await sourceOf(file, options.workDir, options.watch.signal)
  const layout = await makeLayout(join(options.workDir, 'layout'), options.paths.blobs)
  await using arrival = watchArrival(ARCHIVE_NAME, layout, null, options)
  try {
    await runTool({
      tool: 'skopeo',
      args: [...(await policyFlags()), '--tmpdir', options.workDir, 'copy', ...COPY_FLAGS, source, layout.reference],
      workDir: options.workDir,
      deadlineMs: COPY_DEADLINE_MS,
      signal: arrival.signal,
    })
  } catch (error) {
    throw imageFailure('import', ARCHIVE_NAME, error)
  }
  return layout
}

/** skopeo's reference to the archive's image. */
async function sourceOf(file: string, workDir: string, signal: AbortSignal): Promise<string> {
  const names = await listNames(file, workDir, signal)
  // `docker save` of today writes both; its own manifest is then the plainer one.
  if (names.has('manifest.json')) {
    return `docker-archive:${file}:@0`
  }
  const index = names.get('index.json')
  if (!names.has('oci-layout') || index === undefined) {
    throw damaged('The archive is neither an OCI archive nor what `docker save` writes.')
  }
  const manifest = parseManifest(await extract(file, index, workDir, signal))
  const entries = manifest.kind === 'index' ? manifest.entries : []
  const [first] = entries
  if (first === undefined) throw damaged('The archive holds no image.')
  if (entries.length === 1) return `oci-archive:${file}`
  if (first.refName === null) {
    throw damaged(`The archive holds ${entries.length} images without names; export just one.`)
  }
  return `oci-archive:${file}:${first.refName}`
}

/** Names of the top level, without a leading `./`, and how the archive spells them. */
async function listNames(file: string, workDir: string, signal: AbortSignal): Promise<ReadonlyMap<string, string>> {
  try {
    const listing = await runTool({ tool: 'tar', args: ['--list', '--file', file], workDir, deadlineMs: LIST_DEADLINE_MS, signal })
    const names = listing.toString('utf8').split('\n')
    return new Map(names.filter((name) => name !== '').map((name) => [name.replace(/^\.\//, ''), name]))
  } catch (error) {
    throw notATar(error)
  }
}

async function extract(file: string, name: string, workDir: string, signal: AbortSignal): Promise<Buffer> {
  try {
    return await runTool({
      tool: 'tar',
      args: ['--extract', '--to-stdout', '--occurrence=1', '--file', file, '--', name],
      workDir,
      deadlineMs: LIST_DEADLINE_MS,
      stdoutLimitBytes: DOCUMENT_LIMIT_BYTES,
      signal,
    })
  } catch (error) {
    throw notATar(error)
  }
}

function notATar(error: unknown): BerthError {
  if (error instanceof ToolFailure && error.why === 'exit') return damaged('The archive is not a complete tar file: give an OCI archive, or what "docker save" wrote.', error)
  if (error instanceof ToolFailure && error.why === 'too-much-output') return damaged('The archive holds far too many files for an image.', error)
  return imageFailure('import', ARCHIVE_NAME, error)
}
