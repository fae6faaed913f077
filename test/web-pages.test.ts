/** Every page of the dashboard on a simulated host: access in both themes, on a phone, and when things go wrong. */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { checkAccess, openBrowser, signIn, visit } from './support/browser.ts'
import type { Visit } from './support/browser.ts'
import { PREFIX } from './support/native-client.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'bt-'))
chmodSync(dataDir, 0o711)
let server: TestServer
let browser: Browser
let id = ''

async function make<T = { readonly id: string }>(method: string, path: string, body: object = {}): Promise<T> {
  const answer = await server.request(method, `${PREFIX}${path}`, { body })
  assert.ok(answer.status < 300, answer.text)
  return answer.body as T
}
const launch = (name: string, more: object = {}) => make('POST', '/instances?wait=running', { name, image: 'localhost/busybox', pull: 'missing', memoryBytes: 128 * 2 ** 20, ...more })

before(async () => {
  server = await startServer({ dataDir })
  browser = await openBrowser()
  await make('POST', '/volumes', { name: 'data', sizeBytes: 64 * 2 ** 20 })
  await make('POST', '/ssh-keys', { name: 'laptop' })
  await make('POST', '/keys', { name: 'ci', scopes: ['read'] })
  await make('POST', '/projects', { name: 'staging' })
  await make('PUT', '/secrets/DB_PASSWORD', { value: 'hush' })
  await make('POST', '/file-systems', { name: 'models', sizeBytes: 64 * 2 ** 20 })
  await make('POST', '/firewalls', { name: 'http', rules: [{ protocol: 'tcp', ports: [80, 80], source: '10.0.0.0/8', description: 'web' }] })
  const made = await launch('web', { fileSystems: [{ fileSystem: 'models', path: '/srv/models' }], firewalls: ['http'], env: { GREETING: 'hello' }, secrets: ['DB_PASSWORD'], tags: { team: 'shop' }, volumes: [{ volume: 'data', path: '/data' }], network: { ports: [{ hostPort: 18766, guestPort: 80 }] } })
  id = made.id
  await launch('sleeper')
  await make('POST', '/instances/sleeper/standby?wait=true')
})
after(async () => {
  await browser?.close()
  await server.stop()
  rmSync(dataDir, { recursive: true, force: true })
})

const pages = (): readonly (readonly [path: string, shown: string])[] => [
  ['/', 'sleeper'],
  ['/ui/launch', 'The same elsewhere'],
  [`/ui/instances/${id}`, 'four spellings'],
  [`/ui/instances/${id}/terminal`, 'Open again'],
  [`/ui/instances/${id}/logs`, 'live'],
  [`/ui/instances/${id}/files?path=/`, 'Upload'],
  [`/ui/instances/${id}/metrics`, 'CPU'],
  [`/ui/instances/${id}/volumes`, '/data'],
  [`/ui/instances/${id}/network`, 'TCP 80 from 10.0.0.0/8'],
  [`/ui/instances/${id}/snapshots`, 'No snapshots yet'],
  [`/ui/instances/${id}/events`, 'in all'],
  ['/ui/images', 'localhost/busybox'],
  ['/ui/volumes', '/data'],
  ['/ui/file-systems', 'models'],
  ['/ui/firewalls', 'TCP 80 from 10.0.0.0/8'],
  ['/ui/secrets', 'DB_PASSWORD'],
  ['/ui/activity', 'sleeper'],
  ['/ui/activity/audit', 'instance.create'],
  ['/ui/host', 'Reservations'],
  ['/ui/market', 'small'],
  ['/ui/market/orders', 'No bids'],
  ['/ui/market/prices', 'small'],
  ['/ui/market/costs', 'web'],
  ['/ui/keys', 'laptop'],
  ['/ui/projects', 'staging'],
  ['/ui/nonsense', 'There is no such page'],
]

async function shows(page: Page, path: string, text: string): Promise<void> {
  await page.goto(path)
  await page.getByRole('main').getByText(text).first().waitFor()
}

for (const colorScheme of ['light', 'dark'] as const) {
  test(`nothing stands in the way of anybody on any page, ${colorScheme}`, async () => {
    const { page, context, check } = await visit(browser, server.url, { colorScheme, viewport: { width: 1280, height: 800 } })
    await page.goto('/')
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
    await checkAccess(page, 'sign in')
    await signIn(page, server.key)
    const problems: unknown[] = []
    for (const [path, text] of pages()) {
      await shows(page, path, text)
      await checkAccess(page, path).catch((error: unknown) => problems.push(error))
      const moving = await page.evaluate<number>('document.getAnimations().length')
      if (moving > 0) problems.push(`${path} moves, although less motion is asked for`)
    }
    assert.deepEqual(problems.map(String), [])
    check()
    await context.close()
  })
}

const FIT_MS = 30_000
/** A phone, a tablet, a screen at 200 % (which leaves half of it), and letters alone at 200 %. */
const SCREENS = [
  { name: 'a tablet', width: 768, height: 1024, letters: '100%' },
  { name: 'a screen at 200 %', width: 640, height: 400, letters: '100%' },
  { name: 'letters at 200 %', width: 1280, height: 800, letters: '200%' },
  { name: 'a phone', width: 375, height: 740, letters: '100%' },
] as const

