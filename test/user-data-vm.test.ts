/**
 * User data in real VMs: done once, in an image without a cloud-init of its own, with what it says and how it ends in
 * the instance's log, whatever becomes of the server meanwhile; and the seed for an image that has one.
 */
import assert from 'node:assert/strict'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { exec } from './support/exec-socket.ts'
import { importTree } from './support/ssh.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const WAIT_MS = 300_000
const SECRET = 'only-the-guest-is-told-this'

let server: TestServer
let dataDir = ''

const path = (id: string, rest: string) => `/berth/v1/instances/${id}${rest}`

async function launch(more: Readonly<Record<string, unknown>>): Promise<string> {
  const answer = await server.request('POST', '/berth/v1/instances?wait=running&timeoutMs=300000', { body: { image: 'localhost/busybox', pull: 'missing', ...more } })
  assert.equal(answer.status, 201, answer.text)
  assert.ok(!answer.text.includes(SECRET))
  return (answer.body as { id: string }).id
}

async function logOf(id: string): Promise<string> {
  const { text } = await server.request('GET', path(id, '/logs'))
  return text
}

const until = (id: string, words: string) => eventually(`the log of ${id} says "${words}"`, async () => ((await logOf(id)).includes(words) ? true : null), WAIT_MS)

async function fileOf(id: string, file: string): Promise<string | null> {
  const { status, text } = await server.request('GET', path(id, `/files?path=${encodeURIComponent(file)}`))
  return status === 200 ? text : null
}

async function sh(id: string, script: string): Promise<string> {
  const { name } = (await server.request('GET', path(id, ''))).body as { name: string }
  return (await exec(server.url, server.key, name, { command: ['/bin/sh', '-c', script] })).output
}

before(async () => {
  dataDir = mkdtempSync(join(tmpdir(), 'uv-'))
  chmodSync(dataDir, 0o711)
  server = await startServer({ host: 'qemu', dataDir })
})
after(async () => {
  try {
    await server.stop()
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
})

test('cloud-config and scripts of one MIME message are done, once', async () => {
  const userData = [
    'MIME-Version: 1.0', 'Content-Type: multipart/mixed; boundary=cut', '',
    '--cut', 'Content-Type: text/cloud-config', '',
    'write_files:',
    `- {path: /etc/app/secret, content: "${SECRET}\\n", permissions: '0600', owner: 'ann:ann'}`,
    '- {path: /etc/hosts, content: "10.0.0.1 added\\n", append: true}',
    '- {path: /home/ann/deferred, content: later, defer: true, owner: ann}',
    'users: [{name: ann, uid: 1500, shell: /bin/sh, groups: [cloud], ssh_authorized_keys: [ssh-ed25519 AAAA ann], sudo: "ALL=(ALL) NOPASSWD:ALL"}]',
    'ssh_authorized_keys: [ssh-ed25519 BBBB top]',
    'hostname: renamed',
    'bootcmd: [echo first >>/root/order]',
    "runcmd: ['cd /tmp && pwd >>/root/order', [sh, -c, 'echo \"$HOME\" >>/root/order']]",
    'packages: [nginx]',
    'final_message: that was it',
    '--cut', 'Content-Type: text/x-shellscript', '',
    '#!/bin/sh', 'echo script >>/root/order', 'echo "said by the script"', 'echo "said aloud" >&2', 'exit 3',
    '--cut--', '',
  ].join('\n')
  const id = await launch({ userData })
  await until(id, 'the user data ended with exit code 3')
  const log = await logOf(id)
  for (const words of ['said by the script', 'said aloud', 'that was it', 'packages is only done by an image with a cloud-init of its own', 'part-002 ended with exit code 3']) {
    assert.ok(log.includes(words), `${words}: ${log}`)
  }
  assert.equal(await fileOf(id, '/root/order'), 'first\n/tmp\n/root\nscript\n')
  assert.equal(await fileOf(id, '/etc/app/secret'), `${SECRET}\n`)
  assert.ok((await fileOf(id, '/etc/hosts'))?.endsWith('10.0.0.1 added\n'))
  assert.ok((await fileOf(id, '/var/log/cloud-init-output.log'))?.includes('said aloud'))
  assert.equal(await fileOf(id, '/home/ann/.ssh/authorized_keys'), 'ssh-ed25519 AAAA ann\n')
  assert.equal(await fileOf(id, '/root/.ssh/authorized_keys'), 'ssh-ed25519 BBBB top\n')
  assert.equal(await fileOf(id, '/etc/sudoers.d/90-cloud-init-users'), 'ann ALL=(ALL) NOPASSWD:ALL\n')
  const facts = await sh(id, 'hostname; id -u ann; id -Gn ann | tr " " "\\n" | grep cloud; stat -c "%U:%a" /etc/app/secret /home/ann/deferred')
  assert.equal(facts, 'renamed\n1500\ncloud\nann:600\nann:644\n')

  const restarted = await server.request('POST', path(id, '/restart?wait=true&timeoutMs=300000'))
  assert.equal(restarted.status, 200, restarted.text)
  assert.equal(await fileOf(id, '/root/order'), 'first\n/tmp\n/root\nscript\n')
  for (const where of ['', '/logs?source=server']) assert.ok(!(await server.request('GET', path(id, where))).text.includes(SECRET))
  assert.ok(!server.output().includes(SECRET))
})

test('a script runs on while the server is gone, and is not run again', async () => {
  const id = await launch({ userData: '#!/bin/sh\necho began >>/root/runs\nwhile [ ! -e /root/go ]; do sleep 0.1; done\necho went on >>/root/runs\n' })
  await eventually('it has begun', async () => await fileOf(id, '/root/runs'), WAIT_MS)
  await server.kill()
  server = await startServer({ host: 'qemu', dataDir })
  await sh(id, 'touch /root/go')
  await until(id, 'the user data has been run')
  assert.equal(await fileOf(id, '/root/runs'), 'began\nwent on\n')
})

test('user data that can’t be run is told in the log, and the instance runs', async () => {
  const id = await launch({ userData: '#!/no/such/interpreter\n' })
  await until(id, 'part-001 ended with exit code 127')
  await until(id, 'the user data ended with exit code 127')
})

test('an image with a cloud-init of its own gets its seed before its init starts, and nothing else', async () => {
  const init = '#!/bin/sh\ncat /var/lib/cloud/seed/nocloud/user-data /var/lib/cloud/seed/nocloud/meta-data\necho "network: $(cat /etc/cloud/cloud.cfg.d/99-berth.cfg)"\ntrap "exit 0" TERM USR2\nwhile :; do sleep 1; done\n'
  const image = await importTree(server, 'localhost/with-cloud-init', { busybox: true }, [
    { name: 'sbin/init', data: init, mode: 0o755 },
    { name: 'usr/bin/cloud-init', data: '#!/bin/sh\n', mode: 0o755 },
    { name: 'etc/passwd', data: 'root:x:0:0::/root:/bin/sh\n' },
  ])
  const id = await launch({ image, cmd: ['/sbin/init'], hostname: 'seeded', userData: '#cloud-config\npackages: [nginx]\nruncmd: [touch /root/ran]\n' })
  await until(id, 'network: {config: disabled}')
  const log = await logOf(id)
  assert.ok(log.includes('packages: [nginx]'), log)
  assert.ok(log.includes(id) && log.includes('seeded'), log)
  assert.equal(await fileOf(id, '/root/ran'), null)
})
