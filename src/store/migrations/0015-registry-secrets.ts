/** Secrets that are passwords of registries. */
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const registrySecrets: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema.alterTable('secrets').addColumn('registry', 'text').execute()
  },
}
