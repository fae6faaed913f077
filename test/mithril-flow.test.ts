/** Mithril's own command lines, unmodified, from the public package index: `flow` and `mithril-cli`, in a simulated region. */
import assert from 'node:assert/strict'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { after, before, test } from 'node:test'
import type { TestContext } from 'node:test'
import { FLOW, pythonWith } from './support/python-client.ts'
import { run } from './support/ssh.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const REGION = 'us-central2-a'

let server: TestServer
let home: string

before(async () => {
  server = await startServer({ host: 'simulated' })
  home = mkdtempSync(join(tmpdir(), 'flow-'))
  mkdirSync(join(home, '.ssh'), { mode: 0o700 })
  await run('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-f', join(home, '.ssh', 'id_ed25519')])
  await eventually('the image is ready', async () => {
    const { body } = await server.request('POST', '/images', { body: { name: 'localhost/busybox' } })
    return (body as { status: string }).status === 'ready' ? true : null
  })
})
after(async () => {
  await server.stop()
  rmSync(home, { recursive: true, force: true })
})

/** Runs one of its programs as a user would; tells what it wrote. */
async function program(t: TestContext, name: 'flow' | 'mithril-cli', ...args: readonly string[]): Promise<string | null> {
  const found = pythonWith(FLOW)
  if ('reason' in found) {
    t.skip(found.reason)
    return null
  }
  const env = { ...process.env, HOME: home, NO_COLOR: '1', MITHRIL_API_URL: server.url, MITHRIL_API_KEY: `fkey_${server.key}` }
  const ended = await run(join(dirname(found.python), name), args, { env })
  assert.equal(ended.code, 0, `${name} ${args.join(' ')}: ${ended.stdout}${ended.stderr}`)
  return ended.stdout
}

interface Row {
  readonly region: string
  readonly instance_type: string
  readonly available_instances: number
}

test('flow shows what is to be had, runs a task, follows, reprices and cancels it', async t => {
  const flow = (...args: readonly string[]) => program(t, 'flow', ...args)
  const shown = await flow('availability', '--json')
  if (shown === null) return
  const { availability } = (JSON.parse(shown) as { data: { availability: readonly Row[] } }).data
  assert.ok(availability.some(row => row.region === REGION && row.instance_type === 'h100-80gb.sxm.8x' && row.available_instances === 8), shown)
  assert.match((await flow('pricing')) ?? '', /8×H200/)

  await flow('ssh-key', 'upload', join(home, '.ssh', 'id_ed25519.pub'), '--name', 'mine')
  assert.match((await flow('ssh-key', 'list')) ?? '', /mine/)
  await flow('volume', 'create', '--size', '1', '--name', 'disk1', '--region', 'us-central1-a', '--yes')
  const volumes = (JSON.parse((await flow('volume', 'list', '--json')) ?? '') as { data: readonly { name: string }[] }).data
  assert.deepEqual(volumes.map(({ name }) => name), ['disk1'])
  await flow('volume', 'delete', 'disk1', '--yes')

  const ran = JSON.parse((await flow('run', 'true', '-i', 'h100-80gb.sxm.8x', '-r', REGION, '-y', '-n', 'train', '--wait-until', 'running', '-m', '40', '--no-upload-code', '--json')) ?? '') as {
    data: { task: { name: string; task_id: string } }
  }
  const { name, task_id } = ran.data.task
  const tasks = (JSON.parse((await flow('status', '--json')) ?? '') as { data: readonly { name: string; status: string; region: string; ssh_user: string; ssh_port: number }[] }).data
  assert.deepEqual(tasks.map(({ status, region, ssh_user, ssh_port }) => [status, region, ssh_user, ssh_port]), [['running', REGION, 'ubuntu', 22]])
  await flow('bid', 'update', name, '-m', '41', '-y')
  const { bids } = (JSON.parse((await flow('bid', 'list', '--json')) ?? '') as { data: { bids: readonly { fid: string; limit_price: string; status: string }[] } }).data
  assert.deepEqual(bids.map(({ fid, limit_price, status }) => [fid, limit_price, status]), [[task_id, '$41.00', 'Allocated']])
  const cancelled = JSON.parse((await flow('cancel', name, '--yes', '--json')) ?? '') as { data: { cancelled: boolean } }
  assert.equal(cancelled.data.cancelled, true)
})

test('mithril-cli lists types, makes an instance, tells of it and deletes it', async t => {
  const cli = (...args: readonly string[]) => program(t, 'mithril-cli', ...args)
  const types = await cli('instance', 'list-types')
  if (types === null) return
  assert.match(types, /h200\.8x.*us-central2-a/)
  await cli('instance', 'create', '-i', 'h200.8x', '-r', REGION, '-n', 'by-cli', '-m', '30', '--wait')
  const { bids } = JSON.parse((await cli('instance', 'list', '--json'))?.replace(/^[^{]*/, '') ?? '') as { bids: readonly { name: string; status: string }[] }
  assert.equal(bids.find(({ name }) => name === 'by-cli')?.status, 'Allocated')
  assert.match((await cli('instance', 'info', 'by-cli')) ?? '', /by-cli/)
  assert.match((await cli('instance', 'delete', 'by-cli', '--yes')) ?? '', /cancelled/)
})