test('every page fits a phone of 375 pixels, a tablet, and whoever enlarges it to twice its size', async () => {
  const { page, context, check } = await visit(browser, server.url, { viewport: { width: 375, height: 740 }, hasTouch: true })
  await page.goto('/')
  await signIn(page, server.key)
  const problems: string[] = []
  for (const [path, text] of pages()) {
    await shows(page, path, text)
    for (const { name, width, height, letters } of SCREENS) {
      await page.setViewportSize({ width, height })
      await page.evaluate(`document.documentElement.style.fontSize = '${letters}'`)
      const drawn = () => page.evaluate<number>('document.documentElement.scrollWidth')
      // Plots follow the size of the window a moment later.
      const fits = await eventually(name, async () => ((await drawn()) <= width ? true : null), FIT_MS).catch(() => false)
      if (!fits) problems.push(`${path} is ${await drawn()} pixels wide on ${name}`)
    }
  }
  assert.deepEqual(problems, [])
  await page.goto('/')
  await page.getByRole('button', { name: 'Menu' }).click()
  await page.getByRole('link', { name: 'Volumes' }).click()
  await page.getByRole('heading', { name: 'Volumes', level: 1 }).waitFor()
  check()
  await context.close()
})

describe('the table of instances', () => {
  let seen: Visit
  before(async () => {
    seen = await visit(browser, server.url)
    await seen.page.goto('/')
    await signIn(seen.page, server.key)
  })
  after(() => seen.context.close())

  test('is filtered by what the address says, and says it there', async () => {
    const { page } = seen
    await page.goto('/?phase=standby')
    await page.getByRole('row', { name: /sleeper/ }).waitFor()
    assert.equal(await page.getByRole('row').count(), 2)
    await page.goto('/')
    await page.getByLabel('Search instances').fill('team=shop')
    await page.waitForURL('**/?q=team*')
    await page.getByRole('row', { name: /sleeper/ }).waitFor({ state: 'detached' })
    await page.getByRole('row', { name: /web/ }).waitFor()
    assert.equal(await page.getByRole('row').count(), 2)
  })

  test('is driven by keys alone', async () => {
    const { page } = seen
    await page.goto('/?sort=name')
    await page.getByRole('row', { name: /web/ }).waitFor()
    await page.keyboard.press('/')
    await page.keyboard.type('e')
    await page.waitForURL('**/*q=e*')
    await page.getByRole('grid').focus()
    await page.keyboard.press('Home')
    await page.keyboard.press('Space')
    await page.getByText('1 selected').waitFor()
    await page.keyboard.press('ArrowDown')
    await page.keyboard.press('Enter')
    await page.waitForURL(`**/ui/instances/${id}`)
  })

  test('does to all that are selected what is asked, after a question', async () => {
    const { page } = seen
    await Promise.all([launch('bulk-a'), launch('bulk-b')])
    await page.goto('/?q=bulk')
    await page.getByRole('row', { name: /bulk-a/ }).waitFor()
    await page.getByRole('row', { name: /bulk-b/ }).waitFor()
    await page.getByLabel('Select all').click()
    await page.getByRole('button', { name: 'Delete' }).click()
    await page.getByText('Delete 2 instances?').waitFor()
    await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
    await page.getByText('Nothing fits the filter').waitFor()
    seen.check()
  })
})

describe('when things go wrong', () => {
  test('a key that is deleted leads back to signing in, and on to where one was', async () => {
    const { page, context } = await visit(browser, server.url)
    const { key, secret } = await make<{ key: { id: string }; secret: string }>('POST', '/keys', { name: 'short', scopes: ['read'] })
    await page.goto('/')
    await signIn(page, secret)
    // With all of this read nothing is on its way any more that could find out earlier.
    await page.getByRole('row', { name: /sleeper/ }).waitFor()
    await page.getByRole('link', { name: 'Volumes' }).click()
    await page.getByRole('cell', { name: '/data' }).waitFor()
    await server.request('DELETE', `${PREFIX}/keys/${key.id}`)
    await page.getByRole('link', { name: 'Images' }).click()
    await page.getByText('Your session is over').waitFor()
    await signIn(page, server.key)
    await page.getByRole('heading', { name: 'Images', level: 1 }).waitFor()
    await context.close()
  })

  test('a key that may only look is offered nothing else', async () => {
    const { page, context } = await visit(browser, server.url)
    const { secret } = await make<{ secret: string }>('POST', '/keys', { name: 'reader', scopes: ['read'] })
    await page.goto(`/ui/instances/${id}`)
    await signIn(page, secret)
    await page.getByText('four spellings').waitFor()
    for (const name of ['Stop', 'More']) assert.equal(await page.getByRole('button', { name }).count(), 0)
    assert.equal(await page.getByRole('link', { name: 'Launch' }).count(), 0)
    assert.equal(await page.getByRole('tab', { name: 'Terminal' }).count(), 0)
    await context.close()
  })

  test('signing out ends the session', async () => {
    const { page, context } = await visit(browser, server.url)
    await page.goto('/')
    await signIn(page, server.key)
    await page.getByRole('button', { name: 'Account' }).click()
    await page.getByRole('menuitem', { name: 'Sign out' }).click()
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
    await page.reload()
    await page.getByRole('button', { name: 'Sign in' }).waitFor()
    await context.close()
  })

  test('a server that is gone is told, and when it is back the page goes on by itself, still signed in', async () => {
    const { page, context } = await visit(browser, server.url)
    await page.goto('/')
    await signIn(page, server.key)
    await page.getByRole('row', { name: /sleeper/ }).waitFor()
    const listen = new URL(server.url).host
    await server.kill()
    await page.getByText('The server does not answer').waitFor()
    await checkAccess(page, 'a server that is gone')
    server = await startServer({ dataDir, env: { BERTH_LISTEN: listen } })
    await page.getByText('The server does not answer').waitFor({ state: 'detached' })
    await launch('after')
    await page.getByRole('row', { name: /after/ }).getByText('running').waitFor()
    await context.close()
  })
})
