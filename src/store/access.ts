/** Projects, API keys (hashes only), and the answers remembered for idempotency keys. */
import type { Kysely } from 'kysely'
import type { StoreReader, StoreTx } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { ApiKey, InstanceId, KeyId, Project, ProjectId, Scope, Surface } from '../instance/model.ts'
import type { Database, KeyRow, ProjectTable } from './schema.ts'
import { violatedUnique } from './sqlite.ts'

/** Remembered answers are dropped after this long; a client that retries later makes a new request. */
export const IDEMPOTENCY_KEEP_MS = 7 * 24 * 3_600_000

type AccessReads = 'project' | 'projects' | 'keyByHash' | 'keys'
type AccessWrites = 'putProject' | 'putKey' | 'deleteKey' | 'idempotent' | 'putIdempotent'

export function readAccess(db: Kysely<Database>): Pick<StoreReader, AccessReads> {
  return {
    async project(id) {
      const row = await db.selectFrom('projects').selectAll().where('id', '=', id).executeTakeFirst()
      return row === undefined ? null : projectFromRow(row)
    },
    async projects() {
      return (await db.selectFrom('projects').selectAll().orderBy('created_at').orderBy('id').execute()).map(projectFromRow)
    },
    async keyByHash(hash) {
      const row = await db.selectFrom('keys').selectAll().where('hash', '=', hash).executeTakeFirst()
      return row === undefined ? null : keyFromRow(row)
    },
    async keys(projectId) {
      let select = db.selectFrom('keys').selectAll()
      if (projectId !== null) select = select.where('project_id', '=', projectId)
      return (await select.orderBy('created_at').orderBy('id').execute()).map(keyFromRow)
    },
  }
}

export function writeAccess(db: Kysely<Database>): Pick<StoreTx, AccessWrites> {
  return {
    async putProject(project) {
      const columns = {
        name: project.name,
        guest_to_guest: project.guestToGuest ? (1 as const) : (0 as const),
        created_at: project.createdAt,
      }
      await db
        .insertInto('projects')
        .values({ id: project.id, ...columns })
        .onConflict((conflict) => conflict.column('id').doUpdateSet(columns))
        .execute()
    },
    async putKey(key, hash) {
      const columns = {
        project_id: key.projectId,
        name: key.name,
        scopes: JSON.stringify(key.scopes),
        audience: key.audience === null ? null : JSON.stringify(key.audience),
        hash,
        created_at: key.createdAt,
        last_used_at: key.lastUsedAt,
        expires_at: key.expiresAt,
      }
      try {
        await db
          .insertInto('keys')
          .values({ id: key.id, ...columns })
          .onConflict((conflict) => conflict.column('id').doUpdateSet(columns))
          .execute()
      } catch (error) {
        if (violatedUnique(error) === null) throw error
        throw new BerthError('already_exists', 'Another API key has the same secret: choose another.', { cause: error })
      }
    },
    async deleteKey(id) {
      await db.deleteFrom('keys').where('id', '=', id).execute()
    },
    async idempotent(projectId, key) {
      const select = db.selectFrom('idempotency').selectAll().where('project_id', '=', projectId).where('key', '=', key)
      const row = await select.executeTakeFirst()
      if (row === undefined) return null
      return {
        projectId: row.project_id as ProjectId,
        key: row.key,
        requestHash: row.request_hash,
        instanceId: row.instance_id as InstanceId,
        createdAt: row.created_at,
      }
    },
    async putIdempotent(record) {
      const columns = { request_hash: record.requestHash, instance_id: record.instanceId, created_at: record.createdAt }
      await db
        .insertInto('idempotency')
        .values({ project_id: record.projectId, key: record.key, ...columns })
        .onConflict((conflict) => conflict.columns(['project_id', 'key']).doUpdateSet(columns))
        .execute()
      await db.deleteFrom('idempotency').where('created_at', '<', record.createdAt - IDEMPOTENCY_KEEP_MS).execute()
    },
  }
}

function projectFromRow(row: ProjectTable): Project {
  return { id: row.id as ProjectId, name: row.name, guestToGuest: row.guest_to_guest === 1, createdAt: row.created_at }
}

function keyFromRow(row: KeyRow): ApiKey {
  return {
    id: row.id as KeyId,
    projectId: row.project_id as ProjectId,
    name: row.name,
    scopes: JSON.parse(row.scopes) as Scope[],
    audience: row.audience === null ? null : (JSON.parse(row.audience) as Surface[]),
    createdAt: row.created_at,
    lastUsedAt: row.last_used_at,
    expiresAt: row.expires_at,
  }
}
