/** The audit trail. Each way to ask for it has an index in the order of its list. */
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const audit: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('audit')
      .addColumn('seq', 'integer', (column) => column.primaryKey().autoIncrement().notNull())
      .addColumn('at', 'double precision', (column) => column.notNull())
      .addColumn('project_id', 'text', (column) => column.notNull())
      .addColumn('key_id', 'text')
      .addColumn('via', 'text', (column) => column.notNull())
      .addColumn('operation', 'text')
      .addColumn('action', 'text', (column) => column.notNull())
      .addColumn('target_kind', 'text', (column) => column.notNull())
      .addColumn('target_id', 'text')
      .addColumn('target_name', 'text')
      .addColumn('outcome', 'text', (column) => column.notNull())
      .addColumn('details', 'text', (column) => column.notNull())
      .execute()
    const order = ['at', 'seq']
    await db.schema.createIndex('audit_project').on('audit').columns(['project_id', ...order]).execute()
    await db.schema.createIndex('audit_action').on('audit').columns(['project_id', 'action', ...order]).execute()
    await db.schema.createIndex('audit_kind').on('audit').columns(['project_id', 'target_kind', ...order]).execute()
    await db.schema.createIndex('audit_key').on('audit').columns(['key_id', ...order]).execute()
    await db.schema.createIndex('audit_target').on('audit').columns(['target_id', ...order]).execute()
  },
}
