/**
 * Takes a picture of every page of the dashboard, light and dark, over a real server with real VMs.
 * Usage: node scripts/screenshots.ts [DIR]     default: docs/screenshots
 */
import { mkdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import type { Page } from 'playwright-core'
import { openBrowser, signIn, terminalShows, visit } from '../test/support/browser.ts'
import { PREFIX } from '../test/support/native-client.ts'
import { startServer } from '../test/support/server.ts'
import type { TestServer } from '../test/support/server.ts'

const OUT = process.argv[2] ?? fileURLToPath(new URL('../docs/screenshots', import.meta.url))
const SIZE = { width: 1280, height: 800 }
const PHONE = { width: 375, height: 740 }
const MIB = 2 ** 20
/** Long enough for lines to be seen in the plots. */
const MEASURE_MS = 13_000

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
mkdirSync(OUT, { recursive: true })
try {
  for (const colorScheme of ['light', 'dark'] as const) {
    const { page, context } = await visit(browser, server.url, { colorScheme, viewport: SIZE })
    await page.goto('/')
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
    await take(page, `sign-in-${colorScheme}`)
    await signIn(page, server.key)
    for (const { name, path, ready } of scenes(ids.web)) {
      await page.goto(path)
      await ready(page)
      await take(page, `${name}-${colorScheme}`)
    }
    await page.setViewportSize(PHONE)
    await page.goto('/')
    await page.getByRole('row').nth(1).waitFor()
    await take(page, `phone-${colorScheme}`)
    await context.close()
  }
} finally {
  await browser.close()
}

function scenes(id: string): readonly Scene[] {
  const instance = `/ui/instances/${id}`
  const heading = (name: string) => async (page: Page) => page.getByRole('heading', { name, level: 1 }).waitFor()
  return [
    { name: 'instances', path: '/', ready: page => page.waitForTimeout(MEASURE_MS) },
    { name: 'launch', path: '/ui/launch', ready: fillLaunch },
    { name: 'overview', path: instance, ready: async page => page.getByText(/Came to run in/).first().waitFor() },
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
    { name: 'files', path: `${instance}/files?path=/etc`, ready: async page => page.getByRole('table').waitFor() },
    {
      name: 'metrics',
      path: `${instance}/metrics`,
      async ready(page) {
        await page.getByRole('img', { name: /CPU over time/ }).waitFor()
        await page.waitForTimeout(MEASURE_MS)
      },
    },
    { name: 'instance-volumes', path: `${instance}/volumes`, ready: async page => page.getByRole('table').waitFor() },
    { name: 'events', path: `${instance}/events`, ready: async page => page.getByRole('table').waitFor() },
    { name: 'images', path: '/ui/images', ready: async page => page.getByRole('table').waitFor() },
    { name: 'volumes', path: '/ui/volumes', ready: async page => page.getByRole('table').waitFor() },
    { name: 'activity', path: '/ui/activity', ready: async page => page.getByRole('table').waitFor() },
    { name: 'audit', path: '/ui/activity/audit', ready: async page => page.getByRole('table').waitFor() },
    { name: 'host', path: '/ui/host', ready: async page => page.getByText('Templates').waitFor() },
    { name: 'market', path: '/ui/market', ready: async page => page.getByRole('table').waitFor() },
    { name: 'bids', path: '/ui/market/orders', ready: async page => page.getByRole('table').first().waitFor() },
    { name: 'prices', path: '/ui/market/prices', ready: async page => page.getByRole('img').nth(1).waitFor() },
    { name: 'costs', path: '/ui/market/costs', ready: async page => page.getByRole('table').waitFor() },
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
async function furnish(at: TestServer): Promise<{ readonly web: string }> {
  const make = async (method: string, path: string, body?: object) => {
    const answer = await at.request(method, `${PREFIX}${path}`, body === undefined ? {} : { body })
    if (answer.status >= 300) throw new Error(`${method} ${path}: ${answer.text}`)
    return answer.body as { readonly id: string }
  }
  const launch = (name: string, more: object = {}) => make('POST', '/instances?wait=running', { name, image: 'localhost/busybox', pull: 'missing', memoryBytes: 256 * MIB, cmd: ['sleep', '1000000'], ...more })
  await make('POST', '/volumes', { name: 'orders', sizeBytes: 256 * MIB })
  await make('POST', '/volumes', { name: 'models', sizeBytes: 512 * MIB })
  await make('POST', '/ssh-keys', { name: 'laptop' })
  await make('POST', '/keys', { name: 'ci', scopes: ['read', 'write'] })
  await make('POST', '/projects', { name: 'staging' })
  const busy = 'n=0; while :; do n=$((n+1)); echo "request $n served in $((n % 17 + 2)) ms"; [ $((n % 9)) = 0 ] && echo "slow upstream, retried" >&2; i=0; while [ $i -lt 9000 ]; do i=$((i+1)); done; sleep 0.4; done'
  const web = await launch('shop-web', {
    cmd: ['sh', '-c', busy],
    env: { GREETING: 'hello', LEVEL: 'info' },
    tags: { team: 'shop', stage: 'live' },
    volumes: [{ volume: 'orders', path: '/data' }],
    network: { ports: [{ hostPort: 18765, guestPort: 80 }] },
  })
  await launch('shop-worker', { cmd: ['sh', '-c', 'while :; do head -c 200000 /dev/urandom | md5sum; sleep 1; done'] })
  await launch('agent-7f3a')
  await launch('preview-142')
  await make('POST', '/instances/preview-142/standby?wait=true')
  await make('POST', '/instances/shop-worker/snapshots', { name: 'before-upgrade' })
  await make('POST', '/market/bids', { name: 'batch', type: 'small', region: 'simulated', image: 'localhost/busybox', pull: 'missing', quantity: 2, limitMicros: 30_000 })
  await launch('nightly')
  await make('POST', '/instances/nightly/stop?wait=true', {})
  await make('POST', `/instances/${web.id}/standby?wait=true`)
  await make('POST', `/instances/${web.id}/restore?wait=true`)
  await at.request('POST', `${PREFIX}/instances`, { body: { name: 'typo', image: 'localhost/no-such-image', pull: 'missing' } })
  return { web: web.id }
}

async function take(page: Page, name: string): Promise<void> {
  const path = join(OUT, `${name}.png`)
  await page.screenshot({ path, animations: 'disabled' })
  console.log(`${name}.png ${Math.ceil(statSync(path).size / 1024)} KB`)
}
