/**
 * Images: names that a project knows, and the content that they stand for.
 *
 *   pull ─▶ record `pending` ─▶ queue ─▶ host ─▶ record `ready` with its digest, or `failed` with the reason
 *
 * Content is kept once per host, however many names and projects mean it, and is removed when no name and no
 * living instance needs it. Built-in images belong to every project and are kept in no record.
 * Failure: a pull that a crash cut off is `pending` in the record, and is queued again at the next start.
 */
import type { AuditTarget } from '../instance/audit.ts'
import { asBerthError, BerthError } from '../instance/errors.ts'
import { parseImageName } from '../instance/image-name.ts'
import type { Image, ImageDigest, ProjectId } from '../instance/model.ts'
import { checkTags } from '../instance/names.ts'
import { requireScope } from './access.ts'
import type { Caller, Images, PullImage } from './api.ts'
import type { Core, ImageLookUp } from './core.ts'
import type { HostImage } from './host-port.ts'
import { ImageQueue } from './image-queue.ts'
import type { PullJob } from './image-queue.ts'

const WAIT_LIMIT_MS = 86_400_000
/** Pause before a built-in image that could not be made is tried again. */
const BUILT_IN_RETRY_MS = 30_000

export class ImageKeeper implements ImageLookUp {
  readonly #core: Omit<Core, 'images'>
  readonly #queue: ImageQueue
  readonly #builtIn = new Map<string, Omit<Image, 'projectId'>>()
  readonly #watchers = new Set<() => void>()
  #imports = 0
  #collecting: Promise<void> = Promise.resolve()
  #retry: NodeJS.Timeout | null = null
  #closed = false
  #unlisten: () => void = () => {}
  /** Called when a pull has ended: instances of the project may wait for it. */
  onSettled: (projectId: ProjectId) => void = () => {}

