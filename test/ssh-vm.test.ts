/**
 * SSH into real VMs with OpenSSH's own ssh, scp and sftp: whatever an image holds, whoever holds a key of the
 * instance comes in on its own address, and nobody else does.
 */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, describe, test } from 'node:test'
import { commandEnv, startBerth } from './support/berth-command.ts'
import { freePort } from './support/free-port.ts'
import { importTree, OpenSsh, run } from './support/ssh.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const WAIT_MS = 300_000
const COPY_BYTES = 16 * 1024 * 1024
const STAY = ['/bin/sh', '-c', "trap 'kill $!; exit 0' TERM; while :; do sleep 3600 >/dev/null 2>&1 & wait $!; done"]
/** All that an image without a shell has: it stays, or says its word and ends with 3. */
const SAY = '#include <stdio.h>\n#include <unistd.h>\nint main(int c, char **v) { if (c > 1) return puts(v[1]) < 0 ? 1 : 3; for (;;) pause(); }\n'

interface Instance {
  readonly id: string
  readonly phase: string
  readonly network: { readonly ip: string }
}

let server: TestServer
let scratch = ''
let client: OpenSsh
let first: Instance

async function launch(more: Readonly<Record<string, unknown>> = {}): Promise<Instance> {
  const body = { image: 'localhost/busybox', pull: 'missing', cmd: STAY, sshKeys: [client.publicKey('id')], ...more }
  const answer = await server.request('POST', '/berth/v1/instances?wait=running&timeoutMs=300000', { body })
  assert.equal(answer.status, 201, answer.text)
  const instance = answer.body as Instance
  assert.equal(instance.phase, 'running', answer.text)
  return instance
}

async function act(verb: string, { id }: Instance): Promise<void> {
  const answer = await server.request('POST', `/berth/v1/instances/${id}/${verb}?wait=true&timeoutMs=300000`)
  assert.equal(answer.status, 200, answer.text)
}

