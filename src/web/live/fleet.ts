/**
 * All instances of the project, kept up to date by the event stream: nothing is polled.
 *
 *   stream opens ─▶ list everything ─▶ each event: its phase at once, its whole record a moment later
 *
 * The stream is opened before the list is read, so that nothing that happens in between is missed. Events of a moment
 * are gathered, and the records that they name are asked for together. After a break the stream goes on behind the
 * last event that was seen.
 *
 * Answers overtake each other: so records are asked for one request after the other, and what has changed again while
 * its record was on its way is left alone and asked for once more.
 *
 * The list comes in pages, and the first of them is shown at once. What has changed since the reading began is newer
 * than what a page says of it.
 */
import { ApiError, call, listPages } from '../api/http.ts'
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
  /** Whether these are all: further pages of the list are on their way otherwise. */
  readonly isWhole: boolean
}

type EventListener = (event: InstanceEvent) => void

const EMPTY: Fleet = { instances: null, byId: new Map(), isWhole: false }
let fleet: Fleet = EMPTY
let lastSeq: string | null = null
/** What has changed since the list began to be read. */
let touched = new Set<string>()
let gathered: InstanceEvent[] = []
let gatherTimer: number | undefined
/** Whose records are to be asked for. */
let outdated = new Set<string>()
let isAsking = false
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
    async run(pageSignal, opened) {
      // What is read beside a stream ends with it.
      const life = new AbortController()
      const signal = AbortSignal.any([pageSignal, life.signal])
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
      try {
        for await (const { id, data } of events) {
          if (id !== null) lastSeq = id
          gather(data, signal)
        }
      } finally {
        life.abort()
      }
    },
    onDown: () => setConnection('down'),
  })
  return () => {
    stop()
    window.clearTimeout(gatherTimer)
    gatherTimer = undefined
    gathered = []
    outdated = new Set()
    lastSeq = null
    publish(EMPTY)
    setConnection('connecting')
  }
}

/** Takes in a record that an answer brought, before its event comes. */
export function learn(instance: Instance): void {
  const known = fleet.byId.get(instance.id)
  if (fleet.instances === null || (known !== undefined && Date.parse(known.phaseSince) > Date.parse(instance.phaseSince))) return
  if (isAsking) outdated.add(instance.id)
  merge(new Map([[instance.id, instance]]), new Set())
}

async function reload(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return
  const isFirst = fleet.instances === null
  const listed: Instance[] = []
  touched = new Set()
  try {
    for await (const items of listPages<Instance>('/instances', { signal })) {
      listed.push(...items)
      if (isFirst) publish(withListed(listed, false))
    }
    publish(withListed(listed, true))
    void refresh(signal)
  } catch (error) {
    // With a stream that broke the signal is over, and the list is read again by the next one.
    if (!signal.aborted && maySucceedLater(error)) setTimeout(() => void reload(signal), RELOAD_MS)
  }
}

/** What was listed, but as it is known by now where it has changed since. */
function withListed(listed: readonly Instance[], isWhole: boolean): Fleet {
  const ids = new Set(listed.map(({ id }) => id))
  const added = (fleet.instances ?? []).filter(({ id }) => touched.has(id) && !ids.has(id))
  const current = listed.flatMap(instance => (touched.has(instance.id) ? (fleet.byId.get(instance.id) ?? []) : instance))
  const instances = [...added, ...current]
  return { instances, byId: new Map(instances.map(instance => [instance.id, instance])), isWhole }
}

function gather(event: InstanceEvent, signal: AbortSignal): void {
  gathered.push(event)
  for (const listener of eventListeners) listener(event)
  applySoon(signal)
}

function applySoon(signal: AbortSignal): void {
  gatherTimer ??= window.setTimeout(() => {
    gatherTimer = undefined
    // There is nothing yet that they could be applied to.
    if (fleet.instances === null) return applySoon(signal)
    const events = gathered
    gathered = []
    applyEvents(events)
    for (const { instanceId } of events) outdated.add(instanceId)
    void refresh(signal)
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

/** Asks for what is outdated until nothing is. */
async function refresh(signal: AbortSignal): Promise<void> {
  if (isAsking) return
  isAsking = true
  try {
    while (outdated.size > 0 && !signal.aborted) {
      const some = [...outdated].slice(0, IDS_LIMIT)
      for (const id of some) outdated.delete(id)
      try {
        const { items } = await call<Page<Instance>>('GET', '/instances', { query: { id: some, limit: IDS_LIMIT }, signal })
        const found = new Map(items.map(item => [item.id, item]))
        const settled = some.filter(id => !outdated.has(id))
        merge(new Map(settled.flatMap(id => found.get(id) ?? []).map(item => [item.id, item])), new Set(settled.filter(id => !found.has(id))))
      } catch (error) {
        for (const id of some) outdated.add(id)
        if (!signal.aborted && maySucceedLater(error)) setTimeout(() => void refresh(signal), RELOAD_MS)
        return
      }
    }
  } finally {
    isAsking = false
  }
}

/** Browsers give up requests for reasons of their own, too: Chromium does each time that the machine gets another network. */
function maySucceedLater(error: unknown): boolean {
  return error instanceof ApiError && (error.code === 'offline' || error.status >= 500)
}

function merge(changed: ReadonlyMap<string, Instance>, gone: ReadonlySet<string>): void {
  if (fleet.instances === null || (changed.size === 0 && gone.size === 0)) return
  const byId = new Map(fleet.byId)
  for (const id of [...gone, ...changed.keys()]) touched.add(id)
  for (const id of gone) byId.delete(id)
  const added: Instance[] = []
  for (const [id, instance] of changed) {
    if (gone.has(id)) continue
    if (!byId.has(id)) added.push(instance)
    byId.set(id, instance)
  }
  added.sort((a, b) => b.createdAt.localeCompare(a.createdAt))
  const kept = fleet.instances.flatMap(({ id }) => byId.get(id) ?? [])
  publish({ ...fleet, instances: [...added, ...kept], byId })
}

function publish(next: Fleet): void {
  fleet = next
  for (const listener of listeners) listener()
}
