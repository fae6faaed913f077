/**
 * The first key: made on first start, kept in `<data>/admin.key` for its owner alone, and told once.
 *
 * The file is made again if the engine no longer knows the key in it (a database that was removed); a key from
 * `BERTH_ADMIN_KEY` goes in its place, so that commands on the same machine find it there.
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

export async function bringAdminKey(dataDir: string, given: string | null, keys: Keys, system: Caller): Promise<AdminKey> {
  const file = join(dataDir, ADMIN_KEY_FILE)
  const kept = await readKey(file)
  if (given !== null) {
    if (kept !== given) await writeKey(file, given)
    return { secret: given, file, isNew: false }
  }
  if (kept !== null && (await keys.authenticate(kept, system.via)) !== null) return { secret: kept, file, isNew: false }
  const { secret } = await keys.create(system, { name: 'admin', scopes: SCOPES })
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
