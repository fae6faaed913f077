/**
 * The vendor's unmodified TypeScript client (`@onkernel/hypeman`) against Berth: every method of instances,
 * instances.volumes, images and volumes, its copy helpers, and exec as its CLI speaks it; on real VMs.
 *
 * `BERTH_TEST_HOST=simulated` runs what needs no guest on the simulated host.
 */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash, randomBytes } from 'node:crypto'
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import Hypeman from '@onkernel/hypeman'
import { cpFromInstance, cpToInstance } from '@onkernel/hypeman/lib/cp'
import { exec, openExec, openSocket, UpgradeRefused } from './support/exec-socket.ts'
import type { TestServer } from './support/server.ts'
import { eventually, startServer } from './support/server.ts'

const HOST = process.env['BERTH_TEST_HOST'] === 'simulated' ? 'simulated' : 'qemu'
/** What only a real guest can show. */
const NEEDS_GUEST = { skip: HOST === 'simulated' ? 'the simulated host has no guest' : false }
const IMAGE = 'localhost/busybox'
const APP = ['sh', '-c', 'echo hello-from-app; echo to-stderr >&2; exec sleep 100000']
/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const CLIENT_TIMEOUT_MS = 300_000

let server: TestServer
let client: Hypeman
let requests = 0
let shared: Hypeman.Instance
let scratch: string

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'hc-'))
  server = await startServer({ host: HOST })
  client = new Hypeman({
    baseURL: server.url,
    apiKey: server.key,
    timeout: CLIENT_TIMEOUT_MS,
    fetch: (input, init) => {
      requests += 1
      return fetch(input, init)
    },
  })
  await imageReady(IMAGE)
  shared = await client.instances.create({ name: 'shared', image: IMAGE, size: '256MB', vcpus: 1, cmd: APP, tags: { role: 'shared' } })
})
after(async () => {
  await server.stop()
  rmSync(scratch, { recursive: true, force: true })
})

async function imageReady(name: string): Promise<Hypeman.Image> {
  return eventually(
    `image ${name} is ready`,
    async () => {
      const image = await client.images.get(name).catch(async (error: unknown) => {
        if (!(error instanceof Hypeman.NotFoundError)) throw error
        return client.images.create({ name })
      })
      assert.notEqual(image.status, 'failed', image.error ?? '')
      return image.status === 'ready' ? image : null
    },
    CLIENT_TIMEOUT_MS,
  )
}

async function freePort(): Promise<number> {
  const probe = createServer()
  await new Promise<void>(resolve => probe.listen(0, '127.0.0.1', resolve))
  const { port } = probe.address() as AddressInfo
  await new Promise(resolve => probe.close(resolve))
  return port
}

/** The output of a command in the shared instance; it must end well. */
async function output(command: readonly string[], instance = shared.id): Promise<string> {
  const outcome = await exec(server.url, server.key, instance, { command })
  assert.equal(outcome.exitCode, 0, outcome.output)
  return outcome.output
}

// --- the client's own surface ---------------------------------------------------------------------------------

test('health, resources and capabilities', async () => {
  assert.deepEqual(await client.health.check(), { status: 'ok' })
  const resources = await client.resources.get()
  assert.ok(resources.cpu.capacity > 0)
  assert.ok(resources.allocations.some(allocation => allocation.instance_name === 'shared'))
  assert.equal((await client.capabilities.get()).default_runtime.available, true)
})

test('instances.create, get by id and name, list with filters', async () => {
  assert.equal(shared.state, 'Running')
  assert.equal(shared.size, '256.0 MB')
  assert.equal((await client.instances.get(shared.id)).id, shared.id)
  assert.equal((await client.instances.get('shared')).id, shared.id)
  const running = await client.instances.list({ state: 'Running', tags: { role: 'shared' } })
  assert.deepEqual(running.map(({ id }) => id), [shared.id])
  assert.deepEqual(await client.instances.list({ state: 'Standby', tags: { role: 'shared' } }), [])
})

