/**
 * Real registries and hand-made images for the tests of the image room: Debian's docker-registry on a port of its own,
 * filled by skopeo, and tar layers written entry by entry, so that they can hold what no honest tool would write.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { createHash, createPrivateKey, randomBytes, sign, X509Certificate } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { owe, paid } from './support/left-behind.ts'

const run = promisify(execFile)
const START_DEADLINE_MS = 30_000

export interface Registry {
  /** `127.0.0.1:PORT` */
  readonly host: string
  readonly process: ChildProcess
  /** Ends it at once; its storage stays for `again`. */
  kill(): Promise<void>
  /** Starts it again on the same port over the same storage. */
  again(): Promise<void>
}

/** How a registry knows who may read. */
export type RegistryAuth =
  | { readonly kind: 'password'; readonly username: string; readonly password: string }
  /** Bearer tokens, signed with the key of this certificate. */
  | { readonly kind: 'token'; readonly certificate: string; readonly storage: string }

/** Starts a registry below `dir`, with storage of its own or that of another. */
export async function startRegistry(dir: string, auth?: RegistryAuth): Promise<Registry> {
  const port = await freePort()
  const host = `127.0.0.1:${port}`
  const htpasswd = join(dir, 'htpasswd')
  const storage = auth?.kind === 'token' ? auth.storage : join(dir, 'storage')
  await mkdir(storage, { recursive: true })
  if (auth?.kind === 'password') await writeFile(htpasswd, `${auth.username}:${await bcrypt(auth.password)}\n`)
  const config = join(dir, 'config.yml')
  await writeFile(
    config,
    [
      'version: 0.1',
      'log: { level: error }',
      `storage: { filesystem: { rootdirectory: ${storage} }, delete: { enabled: true } }`,
      `http: { addr: "${host}" }`,
      ...(auth?.kind === 'password' ? [`auth: { htpasswd: { realm: test, path: ${htpasswd} } }`] : []),
      ...(auth?.kind === 'token'
        ? [`auth: { token: { realm: "http://${host}/no-such-service", service: test, issuer: tester, rootcertbundle: ${auth.certificate} } }`]
        : []),
      '',
    ].join('\n'),
  )
  const start = async () => {
    const child = spawn('docker-registry', ['serve', config], { stdio: 'ignore' })
    owe(`registry ${child.pid}`, async () => void child.kill('SIGKILL'))
    child.once('exit', () => paid(`registry ${child.pid}`))
    const deadline = Date.now() + START_DEADLINE_MS
    while (!(await answers(host))) {
      if (Date.now() > deadline) throw new Error('docker-registry does not answer')
      await sleep(50)
    }
    return child
  }
  let child = await start()
  return {
    host,
    get process() {
      return child
    },
    async kill() {
      if (child.exitCode !== null || child.signalCode !== null) return
      child.kill('SIGKILL')
      await once(child, 'exit')
    },
    async again() {
      child = await start()
    },
  }
}

/** A key, its certificate, and what signs registry tokens with it. */
export async function tokenIssuer(dir: string): Promise<{ readonly certificate: string; readonly issue: (repository: string) => string }> {
  const key = join(dir, 'token.key')
  const certificate = join(dir, 'token.crt')
  const kind = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-days', '2', '-subj', '/CN=tester']
  await run('openssl', ['req', '-x509', '-nodes', ...kind, '-keyout', key, '-out', certificate])
  const privateKey = createPrivateKey(await readFile(key))
  const x5c = [new X509Certificate(await readFile(certificate)).raw.toString('base64')]
  const part = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
  return {
    certificate,
    issue(repository) {
      const now = Math.floor(Date.now() / 1000)
      const access = [{ type: 'repository', name: repository, actions: ['pull'] }]
      const claims = { iss: 'tester', aud: 'test', sub: 'ada', nbf: now - 60, iat: now, exp: now + 600, jti: 'x', access }
      const signed = `${part({ typ: 'JWT', alg: 'ES256', x5c })}.${part(claims)}`
      return `${signed}.${sign('sha256', Buffer.from(signed), { key: privateKey, dsaEncoding: 'ieee-p1363' }).toString('base64url')}`
    },
  }
}

