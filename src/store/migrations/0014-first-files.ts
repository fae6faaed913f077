/** Files that instances find at their first start, beside their user data. */
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const firstFiles: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema.alterTable('first_boots').addColumn('files', 'text').execute()
  },
}
