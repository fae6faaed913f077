/**
 * Brings a database to the tables that this Berth knows.
 *
 * All of it happens in one transaction that holds the write lock, so two processes that start at once take
 * turns, and a crash leaves the database as it was. A database of a newer Berth is refused.
 */
import { sql } from 'kysely'
import { DEFAULT_MIGRATION_TABLE, Migrator } from 'kysely/migration'
import type { Migration } from 'kysely/migration'
import { BerthError } from '../instance/errors.ts'
import { MIGRATIONS } from './migrations/all.ts'
import { APPLICATION_ID, beginImmediate } from './sqlite.ts'
import type { SqliteConnection } from './sqlite.ts'

/** Makes or updates the tables. Throws a catalogue error if the file is not Berth's, or newer than this Berth. */
export async function migrate(
  connection: SqliteConnection,
  path: string,
  migrations: Readonly<Record<string, Migration>> = MIGRATIONS,
): Promise<void> {
  const { raw } = connection
  await beginImmediate(raw)
  try {
    await refuseForeign(connection, path)
    await refuseNewer(connection, path, migrations)
    const migrator = new Migrator({ db: connection.db, provider: { getMigrations: async () => ({ ...migrations }) } })
    const { error } = await migrator.migrateToLatest()
    if (error !== undefined) throw error instanceof Error ? error : new Error('A migration failed.', { cause: error })
    raw.exec(`PRAGMA application_id=${APPLICATION_ID}`)
    raw.exec('COMMIT')
  } catch (error) {
    if (raw.isTransaction) raw.exec('ROLLBACK')
    throw error
  }
}

async function refuseForeign({ db }: SqliteConnection, path: string): Promise<void> {
  const mark = await sql<{ application_id: number }>`pragma application_id`.execute(db)
  if (mark.rows[0]?.application_id === APPLICATION_ID) return
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true })
  if (tables.length === 0) return
  throw new BerthError('internal', `The database ${path} belongs to another program: give another data directory.`)
}

async function refuseNewer(
  { db }: SqliteConnection,
  path: string,
  migrations: Readonly<Record<string, Migration>>,
): Promise<void> {
  const tables = await db.introspection.getTables({ withInternalKyselyTables: true })
  if (!tables.some((table) => table.name === DEFAULT_MIGRATION_TABLE)) return
  const done = await sql<{ name: string }>`select name from ${sql.table(DEFAULT_MIGRATION_TABLE)} order by name`.execute(db)
  const unknown = done.rows.find((row) => !Object.hasOwn(migrations, row.name))
  if (unknown === undefined) return
  throw new BerthError(
    'internal',
    `The database ${path} was written by a newer Berth (step ${unknown.name}): start that version, or restore an older backup.`,
  )
}