export async function temporaryDirectory(): Promise<string> {
  return await mkdtemp(join(tmpdir(), 'berth-images-'))
}

export interface TarEntry {
  readonly name: string
  readonly type?: 'file' | 'dir' | 'symlink' | 'hardlink' | 'char' | 'block' | 'fifo'
  readonly data?: Uint8Array | string
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly mtime?: number
  readonly link?: string
  readonly device?: readonly [number, number]
  /** Extended attributes, as PAX records. */
  readonly xattrs?: Readonly<Record<string, string>>
}

const TYPE_FLAGS = { file: '0', hardlink: '1', symlink: '2', char: '3', block: '4', dir: '5', fifo: '6' } as const

/** A tar of exactly these entries. */
export function tar(entries: readonly TarEntry[]): Buffer {
  const parts = entries.flatMap((entry) => {
    const pax = Object.entries(entry.xattrs ?? {}).map(([key, value]) => paxRecord(`SCHILY.xattr.${key}`, value))
    const extra = pax.length === 0 ? [] : block('PaxHeaders', 'x', Buffer.from(pax.join('')), {})
    return [...extra, ...block(entry.name, TYPE_FLAGS[entry.type ?? 'file'], Buffer.from(entry.data ?? ''), entry)]
  })
  return Buffer.concat([...parts, Buffer.alloc(1024)])
}

export interface TestImage {
  readonly layers: readonly Uint8Array[]
  readonly config?: object
  readonly os?: string
  readonly architecture?: string
  readonly variant?: string
  /** Of the layers; plain tar unless told otherwise. */
  readonly layerType?: string
  /** What the config claims the unpacked layers are; their true digests unless told otherwise. */
  readonly diffIds?: readonly string[]
}

/** Writes an OCI layout of one image, tagged `test`; gives the manifest's digest. */
export async function writeOciLayout(dir: string, image: TestImage): Promise<{ readonly digest: string; readonly manifest: Buffer }> {
  const blobs = join(dir, 'blobs', 'sha256')
  await mkdir(blobs, { recursive: true })
  const put = async (bytes: Uint8Array) => {
    const digest = sha256(bytes)
    await writeFile(join(blobs, digest.slice(7)), bytes)
    return { digest, size: bytes.length }
  }
  const layers = []
  for (const layer of image.layers) {
    layers.push({ mediaType: image.layerType ?? 'application/vnd.oci.image.layer.v1.tar', ...(await put(layer)) })
  }
  const config = await put(
    Buffer.from(
      JSON.stringify({
        os: image.os ?? 'linux',
        architecture: image.architecture ?? 'amd64',
        ...(image.variant === undefined ? {} : { variant: image.variant }),
        config: image.config ?? {},
        rootfs: { type: 'layers', diff_ids: image.diffIds ?? image.layers.map(sha256) },
      }),
    ),
  )
  const manifest = Buffer.from(
    JSON.stringify({
      schemaVersion: 2,
      mediaType: 'application/vnd.oci.image.manifest.v1+json',
      config: { mediaType: 'application/vnd.oci.image.config.v1+json', ...config },
      layers,
    }),
  )
  const entry = {
    mediaType: 'application/vnd.oci.image.manifest.v1+json',
    ...(await put(manifest)),
    annotations: { 'org.opencontainers.image.ref.name': 'test' },
  }
  await writeFile(join(dir, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }))
  await writeFile(join(dir, 'oci-layout'), '{"imageLayoutVersion":"1.0.0"}')
  return { digest: entry.digest, manifest }
}

