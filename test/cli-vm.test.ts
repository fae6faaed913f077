/** The command line on real VMs: what only a real guest shows. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, readlinkSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { CLI_MAIN, commandEnv, commandLine, onTerminal, startBerth } from './support/berth-command.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'
const SH = ['sh', '-c'] as const

let server: TestServer
let env: Record<string, string>
const { berth, berthWith, ends } = commandLine(() => env)
let dir = ''
/** One instance that most tests share. */
const WEB = 'vm-web'

before(async () => {
  dir = mkdtempSync(join(tmpdir(), 'berth-cli-vm-'))
  // User-mode network: nothing of the machine's own network is touched.
  server = await startServer({ host: 'qemu', env: { BERTH_ACCEL: 'tcg', BERTH_NETWORK: 'user' } })
  env = commandEnv(server)
  await eventually('the built-in image is ready', async () => ((await berth('images', 'ls')).stdout.includes('ready') ? true : null), 120_000)
  await ends(0, 'run', '-d', '--name', WEB, '-m', '128M', IMAGE, ...SH, 'i=0; while :; do i=$((i+1)); echo tick $i; sleep 0.2; done')
})
after(async () => {
  rmSync(dir, { recursive: true, force: true })
  await server.stop()
})

const run = (...command: readonly string[]) => berth('run', '--rm', '-m', '128M', IMAGE, '--', ...command)

test('run shows the output of the application, its streams apart, and ends with its status', async () => {
  const { status, stdout, stderr } = await run(...SH, 'echo out; echo err >&2; exit 5')
  assert.deepEqual([status, stdout, stderr], [5, 'out\n', 'err\n'])
})

test('run loses and reorders nothing of a torrent of lines', async () => {
  const { status, stdout } = await run('seq', '1', '100000')
  const expected = Array.from({ length: 100_000 }, (_, at) => `${at + 1}\n`).join('')
  assert.equal(status, 0)
  assert.equal(stdout.length, expected.length)
  assert.ok(stdout === expected, 'every line, in its order')
})

