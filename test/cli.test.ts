/** The command line against a server with a simulated host: every command as a process of its own. */
import assert from 'node:assert/strict'
import { execFileSync } from 'node:child_process'
import { createHash } from 'node:crypto'
import { chmodSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { CLI_MAIN, commandEnv, commandLine, onTerminal, startBerth } from './support/berth-command.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'

let server: TestServer
let env: Record<string, string>
const { berth, berthWith, ends, fails } = commandLine(() => env)
let dir = ''
let count = 0
const unique = (word = 'c') => `${word}-${(count += 1)}`

before(async () => {
  server = await startServer()
  env = commandEnv(server)
  dir = mkdtempSync(join(tmpdir(), 'berth-cli-'))
  await eventually('the built-in image is ready', async () => ((await berth('images', 'ls', '-q')).stdout.includes('busybox') ? true : null))
})
after(async () => {
  rmSync(dir, { recursive: true, force: true })
  await server.stop()
})

async function launch(...flags: readonly string[]): Promise<string> {
  const name = unique()
  await ends(0, 'run', '-d', '--name', name, ...flags, IMAGE, 'sleep', '100000')
  return name
}

interface Detail {
  readonly id: string
  readonly name: string
  readonly phase: string
  readonly [key: string]: unknown
}

async function inspect(name: string): Promise<Detail> {
  const [detail] = JSON.parse(await ends(0, 'inspect', name)) as Detail[]
  assert.ok(detail !== undefined)
  return detail
}

// --- run ------------------------------------------------------------------------------------------------------

const RUNS = [
  ['its output', ['echo', 'hello', 'world'], 0, 'hello world\n'],
  ['its output after --', ['--', 'echo', '-n', '--json'], 0, '-n --json\n'],
  ['success', ['true'], 0, ''],
  ['failure', ['false'], 1, ''],
  ['any status', ['exit', '42'], 42, ''],
] as const
for (const [name, argv, status, stdout] of RUNS) {
  test(`run gives ${name} of the application`, async () => {
    assert.equal(await ends(status, 'run', '--rm', IMAGE, ...argv), stdout)
  })
}

test('run loses nothing of applications that end at once, twenty times in a row', async () => {
  for (let round = 0; round < 20; round += 1) {
    assert.equal(await ends(0, 'run', '--rm', IMAGE, 'echo', `round ${round}`), `round ${round}\n`)
  }
})

test('run keeps the instance unless --rm is given', async () => {
  const kept = unique()
  await ends(3, 'run', '--name', kept, IMAGE, 'exit', '3')
  assert.equal((await inspect(kept)).phase, 'stopped')
  const gone = unique()
  await ends(3, 'run', '--rm', '--name', gone, IMAGE, 'exit', '3')
  await fails(1, /no instance/, 'inspect', gone)
})

test('run -d prints the id; with --rm it vanishes when it has ended', async () => {
  const name = unique()
  const id = (await ends(0, 'run', '-d', '--name', name, IMAGE, 'sleep', '1000')).trim()
  assert.match(id, /^[0-9a-f-]{36}$/)
  assert.equal((await inspect(id)).phase, 'running')
  const brief = (await ends(0, 'run', '-d', '--rm', IMAGE, 'sleep', '0.2')).trim()
  await eventually('it is gone', async () => ((await inspect(brief)).phase === 'deleted' ? true : null))
})

test('what the flags of run say arrives', async () => {
  const file = join(dir, 'env')
  writeFileSync(file, '# comment\nFROM_FILE=1\nHERE\n')
  await ends(0, 'volumes', 'create', 'flagged', '--size', '1G')
  const name = unique()
  const flags = [
    ['--name', name, '-e', 'A=1=2', '--env-file', file, '-v', 'flagged:/data:ro', '-p', '28081:80', '-p', '28082:53/udp'],
    ['--vcpus', '2', '-m', '256M', '--disk', '2G', '-u', 'nobody', '-w', '/tmp', '--hostname', 'h', '--restart', 'on-failure:3'],
    ['--tag', 'team=blue', '--ttl', '1h', '--entrypoint', 'sleep'],
  ]
  const { status, stderr } = await berthWith({ env: { HERE: 'taken' } }, 'run', '-d', ...flags.flat(), IMAGE, '1000')
  assert.equal(status, 0, stderr)
  const { id, ...detail } = await inspect(name)
  const network = detail['network'] as { ports: object[] }
  assert.deepEqual(detail['env'], { FROM_FILE: '1', HERE: 'taken', A: '1=2' })
  assert.deepEqual(network.ports, [
    { hostPort: 28081, guestPort: 80, protocol: 'tcp' },
    { hostPort: 28082, guestPort: 53, protocol: 'udp' },
  ])
  assert.deepEqual(
    ['vcpus', 'memoryBytes', 'overlayBytes', 'user', 'workingDir', 'hostname', 'entrypoint', 'cmd', 'tags'].map((key) => detail[key]),
    [2, 256 * 2 ** 20, 2 * 2 ** 30, 'nobody', '/tmp', 'h', ['sleep'], ['1000'], { team: 'blue' }],
  )
  assert.equal((detail['restart'] as { policy: string }).policy, 'on-failure')
  assert.ok(detail['expiresAt'] !== null)
  assert.equal((detail['volumes'] as { mode: string }[])[0]?.mode, 'ro')
  await ends(0, 'rm', '-f', id)
})

test('Ctrl-C stops what an attached run shows, and its status is told', async () => {
  const name = unique()
  const { child, done } = startBerth(env, ['run', '--name', name, IMAGE, 'sleep', '1000'])
  await eventually('it runs', async () => ((await berth('ps', '-q', '-f', `name=${name}`)).stdout !== '' && (await inspect(name)).phase === 'running' ? true : null))
  child.kill('SIGINT')
  assert.equal((await done).status, 143)
  assert.equal((await inspect(name)).phase, 'stopped')
})

test('run -i gives the command our input, and stops the instance after it', async () => {
  const name = unique()
  const { status, stdout, stderr } = await berthWith({ input: 'abc' }, 'run', '-i', '--name', name, IMAGE, 'sha256sum')
  assert.equal(stdout, `${createHash('sha256').update('abc').digest('hex')}  -\n`, stderr)
  assert.equal(status, 0)
  assert.equal((await inspect(name)).phase, 'stopped')
})

// --- instances ------------------------------------------------------------------------------------------------

test('verbs act, wait for their work and print what they acted on', async () => {
  const name = await launch()
  const other = await launch()
  for (const [verb, phase] of [
    ['standby', 'standby'],
    ['restore', 'running'],
    ['stop', 'stopped'],
    ['start', 'running'],
    ['restart', 'running'],
  ] as const) {
    assert.equal(await ends(0, verb, name, other), `${name}\n${other}\n`)
    assert.equal((await inspect(name)).phase, phase, verb)
  }
  await fails(1, /is running: stop it first, or delete it with "berth rm -f/, 'rm', name)
  assert.equal(await ends(0, 'rm', '-f', name, other, 'never-there'), `${name}\n${other}\nnever-there\n`)
})

test('of several, those that fail are told and the others are done', async () => {
  const name = await launch()
  const { status, stdout, stderr } = await berth('stop', 'none', name)
  assert.deepEqual([status, stdout], [1, `${name}\n`])
  assert.match(stderr, /^berth: none: There is no instance "none"/)
})

test('ps shows what runs, with -a all, with -q ids, with --json JSON, and filters', async () => {
  const tag = unique('tag')
  const up = await launch('--tag', `set=${tag}`)
  const down = unique()
  await ends(0, 'run', '--name', down, '--tag', `set=${tag}`, IMAGE, 'true')
  const filter = ['-f', `tag=set=${tag}`]
  const shown = await ends(0, 'ps', ...filter)
  assert.ok(shown.includes(up) && !shown.includes(down) && /^ID +NAME +IMAGE +PHASE/.test(shown), shown)
  const all = await ends(0, 'ps', '-a', ...filter)
  assert.match(all, new RegExp(`${down} +${IMAGE} +stopped \\(0\\)`))
  const { id } = await inspect(up)
  assert.equal(await ends(0, 'ps', '-q', ...filter), `${id.slice(0, 13)}\n`)
  assert.equal(await ends(0, 'ps', '-q', '--no-trunc', ...filter), `${id}\n`)
  const json = JSON.parse(await ends(0, 'ps', '-a', '--json', ...filter)) as Detail[]
  assert.deepEqual(json.map(({ name }) => name).toSorted(), [up, down].toSorted())
  assert.deepEqual(JSON.parse(await ends(0, '--json', 'ps', ...filter, '-f', 'phase=standby')), [])
  assert.ok(!shown.includes('\x1b'), 'no colours without a terminal')
})

test('exec gives the status, keeps the streams apart and carries input of any size', async () => {
  const name = await launch()
  const { status, stdout, stderr } = await berth('exec', name, 'err', 'oops', '--json')
  assert.deepEqual([status, stdout, stderr], [0, '', 'oops --json\n'])
  assert.equal(await ends(0, 'exec', '-e', 'A=1', name, '--', 'echo', 'x'), 'x\n')
  assert.match(await ends(0, 'exec', '-e', 'A=1', name, 'env'), /^A=1$/m)
  await fails(127, /nothere/, 'exec', name, 'nothere')
  await fails(124, /ended after 100ms/, 'exec', '--timeout', '100ms', name, 'sleep', '100')
  const input = Buffer.alloc(8 * 1024 * 1024, 'berth')
  const hash = createHash('sha256').update(input).digest('hex')
  assert.equal((await berthWith({ input }, 'exec', '-i', name, 'sha256sum')).stdout, `${hash}  -\n`)
  await ends(0, 'standby', name)
  await fails(125, /standby/, 'exec', name, 'true')
  assert.equal(await ends(0, 'exec', '--wake', name, 'echo', 'up'), 'up\n')
})

test('logs are shown, followed to the end, and as JSON', async () => {
  const name = unique()
  await ends(0, 'run', '-d', '--name', name, IMAGE, 'server', 'x')
  assert.equal(await ends(0, 'logs', name), 'server x is ready\n')
  assert.equal(await ends(0, 'logs', '-n', '0', name), '')
  assert.match(await ends(0, 'logs', '-t', name), /^\d{4}-\d\d-\d\dT[\d:.]+Z server x is ready\n$/)
  assert.equal((JSON.parse(await ends(0, 'logs', '--json', name)) as { text: string }).text, 'server x is ready')
  const { done, stdout } = startBerth(env, ['logs', '-f', name])
  await eventually('the line is there', async () => (stdout() === 'server x is ready\n' ? true : null))
  await ends(0, 'rm', '-f', name)
  assert.equal((await done).status, 0)
})

test('events tell what was, and what comes', async () => {
  const name = await launch()
  const { id } = await inspect(name)
  const { child, done, stdout } = startBerth(env, ['events', '--json', '--after', '0', name])
  await eventually('the past is told', async () => (stdout().includes('"running"') ? true : null))
  await ends(0, 'rm', '-f', name)
  await eventually('the end is told', async () => (stdout().includes('"deleted"') ? true : null))
  child.kill('SIGTERM')
  await done
  const told = stdout().trimEnd().split('\n').map((line) => JSON.parse(line) as { instanceId: string; seq: number })
  assert.ok(told.every(({ instanceId }) => instanceId === id))
  assert.match(await ends(0, 'events', '--no-follow'), new RegExp(`${id.slice(0, 13)} +deleting -> deleted`))
})

test('a reader that goes away ends the command without a word', () => {
  const script = `"${process.execPath}" "${CLI_MAIN}" events --no-follow | head -n 1; echo "\${PIPESTATUS[0]}"`
  const out = execFileSync('bash', ['-c', script], { env, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] })
  assert.match(out, /\n0\n$/)
})

// --- files ----------------------------------------------------------------------------------------------------

test('cp lands files and trees as docker does, both ways', async () => {
  const name = await launch()
  const from = join(dir, 'tree')
  mkdirSync(join(from, 'sub'), { recursive: true })
  writeFileSync(join(from, 'sub', 'file'), 'deep')
  writeFileSync(join(from, 'run.sh'), 'x')
  chmodSync(join(from, 'run.sh'), 0o755)
  symlinkSync('sub/file', join(from, 'link'))
  await ends(0, 'cp', from, `${name}:/copied`)
  await ends(0, 'cp', from, `${name}:/copied`)
  await ends(0, 'cp', `${from}/.`, `${name}:/copied`)
  await ends(0, 'cp', join(from, 'run.sh'), `${name}:/copied/sub/`)
  await fails(1, /There is no directory \/none\//, 'cp', join(from, 'run.sh'), `${name}:/none/`)
  await fails(1, /can't be copied onto it/, 'cp', from, `${name}:/copied/run.sh`)
  await fails(1, /There is no \/none in/, 'cp', `${name}:/none`, dir)
  await fails(1, /can't be read/, 'cp', join(dir, 'none'), `${name}:/`)
  const back = join(dir, 'back')
  await ends(0, 'cp', `${name}:/copied`, back)
  assert.equal(readFileSync(join(back, 'tree', 'sub', 'file'), 'utf8'), 'deep')
  assert.equal(readFileSync(join(back, 'sub', 'run.sh'), 'utf8'), 'x')
  assert.equal(statSync(join(back, 'run.sh')).mode & 0o777, 0o755)
  assert.equal(readFileSync(join(back, 'link'), 'utf8'), 'deep')
  await ends(0, 'cp', `${name}:/copied/run.sh`, join(dir, 'one'))
  assert.equal(readFileSync(join(dir, 'one'), 'utf8'), 'x')
})

test('cp speaks tar on stdin and stdout', async () => {
  const name = await launch()
  const script = `cd "${dir}" && mkdir -p piped && echo hi > piped/f && tar c piped | "${process.execPath}" "${CLI_MAIN}" cp - ${name}:/ && "${process.execPath}" "${CLI_MAIN}" cp ${name}:/piped - | tar t`
  const out = execFileSync('bash', ['-o', 'pipefail', '-c', script], { env, encoding: 'utf8' })
  assert.deepEqual(out.trim().split('\n').toSorted(), ['piped/', 'piped/f'])
})

// --- images, volumes, keys, projects, the host ----------------------------------------------------------------

test('images are pulled, listed, tagged, imported and deleted', async () => {
  assert.equal(await ends(0, 'images', 'pull', 'alpine:3.19'), 'docker.io/library/alpine:3.19\n')
  assert.match(await ends(0, 'images'), /docker.io\/library\/alpine:3.19 +sha256:\w{12} .*ready/)
  assert.equal(await ends(0, 'images', 'tag', 'alpine:3.19', 'localhost/mine'), 'localhost/mine:latest\n')
  const file = join(dir, 'My App.tar')
  execFileSync('tar', ['cf', file, '-C', dir, 'env'])
  assert.equal(await ends(0, 'images', 'import', file), 'localhost/my-app:latest\n')
  assert.equal(await ends(0, 'images', 'rm', 'alpine:3.19', 'localhost/mine', 'localhost/my-app'), 'alpine:3.19\nlocalhost/mine\nlocalhost/my-app\n')
  await fails(1, /no image/i, 'images', 'rm', 'alpine:3.19')
  await fails(1, /can't be read/, 'images', 'import', join(dir, 'none.tar'))
})

test('what is no name of a secret is not put into a variable as a text', () => fails(125, /takes the name of a secret/, 'run', '--secret', 'A=b c', 'localhost/busybox'))

test('shared file systems are made, given to instances, and deleted', async () => {
  const name = unique('fs')
  const id = (await ends(0, 'fs', 'create', name, '-s', '64M')).trim()
  const instance = (await ends(0, 'run', '-d', '--name', unique('sharer'), '--fs', `${name}:/srv/shared`, 'localhost/busybox', 'sleep', '1000')).trim()
  assert.match(await ends(0, 'filesystems', 'ls'), new RegExp(`${id} +${name} +home +0 B +64 MiB .*${instance.slice(0, 8)}`))
  const [detail] = JSON.parse(await ends(0, 'fs', 'inspect', name)) as readonly { readonly instanceIds: readonly string[] }[]
  assert.deepEqual(detail?.instanceIds, [instance])
  await fails(1, /in use|mounted/, 'fs', 'rm', name)
  await fails(125, /FILESYSTEM:PATH/, 'run', '--fs', 'x', 'localhost/busybox')
  await fails(125, /no file system/, 'run', '-d', '--fs', 'absent:/srv', 'localhost/busybox')
  await ends(0, 'fs', 'resize', name, '96M')
  assert.match(await ends(0, 'fs', 'ls'), /96 MiB/)
  await fails(1, /only be made larger/, 'fs', 'resize', name, '64M')
  await ends(0, 'fs', 'detach', instance, name)
  await ends(0, 'fs', 'attach', instance, `${name}:/srv/again`)
  await fails(1, /named twice/, 'fs', 'attach', instance, `${name}:/srv/other`)
  await fails(2, /FILESYSTEM:PATH/, 'fs', 'attach', instance, name)
  await ends(0, 'rm', '-f', instance)
  await ends(0, 'fs', 'rm', id)
  assert.equal((await ends(0, 'fs', 'ls', '-q')).trim(), '')
})

test('volumes are made, attached, detached and deleted', async () => {
  const name = await launch()
  const volume = unique('vol')
  const id = (await ends(0, 'volumes', 'create', volume, '-s', '2G')).trim()
  await ends(0, 'volumes', 'attach', name, `${volume}:/data`)
  assert.match(await ends(0, 'volumes', 'ls'), new RegExp(`${id} +${volume} +2 GiB .*:/data:rw`))
  await fails(1, /attached|in use/, 'volumes', 'rm', volume)
  await ends(0, 'volumes', 'detach', name, volume)
  await ends(0, 'volumes', 'rm', volume)
  await fails(1, /no volume/, 'volumes', 'inspect', volume)
})

for (const what of ['images', 'volumes', 'keys', 'projects']) {
  test(`${what} list is ${what} ls, and ${what} alone`, async () => {
    const listed = await ends(0, what, 'ls', '--json')
    assert.equal(await ends(0, what, 'list', '--json'), listed)
    assert.equal(await ends(0, what, '--json'), listed)
  })
}

test('a key that was made works and dies', async () => {
  const secret = (await ends(0, 'keys', 'create', 'cli-key', '--scopes', 'read')).trim()
  await ends(0, '--key', secret, 'ps')
  await fails(125, /lacks the scope/, '--key', secret, 'run', IMAGE)
  assert.match(await ends(0, 'keys'), /cli-key +read /)
  await ends(0, 'keys', 'rm', 'cli-key')
  await fails(1, /not known/, '--key', secret, 'ps')
})

test('projects, host, stats and version answer', async () => {
  const project = unique('project')
  await ends(0, 'projects', 'create', project)
  await ends(0, 'projects', 'update', project, '--guest-to-guest')
  assert.match(await ends(0, 'projects'), new RegExp(`${project} +allowed`))
  assert.match(await ends(0, 'host'), /^memory +/m)
  const name = await launch()
  assert.match(await ends(0, 'stats', name), new RegExp(`^${name} +`, 'm'))
  assert.match(await ends(0, 'version'), /^client {2}\S+\nserver {2}\S+ at http/)
})

// --- shells and terminals -------------------------------------------------------------------------------------

test('bash completes commands, flags and names', async () => {
  const name = await launch()
  const bin = join(dir, 'bin')
  mkdirSync(bin)
  writeFileSync(join(bin, 'berth'), `#!/bin/sh\nexec "${process.execPath}" "${CLI_MAIN}" "$@"\n`, { mode: 0o755 })
  const complete = (...words: readonly string[]) => {
    const list = words.map((word) => `'${word}'`).join(' ')
    const script = `source <(berth completion bash); COMP_WORDS=(berth ${list}); COMP_CWORD=${words.length}; _berth; printf '%s\\n' "\${COMPREPLY[@]}"`
    return execFileSync('bash', ['-c', script], { env: { ...env, PATH: `${bin}:${env['PATH']}` }, encoding: 'utf8' }).trim().split('\n')
  }
  assert.deepEqual(complete('sta').toSorted(), ['standby', 'start', 'stats'])
  assert.deepEqual(complete('stop', name), [name])
  assert.deepEqual(complete('images', 'pu'), ['pull'])
  assert.deepEqual(complete('run', '--ent'), ['--entrypoint'])
  assert.deepEqual(complete('cp', `${name.slice(0, -1)}`).filter((each) => each === `${name}:`), [`${name}:`])
  for (const shell of ['zsh', 'fish']) assert.match(await ends(0, 'completion', shell), /__complete/)
})

/** What each shell would offer; zsh's own widgets need a terminal, so that what it would add is printed. */
const SHELLS = {
  fish: (line: string) => ['--no-config', '-c', `berth completion fish | source; complete -C '${line}'`],
  zsh: (line: string) => [
    '-f', '-c',
    `compdef() { }; _files() { }; compadd() { print -l -- "\${(@P)2}" }; source <(berth completion zsh); words=(${line}); CURRENT=$#words; _berth`,
  ],
} as const
for (const [shell, args] of Object.entries(SHELLS)) {
  const isThere = (process.env['PATH'] ?? '').split(':').some((each) => existsSync(join(each, shell)))
  test(`${shell} completes commands, flags and names`, { skip: isThere ? false : `${shell} is not on this machine` }, async () => {
    const name = await launch()
    const bin = mkdtempSync(join(dir, 'bin-'))
    writeFileSync(join(bin, 'berth'), `#!/bin/sh\nexec "${process.execPath}" "${CLI_MAIN}" "$@"\n`, { mode: 0o755 })
    const complete = (line: string) =>
      execFileSync(shell, args(line), { env: { ...env, PATH: `${bin}:${env['PATH']}` }, encoding: 'utf8' }).trim().split('\n').toSorted()
    assert.deepEqual(complete('berth sta'), ['standby', 'start', 'stats'])
    assert.deepEqual(complete(`berth stop ${name}`), [name])
    assert.deepEqual(complete('berth images pu'), ['pull'])
    assert.deepEqual(complete('berth run --ent'), ['--entrypoint'])
  })
}

test('on a terminal there are colours, and none with NO_COLOR', async () => {
  await launch()
  const coloured = await onTerminal(env, ['ps'], [])
  assert.equal(coloured.status, 0)
  assert.ok(coloured.output.includes('\x1b['), coloured.output)
  const plain = await onTerminal({ ...env, NO_COLOR: '1' }, ['ps'], [])
  assert.ok(!plain.output.includes('\x1b['), plain.output)
})

test('exec -it passes what is typed as it is typed, and leaves the terminal as it was', async () => {
  const name = await launch()
  const steps = [{ raw: true, type: 'h' }, { expect: 'h' }, { type: 'i\x03' }, { expect: 'i\x03' }]
  const { output, failed, status, cooked } = await onTerminal(env, ['exec', '-it', '--timeout', '5s', name, 'cat'], steps)
  assert.equal(failed, null, output)
  assert.deepEqual([status, cooked], [124, true])
})
