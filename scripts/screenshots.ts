/**
 * Takes a picture of every page of the dashboard, light and dark, over a real server with real VMs, and of some on a phone.
 * Usage: npm run pictures -- [DIR] [--only NAME,…] [--phone]     default: docs/screenshots, every page
 *   --phone: every page on a phone, too.
 * A page that can't be taken is told at the end, and the others are there.
 */
import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { openBrowser, signIn, visit } from '../test/support/browser.ts'
import { PREFIX } from '../test/support/native-client.ts'
import { startServer } from '../test/support/server.ts'
import type { TestServer } from '../test/support/server.ts'
import { ON_PHONES, scenes } from './picture-scenes.ts'
import type { Furniture, Scene } from './picture-scenes.ts'

const { values: flags, positionals } = parseArgs({ allowPositionals: true, options: { only: { type: 'string' }, phone: { type: 'boolean', default: false } } })
const OUT = positionals[0] ?? fileURLToPath(new URL('../docs/screenshots', import.meta.url))
const ONLY = flags.only?.split(',') ?? null
const SIZE = { width: 1280, height: 800 }
const PHONE = { width: 375, height: 740 }
const MIB = 2 ** 20

await using server = await startServer({ host: 'qemu' })
const furniture = await furnish(server).catch((error: unknown) => {
  console.error(error)
  throw error
})
const browser = await openBrowser()
const failed: string[] = []
mkdirSync(OUT, { recursive: true })
try {
  for (const colorScheme of ['light', 'dark'] as const) {
    const { page, context } = await visit(browser, server.url, { colorScheme, viewport: SIZE })
    const wanted = scenes(furniture, colorScheme).filter(({ name }) => ONLY?.includes(name) !== false)
    await page.goto('/')
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
    if (ONLY === null) await take(page, `sign-in-${colorScheme}`)
    await signIn(page, server.key)
    for (const scene of wanted) await shoot(page, scene, `${scene.name}-${colorScheme}`)
    await page.setViewportSize(PHONE)
    for (const scene of wanted.filter(({ name }) => flags.phone || ON_PHONES.has(name))) await shoot(page, scene, `phone-${scene.name}-${colorScheme}`)
    await context.close()
    if (ONLY?.includes('empty') !== false) await shootEmpty(colorScheme)
  }
} finally {
  await browser.close()
}
for (const sentence of failed) console.error(sentence)
process.exitCode = failed.length === 0 ? 0 : 1

async function shoot(page: Page, { path, ready, after }: Scene, name: string): Promise<void> {
  try {
    await page.goto(path)
    await ready(page)
    await take(page, name)
  } catch (error) {
    failed.push(`${name}: ${error instanceof Error ? error.message : String(error)}`)
  }
  await after?.(page)
}

/** What somebody sees who has nothing yet. */
async function shootEmpty(colorScheme: 'light' | 'dark'): Promise<void> {
  const { page, context } = await visit(browser, server.url, { colorScheme, viewport: SIZE })
  await page.goto('/')
  await signIn(page, furniture.emptyKey)
  await shoot(page, { name: 'empty', path: '/', ready: at => at.getByText('No instances yet').waitFor() }, `empty-${colorScheme}`)
  await context.close()
}

