/** What instances have still to do at their first start: user data, kept until it is done. */
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const firstBoots: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema
      .createTable('first_boots')
      .addColumn('instance_id', 'text', (column) => column.primaryKey().notNull())
      .addColumn('user_data', 'text')
      .execute()
  },
}
