/**
 * The dashboard's files, as `scripts/build-web.ts` left them in .berth/web, served at `/` and below `/ui/`.
 *
 * Everything is read once at start and served from memory, so that a build meanwhile changes nothing under a running
 * page. Names below /ui/assets hold a hash of what is in them: they are kept for ever. The page itself is made anew
 * for each answer, with a nonce of its own for the styles that the dashboard makes while it runs; scripts come from
 * files only. No API path begins with /ui, so nothing is shadowed.
 */
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { extname, join, relative } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { BerthError } from '../instance/errors.ts'

const BUILT_DIR = fileURLToPath(new URL('../../.berth/web', import.meta.url))
export const NONCE_PLACEHOLDER = '__BERTH_NONCE__'
const NONCE_BYTES = 16
const FOR_EVER = 'public, max-age=31536000, immutable'

const TYPES: Readonly<Record<string, string>> = {
  '.css': 'text/css; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.json': 'application/json; charset=utf-8',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
  '.woff2': 'font/woff2',
}
/** Best first. */
const ENCODINGS = [
  { name: 'br', suffix: '.br' },
  { name: 'gzip', suffix: '.gz' },
] as const

interface Asset {
  readonly type: string
  readonly plain: Buffer
  /** By encoding. */
  readonly packed: Readonly<Record<string, Buffer>>
}

export interface Web {
  readonly page: string
  /** By path below /ui/. */
  readonly assets: ReadonlyMap<string, Asset>
}

/** What was built; null if nothing was. */
export function loadWeb(dir = BUILT_DIR): Web | null {
  if (!existsSync(join(dir, 'index.html'))) return null
  const assets = new Map<string, Asset>()
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    const type = TYPES[extname(entry.name)]
    if (!entry.isFile() || type === undefined || entry.name === 'index.html') continue
    const path = join(entry.parentPath, entry.name)
    const packed = ENCODINGS.filter(({ suffix }) => existsSync(path + suffix)).map(({ name, suffix }) => [name, readFileSync(path + suffix)] as const)
    assets.set(relative(dir, path), { type, plain: readFileSync(path), packed: Object.fromEntries(packed) })
  }
  return { page: readFileSync(join(dir, 'index.html'), 'utf8'), assets }
}

export function installWeb(app: FastifyInstance, web: Web | null): void {
  const noDashboard = new BerthError('not_found', 'The dashboard is not built here: run ./berth setup, then start the server again.')
  app.get('/', (_request, reply) => {
    if (web === null) throw noDashboard
    return sendPage(reply, web.page)
  })
  app.get('/ui', (_request, reply) => reply.redirect('/'))
  app.get('/ui/*', (request: FastifyRequest<{ Params: { '*': string } }>, reply) => {
    if (web === null) throw noDashboard
    const path = request.params['*']
    const asset = web.assets.get(path)
    if (asset !== undefined) return sendAsset(request, reply, asset, path)
    if (path.startsWith('assets/')) throw new BerthError('not_found', 'The dashboard has no such file: reload the page.')
    return sendPage(reply, web.page)
  })
}

function sendPage(reply: FastifyReply, page: string): FastifyReply {
  const nonce = randomBytes(NONCE_BYTES).toString('base64url')
  return reply
    .headers({
      'content-type': 'text/html; charset=utf-8',
      'cache-control': 'no-store',
      'content-security-policy': contentSecurityPolicy(nonce),
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-opener-policy': 'same-origin',
      'permissions-policy': 'camera=(), geolocation=(), microphone=()',
    })
    .send(page.replaceAll(NONCE_PLACEHOLDER, nonce))
}

function contentSecurityPolicy(nonce: string): string {
  return [
    "default-src 'none'",
    "script-src 'self'",
    `style-src 'self' 'nonce-${nonce}'`,
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ')
}

function sendAsset(request: FastifyRequest, reply: FastifyReply, asset: Asset, path: string): FastifyReply {
  const accepted = request.headers['accept-encoding'] ?? ''
  const encoding = ENCODINGS.find(({ name }) => asset.packed[name] !== undefined && new RegExp(`\\b${name}\\b(?!;q=0(\\.0*)?(,|$))`).test(accepted))
  reply.headers({
    'content-type': asset.type,
    'cache-control': path.startsWith('assets/') ? FOR_EVER : 'no-cache',
    vary: 'accept-encoding',
    'x-content-type-options': 'nosniff',
    ...(encoding === undefined ? {} : { 'content-encoding': encoding.name }),
  })
  return reply.send(encoding === undefined ? asset.plain : asset.packed[encoding.name])
}
