/**
 * Records of instances as they were read, and the ids and lengths of lists, for as long as nothing is committed.
 *
 * SQLite's `data_version` tells a connection whether another one has committed since: as long as it stays, what was
 * read holds, whoever writes. Asking it costs a fraction of reading a row, and is done once in a turn of the event loop,
 * and again after each commit of this process (`expire`): whoever has written reads what was written. A record is kept
 * only if the version was the same before and after it was read, so that one that a commit overtook is never taken for
 * the present one.
 *
 * Whoever reads an instance twice gets the same object: records are never changed, so what was worked out from one
 * (its bytes on a wire) may be kept with it.
 */
import type { DatabaseSync } from 'node:sqlite'
import type { StoreReader } from '../engine/store-port.ts'
import type { Instance, InstanceId } from '../instance/model.ts'
import { isBounded } from './instances.ts'
import type { InstanceSource } from './instances.ts'

/** Records that are kept at once. */
export const INSTANCE_CACHE_LIMIT = 10_000
/** Lists of which the ids, or the lengths, are kept at once: clients that look again and again ask for the same few. */
const PAGE_CACHE_LIMIT = 100

export interface CachedInstances {
  readonly read: Pick<StoreReader, 'instance' | 'instances' | 'countInstances'>
  /** There may have been a commit. */
  expire(): void
}

export function cachedInstances(source: InstanceSource & Pick<StoreReader, 'countInstances'>, raw: DatabaseSync): CachedInstances {
  const askVersion = raw.prepare('pragma data_version')
  const known = new Map<InstanceId, Instance>()
  const pages = new Map<string, readonly InstanceId[]>()
  const counts = new Map<string, number>()
  let knownAt: unknown = null
  let isFresh = false
  const expire = () => {
    isFresh = false
  }

  /** The version of this turn; what was known of another is forgotten. */
  function version(): unknown {
    if (isFresh) return knownAt
    const now = askVersion.get()?.['data_version']
    if (now !== knownAt) {
      known.clear()
      pages.clear()
      counts.clear()
      knownAt = now
    }
    isFresh = true
    setImmediate(expire)
    return now
  }

  /** The version at this moment: between two reads, a turn is not short enough. */
  function versionNow(): unknown {
    expire()
    return version()
  }

  function keep(instances: readonly Instance[]): void {
    if (known.size + instances.length > INSTANCE_CACHE_LIMIT) known.clear()
    for (const instance of instances) known.set(instance.id, instance)
  }

  const read: CachedInstances['read'] = {
    async instance(id) {
      const before = version()
      const held = known.get(id)
      if (held !== undefined) return held
      const fresh = await source.instance(id)
      if (fresh !== null && versionNow() === before) keep([fresh])
      return fresh
    },

    async instances(query) {
      if (!isBounded(query)) return source.instances(query)
      const before = version()
      const wish = JSON.stringify(query)
      const ids = pages.get(wish) ?? (await source.instanceIds(query))
      const missing = ids.filter(id => !known.has(id))
      const fresh = missing.length === 0 ? [] : await source.instances({ projectId: null, ids: missing, includeDeleted: true })
      // A commit came in between: what was read are two moments, so it is read again as one.
      if (versionNow() !== before) return source.instances(query)
      keep(fresh)
      if (pages.size >= PAGE_CACHE_LIMIT) pages.clear()
      pages.set(wish, ids)
      const found = ids.flatMap(id => known.get(id) ?? [])
      return found.length === ids.length ? found : source.instances(query)
    },

    async countInstances(query) {
      const before = version()
      const wish = JSON.stringify(query)
      const held = counts.get(wish)
      if (held !== undefined) return held
      const fresh = await source.countInstances(query)
      if (versionNow() !== before) return fresh
      if (counts.size >= PAGE_CACHE_LIMIT) counts.clear()
      counts.set(wish, fresh)
      return fresh
    },
  }
  return { read, expire }
}
