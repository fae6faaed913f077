/** Secrets of projects, sealed. Their values leave the store only for the machine that an instance starts on. */
import type { Kysely } from 'kysely'
import type { StoreReader, StoreTx } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import type { ProjectId, RegistryLogin } from '../instance/model.ts'
import type { Database } from './schema.ts'
import type { Sealing } from './sealing.ts'
import { beginImmediate } from './sqlite.ts'
import type { SqliteConnection } from './sqlite.ts'

export function readSecrets(db: Kysely<Database>, sealing: Sealing): Pick<StoreReader, 'secrets' | 'secretValues'> {
  return {
    async secrets(projectId) {
      const rows = await db.selectFrom('secrets').select(['project_id', 'name', 'registry', 'created_at', 'updated_at']).where('project_id', '=', projectId).orderBy('name').execute()
      return rows.map(row => ({
        projectId: row.project_id as ProjectId,
        name: row.name,
        ...(row.registry === null ? {} : { registry: JSON.parse(row.registry) as RegistryLogin }),
        createdAt: row.created_at,
        updatedAt: row.updated_at,
      }))
    },
    async secretValues(projectId, names) {
      if (names.length === 0) return {}
      const rows = await db.selectFrom('secrets').select(['name', 'value', 'key_id']).where('project_id', '=', projectId).where('name', 'in', names).execute()
      return Object.fromEntries(
        rows.map(({ name, value, key_id: keyId }) => {
          const opened = sealing.open({ value, keyId }, placeOf(projectId, name))
          if (opened === null) throw lost(name)
          return [name, opened]
        }),
      )
    },
  }
}

export function writeSecrets(db: Kysely<Database>, sealing: Sealing): Pick<StoreTx, 'putSecret' | 'deleteSecret'> {
  return {
    async putSecret({ projectId, name, registry: login = null, createdAt, updatedAt }, plain) {
      const { value, keyId } = sealing.seal(plain, placeOf(projectId, name))
      const registry = login === null ? null : JSON.stringify(login)
      const row = { project_id: projectId, name, value, key_id: keyId, registry, created_at: createdAt, updated_at: updatedAt }
      await db
        .insertInto('secrets')
        .values(row)
        .onConflict(conflict => conflict.columns(['project_id', 'name']).doUpdateSet({ value, key_id: keyId, registry, updated_at: updatedAt }))
        .execute()
    },
    async deleteSecret(projectId, name) {
      await db.deleteFrom('secrets').where('project_id', '=', projectId).where('name', '=', name).execute()
    },
  }
}

/** Seals with the current key what none, or another that is here, has sealed. Answers how many no key that is here opens. */
export async function sealAll({ raw, db }: SqliteConnection, sealing: Sealing): Promise<number> {
  const stale = () => db.selectFrom('secrets').selectAll().where(where => where.or([where('key_id', 'is', null), where('key_id', '!=', sealing.keyId)])).execute()
  if ((await stale()).length === 0) return 0
  let lostCount = 0
  // What was plain is overwritten where it lay, not only let go.
  raw.exec('PRAGMA secure_delete=ON')
  await beginImmediate(raw)
  try {
    for (const { project_id: projectId, name, value, key_id: keyId } of await stale()) {
      const place = placeOf(projectId, name)
      const plain = sealing.open({ value, keyId }, place)
      if (plain === null) {
        lostCount += 1
        continue
      }
      const sealed = sealing.seal(plain, place)
      await db.updateTable('secrets').set({ value: sealed.value, key_id: sealed.keyId }).where('project_id', '=', projectId).where('name', '=', name).execute()
    }
    raw.exec('COMMIT')
  } catch (error) {
    if (raw.isTransaction) raw.exec('ROLLBACK')
    throw error
  }
  // The log has had it too.
  raw.exec('PRAGMA wal_checkpoint(TRUNCATE)')
  raw.exec('PRAGMA secure_delete=OFF')
  return lostCount
}

function placeOf(projectId: string, name: string): string {
  return `${projectId}/${name}`
}

function lost(name: string): BerthError {
  return new BerthError('invalid_state', `The secret ${name} can't be opened: the key that sealed it is not here. Bring it back (secrets.key in the data directory, or BERTH_SECRETS_KEY), or set the secret again.`)
}
