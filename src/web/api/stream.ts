/**
 * Server-sent events over fetch, which, other than EventSource, tells why it was refused and sends our header.
 *
 * Browsers open six connections to one server for all tabs together, and a stream holds one: so streams of a page
 * that nobody sees are closed (live/visible.ts) and go on where they were when it is seen again.
 */
import { ApiError, send } from './http.ts'
import type { Query } from './http.ts'

export interface StreamEvent<T> {
  readonly id: string | null
  readonly event: string | null
  readonly data: T
}

export interface StreamOptions {
  readonly query?: Query
  readonly signal: AbortSignal
  /** Called once the server has answered. */
  readonly onOpen?: () => void
}

/** The events until the server ends the stream. Throws what was refused, or told in the stream. */
export async function* stream<T>(path: string, { query, signal, onOpen }: StreamOptions): AsyncGenerator<StreamEvent<T>> {
  const response = await send('GET', path, { ...(query === undefined ? {} : { query }), signal, headers: { accept: 'text/event-stream' } })
  onOpen?.()
  if (response.body === null) return
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader()
  let kept = ''
  try {
    for (;;) {
      const { done, value } = await reader.read().catch((error: unknown) => {
        if (signal.aborted) throw error
        throw new ApiError('offline', 'The connection to the server broke.', 0)
      })
      if (done) return
      kept += value
      const blocks = kept.split('\n\n')
      kept = blocks.pop() ?? ''
      for (const block of blocks) {
        const event = parseBlock<T>(block)
        if (event !== null) yield event
      }
    }
  } finally {
    reader.cancel().catch(() => {
      // It is over already.
    })
  }
}

function parseBlock<T>(block: string): StreamEvent<T> | null {
  let id: string | null = null
  let event: string | null = null
  let data: string | null = null
  for (const line of block.split('\n')) {
    if (line.startsWith('id: ')) id = line.slice(4)
    else if (line.startsWith('event: ')) event = line.slice(7)
    else if (line.startsWith('data: ')) data = line.slice(6)
  }
  if (data === null) return null
  const parsed = JSON.parse(data) as unknown
  if (event === 'error') {
    const { error } = parsed as { error: { code: string; message: string } }
    throw new ApiError(error.code, error.message, 0)
  }
  return { id, event, data: parsed as T }
}