test('instances.update', async () => {
  const updated = await client.instances.update(shared.id, { ttl: '24h', restart_policy: { policy: 'on_failure', max_attempts: 2 } })
  assert.ok(Date.parse(updated.expires_at ?? '') > Date.now())
  assert.equal(updated.restart_policy?.policy, 'on_failure')
  const reset = await client.instances.update(shared.id, { ttl: '0s', restart_policy: { policy: 'never' } })
  assert.equal(reset.expires_at, null)
})

test('instances.wait and stats', async () => {
  assert.deepEqual(await client.instances.wait(shared.id, { state: 'Running' }), { state: 'Running', timed_out: false, state_error: null })
  const stats = await client.instances.stats(shared.id)
  assert.equal(stats.instance_id, shared.id)
  assert.equal(stats.allocated_vcpus, 1)
})

test('instances.stop, start, standby, restore and delete', async () => {
  const { id } = await client.instances.create({ name: 'moves', image: IMAGE, size: '128MB', vcpus: 1, cmd: APP })
  assert.equal((await client.instances.standby(id)).state, 'Standby')
  assert.equal((await client.instances.restore(id)).state, 'Running')
  assert.equal((await client.instances.standby(id, null)).state, 'Standby')
  assert.equal((await client.instances.restore(id)).state, 'Running')
  assert.equal((await client.instances.stop(id)).state, 'Stopped')
  assert.equal((await client.instances.start(id, {})).state, 'Running')
  await client.instances.delete(id, { graceful_shutdown: true })
  await assert.rejects(client.instances.get(id), Hypeman.NotFoundError)
})

test('a conflict is sent once, since the answer declines a retry', async () => {
  const earlier = requests
  await assert.rejects(client.instances.restore(shared.id), (error: unknown) => {
    assert.ok(error instanceof Hypeman.ConflictError)
    assert.equal((error.error as { code: string }).code, 'invalid_state')
    return true
  })
  assert.equal(requests - earlier, 1)
})

test('errors arrive as the client’s own classes', async () => {
  await assert.rejects(client.instances.create({ name: 'Bad Name', image: IMAGE }), Hypeman.BadRequestError)
  await assert.rejects(client.instances.create({ name: 'shared', image: IMAGE }), Hypeman.BadRequestError)
  await assert.rejects(client.instances.create({ name: 'x', image: 'localhost/never-pulled' }), Hypeman.NotFoundError)
  const stranger = new Hypeman({ baseURL: server.url, apiKey: 'nobody' })
  await assert.rejects(stranger.instances.list(), Hypeman.AuthenticationError)
})

test('instances.autoStandby.status and hold, of an instance that has a policy and of one that has none', async () => {
  assert.equal((await client.instances.autoStandby.status(shared.id)).configured, false)
  const { id } = await client.instances.create({ name: 'sleepy', image: IMAGE, auto_standby: { enabled: true, idle_timeout: '1h' } })
  assert.equal((await client.instances.autoStandby.status(id)).configured, true)
  assert.ok((await client.instances.autoStandby.hold(id)).hold_until !== undefined)
  await client.instances.delete(id)
})

test('what Berth has no part for is told in one request', async () => {
  const absent: readonly (() => Promise<unknown>)[] = [
    () => client.instances.snapshotSchedule.get(shared.id),
    () => client.ingresses.list(),
    () => client.builds.list(),
  ]
  for (const ask of absent) {
    const earlier = requests
    await assert.rejects(ask(), (error: unknown) => error instanceof Hypeman.APIError && error.status === 501)
    assert.equal(requests - earlier, 1)
  }
})

test('images.create, get, list, tag and delete', async () => {
  const image = await imageReady(IMAGE)
  assert.match(image.digest, /^sha256:/)
  assert.ok((await client.images.list()).some(({ digest }) => digest === image.digest))
  const tagged = await client.images.tag(IMAGE, { target: 'localhost/other/name:1' })
  assert.equal(tagged.digest, image.digest)
  assert.equal((await client.images.get('localhost/other/name:1')).digest, image.digest)
  await client.images.delete('localhost/other/name:1')
  await assert.rejects(client.images.get('localhost/other/name:1'), Hypeman.NotFoundError)
})

