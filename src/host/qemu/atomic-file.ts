/** Small JSON files that are whole at any instant: written beside, made durable, renamed. */
import { open, readFile, rename, rm } from 'node:fs/promises'
import { dirname } from 'node:path'
import { asDiskError } from '../command.ts'

/** With `durable` it survives a power cut from the moment this resolves; otherwise from a little later. */
export async function writeJson(path: string, value: unknown, options: { readonly durable?: boolean } = {}): Promise<void> {
  const beside = `${path}.new`
  try {
    const file = await open(beside, 'w', 0o600)
    try {
      await file.writeFile(`${JSON.stringify(value, null, 1)}\n`)
      if (options.durable === true) await file.sync()
    } finally {
      await file.close()
    }
    await rename(beside, path)
    if (options.durable === true) await syncDirectory(dirname(path))
  } catch (error) {
    await rm(beside, { force: true })
    throw asDiskError(error, 'a record of the host')
  }
}

/** null if there is no such file, or none that is JSON. */
export async function readJson(path: string): Promise<unknown> {
  try {
    return JSON.parse(await readFile(path, 'utf8'))
  } catch (error) {
    if (error instanceof SyntaxError || isMissing(error)) return null
    throw error
  }
}

export function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && (error.code === 'ENOENT' || error.code === 'ENOTDIR')
}

export async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
