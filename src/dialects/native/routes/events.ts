/** `/berth/v1/events`: what happened to instances, as a list and as it happens. */
import { Type } from 'typebox'
import type { EventFilter } from '../../../engine/api.ts'
import { BerthError } from '../../../instance/errors.ts'
import { callerOf } from '../app.ts'
import type { AddRoutes } from '../app.ts'
import { readCursor, writeCursor } from '../page.ts'
import { presentEvent } from '../present.ts'
import { findInstance } from '../resolve.ts'
import { EventsQuery } from '../schema/events.ts'
import { DEFAULT_PAGE, page } from '../schema/page.ts'
import { sendStream } from '../stream.ts'

const tags = ['events']
const WatchQuery = Type.Object(Type.Pick(EventsQuery, ['instance', 'kind', 'after']).properties, { additionalProperties: false })

export const eventRoutes: AddRoutes = (app, { engine, stopping }) => {
  app.get('/events', {
    schema: {
      tags,
      operationId: 'listEvents',
      summary: 'List events',
      querystring: EventsQuery,
      response: { 200: page(Type.Ref('Event#')) },
    },
    handler: async (request) => {
      const caller = callerOf(request)
      const { instance = [], kind, after, order = 'oldest-first', limit = DEFAULT_PAGE, cursor } = request.query
      const ids = await Promise.all(instance.map(async (word) => (await findInstance(engine, caller, word)).id))
      const filter: EventFilter = {
        order,
        ...(ids.length === 0 ? {} : { instanceIds: ids }),
        ...(kind === undefined ? {} : { kinds: [kind] }),
      }
      if (order === 'newest-first') {
        // Newest first is read from the end, and the cursor counts: what comes meanwhile comes before the first page.
        const offset = cursor === undefined ? 0 : countOf(cursor)
        const events = await engine.events.list(caller, { ...filter, ...(after === undefined ? {} : { afterSeq: after }), offset, limit: limit + 1 })
        const items = events.slice(0, limit).map(presentEvent)
        return { items, next: events.length > limit ? writeCursor([offset + limit, 'newest-first']) : null }
      }
      const afterSeq = cursor === undefined ? after : countOf(cursor)
      const events = await engine.events.list(caller, { ...filter, ...(afterSeq === undefined ? {} : { afterSeq }), limit: limit + 1 })
      const items = events.slice(0, limit).map(presentEvent)
      return { items, next: events.length > limit ? writeCursor([items.at(-1)?.seq ?? 0, 'seq']) : null }
    },
  })

  app.get('/events/watch', {
    schema: {
      tags,
      operationId: 'watchEvents',
      summary: 'Events as they happen',
      description:
        'Server-sent events with `Accept: text/event-stream` (`id` is the `seq`, so that `Last-Event-ID` goes on without gap or repeat), ' +
        'otherwise NDJSON. With `after` (or `Last-Event-ID`) the past ones after it come first; `after=0` is all there is.',
      produces: ['text/event-stream', 'application/x-ndjson'],
      querystring: WatchQuery,
      headers: Type.Object({ 'last-event-id': Type.Optional(Type.String({ pattern: '^[0-9]{0,15}$' })) }),
      response: { 200: Type.Ref('Event#') },
    },
    handler: async (request, reply) => {
      const caller = callerOf(request)
      const { instance = [], kind, after } = request.query
      const ids = await Promise.all(instance.map(async (word) => (await findInstance(engine, caller, word)).id))
      const lastId = request.headers['last-event-id']
      const afterSeq = lastId === undefined || lastId === '' ? after : Number(lastId)
      // A first look tells what is refused, while there still is a status to say it with.
      await engine.events.list(caller, { limit: 1 })
      return sendStream(request, reply, stopping, async function* (signal) {
        const events = engine.events.watch(caller, {
          signal,
          ...(ids.length === 0 ? {} : { instanceIds: ids }),
          ...(kind === undefined ? {} : { kinds: [kind] }),
          ...(afterSeq === undefined ? {} : { afterSeq }),
        })
        for await (const event of events) yield { id: String(event.seq), event: event.kind, data: presentEvent(event) }
      })
    },
  })
}

function countOf(cursor: string): number {
  const [count] = readCursor(cursor)
  if (typeof count === 'number' && Number.isSafeInteger(count) && count >= 0) return count
  throw new BerthError('invalid_request', 'The cursor is not one that this list gave; leave it out to begin at the start.', {
    details: { field: 'cursor' },
  })
}