test('volumes.create, get, list and delete', async () => {
  const volume = await client.volumes.create({ name: 'plain', size_gb: 1, tags: { kind: 'plain' } })
  assert.equal((await client.volumes.get(volume.id)).id, volume.id)
  assert.equal((await client.volumes.get('plain')).id, volume.id)
  assert.deepEqual((await client.volumes.list({ tags: { kind: 'plain' } })).map(({ id }) => id), [volume.id])
  await client.volumes.delete(volume.id)
  await assert.rejects(client.volumes.get(volume.id), Hypeman.NotFoundError)
})

test('instances.volumes.attach and detach, on an instance that runs', async () => {
  const volume = await client.volumes.create({ name: 'hot', size_gb: 1 })
  const attached = await client.instances.volumes.attach(volume.id, { id: shared.id, mount_path: '/hot' })
  assert.deepEqual(attached.volumes, [{ volume_id: volume.id, mount_path: '/hot', readonly: false }])
  await assert.rejects(client.volumes.delete(volume.id), Hypeman.ConflictError)
  const detached = await client.instances.volumes.detach(volume.id, { id: shared.id })
  assert.equal(detached.volumes, undefined)
  await client.volumes.delete(volume.id)
})

// --- inside of a guest ----------------------------------------------------------------------------------------

test('instances.logs streams what the application wrote, and follows', NEEDS_GUEST, async () => {
  const lines = await eventually('both lines are in the log', async () => {
    const seen: string[] = []
    for await (const line of await client.instances.logs(shared.id)) seen.push(line)
    return seen.length >= 2 ? seen : null
  })
  assert.ok(lines.includes('hello-from-app'))
  assert.ok(lines.includes('to-stderr'))
  for await (const line of await client.instances.logs(shared.id, { follow: true, tail: 2 })) {
    assert.ok(lines.includes(line))
    break
  }
  const server: string[] = []
  for await (const line of await client.instances.logs(shared.id, { source: 'hypeman' })) server.push(line)
  assert.ok(server.length > 0)
})

test('instances.stat tells files, directories, links and what is not there', NEEDS_GUEST, async () => {
  await output(['sh', '-c', 'mkdir -p /s && echo 12345 > /s/file && chmod 640 /s/file && ln -sf file /s/link'])
  const file = await client.instances.stat(shared.id, { path: '/s/file' })
  assert.deepEqual([file.exists, file.is_file, file.size, (file.mode ?? 0) & 0o777], [true, true, 6, 0o640])
  assert.equal((await client.instances.stat(shared.id, { path: '/s' })).is_dir, true)
  const link = await client.instances.stat(shared.id, { path: '/s/link' })
  assert.deepEqual([link.is_symlink, link.link_target], [true, 'file'])
  assert.equal((await client.instances.stat(shared.id, { path: '/s/link', follow_links: true })).is_file, true)
  assert.equal((await client.instances.stat(shared.id, { path: '/nothing' })).exists, false)
})

test('a volume keeps what was written to it, through detach, another instance and standby', NEEDS_GUEST, async () => {
  const volume = await client.volumes.create({ name: 'kept', size_gb: 1 })
  await client.instances.volumes.attach(volume.id, { id: shared.id, mount_path: '/kept' })
  await output(['sh', '-c', 'echo precious > /kept/file && sync'])
  await client.instances.volumes.detach(volume.id, { id: shared.id })
  const other = await client.instances.create({
    name: 'other',
    image: IMAGE,
    size: '128MB',
    vcpus: 1,
    cmd: APP,
    volumes: [{ volume_id: volume.id, mount_path: '/kept', readonly: true }],
  })
  await client.instances.standby(other.id)
  await client.instances.restore(other.id)
  assert.equal(await output(['cat', '/kept/file'], other.id), 'precious\n')
  await client.instances.delete(other.id)
  await client.volumes.delete(volume.id)
})

test('volumes.createFromArchive fills a volume', NEEDS_GUEST, async () => {
  const tree = join(scratch, 'archive')
  mkdirSync(join(tree, 'sub'), { recursive: true })
  writeFileSync(join(tree, 'sub', 'file'), 'from the archive')
  const archive = execFileSync('tar', ['-czf', '-', '-C', tree, '.'])
  const volume = await client.volumes.createFromArchive(archive, { name: 'filled', size_gb: 1 })
  await client.instances.volumes.attach(volume.id, { id: shared.id, mount_path: '/filled', readonly: true })
  assert.equal(await output(['cat', '/filled/sub/file']), 'from the archive')
  await client.instances.volumes.detach(volume.id, { id: shared.id })
  await client.volumes.delete(volume.id)
  await assert.rejects(client.volumes.createFromArchive(Buffer.from('no archive'), { name: 'broken', size_gb: 1 }), Hypeman.BadRequestError)
  assert.ok(!(await client.volumes.list()).some(({ name }) => name === 'broken'))
})

