/**
 * The dashboard in a real browser on this machine: how soon it shows something, how smoothly ten thousand rows scroll,
 * how soon a row tells that its instance has changed. The clocks are the page's own; a change is taken from the
 * server's record of it, which is the same machine's clock.
 */
import { readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { gzipSync } from 'node:zlib'
import type { Browser, Page } from 'playwright-core'
import { openBrowser, signIn, visit } from '../test/support/browser.ts'
import { serverWithMany } from '../test/support/many-instances.ts'
import { eventually, startServer } from '../test/support/server.ts'
import type { TestServer } from '../test/support/server.ts'
import { must } from './berth.ts'
import type { Figure } from './figure.ts'
import { figureOf } from './figure.ts'
import { packedServer } from './program.ts'

const BUILT = fileURLToPath(new URL('../.berth/web', import.meta.url))
/** Half of the stored ones are deleted. */
const STORED = 20_000
const SCROLL_FRAMES = 300
const PIXELS_A_FRAME = 180
const VIEW = { width: 1280, height: 800 }
const API = '/berth/v1'
/** Room for all that is stored. */
const ROOM = { BERTH_OVERCOMMIT_CPU: '1000', BERTH_OVERCOMMIT_MEMORY: '1000', BERTH_OVERCOMMIT_DISK: '1000' }

/** Runs in the page before its own scripts: when the first row was there. */
const NOTE_FIRST_ROW = `new MutationObserver((_, observer) => {
  if (document.querySelector('.grid-row') === null) return
  window.firstRowMs = performance.now()
  observer.disconnect()
}).observe(document, { childList: true, subtree: true })`

const SCROLL = `new Promise(resolve => {
  const grid = document.querySelector('.grid')
  const frames = []
  const blocked = []
  new PerformanceObserver(list => blocked.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' })
  let last = performance.now()
  const step = now => {
    frames.push(now - last)
    last = now
    grid.scrollTop += ${PIXELS_A_FRAME}
    if (frames.length < ${SCROLL_FRAMES}) requestAnimationFrame(step)
    else resolve({ frames: frames.slice(1), blocked })
  }
  requestAnimationFrame(step)
})`

export async function webFigures(samples: number): Promise<Readonly<Record<string, Figure>>> {
  const browser = await openBrowser()
  try {
    return { ...(await ofFew(browser, samples)), ...(await ofMany(browser, samples)) }
  } finally {
    await browser.close()
  }
}

async function ofFew(browser: Browser, samples: number): Promise<Readonly<Record<string, Figure>>> {
  await using server = await startServer({ main: await packedServer(), env: { BERTH_LOG_LEVEL: 'warn' } })
  await must(server, 'POST', `${API}/instances?wait=running`, { name: 'one', image: 'localhost/busybox', pull: 'missing' })
  const { text } = await server.request('GET', '/')
  const names = [...text.matchAll(/(?:src|href)="\/ui\/(assets\/[^"]+\.js)"/g)].map(match => match[1] ?? '')
  const bytes = names.reduce((sum, name) => sum + gzipSync(readFileSync(`${BUILT}/${name}`), { level: 9 }).length, 0)
  return { web_initial_js: figureOf('KB', [bytes / 1024]), web_first_content: figureOf('ms', await firstRows(browser, server, samples)) }
}

async function ofMany(browser: Browser, samples: number): Promise<Readonly<Record<string, Figure>>> {
  await using stored = await serverWithMany(STORED, { main: await packedServer(), env: ROOM })
  const { server } = stored
  const many = await firstRows(browser, server, Math.min(samples, 5))
  const { page, context } = await visit(browser, server.url, { viewport: VIEW })
  await page.goto('/')
  await signIn(page, server.key)
  await page.locator('.grid-row').first().waitFor()
  const { frames, blocked } = (await page.evaluate(SCROLL)) as { frames: readonly number[]; blocked: readonly number[] }
  const updates = await liveUpdates(page, server, samples)
  await context.close()
  return {
    web_first_content_many: figureOf('ms', many),
    web_scroll_frame: figureOf('ms', frames),
    web_scroll_blocked: figureOf('ms', [Math.max(0, ...blocked)]),
    web_live_update: figureOf('ms', updates),
  }
}

/** Milliseconds from the start of the navigation to the first row, each in a browser that has nothing of the page yet. */
async function firstRows(browser: Browser, server: TestServer, samples: number): Promise<number[]> {
  const first = await visit(browser, server.url)
  await first.page.goto('/')
  await signIn(first.page, server.key)
  const storageState = await first.context.storageState()
  await first.context.close()
  const times: number[] = []
  for (let sample = 0; sample < samples; sample++) {
    const { page, context } = await visit(browser, server.url, { viewport: VIEW, storageState })
    await page.addInitScript(NOTE_FIRST_ROW)
    await page.goto('/')
    times.push(await eventually('the first row', () => page.evaluate<number | null>('window.firstRowMs ?? null')))
    await context.close()
  }
  return times
}

/** One instance goes to standby and back; from the server's time of the change to the row that says so. */
async function liveUpdates(page: Page, server: TestServer, samples: number): Promise<number[]> {
  await must(server, 'POST', `${API}/instances?wait=running`, { name: 'live', image: 'localhost/busybox', pull: 'missing', memoryBytes: 128 * 2 ** 20 })
  const row = page.getByRole('row', { name: /live/ })
  await page.evaluate("void (document.querySelector('.grid').scrollTop = 0)")
  await row.getByText('running').waitFor()
  await page.evaluate(`{
    window.changes = []
    const row = [...document.querySelectorAll('.grid-row')].find(each => each.textContent.includes('live'))
    new MutationObserver(() => window.changes.push([row.querySelector('.phase').textContent, Date.now()])).observe(row, { subtree: true, childList: true, characterData: true })
  }`)
  const times: number[] = []
  for (let sample = 0; sample < samples; sample++) {
    const [operation, phase] = sample % 2 === 0 ? ['standby', 'standby'] : ['restore', 'running']
    await page.evaluate('void (window.changes.length = 0)')
    const { body } = await server.request('POST', `${API}/instances/live/${operation}?wait=true`)
    const shown = await eventually(`the row says ${phase}`, () => page.evaluate<number | null>(`window.changes.find(([each]) => each === '${phase}')?.[1] ?? null`))
    times.push(shown - Date.parse((body as { phaseSince: string }).phaseSince))
  }
  return times
}
