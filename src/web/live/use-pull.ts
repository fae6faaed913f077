/** An image while it is pulled: its record each time that it changes. */
import { useQueryClient } from '@tanstack/react-query'
import { useEffect } from 'react'
import { part } from '../api/http.ts'
import { stream } from '../api/stream.ts'
import type { Image } from '../api/types.ts'
import { keepStreaming } from './visible.ts'

const DRAWN: ReadonlySet<Image['status']> = new Set(['pending', 'pulling', 'converting'])

export function isPulling({ status }: Pick<Image, 'status'>): boolean {
  return DRAWN.has(status)
}

/** Keeps the list of images up to date while this one is pulled. */
export function usePull(image: Image): void {
  const queries = useQueryClient()
  const { name } = image
  const watches = isPulling(image)
  useEffect(() => {
    if (!watches) return
    return keepStreaming({
      async run(signal, opened) {
        for await (const { data } of stream<Image>(`/images/${part(name)}/progress`, { signal, onOpen: opened })) {
          queries.setQueryData<Image[]>(['images'], images => images?.map(each => (each.name === data.name ? data : each)))
        }
      },
    })
  }, [name, watches, queries])
}
