/** The dashboard in a real browser, over a real server, with a real VM: one tour, from signing in to deleting. */
import { after, before, test } from 'node:test'
import type { Browser } from 'playwright-core'
import { openBrowser, signIn, terminalShows, visit } from './support/browser.ts'
import type { Visit } from './support/browser.ts'
import { PREFIX } from './support/native-client.ts'
import { startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

let server: TestServer
let browser: Browser
let tour: Visit

before(async () => {
  server = await startServer({ host: 'qemu' })
  browser = await openBrowser()
  tour = await visit(browser, server.url)
})
after(async () => {
  await browser?.close()
  await server.stop()
})

test('a key opens the dashboard', async () => {
  const { page } = tour
  await page.goto('/')
  await signIn(page, server.key)
  await page.getByText('No instances yet').waitFor()
  tour.check()
})

test('an instance that something else made appears by itself, and runs', async () => {
  const { page } = tour
  await server.request('POST', `${PREFIX}/instances`, { body: { name: 'tour', image: 'localhost/busybox', cmd: ['sleep', '1000000'] } })
  const row = page.getByRole('row').filter({ hasText: 'tour' })
  await row.getByText('running').waitFor()
  await row.getByRole('link', { name: 'tour' }).click()
  await page.getByText(/Came to run in/).waitFor()
  tour.check()
})

test('what is typed into the terminal is answered by the VM', async () => {
  const { page } = tour
  await page.getByRole('tab', { name: 'Terminal' }).click()
  await page.getByText('Connected').waitFor()
  await page.keyboard.type('echo answer-$((6 * 7)); hostname\n')
  await terminalShows(page, /answer-42[\s\S]*tour/)
  tour.check()
})
