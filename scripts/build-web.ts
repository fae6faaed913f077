/**
 * Builds the dashboard (src/web) into .berth/web, with its files packed beforehand for browsers that take Brotli or gzip.
 * Usage: node scripts/build-web.ts [--out DIR] [--dev]
 *   --dev: Vite's own server instead, with hot reload, over a Berth at BERTH_URL (http://127.0.0.1:8080).
 * The build is made beside its place and moved there whole, so that a server never reads half of one.
 */
import { readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { extname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { brotliCompressSync, constants, gzipSync } from 'node:zlib'
import react from '@vitejs/plugin-react'
import { build, createServer } from 'vite'
import type { InlineConfig } from 'vite'
import { NONCE_PLACEHOLDER } from '../src/server/web.ts'

const ROOT = fileURLToPath(new URL('../src/web', import.meta.url))
const OUT = fileURLToPath(new URL('../.berth/web', import.meta.url))
const PACKED = new Set(['.css', '.js', '.svg', '.txt'])
/** What is smaller is not worth a header. */
const PACK_FROM_BYTES = 512

export function webConfig(): InlineConfig {
  return {
    root: ROOT,
    base: '/ui/',
    configFile: false,
    logLevel: 'warn',
    plugins: [react()],
    html: { cspNonce: NONCE_PLACEHOLDER },
    build: {
      target: 'es2022',
      emptyOutDir: true,
      // Inlined files would be data: URLs, which the policy forbids.
      assetsInlineLimit: 0,
      modulePreload: { polyfill: false },
      chunkSizeWarningLimit: 1200,
      license: { fileName: 'licenses.txt' },
    },
  }
}

/** Builds into the directory; what was there before is replaced at once. */
export async function buildWeb(out = OUT): Promise<void> {
  const beside = `${out}.new-${process.pid}`
  const config = webConfig()
  await build({ ...config, build: { ...config.build, outDir: beside } })
  packFiles(beside)
  rmSync(out, { recursive: true, force: true })
  renameSync(beside, out)
}

function packFiles(dir: string): void {
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile() || !PACKED.has(extname(entry.name))) continue
    const path = join(entry.parentPath, entry.name)
    const plain = readFileSync(path)
    if (plain.length < PACK_FROM_BYTES) continue
    writeFileSync(`${path}.br`, brotliCompressSync(plain, { params: { [constants.BROTLI_PARAM_QUALITY]: 10 } }))
    writeFileSync(`${path}.gz`, gzipSync(plain, { level: 9 }))
  }
}

async function develop(): Promise<void> {
  const target = process.env['BERTH_URL'] ?? 'http://127.0.0.1:8080'
  const { html: _, ...config } = webConfig()
  const server = await createServer({ ...config, logLevel: 'info', server: { proxy: { '/berth': { target, ws: true } } } })
  await server.listen()
  server.printUrls()
}

if (import.meta.main) {
  const at = process.argv.indexOf('--out')
  if (process.argv.includes('--dev')) await develop()
  else await buildWeb(at < 0 ? OUT : process.argv[at + 1])
}
