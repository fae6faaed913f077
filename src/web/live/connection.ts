/** Whether the server answers, as the event stream sees it. One value for the whole page. */
import { useSyncExternalStore } from 'react'

export type Connection = 'connecting' | 'live' | 'down'

let current: Connection = 'connecting'
const listeners = new Set<() => void>()

export function setConnection(next: Connection): void {
  if (next === current) return
  current = next
  for (const listener of listeners) listener()
}

export function useConnection(): Connection {
  return useSyncExternalStore(
    listener => {
      listeners.add(listener)
      return () => listeners.delete(listener)
    },
    () => current,
  )
}
