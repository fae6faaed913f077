/** The fleet in components. */
import { useEffect, useSyncExternalStore } from 'react'
import type { Instance, InstanceEvent } from '../api/types.ts'
import { currentFleet, onEvent, subscribeFleet } from './fleet.ts'
import type { Fleet } from './fleet.ts'

export function useFleet(): Fleet {
  return useSyncExternalStore(subscribeFleet, currentFleet)
}

/** One instance; undefined if it is not (or no longer) among the living. */
export function useInstance(id: string): Instance | undefined {
  return useSyncExternalStore(subscribeFleet, () => currentFleet().byId.get(id))
}

export function useEvents(listener: (event: InstanceEvent) => void): void {
  useEffect(() => onEvent(listener), [listener])
}
