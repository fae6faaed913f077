/** Snapshots of instances: the record is JSON, what is asked for are columns. */
import type { Kysely } from 'kysely'
import type { StoreReader, StoreTx } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { Snapshot } from '../instance/snapshot.ts'
import type { Database } from './schema.ts'
import { violatedUnique } from './sqlite.ts'

export function readSnapshots(db: Kysely<Database>): Pick<StoreReader, 'snapshot' | 'snapshots'> {
  return {
    async snapshot(id) {
      const row = await db.selectFrom('snapshots').select('record').where('id', '=', id).executeTakeFirst()
      return row === undefined ? null : (JSON.parse(row.record) as Snapshot)
    },
    async snapshots(query) {
      let select = db.selectFrom('snapshots').select('record')
      if (query.projectId !== null) select = select.where('project_id', '=', query.projectId)
      if (query.sourceId !== undefined) select = select.where('source_id', '=', query.sourceId)
      if (query.name !== undefined) select = select.where('name', '=', query.name)
      const rows = await select.orderBy('created_at', 'desc').orderBy('id', 'desc').execute()
      return rows.map((row) => JSON.parse(row.record) as Snapshot)
    },
  }
}

export function writeSnapshots(db: Kysely<Database>): Pick<StoreTx, 'putSnapshot' | 'deleteSnapshot'> {
  return {
    async putSnapshot(snapshot) {
      const columns = {
        project_id: snapshot.projectId,
        source_id: snapshot.sourceId,
        host_id: snapshot.hostId,
        name: snapshot.name,
        size_bytes: snapshot.sizeBytes,
        created_at: snapshot.createdAt,
        record: JSON.stringify(snapshot),
      }
      try {
        await db
          .insertInto('snapshots')
          .values({ id: snapshot.id, ...columns })
          .onConflict((conflict) => conflict.column('id').doUpdateSet(columns))
          .execute()
      } catch (error) {
        if (violatedUnique(error) === null) throw error
        throw new BerthError('name_conflict', `The instance has a snapshot named ${snapshot.name} already: choose another name, or delete that one.`, {
          details: { name: snapshot.name },
          cause: error,
        })
      }
    },
    async deleteSnapshot(id) {
      await db.deleteFrom('snapshots').where('id', '=', id).execute()
    },
  }
}
