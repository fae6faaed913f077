/** What an instance counts as in its region. The index has one entry for each that counts, and no other. */
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { Migration } from 'kysely/migration'

export const slots: Migration = {
  async up(db: Kysely<unknown>): Promise<void> {
    await db.schema.alterTable('reservations').addColumn('slot_region', 'text').execute()
    await db.schema.alterTable('reservations').addColumn('slot_type', 'text').execute()
    await db.schema
      .createIndex('reservations_slot')
      .on('reservations')
      .columns(['slot_region', 'slot_type', 'vcpus', 'instance_id'])
      .where(sql.ref('slot_type'), 'is not', null)
      .execute()
  },
}
