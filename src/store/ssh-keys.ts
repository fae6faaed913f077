/** SSH keys of projects: public parts only, the private ones are nowhere. */
import type { Kysely } from 'kysely'
import type { StoreReader, StoreTx } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { ProjectId, SshKeyId } from '../instance/model.ts'
import type { Database } from './schema.ts'
import { violatedUnique } from './sqlite.ts'

export function readSshKeys(db: Kysely<Database>): Pick<StoreReader, 'sshKeys'> {
  return {
    async sshKeys(projectId) {
      const rows = await db.selectFrom('ssh_keys').selectAll().where('project_id', '=', projectId).orderBy('created_at').orderBy('id').execute()
      return rows.map((row) => ({
        id: row.id as SshKeyId,
        projectId: row.project_id as ProjectId,
        name: row.name,
        publicKey: row.public_key,
        createdAt: row.created_at,
      }))
    },
  }
}

export function writeSshKeys(db: Kysely<Database>): Pick<StoreTx, 'insertSshKey' | 'deleteSshKey'> {
  return {
    async insertSshKey(key) {
      const row = { id: key.id, project_id: key.projectId, name: key.name, public_key: key.publicKey, created_at: key.createdAt }
      try {
        await db.insertInto('ssh_keys').values(row).execute()
      } catch (error) {
        if (violatedUnique(error) === null) throw error
        throw new BerthError('name_conflict', `There is already an SSH key named ${key.name}: choose another name.`, { cause: error })
      }
    },
    async deleteSshKey(id) {
      await db.deleteFrom('ssh_keys').where('id', '=', id).execute()
    },
  }
}
