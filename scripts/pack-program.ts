/**
 * Packs Berth's sources and the libraries that they use into a few files in .berth/program: a start reads some 40 files
 * instead of 2,000, takes half the time and leaves a quarter less in memory. What runs is the same; without the pack
 * the sources run as they are.
 * Usage: node scripts/pack-program.ts [--out DIR]
 *
 *   src/cli/main.ts ─▶ cli.mjs, src/server/main.ts ─▶ server.mjs, what they share and what is loaded late ─▶ parts/
 *
 * The pack is made beside its place and moved there whole. It is as old as its file `key`, which was written before the
 * first source was read: what is younger than that is not in it (scripts/program.sh).
 */
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import http from 'node:http'
import { join, sep } from 'node:path'
import { fileURLToPath, pathToFileURL } from 'node:url'
import { rolldown } from 'rolldown'
import type { Plugin } from 'rolldown'

const ROOT = fileURLToPath(new URL('..', import.meta.url))
const PLAIN_HTTP = '\0plain-http'
const SOURCES = join(ROOT, 'src') + sep
export const PROGRAM_DIR = join(ROOT, '.berth', 'program')

/** A module of ours asks for files by its own place, which the pack is not. */
const placeOfSource: Plugin = {
  name: 'place-of-source',
  transform(code, id) {
    if (!id.startsWith(SOURCES) || !code.includes('import.meta.url')) return null
    return { code: code.replaceAll('import.meta.url', JSON.stringify(pathToFileURL(id).href)), map: null }
  },
}

/**
 * To import `node:http` by name reads all that it has, and one of these loads Node's whole fetch, which the server never
 * uses: some 25 ms and 5 MB. Here only what is a plain value is named.
 */
const plainHttp: Plugin = {
  name: 'plain-http',
  resolveId(id, importer) {
    return (id === 'node:http' || id === 'http') && importer !== PLAIN_HTTP ? PLAIN_HTTP : null
  },
  load(id) {
    if (id !== PLAIN_HTTP) return null
    const names = Object.entries(Object.getOwnPropertyDescriptors(http)).flatMap(([name, { value }]) => (value === undefined ? [] : [name]))
    return [
      `const http = process.getBuiltinModule('node:http')`,
      'export default http',
      ...names.map((name) => `export const ${name} = http.${name}`),
    ].join('\n')
  },
}

/** Packs into the directory; what was there before is replaced at once. */
export async function packProgram(out = PROGRAM_DIR): Promise<void> {
  const beside = `${out}.new-${process.pid}`
  mkdirSync(beside, { recursive: true })
  writeFileSync(join(beside, 'key'), '')
  const bundle = await rolldown({
    input: { cli: join(SOURCES, 'cli/main.ts'), server: join(SOURCES, 'server/main.ts') },
    platform: 'node',
    logLevel: 'warn',
    plugins: [placeOfSource, plainHttp],
  })
  await bundle.write({
    dir: beside,
    format: 'esm',
    entryFileNames: '[name].mjs',
    chunkFileNames: 'parts/[name]-[hash].mjs',
    // Names stay: errors and their stacks tell of them.
    minify: { compress: false, mangle: false, codegen: { removeWhitespace: true } },
    keepNames: true,
  })
  await bundle.close()
  rmSync(out, { recursive: true, force: true })
  renameSync(beside, out)
}

if (import.meta.main) {
  const at = process.argv.indexOf('--out')
  await packProgram(at < 0 ? PROGRAM_DIR : process.argv[at + 1])
}