  constructor(core: Omit<Core, 'images'>) {
    this.#core = core
    this.#queue = new ImageQueue({
      parallel: core.config.parallelPulls,
      limit: core.config.limits.maxQueuedPulls,
      pull: request => core.fleet.home.host.pullImage(request),
      settled: (job, outcome) => this.#settled(job, outcome),
    })
    for (const text of core.config.builtinImages) {
      const { name } = parseImageName(text)
      this.#builtIn.set(name, builtInRecord(name, core.now()))
    }
  }

  readonly api: Images = {
    pull: (caller, request) => this.#pull(caller, request),
    import: (caller, name, archive) => this.#import(caller, name, archive),
    get: async (caller, name) => {
      requireScope(caller, 'read')
      return this.#require(caller.projectId, name)
    },
    list: caller => this.#list(caller),
    delete: (caller, name) => this.#delete(caller, name),
    tag: (caller, name, target) => this.#tag(caller, name, target),
    wait: (caller, name, options) => this.#wait(caller, name, options),
  }

  /** Takes up what a crash cut off, makes the built-in images, and removes content that nothing needs. */
  async begin(): Promise<void> {
    this.#unlisten = this.#core.bus.listen(({ instance, event }) => {
      const { imageDigest } = instance
      if (event.kind === 'phase' && event.to === 'deleted' && imageDigest !== null) this.#collect(imageDigest)
    })
    this.#beginBuiltIns()
    const interrupted = (await this.#core.store.read.images(null)).filter(image => image.status !== 'ready' && image.status !== 'failed')
    for (const { projectId, name } of interrupted) this.#queue.add({ projectId, name, platform: null, credentials: null })
  }

  async close(): Promise<void> {
    this.#closed = true
    this.#unlisten()
    if (this.#retry !== null) clearTimeout(this.#retry)
    this.#changed()
    await this.#queue.close()
    await this.#collecting
  }

  isBuiltIn(name: string): boolean {
    return this.#builtIn.has(name)
  }

  async lookUp(projectId: ProjectId, text: string): Promise<Image | null> {
    const parsed = parseImageName(text)
    const builtIn = this.#builtIn.get(parsed.name)
    if (builtIn !== undefined) return { ...builtIn, projectId }
    const exact = await this.#core.store.read.image(projectId, parsed.name)
    if (exact !== null) return this.#live(exact)
    if (parsed.digest === null) return null
    const all = await this.#core.store.read.images(projectId)
    return all.find(image => image.digest === parsed.digest && parseImageName(image.name).repository === parsed.repository) ?? null
  }

  async #require(projectId: ProjectId, name: string): Promise<Image> {
    const image = await this.lookUp(projectId, name)
    if (image !== null) return image
    throw new BerthError('image_not_found', `There is no image ${parseImageName(name).name} here: pull it first.`, { details: { image: name } })
  }

  async #list(caller: Caller): Promise<readonly Image[]> {
    requireScope(caller, 'read')
    const own = await this.#core.store.read.images(caller.projectId)
    const builtIn = [...this.#builtIn.values()].map(image => ({ ...image, projectId: caller.projectId }))
    return [...builtIn, ...own.map(image => this.#live(image))]
  }

  /** The record, with what only memory knows of a pull that waits or runs. */
  #live(image: Image): Image {
    if (image.status === 'ready' || image.status === 'failed') return image
    const state = this.#queue.state(image.projectId, image.name)
    return state === null ? image : { ...image, ...state }
  }

  async #pull(caller: Caller, request: PullImage): Promise<Image> {
    requireScope(caller, 'write')
    const { name } = parseImageName(request.name)
    checkTags(request.tags ?? {})
    const builtIn = this.#builtIn.get(name)
    if (builtIn !== undefined) return { ...builtIn, projectId: caller.projectId }
    const known = await this.#core.store.read.image(caller.projectId, name)
    if (known?.status === 'ready' && known.digest !== null && (await this.#core.fleet.home.image(known.digest)) !== null) return known
    if (known !== null && this.#queue.state(caller.projectId, name) !== null) return this.#live(known)
    this.#queue.checkRoom()
    const now = this.#core.now()
    const pending: Image = {
      projectId: caller.projectId,
      name,
      status: 'pending',
      digest: null,
      sizeBytes: null,
      config: null,
      error: null,
      queuePosition: null,
      progress: null,
      tags: request.tags ?? known?.tags ?? {},
      createdAt: known?.createdAt ?? now,
      updatedAt: now,
    }
    await this.#put(caller, pending, 'image.pull')
    this.#queue.add({ projectId: caller.projectId, name, platform: request.platform ?? null, credentials: request.credentials ?? null })
    return this.#live(pending)
  }

  async #settled(job: PullJob, outcome: { readonly image: HostImage } | { readonly error: unknown }): Promise<void> {
    const { store, logger } = this.#core
    try {
      if ('image' in outcome) this.#core.fleet.home.remember(outcome.image)
      await store.transaction(async tx => {
        const known = await tx.image(job.projectId, job.name)
        // Deleted while it was pulled: the content is collected below.
        if (known === null) return
        await tx.putImage({ ...known, ...resultOf(outcome), updatedAt: this.#core.now() })
      })
      if ('image' in outcome) this.#collect(outcome.image.digest)
    } catch (error) {
      logger.error({ err: error, image: job.name }, 'the result of a pull could not be kept; it is pulled again at the next start')
    }
    this.#changed()
    this.onSettled(job.projectId)
  }

  async #import(caller: Caller, text: string, archive: AsyncIterable<Uint8Array>): Promise<Image> {
    requireScope(caller, 'write')
    const parsed = parseImageName(text)
    if (parsed.digest !== null) throw new BerthError('invalid_image_name', 'An archive is imported under a name with a tag, not with a digest.')
    if (this.#builtIn.has(parsed.name)) throw new BerthError('already_exists', `${parsed.name} is built in: import it under another name.`)
    this.#imports++
    try {
      const content = await this.#core.fleet.home.host.importImage(archive, () => {})
      this.#core.fleet.home.remember(content)
      return await this.#adopt(caller, parsed.name, content, {}, 'image.import')
    } finally {
      this.#imports--
    }
  }

  async #tag(caller: Caller, name: string, target: string): Promise<Image> {
    requireScope(caller, 'write')
    const source = await this.#require(caller.projectId, name)
    const parsed = parseImageName(target)
    if (parsed.digest !== null) throw new BerthError('invalid_image_name', 'A new name has a tag, not a digest.')
    if (this.#builtIn.has(parsed.name)) throw new BerthError('already_exists', `${parsed.name} is built in: choose another name.`)
    if (source.status !== 'ready' || source.digest === null || source.config === null) {
      throw new BerthError('image_not_ready', `The image ${source.name} is ${source.status}: wait until it is ready.`)
    }
    const content = { digest: source.digest, config: source.config, sizeBytes: source.sizeBytes ?? 0 }
    return this.#adopt(caller, parsed.name, content, source.tags, 'image.tag')
  }

  async #adopt(caller: Caller, name: string, content: HostImage, tags: Image['tags'], action: string): Promise<Image> {
    const now = this.#core.now()
    const known = await this.#core.store.read.image(caller.projectId, name)
    this.#queue.cancel(caller.projectId, name)
    const image: Image = {
      projectId: caller.projectId,
      name,
      ...resultOf({ image: content }),
      tags: known?.tags ?? tags,
      createdAt: known?.createdAt ?? now,
      updatedAt: now,
    }
    await this.#put(caller, image, action)
    if (known?.digest !== null && known?.digest !== undefined && known.digest !== content.digest) this.#collect(known.digest)
    this.#changed()
    this.onSettled(caller.projectId)
    return image
  }

  async #put(caller: Caller, image: Image, action: string): Promise<void> {
    const { maxImagesPerProject } = this.#core.config.limits
    await this.#core.store.transaction(async tx => {
      const isNew = (await tx.image(caller.projectId, image.name)) === null
      if (isNew && (await tx.images(caller.projectId)).length >= maxImagesPerProject) {
        throw new BerthError('limit_exceeded', `The project has ${maxImagesPerProject} images already: delete some.`)
      }
      await tx.putImage(image)
      await this.#core.audit.record(tx, caller, { action, target: imageTarget(image) })
    })
  }

  async #delete(caller: Caller, text: string): Promise<void> {
    requireScope(caller, 'write')
    const image = await this.#require(caller.projectId, text)
    if (this.#builtIn.has(image.name)) throw new BerthError('image_in_use', `${image.name} is built in and stays.`)
    this.#queue.cancel(caller.projectId, image.name)
    const { digest } = image
    await this.#core.store.transaction(async tx => {
      const { projectId } = caller
      const known = [...this.#builtIn.values(), ...(await tx.images(projectId))]
      const names = known.filter(other => other.digest === digest && other.name !== image.name)
      const living = await tx.instances({ projectId })
      const user = living.find(instance =>
        instance.imageDigest === null ? parseImageName(instance.spec.image).name === image.name : instance.imageDigest === digest && names.length === 0,
      )
      if (user !== undefined) {
        throw new BerthError('image_in_use', `The image ${image.name} is used by the instance ${user.spec.name}: delete that first.`, {
          details: { instanceId: user.id },
        })
      }
      const copy = names.length > 0 ? undefined : (await tx.snapshots({ projectId })).find(snapshot => snapshot.imageDigest === digest)
      if (copy !== undefined) {
        throw new BerthError('image_in_use', `The image ${image.name} is used by a snapshot of ${copy.sourceName}: delete that first.`, { details: { snapshotId: copy.id } })
      }
      await tx.deleteImage(projectId, image.name)
      await this.#core.audit.record(tx, caller, { action: 'image.delete', target: imageTarget(image) })
    })
    this.#changed()
    if (digest !== null) this.#collect(digest)
  }

  async #wait(caller: Caller, name: string, options: { readonly timeoutMs: number; readonly signal?: AbortSignal }): Promise<Image> {
    requireScope(caller, 'read')
    const limit = Promise.withResolvers<void>()
    const timer = setTimeout(limit.resolve, Math.max(0, Math.min(options.timeoutMs, WAIT_LIMIT_MS)))
    options.signal?.addEventListener('abort', () => limit.resolve(), { once: true })
    let isOver = false
    void limit.promise.then(() => (isOver = true))
    try {
      for (;;) {
        const news = Promise.withResolvers<void>()
        this.#watchers.add(news.resolve)
        try {
          const image = await this.#require(caller.projectId, name)
          const isSettled = image.status === 'ready' || image.status === 'failed'
          if (isSettled || isOver || options.signal?.aborted === true) return image
          if (this.#closed) throw new BerthError('shutting_down', 'The server is stopping: ask again in a moment.')
          await Promise.race([news.promise, limit.promise])
        } finally {
          this.#watchers.delete(news.resolve)
        }
      }
    } finally {
      clearTimeout(timer)
    }
  }

  #beginBuiltIns(): void {
    this.#makeBuiltIns().catch((error: unknown) => {
      // The store may close while the host still works; who waits then is told by the next server.
      if (!this.#closed) this.#core.logger.warn({ err: error }, 'who waits for a built-in image could not be told; their next change does it')
    })
  }

  async #makeBuiltIns(): Promise<void> {
    for (const [name, record] of this.#builtIn) {
      if (record.status === 'ready' || this.#closed) continue
      const pulled = await this.#core.fleet.home.host
        .pullImage({ name, platform: null, credentials: null, onProgress: () => {}, signal: new AbortController().signal })
        .then(
          image => ({ image }),
          (error: unknown) => ({ error }),
        )
      if ('image' in pulled) this.#core.fleet.home.remember(pulled.image)
      else {
        this.#core.logger.warn({ err: asBerthError(pulled.error), image: name }, 'a built-in image could not be made; it is tried again')
        this.#retryBuiltIns()
      }
      this.#builtIn.set(name, { ...record, ...resultOf(pulled), updatedAt: this.#core.now() })
      this.#changed()
    }
    if (this.#closed) return
    for (const project of await this.#core.store.read.projects()) this.onSettled(project.id)
  }

  #retryBuiltIns(): void {
    if (this.#closed || this.#retry !== null) return
    this.#retry = setTimeout(() => {
      this.#retry = null
      this.#beginBuiltIns()
    }, BUILT_IN_RETRY_MS)
    this.#retry.unref()
  }

  /** Removes content that nothing needs any more; later, while anything may just be arriving. */
  #collect(digest: ImageDigest): void {
    this.#collecting = this.#collecting
      .then(async () => {
        if (this.#closed || this.#imports > 0 || (await this.#isNeeded(digest))) return
        this.#core.fleet.home.forget(digest)
        await this.#core.fleet.home.host.removeImage(digest)
      })
      .catch((error: unknown) => {
        this.#core.logger.warn({ err: error, digest }, 'an image that nothing needs could not be removed')
      })
  }

  async #isNeeded(digest: ImageDigest): Promise<boolean> {
    for (const image of this.#builtIn.values()) if (image.digest === digest || image.digest === null) return true
    const { read } = this.#core.store
    if ((await read.images(null)).some(image => image.digest === digest)) return true
    return (await read.instances({ projectId: null })).some(instance => instance.imageDigest === digest)
  }

  #changed(): void {
    for (const tell of this.#watchers) tell()
  }
}

function imageTarget({ name }: Pick<Image, 'name'>): AuditTarget {
  return { kind: 'image', id: name, name }
}

function resultOf(outcome: { readonly image: HostImage } | { readonly error: unknown }): Omit<Image, 'projectId' | 'name' | 'tags' | 'createdAt' | 'updatedAt'> {
  const idle = { queuePosition: null, progress: null }
  if ('image' in outcome) {
    const { digest, sizeBytes, config } = outcome.image
    return { ...idle, status: 'ready', digest, sizeBytes, config, error: null }
  }
  return { ...idle, status: 'failed', digest: null, sizeBytes: null, config: null, error: asBerthError(outcome.error).message }
}

function builtInRecord(name: string, now: number): Omit<Image, 'projectId'> {
  return {
    name,
    status: 'pending',
    digest: null,
    sizeBytes: null,
    config: null,
    error: null,
    queuePosition: null,
    progress: null,
    tags: {},
    createdAt: now,
    updatedAt: now,
  }
}
