/** Events as clients read them: pages of the past, and a watch that goes from the past into the present. */
import { BerthError } from '../instance/errors.ts'
import type { InstanceEvent } from '../instance/model.ts'
import { requireScope } from './access.ts'
import type { Caller, EventFilter, Events } from './api.ts'
import type { Core } from './core.ts'

/** Events read from the store at once by a watch; a slow reader slows only itself. */
const WATCH_PAGE = 500
/** Watches of the whole server. */
export const WATCH_LIMIT = 10_000

export function makeEvents(core: Core, closing: AbortSignal): Events {
  let watches = 0
  return {
    async list(caller, filter = {}) {
      requireScope(caller, 'read')
      return core.store.read.events({ ...filter, projectId: caller.projectId })
    },
    watch(caller, filter) {
      requireScope(caller, 'read')
      if (watches >= WATCH_LIMIT) throw new BerthError('rate_limited', `${WATCH_LIMIT} watches are open already: close some.`)
      const from = filter.afterSeq === undefined ? lastSeq(core) : Promise.resolve(filter.afterSeq)
      // Told to the reader when it begins to read.
      from.catch(() => {})
      return (async function* () {
        watches++
        try {
          yield* follow(core, caller, filter, await from, closing)
        } finally {
          watches--
        }
      })()
    },
  }
}

/** The store is read again after each sign of something new, from where it was read to: no gap, no repeat. */
async function* follow(
  core: Core,
  caller: Caller,
  filter: EventFilter & { readonly signal: AbortSignal },
  from: number,
  closing: AbortSignal,
): AsyncIterable<InstanceEvent> {
  const { signal, instanceIds, kinds, toPhases } = filter
  let wake: () => void = () => {}
  let hasNews = true
  const rouse = () => {
    hasNews = true
    wake()
  }
  const unlisten = core.bus.listen(({ event }) => {
    const isWanted = event.projectId === caller.projectId && (instanceIds?.includes(event.instanceId) ?? true)
    if (isWanted && (kinds?.includes(event.kind) ?? true)) rouse()
  })
  signal.addEventListener('abort', rouse)
  closing.addEventListener('abort', rouse)
  const isOver = () => signal.aborted || closing.aborted
  try {
    let cursor = from
    while (!isOver()) {
      if (!hasNews) await new Promise<void>(resolve => (wake = resolve))
      hasNews = false
      while (!isOver()) {
        const page = await core.store.read.events({
          projectId: caller.projectId,
          afterSeq: cursor,
          order: 'oldest-first',
          limit: WATCH_PAGE,
          ...(instanceIds === undefined ? {} : { instanceIds }),
          ...(kinds === undefined ? {} : { kinds }),
          ...(toPhases === undefined ? {} : { toPhases }),
        })
        for (const event of page) {
          if (isOver()) return
          cursor = event.seq
          yield event
        }
        if (page.length < WATCH_PAGE) break
      }
    }
  } finally {
    unlisten()
    signal.removeEventListener('abort', rouse)
    closing.removeEventListener('abort', rouse)
  }
}

async function lastSeq(core: Core): Promise<number> {
  const [newest] = await core.store.read.events({ projectId: null, order: 'newest-first', limit: 1 })
  return newest?.seq ?? 0
}
