/**
 * A template on the disk: a guest that was booted once and has become nobody yet.
 *
 *   <templates>/<uuid>/memory          its pages, zeros left out
 *                      state           its devices
 *                      layer           of an image's template: what its guest's writable layer holds
 *                      template.json   its key, and checksums of all; written last
 *
 * A general template's guest has no disk yet: any instance of its size can come from it. An image's template has that
 * image mounted under an empty writable layer of one size, of which each clone gets a copy of its own.
 *
 * Invariants: a directory without template.json is nothing; files that differ from their checksums are never
 * used; a template is never changed, only replaced by one with another id.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { open, readFile, stat, type FileHandle } from 'node:fs/promises'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { BerthError } from '../../instance/errors.ts'
import type { ImageDigest } from '../../instance/model.ts'
import type { Pattern } from '../volumes/disk-pattern.ts'
import { isMissing, readJson, writeJson } from './atomic-file.ts'
import { loadLayer } from './layer.ts'
import type { MachineIdentity } from './machine.ts'
import { loadWholeMemory } from './memory-file.ts'
import { SharedMemory } from './shared-memory.ts'

/** All that two guests must have in common to come from one template. */
export interface TemplateKey {
  readonly machine: MachineIdentity
  /** Of kernel and initramfs. */
  readonly guest: string
  readonly vcpus: number
  readonly memoryBytes: number
  readonly network: 'tap' | 'user' | 'none'
  /** The image that is mounted; null in a general template. */
  readonly image: TemplateImage | null
}

export interface TemplateImage {
  readonly digest: ImageDigest
  /** Tells one file of the image's root from another. */
  readonly root: string
  /** Of the writable layer. */
  readonly overlayBytes: number
}

/** The key of a template of an image. */
export type ImageTemplateKey = TemplateKey & { readonly image: TemplateImage }

export interface TemplateRecord {
  readonly format: 1
  readonly key: TemplateKey
  readonly memorySha256: string
  readonly stateSha256: string
  /** Of an image's template. */
  readonly layerSha256?: string
  readonly builtAt: number
}

export interface TemplateFiles {
  readonly dir: string
  readonly record: string
  readonly memory: string
  readonly state: string
  readonly layer: string
}

/** A template that clones can be made from now. */
export interface Template {
  readonly id: string
  readonly key: TemplateKey
  readonly memory: SharedMemory
  /** What each clone's own writable layer holds when it begins; null where its guest has mounted none, and where it is damaged. */
  readonly layer: Pattern | null
  /** The devices, checked; each clone gets them through a descriptor of its own. */
  openState(): Promise<FileHandle>
}

/** Its files are not those that were written, for good: unlike a moment in which they can't be read. */
export class DamagedTemplate extends BerthError {
  constructor(id: string, options: ErrorOptions = {}) {
    super('invalid_state', `The template ${id} is damaged: its files are not those that were written.`, options)
  }
}

export function templateFiles(templates: string, id: string): TemplateFiles {
  const dir = join(templates, id)
  return { dir, record: join(dir, 'template.json'), memory: join(dir, 'memory'), state: join(dir, 'state'), layer: join(dir, 'layer') }
}

/** One line for a key: equal keys, equal lines. */
export function keyText(key: TemplateKey): string {
  const { machine, image } = key
  const ofImage = image === null ? [] : [image.digest, image.root, image.overlayBytes]
  return [machine.profile, machine.qemu, machine.accelerator, machine.cpu, key.guest, key.vcpus, key.memoryBytes, key.network, ...ofImage].join(' | ')
}

/** Of the template that serves every image. */
export function generalKey(key: TemplateKey): TemplateKey {
  return { ...key, image: null }
}

/** Changes when the file of an image's root does. */
export async function rootStamp(path: string): Promise<string> {
  const { ino, size, mtimeMs } = await stat(path)
  return `${ino} ${size} ${mtimeMs}`
}

/** What a template's guest has that one of the other key has not, in words; empty for two that differ in size or network alone. */
export function foreignParts(template: TemplateKey, wanted: TemplateKey): readonly string[] {
  const parts: readonly (readonly [what: string, of: (key: TemplateKey) => string])[] = [
    ['QEMU', ({ machine }) => machine.qemu],
    ['machine profile', ({ machine }) => machine.profile],
    ['accelerator', ({ machine }) => machine.accelerator],
    ['CPU', ({ machine }) => machine.cpu],
    ['kernel or agent', ({ guest }) => guest],
  ]
  return parts.filter(([, of]) => of(template) !== of(wanted)).map(([what, of]) => `${what} (${of(template)})`)
}

