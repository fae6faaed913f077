/** Which key a secret is sealed with; null is none yet: it is sealed when the store opens. */
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const sealedSecrets: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema.alterTable('secrets').addColumn('key_id', 'text').execute()
  },
}
