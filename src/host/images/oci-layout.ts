/**
 * An OCI image layout whose blobs are the shared cache: `blobs` is a link to it, so that skopeo finds there
 * what earlier pulls have brought, and umoci reads the image as if it were all its own.
 */
import { mkdir, open, readFile, symlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { ImageDigest } from '../../instance/model.ts'
import {
  damaged,
  digestHex,
  digestOf,
  distinctBlobs,
  DOCUMENT_LIMIT_BYTES,
  parseImageConfig,
  parseManifest,
  type Blob,
  type ParsedConfig,
} from './manifest.ts'

/** The tag inside of the layout; nobody outside sees it. */
const TAG = 'berth'

export interface Layout {
  readonly dir: string
  /** For skopeo. */
  readonly reference: string
  /** For umoci. */
  readonly image: string
}

export interface LayoutImage extends ParsedConfig {
  /** Of the manifest in the layout, which skopeo may have converted from Docker's schema. */
  readonly digest: ImageDigest
  /** Manifest, config and layers. */
  readonly blobs: readonly Blob[]
}

export async function makeLayout(dir: string, blobs: string): Promise<Layout> {
  await mkdir(join(blobs, 'sha256'), { recursive: true, mode: 0o700 })
  await mkdir(dir, { recursive: true, mode: 0o700 })
  await symlink(blobs, join(dir, 'blobs'))
  return layoutAt(dir)
}

function layoutAt(dir: string): Layout {
  return { dir, reference: `oci:${dir}:${TAG}`, image: `${dir}:${TAG}` }
}

/** The one image of a layout that skopeo has just written. */
export async function readLayout(layout: Layout): Promise<LayoutImage> {
  const index = parseManifest(await readDocument(join(layout.dir, 'index.json')))
  const entry = index.kind === 'index' ? index.entries.find((candidate) => candidate.refName === TAG) : undefined
  if (entry === undefined) throw damaged('The image has no manifest.')
  const manifestBytes = await readBlob(layout, entry.digest)
  const manifest = parseManifest(manifestBytes)
  if (manifest.kind !== 'image') throw damaged('The image has no list of layers.')
  const config = parseImageConfig(await readBlob(layout, manifest.config.digest))
  const own: Blob = { digest: entry.digest, sizeBytes: manifestBytes.length }
  return { ...config, digest: entry.digest, blobs: distinctBlobs([own, manifest.config, ...manifest.layers]) }
}

function readBlob(layout: Layout, digest: ImageDigest): Promise<Buffer> {
  return readDocument(join(layout.dir, 'blobs', 'sha256', digestHex(digest)))
}

async function readDocument(path: string): Promise<Buffer> {
  await using file = await open(path)
  const { size } = await file.stat()
  if (size > DOCUMENT_LIMIT_BYTES) throw damaged(`A manifest or config of the image is larger than ${DOCUMENT_LIMIT_BYTES} bytes.`)
  return await file.readFile()
}

/** Writes an image of one layer: blobs go to the layout's own directory. Same input, same digests. */
export async function writeLayout(dir: string, layerTar: string, config: object): Promise<Layout> {
  const blobs = join(dir, 'blobs', 'sha256')
  await mkdir(blobs, { recursive: true, mode: 0o700 })
  const put = async (bytes: Uint8Array) => {
    const digest = digestOf(bytes)
    await writeFile(join(blobs, digestHex(digest)), bytes)
    return { digest, size: bytes.length }
  }
  const layer = await put(await readFile(layerTar))
  const configBlob = await put(json({ ...config, rootfs: { type: 'layers', diff_ids: [layer.digest] } }))
  const manifest = await put(
    json({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...configBlob },
      layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...layer }],
    }),
  )
  const entry = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    ...manifest,
    annotations: { 'org.opencontainers.image.ref.name': TAG },
  }
  await writeFile(join(dir, 'index.json'), json({ schemaVersion: 2, manifests: [entry] }))
  await writeFile(join(dir, 'oci-layout'), json({ imageLayoutVersion: '1.0.0' }))
  return layoutAt(dir)
}

function json(value: object): Buffer {
  return Buffer.from(JSON.stringify(value))
}
