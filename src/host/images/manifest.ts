/**
 * What Berth reads in OCI and Docker manifests and image configs. Pure; everything that comes from a registry
 * or an archive is checked before it is believed.
 */
import { createHash } from 'node:crypto'
import { BerthError } from '../../instance/errors.ts'
import type { ImageConfig, ImageDigest } from '../../instance/model.ts'

/** What a manifest or a config may weigh; registries refuse more than 4 MiB. */
export const DOCUMENT_LIMIT_BYTES = 8 * 1024 * 1024
/** No real image has more; the kernel's overlay of container engines ends at 128. */
const LAYERS_LIMIT = 512

export interface Blob {
  readonly digest: ImageDigest
  readonly sizeBytes: number
}

export interface Platform {
  readonly os: string
  readonly architecture: string
  readonly variant: string | null
}

export type Manifest =
  | { readonly kind: 'image'; readonly config: Blob; readonly layers: readonly Blob[] }
  | { readonly kind: 'index'; readonly entries: readonly IndexEntry[] }
  /** Docker's first schema, which skopeo converts: sizes are not known. */
  | { readonly kind: 'other' }

export interface IndexEntry {
  readonly digest: ImageDigest
  readonly platform: Platform | null
  /** `org.opencontainers.image.ref.name`, which archives use. */
  readonly refName: string | null
}

/** `sha256:` and 64 hex digits, or null. */
export function parseDigest(text: unknown): ImageDigest | null {
  return typeof text === 'string' && /^sha256:[0-9a-f]{64}$/.test(text) ? (text as ImageDigest) : null
}

export function digestOf(bytes: Uint8Array): ImageDigest {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}` as ImageDigest
}

/** The 64 hex digits: how files are named. */
export function digestHex(digest: ImageDigest): string {
  return digest.slice('sha256:'.length)
}

export function parseManifest(bytes: Uint8Array): Manifest {
  const document = parseObject(bytes, 'manifest')
  if (Array.isArray(document['manifests'])) {
    return { kind: 'index', entries: document['manifests'].map(parseIndexEntry) }
  }
  if (!Array.isArray(document['layers'])) return { kind: 'other' }
  if (document['layers'].length > LAYERS_LIMIT) throw damaged(`The image has more than ${LAYERS_LIMIT} layers.`)
  return { kind: 'image', config: parseBlob(document['config']), layers: document['layers'].map(parseBlob) }
}

/** The blobs of an image, each once. */
export function distinctBlobs(blobs: readonly Blob[]): readonly Blob[] {
  return [...new Map(blobs.map((blob) => [blob.digest, blob])).values()]
}

/** The entry that fits best: the same variant, then one that names none, then any of the architecture. */
export function choosePlatform(entries: readonly IndexEntry[], wanted: Platform): IndexEntry | null {
  const fitting = entries.filter((entry) => entry.platform?.os === wanted.os && entry.platform.architecture === wanted.architecture)
  const exact = fitting.find((entry) => entry.platform?.variant === wanted.variant)
  if (exact !== undefined || wanted.variant !== null) return exact ?? fitting.find((entry) => entry.platform?.variant === null) ?? null
  return fitting[0] ?? null
}

/** `linux/amd64`, `linux/arm64/v8`; null is this machine's. */
export function parsePlatform(text: string | null): Platform {
  if (text === null) return { os: 'linux', architecture: hostArchitecture(), variant: null }
  const parts = text.split('/')
  const [os, architecture, variant] = parts
  const fine = parts.length <= 3 && parts.every((part) => /^[a-z0-9_.-]{1,32}$/.test(part))
  if (!fine || os === undefined || architecture === undefined) {
    throw new BerthError('invalid_request', `The platform "${text.slice(0, 80)}" is not of the form linux/amd64 or linux/arm64/v8.`, {
      details: { field: 'platform' },
    })
  }
  return { os, architecture, variant: variant ?? null }
}

export function platformText(platform: Platform): string {
  return [platform.os, platform.architecture, ...(platform.variant === null ? [] : [platform.variant])].join('/')
}

export interface ParsedConfig {
  readonly config: ImageConfig
  /** What it was built for, as far as it says. */
  readonly platform: Platform | null
}

/** An unset working directory is `/`, an unset user is `0`: what a container engine would do. */
export function parseImageConfig(bytes: Uint8Array): ParsedConfig {
  const document = parseObject(bytes, 'image config')
  const config = isObject(document['config']) ? document['config'] : {}
  const { os, architecture, variant } = document
  return {
    config: {
      entrypoint: strings(config['Entrypoint'], 'Entrypoint'),
      cmd: strings(config['Cmd'], 'Cmd'),
      env: Object.fromEntries(strings(config['Env'], 'Env').map(splitEnv)),
      workingDir: text(config['WorkingDir']) ?? '/',
      user: text(config['User']) ?? '0',
      stopSignal: text(config['StopSignal']),
      exposedPorts: isObject(config['ExposedPorts']) ? Object.keys(config['ExposedPorts']).sort() : [],
    },
    platform:
      text(os) === null || text(architecture) === null
        ? null
        : { os: String(os), architecture: String(architecture), variant: text(variant) },
  }
}

export function damaged(message: string, cause?: unknown): BerthError {
  return new BerthError('invalid_archive', message, cause === undefined ? {} : { cause })
}

function hostArchitecture(): string {
  return process.arch === 'x64' ? 'amd64' : process.arch
}

function parseIndexEntry(value: unknown): IndexEntry {
  const digest = isObject(value) ? parseDigest(value['digest']) : null
  if (!isObject(value) || digest === null) throw damaged('The image index names a manifest without a sha256 digest.')
  const platform = isObject(value['platform']) ? value['platform'] : null
  const annotations = isObject(value['annotations']) ? value['annotations'] : {}
  return {
    digest,
    platform:
      platform === null
        ? null
        : {
            os: text(platform['os']) ?? 'unknown',
            architecture: text(platform['architecture']) ?? 'unknown',
            variant: text(platform['variant']),
          },
    refName: text(annotations['org.opencontainers.image.ref.name']),
  }
}

function parseBlob(value: unknown): Blob {
  const digest = isObject(value) ? parseDigest(value['digest']) : null
  if (!isObject(value) || digest === null) throw damaged('The image manifest names a blob without a sha256 digest.')
  const size = value['size']
  return { digest, sizeBytes: typeof size === 'number' && Number.isSafeInteger(size) && size > 0 ? size : 0 }
}

function parseObject(bytes: Uint8Array, what: string): Record<string, unknown> {
  if (bytes.length > DOCUMENT_LIMIT_BYTES) throw damaged(`The ${what} is larger than ${DOCUMENT_LIMIT_BYTES} bytes.`)
  let value: unknown
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'))
  } catch (cause) {
    throw damaged(`The ${what} is not JSON.`, cause)
  }
  if (!isObject(value)) throw damaged(`The ${what} is not a JSON object.`)
  return value
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}

function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null
}

function strings(value: unknown, what: string): readonly string[] {
  if (value === undefined || value === null) return []
  if (Array.isArray(value) && value.every((item) => typeof item === 'string')) return value
  throw damaged(`The image config's ${what} is not a list of strings.`)
}

function splitEnv(line: string): readonly [string, string] {
  const at = line.indexOf('=')
  return at === -1 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)]
}
