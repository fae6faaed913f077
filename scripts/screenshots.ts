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
import { openBrowser, signIn, terminalShows, visit } from '../test/support/browser.ts'
import { PREFIX } from '../test/support/native-client.ts'
import { startServer } from '../test/support/server.ts'
import type { TestServer } from '../test/support/server.ts'

const { values: flags, positionals } = parseArgs({ allowPositionals: true, options: { only: { type: 'string' }, phone: { type: 'boolean', default: false } } })
const OUT = positionals[0] ?? fileURLToPath(new URL('../docs/screenshots', import.meta.url))
const ONLY = flags.only?.split(',') ?? null
const SIZE = { width: 1280, height: 800 }
const PHONE = { width: 375, height: 740 }
const MIB = 2 ** 20
/** Long enough for lines to be seen beside the figures; the plots know what was before. */
const MEASURE_MS = 9_000
/** Of these a picture on a phone is always taken. */
const ON_PHONES = new Set(['instances', 'launch', 'overview', 'terminal', 'market'])

interface Scene {
  readonly name: string
  readonly path: string
  readonly ready: (page: Page) => Promise<void>
}

await using server = await startServer({ host: 'qemu' })
const ids = await furnish(server).catch((error: unknown) => {
  console.error(error)
  throw error
})
const browser = await openBrowser()
const failed: string[] = []
mkdirSync(OUT, { recursive: true })
try {
  for (const colorScheme of ['light', 'dark'] as const) {
    const { page, context } = await visit(browser, server.url, { colorScheme, viewport: SIZE })
    const wanted = scenes(ids.web, colorScheme).filter(({ name }) => ONLY?.includes(name) !== false)
    await page.goto('/')
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
    if (ONLY === null) await take(page, `sign-in-${colorScheme}`)
    await signIn(page, server.key)
    for (const scene of wanted) await shoot(page, scene, `${scene.name}-${colorScheme}`)
    await page.setViewportSize(PHONE)
    for (const scene of wanted.filter(({ name }) => flags.phone || ON_PHONES.has(name))) await shoot(page, scene, `phone-${scene.name}-${colorScheme}`)
    await context.close()
  }
} finally {
  await browser.close()
}
for (const sentence of failed) console.error(sentence)
process.exitCode = failed.length === 0 ? 0 : 1

async function shoot(page: Page, { path, ready }: Scene, name: string): Promise<void> {
  try {
    await page.goto(path)
    await ready(page)
    await take(page, name)
  } catch (error) {
    failed.push(`${name}: ${error instanceof Error ? error.message : String(error)}`)
  }
}

function scenes(id: string, theme: string): readonly Scene[] {
  const instance = `/ui/instances/${id}`
  const table = async (page: Page) => page.getByRole('table').first().waitFor()
  const heading = (name: string) => async (page: Page) => page.getByRole('heading', { name, level: 1 }).waitFor()
  return [
    {
      name: 'instances',
      path: '/',
      async ready(page) {
        await page.getByRole('row').nth(1).waitFor()
        await page.waitForTimeout(MEASURE_MS)
      },
    },
    { name: 'launch', path: '/ui/launch', ready: fillLaunch },
    { name: 'overview', path: instance, ready: async page => page.getByText(/Came to run in/).first().waitFor() },
    {
      name: 'settings',
      path: instance,
      async ready(page) {
        await page.getByRole('button', { name: 'More' }).click()
        await page.getByRole('menuitem', { name: 'Change…' }).click()
        await page.getByRole('dialog').getByLabel('Environment').waitFor()
      },
    },
    {
      name: 'terminal',
      path: `${instance}/terminal`,
      async ready(page) {
        await page.getByText('Connected').waitFor()
        await page.keyboard.type('uname -srm; cat /proc/cpuinfo | grep "model name"; df -h /; ls /\n')
        await terminalShows(page, /Filesystem[\s\S]*var/)
      },
    },
    { name: 'logs', path: `${instance}/logs`, ready: async page => page.getByRole('log').waitFor() },
    { name: 'files', path: `${instance}/files?path=/etc`, ready: table },
    {
      name: 'metrics',
      path: `${instance}/metrics`,
      async ready(page) {
        await page.getByRole('img', { name: /CPU over time/ }).waitFor()
      },
    },
    { name: 'instance-volumes', path: `${instance}/volumes`, ready: table },
    { name: 'instance-network', path: `${instance}/network`, ready: async page => page.getByText(/TCP 80 from/).waitFor() },
    { name: 'snapshots', path: `/ui/instances/${ids.worker}/snapshots`, ready: table },
    { name: 'events', path: `${instance}/events`, ready: table },
    { name: 'images', path: '/ui/images', ready: table },
    { name: 'volumes', path: '/ui/volumes', ready: table },
    { name: 'file-systems', path: '/ui/file-systems', ready: heading('File systems') },
    { name: 'firewalls', path: '/ui/firewalls', ready: table },
    {
      name: 'firewall-form',
      path: '/ui/firewalls',
      async ready(page) {
        await page.getByRole('button', { name: 'Change web' }).click()
        await page.getByRole('dialog').getByText('Add a rule').waitFor()
      },
    },
    { name: 'secrets', path: '/ui/secrets', ready: table },
    { name: 'activity', path: '/ui/activity', ready: table },
    { name: 'audit', path: '/ui/activity/audit', ready: table },
    { name: 'host', path: '/ui/host', ready: async page => page.getByText('Templates').waitFor() },
    { name: 'market', path: '/ui/market', ready: table },
    {
      name: 'bid-form',
      path: '/ui/market',
      async ready(page) {
        await page.getByRole('button', { name: 'Bid for small in simulated' }).click()
        await page.getByText(/would win now/).waitFor()
      },
    },
    {
      name: 'reservation-form',
      path: '/ui/market',
      async ready(page) {
        await page.getByRole('button', { name: 'Reserve small in simulated' }).click()
        await page.getByText(/in all, /).waitFor()
      },
    },
    { name: 'bids', path: '/ui/market/orders', ready: table },
    { name: 'prices', path: '/ui/market/prices', ready: async page => page.getByRole('img').nth(1).waitFor() },
    { name: 'costs', path: '/ui/market/costs', ready: table },
    {
      name: 'new-key',
      path: '/ui/keys',
      async ready(page) {
        await page.getByRole('button', { name: 'Make a key' }).click()
        await page.getByRole('dialog').getByLabel('Name').fill(`deploy-${theme}`)
        await page.getByRole('dialog').getByRole('button', { name: 'Make' }).click()
        await page.getByText('told now and never again').waitFor()
        // A picture is no place for a key.
        await page.evaluate(`document.querySelector('[role=dialog] pre').textContent = 'EfpkQSvpMs9kO6hp7luLr3zvyx3nFqp54mEUN3C7suwHPm8e5YFLPBbaNlNWxTln'`)
      },
    },
    { name: 'keys', path: '/ui/keys', ready: async page => page.getByRole('table').nth(1).waitFor() },
    { name: 'projects', path: '/ui/projects', ready: heading('Projects') },
  ]
}

