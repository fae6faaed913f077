/**
 * A typed client as a user of a published schema would make it: types by openapi-typescript, calls by openapi-fetch. A
 * program over it is checked against those types, then run.
 *
 * The generator needs an older TypeScript than ours, so it lives in a directory of its own below .berth.
 */
import assert from 'node:assert/strict'
import { execFile, spawnSync } from 'node:child_process'
import { copyFileSync, existsSync, mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const CACHE = fileURLToPath(new URL('../../.berth/generated-clients', import.meta.url))
const TYPES = fileURLToPath(new URL('../../node_modules/@types', import.meta.url))
const PACKAGES = { 'openapi-fetch': '0.17.0', 'openapi-typescript': '7.13.0', typescript: '5.9.3' }
const INSTALL_LIMIT_MS = 180_000
const RUN_LIMIT_MS = 240_000

export interface GeneratedProgram {
  /** The published schema. */
  readonly contract: string
  /** Made by the caller, and removed by it. */
  readonly dir: string
  /** TypeScript that imports `openapi-fetch`, and `paths` from `./schema.d.ts`. */
  readonly source: string
  readonly env: Readonly<Record<string, string>>
}

/** Why there can be no generated client; null if there can. */
export function whyNoGenerator(contract: string): string | null {
  if (!existsSync(contract)) return `${contract.split('/').at(-1)} is not beside the checkout`
  return bringGenerator() ? null : 'openapi-typescript is not installed, and no package registry can be reached'
}

/** What the program printed, which is JSON. */
export async function runGenerated(program: GeneratedProgram): Promise<unknown> {
  const { dir } = program
  mkdirSync(dir, { recursive: true })
  symlinkSync(join(CACHE, 'node_modules'), join(dir, 'node_modules'))
  writeFileSync(join(dir, 'package.json'), '{"type":"module"}')
  writeFileSync(join(dir, 'client.ts'), program.source)
  const bin = (name: string) => join(CACHE, 'node_modules', '.bin', name)
  await run(bin('openapi-typescript'), [program.contract, '-o', join(dir, 'schema.d.ts')], dir)
  const flags = ['--strict', '--noEmit', '--target', 'es2024', '--module', 'nodenext', '--skipLibCheck', '--allowImportingTsExtensions', '--typeRoots', TYPES, '--types', 'node']
  await run(bin('tsc'), [...flags, 'client.ts'], dir)
  return JSON.parse(await run(process.execPath, [join(dir, 'client.ts')], dir, program.env)) as unknown
}

/** Its output; fails with all that it wrote if it fails. Not synchronous: the test's own connections live on meanwhile. */
async function run(file: string, args: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}): Promise<string> {
  const options = { cwd, timeout: RUN_LIMIT_MS, env: { ...process.env, NODE_NO_WARNINGS: '1', ...env } }
  try {
    return (await promisify(execFile)(file, args, options)).stdout
  } catch (error) {
    const { stdout = '', stderr = '' } = error as { readonly stdout?: string; readonly stderr?: string }
    assert.fail(`${file} ${args.join(' ')}\n${stdout}${stderr}`)
  }
}

/** Installed once; false where that can't be done. */
function bringGenerator(): boolean {
  const wanted = JSON.stringify({ private: true, type: 'module', dependencies: PACKAGES })
  const marker = join(CACHE, 'installed.json')
  if (existsSync(marker) && readFileSync(marker, 'utf8') === wanted) return true
  mkdirSync(CACHE, { recursive: true })
  writeFileSync(join(CACHE, 'package.json'), wanted)
  const installed = spawnSync('npm', ['install', '--no-audit', '--no-fund'], { cwd: CACHE, encoding: 'utf8', timeout: INSTALL_LIMIT_MS })
  if (installed.status !== 0) return false
  copyFileSync(join(CACHE, 'package.json'), marker)
  return true
}
