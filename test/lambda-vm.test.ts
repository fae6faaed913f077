/**
 * The Lambda dialect over a real VM, as its users meet it (docs/lambda.md walks the same way): a key is made, an
 * instance launched with user data, its key in place when it is active, its script run once, restarted, terminated,
 * and the list is empty again. The private part of the key is one that OpenSSH takes.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { dataOf, errorOf, judgedLambdaCalls, loadLambdaContract } from './support/lambda.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const WAIT_MS = 300_000
const SCRIPT = '#!/bin/sh\necho "said by the script"\necho run >>/root/runs\nid -u >>/root/runs\n'

interface Instance {
  readonly id: string
  readonly status: string
  readonly ip?: string
}

let server: TestServer
let scratch = ''
const call = judgedLambdaCalls(() => server, loadLambdaContract())

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'lv-'))
  server = await startServer({ host: 'qemu' })
})
after(async () => {
  await server.stop()
  rmSync(scratch, { recursive: true, force: true })
})

const native = (id: string) => `/berth/v1/instances/${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20)}`

async function fileOf(id: string, path: string): Promise<string | null> {
  const { status, text } = await server.request('GET', `${native(id)}/files?path=${encodeURIComponent(path)}`)
  return status === 200 ? text : null
}

async function active(id: string): Promise<Instance> {
  return eventually(
    `${id} is active`,
    async () => {
      const instance = dataOf<Instance>(await call('GET', `/instances/${id}`))
      assert.ok(['booting', 'active'].includes(instance.status), instance.status)
      return instance.status === 'active' ? instance : null
    },
    WAIT_MS,
  )
}

test('from a key to an empty list', async () => {
  const made = dataOf<{ private_key: string; public_key: string }>(await call('POST', '/ssh-keys', { body: { name: 'walk' } }))
  const file = join(scratch, 'id')
  writeFileSync(file, made.private_key, { mode: 0o600 })
  const derived = execFileSync('ssh-keygen', ['-y', '-f', file], { encoding: 'utf8' })
  assert.equal(derived.split(' ').slice(0, 2).join(' ').trim(), made.public_key.split(' ').slice(0, 2).join(' '))

  const body = { region_name: 'us-west-1', instance_type_name: 'cpu_1x_general', ssh_key_names: ['walk'], name: 'Walk', user_data: SCRIPT }
  const [id = ''] = dataOf<{ instance_ids: readonly string[] }>(await call('POST', '/instance-operations/launch', { body })).instance_ids
  const early = await call('POST', '/instance-operations/restart', { body: { instance_ids: [id] } })
  assert.deepEqual([early.status, errorOf(early).code], [409, 'global/conflict'])
  const { ip } = await active(id)
  assert.ok((await fileOf(id, '/root/.ssh/authorized_keys'))?.includes(made.public_key))
  const runs = await eventually('the script has run', async () => await fileOf(id, '/root/runs'), WAIT_MS)
  await eventually('its output is kept', async () => ((await fileOf(id, '/var/log/cloud-init-output.log'))?.includes('said by the script') ? true : null), WAIT_MS)
  const log = (await server.request('GET', `${native(id)}/logs`)).text
  assert.ok(log.includes('said by the script'), log)

  dataOf(await call('POST', '/instance-operations/restart', { body: { instance_ids: [id] } }))
  const again = await call('POST', '/instance-operations/restart', { body: { instance_ids: [id] } })
  assert.deepEqual([again.status, errorOf(again).code], [409, 'global/conflict'])
  assert.equal((await active(id)).ip, ip)
  assert.ok((await fileOf(id, '/root/.ssh/authorized_keys'))?.includes(made.public_key))
  assert.ok((await fileOf(id, '/root/runs'))?.startsWith(runs))
  assert.equal(await fileOf(id, '/root/runs'), 'run\n0\n', 'once, as root')

  dataOf(await call('POST', '/instance-operations/terminate', { body: { instance_ids: [id] } }))
  await eventually('the list is empty', async () => (dataOf<readonly unknown[]>(await call('GET', '/instances')).length === 0 ? true : null), WAIT_MS)
})
