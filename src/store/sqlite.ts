/**
 * SQLite's own ways, all in this file: connections over node:sqlite, pragmas, locks, what its errors mean,
 * and the few expressions that other databases spell differently.
 *
 * One connection writes, another reads. In WAL mode the reader sees the last commit and never waits.
 * `synchronous=FULL` makes a commit durable before it returns.
 */
import { DatabaseSync } from 'node:sqlite'
import type { SQLInputValue, StatementSync } from 'node:sqlite'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kysely, SqliteDialect, sql } from 'kysely'
import type { AliasedRawBuilder, RawBuilder, SqlBool, SqliteDatabase, SqliteStatement } from 'kysely'
import { BerthError } from '../instance/errors.ts'
import type { Database } from './schema.ts'

/** Prepared statements kept on each connection; the least recently used goes first. */
export const STATEMENT_CACHE_LIMIT = 256
/** How long a writer waits for another process that holds the lock. */
export const LOCK_WAIT_LIMIT_MS = 10_000
/** node:sqlite waits without letting anything else run, so one wait is short; between waits we sleep. */
const LOCK_BLOCK_MS = 20
const LOCK_PAUSE_MS = 30
/** Pages of the log after which a commit copies it into the database: about 16 MB. */
const WAL_CHECKPOINT_PAGES = 4000
const PAGE_CACHE_KIB = 16_384
/** "BRTH": marks the file as Berth's. */
export const APPLICATION_ID = 0x42525448

const SQLITE_BUSY = 5
const SQLITE_READONLY = 8
const SQLITE_IOERR = 10
const SQLITE_CORRUPT = 11
const SQLITE_FULL = 13
const SQLITE_CANTOPEN = 14
const SQLITE_NOTADB = 26
const SQLITE_CONSTRAINT_FOREIGNKEY = 787
const SQLITE_CONSTRAINT_PRIMARYKEY = 1555
const SQLITE_CONSTRAINT_UNIQUE = 2067

/** A connection and the query builder over it. */
export interface SqliteConnection {
  readonly raw: DatabaseSync
  readonly db: Kysely<Database>
}

/** Opens the file (made if absent) for writing or for reading only. */
export function connectSqlite(path: string, mode: 'write' | 'read'): SqliteConnection {
  const raw = new DatabaseSync(path, { timeout: LOCK_BLOCK_MS, enableForeignKeyConstraints: true })
  try {
    if (mode === 'write') {
      raw.exec('PRAGMA journal_mode=WAL')
      raw.exec('PRAGMA synchronous=FULL')
      raw.exec(`PRAGMA wal_autocheckpoint=${WAL_CHECKPOINT_PAGES}`)
    } else {
      raw.exec('PRAGMA query_only=ON')
    }
    raw.exec(`PRAGMA cache_size=-${PAGE_CACHE_KIB}`)
  } catch (error) {
    raw.close()
    throw error
  }
  return { raw, db: new Kysely<Database>({ dialect: new SqliteDialect({ database: statementCache(raw) }) }) }
}

/** Takes the write lock; waits for another process up to `LOCK_WAIT_LIMIT_MS`, then throws `timeout`. */
export function beginImmediate(raw: DatabaseSync): Promise<void> {
  return whenUnlocked(() => raw.exec('BEGIN IMMEDIATE'))
}

/**
 * Does a step that another process's lock may refuse, again until it works or `LOCK_WAIT_LIMIT_MS` are over; then
 * throws `timeout`. SQLite itself doesn't wait everywhere: two that turn a new file to WAL at once, one is refused.
 */
export async function whenUnlocked<T>(step: () => T): Promise<T> {
  const deadline = performance.now() + LOCK_WAIT_LIMIT_MS
  for (;;) {
    try {
      return step()
    } catch (error) {
      if (primaryCode(error) !== SQLITE_BUSY) throw error
      if (performance.now() > deadline) {
        throw new BerthError('timeout', 'Another process keeps the database locked: stop it, or try again.', { cause: error })
      }
      await sleep(LOCK_PAUSE_MS)
    }
  }
}

/** A condition: the column's value is one of these. One parameter, so that one prepared statement serves any number. */
export function isOneOf(column: string, values: readonly string[]): RawBuilder<SqlBool> {
  return sql<SqlBool>`${sql.ref(column)} in (select value from json_each(${JSON.stringify(values)}))`
}

/**
 * A condition that only filters: the plus keeps SQLite from choosing an index for it, where another condition
 * is known to leave few rows.
 */