test('an application that ends leaves its exit code', NEEDS_GUEST, async () => {
  const { id } = await client.instances.create({ name: 'ends', image: IMAGE, size: '128MB', vcpus: 1, cmd: ['sh', '-c', 'exit 7'] })
  await client.instances.wait(id, { state: 'Stopped', timeout: '2m' })
  const ended = await client.instances.get(id)
  assert.equal(ended.state, 'Stopped')
  assert.equal(ended.exit_code, 7)
  await client.instances.delete(id)
})

test('standby and restore continue the same processes with the same address', NEEDS_GUEST, async () => {
  const { id, network } = await client.instances.create({
    name: 'goes-on',
    image: IMAGE,
    size: '128MB',
    vcpus: 1,
    cmd: ['sh', '-c', 'echo $$ > /pid; n=0; while true; do n=$((n+1)); echo $n > /count; sleep 0.1; done'],
  })
  await output(['sh', '-c', 'until [ -s /count ]; do sleep 0.1; done'], id)
  // Its number and the time it began: one and the same process.
  const identity = () => output(['sh', '-c', 'cat /pid; cut -d " " -f 22 "/proc/$(cat /pid)/stat"'], id)
  const process = await identity()
  const earlier = Number(await output(['cat', '/count'], id))
  await client.instances.standby(id)
  const restored = await client.instances.restore(id)
  assert.deepEqual([restored.network?.ip, restored.network?.mac], [network?.ip, network?.mac])
  assert.equal(await identity(), process)
  await output(['sh', '-c', `until [ "$(cat /count)" -gt ${earlier} ]; do sleep 0.1; done`], id)
  await client.instances.delete(id)
})

test('a published port reaches the guest', NEEDS_GUEST, async () => {
  const port = await freePort()
  // `ports` is Berth's own addition, which the client's types don't know and which it sends all the same.
  const wish: Hypeman.InstanceCreateParams & { readonly ports: readonly object[] } = {
    name: 'serves',
    image: IMAGE,
    size: '128MB',
    vcpus: 1,
    cmd: ['sh', '-c', 'mkdir /www; echo from-the-guest > /www/index.html; exec httpd -f -p 80 -h /www'],
    ports: [{ host_port: port, guest_port: 80, protocol: 'tcp' }],
  }
  const { id } = await client.instances.create(wish)
  const page = await eventually('the guest answers', () =>
    fetch(`http://127.0.0.1:${port}/`).then(
      answer => answer.text(),
      () => null,
    ),
  )
  assert.equal(page, 'from-the-guest\n')
  await client.instances.delete(id)
})

// --- copy helpers ---------------------------------------------------------------------------------------------

const copyConfig = () => ({ baseURL: server.url, apiKey: server.key })

test('cpToInstance and cpFromInstance carry a file unchanged, whatever is in it', NEEDS_GUEST, async () => {
  const contents: Readonly<Record<string, Buffer>> = {
    'random.bin': randomBytes(1024 * 1024 + 1),
    'a.json': Buffer.from('{"a":[1,2,3]}'),
    'list.json': Buffer.from('[[1],[2]]\n'),
    'message.json': Buffer.from('{"type":"end","final":true}'),
    empty: Buffer.alloc(0),
  }
  for (const [name, bytes] of Object.entries(contents)) {
    const source = join(scratch, name)
    writeFileSync(source, bytes, { mode: 0o640 })
    await cpToInstance(copyConfig(), { instanceId: shared.id, srcPath: source, dstPath: `/copied/${name}` })
    assert.equal((await output(['sha256sum', `/copied/${name}`])).split(' ')[0], createHash('sha256').update(bytes).digest('hex'), name)
    assert.equal((await output(['stat', '-c', '%a', `/copied/${name}`])).trim(), '640')
    const back = join(scratch, `back-${name}`)
    mkdirSync(back)
    await cpFromInstance(copyConfig(), { instanceId: shared.id, srcPath: `/copied/${name}`, dstPath: back })
    assert.deepEqual(readFileSync(join(back, name)), bytes, name)
  }
})

