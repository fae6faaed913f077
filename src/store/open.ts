/**
 * The Store on an embedded SQLite file.
 *
 *   openStore ─▶ writer connection ─▶ migrate ─▶ reader connection ─▶ Store
 *
 * The file and its directory are made for their owner alone: it holds environments, which may be secret.
 */
import { closeSync, mkdirSync, openSync } from 'node:fs'
import { dirname, join, resolve } from 'node:path'
import type { Kysely } from 'kysely'
import type { Store, StoreReader, StoreTx } from '../engine/store-port.ts'
import { BerthError } from '../instance/errors.ts'
import { readAccess, writeAccess } from './access.ts'
import { readAudit, writeAudit } from './audit.ts'
import { readContent, writeContent } from './content.ts'
import { readEvents, writeEvents } from './events.ts'
import { cachedInstances } from './instance-cache.ts'
import { readInstances, writeInstances } from './instances.ts'
import { readMarket, writeMarket } from './market.ts'
import { readFirstBoots, writeFirstBoots } from './first-boots.ts'
import { migrate } from './migrate.ts'
import { readReservations, writeReservations } from './reservations.ts'
import { readServices, writeServices } from './services.ts'
import type { Database } from './schema.ts'
import { readFileSystems, writeFileSystems } from './file-systems.ts'
import { readFirewalls, writeFirewalls } from './firewalls.ts'
import { readSnapshots, writeSnapshots } from './snapshots.ts'
import { openSealing, SEALING_KEY_FILE } from './sealing.ts'
import type { Sealing } from './sealing.ts'
import { readSecrets, sealAll, writeSecrets } from './secrets.ts'
import { readSshKeys, writeSshKeys } from './ssh-keys.ts'
import { asStoreError, connectSqlite, whenUnlocked } from './sqlite.ts'
import type { SqliteConnection } from './sqlite.ts'
import { Writer } from './writer.ts'

/** Where the state is kept: a file, or `sqlite:/path/to/file`. */
export type StoreLocation = { readonly path: string } | { readonly url: string }

export interface StoreOptions {
  /** Seals secrets instead of the key beside the database. */
  readonly secretsKey?: Buffer | null
  /** Sentences that an operator should read. */
  readonly warn?: (sentence: string) => void
}

/** Opens the store, made or brought up to date first. Throws a catalogue error that says what is wrong with the file. */
export async function openStore(location: StoreLocation, { secretsKey = null, warn }: StoreOptions = {}): Promise<Store> {
  const path = pathOf(location)
  makePrivateFile(path)
  let connection: SqliteConnection | null = null
  try {
    connection = await whenUnlocked(() => connectSqlite(path, 'write'))
    await migrate(connection, path)
    const sealing = openSealing(join(dirname(path), SEALING_KEY_FILE), secretsKey)
    const lost = await sealAll(connection, sealing)
    if (lost > 0) warn?.(`${lost} secrets can't be opened, since the key that sealed them is not here: bring it back (${SEALING_KEY_FILE}, BERTH_SECRETS_KEY), or set them again.`)
    const reader = await whenUnlocked(() => connectSqlite(path, 'read'))
    return storeOver(connection, reader, path, sealing)
  } catch (error) {
    if (connection?.raw.isOpen) connection.raw.close()
    throw asStoreError(error, path)
  }
}

function storeOver(writing: SqliteConnection, reading: SqliteConnection, path: string, sealing: Sealing): Store {
  const writer = new Writer(writing.raw, transactionOver(writing.db, sealing), path)
  let closing: Promise<void> | null = null
  const cache = cachedInstances(readInstances(reading.db), reading.raw)
  const read = answering({ ...readerOver(reading.db, sealing), ...cache.read }, (error) =>
    reading.raw.isOpen ? asStoreError(error, path) : new BerthError('shutting_down', 'The store is closed.', { cause: error }),
  )
  return {
    async transaction(work, options) {
      try {
        return await writer.transaction(work, options)
      } finally {
        cache.expire()
      }
    },
    read,
    close() {
      closing ??= writer.close().then(() => {
        if (reading.raw.isOpen) reading.raw.close()
        if (writing.raw.isOpen) writing.raw.close()
      })
      return closing
    },
  }
}

function readerOver(db: Kysely<Database>, sealing: Sealing): StoreReader {
  return { ...readInstances(db), ...readEvents(db), ...readContent(db), ...readAccess(db), ...readReservations(db), ...readServices(db), ...readSshKeys(db), ...readSecrets(db, sealing), ...readAudit(db), ...readMarket(db), ...readFirstBoots(db), ...readFileSystems(db), ...readFirewalls(db), ...readSnapshots(db) }
}

/** The same reader, whose errors are of the catalogue where they are about the file. */
function answering(reader: StoreReader, explain: (error: unknown) => unknown): StoreReader {
  type Ask = (...wishes: unknown[]) => Promise<unknown>
  const asks = Object.entries(reader).map(([name, ask]: [string, Ask]) => {
    const answered: Ask = async (...wishes) => {
      try {
        return await ask(...wishes)
      } catch (error) {
        throw explain(error)
      }
    }
    return [name, answered]
  })
  return Object.fromEntries(asks) as StoreReader
}

function transactionOver(db: Kysely<Database>, sealing: Sealing): StoreTx {
  return {
    ...readerOver(db, sealing),
    ...writeInstances(db),
    ...writeEvents(db),
    ...writeContent(db),
    ...writeAccess(db),
    ...writeReservations(db),
    ...writeServices(db),
    ...writeSshKeys(db),
    ...writeSecrets(db, sealing),
    ...writeAudit(db),
    ...writeMarket(db),
    ...writeFirstBoots(db),
    ...writeFileSystems(db),
    ...writeFirewalls(db),
    ...writeSnapshots(db),
  }
}

function pathOf(location: StoreLocation): string {
  if ('path' in location) return resolve(location.path)
  const match = /^(?:sqlite|file):(?:\/\/)?(.+)$/.exec(location.url)
  if (match?.[1] !== undefined) return resolve(match[1])
  const scheme = /^[a-z]+(?=:)/i.exec(location.url)?.[0] ?? 'this'
  throw new BerthError('not_supported', `A ${scheme} database is not supported: give sqlite:/path/to/file.`)
}

function makePrivateFile(path: string): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    closeSync(openSync(path, 'a', 0o600))
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error)
    throw new BerthError('internal', `The database ${path} can't be opened (${why}): give a data directory that you may write.`, { cause: error })
  }
}
