/**
 * The templates of a host: which are there, which are ready, and which are made next.
 *
 *   wanted ─▶ (one at a time, in the background) read from the disk and checked, or booted ─▶ ready ─▶ clones
 *
 * Of each size there is a general one, and one for each image that was launched of late, made when the machine has
 * nothing else to do.
 *
 * Invariants: a launch never waits for a template; a template that an instance came from stays on the disk as
 * long as that instance may need it to wake; a damaged one is removed and made anew; one of an image is used only
 * with the very file of that image that its guest has mounted.
 */
import { chmod, mkdir, readdir, rm } from 'node:fs/promises'
import { setTimeout as sleep } from 'node:timers/promises'
import type { HostTemplate } from '../../engine/host-port.ts'
import { BerthError } from '../../instance/errors.ts'
import type { ImageDigest } from '../../instance/model.ts'
import type { HostPaths } from '../paths.ts'
import type { Volumes } from '../volumes/volumes.ts'
import type { GuestArtifacts, HostLog } from './context.ts'
import type { Jail } from './jail.ts'
import type { Lull } from './lull.ts'
import { DamagedTemplate, foreignParts, generalKey, keyText, loadTemplate, readTemplate, templateFiles, type Template, type TemplateKey, type TemplateRecord } from './template.ts'
import { removeTaps } from '../network/tap.ts'
import { buildTemplate, templateTap } from './template-build.ts'

/** General ones. Each costs some 60 MB of memory and as much disk; one of an image, some 70. */
const MAX_TEMPLATES = 8
/** Launch upon launch for this long doesn't keep an image from its template. */
const LONGEST_LULL_WAIT_MS = 30_000
/** More sizes than this waiting to be made are a client gone wild; those that come later boot from nothing. */
const MAX_WANTED = 16
/** After a template could not be made, launches go without for this long; then it is tried again, each time later. */
const RETRY_AFTER_MS = 60_000
const LONGEST_RETRY_MS = 60 * 60_000
/** So many clones in a row that failed are the template's fault, not the moment's. */
const MAX_FAILURES = 3

/** What building needs of the host. */
export interface TemplateHome {
  readonly paths: HostPaths
  readonly jail: Jail
  readonly artifacts: GuestArtifacts
  readonly log: HostLog
  readonly volumes: Pick<Volumes, 'createOverlay'>
  readonly lull: Lull
  /** Of images, how many templates there may be; 0 is none. */
  readonly imageTemplates: number
  /** The file of an image's root, readable to VMs, and its stamp; null if it is gone. */
  rootOf(digest: ImageDigest): Promise<{ readonly path: string; readonly stamp: string } | null>
}

interface Known {
  readonly id: string
  readonly record: TemplateRecord
  usedAt: number
  /** VMs that are being made of it. */
  holders: number
  /** No launch gets it any more. */
  retired: boolean
  /** Clones that failed since one came up. */
  failures: number
}

export class Templates {
  readonly #home: TemplateHome
  readonly #tool: string
  readonly #known = new Map<string, Known>()
  readonly #ready = new Map<string, Template>()
  readonly #failed = new Map<string, { readonly at: number; readonly times: number }>()
  /** Keys whose template was damaged, until there is another. */
  readonly #damaged = new Set<string>()
  readonly #wanted = new Map<string, TemplateKey>()
  /** Templates that instances came from and may still need. */
  readonly #inUse: () => ReadonlySet<string>
  #work: Promise<void> = Promise.resolve()
  /** Those that are read from the disk at the moment. */
  readonly #loading = new Map<string, Promise<Template | undefined>>()
  /** Told when a template is ready, or given up. */
  onChange: () => void = () => undefined
  readonly #closing = new AbortController()

  private constructor(home: TemplateHome, tool: string, inUse: () => ReadonlySet<string>) {
    this.#home = home
    this.#tool = tool
    this.#inUse = inUse
  }

