/** The list of events of the whole installation: appended to, read in pages, never changed. */
import type { Kysely, Selectable, SelectQueryBuilder } from 'kysely'
import type { EventQuery, StoreReader, StoreTx } from '../engine/store-port.ts'
import type { InstanceEvent, InstanceId, ProjectId } from '../instance/model.ts'
import type { Database, EventTable } from './schema.ts'
import { isAlso, isOneOf } from './sqlite.ts'

const NO_LIMIT = Number.MAX_SAFE_INTEGER

export function readEvents(db: Kysely<Database>): Pick<StoreReader, 'events' | 'countEvents'> {
  return {
    async events(query) {
      const direction = query.order === 'newest-first' ? 'desc' : 'asc'
      let select = filtered(db.selectFrom('events').selectAll(), query).orderBy('seq', direction)
      if (query.limit !== undefined || query.offset) select = select.limit(query.limit ?? NO_LIMIT)
      if (query.offset) select = select.offset(query.offset)
      return (await select.execute()).map(fromRow)
    },
    async countEvents(query) {
      const select = filtered(db.selectFrom('events'), query).select(({ fn }) => fn.countAll<number>().as('count'))
      return (await select.executeTakeFirstOrThrow()).count
    },
  }
}

export function writeEvents(db: Kysely<Database>): Pick<StoreTx, 'appendEvent'> {
  return {
    async appendEvent(event) {
      const { seq } = await db
        .insertInto('events')
        .values({
          instance_id: event.instanceId,
          project_id: event.projectId,
          at: event.at,
          kind: event.kind,
          from_phase: event.from,
          to_phase: event.to,
          reason: event.reason,
        })
        .returning('seq')
        .executeTakeFirstOrThrow()
      return { ...event, seq }
    },
  }
}

function filtered<O>(
  select: SelectQueryBuilder<Database, 'events', O>,
  query: EventQuery,
): SelectQueryBuilder<Database, 'events', O> {
  let narrowed = select
  const [only, ...more] = query.instanceIds ?? []
  if (only !== undefined && more.length === 0) narrowed = narrowed.where('instance_id', '=', only)
  else if (query.instanceIds !== undefined) narrowed = narrowed.where(isOneOf('instance_id', query.instanceIds))
  if (query.projectId !== null) {
    const project = query.projectId
    // Few instances have few of the project's events: their index, not the project's.
    narrowed = query.instanceIds === undefined ? narrowed.where('project_id', '=', project) : narrowed.where(isAlso('project_id', project))
  }
  if (query.afterSeq !== undefined) narrowed = narrowed.where('seq', '>', query.afterSeq)
  const { toPhases } = query
  if (toPhases !== undefined) narrowed = narrowed.where((where) => where.or([where.eb('kind', '<>', 'phase'), isOneOf('to_phase', toPhases)]))
  if (query.kinds !== undefined) narrowed = narrowed.where(isOneOf('kind', query.kinds))
  return narrowed
}

function fromRow(row: Selectable<EventTable>): InstanceEvent {
  return {
    seq: row.seq,
    instanceId: row.instance_id as InstanceId,
    projectId: row.project_id as ProjectId,
    at: row.at,
    kind: row.kind,
    from: row.from_phase,
    to: row.to_phase,
    reason: row.reason,
  }
}
