/** The log of a pretended instance: what is there, and what comes, until nobody follows or the instance is gone. */
import type { LogQuery, LogRecord } from '../../engine/host-port.ts'

interface Line {
  readonly at: number
  readonly text: string
}

export async function* followLog(lines: readonly Line[], query: LogQuery, news: Set<() => void>, isGone: () => boolean): AsyncIterable<LogRecord> {
  let next = query.tail === null ? 0 : Math.max(0, lines.length - Math.max(0, query.tail))
  let wake: () => void = () => {}
  const tell = () => wake()
  news.add(tell)
  query.signal.addEventListener('abort', tell)
  try {
    for (;;) {
      while (next < lines.length && !query.signal.aborted) {
        const line = lines[next]
        next++
        if (line !== undefined) yield { at: line.at, stream: 'stdout', text: line.text, partial: false }
      }
      if (!query.follow || query.signal.aborted || isGone()) return
      const woken = new Promise<void>(resolve => (wake = resolve))
      if (next >= lines.length) await woken
    }
  } finally {
    news.delete(tell)
    query.signal.removeEventListener('abort', tell)
  }
}
