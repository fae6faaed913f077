/**
 * Brings an image from a tar (an OCI archive, or what `docker save` writes) into the blob cache, through skopeo.
 * Which of the two it is, its list of contents tells; of several images in one archive the first is taken.
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { BerthError } from '../../instance/errors.ts'
import { watchArrival, type CopyWatch } from './arrival.ts'
import { imageFailure } from './image-failure.ts'
import type { ImagePaths } from './image-paths.ts'
import { damaged, DOCUMENT_LIMIT_BYTES, parseManifest } from './manifest.ts'
import { makeLayout, type Layout } from './oci-layout.ts'
import { policyFlags } from './registry.ts'
import { runTool, ToolFailure } from './tool.ts'

const LIST_DEADLINE_MS = 10 * 60_000
const COPY_DEADLINE_MS = 30 * 60_000
/** How the archive is called in messages: a stream has no name. */
export const ARCHIVE_NAME = 'the archive'

/** Writes a stream to a file; `archive_too_large` beyond the limit. */
export async function spoolArchive(
  archive: AsyncIterable<Uint8Array>,
  path: string,
  options: { readonly limitBytes: number; readonly checkRoom: () => Promise<void>; readonly signal: AbortSignal },
): Promise<{ readonly sizeBytes: number }> {
  await using file = await open(path, 'wx', 0o600)
  let sizeBytes = 0
  let checkedBytes = 0
  for await (const chunk of untilAborted(archive, options.signal)) {
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
  if (sizeBytes === 0) throw damaged('The archive is empty.')
  return { sizeBytes }
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

const ROOM_CHECK_EVERY_BYTES = 16 * 1024 * 1024

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
      args: [
        ...(await policyFlags()),
        ...['--tmpdir', options.workDir, 'copy', '--quiet', '--remove-signatures', ...source.flags],
        source.reference,
        layout.reference,
      ],
      workDir: options.workDir,
      deadlineMs: COPY_DEADLINE_MS,
      signal: arrival.signal,
    })
  } catch (error) {
    throw imageFailure('import', ARCHIVE_NAME, error)
  }
  return layout
}

interface Source {
  readonly reference: string
  readonly flags: readonly string[]
}

async function sourceOf(file: string, workDir: string, signal: AbortSignal): Promise<Source> {
  const names = await listNames(file, workDir, signal)
  // `docker save` of today writes both; its own manifest is then the plainer one.
  if (names.has('manifest.json')) {
    return { reference: `docker-archive:${file}:@0`, flags: ['--dest-oci-accept-uncompressed-layers'] }
  }
  const index = names.get('index.json')
  if (!names.has('oci-layout') || index === undefined) {
    throw damaged('The archive is neither an OCI archive nor what `docker save` writes.')
  }
  const manifest = parseManifest(await extract(file, index, workDir, signal))
  const entries = manifest.kind === 'index' ? manifest.entries : []
  const [first] = entries
  if (first === undefined) throw damaged('The archive holds no image.')
  if (entries.length === 1) return { reference: `oci-archive:${file}`, flags: ['--dest-compress-format', 'gzip'] }
  if (first.refName === null) {
    throw damaged(`The archive holds ${entries.length} images without names; export just one.`)
  }
  return { reference: `oci-archive:${file}:${first.refName}`, flags: ['--dest-compress-format', 'gzip'] }
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
  if (error instanceof ToolFailure && error.why === 'exit') return damaged('The archive is not a complete tar file.', error)
  if (error instanceof ToolFailure && error.why === 'too-much-output') return damaged('The archive holds far too many files for an image.', error)
  return imageFailure('import', ARCHIVE_NAME, error)
}
