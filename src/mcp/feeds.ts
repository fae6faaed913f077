/**
 * What subscriptions are fed by: one feed follows what one URI names, and tells whenever it has changed; another
 * tells when the list of instances has. Notices carry no content, so that several at once become one.
 */
import type { Caller, Engine } from '../engine/api.ts'
import { BerthError } from '../instance/errors.ts'
import type { Instance } from '../instance/model.ts'
import { findInstance } from './resolve.ts'
import { parseResourceUri } from './resources.ts'
import type { Aspect } from './resources.ts'

/** Between two notices about one URI. */
const NOTICE_INTERVAL_MS = 250
/** A log that can't be followed now (the instance is stopped, or waits for a host) is looked for again. */
const LOG_RETRY_MS = 1000

export interface FeedParts {
  readonly engine: Engine
  readonly caller: Caller
  readonly onError: (error: unknown) => void
}

/**
 * Begins to follow what the URI names, until aborted.
 * @throws BerthError `not_found` if it names nothing that is the caller's.
 */
export async function feed(parts: FeedParts, uri: string, signal: AbortSignal, changed: () => void): Promise<void> {
  const name = parseResourceUri(uri)
  if (name === null) throw new BerthError('not_found', 'Only instance://{id}, its /logs and its /events can be followed.')
  const instance = await findInstance(parts.engine, parts.caller, name.word)
  const tell = calmed(changed, signal)
  follow(parts, instance, name.aspect, signal, tell).catch(parts.onError)
}

/** Begins to tell when an instance of the project appears or goes, until aborted. */
export function feedOfList({ engine, caller, onError }: FeedParts, signal: AbortSignal, changed: () => void): void {
  const tell = calmed(changed, signal)
  const watch = async () => {
    for await (const { from, to } of engine.events.watch(caller, { kinds: ['phase'], signal })) if (from === null || to === 'deleted') tell()
  }
  watch().catch(onError)
}

async function follow({ engine, caller }: FeedParts, instance: Instance, aspect: Aspect, signal: AbortSignal, tell: () => void): Promise<void> {
  if (aspect === 'logs') return followLog(engine, caller, instance, signal, tell)
  for await (const event of engine.events.watch(caller, { instanceIds: [instance.id], signal })) {
    tell()
    if (event.to === 'deleted') return
  }
}

async function followLog(engine: Engine, caller: Caller, instance: Instance, signal: AbortSignal, tell: () => void): Promise<void> {
  while (!signal.aborted) {
    try {
      const records = await engine.instances.logs(caller, instance.id, { source: 'app', tail: 0, follow: true, signal })
      for await (const _record of records) tell()
    } catch (error) {
      if (error instanceof BerthError && error.code === 'not_found') return
      if (!(error instanceof BerthError) || error.code === 'internal') throw error
    }
    await new Promise<void>(resolve => {
      const timer = setTimeout(resolve, LOG_RETRY_MS)
      signal.addEventListener('abort', () => (clearTimeout(timer), resolve()), { once: true })
    })
  }
}

/** Calls at once, then not before the interval is over; what comes meanwhile is one call at its end. */
function calmed(call: () => void, signal: AbortSignal): () => void {
  let timer: NodeJS.Timeout | null = null
  let isPending = false
  const fire = () => {
    isPending = false
    call()
    timer = setTimeout(() => {
      timer = null
      if (isPending && !signal.aborted) fire()
    }, NOTICE_INTERVAL_MS)
    timer.unref()
  }
  return () => {
    if (signal.aborted) return
    if (timer === null) fire()
    else isPending = true
  }
}
