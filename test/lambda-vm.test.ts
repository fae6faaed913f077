/**
 * The Lambda dialect over real VMs, as its users meet it (docs/lambda.md walks the same way): a key, a file system and
 * a firewall ruleset are made, an instance launched with them and with user data, entered with OpenSSH; what it writes
 * to the file system is read in a second one; the ruleset closes a port; restart and terminate work, and the list is
 * empty again.
 */
import assert from 'node:assert/strict'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { dataOf, errorOf, judgedLambdaCalls, loadLambdaContract } from './support/lambda.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'
import { OpenSsh, run } from './support/ssh.ts'

/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const WAIT_MS = 300_000
/** How long a port that a firewall closes is knocked at: it never answers, however long. */
const KNOCK_MS = 1500
const isRoot = process.getuid?.() === 0
const PORT = 8000
const MOUNT = '/lambda/nfs/shared'
const SCRIPT = `#!/bin/sh
echo "said by the script"
echo run >>/root/runs
id -u >>/root/runs
echo "from user data" >${MOUNT}/greeting
mkdir -p /tmp/www && echo served >/tmp/www/index.html && busybox httpd -p ${PORT} -h /tmp/www
`

interface Instance {
  readonly id: string
  readonly status: string
  readonly ip?: string
  readonly file_system_names: readonly string[]
}

let server: TestServer
let scratch = ''
let client: OpenSsh
const call = judgedLambdaCalls(() => server, loadLambdaContract())

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'lv-'))
  client = new OpenSsh(scratch)
  server = await startServer({ host: 'qemu' })
})
after(async () => {
  await server.stop()
  rmSync(scratch, { recursive: true, force: true })
})

const native = (id: string) => `/berth/v1/instances/${id.slice(0, 8)}-${id.slice(8, 12)}-${id.slice(12, 16)}-${id.slice(16, 20)}-${id.slice(20)}`

async function launch(change: object): Promise<string> {
  const body = { region_name: 'us-west-1', instance_type_name: 'cpu_1x_general', ssh_key_names: ['walk'], ...change }
  const [id = ''] = dataOf<{ instance_ids: readonly string[] }>(await call('POST', '/instance-operations/launch', { body })).instance_ids
  return id
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

/** What a command says in an instance that is entered with OpenSSH. */
async function ssh(ip: string | undefined, command: string): Promise<string> {
  const { code, stdout, stderr } = await client.ssh(ip ?? '', [command], { key: 'walk' })
  assert.equal(code, 0, `${command}: ${stderr}`)
  return stdout.trim()
}

/** Whether a port of the instance takes a connection. */
async function answers(ip: string | undefined, port: number): Promise<boolean> {
  const socket = connect({ host: ip ?? '', port })
  try {
    return await new Promise<boolean>(resolve => {
      socket.once('connect', () => resolve(true))
      socket.once('error', () => resolve(false))
      setTimeout(() => resolve(false), KNOCK_MS).unref()
    })
  } finally {
    socket.destroy()
  }
}

test('from a key to an empty list', { skip: isRoot ? false : 'file systems and firewalls need root' }, async () => {
  const made = dataOf<{ private_key: string; public_key: string }>(await call('POST', '/ssh-keys', { body: { name: 'walk' } }))
  writeFileSync(join(scratch, 'walk'), made.private_key, { mode: 0o600 })
  const derived = await run('ssh-keygen', ['-y', '-f', join(scratch, 'walk')])
  assert.equal(derived.stdout.split(' ').slice(0, 2).join(' ').trim(), made.public_key.split(' ').slice(0, 2).join(' '))
  const { id: fileSystem } = dataOf<{ id: string }>(await call('POST', '/filesystems', { body: { name: 'shared', region: 'us-west-1' } }))
  const web = { protocol: 'tcp', port_range: [PORT, PORT], source_network: '0.0.0.0/0', description: 'web' }
  const { id: ruleset } = dataOf<{ id: string }>(await call('POST', '/firewall-rulesets', { body: { name: 'web', region: 'us-west-1', rules: [web] } }))

  const id = await launch({ name: 'Walk', user_data: SCRIPT, file_system_names: ['shared'], firewall_rulesets: [{ id: ruleset }] })
  const early = await call('POST', '/instance-operations/restart', { body: { instance_ids: [id] } })
  assert.deepEqual([early.status, errorOf(early).code], [409, 'global/conflict'])
  const { ip, file_system_names: names } = await active(id)
  assert.deepEqual(names, ['shared'])
  assert.equal(await ssh(ip, 'whoami'), 'root')
  await eventually('the script has run', async () => (await answers(ip, PORT) ? true : null), WAIT_MS)
  assert.equal(await ssh(ip, 'cat /root/runs'), 'run\n0', 'once, as root')
  assert.match(await ssh(ip, 'cat /var/log/cloud-init-output.log'), /said by the script/)
  const log = (await server.request('GET', `${native(id)}/logs`)).text
  assert.ok(log.includes('said by the script'), log)

  const second = await launch({ file_system_mounts: [{ mount_point: '/data/shared', file_system_id: fileSystem }] })
  const other = await active(second)
  assert.equal(await ssh(other.ip, 'cat /data/shared/greeting'), 'from user data')
  await ssh(other.ip, 'echo "and back" >/data/shared/answer')
  assert.equal(await ssh(ip, `cat ${MOUNT}/answer`), 'and back')
  const used = await call('DELETE', `/filesystems/${fileSystem}`)
  assert.deepEqual([used.status, errorOf(used).code], [400, 'filesystems/filesystem-in-use'])

  assert.equal(await answers(ip, PORT), true)
  dataOf(await call('PATCH', `/firewall-rulesets/${ruleset}`, { body: { rules: [] } }))
  assert.equal(await answers(ip, PORT), false, 'closed at once')
  assert.equal(await ssh(ip, 'whoami'), 'root')
  dataOf(await call('PUT', '/firewall-rules', { body: { data: [] } }))
  assert.deepEqual([await answers(ip, 22), await answers(other.ip, 22)], [false, false], 'the global rules are of every instance')
  dataOf(await call('PUT', '/firewall-rules', { body: { data: [web, { ...web, port_range: [22, 22] }] } }))
  assert.deepEqual([await answers(ip, 22), await answers(other.ip, 22), await answers(ip, PORT)], [true, true, true])

  dataOf(await call('POST', '/instance-operations/restart', { body: { instance_ids: [id] } }))
  const again = await call('POST', '/instance-operations/restart', { body: { instance_ids: [id] } })
  assert.deepEqual([again.status, errorOf(again).code], [409, 'global/conflict'])
  assert.equal((await active(id)).ip, ip)
  assert.equal(await ssh(ip, `cat /root/runs ${MOUNT}/answer`), 'run\n0\nand back', 'its script ran once, and its files are there')

  dataOf(await call('POST', '/instance-operations/terminate', { body: { instance_ids: [id, second] } }))
  await eventually('the list is empty', async () => (dataOf<readonly unknown[]>(await call('GET', '/instances')).length === 0 ? true : null), WAIT_MS)
  assert.deepEqual(dataOf(await call('DELETE', `/filesystems/${fileSystem}`)), { deleted_ids: [fileSystem] })
  dataOf(await call('DELETE', `/firewall-rulesets/${ruleset}`))
})
