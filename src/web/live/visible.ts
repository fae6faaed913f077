/** Runs a stream for as long as somebody sees the page, again and again: after an end, after an error, after a pause. */
import { ApiError } from '../api/http.ts'

/** A page that was hidden for so long closes its streams. */
const HIDDEN_MS = 20_000
const FIRST_RETRY_MS = 500
const LAST_RETRY_MS = 10_000

export interface StreamHooks {
  /** One life of the stream; `opened` when the server has answered. */
  readonly run: (signal: AbortSignal, opened: () => void) => Promise<void>
  /** It could not be reached, or broke; it is tried again. */
  readonly onDown?: () => void
  /** It was refused in a way that trying again does not mend. */
  readonly onRefused?: (error: ApiError) => void
}

/** Starts it; the function that is returned ends it. */
export function keepStreaming({ run, onDown, onRefused }: StreamHooks): () => void {
  const ended = new AbortController()
  let paused = new AbortController()
  let wake: () => void = () => {}
  let hiddenTimer: number | undefined

  const onVisibility = () => {
    window.clearTimeout(hiddenTimer)
    if (document.hidden) hiddenTimer = window.setTimeout(() => paused.abort(), HIDDEN_MS)
    else wake()
  }
  document.addEventListener('visibilitychange', onVisibility)
  window.addEventListener('online', onVisibility)

  const pause = async (ms: number | null) => {
    await new Promise<void>(resolve => {
      wake = resolve
      if (ms !== null) window.setTimeout(resolve, ms)
      if (ended.signal.aborted) resolve()
    })
    wake = () => {}
  }

  const loop = async () => {
    let retryMs = FIRST_RETRY_MS
    while (!ended.signal.aborted) {
      if (paused.signal.aborted && document.hidden) {
        await pause(null)
        continue
      }
      paused = new AbortController()
      const signal = AbortSignal.any([ended.signal, paused.signal])
      try {
        await run(signal, () => (retryMs = FIRST_RETRY_MS))
        if (!signal.aborted) onDown?.()
      } catch (error) {
        if (signal.aborted) continue
        if (error instanceof ApiError && error.status >= 400 && error.status < 500) {
          onRefused?.(error)
          return
        }
        onDown?.()
      }
      if (!signal.aborted) await pause(retryMs)
      retryMs = Math.min(retryMs * 2, LAST_RETRY_MS)
    }
  }
  void loop()

  return () => {
    ended.abort()
    wake()
    window.clearTimeout(hiddenTimer)
    document.removeEventListener('visibilitychange', onVisibility)
    window.removeEventListener('online', onVisibility)
  }
}
