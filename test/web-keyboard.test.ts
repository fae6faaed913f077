/** The dashboard without a pointer, over a real VM: where the focus goes, that it is seen, and that it comes back. */
import assert from 'node:assert/strict'
import { after, before, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { openBrowser, tabTo, terminalShows, visit } from './support/browser.ts'
import type { Visit } from './support/browser.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

let server: TestServer
let browser: Browser
let seen: Visit
let page: Page

before(async () => {
  server = await startServer({ host: 'qemu' })
  browser = await openBrowser()
  seen = await visit(browser, server.url)
  page = seen.page
})
after(async () => {
  await browser?.close()
  await server?.stop()
})

const press = async (...keys: readonly string[]) => {
  for (const key of keys) await page.keyboard.press(key)
}
/** The id, the label or the text of what has the focus. */
const focused = () =>
  page.evaluate<string>(`(element => element.id === 'main' ? 'main' : (element.getAttribute('aria-label') ?? element.labels?.[0]?.textContent ?? element.textContent).trim())(document.activeElement)`)
/** A terminal is typed into only once it listens. */
const inTerminal = () => eventually('the focus is in the terminal', async () => ((await page.evaluate(`document.activeElement.closest('.xterm') !== null`)) ? true : null))
const focusIs = async (what: string) => {
  let last = ''
  await eventually(`the focus is on ${what}`, async () => ((last = await focused()) === what ? true : null)).catch(() => assert.fail(`the focus is on "${last.slice(0, 200)}", and not on ${what}`))
}

test('one signs in where the focus is already, and skips what stands on every page', async () => {
  await page.goto('/')
  await page.getByLabel('Key', { exact: true }).waitFor()
  await focusIs('Key')
  await page.keyboard.type('no key at all')
  await press('Enter')
  await page.getByText(/key/i).and(page.locator('[id$=-error]')).waitFor()
  await focusIs('Key')
  await press('Control+A')
  await page.keyboard.type(server.key)
  await press('Enter')
  await page.getByText('No instances yet').waitFor()
  await page.reload()
  await page.getByText('No instances yet').waitFor()
  await press('Tab')
  await focusIs('To the content')
  const skip = await page.getByRole('link', { name: 'To the content' }).boundingBox()
  assert.ok(skip !== null && skip.x >= 0, 'it is seen once it has the focus')
  await press('Enter')
  await focusIs('main')
  await tabTo(page, /^Search instances$/)
})

test('an instance is launched, and the focus goes along to its page', async () => {
  await tabTo(page, /^Launch an instance$/)
  await press('Enter')
  await page.getByRole('heading', { name: 'Launch an instance' }).waitFor()
  await focusIs('main')
  await tabTo(page, /^Name$/)
  await page.keyboard.type('keys')
  await tabTo(page, /^Memory$/)
  await press('ArrowRight', 'ArrowLeft')
  await tabTo(page, /^Command$/)
  await page.keyboard.type('sleep 1000000')
  await press('Enter')
  await page.getByRole('heading', { name: 'keys', level: 1 }).waitFor()
  await page.getByTestId('phase').getByText('running', { exact: true }).waitFor()
  await focusIs('main')
})

test('the terminal is opened, typed into, and left again, although Tab belongs to the shell', async () => {
  await tabTo(page, /^Overview$/)
  await press('ArrowRight')
  await page.getByText('Connected').waitFor()
  await inTerminal()
  await page.keyboard.type('echo keys-$((6 * 7))\n')
  await terminalShows(page, /keys-42/)
  await press('Control+Shift+ArrowUp')
  await focusIs('Restart shell')
  await tabTo(page, /^Terminal$/, 'Shift+Tab')
  await press('Home')
  await page.getByText('four spellings').waitFor()
})

test('a dialog holds the focus, Escape closes it, and the focus is where it was; what is deleted is gone', async () => {
  await tabTo(page, /^More$/, 'Shift+Tab')
  await press('Enter')
  const toItem = async (name: string) => {
    await page.getByRole('menuitem', { name }).waitFor()
    // The items are seen before the focus has come to the menu: a key pressed in between would go to the button.
    await eventually('the focus is in the menu', async () => ((await page.evaluate(`document.activeElement.closest('[role=menu]') !== null`)) ? true : null))
    for (let count = 0; count < 5 && (await focused()) !== name; count++) await press('ArrowDown')
    await focusIs(name)
  }
  await toItem('Change…')
  await press('Enter')
  await page.getByRole('dialog').getByLabel('Name').waitFor()
  await focusIs('Name')
  for (let count = 0; count < 15; count++) {
    await press('Tab')
    assert.ok(await page.evaluate(`document.activeElement.closest('[role=dialog], .mantine-Modal-root') !== null`), `the focus has left the dialog for ${await focused()}`)
  }
  await press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  await focusIs('More')
  await press('Enter')
  await toItem('Delete…')
  await press('Enter')
  await focusIs('Delete')
  await press('Escape')
  await page.getByRole('dialog').waitFor({ state: 'detached' })
  await focusIs('More')
  await press('Enter')
  await toItem('Delete…')
  await press('Enter')
  await focusIs('Delete')
  await press('Enter')
  await page.getByText('No instances yet').waitFor()
  await focusIs('main')
  // The first key was refused on purpose; nothing else was.
  assert.throws(() => seen.check(), (error: Error) => /\/session was answered with 401/.test(error.message) && !/console|failed/.test(error.message))
})