  /** Finds what is on the disk; checks nothing yet, boots nothing yet. */
  static async open(home: TemplateHome, tool: string, inUse: () => ReadonlySet<string>): Promise<Templates> {
    const templates = new Templates(home, tool, inUse)
    const dir = home.paths.templates
    await mkdir(dir, { recursive: true })
    // QEMU passes through to the one file it writes while a template is made.
    await chmod(dir, 0o711)
    // A server that was killed while it made one may have left its tap.
    await removeTaps([templateTap(home.paths)])
    for (const id of await readdir(dir)) {
      const record = await readTemplate(templateFiles(dir, id))
      if (record === null) await rm(templateFiles(dir, id).dir, { recursive: true, force: true })
      else templates.#known.set(id, { id, record, usedAt: record.builtAt, holders: 0, retired: false, failures: 0 })
    }
    await templates.#retireOrphans()
    return templates
  }

  /** A template of this key if one is ready, at once. */
  take(key: TemplateKey): Template | null {
    const known = this.#newest(key)
    const ready = known === undefined ? undefined : this.#ready.get(known.id)
    if (known === undefined || ready === undefined) return null
    known.usedAt = Date.now()
    return ready
  }

  /** As `take`, of somebody who doesn't use it now. */
  look(key: TemplateKey): Template | null {
    const known = this.#newest(key)
    return known === undefined ? null : (this.#ready.get(known.id) ?? null)
  }

  /** It stays, and its files stay open, until the given function is called: a VM is made of it that nothing tells of yet. */
  hold({ id }: Template): () => void {
    const known = this.#known.get(id)
    if (known !== undefined) known.holders += 1
    return () => {
      if (known !== undefined) known.holders -= 1
    }
  }

  /** Why `take` gives none, for a person. */
  whyNone(key: TemplateKey): string {
    if (this.#damaged.has(keyText(key))) return 'the template of this size was damaged and is made anew'
    const sized = [...this.#known.values()].filter(({ record: { key: other } }) => other.image === null && other.vcpus === key.vcpus && other.memoryBytes === key.memoryBytes && other.network === key.network)
    const foreign = sized.some(({ record }) => foreignParts(record.key, key).length === 0) ? [] : sized.flatMap(({ record }) => foreignParts(record.key, key))
    return foreign.length === 0 ? 'no template of this size is ready' : `the template of this size is of another ${[...new Set(foreign)].join(', ')}`
  }

  /** Makes one of this key ready in the background. */
  want(key: TemplateKey): void {
    const text = keyText(key)
    const known = this.#newest(key)
    if (this.#closing.signal.aborted || this.#wanted.has(text) || this.#wanted.size >= MAX_WANTED) return
    if (known !== undefined && this.#ready.has(known.id)) return
    if (key.image !== null && this.#home.imageTemplates === 0) return
    if (performance.now() - (this.#failed.get(text)?.at ?? Number.NEGATIVE_INFINITY) < RETRY_AFTER_MS) return
    this.#wanted.set(text, key)
    const make = async (): Promise<void> => {
      try {
        if (!this.#closing.signal.aborted) await this.#make(key)
        this.#failed.delete(text)
        this.onChange()
      } catch (error) {
        if (!this.#closing.signal.aborted) this.#tryAgainLater(key, error)
      } finally {
        this.#wanted.delete(text)
      }
    }
    if (key.image === null) void this.#enqueue(make)
    // Not in the queue: what is needed sooner must not wait behind it.
    else void this.#home.lull.until({ mostMs: LONGEST_LULL_WAIT_MS, signal: this.#closing.signal }).then(() => this.#enqueue(make))
  }

  /** Makes those of images ready that are on the disk. */
  wantKnownImages(): void {
    const current = [...this.#known.values()].filter(({ record, retired }) => record.key.image !== null && !retired)
    for (const { record } of current) this.want(record.key)
  }

  /** The image is gone: no launch gets its templates any more, and those that no instance needs go. */
  forgetImage(digest: ImageDigest): void {
    for (const known of this.#known.values()) {
      if (known.record.key.image?.digest === digest) known.retired = true
    }
    this.onChange()
    void this.#enqueue(async () => {
      const inUse = this.#needed()
      for (const { id, record } of this.#known.values()) {
        if (record.key.image?.digest === digest && !inUse.has(id)) await this.#drop(id)
      }
    }).catch((error: unknown) => this.#home.log.warn({ err: error, image: digest }, 'the templates of an image that is gone could not be removed'))
  }

  /** Where nothing is launched nobody else asks again, and the pool would wait for it for ever. */
  #tryAgainLater(key: TemplateKey, error: unknown): void {
    const text = keyText(key)
    const times = (this.#failed.get(text)?.times ?? 0) + 1
    this.#failed.set(text, { at: performance.now(), times })
    this.#home.log.warn({ err: error, key: text }, `a template could not be made; ${key.image === null ? 'instances of its size boot from nothing' : 'instances of its image do with the general one'}`)
    // Those of images are made for launches alone.
    if (key.image !== null) return
    const pauseMs = Math.min(LONGEST_RETRY_MS, RETRY_AFTER_MS * 2 ** (times - 1))
    // A little later than launches may ask; if one has, it is there or has failed once more.
    sleep(pauseMs + 1_000, undefined, { ref: false, signal: this.#closing.signal }).then(() => this.want(key), () => undefined) // closed
  }

  /** The very template a saved instance came from. Throws `invalid_state` if it is gone or damaged. */
  async get(id: string): Promise<Template> {
    const ready = this.#ready.get(id)
    if (ready !== undefined) return ready
    const known = this.#known.get(id)
    if (known === undefined) throw gone(id)
    // Beside what is being made: that can take long, and somebody waits here.
    const loaded = await this.#load(known)
    if (loaded === undefined) throw gone(id)
    return loaded
  }

  /** A clone of it came up. */
  cloned(template: Template): void {
    const known = this.#known.get(template.id)
    if (known !== undefined) known.failures = 0
  }

  /**
   * A clone of it failed. If it is damaged, or that happens again and again, no launch gets it any more; it goes when
   * no instance needs it.
   */
  failed(template: Template, why: unknown): void {
    const known = this.#known.get(template.id)
    if (known === undefined) return
    known.failures += 1
    if (!(why instanceof DamagedTemplate) && known.failures < MAX_FAILURES) return
    this.#home.log.warn({ err: why, template: template.id }, 'a template is given up')
    known.retired = true
    this.onChange()
  }

  /** Which sizes are ready, and which are being made or checked. */
  list(): readonly { readonly key: TemplateKey; readonly state: HostTemplate['state'] }[] {
    const ready = [...this.#ready.values()].map(({ key }) => key)
    const making = [...this.#wanted.values()].filter((key) => !ready.some((other) => keyText(other) === keyText(key)))
    return [...ready.map((key) => ({ key, state: 'ready' as const })), ...making.map((key) => ({ key, state: 'making' as const }))]
  }

  /** Waits until nothing is being made. */
  async settled(): Promise<void> {
    await this.#work
  }

  /** Lets go of the memory; running clones keep theirs. */
  async close(): Promise<void> {
    this.#closing.abort()
    await this.#work
    await Promise.allSettled(this.#loading.values())
    for (const template of this.#ready.values()) await template.memory.close()
    this.#ready.clear()
  }

  async #make(key: TemplateKey): Promise<void> {
    await this.#retireOrphans()
    await this.#dropUseless(key)
    const root = key.image === null ? null : await this.#home.rootOf(key.image.digest)
    if (key.image !== null && root?.stamp !== key.image.root) throw new BerthError('image_not_found', 'The image is gone, or has another file, since its template was wanted.')
    // Each that is damaged is removed.
    for (let known = this.#newest(key); known !== undefined; known = this.#newest(key)) {
      if ((await this.#load(known)) !== undefined && !known.retired) return
    }
    await this.#makeRoom(key)
    const begun = performance.now()
    const template = await buildTemplate(this.#home, key, { tool: this.#tool, root: root?.path ?? null, base: key.image === null ? null : this.look(generalKey(key)), signal: this.#closing.signal })
    if (key.image !== null && (await this.#home.rootOf(key.image.digest))?.stamp !== key.image.root) {
      await template.memory.close()
      await rm(templateFiles(this.#home.paths.templates, template.id).dir, { recursive: true, force: true })
      return
    }
    const record = await readTemplate(templateFiles(this.#home.paths.templates, template.id))
    if (record === null) throw new BerthError('internal', 'A template vanished as soon as it was made.')
    this.#known.set(template.id, { id: template.id, record, usedAt: Date.now(), holders: 0, retired: false, failures: 0 })
    this.#ready.set(template.id, template)
    this.#damaged.delete(keyText(key))
    const what = key.image === null ? 'a template is ready' : 'a template of an image is ready'
    this.#home.log.info({ template: template.id, key: keyText(key), ms: Math.round(performance.now() - begun) }, what)
  }

  /** undefined if its files are damaged: then it is removed. Throws, and keeps it, where it only can't be read now. */
  async #load(known: Known): Promise<Template | undefined> {
    const loading = this.#loading.get(known.id) ?? this.#read(known).finally(() => this.#loading.delete(known.id))
    this.#loading.set(known.id, loading)
    return await loading
  }

  async #read(known: Known): Promise<Template | undefined> {
    const ready = this.#ready.get(known.id)
    if (ready !== undefined) return ready
    const files = templateFiles(this.#home.paths.templates, known.id)
    try {
      const template = await loadTemplate(files, known.id, known.record, this.#tool)
      this.#ready.set(known.id, template)
      if (template.key.image === null || template.layer !== null) return template
      // Who came from it has a layer of its own, and wakes without this one.
      known.retired = true
      if (!this.#inUse().has(known.id)) throw new DamagedTemplate(known.id)
      this.#home.log.warn({ template: known.id }, "a template is kept only for those that came from it: its layer is damaged")
      return template
    } catch (error) {
      if (!(error instanceof DamagedTemplate)) throw error
      this.#home.log.warn({ err: error, template: known.id }, `a template is removed: ${error.message}`)
      this.#damaged.add(keyText(known.record.key))
      await this.#drop(known.id)
      return undefined
    }
  }

  /** Removes the least recently used until there is room for one more; never one that an instance needs. */
  async #makeRoom(key: TemplateKey): Promise<void> {
    const inUse = this.#needed()
    const ofImages = key.image !== null
    const most = ofImages ? this.#home.imageTemplates : MAX_TEMPLATES
    const kind = () => [...this.#known.values()].filter(({ record }) => (record.key.image !== null) === ofImages)
    const idle = kind().filter(({ id }) => !inUse.has(id)).sort((a, b) => a.usedAt - b.usedAt)
    for (const { id } of idle) {
      if (kind().length < most) return
      await this.#drop(id)
    }
    if (kind().length >= most) throw new BerthError('limit_exceeded', `All ${most} templates${ofImages ? ' of images' : ''} are needed by instances.`)
  }

  /** Those of images that are gone, or whose file is another by now. */
  async #retireOrphans(): Promise<void> {
    for (const known of this.#known.values()) {
      const { image } = known.record.key
      if (image !== null && (await this.#home.rootOf(image.digest))?.stamp !== image.root) known.retired = true
    }
  }

  /** Of another QEMU, kernel or agent than this host has, or given up: no launch will ever ask for them. */
  async #dropUseless(key: TemplateKey): Promise<void> {
    const inUse = this.#needed()
    for (const { id, record, retired } of this.#known.values()) {
      const foreign = foreignParts(record.key, key)
      if (inUse.has(id) || (!retired && foreign.length === 0)) continue
      if (foreign.length > 0) this.#home.log.info({ template: id }, `a template of another ${foreign.join(', ')} is removed`)
      await this.#drop(id)
    }
  }

  /** Of instances that came from them, and of VMs that are just being made of them. */
  #needed(): ReadonlySet<string> {
    const held = [...this.#known.values()].filter(({ holders }) => holders > 0).map(({ id }) => id)
    return new Set([...this.#inUse(), ...held])
  }

  async #drop(id: string): Promise<void> {
    const ready = this.#ready.get(id)
    this.#ready.delete(id)
    this.#known.delete(id)
    await ready?.memory.close()
    await rm(templateFiles(this.#home.paths.templates, id).dir, { recursive: true, force: true })
  }

  #newest(key: TemplateKey): Known | undefined {
    const text = keyText(key)
    const usable = [...this.#known.values()].filter(({ record, retired }) => !retired && keyText(record.key) === text)
    return usable.sort((a, b) => b.record.builtAt - a.record.builtAt)[0]
  }

  #enqueue(work: () => Promise<void>): Promise<void> {
    const turn = this.#work.then(work)
    this.#work = turn.catch(() => undefined)
    return turn
  }
}

function gone(id: string): BerthError {
  return new BerthError('invalid_state', `The template ${id} that the instance came from is gone or damaged; stop the instance and start it anew.`)
}