/** Some instances in different states, and what goes with them. */
async function furnish(at: TestServer): Promise<Furniture> {
  const make = async (method: string, path: string, body?: object) => {
    const answer = await at.request(method, `${PREFIX}${path}`, body === undefined ? {} : { body })
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.text}`)
    return answer.body as { readonly id: string; readonly secret?: string }
  }
  const launch = (name: string, more: object = {}) => make('POST', '/instances?wait=running', { name, image: 'localhost/busybox', pull: 'missing', memoryBytes: 256 * MIB, cmd: ['sleep', '1000000'], ...more })
  await make('POST', '/volumes', { name: 'orders', sizeBytes: 256 * MIB })
  await make('POST', '/volumes', { name: 'models', sizeBytes: 512 * MIB })
  for (const name of ['DB_PASSWORD', 'STRIPE_TOKEN']) await make('PUT', `/secrets/${name}`, { value: 'of a picture' })
  await make('POST', '/ssh-keys', { name: 'laptop' })
  await make('POST', '/keys', { name: 'ci', scopes: ['read', 'write'] })
  const staging = await make('POST', '/projects', { name: 'staging' })
  const { secret: emptyKey = '' } = await make('POST', '/keys', { name: 'empty', scopes: ['read', 'write', 'exec'], projectId: staging.id })
  await make('POST', '/firewalls', { name: 'web', rules: [{ protocol: 'tcp', ports: [80, 80], description: 'HTTP' }, { protocol: 'tcp', ports: [443, 443], description: 'HTTPS' }] })
  await make('POST', '/firewalls', { name: 'metrics', rules: [{ protocol: 'tcp', ports: [9100, 9110], source: '10.0.0.0/8', description: 'Prometheus' }] })
  // Not every machine can serve file systems, or hold firewalls.
  const shares = await at.request('POST', `${PREFIX}/file-systems`, { body: { name: 'assets', sizeBytes: 256 * MIB } })
  const { network } = (await at.request('GET', `${PREFIX}/host`)).body as { readonly network: { readonly mode: string } }
  const busy = 'n=0; while :; do n=$((n+1)); echo "request $n served in $((n % 17 + 2)) ms"; [ $((n % 9)) = 0 ] && echo "slow upstream, retried" >&2; i=0; while [ $i -lt 9000 ]; do i=$((i+1)); done; sleep 0.4; done'
  const web = await launch('shop-web', {
    cmd: ['sh', '-c', busy],
    env: { GREETING: 'hello', LEVEL: 'info' },
    tags: { team: 'shop', stage: 'live' },
    healthChecks: [{ exec: { command: ['test', '-d', '/data'] }, intervalMs: 5000 }],
    secrets: ['DB_PASSWORD'],
    volumes: [{ volume: 'orders', path: '/data' }],
    network: { ports: [{ hostPort: 18765, guestPort: 80 }] },
    ...(shares.status === 201 ? { fileSystems: [{ fileSystem: 'assets', path: '/srv/assets' }] } : {}),
    ...(network.mode === 'bridge' ? { firewalls: ['web'] } : {}),
  })
  const worker = await launch('shop-worker', { cmd: ['sh', '-c', 'while :; do head -c 200000 /dev/urandom | md5sum; sleep 1; done'] })
  await launch('agent-7f3a')
  const preview = await launch('preview-142', { autoStandby: { idleAfterMs: 1_800_000 } })
  await make('POST', '/instances/preview-142/standby?wait=true')
  await make('POST', '/instances/shop-worker/snapshots', { name: 'before-upgrade' })
  await make('POST', '/market/bids', { name: 'batch', type: 'small', region: 'simulated', image: 'localhost/busybox', pull: 'missing', quantity: 2, limitMicros: 30_000 })
  await make('POST', '/market/bids', { name: 'backfill', type: 'small', region: 'simulated', image: 'localhost/busybox', pull: 'missing', quantity: 1, limitMicros: 20_000 })
  const inHours = (hours: number) => new Date(Date.now() + hours * 3_600_000).toISOString()
  await make('POST', '/market/reservations', { name: 'launch-day', type: 'small', region: 'simulated', image: 'localhost/busybox', pull: 'missing', quantity: 3, startAt: inHours(20), endAt: inHours(44) })
  await make('POST', '/market/reservations', { name: 'nightly', type: 'small', region: 'simulated', image: 'localhost/busybox', pull: 'missing', quantity: 1, endAt: inHours(8) })
  await launch('report')
  await make('POST', '/instances/report/stop?wait=true', {})
  await make('POST', `/instances/${web.id}/standby?wait=true`)
  await make('POST', `/instances/${web.id}/restore?wait=true`)
  const { body: typo } = await at.request('POST', `${PREFIX}/instances`, { body: { name: 'typo', image: 'localhost/no-such-image', pull: 'missing' } })
  return { web: web.id, worker: worker.id, asleep: preview.id, failed: (typo as { readonly id: string }).id, emptyKey }
}

async function take(page: Page, name: string): Promise<void> {
  const path = join(OUT, `${name}.png`)
  await page.screenshot({ path, animations: 'disabled' })
  console.log(`${name}.png ${Math.ceil(statSync(path).size / 1024)} KB`)
}
