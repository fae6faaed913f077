/**
 * Whether the guest that set-up built is made of the sources that this Berth has.
 *
 * A server and its guests speak one protocol and are only tried together: an update of the sources without a new
 * build would fail at some request, long after the start, in words that nobody understands.
 */
import { createHash } from 'node:crypto'
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BerthError } from '../../instance/errors.ts'
import { isMissing } from './atomic-file.ts'

/** In the checkout, beside the sources of the server. */
export const GUEST_SOURCES_DIR = fileURLToPath(new URL('../../../guest', import.meta.url))

/** What guest/build.sh tells about a build. */
const VERSION_FILE = 'version'
const SOURCES_LINE = /^sources=([0-9a-f]{24})$/m
/** Folders with sources and the files in them, as guest/sources.sh has them. */
const SOURCES: readonly (readonly [folder: string, names: RegExp])[] = [
  ['', /^(MODULES|build\.sh|sources\.sh|.+\.[ch])$/],
  ['host', /\.c$/],
  ['ssh', /\.c$/],
]
const KEY_LENGTH = 24

/** Throws `host_unavailable` if the guest in `builtDir` was built from other sources. Without sources here there is nothing to compare. */
export async function requireCurrentBuild(builtDir: string, sourcesDir: string = GUEST_SOURCES_DIR): Promise<void> {
  const why = await whyStale(builtDir, sourcesDir)
  if (why !== null) throw new BerthError('host_unavailable', why)
}

/** The sentence for a person; null if the build is current or can't be judged. */
export async function whyStale(builtDir: string, sourcesDir: string = GUEST_SOURCES_DIR): Promise<string | null> {
  const wanted = await sourcesKey(sourcesDir)
  if (wanted === null) return null
  const version = await readFile(join(builtDir, VERSION_FILE), 'utf8').catch((error: unknown) => {
    if (isMissing(error)) return ''
    throw error
  })
  const built = SOURCES_LINE.exec(version)?.[1]
  if (built === wanted) return null
  return `The guest in ${builtDir} was built from other sources than this Berth has (an update changed them): run ./berth setup, which builds it anew.`
}

/** What guest/sources.sh prints; null if there are no sources. */
async function sourcesKey(dir: string): Promise<string | null> {
  const files: string[] = []
  for (const [folder, names] of SOURCES) {
    const found = await readdir(join(dir, folder)).catch((error: unknown) => {
      if (isMissing(error)) return []
      throw error
    })
    files.push(...found.filter((name) => names.test(name)).map((name) => join(folder, name)))
  }
  if (files.length === 0) return null
  const lines = await Promise.all(files.toSorted().map(async (name) => `${sha256(await readFile(join(dir, name)))}  ${name}\n`))
  return sha256(lines.join('')).slice(0, KEY_LENGTH)
}

function sha256(data: string | Uint8Array): string {
  return createHash('sha256').update(data).digest('hex')
}
