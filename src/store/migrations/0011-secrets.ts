/** Secrets of projects, and keys that only some surfaces take. */
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const secrets: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema.alterTable('keys').addColumn('audience', 'text').execute()
    await db.schema
      .createTable('secrets')
      .addColumn('project_id', 'text', column => column.notNull())
      .addColumn('name', 'text', column => column.notNull())
      .addColumn('value', 'text', column => column.notNull())
      .addColumn('created_at', 'real', column => column.notNull())
      .addColumn('updated_at', 'real', column => column.notNull())
      .addPrimaryKeyConstraint('secrets_key', ['project_id', 'name'])
      .execute()
  },
}