async function fillLaunch(page: Page): Promise<void> {
  await page.getByLabel('Name', { exact: true }).fill('shop')
  await page.getByRole('textbox', { name: 'Command' }).fill('httpd -f -p 80 -h /www')
  await page.getByRole('button', { name: /Environment/ }).click()
  await page.getByRole('textbox', { name: 'Environment' }).fill('GREETING=hello\nLEVEL=debug')
  await page.getByText('curl', { exact: true }).click()
}

/** Some instances in different states, and what goes with them. */
async function furnish(at: TestServer): Promise<{ readonly web: string; readonly worker: string }> {
  const make = async (method: string, path: string, body?: object) => {
    const answer = await at.request(method, `${PREFIX}${path}`, body === undefined ? {} : { body })
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.text}`)
    return answer.body as { readonly id: string }
  }
  const launch = (name: string, more: object = {}) => make('POST', '/instances?wait=running', { name, image: 'localhost/busybox', pull: 'missing', memoryBytes: 256 * MIB, cmd: ['sleep', '1000000'], ...more })
  await make('POST', '/volumes', { name: 'orders', sizeBytes: 256 * MIB })
  await make('POST', '/volumes', { name: 'models', sizeBytes: 512 * MIB })
  for (const name of ['DB_PASSWORD', 'STRIPE_TOKEN']) await make('PUT', `/secrets/${name}`, { value: 'of a picture' })
  await make('POST', '/ssh-keys', { name: 'laptop' })
  await make('POST', '/keys', { name: 'ci', scopes: ['read', 'write'] })
  await make('POST', '/projects', { name: 'staging' })
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
    secrets: ['DB_PASSWORD'],
    volumes: [{ volume: 'orders', path: '/data' }],
    network: { ports: [{ hostPort: 18765, guestPort: 80 }] },
    ...(shares.status === 201 ? { fileSystems: [{ fileSystem: 'assets', path: '/srv/assets' }] } : {}),
    ...(network.mode === 'bridge' ? { firewalls: ['web'] } : {}),
  })
  const worker = await launch('shop-worker', { cmd: ['sh', '-c', 'while :; do head -c 200000 /dev/urandom | md5sum; sleep 1; done'] })
  await launch('agent-7f3a')
  await launch('preview-142')
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
  await at.request('POST', `${PREFIX}/instances`, { body: { name: 'typo', image: 'localhost/no-such-image', pull: 'missing' } })
  return { web: web.id, worker: worker.id }
}

async function take(page: Page, name: string): Promise<void> {
  const path = join(OUT, `${name}.png`)
  await page.screenshot({ path, animations: 'disabled' })
  console.log(`${name}.png ${Math.ceil(statSync(path).size / 1024)} KB`)
}
