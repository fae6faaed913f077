/**
 * The distribution's Chromium over the dashboard, and what must hold of every page that a test opens: no request
 * leaves for another host, none is refused or fails, the policy is not broken, no script throws, the console is silent.
 */
import assert from 'node:assert/strict'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { chromium } from 'playwright-core'
import type { Browser, BrowserContext, BrowserContextOptions, Page, Response } from 'playwright-core'
import { eventually } from './server.ts'

/** A busy machine draws slowly. */
const WAIT_MS = 60_000
const FLAGS = [
  '--headless',
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
  // Neither this machine's own address nor https: to such pages a browser gives less.
  '--host-resolver-rules=MAP elsewhere.test 127.0.0.1',
]
/** Axe runs as the test's own script, past the policy of the page. */
const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')
/** More than any page has to be passed. */
const TABS_LIMIT = 60
/** Who goes on to another page leaves requests behind; and Chromium drops them when the machine gets another network. */
const LEFT_BEHIND = /net::ERR_(ABORTED|NETWORK_CHANGED)/
/** So many times slower than it is, and further from the server: finds tests that only pass while the page is quick. */
const SLOWER = Number(process.env['BERTH_BROWSER_SLOWER'] ?? 1)
const FAR_MS = 150
/** The second is said of every page of plain http. */
const TOLD_ELSEWHERE = /^(Failed to load resource|The Cross-Origin-Opener-Policy header has been ignored)/
const RULES = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa']

export async function openBrowser(): Promise<Browser> {
  return chromium.launch({ executablePath: '/usr/bin/chromium', args: FLAGS })
}

export interface Visit {
  readonly context: BrowserContext
  readonly page: Page
  /** Fails on what a page did that it must not. */
  readonly check: () => void
}

/** The same server, as a machine elsewhere in the network sees it over plain http. */
export function fromElsewhere(url: string): string {
  return `http://elsewhere.test:${new URL(url).port}`
}

/** A browser of a new visitor. */
export async function visit(browser: Browser, url: string, options: BrowserContextOptions = {}): Promise<Visit> {
  const context = await browser.newContext({ baseURL: url, acceptDownloads: true, locale: 'en-US', timezoneId: 'UTC', reducedMotion: 'reduce', ...options })
  context.setDefaultTimeout(WAIT_MS)
  const page = await context.newPage()
  if (SLOWER > 1) await slowDown(page)
  return { context, page, check: watchPage(page, url) }
}

async function slowDown(page: Page): Promise<void> {
  const devtools = await page.context().newCDPSession(page)
  await devtools.send('Emulation.setCPUThrottlingRate', { rate: SLOWER })
  await devtools.send('Network.enable')
  await devtools.send('Network.emulateNetworkConditions', { offline: false, latency: FAR_MS, downloadThroughput: -1, uploadThroughput: -1 })
}

/** Watches the page from now on; what is returned fails on what it did that it must not. */
export function watchPage(page: Page, url: string): () => void {
  const problems: string[] = []
  const own = new URL(url).host
  page.on('request', request => {
    const { host, protocol } = new URL(request.url())
    if (/^(https?|wss?):$/.test(protocol) && host !== own) problems.push(`a request to ${host}`)
  })
  page.on('pageerror', error => problems.push(`a script threw: ${error.message}`))
  page.on('requestfailed', request => {
    const { errorText = '' } = request.failure() ?? {}
    if (!LEFT_BEHIND.test(errorText)) problems.push(`${request.method()} ${request.url()} failed: ${errorText}`)
  })
  page.on('response', response => {
    if (response.status() >= 400 && !isExpected(response)) problems.push(`${response.request().method()} ${response.url()} was answered with ${response.status()}`)
  })
  page.on('console', message => {
    // What was refused, or did not arrive, is told above, with what the console leaves out.
    if (['error', 'warning'].includes(message.type()) && !TOLD_ELSEWHERE.test(message.text())) problems.push(`the console: ${message.text()}`)
  })
  return () => assert.deepEqual(problems, [])
}