const sha256 = (bytes: Buffer) => createHash('sha256').update(bytes).digest('hex')
const ip = () => first.network.ip

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'sv-'))
  client = new OpenSsh(scratch)
  await client.makeKey('id')
  await client.makeKey('other')
  server = await startServer({ host: 'qemu' })
  first = await launch()
})
after(async () => {
  try {
    await server.stop()
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
})

describe('whoever holds a key', () => {
  test('runs commands, with their output and status', async () => {
    const ended = await client.ssh(ip(), ['echo out; echo err >&2; id -u; exit 7'])
    assert.deepEqual(ended, { code: 7, stdout: 'out\n0\n', stderr: 'err\n' })
  })

  test('is root when they come as ubuntu, as clients of machine clouds do, where no user is called that', async () => {
    const ended = await run(...client.spawnable('ssh', [`ubuntu@${ip()}`, 'id -u; echo $HOME']))
    assert.deepEqual([ended.code, ended.stdout], [0, '0\n/root\n'], ended.stderr)
    assert.equal((await run(...client.spawnable('ssh', [`somebody@${ip()}`, 'id']))).code, 255)
  })

  test('gives them input, byte for byte', async () => {
    const bytes = randomBytes(1024 * 1024)
    const ended = await client.ssh(ip(), ['sha256sum'], { input: bytes })
    assert.equal(ended.stdout.split(' ')[0], sha256(bytes), ended.stderr)
  })

  test('has a shell on a terminal', async () => {
    const words = client.command('ssh', [`root@${ip()}`], ['-tt'])
    const ended = await run('script', ['-qec', words.map(word => `'${word}'`).join(' '), '/dev/null'], { input: 'stty rows 33; stty size; tty; echo "home is $HOME"; exit 5\n' })
    assert.equal(ended.code, 5, ended.stdout + ended.stderr)
    assert.match(ended.stdout, /33 \d+\r\n/)
    assert.match(ended.stdout, /\/dev\/pts\/\d+\r\n/)
    assert.match(ended.stdout, /home is \/root\r\n/)
  })

  test('copies 16 MiB there and back with scp', async () => {
    const [there, back] = [join(scratch, 'there'), join(scratch, 'back')]
    const bytes = randomBytes(COPY_BYTES)
    writeFileSync(there, bytes)
    await client.done('scp', [there, `root@${ip()}:/root/big`])
    assert.equal((await client.ssh(ip(), ['sha256sum /root/big'])).stdout.split(' ')[0], sha256(bytes))
    await client.done('scp', [`root@${ip()}:/root/big`, back])
    assert.equal(sha256(readFileSync(back)), sha256(bytes))
  })

  test('works through a batch of sftp', async () => {
    writeFileSync(join(scratch, 'note'), 'a note\n')
    const batch = join(scratch, 'batch')
    writeFileSync(batch, `mkdir /root/box\nput ${join(scratch, 'note')} /root/box/note\nchmod 600 /root/box/note\nrename /root/box/note /root/box/kept\nls -l /root/box\nget /root/box/kept ${join(scratch, 'kept')}\n`)
    const { stdout } = await client.done('sftp', [`root@${ip()}`], ['-b', batch])
    assert.match(stdout, /-rw-------.*kept/)
    assert.equal(readFileSync(join(scratch, 'kept'), 'utf8'), 'a note\n')
    const missing = join(scratch, 'missing')
    writeFileSync(missing, 'get /root/not-there\n')
    assert.notEqual((await run(...client.spawnable('sftp', [`root@${ip()}`], ['-b', missing]))).code, 0)
  })

  test('forwards a port of the guest to here', async () => {
    const port = await freePort()
    const forwarded = client.ssh(ip(), ['while ! echo from-the-guest | nc -l -p 7777; do sleep 1; done'], { flags: ['-L', `${port}:127.0.0.1:7777`] })
    const said = await eventually('the guest answers', () => readAll(port), WAIT_MS)
    assert.equal(said, 'from-the-guest\n')
    assert.equal((await forwarded).code, 0)
  })

  test('forwards a port of here to the guest', async () => {
    const here = createServer(socket => socket.end('from-here\n')).listen(0, '127.0.0.1')
    try {
      await once(here, 'listening')
      const { port } = here.address() as AddressInfo
      const ended = await client.ssh(ip(), ['nc 127.0.0.1 7778'], { flags: ['-R', `7778:127.0.0.1:${port}`] })
      assert.equal(ended.stdout, 'from-here\n', ended.stderr)
    } finally {
      here.close()
    }
  })

  test('comes in after a standby and after a restart, to the same host', async () => {
    const strict = { flags: ['-o', 'StrictHostKeyChecking=yes'] }
    for (const verbs of [['standby', 'restore'], ['stop', 'start'], ['restart']]) {
      for (const verb of verbs) await act(verb, first)
      const ended = await client.ssh(ip(), ['echo again'], strict)
      assert.deepEqual([ended.code, ended.stdout], [0, 'again\n'], `${verbs.join()}: ${ended.stderr}`)
    }
    assert.equal((await client.ssh(ip(), ['grep -c . /root/.ssh/authorized_keys'])).stdout, '1\n', 'its key is there once')
  })

  test('meets another host key in every instance, also of the same template', async () => {
    const others = await Promise.all([launch(), launch()])
    const keys = await Promise.all([first, ...others].map(async ({ network }) => (await client.ssh(network.ip, ['true'])).code === 0 && client.hostKey(network.ip)))
    assert.ok(keys.every(key => typeof key === 'string' && key.startsWith('ssh-ed25519 ')), keys.join('\n'))
    assert.equal(new Set(keys).size, 3)
  })

  test('meets another host key in a copy: of the running instance, and of its disks', async () => {
    const copies: Instance[] = []
    for (const target of ['running', 'stopped']) {
      const answer = await server.request('POST', `/berth/v1/instances/${first.id}/fork?wait=true&timeoutMs=300000`, { body: { name: `copy-${target}`, target } })
      assert.equal(answer.status, 201, answer.text)
      copies.push(answer.body as Instance)
      if (target === 'stopped') await act('start', answer.body as Instance)
    }
    const keys = await Promise.all([first, ...copies].map(async ({ network }) => (await client.ssh(network.ip, ['true'])).code === 0 && client.hostKey(network.ip)))
    assert.ok(keys.every(key => typeof key === 'string' && key.startsWith('ssh-ed25519 ')), keys.join('\n'))
    assert.equal(new Set(keys).size, 3)
    for (const { id } of copies) await server.request('DELETE', `/berth/v1/instances/${id}?wait=true&timeoutMs=300000`)
  })
})

describe('everybody else', () => {
  test('is refused: another key, no key, a password', async () => {
    const refusals = [
      await client.ssh(ip(), ['true'], { key: 'other' }),
      await run('ssh', ['-F', 'none', '-o', 'BatchMode=yes', '-o', 'IdentityFile=none', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', `root@${ip()}`, 'true']),
      await run('ssh', ['-F', 'none', '-v', '-o', 'BatchMode=yes', '-o', 'PreferredAuthentications=password', '-o', 'StrictHostKeyChecking=no', '-o', 'UserKnownHostsFile=/dev/null', `root@${ip()}`, 'true']),
    ]
    for (const { code, stderr } of refusals) {
      assert.equal(code, 255, stderr)
      assert.match(stderr, /Permission denied \(publickey\)/)
    }
  })

  test('finds port 22 closed where an instance has no keys', async () => {
    const instance = await launch({ sshKeys: [] })
    const { code, stderr } = await client.ssh(instance.network.ip, ['true'])
    assert.equal(code, 255)
    assert.match(stderr, /Connection refused/)
  })
})

test('berth run and berth ssh make and enter one, by the name of a key', async () => {
  const berth = (...args: readonly string[]) => startBerth(commandEnv(server, { XDG_STATE_HOME: scratch }), args).done
  const script = join(scratch, 'user-data')
  writeFileSync(script, '#!/bin/sh\necho done >/root/by-user-data\n')
  assert.equal((await berth('ssh-keys', 'add', 'mine', join(scratch, 'id.pub'))).status, 0)
  assert.match((await berth('ssh-keys')).stdout, /mine +ssh-ed25519/)
  const made = await berth('run', '-d', '--name', 'entered', '--ssh-key', 'mine', '--user-data', script, 'localhost/busybox')
  assert.equal(made.status, 0, made.stderr)
  const enter = (...words: readonly string[]) => berth('ssh', '-i', join(scratch, 'id'), 'entered', '-o', 'BatchMode=yes', ...words)
  const done = await enter('while [ ! -e /root/by-user-data ]; do sleep 0.1; done; cat /root/by-user-data; exit 9')
  assert.deepEqual([done.status, done.stdout], [9, 'done\n'], done.stderr)
  assert.match(readFileSync(join(scratch, 'berth', 'known_hosts'), 'utf8'), /^berth-[0-9a-f-]{36} ssh-ed25519 /)
  const refused = await berth('run', '-d', '--ssh-key', 'nobody', 'localhost/busybox')
  assert.deepEqual([refused.status, /There is no SSH key "nobody" in this project/.test(refused.stderr)], [125, true], refused.stderr)
  assert.equal((await berth('ssh-keys', 'rm', 'mine')).status, 0)
})

test('without a bridge a port of the host leads in, and berth ssh knows it', async () => {
  await using other = await startServer({ host: 'qemu', env: { BERTH_NETWORK: 'user', BERTH_TEMPLATES: 'no' } })
  const berth = (...args: readonly string[]) => startBerth(commandEnv(other, { XDG_STATE_HOME: scratch }), args).done
  const made = await berth('run', '-d', '--name', 'inside', '--ssh-key', join(scratch, 'id.pub'), 'localhost/busybox')
  assert.equal(made.status, 0, made.stderr)
  const ended = await berth('ssh', '-i', join(scratch, 'id'), 'inside', '-o', 'BatchMode=yes', '-o', 'ConnectTimeout=120', 'hostname')
  assert.deepEqual([ended.status, ended.stdout], [0, 'inside\n'], ended.stderr)
})

describe('an image', () => {
  test('with the user ubuntu is entered as ubuntu and as root, and keeps the keys that it has', async () => {
    const passwd = 'root:x:0:0::/root:/bin/sh\nubuntu:x:1000:1000::/home/ubuntu:/bin/bash\nclosed:x:1001:1001::/home/closed:/usr/sbin/nologin\n'
    const image = await importTree(server, 'localhost/ubuntu-like', { busybox: true }, [
      { name: 'etc/passwd', data: passwd },
      { name: 'etc/group', data: 'root:x:0:\nubuntu:x:1000:\n' },
      { name: 'home/ubuntu/', type: 'dir', mode: 0o750, uid: 1000, gid: 1000 },
      { name: 'home/ubuntu/.ssh/', type: 'dir', mode: 0o700, uid: 1000, gid: 1000 },
      { name: 'home/ubuntu/.ssh/authorized_keys', data: client.publicKey('other'), mode: 0o600, uid: 1000, gid: 1000 },
      { name: 'home/closed/.ssh/authorized_keys', data: `${client.publicKey('id')}\n`, mode: 0o600, uid: 1001, gid: 1001 },
    ])
    const { network } = await launch({ image })
    for (const [user, key, uid] of [['ubuntu', 'id', '1000'], ['ubuntu', 'other', '1000'], ['root', 'id', '0']] as const) {
      const ended = await client.ssh(network.ip, ['id -u'], { key, user })
      assert.deepEqual([ended.code, ended.stdout], [0, `${uid}\n`], `${user} with ${key}: ${ended.stderr}`)
    }
    assert.equal((await client.ssh(network.ip, ['true'], { key: 'other' })).code, 255)
    assert.equal((await client.ssh(network.ip, ['true'], { user: 'closed' })).code, 255, 'who has no login shell stays out')
    await client.done('scp', [join(scratch, 'id.pub'), `ubuntu@${network.ip}:copied`])
    assert.equal((await client.ssh(network.ip, ['stat -c %u:%a /home/ubuntu/copied /home/ubuntu/.ssh/authorized_keys'])).stdout, '1000:644\n1000:600\n')
  })

  test('without a shell and without users has sftp, scp and single programs, and says what it has not', async () => {
    const source = join(scratch, 'say.c')
    writeFileSync(source, SAY)
    assert.equal((await run('musl-gcc', ['-static', '-Os', '-o', join(scratch, 'say'), source])).code, 0)
    const image = await importTree(server, 'localhost/bare', { busybox: false }, [{ name: 'say', data: readFileSync(join(scratch, 'say')), mode: 0o755 }])
    const { network } = await launch({ image, cmd: ['/say'] })
    await client.done('scp', [join(scratch, 'id.pub'), `root@${network.ip}:/srv-file`])
    await client.done('scp', [`root@${network.ip}:/srv-file`, join(scratch, 'id.back')])
    assert.equal(readFileSync(join(scratch, 'id.back'), 'utf8'), readFileSync(join(scratch, 'id.pub'), 'utf8'))
    assert.deepEqual(await client.ssh(network.ip, ['/say', 'hello']), { code: 3, stdout: 'hello\n', stderr: '' })
    for (const words of [[], ['/say a | /say b'], ['/no-such-program']]) {
      const ended = await client.ssh(network.ip, words)
      assert.equal(ended.code, 127, ended.stderr)
      assert.match(ended.stderr, /this image/i)
    }
  })

  test('with a server of its own keeps port 22', async () => {
    const { network } = await launch({ cmd: ['/bin/sh', '-c', 'while :; do echo SSH-2.0-its-own | nc -l -p 22; done # sshd'] })
    const said = await eventually('its own server answers', () => readAll(22, network.ip), WAIT_MS)
    assert.equal(said, 'SSH-2.0-its-own\n')
  })
})

/** What is said on a port; null if nobody answers or nothing is said. */
async function readAll(port: number, host = '127.0.0.1'): Promise<string | null> {
  const socket = connect(port, host)
  let text = ''
  try {
    for await (const chunk of socket) text += String(chunk)
  } catch {
    // Nobody listens yet.
    return null
  } finally {
    socket.destroy()
  }
  return text === '' ? null : text
}
