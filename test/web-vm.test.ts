/** The dashboard in a real browser, over a real server, with a real VM: one tour, from signing in to deleting. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import type { Browser, Page } from 'playwright-core'
import { checkAccess, fromElsewhere, openBrowser, selectWord, signIn, terminalShows, visit, watchPage } from './support/browser.ts'
import type { Visit } from './support/browser.ts'
import { exec } from './support/exec-socket.ts'
import { PREFIX } from './support/native-client.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const dataDir = mkdtempSync(join(tmpdir(), 'bt-'))
// VMs run as users of their own, who pass through here.
chmodSync(dataDir, 0o711)
let server: TestServer
let browser: Browser
let tour: Visit
let page: Page

before(async () => {
  server = await startServer({ host: 'qemu', dataDir })
  browser = await openBrowser()
  tour = await visit(browser, server.url, { permissions: ['clipboard-read', 'clipboard-write'] })
  page = tour.page
})
after(async () => {
  await browser?.close()
  try {
    await server.stop()
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
})

/** Nobody listens there. */
const NO_IMAGE = '127.0.0.1:9/nobody/nothing:1'
const dialog = () => page.getByRole('dialog')
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
  // A colour that is no name of the palette is drawn by a style of its own.
  await page.keyboard.type("printf '\\033[38;2;1;2;3mpainted-%s\\033[0m\\n' 7\n")
  await page.locator('.xterm-rows span', { hasText: 'painted-7' }).last().waitFor()
  const colour = () => page.evaluate<string | null>(`(span => span === undefined ? null : getComputedStyle(span).color)([...document.querySelectorAll('.xterm-rows span')].findLast(span => span.textContent === 'painted-7'))`)
  await eventually('the word is drawn in its colour', async () => ((await colour()) === 'rgb(1, 2, 3)' ? true : null))
  // The shell learns of its size some time after the window has it.
  const untilColumns = async (condition: string, word: string) => {
    await page.keyboard.type(`while set -- $(stty size); ! [ $2 ${condition} ]; do sleep 0.1; done; echo ${word}-$((8 * 8))\n`)
    await terminalShows(page, new RegExp(`${word}-64`))
  }
  await page.setViewportSize({ width: 800, height: 700 })
  await untilColumns('-lt 120', 'narrow')
  await page.setViewportSize({ width: 1280, height: 800 })
  await untilColumns('-ge 120', 'wide')
  tour.check()
})

