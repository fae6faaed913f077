/**
 * Services: apps, services and deployments with the record of what happened to them; and what lists of a hundred
 * thousand instances stand on: counts kept by triggers, and indexes over the annotations that services set.
 */
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'
import { SERVICE_ANNOTATIONS } from '../schema.ts'

export const services: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await records(db)
    await events(db)
    await annotationIndexes(db)
    await counts(db)
  },
}

async function records(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('service_records')
    .addColumn('id', 'text', (column) => column.primaryKey().notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('app_id', 'text', (column) => column.notNull())
    .addColumn('service_id', 'text')
    .addColumn('name', 'text', (column) => column.notNull())
    .addColumn('is_live', 'integer', (column) => column.notNull())
    .addColumn('created_at', 'double precision', (column) => column.notNull())
    .addColumn('record', 'text', (column) => column.notNull())
    .execute()
  await db.schema.createIndex('service_records_project').on('service_records').columns(['kind', 'project_id', 'created_at', 'id']).execute()
  await db.schema.createIndex('service_records_service').on('service_records').columns(['kind', 'service_id', 'created_at', 'id']).execute()
  await db.schema.createIndex('service_records_app').on('service_records').columns(['kind', 'app_id', 'created_at', 'id']).execute()
  await db.schema
    .createIndex('service_records_live')
    .on('service_records')
    .columns(['kind', 'project_id', 'created_at', 'id'])
    .where(sql.ref('is_live'), '=', sql.lit(1))
    .execute()
}

async function events(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('service_events')
    .addColumn('seq', 'integer', (column) => column.primaryKey().autoIncrement().notNull())
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('kind', 'text', (column) => column.notNull())
    .addColumn('subject_id', 'text', (column) => column.notNull())
    .addColumn('at', 'double precision', (column) => column.notNull())
    .addColumn('type', 'text', (column) => column.notNull())
    .addColumn('message', 'text', (column) => column.notNull())
    .execute()
  await db.schema.createIndex('service_events_project').on('service_events').columns(['project_id', 'kind', 'seq']).execute()
  await db.schema.createIndex('service_events_subject').on('service_events').columns(['subject_id', 'seq']).execute()
}

async function annotationIndexes(db: Kysely<unknown>): Promise<void> {
  for (const key of SERVICE_ANNOTATIONS) {
    await sql`create index ${sql.ref(`instances_by_${key}`)} on instances (json_extract(annotations, ${sql.lit(`$.${key}`)}), created_at, id)
      where json_extract(annotations, ${sql.lit(`$.${key}`)}) is not null`.execute(db)
  }
}

/** How many instances a project has in each phase: counted when a row comes, changes its phase, or goes. */
async function counts(db: Kysely<unknown>): Promise<void> {
  await db.schema
    .createTable('instance_counts')
    .addColumn('project_id', 'text', (column) => column.notNull())
    .addColumn('phase', 'text', (column) => column.notNull())
    .addColumn('count', 'integer', (column) => column.notNull())
    .addPrimaryKeyConstraint('instance_counts_key', ['project_id', 'phase'])
    .execute()
  await sql`insert into instance_counts (project_id, phase, count) select project_id, phase, count(*) from instances group by project_id, phase`.execute(db)
  const plus = sql`insert into instance_counts (project_id, phase, count) values (new.project_id, new.phase, 1)
    on conflict (project_id, phase) do update set count = count + 1;`
  const minus = sql`update instance_counts set count = count - 1 where project_id = old.project_id and phase = old.phase;`
  await sql`create trigger instance_counts_insert after insert on instances begin ${plus} end`.execute(db)
  await sql`create trigger instance_counts_delete after delete on instances begin ${minus} end`.execute(db)
  await sql`create trigger instance_counts_update after update of phase, project_id on instances
    when old.phase is not new.phase or old.project_id is not new.project_id begin ${minus} ${plus} end`.execute(db)
}