/** A visitor without a session is found out by asking who it is, and what is looked at may be deleted that very moment. */
function isExpected(response: Response): boolean {
  const answer = `${response.status()} ${new URL(response.url()).pathname}`
  return answer === '401 /berth/v1/whoami' || answer === '404 /berth/v1/stats/watch'
}

/** Signs in on whatever page is shown. */
export async function signIn(page: Page, key: string): Promise<void> {
  await page.getByLabel('Key', { exact: true }).fill(key)
  await page.getByRole('button', { name: 'Sign in' }).click()
  await page.getByRole('navigation', { name: 'Pages' }).waitFor({ state: 'attached' })
}

interface Finding {
  readonly id: string
  readonly nodes: readonly { readonly target: readonly unknown[]; readonly failureSummary?: string }[]
}

/** Fails on anything that WCAG 2.2 AA forbids and axe can see. */
export async function checkAccess(page: Page, what: string): Promise<void> {
  if (!(await page.evaluate('typeof axe === "object"'))) await page.evaluate(AXE)
  const found = (await page.evaluate(`axe.run(document, { runOnly: ${JSON.stringify(RULES)} }).then(result => result.violations)`)) as readonly Finding[]
  const told = found.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} at ${JSON.stringify(target)}: ${failureSummary ?? ''}`))
  assert.deepEqual(told, [], what)
}

/** Presses Tab until what is called so has the focus, which must be seen wherever it comes by. */
export async function tabTo(page: Page, name: RegExp, key = 'Tab'): Promise<void> {
  const passed: string[] = []
  for (let count = 0; count < TABS_LIMIT; count++) {
    await page.keyboard.press(key)
    const { label, isSeen } = (await page.evaluate(FOCUSED)) as { readonly label: string; readonly isSeen: boolean }
    assert.ok(isSeen, `the focus on "${label}" is not seen`)
    if (name.test(label)) return
    passed.push(label)
  }
  assert.fail(`${name} was not reached; the focus went over ${passed.join(' | ')}`)
}

/** What has the focus is called, as whoever hears it is told; and whether it is drawn in any other way than without it. */
const FOCUSED = `(() => {
  const element = document.activeElement
  const label = element.getAttribute('aria-label') ?? (element.labels?.[0]?.textContent || element.textContent || element.tagName)
  // A field is drawn by the box around it.
  const boxes = [element, element.parentElement, element.parentElement?.parentElement].filter(each => each instanceof Element)
  const drawn = () => JSON.stringify(boxes.map(each => {
    const { outlineStyle, outlineWidth, borderColor, boxShadow, left } = getComputedStyle(each)
    return [outlineStyle === 'none' ? '' : outlineWidth, borderColor, boxShadow, left]
  }))
  const focused = drawn()
  element.blur()
  const plain = drawn()
  element.focus({ focusVisible: true })
  return { label: label.trim(), isSeen: element === document.body || focused !== plain }
})()`

/** Waits until the terminal shows it. */
export async function terminalShows(page: Page, text: RegExp): Promise<void> {
  await eventually(`the terminal shows ${text}`, async () => (text.test(await page.locator('.xterm-rows').innerText()) ? true : null), WAIT_MS)
}

/** Double-clicks on the last of them on the terminal's screen. */
export async function selectWord(page: Page, word: string): Promise<void> {
  const spot = (await page.evaluate(`(() => {
    const nodes = document.createTreeWalker(document.querySelector('.xterm-rows'), NodeFilter.SHOW_TEXT)
    let found = null
    for (let node = nodes.nextNode(); node !== null; node = nodes.nextNode()) {
      const at = node.data.indexOf(${JSON.stringify(word)})
      if (at < 0) continue
      const range = document.createRange()
      range.setStart(node, at)
      range.setEnd(node, at + ${word.length})
      const { left, top, width, height } = range.getBoundingClientRect()
      found = { x: left + width / 2, y: top + height / 2 }
    }
    return found
  })()`)) as { readonly x: number; readonly y: number } | null
  assert.ok(spot !== null, `${word} is on the screen`)
  await page.mouse.dblclick(spot.x, spot.y)
}
