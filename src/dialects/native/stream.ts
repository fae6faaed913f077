/**
 * Endless answers: records as NDJSON (one JSON object a line) or as server-sent events, by the Accept header.
 *
 * Each record is written whole, so that a heartbeat never falls into one. A reader that stalls stops the
 * source. An error after the first byte is told in the stream: NDJSON ends with a line `{"error":…}`,
 * SSE with an event `error`; then the stream ends.
 */
import { once } from 'node:events'
import { PassThrough } from 'node:stream'
import type { FastifyReply, FastifyRequest } from 'fastify'
import { asBerthError, BerthError } from '../../instance/errors.ts'
import { errorBody } from './errors.ts'

/** A quiet stream says so this often, so that nothing on the way takes it for dead. */
export const HEARTBEAT_MS = 15_000
/** Bytes that may wait for a slow reader before the source is stopped. */
export const STREAM_BUFFER_BYTES = 64 * 1024

export interface StreamRecord {
  /** SSE only: what `Last-Event-ID` will say. */
  readonly id?: string
  /** SSE only: the event's name. */
  readonly event?: string
  readonly data: unknown
}

export type StreamFormat = 'ndjson' | 'sse'

/** SSE for those who ask for it, NDJSON for all others. */
export function streamFormat(request: FastifyRequest): StreamFormat {
  return request.headers.accept?.includes('text/event-stream') === true ? 'sse' : 'ndjson'
}

/** A signal that is aborted when the client goes away or the server stops. */
export function clientSignal(reply: FastifyReply, stopping: AbortSignal): AbortSignal {
  const gone = new AbortController()
  reply.raw.once('close', () => gone.abort())
  return AbortSignal.any([gone.signal, stopping])
}

/**
 * Answers with the records of `source` until it ends, the client goes away or the server stops.
 * What must be refused with a status is thrown before this is called.
 */
export function sendStream(
  request: FastifyRequest,
  reply: FastifyReply,
  stopping: AbortSignal,
  source: (signal: AbortSignal) => AsyncIterable<StreamRecord>,
): FastifyReply {
  const format = streamFormat(request)
  const out = new PassThrough({ highWaterMark: STREAM_BUFFER_BYTES })
  const gone = new AbortController()
  out.once('close', () => gone.abort())
  const signal = AbortSignal.any([gone.signal, stopping])
  const beat = setInterval(() => {
    if (out.writableLength === 0) out.write(format === 'sse' ? ': alive\n\n' : '\n')
  }, HEARTBEAT_MS)
  const pump = async () => {
    try {
      for await (const record of source(signal)) {
        if (!out.write(encode(format, record))) await once(out, 'drain', { signal: gone.signal })
      }
      if (stopping.aborted) throw new BerthError('shutting_down', 'Berth is shutting down; ask again in a moment.')
    } catch (error) {
      if (!gone.signal.aborted) {
        const told = stopping.aborted ? new BerthError('shutting_down', 'Berth is shutting down; ask again in a moment.') : asBerthError(error)
        if (told.code === 'internal') request.log.error({ err: error }, 'a stream broke')
        out.write(encode(format, { event: 'error', data: errorBody(told) }))
      }
    } finally {
      clearInterval(beat)
      out.end()
    }
  }
  // The client learns at once that it is connected, however quiet the source is; not before the headers are set.
  reply.raw.once('pipe', () => reply.raw.flushHeaders())
  void reply
    .code(200)
    .headers({
      'content-type': format === 'sse' ? 'text/event-stream; charset=utf-8' : 'application/x-ndjson; charset=utf-8',
      'cache-control': 'no-store',
      'x-accel-buffering': 'no',
    })
    .send(out)
  void pump()
  return reply
}

function encode(format: StreamFormat, { id, event, data }: StreamRecord): string {
  const json = JSON.stringify(data)
  if (format === 'ndjson') return `${json}\n`
  return `${id === undefined ? '' : `id: ${id}\n`}${event === undefined ? '' : `event: ${event}\n`}data: ${json}\n\n`
}
