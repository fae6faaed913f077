/** The dashboard in a real browser, over a real server, with a real VM: one tour, from signing in to deleting. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import { after, before, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { openBrowser, signIn, terminalShows, visit } from './support/browser.ts'
import type { Visit } from './support/browser.ts'
import { PREFIX } from './support/native-client.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

let server: TestServer
let browser: Browser
let tour: Visit
let page: Page

before(async () => {
  server = await startServer({ host: 'qemu' })
  browser = await openBrowser()
  tour = await visit(browser, server.url, { permissions: ['clipboard-read', 'clipboard-write'] })
  page = tour.page
})
after(async () => {
  await browser?.close()
  await server.stop()
})

const phaseIs = (phase: string) => page.getByTestId('phase').getByText(phase, { exact: true }).waitFor()
const tab = (name: string) => page.getByRole('tab', { name }).click()

test('a key opens the dashboard', async () => {
  await page.goto('/')
  await signIn(page, server.key)
  await page.getByText('No instances yet').waitFor()
  const kept = await page.evaluate<string>('JSON.stringify([{ ...localStorage }, { ...sessionStorage }, document.cookie, location.href])')
  assert.ok(!kept.includes(server.key), kept)
  tour.check()
})

test('the launch form makes an instance, and the page sees it come to run', async () => {
  await page.getByRole('link', { name: 'Launch', exact: true }).click()
  await page.getByLabel('Name', { exact: true }).fill('tour')
  await page.getByRole('textbox', { name: 'Command' }).fill(`sh -c "echo out-$((40 + 2)); sleep 1000000"`)
  await page.getByText('berth run -d').waitFor()
  await page.getByRole('button', { name: 'Launch' }).click()
  await phaseIs('running')
  await page.getByText(/Came to run in/).waitFor()
  for (const tongue of ['Koyeb', 'Hypeman', 'Lambda', 'Mithril']) await page.getByText(new RegExp(`^${tongue}`)).waitFor()
  tour.check()
})

test('what the application wrote is in the log, and can be searched', async () => {
  await tab('Logs')
  await page.getByRole('log').getByText('out-42').waitFor()
  await page.getByLabel('Search the log').fill('no such line')
  await page.getByText('No line holds that').waitFor()
  tour.check()
})

test('what is typed into the terminal is answered by the VM', async () => {
  await tab('Terminal')
  await page.getByText('Connected').waitFor()
  await page.keyboard.type('echo answer-$((6 * 7)); hostname; echo kept > /dev/shm/word\n')
  await terminalShows(page, /answer-42[\s\S]*tour/)
  await page.setViewportSize({ width: 800, height: 700 })
  await page.keyboard.type('stty size\n')
  await terminalShows(page, /\d+ (?:[4-9]\d|1[01]\d)\s/)
  await page.setViewportSize({ width: 1280, height: 800 })
  tour.check()
})

test('what is in the clipboard is pasted into the terminal', async () => {
  await page.evaluate(`navigator.clipboard.writeText('echo "pasted-$((6 * 9))"')`)
  await page.keyboard.press('Control+Shift+V')
  await page.keyboard.press('Enter')
  await terminalShows(page, /pasted-54/)
  tour.check()
})

test('ten megabytes go in and come out as they were', async () => {
  const bytes = randomBytes(10 * 2 ** 20)
  await tab('Files')
  await page.getByRole('button', { name: 'tmp', exact: true }).click()
  await page.getByText('Nothing here').waitFor()
  await page.getByLabel('Files to upload').setInputFiles({ name: 'data.bin', mimeType: 'application/octet-stream', buffer: bytes })
  const link = page.getByRole('link', { name: 'Download data.bin' })
  await link.waitFor()
  const [download] = await Promise.all([page.waitForEvent('download'), link.click()])
  const hash = (data: Buffer) => createHash('sha256').update(data).digest('hex')
  assert.equal(hash(readFileSync(await download.path())), hash(bytes))
  tour.check()
})

test('usage is measured and drawn while it is looked at', async () => {
  await tab('Metrics')
  await page.getByRole('img', { name: /CPU over time/ }).waitFor()
  tour.check()
})

test('a volume is made, attached while the instance runs, and detached', async () => {
  await server.request('POST', `${PREFIX}/volumes`, { body: { name: 'data', sizeBytes: 64 * 2 ** 20 } })
  await tab('Volumes')
  await page.getByRole('button', { name: 'Attach' }).click()
  await page.getByRole('dialog').getByRole('combobox', { name: 'Volume' }).click()
  await page.getByRole('option', { name: /^data/ }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Attach' }).click()
  await page.getByRole('cell', { name: '/data' }).waitFor()
  await page.getByRole('button', { name: 'Detach' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Detach' }).click()
  await page.getByText('No volume is attached').waitFor()
  tour.check()
})

test('standby ends the shell, restore brings back the same memory, and the time of both is told', async () => {
  await tab('Terminal')
  await page.getByText('Connected').waitFor()
  await page.getByRole('button', { name: 'Standby' }).click()
  await page.getByText(/tour in standby in \d/).waitFor()
  await phaseIs('standby')
  await page.getByRole('button', { name: 'Restore' }).click()
  await page.getByText(/tour restored in \d/).waitFor()
  await page.getByText('Connected').waitFor()
  await page.locator('.xterm-helper-textarea').focus()
  await page.keyboard.type('cat /dev/shm/word\n')
  await terminalShows(page, /word\s+kept/)
  tour.check()
})

test('a VM that dies while the terminal is open is told, and the terminal opens again with the next one', async () => {
  for (const pid of vmmsOf(server.dataDir)) process.kill(pid, 'SIGKILL')
  await page.getByText(/The VM is gone|The shell ended|The connection broke/).waitFor()
  await phaseIs('stopped')
  await page.getByRole('button', { name: 'Start' }).click()
  await phaseIs('running')
  await page.getByText('Connected').waitFor()
  tour.check()
})

test('deleting asks first, and then it is gone', async () => {
  await page.getByRole('button', { name: 'More' }).click()
  await page.getByRole('menuitem', { name: 'Delete…' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
  await page.getByText('No instances yet').waitFor()
  await eventually('the instance is gone', async () => {
    const { body } = await server.request('GET', `${PREFIX}/instances`)
    return (body as { items: unknown[] }).items.length === 0 ? true : null
  })
  tour.check()
})

/** The VMMs that work in the directory. */
function vmmsOf(dataDir: string): readonly number[] {
  return readdirSync('/proc')
    .filter(name => /^\d+$/.test(name))
    .filter(pid => {
      try {
        const line = readFileSync(`/proc/${pid}/cmdline`, 'utf8')
        return line.includes('qemu-system') && line.includes(`${dataDir}/instances/`)
      } catch {
        // It ended meanwhile.
        return false
      }
    })
    .map(Number)
}
