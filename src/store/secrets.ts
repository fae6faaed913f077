/** Secrets of projects. Their values leave the store only for the machine that an instance starts on. */
import type { Kysely } from 'kysely'
import type { StoreReader, StoreTx } from '../engine/store-port.ts'
import type { ProjectId } from '../instance/model.ts'
import type { Database } from './schema.ts'

export function readSecrets(db: Kysely<Database>): Pick<StoreReader, 'secrets' | 'secretValues'> {
  return {
    async secrets(projectId) {
      const rows = await db.selectFrom('secrets').select(['project_id', 'name', 'created_at', 'updated_at']).where('project_id', '=', projectId).orderBy('name').execute()
      return rows.map(row => ({ projectId: row.project_id as ProjectId, name: row.name, createdAt: row.created_at, updatedAt: row.updated_at }))
    },
    async secretValues(projectId, names) {
      if (names.length === 0) return {}
      const rows = await db.selectFrom('secrets').select(['name', 'value']).where('project_id', '=', projectId).where('name', 'in', names).execute()
      return Object.fromEntries(rows.map(({ name, value }) => [name, value]))
    },
  }
}

export function writeSecrets(db: Kysely<Database>): Pick<StoreTx, 'putSecret' | 'deleteSecret'> {
  return {
    async putSecret({ projectId, name, createdAt, updatedAt }, value) {
      const row = { project_id: projectId, name, value, created_at: createdAt, updated_at: updatedAt }
      await db
        .insertInto('secrets')
        .values(row)
        .onConflict(conflict => conflict.columns(['project_id', 'name']).doUpdateSet({ value, updated_at: updatedAt }))
        .execute()
    },
    async deleteSecret(projectId, name) {
      await db.deleteFrom('secrets').where('project_id', '=', projectId).where('name', '=', name).execute()
    },
  }
}
