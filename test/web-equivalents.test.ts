/**
 * What the launch form offers to copy, pasted into a shell as a user would: each makes the instance that the form says,
 * on a real VM, whatever characters its values hold. What a dialect has no word for must be told beside its call.
 */
import assert from 'node:assert/strict'
import { execFile, execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { promisify } from 'node:util'
import { OVERLAY_BYTES } from '../src/web/api/mounts.ts'
import type { Catalogue, InstanceDetail } from '../src/web/api/types.ts'
import { equivalentsOf } from '../src/web/pages/launch/equivalents.ts'
import type { Equivalent } from '../src/web/pages/launch/equivalents.ts'
import { FIRST_CHECK } from '../src/web/pages/launch/health.ts'
import { splitWords } from '../src/web/pages/launch/shell-text.ts'
import { envOf } from '../src/web/pages/launch/wish.ts'
import type { Wish } from '../src/web/pages/launch/wish.ts'
import { CLI_MAIN, commandEnv } from './support/berth-command.ts'
import { exec } from './support/exec-socket.ts'
import { PREFIX } from './support/native-client.ts'
import { eventually, startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const MIB = 2 ** 20
/** Emulated CPUs on a busy machine are slow; none of this is a measurement. */
const WAIT_MS = 120_000
const KEY_NAME = `eve's "best" $KEY`
/** Both of these are written by the guest, and read back. */
const ENV_FILE = '/tmp/env'
const ARGS_FILE = '/tmp/args'
const SCRIPT = `#!/bin/sh
# It's "quoted" by nobody: $HOME, \`id\`, \\ and 100 %.
printf '%s\\n' "it's \\"here\\": \\$5 \\\\ <&>" >/root/said
cat >>/root/said <<'END'
 $NOT \`done\` "at" 'all' \\n
END
`
const ENV = `# a comment
QUOTES='single' "double" \`back\`
MONEY=$HOME $(id) \${PATH} $5
SHELL_CHARACTERS=* ? ~ !x ; & | > < ( ) [ ] { } # \\ \\n
SPACES=  two at the front, one at the end 
EMPTY=
EQUALS=a=b=c
WORDS=Übergröße 日本 🚢`

/** With everything filled in; each launch has ports of its own. */
const full = (name: string, firstPort: number): Wish => ({
  name,
  image: 'localhost/busybox',
  command: `sh -c 'env >${ENV_FILE}; printf "%s\\n" "$@" >${ARGS_FILE}; sleep 1000000' "it's" 'a  "word"' "\\$5 \\\\ a\\nb" '' \\;`,
  vcpus: 1,
  memoryBytes: 256 * MIB,
  diskBytes: 2 * 1024 * MIB,
  env: ENV,
  ports: [
    { hostPort: firstPort, guestPort: 80, protocol: 'tcp' },
    { hostPort: firstPort + 1, guestPort: 53, protocol: 'udp' },
  ],
  volumes: [
    { volume: 'books', path: '/books', mode: 'ro' },
    { volume: 'drafts', path: '/my drafts', mode: 'overlay' },
  ],
  fileSystems: [],
  firewalls: ['open to all'],
  secrets: ['TOKEN'],
  sshKeys: [KEY_NAME],
  userData: SCRIPT,
  restart: 'on-failure',
  healthChecks: [{ ...FIRST_CHECK, kind: 'exec', command: `test -e "${ENV_FILE}"`, intervalSeconds: 7.5, failures: 100 }],
  idleMinutes: null,
  quietMinutes: 90,
  ignored: ['10.1.0.0/16', '22'],
})

let server: TestServer
let catalogue: Catalogue
let scratch = ''
let publicKey = ''

async function ask<T>(method: string, path: string, body?: object): Promise<T> {
  const answer = await server.request(method, `${PREFIX}${path}`, body === undefined ? {} : { body })
  assert.ok(answer.status < 300, `${method} ${path}: ${answer.text}`)
  return answer.body as T
}

before(async () => {
  scratch = mkdtempSync(join(tmpdir(), 'we-'))
  writeFileSync(join(scratch, 'berth'), `#!/bin/sh\nexec '${process.execPath}' --disable-warning=ExperimentalWarning '${CLI_MAIN}' "$@"\n`, { mode: 0o755 })
  execFileSync('ssh-keygen', ['-q', '-t', 'ed25519', '-N', '', '-C', 'eve', '-f', join(scratch, 'id')])
  publicKey = readFileSync(join(scratch, 'id.pub'), 'utf8').trim()
  server = await startServer({ host: 'qemu', env: { BERTH_OVERCOMMIT_CPU: '8' } })
  catalogue = await ask('GET', '/catalogue')
  await ask('POST', '/images', { name: 'localhost/busybox' })
  await ask('POST', '/ssh-keys', { name: KEY_NAME, publicKey })
  await ask('POST', '/firewalls', { name: 'open to all', rules: [] })
  await ask('PUT', '/secrets/TOKEN', { value: 'hush' })
  for (const name of ['books', 'drafts']) await ask('POST', '/volumes', { name, sizeBytes: 64 * MIB })
})
after(async () => {
  try {
    await server?.stop()
  } finally {
    rmSync(scratch, { recursive: true, force: true })
  }
})

const tongue = (id: Equivalent['id'], wish: Wish): Equivalent => {
  const found = equivalentsOf(wish, { origin: server.url, catalogue }).find(each => each.id === id)
  assert.ok(found !== undefined)
  return found
}

/** Runs it in a plain shell, and gives the one instance that is there afterwards and was not before. */
async function paste(text: string, shell = 'sh'): Promise<InstanceDetail> {
  const env = { ...commandEnv(server), PATH: `${scratch}:${process.env['PATH'] ?? ''}` }
  const { stdout, stderr } = await promisify(execFile)(shell, ['-c', text], { env, cwd: scratch })
  const told = `${text}\nanswered:\n${stdout}\n${stderr}`
  const id = await eventually(`an instance of\n${told}`, async () => {
    const { items } = await ask<{ items: readonly { id: string }[] }>('GET', '/instances')
    assert.ok(items.length <= 1, told)
    return items[0]?.id ?? null
  })
  return ask('GET', `/instances/${id}`)
}

async function removeAll(): Promise<void> {
  const { items } = await ask<{ items: readonly { id: string }[] }>('GET', '/instances')
  for (const { id } of items) await ask('DELETE', `/instances/${id}?wait=true&timeoutMs=${WAIT_MS}`)
}

async function fileOf(id: string, path: string, whole: (text: string) => boolean = () => true): Promise<string> {
  return eventually(
    `${path} in ${id}`,
    async () => {
      const { status, text } = await server.request('GET', `${PREFIX}/instances/${id}/files?path=${encodeURIComponent(path)}`)
      return status === 200 && whole(text) ? text : null
    },
    WAIT_MS,
  )
}

async function holdsCommand(id: string, wish: Wish): Promise<void> {
  const words = splitWords(wish.command).slice(4)
  const args = await fileOf(id, ARGS_FILE, text => text.split('\n').length > words.length)
  assert.equal(args, `${words.join('\n')}\n`)
  const env = (await fileOf(id, ENV_FILE)).split('\n')
  for (const [name, value] of Object.entries(envOf(wish.env))) assert.ok(env.includes(`${name}=${value}`), `${name}=${value} is not in\n${env.join('\n')}`)
}

/** What the script says when this machine's own shell runs it. */
async function holdsUserData(id: string): Promise<void> {
  const here = join(scratch, 'said')
  rmSync(here, { force: true })
  execFileSync('sh', ['-c', SCRIPT.replaceAll('/root/said', here)])
  const wanted = readFileSync(here, 'utf8')
  assert.equal(await fileOf(id, '/root/said', text => text.length >= wanted.length), wanted)
}

async function holdsVolumes(id: string): Promise<void> {
  const { volumes: mounts, name } = await ask<InstanceDetail>('GET', `/instances/${id}`)
  const wanted = [['/books', 'ro', null], ['/my drafts', 'overlay', OVERLAY_BYTES]]
  assert.deepEqual(mounts.map(({ path, mode, overlayBytes }) => [path, mode, overlayBytes]), wanted)
  const { output } = await exec(server.url, server.key, name, { command: ['sh', '-c', 'echo x >/books/x || echo refused; echo kept >"/my drafts/x" && cat "/my drafts/x"'] })
  assert.match(output, /refused[\s\S]*kept/)
}

test('the words of a command are split as a shell splits them', () => {
  for (const command of [full('x', 1).command, `a "b\\n" 'c\\n' d\\ e "\\"\\\\\\$\\\`" ''`, `  a\t"b"'c'd  `, `"it's" '"' ""`]) {
    const shell = execFileSync('sh', ['-c', `for word in ${command}; do printf '%s\\0' "$word"; done`], { encoding: 'utf8' })
    assert.deepEqual(splitWords(command), shell.split('\0').slice(0, -1), command)
  }
})

for (const [at, id] of (['berth', 'native', 'hypeman'] as const).entries()) {
  test(`what is copied for ${id} makes the instance that the form makes`, async () => {
    const wish = full(`copied-${id}`, 18_801 + at * 2)
    const { text, losses } = tongue(id, wish)
    // Bash reads quotes as sh does, and has more that could go wrong.
    await using _left = { [Symbol.asyncDispose]: removeAll }
    const made = await paste(text, id === 'berth' ? 'bash' : 'sh')
    assert.equal(made.name, wish.name)
    assert.match(made.image, /localhost\/busybox/)
    assert.deepEqual([made.vcpus, made.memoryBytes, made.overlayBytes], [wish.vcpus, wish.memoryBytes, wish.diskBytes])
    assert.deepEqual(made.cmd, splitWords(wish.command))
    assert.deepEqual(made.env, envOf(wish.env))
    assert.deepEqual(made.network.ports.map(({ hostPort, guestPort, protocol }) => ({ hostPort, guestPort, protocol })), wish.ports)
    assert.equal(made.restart.policy, 'on-failure')
    await holdsCommand(made.id, wish)
    await holdsVolumes(made.id)
    if (id === 'hypeman') {
      assert.deepEqual(losses, ['It knows no SSH keys.', 'It knows no user data.', 'It knows no shared file systems and no firewalls.', 'Neither secrets nor standby without use are given here.', 'Health checks are not given here.'])
    } else {
      assert.deepEqual(losses, [])
      assert.deepEqual(made.secrets, wish.secrets)
      assert.deepEqual(made.autoStandby, { enabled: true, idleAfterMs: 5_400_000, ignoreSources: ['10.1.0.0/16'], ignorePorts: [22] })
      assert.deepEqual(made.healthChecks.map(({ exec: asked, intervalMs, unhealthyAfter }) => [asked?.command.at(-1)?.endsWith(ENV_FILE) || asked?.command.at(-1)?.endsWith(`${ENV_FILE}"`), intervalMs, unhealthyAfter]), [[true, 7500, 100]])
      assert.deepEqual(made.sshKeys, [publicKey])
      assert.equal(made.firewallRulesets?.length, 1)
      await holdsUserData(made.id)
    }
    })
}

test('what is copied for Koyeb makes a service whose instance runs what the form says', async () => {
  const wish = full('copied-koyeb', 18_811)
  const { text, losses } = tongue('koyeb', wish)
  await using _left = { [Symbol.asyncDispose]: removeApps }
  const made = await paste(text)
  assert.equal(made.vcpus, 1)
  assert.equal(made.memoryBytes, 256 * MIB)
  assert.match(losses[0] ?? '', /nano, 1 vCPU and 256 MB/)
  for (const [name, value] of Object.entries(envOf(wish.env))) assert.equal(made.env[name], value)
  const { services } = (await server.request('GET', '/v1/services')).body as { services: readonly { latest_deployment_id: string; type: string }[] }
  assert.equal(services[0]?.type, 'WEB')
  const { deployment } = (await server.request('GET', `/v1/deployments/${services[0]?.latest_deployment_id}`)).body as { deployment: { definition: { ports: readonly object[] } } }
  assert.deepEqual(deployment.definition.ports, [{ port: 80, protocol: 'tcp' }])
  await holdsCommand(made.id, wish)
  assert.equal(losses.length, 8)
})

test('what is copied for Lambda and Mithril launches an instance of the type told beside it, with its key and user data', async () => {
  await ask('POST', '/ssh-keys', { name: 'another' })
  for (const id of ['lambda', 'mithril'] as const) {
    const wish = full(`copied-${id}`, 18_813)
    const { text, losses } = tongue(id, wish)
    await using _left = { [Symbol.asyncDispose]: removeAll }
    const made = await paste(text)
    assert.match(losses.join(), /small, 1 vCPU and 1024 MB/)
    assert.deepEqual([made.vcpus, made.memoryBytes], [1, 1024 * MIB])
    assert.deepEqual(made.sshKeys, [publicKey])
    await holdsUserData(made.id)
  }
})

async function removeApps(): Promise<void> {
  const { body } = await server.request('GET', '/v1/apps')
  for (const { id } of (body as { apps: readonly { id: string }[] }).apps) await server.request('DELETE', `/v1/apps/${id}`)
  await eventually('the services are gone', async () => ((await ask<{ items: unknown[] }>('GET', '/instances')).items.length === 0 ? true : null), WAIT_MS)
}
