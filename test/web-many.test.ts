/** The table over ten thousand instances in a real browser: it draws only what is seen, and stays live. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Browser } from 'playwright-core'
import { openBrowser, signIn, visit } from './support/browser.ts'
import type { Visit } from './support/browser.ts'
import { serverWithMany } from './support/many-instances.ts'
import { PREFIX } from './support/native-client.ts'
import { eventually } from './support/server.ts'

/** Half of the stored ones are deleted. */
const STORED = 20_000
/** The screen of a visitor holds seventeen; some more are drawn beside it. */
const ROWS_DRAWN = 60
const ROOM = { BERTH_OVERCOMMIT_CPU: '1000', BERTH_OVERCOMMIT_MEMORY: '1000', BERTH_OVERCOMMIT_DISK: '1000' }

let stored: Awaited<ReturnType<typeof serverWithMany>>
let browser: Browser
let seen: Visit

before(async () => {
  stored = await serverWithMany(STORED, { env: ROOM })
  browser = await openBrowser()
  seen = await visit(browser, stored.server.url)
  await seen.page.goto('/')
  await signIn(seen.page, stored.server.key)
})
after(async () => {
  await browser?.close()
  await stored?.[Symbol.asyncDispose]()
})

const rowsDrawn = () => seen.page.locator('.grid-row').count()

test('ten thousand instances are listed, and only those in sight are drawn, wherever one scrolls', async () => {
  const { page, check } = seen
  await page.getByText('10,000 in all').waitFor()
  assert.equal(await page.getByRole('grid').getAttribute('aria-rowcount'), '10001')
  const counts: number[] = []
  for (let part = 0; part <= 10; part++) {
    await page.evaluate(`{ const grid = document.querySelector('.grid'); grid.scrollTop = (grid.scrollHeight * ${part}) / 10 }`)
    await page.evaluate('new Promise(resolve => requestAnimationFrame(() => requestAnimationFrame(resolve)))')
    counts.push(await rowsDrawn())
  }
  assert.ok(counts.every(count => count > 0 && count <= ROWS_DRAWN), counts.join())
  // The last row is the oldest, and can be reached.
  await eventually('the last row', async () => ((await page.locator('.grid-row[aria-rowindex="10001"]').count()) === 1 ? true : null))
  check()
})

test('one that is made while ten thousand are shown is at the top at once, and its changes are told', async () => {
  const { page, check } = seen
  const { server } = stored
  await page.evaluate("void (document.querySelector('.grid').scrollTop = 0)")
  const made = await server.request('POST', `${PREFIX}/instances?wait=running`, { body: { name: 'live', image: 'localhost/busybox', pull: 'missing', memoryBytes: 128 * 2 ** 20 } })
  assert.equal(made.status, 201, made.text)
  const row = page.getByRole('row', { name: /live/ })
  await row.getByText('running').waitFor()
  assert.equal(await row.getAttribute('aria-rowindex'), '2')
  await server.request('POST', `${PREFIX}/instances/live/standby?wait=true`)
  await row.getByText('standby').waitFor()
  await page.getByLabel('Search instances').fill('LIVE')
  await page.waitForURL('**/?q=LIVE')
  await eventually('one row is left', async () => ((await rowsDrawn()) === 1 ? true : null))
  await page.reload()
  await row.getByText('standby').waitFor()
  assert.equal(await rowsDrawn(), 1)
  await server.request('DELETE', `${PREFIX}/instances/live?wait=true`)
  await page.getByText('Nothing fits the filter').waitFor()
  check()
})