test('a tree is copied with its directories, modes and links', NEEDS_GUEST, async () => {
  const tree = join(scratch, 'tree')
  mkdirSync(join(tree, 'deep', 'er'), { recursive: true })
  writeFileSync(join(tree, 'deep', 'er', 'leaf'), 'leaf', { mode: 0o755 })
  writeFileSync(join(tree, 'top'), 'top')
  await cpToInstance(copyConfig(), { instanceId: shared.id, srcPath: tree, dstPath: '/tree' })
  await output(['ln', '-sf', 'top', '/tree/link'])
  const back = join(scratch, 'tree-back')
  mkdirSync(back)
  await cpFromInstance(copyConfig(), { instanceId: shared.id, srcPath: '/tree', dstPath: back })
  // The client resolves when its last entry is there; an earlier file may not even have been opened by then.
  const read = (name: string) => (existsSync(join(back, 'tree', name)) ? readFileSync(join(back, 'tree', name), 'utf8') : null)
  await eventually('the client has flushed its files', async () => (read('deep/er/leaf') === 'leaf' && read('top') === 'top' ? true : null))
  assert.deepEqual(readdirSync(join(back, 'tree')).toSorted(), ['deep', 'link', 'top'])
  assert.equal(statSync(join(back, 'tree', 'deep', 'er', 'leaf')).mode & 0o777, 0o755)
  assert.equal(readlinkSync(join(back, 'tree', 'link')), 'top')
})

test('a copy that can’t be done says why', NEEDS_GUEST, async () => {
  const source = join(scratch, 'source')
  writeFileSync(source, 'x')
  await assert.rejects(cpToInstance(copyConfig(), { instanceId: shared.id, srcPath: source, dstPath: '/tmp' }), /cannot copy file: \/tmp is a directory/)
  await output(['touch', '/a-file'])
  mkdirSync(join(scratch, 'dir'))
  await assert.rejects(
    cpToInstance(copyConfig(), { instanceId: shared.id, srcPath: join(scratch, 'dir'), dstPath: '/a-file' }),
    /cannot create directory: \/a-file is a file/,
  )
  await assert.rejects(
    cpFromInstance(copyConfig(), { instanceId: shared.id, srcPath: '/missing', dstPath: scratch }),
    /stat: lstat \/missing: no such file or directory/,
  )
})

test('a copy that breaks off leaves nothing of the file', NEEDS_GUEST, async () => {
  const socket = await openSocket(server.url, server.key, `/instances/${shared.id}/cp`)
  socket.send(JSON.stringify({ direction: 'to', guest_path: '/half', mode: 0o644 }))
  socket.send(randomBytes(100_000))
  await new Promise(resolve => setTimeout(resolve, 200))
  socket.terminate()
  await eventually('the agent has cleaned up', async () => {
    const { output: listing } = await exec(server.url, server.key, shared.id, { command: ['sh', '-c', 'ls -a / | grep half; true'] })
    return listing === '' ? true : null
  })
})

// --- exec, as the CLI speaks it -------------------------------------------------------------------------------