export function isAlso(column: string, value: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`+${sql.ref(column)} = ${value}`
}

/** A table of which this index is read, where SQLite might think that another one is better. */
export function byIndex<T>(table: string, index: string): AliasedRawBuilder<T, string> {
  return sql<T>`${sql.table(table)}`.as<string>(sql`${sql.ref(table)} indexed by ${sql.ref(index)}`)
}

/** A condition: the JSON object in the column has all these members. */
export function holdsMembers(column: string, members: Readonly<Record<string, string>>): RawBuilder<SqlBool>[] {
  return Object.entries(members).map(
    ([key, value]) =>
      sql<SqlBool>`exists (select 1 from json_each(${sql.ref(column)}) where key = ${key} and value = ${value})`,
  )
}

/** A condition: the JSON object in the column has this member. Written as the index over it is, so that the index serves it. */
export function memberIs(column: string, key: string, value: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`json_extract(${sql.ref(column)}, ${sql.lit(`$.${key}`)}) = ${value}`
}

/** A condition: the JSON object in the column has no such member. */
export function lacksMember(column: string, key: string): RawBuilder<SqlBool> {
  return sql<SqlBool>`json_extract(${sql.ref(column)}, ${sql.lit(`$.${key}`)}) is null`
}

/** `table.column, table.column` of the unique constraint that an error is about, or null. */
export function violatedUnique(error: unknown): string | null {
  const code = extendedCode(error)
  if (code !== SQLITE_CONSTRAINT_UNIQUE && code !== SQLITE_CONSTRAINT_PRIMARYKEY) return null
  return error instanceof Error ? error.message.replace(/^UNIQUE constraint failed: /, '') : null
}

/** Whether an error says that another row still refers to this one, or that the row referred to is missing. */
export function isViolatedReference(error: unknown): boolean {
  return extendedCode(error) === SQLITE_CONSTRAINT_FOREIGNKEY
}

/** The catalogue's error for what went wrong with the file; the error itself if it is about something else. */
export function asStoreError(error: unknown, path: string): unknown {
  switch (primaryCode(error)) {
    case SQLITE_NOTADB:
      return new BerthError('internal', `${path} is not a database: move it away, or give another data directory.`, { cause: error })
    case SQLITE_CORRUPT:
      return new BerthError('internal', `The database ${path} is damaged: stop Berth and restore the file from a backup.`, { cause: error })
    case SQLITE_FULL:
      return new BerthError('disk_full', `The disk of the database ${path} is full: free some space, then try again.`, { cause: error })
    case SQLITE_CANTOPEN:
      return new BerthError('internal', `The database ${path} can't be opened: its directory must exist and be writable.`, { cause: error })
    case SQLITE_READONLY:
      return new BerthError('internal', `The database ${path} can't be written: check its owner and permissions.`, { cause: error })
    case SQLITE_IOERR:
      return new BerthError('internal', `The disk of the database ${path} failed to read or write: see the kernel's log.`, { cause: error })
    case SQLITE_BUSY:
      return new BerthError('timeout', `Another process keeps the database ${path} locked: stop it, or try again.`, { cause: error })
    default:
      return error
  }
}

function extendedCode(error: unknown): number | null {
  if (!(error instanceof Error) || !('errcode' in error)) return null
  return typeof error.errcode === 'number' ? error.errcode : null
}

function primaryCode(error: unknown): number | null {
  const code = extendedCode(error)
  return code === null ? null : code & 0xff
}

/** What Kysely's SQLite dialect needs of a driver, with statements prepared once. */
function statementCache(raw: DatabaseSync): SqliteDatabase {
  const statements = new Map<string, SqliteStatement>()
  return {
    close: () => raw.close(),
    prepare(text) {
      const kept = statements.get(text)
      if (kept !== undefined) {
        statements.delete(text)
        statements.set(text, kept)
        return kept
      }
      const made = statementOver(raw.prepare(text))
      if (statements.size >= STATEMENT_CACHE_LIMIT) {
        const oldest = statements.keys().next()
        if (!oldest.done) statements.delete(oldest.value)
      }
      statements.set(text, made)
      return made
    },
  }
}

function statementOver(statement: StatementSync): SqliteStatement {
  return {
    reader: statement.columns().length > 0,
    all: (parameters) => statement.all(...(parameters as SQLInputValue[])),
    run: (parameters) => statement.run(...(parameters as SQLInputValue[])),
    iterate: (parameters) => statement.iterate(...(parameters as SQLInputValue[])),
  }
}
