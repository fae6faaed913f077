/** Apps, services and deployments, and what happened to them. */
import type { Kysely, SelectQueryBuilder } from 'kysely'
import type { ServiceQuery, StoreReader, StoreTx } from '../engine/store-port.ts'
import type { ProjectId } from '../instance/model.ts'
import type { App, Deployment, Service, ServiceRecordKind, ServiceRecords } from '../instance/service.ts'
import type { Database, ServiceRecordTable } from './schema.ts'
import { isOneOf } from './sqlite.ts'

const NO_LIMIT = Number.MAX_SAFE_INTEGER

export function readServices(db: Kysely<Database>): Pick<StoreReader, 'serviceRecord' | 'serviceRecords' | 'countServiceRecords' | 'serviceEvents'> {
  return {
    async serviceRecord<K extends ServiceRecordKind>(kind: K, id: string) {
      const row = await db.selectFrom('service_records').select('record').where('id', '=', id).where('kind', '=', kind).executeTakeFirst()
      return row === undefined ? null : (JSON.parse(row.record) as ServiceRecords[K])
    },
    async serviceRecords<K extends ServiceRecordKind>(kind: K, query: ServiceQuery) {
      const direction = query.order === 'oldest-first' ? 'asc' : 'desc'
      let select = filtered(db.selectFrom('service_records').select('record'), kind, query)
      select = select.orderBy('created_at', direction).orderBy('id', direction)
      if (query.limit !== undefined || query.offset) select = select.limit(query.limit ?? NO_LIMIT)
      if (query.offset) select = select.offset(query.offset)
      return (await select.execute()).map((row) => JSON.parse(row.record) as ServiceRecords[K])
    },
    async countServiceRecords(kind, query) {
      const select = filtered(db.selectFrom('service_records'), kind, query).select(({ fn }) => fn.countAll<number>().as('count'))
      return (await select.executeTakeFirstOrThrow()).count
    },
    async serviceEvents(query) {
      const direction = query.order === 'newest-first' ? 'desc' : 'asc'
      let select = db.selectFrom('service_events').selectAll().where('project_id', '=', query.projectId).where('kind', '=', query.kind)
      if (query.subjectId !== undefined) select = select.where('subject_id', '=', query.subjectId)
      if (query.types !== undefined) select = select.where(isOneOf('type', query.types))
      select = select.orderBy('seq', direction)
      if (query.limit !== undefined || query.offset) select = select.limit(query.limit ?? NO_LIMIT)
      if (query.offset) select = select.offset(query.offset)
      return (await select.execute()).map(({ project_id, subject_id, ...row }) => ({ ...row, projectId: project_id as ProjectId, subjectId: subject_id }))
    },
  }
}

export function writeServices(db: Kysely<Database>): Pick<StoreTx, 'putServiceRecord' | 'appendServiceEvent'> {
  return {
    async putServiceRecord<K extends ServiceRecordKind>(kind: K, record: ServiceRecords[K]) {
      const { id, ...columns } = toRow(kind, record)
      await db
        .insertInto('service_records')
        .values({ id, ...columns })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(columns))
        .execute()
    },
    async appendServiceEvent({ projectId, subjectId, ...event }) {
      await db.insertInto('service_events').values({ ...event, project_id: projectId, subject_id: subjectId }).execute()
    },
  }
}

function filtered<O>(
  select: SelectQueryBuilder<Database, 'service_records', O>,
  kind: ServiceRecordKind,
  query: ServiceQuery,
): SelectQueryBuilder<Database, 'service_records', O> {
  let narrowed = select.where('kind', '=', kind)
  if (query.projectId !== null) narrowed = narrowed.where('project_id', '=', query.projectId)
  if (query.appId !== undefined) narrowed = narrowed.where('app_id', '=', query.appId)
  if (query.serviceId !== undefined) narrowed = narrowed.where('service_id', '=', query.serviceId)
  if (query.name !== undefined) narrowed = narrowed.where('name', '=', query.name)
  if (query.liveOnly === true) narrowed = narrowed.where('is_live', '=', 1)
  return narrowed
}

function toRow(kind: ServiceRecordKind, record: App | Service | Deployment): ServiceRecordTable {
  const isLive = 'endedAt' in record ? record.endedAt === null : record.deletedAt === null
  return {
    id: record.id,
    kind,
    project_id: record.projectId,
    app_id: 'appId' in record ? record.appId : record.id,
    service_id: kind === 'app' ? null : 'serviceId' in record ? record.serviceId : record.id,
    name: 'name' in record ? record.name : '',
    is_live: isLive ? 1 : 0,
    created_at: record.createdAt,
    record: JSON.stringify(record),
  }
}