const EXECS: readonly [string, Readonly<Record<string, unknown>>, { readonly output?: string | RegExp; readonly exitCode: number }][] = [
  ['output and success', { command: ['echo', 'hi'] }, { output: 'hi\n', exitCode: 0 }],
  ['both streams in one', { command: ['sh', '-c', 'echo out; sleep 0.2; echo err >&2'] }, { output: 'out\nerr\n', exitCode: 0 }],
  ['an exit code', { command: ['sh', '-c', 'exit 42'] }, { output: '', exitCode: 42 }],
  ['a signal', { command: ['sh', '-c', 'kill -9 $$'] }, { exitCode: 137 }],
  ['environment and directory', { command: ['sh', '-c', 'echo $A $PWD'], env: { A: 'b c' }, cwd: '/tmp' }, { output: 'b c /tmp\n', exitCode: 0 }],
  ['a program that is not there', { command: ['no-such-program'] }, { output: /^Error: .*executable file not found.*\r\n$/, exitCode: 127 }],
  ['a time limit', { command: ['sleep', '1000'], timeout: 1 }, { exitCode: 124 }],
  ['a terminal of the size asked for', { command: ['stty', 'size'], tty: true, rows: 40, cols: 132 }, { output: '40 132\r\n', exitCode: 0 }],
  ['a terminal’s environment', { command: ['sh', '-c', 'echo $TERM'], tty: true }, { output: 'xterm-256color\r\n', exitCode: 0 }],
]
for (const [what, first, expected] of EXECS) {
  test(`exec tells ${what}`, NEEDS_GUEST, async () => {
    const outcome = await exec(server.url, server.key, shared.id, first)
    assert.equal(outcome.exitCode, expected.exitCode, outcome.output)
    if (typeof expected.output === 'string') assert.equal(outcome.output, expected.output)
    if (expected.output instanceof RegExp) assert.match(outcome.output, expected.output)
  })
}

test('exec carries stdin, resizes a terminal, and its default is a shell', NEEDS_GUEST, async () => {
  const session = await openExec(server.url, server.key, 'shared', { tty: true })
  session.socket.send(Buffer.from('echo he""llo\n'))
  await session.until('hello')
  session.socket.send(JSON.stringify({ resize: { rows: 11, cols: 22 } }))
  session.socket.send('stty size\n')
  await session.until('11 22')
  session.socket.send('exit 3\n')
  assert.equal((await session.outcome).exitCode, 3)
})

test('exec carries a megabyte each way', NEEDS_GUEST, async () => {
  const bytes = randomBytes(1024 * 1024)
  const session = await openExec(server.url, server.key, shared.id, { command: ['head', '-c', String(bytes.length)] })
  for (let at = 0; at < bytes.length; at += 65_536) session.socket.send(bytes.subarray(at, at + 65_536))
  const outcome = await session.outcome
  assert.equal(outcome.exitCode, 0)
  assert.ok(outcome.bytes.equals(bytes))
})

test('a client that goes away ends its command', NEEDS_GUEST, async () => {
  const isRunning = async () => (await output(['ps'])).includes('sleep 98765')
  const session = await openExec(server.url, server.key, shared.id, { command: ['sh', '-c', 'echo started; exec sleep 98765'] })
  await session.until('started')
  await eventually('the command runs', async () => ((await isRunning()) ? true : null))
  session.socket.terminate()
  await eventually('the command is gone', async () => ((await isRunning()) ? null : true))
})

test('what can be refused of an exec is refused before the upgrade', async () => {
  const refused = (path: string, key: string | null = server.key) =>
    openSocket(server.url, key, path).then(
      () => assert.fail('the upgrade was not refused'),
      (error: unknown) => {
        assert.ok(error instanceof UpgradeRefused, String(error))
        return [error.status, (JSON.parse(error.body) as { code: string }).code]
      },
    )
  assert.deepEqual(await refused(`/instances/${shared.id}/exec`, null), [401, 'Unauthorized'])
  assert.deepEqual(await refused('/instances/nothing/exec'), [404, 'not_found'])
  assert.deepEqual(await refused('/instances/nothing/cp'), [404, 'not_found'])
  const { id } = await client.instances.create({ name: 'not-running', image: IMAGE, size: '128MB', vcpus: 1, cmd: APP })
  await client.instances.stop(id)
  assert.deepEqual(await refused(`/instances/${id}/exec`), [409, 'invalid_state'])
  assert.deepEqual(await refused(`/instances/${id}/cp`), [409, 'invalid_state'])
  await client.instances.delete(id)
})

test('a first message that is no request is told as an error', async () => {
  const binary = await exec(server.url, server.key, shared.id, Buffer.from('{}'))
  assert.deepEqual(binary.texts, ['{"error":"first message must be JSON text"}'])
  const broken = await exec(server.url, server.key, shared.id, '{broken')
  assert.match(broken.texts[0] ?? '', /^\{"error":"invalid JSON: /)
})
