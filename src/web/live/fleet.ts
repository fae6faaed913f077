/**
 * All instances of the project, kept up to date by the event stream: nothing is polled.
 *
 *   stream opens ─▶ list everything ─▶ each event: its phase at once, its whole record a moment later
 *
 * The stream is opened before the list is read, so that nothing that happens in between is missed. Events of a moment
 * are gathered, and the records that they name are asked for together. After a break the stream goes on behind the
 * last event that was seen.
 */
import { call, listAll } from '../api/http.ts'
import { stream } from '../api/stream.ts'
import type { Instance, InstanceEvent, Page } from '../api/types.ts'
import { setConnection } from './connection.ts'
import { keepStreaming } from './visible.ts'

/** How long events are gathered. */
const GATHER_MS = 150
/** Records asked for at once; as many as the server takes. */
const IDS_LIMIT = 100
const RELOAD_MS = 1000

export interface Fleet {
  /** Newest first; null until they are known. */
  readonly instances: readonly Instance[] | null
  readonly byId: ReadonlyMap<string, Instance>
}

type EventListener = (event: InstanceEvent) => void

const EMPTY: Fleet = { instances: null, byId: new Map() }
let fleet: Fleet = EMPTY
let lastSeq: string | null = null
let gathered: InstanceEvent[] = []
let gatherTimer: number | undefined
const listeners = new Set<() => void>()
const eventListeners = new Set<EventListener>()

export function currentFleet(): Fleet {
  return fleet
}

export function subscribeFleet(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

/** Every event of the project as it happens. */
export function onEvent(listener: EventListener): () => void {
  eventListeners.add(listener)
  return () => eventListeners.delete(listener)
}

/** Begins to watch; the function that is returned ends it and forgets everything. */
export function watchFleet(): () => void {
  const stop = keepStreaming({
    async run(signal, opened) {
      const query = lastSeq === null ? {} : { after: lastSeq }
      const events = stream<InstanceEvent>('/events/watch', {
        query,
        signal,
        onOpen() {
          opened()
          setConnection('live')
          void reload(signal)
        },
      })
      for await (const { id, data } of events) {
        if (id !== null) lastSeq = id
        gather(data, signal)
      }
    },
    onDown: () => setConnection('down'),
  })
  return () => {
    stop()
    window.clearTimeout(gatherTimer)
    gathered = []
    lastSeq = null
    publish(EMPTY)
    setConnection('connecting')
  }
}

/** Takes in a record that an answer brought, before its event comes. */
export function learn(instance: Instance): void {
  if (fleet.instances !== null) merge(new Map([[instance.id, instance]]), new Set())
}

async function reload(signal: AbortSignal): Promise<void> {
  try {
    const all = await listAll<Instance>('/instances', { signal })
    publish({ instances: all, byId: new Map(all.map(instance => [instance.id, instance])) })
  } catch {
    // A stream that broke is opened again, and then the list is read again.
    if (!signal.aborted && fleet.instances === null) setTimeout(() => void reload(signal), RELOAD_MS)
  }
}

function gather(event: InstanceEvent, signal: AbortSignal): void {
  gathered.push(event)
  for (const listener of eventListeners) listener(event)
  gatherTimer ??= window.setTimeout(() => {
    gatherTimer = undefined
    const events = gathered
    gathered = []
    applyEvents(events)
    void refresh([...new Set(events.map(({ instanceId }) => instanceId))], signal)
  }, GATHER_MS)
}

/** What the events themselves tell, without asking. */
function applyEvents(events: readonly InstanceEvent[]): void {
  if (fleet.instances === null) return
  const changed = new Map<string, Instance>()
  const gone = new Set<string>()
  for (const { instanceId, kind, to, at, reason } of events) {
    const known = changed.get(instanceId) ?? fleet.byId.get(instanceId)
    if (kind !== 'phase') continue
    if (to === 'deleted') gone.add(instanceId)
    else if (known !== undefined) changed.set(instanceId, { ...known, phase: to, phaseSince: at, reason })
  }
  merge(changed, gone)
}

async function refresh(ids: readonly string[], signal: AbortSignal): Promise<void> {
  for (let at = 0; at < ids.length; at += IDS_LIMIT) {
    try {
      const some = ids.slice(at, at + IDS_LIMIT)
      const { items } = await call<Page<Instance>>('GET', '/instances', { query: { id: some, limit: IDS_LIMIT }, signal })
      const found = new Map(items.map(item => [item.id, item]))
      merge(found, new Set(some.filter(id => !found.has(id))))
    } catch {
      // The stream breaks with the server, and everything is read again when it is back.
      return
    }
  }
}

function merge(changed: ReadonlyMap<string, Instance>, gone: ReadonlySet<string>): void {
  if (fleet.instances === null || (changed.size === 0 && gone.size === 0)) return
  const byId = new Map(fleet.byId)
  for (const id of gone) byId.delete(id)
  const added: Instance[] = []
  for (const [id, instance] of changed) {
    if (gone.has(id)) continue
    if (!byId.has(id)) added.push(instance)
    byId.set(id, instance)
  }
  added.sort((a, b) => b.createdAt.localeCompare(a.createdAt))
  const kept = fleet.instances.flatMap(({ id }) => byId.get(id) ?? [])
  publish({ instances: [...added, ...kept], byId })
}

function publish(next: Fleet): void {
  fleet = next
  for (const listener of listeners) listener()
}
