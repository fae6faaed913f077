/** The catalogue as a file: the operator's own in the data directory, or the one that comes with Berth. */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Catalogue } from '../instance/catalogue.ts'
import { readCatalogue } from '../instance/catalogue.ts'
import { BerthError } from '../instance/errors.ts'

const OWN_FILE = 'catalogue.json'
const SHIPPED_FILE = fileURLToPath(new URL('../../config/catalogue.json', import.meta.url))

/** Reads it; throws `invalid_request` with the file and what is wrong in it. */
export function loadCatalogue(dataDir: string): Catalogue {
  const own = join(dataDir, OWN_FILE)
  const path = existsSync(own) ? own : SHIPPED_FILE
  try {
    return readCatalogue(JSON.parse(readFileSync(path, 'utf8')))
  } catch (error) {
    const problem = error instanceof Error ? error.message : String(error)
    throw new BerthError('invalid_request', `The catalogue ${path} can't be used: ${problem}`, { cause: error })
  }
}
