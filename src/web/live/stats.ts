/**
 * What instances use, every two seconds, for those that somebody looks at: one stream for the whole page, whose list of
 * instances follows what is on the screen. The server measures only while it is asked.
 */
import { useEffect, useSyncExternalStore } from 'react'
import { stream } from '../api/stream.ts'
import type { Stats } from '../api/types.ts'
import { keepStreaming } from './visible.ts'

/** Ten minutes of the live plots. */
const SAMPLES_KEPT = 300
/** Scrolling changes what is on the screen all the time. */
const SETTLE_MS = 350
/** As many as the server takes. */
const IDS_LIMIT = 100

interface Told {
  readonly instanceId: string
  readonly stats: Stats
}

const NONE: readonly Stats[] = []
const samples = new Map<string, readonly Stats[]>()
const listeners = new Map<string, Set<() => void>>()
const wanted = new Map<string, number>()
let settleTimer: number | undefined
let running: { readonly key: string; readonly stop: () => void } | null = null

/** The samples of an instance, oldest first, while the component that asks is shown. */
export function useSamples(id: string, isServing: boolean): readonly Stats[] {
  useEffect(() => {
    if (!isServing) return
    want(id, 1)
    return () => want(id, -1)
  }, [id, isServing])
  return useSyncExternalStore(
    listener => {
      const set = listeners.get(id) ?? new Set()
      listeners.set(id, set.add(listener))
      return () => {
        set.delete(listener)
        if (set.size === 0 && listeners.get(id) === set) listeners.delete(id)
      }
    },
    () => samples.get(id) ?? NONE,
  )
}

function want(id: string, change: 1 | -1): void {
  const count = (wanted.get(id) ?? 0) + change
  if (count > 0) wanted.set(id, count)
  else wanted.delete(id)
  window.clearTimeout(settleTimer)
  settleTimer = window.setTimeout(settle, SETTLE_MS)
}

/** Opens the stream anew if what is wanted has changed. */
function settle(): void {
  const ids = [...wanted.keys()].sort().slice(0, IDS_LIMIT)
  const key = ids.join()
  if (running?.key === key) return
  running?.stop()
  running = ids.length === 0 ? null : { key, stop: keepStreaming({ run: (signal, opened) => read(ids, signal, opened) }) }
}

async function read(ids: readonly string[], signal: AbortSignal, opened: () => void): Promise<void> {
  for await (const { data } of stream<Told>('/stats/watch', { query: { instance: ids }, signal, onOpen: opened })) {
    const { instanceId, stats } = data
    samples.set(instanceId, [...(samples.get(instanceId) ?? []), stats].slice(-SAMPLES_KEPT))
    for (const listener of listeners.get(instanceId) ?? []) listener()
  }
}
