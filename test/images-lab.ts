/**
 * For tests of the image store: an open registry, one behind a password, and for each test a store of its own. The helpers
 * work on that store; `useImagesLab` belongs at the top of a test file.
 */
import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { mkdir, readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { after, before, beforeEach } from 'node:test'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import type { HostImage, PullRequest } from '../src/engine/host-port.ts'
import { openImageStore, type ImageStore, type ImageStoreOptions } from '../src/host/images/image-store.ts'
import { BerthError, type ErrorCode } from '../src/instance/errors.ts'
import { push, startRegistry, temporaryDirectory, type Registry, type TestImage } from './registry-fixture.ts'

export const run = promisify(execFile)
export const USER = { username: 'ada', password: 'correct horse' }

export let base: string
export let registry: Registry
export let guarded: Registry
export let store: ImageStore
export let dataDir: string
/** Another for each test. */
export let next = 0
const opened: ImageStore[] = []

export function useImagesLab(): void {
  before(async () => {
    base = await temporaryDirectory()
    await Promise.all(['open', 'guarded'].map((name) => mkdir(join(base, name))))
    registry = await startRegistry(join(base, 'open'))
    guarded = await startRegistry(join(base, 'guarded'), { kind: 'password', ...USER })
  })

  after(async () => {
    await Promise.all(opened.map((one) => one.close()))
    await registry.kill()
    await guarded.kill()
    await rm(base, { recursive: true })
  })

  beforeEach(async () => {
    dataDir = join(base, `data-${(next += 1)}`)
    store = await open({ minFreeBytes: 0 })
  })
}

export async function open(options: Partial<ImageStoreOptions>): Promise<ImageStore> {
  const one = await openImageStore({ dataDir, ...options })
  opened.push(one)
  return one
}

export function request(name: string, options: Partial<PullRequest> = {}): PullRequest {
  return { name, credentials: null, platform: null, onProgress: () => undefined, signal: new AbortController().signal, ...options }
}

export function pullFrom(host: string, name: string, options: Partial<PullRequest> = {}): Promise<HostImage> {
  return store.pull(request(`${host}/${name}`, options))
}

export function pull(name: string, options: Partial<PullRequest> = {}): Promise<HostImage> {
  return pullFrom(registry.host, name, options)
}

export async function pullNew(name: string, image: TestImage): Promise<HostImage> {
  await push(registry.host, `${name}:latest`, image)
  return await pull(`${name}:latest`)
}

export async function fails(code: ErrorCode, work: Promise<unknown>): Promise<BerthError> {
  try {
    await work
  } catch (error) {
    assert.ok(error instanceof BerthError, String(error))
    assert.equal(error.code, code, `${error.message} ${String(error.cause)}`)
    return error
  }
  throw new assert.AssertionError({ message: `no ${code}` })
}

/** Reads the erofs back the way a kernel does. */
export async function mounted(image: HostImage, look: (root: string) => Promise<void>): Promise<void> {
  await mountedFile(store.rootPath(image.digest), look)
}

export async function mountedFile(file: string, look: (root: string) => Promise<void>): Promise<void> {
  const point = join(base, 'mounted')
  await mkdir(point, { recursive: true })
  await run('mount', ['-t', 'erofs', '-o', 'loop,ro', file, point])
  try {
    await look(point)
  } finally {
    await run('umount', [point])
  }
}

export async function leftovers(): Promise<readonly string[]> {
  return await readdir(join(dataDir, 'images/.work'))
}

/** Resolves when a download is under way and far from its end. */
export async function bytesArrive(bytes: number): Promise<void> {
  const work = join(dataDir, 'images/.work')
  for (;;) {
    const { stdout } = await run('du', ['-sb', work]).catch(() => ({ stdout: '0' }))
    if (Number.parseInt(stdout, 10) > bytes) return
    await sleep(5)
  }
}

export async function* chunks(bytes: Uint8Array): AsyncGenerator<Uint8Array> {
  for (let at = 0; at < bytes.length; at += 65_536) yield bytes.subarray(at, at + 65_536)
}

export function importBytes(bytes: Uint8Array): Promise<HostImage> {
  return store.import(chunks(bytes), () => undefined)
}

export async function importFile(path: string): Promise<HostImage> {
  return await importBytes(await readFile(path))
}
