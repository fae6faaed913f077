/** The hosts that the engine drives, by id, and what it remembers of each so as not to ask twice. */
import { BerthError } from '../instance/errors.ts'
import type { HostId, ImageDigest, Place, VolumeId } from '../instance/model.ts'
import type { Host, HostFacts, HostImage, HostVm } from './host-port.ts'

/** One host and what is known of it. */
export class HostLink {
  readonly host: Host
  /** The region whose instances it runs; null is home. */
  readonly region: string | null
  /** It doesn't answer: nothing is placed on it, and what ran there is `lost`. */
  silent = false
  /** Called when it is found silent; whoever watches hosts sets it. */
  onSilent: () => void = () => {}
  readonly #images = new Map<ImageDigest, HostImage>()
  #inventory: Promise<readonly HostVm[]> | null = null

  constructor(host: Host, region: string | null = null) {
    this.host = host
    this.region = region
  }

  get id(): HostId {
    return this.host.id
  }

  facts(): Promise<HostFacts> {
    return this.host.facts()
  }

  /** What really runs. Those who ask while an answer is awaited but not yet asked for share one. */
  inventory(deadlineMs: number): Promise<readonly HostVm[]> {
    this.#inventory ??= (async () => {
      await Promise.resolve()
      this.#inventory = null
      return withDeadline(this.host.inventory(), deadlineMs, `The host ${this.id} did not say in time what runs on it.`)
    })()
    return this.#inventory
  }

  /** An image that is on the host, or null. */
  async image(digest: ImageDigest): Promise<HostImage | null> {
    const known = this.#images.get(digest)
    if (known !== undefined) return known
    for (const image of await this.host.images()) this.#images.set(image.digest, image)
    return this.#images.get(digest) ?? null
  }

  /** A call found that it doesn't answer. */
  fellSilent(): void {
    if (this.silent) return
    this.silent = true
    this.onSilent()
  }

  remember(image: HostImage): void {
    this.#images.set(image.digest, image)
  }

  forget(digest: ImageDigest): void {
    this.#images.delete(digest)
  }
}

/** A host that runs the instances of another region than home. */
export interface RegionalHost {
  readonly region: string
  readonly host: Host
}

export class Fleet {
  readonly links: readonly HostLink[]
  readonly #byId: ReadonlyMap<HostId, HostLink>

  constructor(hosts: readonly Host[], regional: readonly RegionalHost[] = []) {
    this.links = [...hosts.map(host => new HostLink(host)), ...regional.map(({ host, region }) => new HostLink(host, region))]
    this.#byId = new Map(this.links.map(link => [link.id, link]))
    if (this.links.length === 0) throw new RangeError('an engine needs at least one host')
    if (this.#byId.size !== this.links.length) throw new RangeError('two hosts have the same id')
  }

  /** The host of an instance. Throws `host_unavailable` for one that is not there any more. */
  link(id: HostId | null): HostLink {
    const link = id === null ? undefined : this.#byId.get(id)
    if (link === undefined) throw new BerthError('host_unavailable', `The host ${id ?? 'of this instance'} is not connected.`)
    return link
  }

  /** Where images are pulled to and volumes are kept: content is local to one host. */
  get home(): HostLink {
    const [first] = this.links
    if (first === undefined) throw new RangeError('an engine needs at least one host')
    return first
  }

  /** The hosts of a region; where it has none of its own, those of home. */
  linksOf(place: Place | null | undefined): readonly HostLink[] {
    const own = this.links.filter(link => link.region !== null && link.region === place?.region)
    if (own.length > 0) return own
    if (place?.isSimulated === true) throw new BerthError('host_unavailable', `The region ${place.region} has no machines here.`)
    return this.links.filter(link => link.region === null)
  }

  /** Where an instance goes that has no host yet. */
  firstOf(place: Place | null | undefined): HostLink {
    return this.linksOf(place)[0] ?? this.home
  }

  /** The hosts of a region that hold all of this content and answer. Volumes are at home. */
  async holding(digest: ImageDigest | null, volumes: readonly VolumeId[], place: Place | null | undefined): Promise<readonly HostLink[]> {
    const found: HostLink[] = []
    const links = this.linksOf(place)
    if (volumes.length > 0 && !links.includes(this.home)) throw volumesStayHome(place)
    for (const link of links) {
      if (link.silent) continue
      if (volumes.length > 0 && link !== this.home) continue
      if (digest === null ? link === links[0] : (await link.image(digest)) !== null) found.push(link)
    }
    return found
  }
}

export function volumesStayHome(place: Place | null | undefined): BerthError {
  return new BerthError('not_supported', `Volumes are kept on this machine: an instance in the region ${place?.region ?? ''} can't have one.`)
}

const DEADLINE = 'engineDeadline'

/** Whether the engine gave up waiting, or the host said that it is not there: nobody knows what became of the call. */
export function isSilence(error: unknown): boolean {
  return error instanceof BerthError && (error.code === 'host_unavailable' || (error.code === 'timeout' && error.details[DEADLINE] === true))
}

/** The promise's own outcome, or `timeout` when it takes longer. The work itself goes on. */
export async function withDeadline<T>(promise: Promise<T>, deadlineMs: number, message: string): Promise<T> {
  const late = Promise.withResolvers<never>()
  const timer = setTimeout(() => late.reject(new BerthError('timeout', message, { details: { [DEADLINE]: true } })), deadlineMs)
  // A call that never ends must not keep a process alive that has nothing else to do.
  timer.unref()
  try {
    return await Promise.race([promise, late.promise])
  } finally {
    clearTimeout(timer)
  }
}
