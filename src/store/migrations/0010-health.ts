/** What health checks say of an instance; and an index of those that the server looks after: with checks or an idle policy. */
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const health: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema.alterTable('instances').addColumn('health', 'text').execute()
    await db.schema.alterTable('instances').addColumn('is_watched', 'integer', (column) => column.notNull().defaultTo(0)).execute()
    await db.schema
      .createIndex('instances_watched')
      .on('instances')
      .columns(['project_id', 'created_at', 'id'])
      .where(sql.ref('is_watched'), '=', sql.lit(1))
      .execute()
  },
}
