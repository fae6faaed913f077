/**
 * Brings an image from a registry into the blob cache, through skopeo.
 *
 * First its manifest is read (which digest does the tag mean, which layers are missing, how large are they),
 * then it is copied by digest, so that a tag that moves meanwhile changes nothing.
 * Credentials travel in a 0600 file, never in an argument list that every process of the machine could read.
 */
import { access, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { PullRequest } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { ImageDigest } from '../../instance/model.ts'
import { checkRoom, missingBytes, watchArrival, type CopyWatch } from './arrival.ts'
import { imageFailure, registryHost } from './image-failure.ts'
import type { ImagePaths } from './image-paths.ts'
import {
  choosePlatform,
  damaged,
  digestOf,
  distinctBlobs,
  DOCUMENT_LIMIT_BYTES,
  parseDigest,
  parseManifest,
  parsePlatform,
  platformText,
  type Blob,
} from './manifest.ts'
import { bearerRelay } from './bearer-relay.ts'
import { makeLayout, type Layout } from './oci-layout.ts'
import { runTool } from './tool.ts'

/** Reading a manifest; it is a few kilobytes. */
const RESOLVE_DEADLINE_MS = 60_000
/** A whole image, however slow the line, as long as bytes keep coming (see arrival.ts). */
const COPY_DEADLINE_MS = 2 * 60 * 60_000
/** An index that points to an index that points to … */
const INDEX_DEPTH_LIMIT = 3
/** Signatures have no place in a layout, and umoci reads gzip and plain tar but not zstd. */
export const COPY_FLAGS = ['--quiet', '--remove-signatures', '--dest-compress-format', 'gzip'] as const
const SYSTEM_POLICY = '/etc/containers/policy.json'

/** How to talk to the registry of one pull. Ends with `close`. */
export interface RegistryAccess {
  readonly name: string
  /** `docker://` reference without tag and digest. */
  readonly repository: string
  /** `:tag` or `@sha256:…`, as asked for. */
  readonly wanted: string
  /** skopeo's options for this registry, without their dashes (`copy` wants them as `--src-…`). */
  readonly options: readonly string[]
  readonly workDir: string
  close(): Promise<void>
}

/** What a name means right now. */
export interface Resolved {
  /** The manifest of one platform, as the registry serves it. */
  readonly digest: ImageDigest
  /** null where the manifest doesn't tell. */
  readonly blobs: readonly Blob[] | null
}

export async function openRegistry(
  request: Pick<PullRequest, 'name' | 'credentials'>,
  options: { readonly workDir: string; readonly insecureRegistries: readonly string[] },
): Promise<RegistryAccess> {
  const host = registryHost(request.name)
  const { repository, wanted } = splitName(request.name)
  const insecure = isInsecure(host, options.insecureRegistries)
  const { credentials } = request
  const about = { name: request.name, wanted, workDir: options.workDir }
  if (credentials !== null && 'token' in credentials) {
    const relay = await bearerRelay({ host, token: credentials.token, insecure })
    return {
      ...about,
      repository: `docker://${relay.host}${repository.slice(host.length)}`,
      options: ['no-creds', 'tls-verify=false'],
      close: () => relay.close(),
    }
  }
  const login = credentials === null ? 'no-creds' : `authfile=${await writeAuthFile(options.workDir, host, credentials)}`
  return {
    ...about,
    repository: `docker://${repository}`,
    options: [`tls-verify=${insecure ? 'false' : 'true'}`, login],
    close: async () => undefined,
  }
}

/** Which manifest the name means for the platform. */
export async function resolveName(registry: RegistryAccess, request: Pick<PullRequest, 'platform' | 'signal'>): Promise<Resolved> {
  const platform = parsePlatform(request.platform)
  let reference = `${registry.repository}${registry.wanted}`
  for (let depth = 0; depth < INDEX_DEPTH_LIMIT; depth += 1) {
    const raw = await readManifest(registry, reference, request.signal)
    const manifest = parseManifest(raw)
    if (manifest.kind !== 'index') {
      const digest = digestOf(raw)
      const blobs = manifest.kind === 'image' ? distinctBlobs([manifest.config, ...manifest.layers]) : null
      return { digest, blobs }
    }
    const entry = choosePlatform(manifest.entries, platform)
    if (entry === null) {
      const offered = manifest.entries.flatMap((candidate) => (candidate.platform === null ? [] : [platformText(candidate.platform)]))
      const known = [...new Set(offered)].filter((text) => !text.startsWith('unknown/')).slice(0, 10)
      throw new BerthError(
        'image_not_found',
        `${registry.name} does not exist for ${platformText(platform)}; it is made for ${known.join(', ') || 'no platform that it names'}.`,
      )
    }
    reference = `${registry.repository}@${entry.digest}`
  }
  throw damaged(`The index of ${registry.name} is nested too deeply.`)
}

/** Copies what is missing into the cache and gives an OCI layout that shows the image. */
export async function fetchImage(
  registry: RegistryAccess,
  resolved: Resolved,
  options: { readonly paths: ImagePaths; readonly watch: CopyWatch },
): Promise<Layout> {
  const layout = await makeLayout(join(registry.workDir, 'layout'), options.paths.blobs)
  await checkRoom(options.paths.blobs, await missingBytes(resolved.blobs ?? [], options.paths), options.watch.minFreeBytes)
  await using arrival = watchArrival(registry.name, layout, resolved.blobs, options)
  try {
    await runTool({
      tool: 'skopeo',
      args: [
        ...(await policyFlags()),
        'copy',
        ...COPY_FLAGS,
        ...registry.options.map((option) => `--src-${option}`),
        `${registry.repository}@${resolved.digest}`,
        layout.reference,
      ],
      workDir: registry.workDir,
      deadlineMs: COPY_DEADLINE_MS,
      signal: arrival.signal,
    })
  } catch (error) {
    throw imageFailure('pull', registry.name, error)
  }
  return layout
}

/** The operator's signature policy where there is one; otherwise any image is welcome. */
export async function policyFlags(): Promise<readonly string[]> {
  try {
    await access(SYSTEM_POLICY)
    return []
  } catch {
    return ['--insecure-policy']
  }
}

/** Whether plain HTTP or an unknown certificate will do: loopback always, others by configuration (`host` or `host:port`). */
export function isInsecure(host: string, configured: readonly string[]): boolean {
  const hostname = host.replace(/:\d+$/, '')
  if (hostname === 'localhost' || hostname === '[::1]' || /^127\.\d+\.\d+\.\d+$/.test(hostname)) return true
  return configured.some((entry) => entry === host || entry === hostname)
}

async function readManifest(registry: RegistryAccess, reference: string, signal: AbortSignal): Promise<Buffer> {
  try {
    return await runTool({
      tool: 'skopeo',
      args: [...(await policyFlags()), 'inspect', '--raw', ...registry.options.map((option) => `--${option}`), reference],
      workDir: registry.workDir,
      deadlineMs: RESOLVE_DEADLINE_MS,
      stdoutLimitBytes: DOCUMENT_LIMIT_BYTES,
      signal,
    })
  } catch (error) {
    throw imageFailure('pull', registry.name, error)
  }
}

/** `host/path:tag` or `host/path@sha256:…` → what stands before and after. */
function splitName(name: string): { readonly repository: string; readonly wanted: string } {
  const at = name.indexOf('@')
  if (at !== -1) {
    if (parseDigest(name.slice(at + 1)) === null) throw notAName(name)
    return { repository: name.slice(0, at).replace(/:[^/:]*$/, ''), wanted: name.slice(at) }
  }
  const parts = /^(.+\/[^:]+):([\w][\w.-]{0,127})$/.exec(name)
  const [, repository, tag] = parts ?? []
  if (repository === undefined || tag === undefined || repository.startsWith('-')) throw notAName(name)
  return { repository, wanted: `:${tag}` }
}

function notAName(name: string): BerthError {
  return new BerthError('invalid_image_name', `"${name.slice(0, 200)}" is not a full image name such as docker.io/library/alpine:latest.`)
}

async function writeAuthFile(
  workDir: string,
  host: string,
  credentials: { readonly username: string; readonly password: string },
): Promise<string> {
  const auth = Buffer.from(`${credentials.username}:${credentials.password}`).toString('base64')
  const path = join(workDir, 'auth.json')
  await writeFile(path, JSON.stringify({ auths: { [host]: { auth } } }), { mode: 0o600 })
  return path
}