/** Pushes an image as it is, through skopeo; gives the digest that the registry knows it by. */
export async function push(host: string, repository: string, image: TestImage, options: { readonly creds?: string } = {}): Promise<string> {
  const dir = await temporaryDirectory()
  try {
    const { digest } = await writeOciLayout(dir, image)
    const login = options.creds === undefined ? [] : ['--dest-creds', options.creds]
    const flags = ['--quiet', '--preserve-digests', '--dest-tls-verify=false', ...login]
    await run('skopeo', ['--insecure-policy', 'copy', ...flags, `oci:${dir}:test`, `docker://${host}/${repository}`])
    return digest
  } finally {
    await rm(dir, { recursive: true })
  }
}

/** Puts an image index that names pushed manifests. */
export async function pushIndex(
  host: string,
  repository: string,
  tag: string,
  entries: readonly { readonly digest: string; readonly platform: object }[],
): Promise<string> {
  const manifests = await Promise.all(
    entries.map(async ({ digest, platform }) => {
      const answer = await fetch(`http://${host}/v2/${repository}/manifests/${digest}`, {
        headers: { accept: 'application/vnd.oci.image.manifest.v1+json' },
      })
      const bytes = Buffer.from(await answer.arrayBuffer())
      return { mediaType: 'application/vnd.oci.image.manifest.v1+json', digest, size: bytes.length, platform }
    }),
  )
  const body = JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests })
  const answer = await fetch(`http://${host}/v2/${repository}/manifests/${tag}`, {
    method: 'PUT',
    headers: { 'content-type': 'application/vnd.oci.image.index.v1+json' },
    body,
  })
  if (!answer.ok) throw new Error(`the registry refused the index: ${answer.status} ${await answer.text()}`)
  return sha256(Buffer.from(body))
}

export function sha256(bytes: Uint8Array): string {
  return `sha256:${createHash('sha256').update(bytes).digest('hex')}`
}

/** Bytes that no compressor makes smaller. */
export function noise(bytes: number): Buffer {
  return randomBytes(bytes)
}

async function bcrypt(password: string): Promise<string> {
  // Through the C library, which every Debian's perl reaches: htpasswd itself would be one more package.
  const { stdout } = await run('perl', ['-e', 'print crypt($ARGV[0], $ARGV[1])', password, '$2b$05$abcdefghijklmnopqrstuu'])
  return stdout
}

async function answers(host: string): Promise<boolean> {
  try {
    await fetch(`http://${host}/v2/`)
    return true
  } catch {
    return false
  }
}

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  server.close()
  await once(server, 'close')
  if (address === null || typeof address === 'string') throw new Error('a TCP server without a port')
  return address.port
}

/** One ustar header and its data, padded to blocks of 512. */
function block(name: string, type: string, data: Buffer, entry: Partial<TarEntry>): Buffer[] {
  const header = Buffer.alloc(512)
  const octal = (value: number, at: number, length: number) => header.write(`${value.toString(8).padStart(length - 1, '0')}\0`, at)
  header.write(name, 0, 100)
  octal(entry.mode ?? (type === '5' ? 0o755 : 0o644), 100, 8)
  octal(entry.uid ?? 0, 108, 8)
  octal(entry.gid ?? 0, 116, 8)
  octal(data.length, 124, 12)
  octal(entry.mtime ?? 1_700_000_000, 136, 12)
  header.write(' '.repeat(8), 148)
  header.write(type, 156)
  header.write(entry.link ?? '', 157, 100)
  header.write('ustar\x0000', 257)
  octal(entry.device?.[0] ?? 0, 329, 8)
  octal(entry.device?.[1] ?? 0, 337, 8)
  const sum = header.reduce((total, byte) => total + byte, 0)
  header.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148)
  return [header, data, Buffer.alloc((512 - (data.length % 512)) % 512)]
}

/** `LENGTH KEY=VALUE\n`, where the length counts itself. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`
  let length = rest.length + 1
  while (`${length}${rest}`.length !== length) length += 1
  return `${length}${rest}`
}
