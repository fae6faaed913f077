/** Mistakes at the command line: each is told in one sentence, with a status. */
import assert from 'node:assert/strict'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { after, before, test } from 'node:test'
import { commandEnv, commandLine } from './support/berth-command.ts'
import { startServer } from './support/server.ts'
import type { TestServer } from './support/server.ts'

const IMAGE = 'localhost/busybox'

let server: TestServer
let env: Record<string, string>
const { berth, berthWith } = commandLine(() => env)

before(async () => {
  server = await startServer()
  env = commandEnv(server)
})
after(() => server.stop())

const REFUSALS: readonly (readonly [string, number, RegExp, readonly string[]])[] = [
  ['an unknown command', 2, /unknown command 'dance'.*berth --help/, ['dance']],
  ['an unknown flag', 2, /unknown option '--colour'.*berth ps --help/, ['ps', '--colour']],
  ['a missing argument', 2, /missing required argument 'instance'/, ['stop']],
  ['an unknown filter', 2, /is no filter/, ['ps', '-f', 'state=up']],
  ['an instance that is not there', 1, /no instance "none"/, ['logs', 'none']],
  ['two without a name between', 2, /must be in an instance/, ['cp', 'a', 'b']],
  ['a shell that is none', 2, /no completion for "tcsh"/, ['completion', 'tcsh']],
  ['run without an image', 125, /missing required argument 'image'/, ['run']],
  ['run with a bad flag', 125, /unknown option/, ['run', '--nope', IMAGE]],
  ['run with a bad size', 125, /is not a size/, ['run', '-m', '4Gb', IMAGE]],
  ['run with a bad name', 125, /is not a name/, ['run', '--name', 'Web', IMAGE, 'true']],
  ['run of no image', 125, /not an image name/, ['run', 'A B']],
  ['run of an image that is not there', 125, /no image "nothere".*berth images pull/, ['run', '--pull', 'never', 'nothere']],
  ['run of an image that no registry has', 125, /could not be brought/, ['run', 'localhost:5999/missing:1']],
  ['run -d with -i', 125, /does not go with/, ['run', '-d', '-i', IMAGE]],
  ['run --restart without -d', 125, /--restart goes with -d/, ['run', '--restart', 'always', IMAGE]],
  ['run -t without a terminal', 125, /no terminal/, ['run', '-it', IMAGE, 'sh']],
  ['a misspelt command', 2, /unknown command 'rum' \(Did you mean one of rm, run\?\)/, ['rum', 'x']],
  ['a misspelt command of a collection', 2, /unknown command 'rum'.*berth volumes --help/, ['volumes', 'rum', 'x']],
  ['an archive that is not there', 1, /can't be read/, ['images', 'import', '/none.tar']],
  ['more memory than is allowed', 125, /^berth: --memory is 3\.9 TiB; at most 32 GiB is allowed\.$/m, ['run', '-m', '4000G', IMAGE]],
  ['a byte more memory than is allowed', 125, /^berth: --memory is 34359738369 bytes; at most 32 GiB is allowed\.$/m, ['run', '-m', '34359738369', IMAGE]],
  ['less memory than a guest needs', 125, /^berth: --memory must be at least \d+ MiB, not 1 MiB\.$/m, ['run', '-m', '1M', IMAGE]],
  ['more CPUs than are allowed', 125, /^berth: --cpus is 99; at most 16 is allowed\.$/m, ['run', '--vcpus', '99', IMAGE]],
  ['more disk than is allowed', 125, /^berth: --disk is 9 TiB; at most 100 GiB is allowed\.$/m, ['run', '--disk', '9T', IMAGE]],
  ['a directory that is not absolute', 125, /^berth: --workdir "here" is not an absolute path/m, ['run', '-w', 'here', IMAGE]],
  ['a volume of nothing', 1, /^berth: The size must be /m, ['volumes', 'create', 'none', '--size', '0']],
  ['a secret from an empty stdin', 2, /Nothing came on stdin, and T was left as it was/, ['secrets', 'set', 'T']],
  ['a secret from an empty file', 2, /file \/dev\/null is empty/, ['secrets', 'set', 'T', '--from-file', '/dev/null']],
  ['exec in nothing', 125, /no instance/, ['exec', 'none', 'true']],
]
for (const [name, status, says, args] of REFUSALS) {
  test(`${name} ends with ${status} and one sentence`, async () => {
    const { status: got, stderr } = await berth(...args)
    assert.equal(got, status, stderr)
    assert.match(stderr, says)
    assert.match(stderr.trimEnd().split('\n').at(-1) ?? '', /^berth: .+[.?!]$/)
  })
}

test('a server that is not there, wants a key, or is none, is told with what to do', async () => {
  const refused = await berthWith({ env: { BERTH_SERVER: 'http://127.0.0.1:1' } }, 'ps')
  assert.deepEqual([refused.status, refused.stderr], [1, 'berth: No Berth server answers at http://127.0.0.1:1: start one with "berth serve", or name another with --server.\n'])
  const keyless = await berthWith({ env: { BERTH_KEY: '' } }, 'ps')
  assert.match(keyless.stderr, /wants a key: give one with --key or BERTH_KEY/)
  const wrong = await berthWith({}, '--key', 'wrong', 'ps')
  assert.match(wrong.stderr, /key is not known/)
  const other = createServer((_request, answer) => answer.writeHead(404, { 'content-type': 'text/html' }).end('<html>'))
  other.listen(0, '127.0.0.1')
  await once(other, 'listening')
  const { port } = other.address() as AddressInfo
  const none = await berthWith({}, 'ps', '--server', `http://127.0.0.1:${port}`)
  assert.match(none.stderr, /answered 404 and not as Berth does/)
  other.close()
})

test('a second server of a data directory is told who has it', async () => {
  const { status, stderr } = await berth('serve', '--data-dir', server.dataDir, '--listen', '127.0.0.1:0')
  assert.equal(status, 1)
  assert.match(stderr, /^berth: Another Berth server \(pid \d+, http:[^)]+\) uses .+; stop it, or give this one another --data-dir\.\n$/)
})

test('a server whose address is taken says so, and opens no host before', async () => {
  const dataDir = mkdtempSync(join(tmpdir(), 'berth-cli-'))
  try {
    const { status, stderr, stdout } = await berth('serve', '--data-dir', dataDir, '--listen', new URL(server.url).host)
    assert.equal(status, 1)
    assert.match(stderr, /^berth: Berth can't listen on 127\.0\.0\.1:\d+: something else listens there; choose another address with --listen\.\n$/)
    assert.equal(stdout, '')
  } finally {
    rmSync(dataDir, { recursive: true, force: true })
  }
})

test('without a command the help is shown, as of something asked wrongly', async () => {
  for (const args of [[], ['capability']]) {
    const { status, stderr } = await berth(...args)
    assert.equal(status, 2)
    assert.match(stderr, /^Usage: berth[^\n]*\n/)
    assert.doesNotMatch(stderr, /error/)
  }
})
