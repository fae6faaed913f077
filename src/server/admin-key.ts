/**
 * The first key: made by the engine on first start, kept in `<data>/admin.key` for its owner alone, told once.
 *
 * A key from `BERTH_ADMIN_KEY` takes its place there, so that commands on the same machine find it. Where the file
 * is gone, or holds a key that the database doesn't know (one of the two was restored alone), another is made:
 * whoever can start the server owns the directory.
 */
import { readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Caller, Keys } from '../engine/api.ts'
import { SCOPES } from '../instance/model.ts'

export const ADMIN_KEY_FILE = 'admin.key'

export interface AdminKey {
  readonly secret: string
  readonly file: string
  /** Made by this start, so nobody was told it yet. */
  readonly isNew: boolean
}

export interface AdminKeyParts {
  readonly dataDir: string
  /** From the configuration; the engine knows it already. */
  readonly given: string | null
  /** Made by the engine in this start. */
  readonly made: string | null
  readonly keys: Keys
  readonly system: Caller
}

export async function bringAdminKey({ dataDir, given, made, keys, system }: AdminKeyParts): Promise<AdminKey> {
  const file = join(dataDir, ADMIN_KEY_FILE)
  const kept = await readKey(file)
  if (given !== null) {
    if (kept !== given) await writeKey(file, given)
    return { secret: given, file, isNew: false }
  }
  const isKnown = made === null && kept !== null && (await keys.authenticate(kept, system.via)) !== null
  if (isKnown) return { secret: kept, file, isNew: false }
  const secret = made ?? (await keys.create(system, { name: 'admin', scopes: SCOPES })).secret
  await writeKey(file, secret)
  return { secret, file, isNew: true }
}

async function readKey(file: string): Promise<string | null> {
  try {
    const text = (await readFile(file, 'utf8')).trim()
    return text === '' ? null : text
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return null
    throw error
  }
}

async function writeKey(file: string, secret: string): Promise<void> {
  const draft = `${file}.new`
  await writeFile(draft, `${secret}\n`, { mode: 0o600, flush: true })
  await rename(draft, file)
}