test('run ends with 127 where there is no such command, and with 126 where it is no program', async () => {
  const none = await run('nothere')
  assert.deepEqual([none.status, none.stderr], [127, 'berth: command not found: nothere\n'])
  const directory = await run('/etc')
  assert.equal(directory.status, 126)
  assert.match(directory.stderr, /^berth: \/etc can't be executed: .+\n$/)
})

test('run says why where nothing could start, as where another program has the port', async () => {
  const { status, stderr } = await berth('run', '--rm', '-m', '128M', '-p', `${new URL(server.url).port}:80`, IMAGE)
  assert.equal(status, 125)
  assert.match(stderr, /^berth: [^\n]*[Pp]ort \d+\/tcp of the host is used by another program; choose another port, or stop that program\.\n$/)
})

test('a signal that ends the application is 128 and the signal', async () => {
  assert.equal((await run(...SH, 'kill -9 $$')).status, 137)
})

test('Ctrl-C gives the application time to end in its own way', async () => {
  const { child, done, stdout } = startBerth(env, ['run', '--rm', '-m', '128M', IMAGE, '--', ...SH, 'trap "echo bye; exit 3" TERM; echo up; while :; do sleep 0.1; done'])
  await eventually('it is up', async () => (stdout().includes('up') ? true : null), 120_000)
  child.kill('SIGINT')
  const { status, stdout: all } = await done
  assert.deepEqual([status, all], [3, 'up\nbye\n'])
})

test('run -it gives a real terminal: its size, its resize, job control, its status', async () => {
  const { output, status, failed, cooked } = await onTerminal(env, ['run', '--rm', '-it', '-m', '128M', IMAGE, 'sh'], [
    { expect: '#', raw: true, type: 'tty; stty size\n' },
    { expect: '/dev/pts/' },
    // The new size arrives when it arrives: the guest waits for it. Its echo must not be taken for the answer.
    { expect: '24 80', resize: [40, 100], type: 'until [ "$(stty size)" != "24 80" ]; do sleep 0.2; done; stty size\n' },
    // Quoted apart, so that the echo of what is typed is not taken for what the command says.
    // One process that says so and then sleeps: ^C must find it in the foreground, not the shell between two commands.
    { expect: '40 100', type: `sh -c "echo u''p; exec sleep 1000"\n` },
    { expect: 'up', type: '\x03' },
    { expect: '#' },
    { type: 'exit 9\n' },
  ])
  assert.equal(failed, null, output)
  assert.deepEqual([status, cooked], [9, true])
})

test('exec carries 64 MiB in and out, unharmed', async () => {
  const input = Buffer.alloc(64 * 1024 * 1024, 'some bytes of berth\n')
  const hash = createHash('sha256').update(input).digest('hex')
  assert.equal((await berthWith({ input }, 'exec', '-i', WEB, 'sha256sum')).stdout, `${hash}  -\n`)
  const script = `"${process.execPath}" "${CLI_MAIN}" exec ${WEB} -- head -c 67108864 /dev/zero | sha256sum`
  const zeros = createHash('sha256').update(Buffer.alloc(64 * 1024 * 1024)).digest('hex')
  assert.equal(execFileSync('bash', ['-o', 'pipefail', '-c', script], { env, encoding: 'utf8' }), `${zeros}  -\n`)
})

test('exec runs as who and where it is told, and gives the status', async () => {
  const { status, stdout, stderr } = await berth('exec', '-u', '1234', '-w', '/tmp', '-e', 'A=b', WEB, ...SH, 'id -u; pwd; echo $A; echo e >&2; exit 3')
  assert.deepEqual([status, stdout, stderr], [3, '1234\n/tmp\nb\n', 'e\n'])
  assert.equal((await berth('exec', WEB, 'nothere')).status, 127)
  assert.equal((await berth('exec', '--timeout', '300ms', WEB, 'sleep', '100')).status, 124)
})

test('files go in and out with their modes and links', async () => {
  const tree = join(dir, 'tree')
  mkdirSync(join(tree, 'sub'), { recursive: true })
  writeFileSync(join(tree, 'sub', 'big'), Buffer.alloc(3_000_000, 'xyz'))
  writeFileSync(join(tree, 'run.sh'), '#!/bin/sh\necho it runs\n')
  chmodSync(join(tree, 'run.sh'), 0o750)
  symlinkSync('sub/big', join(tree, 'link'))
  await ends(0, 'cp', tree, `${WEB}:/srv-tree`)
  assert.equal(await ends(0, 'exec', WEB, '/srv-tree/run.sh'), 'it runs\n')
  const back = join(dir, 'back')
  await ends(0, 'cp', `${WEB}:/srv-tree`, back)
  assert.deepEqual(readFileSync(join(back, 'sub', 'big')), Buffer.alloc(3_000_000, 'xyz'))
  assert.equal(statSync(join(back, 'run.sh')).mode & 0o777, 0o750)
  assert.equal(readlinkSync(join(back, 'link')), 'sub/big')
})

test('what a guest could plant in a copy stays in the copy', async () => {
  const victim = join(dir, 'victim')
  mkdirSync(victim)
  await ends(0, 'exec', WEB, ...SH, `mkdir -p /evil && ln -sfn ${victim} /evil/link`)
  const to = join(dir, 'evil')
  await ends(0, 'cp', `${WEB}:/evil`, to)
  assert.equal(readlinkSync(join(to, 'link')), victim)
  await ends(0, 'exec', WEB, ...SH, 'rm /evil/link && mkdir /evil/link && echo x > /evil/link/planted')
  const { status, stderr } = await berth('cp', `${WEB}:/evil/.`, to)
  assert.equal(status, 1)
  assert.match(stderr, /is there and is no directory|is no directory/)
  assert.throws(() => statSync(join(victim, 'planted')), { code: 'ENOENT' })
})

test('health checks ask a real guest, and a restart policy follows from them', async () => {
  const NAME = 'vm-health'
  const page = 'mkdir /www; echo up > /www/up; httpd -f -p 8000 -h /www & sleep 100000'
  const checks = ['--health-check', 'exec:wget -q -O- http://127.0.0.1:8000/up | grep -q up', '--health-interval', '200ms', '--health-start-period', '0', '--health-retries', '2', '--health-timeout', '20s']
  const shown = async () => JSON.parse(await ends(0, 'inspect', NAME))[0] as { generation: number; health: { status: string } | null }
  await ends(0, 'run', '-d', '--name', NAME, '-m', '128M', '--restart', 'always', ...checks, IMAGE, ...SH, page)
  await eventually('it is healthy', async () => ((await shown()).health?.status === 'healthy' ? true : null))
  const { generation } = await shown()
  await ends(0, 'exec', NAME, 'rm', '/www/up')
  await eventually('it lives again', async () => ((await shown()).generation > generation ? true : null), 120_000)
  await ends(0, 'rm', '-f', NAME)
})

test('the same processes go on after standby, and a follower of the log misses nothing', async () => {
  const before = await ends(0, 'exec', WEB, 'cat', '/proc/sys/kernel/random/boot_id')
  const { child, done, stdout } = startBerth(env, ['logs', '-f', WEB])
  await eventually('it ticks', async () => (stdout().includes('tick') ? true : null))
  await ends(0, 'standby', WEB)
  assert.equal((await berth('exec', WEB, 'true')).status, 125)
  await ends(0, 'restore', WEB)
  assert.equal(await ends(0, 'exec', WEB, 'cat', '/proc/sys/kernel/random/boot_id'), before)
  const seen = stdout().length
  await eventually('it ticks on', async () => (stdout().length > seen + 20 ? true : null))
  child.kill('SIGTERM')
  await done
  const ticks = stdout().trimEnd().split('\n').slice(0, -1).map((line) => Number(line.replace('tick ', '')))
  assert.deepEqual(ticks, Array.from(ticks, (_, at) => at + 1))
})

test('a volume that is plugged into a running instance keeps what is written to it', async () => {
  await ends(0, 'volumes', 'create', 'vm-data', '--size', '64M')
  await ends(0, 'volumes', 'attach', WEB, 'vm-data:/data')
  await ends(0, 'exec', WEB, ...SH, 'echo kept > /data/f && sync')
  await ends(0, 'volumes', 'detach', WEB, 'vm-data')
  const { stdout, status } = await berth('run', '--rm', '-m', '128M', '-v', 'vm-data:/there:ro', IMAGE, 'cat', '/there/f')
  assert.deepEqual([status, stdout], [0, 'kept\n'])
  await ends(0, 'volumes', 'rm', 'vm-data')
})

test('stop, start and rm do what they say', async () => {
  await ends(0, 'stop', '-t', '1', WEB)
  assert.match(await ends(0, 'ps', '-a'), new RegExp(`${WEB} .*stopped`))
  await ends(0, 'start', WEB)
  assert.equal(await ends(0, 'exec', WEB, 'cat', '/srv-tree/run.sh'), '#!/bin/sh\necho it runs\n', 'its disk was kept')
  await ends(0, 'rm', '-f', WEB)
  assert.equal((await berth('inspect', WEB)).status, 1)
})
