/** Snapshots, and which instance is about to be made from one. */
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const snapshots: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('snapshots')
      .addColumn('id', 'text', (column) => column.primaryKey().notNull())
      .addColumn('project_id', 'text', (column) => column.notNull())
      .addColumn('source_id', 'text', (column) => column.notNull())
      .addColumn('host_id', 'text', (column) => column.notNull())
      .addColumn('name', 'text')
      .addColumn('size_bytes', 'bigint', (column) => column.notNull())
      .addColumn('created_at', 'double precision', (column) => column.notNull())
      .addColumn('record', 'text', (column) => column.notNull())
      .addUniqueConstraint('snapshots_name', ['source_id', 'name'])
      .execute()
    await db.schema.createIndex('snapshots_by_project').on('snapshots').columns(['project_id', 'created_at']).execute()
    await db.schema.alterTable('instances').addColumn('basis', 'text').execute()
    await db.schema.createIndex('instances_basis').on('instances').column('basis').where(sql.ref('basis'), 'is not', null).execute()
    // Made anew: of two that fit, SQLite would now take the one that holds the deleted as well.
    await db.schema.dropIndex('instances_living_project').execute()
    await db.schema
      .createIndex('instances_living_project')
      .on('instances')
      .columns(['project_id', 'created_at', 'id'])
      .where(sql.ref('phase'), '<>', 'deleted')
      .execute()
  },
}
