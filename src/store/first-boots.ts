/** What instances have still to do at their first start. */
import type { Kysely } from 'kysely'
import type { StoreReader, StoreTx } from '../engine/store-port.ts'
import type { ConfigFile } from '../instance/config-file.ts'
import type { Database } from './schema.ts'

export function readFirstBoots(db: Kysely<Database>): Pick<StoreReader, 'firstBoot'> {
  return {
    async firstBoot(instanceId) {
      const row = await db.selectFrom('first_boots').selectAll().where('instance_id', '=', instanceId).executeTakeFirst()
      return row === undefined ? null : { userData: row.user_data, files: row.files === null ? [] : (JSON.parse(row.files) as readonly ConfigFile[]) }
    },
  }
}

export function writeFirstBoots(db: Kysely<Database>): Pick<StoreTx, 'insertFirstBoot' | 'deleteFirstBoot'> {
  return {
    async insertFirstBoot(instanceId, record) {
      await db.insertInto('first_boots').values({ instance_id: instanceId, user_data: record.userData, files: record.files.length === 0 ? null : JSON.stringify(record.files) }).execute()
    },
    async deleteFirstBoot(instanceId) {
      await db.deleteFrom('first_boots').where('instance_id', '=', instanceId).execute()
    },
  }
}
