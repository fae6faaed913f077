/** The first thing that a person does: `berth quickstart`, then the address that it prints. */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { basename, join } from 'node:path'
import { test } from 'node:test'
import { startBerth } from './support/berth-command.ts'
import { openBrowser, signIn, visit } from './support/browser.ts'
import { owe, paid, removeRemains } from './support/left-behind.ts'
import { PREFIX } from './support/native-client.ts'
import { eventually, send } from './support/server.ts'

/** Templates are made first, on emulated CPUs of a busy machine. */
const START_MS = 200_000

test('the dashboard’s address that quickstart prints opens, and its key signs in to the instance that it made', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'bt-'))
  chmodSync(dataDir, 0o711)
  // QEMU's own network: there is no bridge to be shared with another server.
  const env = { PATH: process.env['PATH'] ?? '', HOME: dataDir, BERTH_MCP_LISTEN: '', BERTH_POOL: 'no', BERTH_NETWORK: 'user', NO_COLOR: '1' }
  const cleanUp = () => removeRemains({ dataDir, network: null })
  owe(dataDir, cleanUp)
  const command = startBerth(env, ['quickstart', '--listen', '127.0.0.1:0', '--data-dir', dataDir])
  const browser = await openBrowser()
  try {
    let told = ''
    command.child.stderr?.on('data', (bytes: Buffer) => (told += bytes.toString('utf8')))
    await eventually('quickstart serves', async () => (told.includes('Serving until Ctrl-C') || command.child.exitCode !== null ? true : null), START_MS)
    const said = (name: string) => new RegExp(`^${name} +(\\S+)$`, 'm').exec(told)?.[1] ?? assert.fail(`no ${name} in ${told}`)
    const [url, key] = [said('Dashboard'), said('Key')]
    const { page, context, check } = await visit(browser, url)
    await page.goto('/')
    await signIn(page, key)
    const name = /quickstart-[0-9a-f]{6}/.exec(told)?.[0] ?? ''
    await page.getByRole('row', { name: new RegExp(name) }).getByText('running').waitFor()
    check()
    await context.close()
    assert.equal((await send(url, 'DELETE', `${PREFIX}/instances/${name}?wait=true`, { key })).status, 200)
    command.child.kill('SIGINT')
    const { status } = await command.done
    assert.equal(status, 0, `${basename(dataDir)}: ${told}`)
  } finally {
    command.child.kill('SIGKILL')
    await browser.close()
    await cleanUp()
    paid(dataDir)
  }
})
