/** A list of things of the project, by the path that names it: read once, and again when something has changed it. */
import { useQuery, useQueryClient } from '@tanstack/react-query'
import { useCallback } from 'react'
import { listAll } from '../api/http.ts'
import { useEvents } from '../live/use-fleet.ts'

export interface List<T> {
  readonly items: readonly T[] | undefined
  readonly error: unknown
  readonly again: () => Promise<void>
}

/** `live`: what is in it changes with the instances. */
export function useList<T>(name: string, { live = false }: { readonly live?: boolean } = {}): List<T> {
  const queries = useQueryClient()
  const { data, error } = useQuery({ queryKey: [name], queryFn: ({ signal }) => listAll<T>(`/${name}`, { signal }), ...(live ? { staleTime: 0 } : {}) })
  const again = useCallback(() => queries.invalidateQueries({ queryKey: [name] }), [queries, name])
  useEvents(useCallback(() => void (live && again()), [live, again]))
  return { items: data, error, again }
}
