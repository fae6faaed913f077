/** The log of an instance as it grows: the last lines, then new ones. What arrives within a moment is drawn at once. */
import { useEffect, useState } from 'react'
import { ApiError } from '../../api/http.ts'
import { part } from '../../api/http.ts'
import { stream } from '../../api/stream.ts'
import type { LogRecord } from '../../api/types.ts'
import { keepStreaming } from '../../live/visible.ts'

/** Lines that are kept and drawn. */
export const LINES_KEPT = 2000
const GATHER_MS = 100

export interface LogLine {
  readonly number: number
  readonly at: string | null
  readonly stream: LogRecord['stream']
  readonly text: string
}

export interface Log {
  readonly lines: readonly LogLine[]
  readonly isOpen: boolean
  /** Why there is none. */
  readonly problem: ApiError | null
}

export type LogSource = 'app' | 'vmm' | 'server'

const NOTHING: Log = { lines: [], isOpen: false, problem: null }

/** `life` is another one each time that the VM begins anew. */
export function useLog(id: string, source: LogSource, life: string): Log {
  const [log, setLog] = useState<Log>(NOTHING)
  useEffect(() => {
    let lines: readonly LogLine[] = []
    let fresh: LogLine[] = []
    let timer: number | undefined
    let number = 0
    const draw = () => {
      timer = undefined
      lines = [...lines, ...fresh].slice(-LINES_KEPT)
      fresh = []
      setLog({ lines, isOpen: true, problem: null })
    }
    const stop = keepStreaming({
      async run(signal, opened) {
        lines = []
        fresh = []
        const records = stream<LogRecord>(`/instances/${part(id)}/logs`, { query: { source, follow: true, tail: LINES_KEPT }, signal, onOpen: opened })
        let isPartial = false
        timer ??= window.setTimeout(draw, GATHER_MS)
        for await (const { data } of records) {
          const last = fresh.at(-1)
          // A very long line comes in pieces.
          if (isPartial && last !== undefined) fresh[fresh.length - 1] = { ...last, text: last.text + data.text }
          else fresh.push({ number: number++, at: data.at, stream: data.stream, text: data.text })
          isPartial = data.partial
          timer ??= window.setTimeout(draw, GATHER_MS)
        }
        // It ended with the VM: the next life begins it anew.
        if (!signal.aborted) throw new ApiError('log_ended', 'The log has ended.', 410)
      },
      onRefused: error => setLog(before => (error.code === 'log_ended' ? { ...before, isOpen: false } : { ...before, problem: error, isOpen: false })),
      onDown: () => setLog(before => ({ ...before, isOpen: false })),
    })
    return () => {
      stop()
      window.clearTimeout(timer)
      setLog(NOTHING)
    }
  }, [id, source, life])
  return log
}
