/** Shared file systems, and which instances are made with them; that is in the instances' own records. */
import { sql } from 'kysely'
import type { Kysely } from 'kysely'
import type { StoreReader, StoreTx } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { FileSystem, FileSystemId, InstanceId, KeyId, ProjectId } from '../instance/model.ts'
import type { Database } from './schema.ts'
import { violatedUnique } from './sqlite.ts'

export function readFileSystems(db: Kysely<Database>): Pick<StoreReader, 'fileSystem' | 'fileSystems' | 'fileSystemUsers'> {
  return {
    async fileSystem(id) {
      const row = await db.selectFrom('file_systems').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? null : fromRow(row)
    },
    async fileSystems(projectId) {
      let select = db.selectFrom('file_systems').selectAll().orderBy('created_at').orderBy('id')
      if (projectId !== null) select = select.where('project_id', '=', projectId)
      return (await select.execute()).map(fromRow)
    },
    async fileSystemUsers(projectId) {
      const { rows } = await sql<{ id: string; used: string }>`
        select instances.id as id, json_extract(mount.value, '$.fileSystemId') as used
        from instances, json_each(instances.spec, '$.fileSystems') as mount
        where instances.project_id = ${projectId} and instances.phase <> 'deleted'
        order by instances.created_at, instances.id`.execute(db)
      return rows.map(({ id, used }) => ({ instanceId: id as InstanceId, fileSystemId: used as FileSystemId }))
    },
  }
}

export function writeFileSystems(db: Kysely<Database>): Pick<StoreTx, 'putFileSystem' | 'deleteFileSystem'> {
  return {
    async putFileSystem(fileSystem) {
      const { id, projectId, name, region, sizeBytes, status, createdAt, createdBy } = fileSystem
      const columns = { project_id: projectId, name, region, size_bytes: sizeBytes, status, created_at: createdAt, created_by: createdBy }
      try {
        await db
          .insertInto('file_systems')
          .values({ id, ...columns })
          .onConflict((conflict) => conflict.column('id').doUpdateSet(columns))
          .execute()
      } catch (error) {
        if (violatedUnique(error) === null) throw error
        throw new BerthError('name_conflict', `There is already a file system named ${name}: choose another name.`, { details: { name }, cause: error })
      }
    },
    async deleteFileSystem(id) {
      await db.deleteFrom('file_systems').where('id', '=', id).execute()
    },
  }
}

function fromRow(row: Database['file_systems']): FileSystem {
  return {
    id: row.id as FileSystemId,
    projectId: row.project_id as ProjectId,
    name: row.name,
    region: row.region,
    sizeBytes: row.size_bytes,
    status: row.status,
    createdAt: row.created_at,
    createdBy: row.created_by as KeyId | null,
  }
}
