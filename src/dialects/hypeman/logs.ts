/**
 * Logs as server-sent events: each line is one `data:` with a JSON *string*, nothing else has a meaning, and the
 * end of the stream is the end of the connection.
 *
 * Headers go out before the first line exists, or a quiet instance would look like a dead server. A reader that
 * is slow slows the source; a quiet follow stream carries a comment now and then, which keeps middleboxes awake
 * and which every SDK skips.
 */
import type { ServerResponse } from 'node:http'
import { once } from 'node:events'
import type { FastifyReply, FastifyRequest } from 'fastify'
import type { LogRecord } from '../../engine/host-port.ts'
import { queryBoolean, queryChoice, queryInteger } from './query.ts'
import type { Surface } from './surface.ts'
import { callerOf, instanceOf } from './surface.ts'

const TAIL_DEFAULT = 100
const TAIL_LIMIT = 1_000_000
const HEARTBEAT_MS = 15_000
/** A line longer than this arrives as several events. */
const LINE_LIMIT_CHARACTERS = 1024 * 1024

const SOURCES = ['app', 'vmm', 'hypeman'] as const

export async function streamLogs(surface: Surface, request: FastifyRequest, reply: FastifyReply): Promise<void> {
  const caller = callerOf(request)
  const tail = Math.min(Math.abs(queryInteger(request, 'tail', TAIL_DEFAULT)), TAIL_LIMIT)
  const follow = queryBoolean(request, 'follow', false)
  const source = queryChoice(request, 'source', SOURCES) ?? 'app'
  const instance = await instanceOf(surface, request)

  const gone = new AbortController()
  const signal = AbortSignal.any([gone.signal, surface.options.stopping])
  const records = await surface.engine.instances.logs(caller, instance.id, {
    source: source === 'hypeman' ? 'server' : source,
    tail,
    follow,
    signal,
  })
  const iterator = joinPartials(records)[Symbol.asyncIterator]()
  // Without follow the first line is there already, or its error is: that can still be an HTTP error.
  const first = follow ? null : await iterator.next()

  reply.hijack()
  const { raw } = reply
  raw.once('close', () => gone.abort())
  raw.once('error', () => gone.abort())
  raw.writeHead(200, {
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache',
    connection: 'keep-alive',
    'x-accel-buffering': 'no',
  })
  raw.flushHeaders()
  const heartbeat = setInterval(() => {
    if (!raw.writableNeedDrain) raw.write(': ping\n\n')
  }, HEARTBEAT_MS)
  try {
    for (let next = first ?? (await iterator.next()); next.done !== true; next = await iterator.next()) {
      await writeEvent(raw, next.value, signal)
    }
  } catch (error) {
    // The stream has begun, so its end is all that can still be said; a client that left is no error.
    if (!signal.aborted) request.log.warn({ err: error, instance: instance.id }, 'a log stream broke off')
  } finally {
    clearInterval(heartbeat)
    gone.abort()
    await iterator.return?.(undefined)
    raw.end()
  }
}

async function writeEvent(raw: ServerResponse, line: string, signal: AbortSignal): Promise<void> {
  if (raw.write(`data: ${JSON.stringify(line)}\n\n`) || signal.aborted) return
  await once(raw, 'drain', { signal })
}

/** Whole lines; pieces of a very long one are put together up to the limit. */
export async function* joinPartials(records: AsyncIterable<LogRecord>): AsyncGenerator<string, void, undefined> {
  const pending = new Map<LogRecord['stream'], string>()
  for await (const record of records) {
    const text = (pending.get(record.stream) ?? '') + record.text
    if (record.partial && text.length < LINE_LIMIT_CHARACTERS) {
      pending.set(record.stream, text)
      continue
    }
    pending.delete(record.stream)
    yield text
  }
  for (const text of pending.values()) yield text
}