/** null if there is none, or one that this Berth can't read. */
export async function readTemplate(files: TemplateFiles): Promise<TemplateRecord | null> {
  const value = await readJson(files.record)
  if (!isTemplate(value)) return null
  // An earlier Berth had no templates of images.
  return { ...value, key: { ...value.key, image: value.key.image ?? null } }
}

/** Makes the files a template. */
export async function sealTemplate(files: TemplateFiles, key: TemplateKey): Promise<TemplateRecord> {
  const [memorySha256, stateSha256] = await Promise.all([hashOf(files.memory), hashOf(files.state)])
  const ofLayer = key.image === null ? {} : { layerSha256: await hashOf(files.layer) }
  const record: TemplateRecord = { format: 1, key, memorySha256, stateSha256, ...ofLayer, builtAt: Date.now() }
  await writeJson(files.record, record, { durable: true })
  return record
}

/**
 * Brings a template's memory into memory that clones can share. Throws {@link DamagedTemplate} if its files are damaged;
 * without its layer it is good for nothing but to wake who came from it.
 */
export async function loadTemplate(files: TemplateFiles, id: string, record: TemplateRecord, tool: string): Promise<Template> {
  const memory = await SharedMemory.make(tool, record.key.memoryBytes)
  try {
    if ((await whole(id, hashOf(files.memory))) !== record.memorySha256) throw new DamagedTemplate(id)
    await loadWholeMemory(memory.file, memory.bytes, files.memory).catch((error: unknown) => {
      // Its bytes are those that were written, but not of this size.
      throw error instanceof BerthError && error.code === 'invalid_state' ? new DamagedTemplate(id, { cause: error }) : error
    })
    await memory.seal()
    return await asTemplate(files, id, record, memory, await wholeLayer(files, record))
  } catch (error) {
    await memory.close()
    throw error
  }
}

/** A template over memory that is filled and sealed. */
export async function asTemplate(files: TemplateFiles, id: string, record: TemplateRecord, memory: SharedMemory, layer: Pattern | null): Promise<Template> {
  const state = await whole(id, readFile(files.state))
  if (createHash('sha256').update(state).digest('hex') !== record.stateSha256) throw new DamagedTemplate(id)
  const checked = await stampOf(files.state)
  return {
    id,
    key: record.key,
    memory,
    layer,
    openState: async () => {
      const file = await whole(id, open(files.state, 'r'))
      if ((await stampOf(file)) === checked) return file
      await file.close()
      throw new DamagedTemplate(id)
    },
  }
}

/** null where the guest has none, and where it is not what was written. */
async function wholeLayer(files: TemplateFiles, { key: { image }, layerSha256 }: TemplateRecord): Promise<Pattern | null> {
  if (image === null) return null
  try {
    return (await hashOf(files.layer)) === layerSha256 ? await loadLayer(files.layer, image.overlayBytes) : null
  } catch (error) {
    if (isMissing(error)) return null
    throw error
  }
}

/** Changes when a file does. */
async function stampOf(file: string | FileHandle): Promise<string> {
  const handle = typeof file === 'string' ? await open(file, 'r') : file
  try {
    const { ino, size, mtimeMs, ctimeMs } = await handle.stat()
    return `${ino} ${size} ${mtimeMs} ${ctimeMs}`
  } finally {
    if (handle !== file) await handle.close()
  }
}

async function hashOf(path: string): Promise<string> {
  const hash = createHash('sha256')
  await pipeline(createReadStream(path, { highWaterMark: 1024 * 1024 }), hash)
  return hash.digest('hex')
}

/** A file that is gone is damage, too. */
async function whole<T>(id: string, reading: Promise<T>): Promise<T> {
  return await reading.catch((error: unknown) => {
    throw isMissing(error) ? new DamagedTemplate(id, { cause: error }) : error
  })
}

/** A record that was changed by somebody else is none: what is in it is used without another look. */
function isTemplate(value: unknown): value is TemplateRecord {
  if (!isObject(value) || value['format'] !== 1 || !isObject(value['key']) || !isObject(value['key']['machine'])) return false
  const { key, memorySha256, stateSha256, builtAt } = value
  const { machine, guest, vcpus, memoryBytes, network } = key as Readonly<Record<string, unknown>>
  const { profile, qemu, accelerator, cpu } = machine as Readonly<Record<string, unknown>>
  const texts = [memorySha256, stateSha256, guest, network, profile, qemu, accelerator, cpu]
  return isImage(key['image'] ?? null) && texts.every((text) => typeof text === 'string') && [builtAt, vcpus, memoryBytes].every((number) => Number.isSafeInteger(number) && Number(number) > 0)
}

function isImage(value: unknown): boolean {
  if (value === null) return true
  if (!isObject(value)) return false
  return typeof value['digest'] === 'string' && typeof value['root'] === 'string' && Number.isSafeInteger(value['overlayBytes'])
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === 'object' && value !== null
}