test('what is in the clipboard is pasted into the terminal', async () => {
  await page.evaluate(`navigator.clipboard.writeText('echo "pasted-$((6 * 9))"')`)
  await page.keyboard.press('Control+Shift+V')
  await terminalShows(page, /pasted-\$\(\(6/)
  await page.keyboard.press('Enter')
  await terminalShows(page, /pasted-54/)
  tour.check()
})

test('what is selected in the terminal is copied, by its keys and by its button', async () => {
  await page.keyboard.type('echo first-$((7 * 8)); echo second-$((7 * 9))\n')
  // With its prompt the shell is done: nothing scrolls away from under the pointer.
  await terminalShows(page, /first-56\s[\s\S]*second-63\s+\S*[#$]/)
  const clipboard = () => page.evaluate<string>('navigator.clipboard.readText()')
  await selectWord(page, 'first-56')
  await page.keyboard.press('Control+Shift+C')
  await eventually('the first word is copied', async () => ((await clipboard()) === 'first-56' ? true : null))
  await selectWord(page, 'second-63')
  await page.getByRole('button', { name: 'Copy', exact: true }).click()
  await page.getByText('Copied', { exact: true }).waitFor()
  assert.equal(await clipboard(), 'second-63')
  tour.check()
})

test('over plain http from elsewhere, where a page is given no clipboard, copying works all the same', async () => {
  const address = fromElsewhere(server.url)
  const { page: far, context, check } = await visit(browser, address)
  const [, instance = ''] = /(\/ui\/instances\/[^/]+)/.exec(page.url()) ?? []
  await far.goto(`${instance}/terminal`)
  await signIn(far, server.key)
  await far.getByText('Connected').waitFor()
  assert.deepEqual(await far.evaluate('[isSecureContext, typeof navigator.clipboard]'), [false, 'undefined'])
  await far.keyboard.type('echo word-$((9 * 9))\n')
  await terminalShows(far, /word-81\s+\S*[#$]/)
  await selectWord(far, 'word-81')
  await far.keyboard.press('Control+Shift+C')
  await far.keyboard.type('echo again-')
  await far.keyboard.press('Control+Shift+V')
  await terminalShows(far, /again-word-81/)
  await selectWord(far, 'again-word-81')
  await far.getByRole('button', { name: 'Copy', exact: true }).click()
  await far.getByText('Copied', { exact: true }).waitFor()
  const pasted = async () => {
    await far.getByRole('link', { name: 'Berth: instances' }).click()
    await far.getByLabel('Search instances').fill('')
    await far.keyboard.press('Control+V')
    return far.getByLabel('Search instances').inputValue()
  }
  assert.equal(await pasted(), 'again-word-81')
  await far.goto(instance)
  await far.getByRole('button', { name: 'Copy the address' }).first().click()
  await far.getByRole('button', { name: 'Copied' }).waitFor()
  assert.match(await pasted(), /^\d+\.\d+\.\d+\.\d+$/)
  check()
  await context.close()
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
  await page.getByText(/The VM is gone|It sleeps/).waitFor()
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
  await page.getByText(/The VM is gone|No VM runs|The shell ended|The connection broke/).waitFor()
  await phaseIs('stopped')
  await page.getByRole('button', { name: 'Start' }).click()
  await phaseIs('running')
  await page.getByText('Connected').waitFor()
  tour.check()
})

/** What fails while the server is away is what it is about; from then on nothing may fail again. */
let checkAgain = () => {}

test('a server that is restarted ends the shell; the next one is announced below what the last one wrote', async () => {
  await page.getByRole('button', { name: 'Restart shell' }).click()
  await page.getByText('Connected to a new shell').waitFor()
  await page.keyboard.type('echo before-$((5 * 5)); echo $$ > /tmp/first\n')
  await terminalShows(page, /before-25/)
  const listen = new URL(server.url).host
  await server.kill()
  await page.getByText('The connection broke; the shell was ended.').waitFor()
  await page.getByText('The server does not answer').waitFor()
  server = await startServer({ host: 'qemu', dataDir, env: { BERTH_LISTEN: listen } })
  await page.getByText('Connected to a new shell').waitFor()
  await page.keyboard.type('[ "$(cat /tmp/first)" = $$ ] || echo other-$((6 * 6))\n')
  await terminalShows(page, /before-25[\s\S]*── a new shell, [\s\S]*other-36/)
  await page.getByText('The server does not answer').waitFor({ state: 'detached' })
  checkAgain = watchPage(page, server.url)
})

test('a snapshot is taken, another instance is forked from it, the first goes back to it, and it is deleted', async () => {
  await shell('tour', 'echo kept > /root/word; echo awake > /dev/shm/word')
  await tab('Snapshots')
  await page.getByRole('button', { name: 'Take a snapshot' }).click()
  await dialog().getByLabel('Name').fill('first')
  await dialog().getByRole('button', { name: 'Take' }).click()
  const row = page.getByRole('row', { name: /first/ })
  await row.getByText('memory and disks').waitFor()
  await shell('tour', 'echo lost > /root/word')

  await row.getByRole('button', { name: 'Fork' }).click()
  await dialog().getByLabel('Name').fill('twin')
  await dialog().getByRole('button', { name: 'Fork' }).click()
  await page.getByRole('heading', { name: 'twin', level: 1 }).waitFor()
  await phaseIs('running')
  assert.equal(await shell('twin', 'cat /root/word /dev/shm/word; hostname'), 'kept\nawake\ntwin\n')
  await tab('Snapshots')
  await page.getByRole('button', { name: 'Fork' }).click()
  await dialog().getByLabel('Name').fill('third')
  await dialog().getByText('Stopped, disks only').click()
  await dialog().getByRole('button', { name: 'Fork' }).click()
  await page.getByRole('heading', { name: 'third', level: 1 }).waitFor()
  await phaseIs('stopped')

  await page.goto('/?q=tour')
  await page.getByRole('link', { name: 'tour' }).click()
  await tab('Snapshots')
  assert.ok(await row.getByRole('button', { name: 'Go back' }).isDisabled(), 'it runs')
  await page.getByRole('button', { name: 'Stop' }).click()
  await phaseIs('stopped')
  await row.getByRole('button', { name: 'Go back' }).click()
  await dialog().getByRole('button', { name: 'Go back' }).click()
  await page.getByText('tour is what it was').waitFor()
  await phaseIs('running')
  assert.equal(await shell('tour', 'cat /root/word /dev/shm/word'), 'kept\nawake\n')
  await page.getByRole('button', { name: 'Delete first' }).click()
  await dialog().getByRole('button', { name: 'Delete' }).click()
  await page.getByText('No snapshots yet').waitFor()
  checkAgain()
  for (const name of ['twin', 'third']) await server.request('DELETE', `${PREFIX}/instances/${name}?wait=true`)
})

test('an image that can’t be pulled says why, where it was asked for and where it was wanted', async () => {
  await page.goto('/ui/images')
  await page.getByRole('button', { name: 'Pull an image' }).click()
  await dialog().getByLabel('Name').fill(NO_IMAGE)
  await dialog().getByRole('button', { name: 'Pull' }).click()
  const row = page.getByRole('row', { name: /nobody\/nothing/ })
  await row.getByText('failed').waitFor()
  const { body } = await server.request('GET', `${PREFIX}/images`)
  const { error } = (body as { items: readonly { name: string; error: string | null }[] }).items.find(({ name }) => name === NO_IMAGE) ?? { error: null }
  assert.ok(error !== null)
  await row.getByText(error).waitFor()
  await page.goto('/ui/launch')
  await page.getByRole('combobox', { name: 'Image' }).fill(NO_IMAGE)
  await page.keyboard.press('Escape')
  await page.getByText(`Its last pull failed: ${error}`).waitFor()
  await page.getByRole('main').getByRole('button', { name: 'Launch' }).click()
  await phaseIs('failed')
  await page.getByText('Its image could not be had').waitFor()
  await checkAccess(page, 'an instance that failed')
  await page.getByRole('alert').getByRole('link', { name: 'the images' }).click()
  await page.getByRole('button', { name: /^Try again to pull/ }).click()
  await row.getByText(error).waitFor()
  await page.getByRole('button', { name: /^Delete .*nothing/ }).waitFor()
  await page.goto('/?phase=failed')
  await page.getByLabel('Select all').click()
  await page.getByRole('button', { name: 'Delete' }).click()
  await dialog().getByRole('button', { name: 'Delete' }).click()
  await page.getByText('Nothing fits the filter').waitFor()
  checkAgain()
})

test('deleting asks first, and then it is gone', async () => {
  await page.goto('/')
  await page.getByRole('link', { name: 'tour' }).click()
  await page.getByRole('button', { name: 'More' }).click()
  await page.getByRole('menuitem', { name: 'Delete…' }).click()
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click()
  await page.getByText('No instances yet').waitFor()
  await eventually('the instance is gone', async () => {
    const { body } = await server.request('GET', `${PREFIX}/instances`)
    return (body as { items: unknown[] }).items.length === 0 ? true : null
  })
  checkAgain()
})

/** What a command in the instance says. */
async function shell(name: string, script: string): Promise<string> {
  const { output, exitCode } = await exec(server.url, server.key, name, { command: ['sh', '-c', script] })
  assert.equal(exitCode, 0, output)
  return output
}

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
